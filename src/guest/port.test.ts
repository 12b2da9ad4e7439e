/** Connections to ports of a guest, through a real SSH server; the guest's loopback is this machine's. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createServer, type Server, type Socket } from "node:net";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { mastersOf, openGuest } from "./index.ts";
import { openTestGuest, type TestGuest } from "./testing.ts";

const host = localHost();
let there: TestGuest;
beforeAll(async () => {
  there = await openTestGuest();
});
afterAll(() => there.close());

const SIZE_BYTES = 10 * 1024 ** 2;
const text = (chunks: readonly Uint8Array[]): string => Buffer.concat(chunks).toString();
const random = (sizeBytes: number): Buffer => {
  const block = crypto.getRandomValues(new Uint8Array(65_536));
  return Buffer.concat(
    Array.from({ length: Math.ceil(sizeBytes / block.byteLength) }, () => block),
    sizeBytes,
  );
};

interface Listening extends AsyncDisposable {
  readonly port: number;
}

async function listening(onSocket: (socket: Socket) => void, at = "127.0.0.1"): Promise<Listening> {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, at, resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<unknown>((resolve) => server.close(resolve));
    },
  };
}

describe("a port", () => {
  test("gives back 10 MB as they were", async () => {
    await using echo = await listening((socket) => socket.pipe(socket));
    const data = random(SIZE_BYTES);
    const seen: Uint8Array[] = [];
    const stream = await there.guest.connectTo(echo.port, (chunk) => seen.push(chunk));
    await stream.write(data);
    stream.end();
    expect(await stream.closed).toEqual({ lost: false });
    expect(Buffer.concat(seen).equals(data)).toBe(true);
    await stream.write("nobody is there");
  });

  test("hears the end of one way and goes on with the other", async () => {
    // Answers when it has heard everything.
    await using counter = await listening((socket) => {
      let sizeBytes = 0;
      socket.on("data", (chunk) => (sizeBytes += chunk.length));
      socket.on("end", () => socket.end(`${sizeBytes} bytes`));
    });
    const seen: Uint8Array[] = [];
    const stream = await there.guest.connectTo(counter.port, (chunk) => seen.push(chunk));
    await stream.write(random(300_000));
    stream.end();
    await stream.ended;
    expect(text(seen)).toBe("300000 bytes");

    // Says all it has to say, and then listens.
    const heard = Promise.withResolvers<string>();
    await using speaker = await listening((socket) => {
      let all = "";
      socket.end("first");
      socket.on("data", (chunk) => (all += String(chunk)));
      socket.on("end", () => heard.resolve(all));
    });
    const said: Uint8Array[] = [];
    const other = await there.guest.connectTo(speaker.port, (chunk) => said.push(chunk));
    await other.ended;
    expect(text(said)).toBe("first");
    await other.write("second");
    other.end();
    expect(await heard.promise).toBe("second");
    await other.closed;
  });

  test("that listens on ::1 alone is found", async () => {
    await using six = await listening((socket) => socket.end("six"), "::1");
    const seen: Uint8Array[] = [];
    const stream = await there.guest.connectTo(six.port, (chunk) => seen.push(chunk));
    await stream.ended;
    stream.close();
    expect(text(seen)).toBe("six");
  });

  test("waits for whoever reads slowly", async () => {
    const closed = Promise.withResolvers<number>();
    await using source = await listening((socket) => {
      socket.end(random(3 * SIZE_BYTES));
      socket.on("close", () => closed.resolve(socket.bytesWritten));
    });
    let sizeBytes = 0;
    const wait = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const stream = await there.guest.connectTo(source.port, (chunk) => {
      sizeBytes += chunk.byteLength;
      begun.resolve();
      return wait.promise;
    });
    await begun.promise;
    // Everything else goes on meanwhile.
    await using echo = await listening((socket) => socket.pipe(socket));
    const answered: Uint8Array[] = [];
    const other = await there.guest.connectTo(echo.port, (chunk) => answered.push(chunk));
    await other.write(random(100_000));
    other.end();
    await other.closed;
    expect(Buffer.concat(answered).byteLength).toBe(100_000);
    expect(sizeBytes).toBeLessThanOrEqual(2 * 1024 ** 2);
    wait.resolve();
    await stream.ended;
    expect(sizeBytes).toBe(3 * SIZE_BYTES);
    stream.end();
    await stream.closed;
  });

  test("holds up whoever writes faster than it reads", async () => {
    const sockets: Socket[] = [];
    await using deaf = await listening((socket) => sockets.push(socket.pause()));
    const stream = await there.guest.connectTo(deaf.port, () => undefined);
    let taken = false;
    const written = stream.write(random(3 * SIZE_BYTES)).then(() => (taken = true));
    await there.guest.run({ argv: ["true"] });
    expect(taken).toBe(false);
    for (const socket of sockets) socket.resume();
    await written;
    stream.close();
    await stream.closed;
  });

  test("is told when the client is gone, and tells when it is itself", async () => {
    const gone = Promise.withResolvers<void>();
    await using server = await listening((socket) => {
      socket.write("up");
      socket.on("close", () => gone.resolve());
      socket.on("end", () => socket.destroy());
    });
    const up = Promise.withResolvers<void>();
    const stream = await there.guest.connectTo(server.port, () => up.resolve());
    await up.promise;
    stream.close();
    await gone.promise;
    expect(await stream.closed).toEqual({ lost: false });

    await using rude = await listening((socket) => void socket.on("data", () => socket.resetAndDestroy()));
    const other = await there.guest.connectTo(rude.port, () => undefined);
    await other.write("anything");
    await other.ended;
    other.close();
    await other.closed;
  });

  test("has a hundred connections at once, and commands have theirs", async () => {
    await using echo = await listening((socket) => socket.pipe(socket));
    const streams = await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const seen: Uint8Array[] = [];
        const stream = await there.guest.connectTo(echo.port, (chunk) => seen.push(chunk));
        await stream.write(`number ${index}`);
        return { stream, seen };
      }),
    );
    expect((await there.guest.run({ argv: ["true"] })).code).toBe(0);
    for (const { stream } of streams) stream.end();
    await Promise.all(streams.map(({ stream }) => stream.closed));
    expect(streams.map(({ seen }) => text(seen))).toEqual(Array.from({ length: 100 }, (_, index) => `number ${index}`));
  });
});

describe("a port that cannot be had", () => {
  test("is a problem that says so", async () => {
    const problem = await problemOf(there.guest.connectTo(1, () => undefined));
    expect([problem.code, problem.message]).toEqual([
      "E_PORT_CLOSED",
      "connecting to port 1 in test-guest: nobody listens there",
    ]);
    await using closed = await openTestGuest({ name: "strict", config: ["AllowTcpForwarding no"] });
    expect((await problemOf(closed.guest.connectTo(closed.address.port, () => undefined))).code).toBe("E_PORT_DENIED");
  });

  test("costs commands nothing, however often it is asked for: their connection stays when this one goes", async () => {
    await using other = await openTestGuest({ name: "worn" });
    const guest = openGuest(host, other.address);
    await guest.run({ argv: ["true"] });
    const [commands] = await mastersOf(host, other.address);
    const codes = new Set<string>();
    for (let round = 0; round < 8; round += 1) {
      const refused = Array.from({ length: 64 }, async () => (await problemOf(guest.connectTo(1, () => undefined))).code);
      for (const code of await Promise.all(refused)) codes.add(code);
    }
    expect([...codes]).toEqual(["E_PORT_CLOSED"]);
    await using echo = await listening((socket) => socket.pipe(socket));
    const stream = await guest.connectTo(echo.port, () => undefined);
    stream.end();
    expect(await stream.closed).toEqual({ lost: false });
    // 1,024 were refused: the first connection for ports was replaced.
    const sockets = (await mastersOf(host, other.address)).map(({ socket }) => socket);
    expect(sockets).toContain(`${other.address.controlSocket}-22`);
    const running = await other.guest.spawn({ argv: ["cat"], stdin: "open" }, () => undefined);
    guest.close();
    await running.endInput();
    expect(await running.exited).toMatchObject({ code: 0, lost: false });
    expect((await mastersOf(host, other.address))[0]).toEqual(commands);
  });

  test("any more ends with the guest", async () => {
    await using other = await openTestGuest({ name: "dying" });
    await using echo = await listening((socket) => socket.pipe(socket));
    const stream = await other.guest.connectTo(echo.port, () => undefined);
    other.kill();
    expect(await stream.closed).toEqual({ lost: true });
    await stream.ended;
    expect((await problemOf(other.guest.connectTo(echo.port, () => undefined))).code).toBe("E_GUEST_UNREACHABLE");
  });
});
