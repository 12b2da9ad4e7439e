/** Connections, against servers of the runtime; and processes that are written to while they run. */
import { afterAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectByShortName } from "./connect.ts";
import { localHost } from "./index.ts";
import { unlistedPort } from "./libc.ts";

const host = localHost();
const directory = fs.mkdtempSync(join(tmpdir(), "garth-connect-"));
afterAll(() => host.files.removeTree(directory));

/** The errno that the work ends with. */
async function errnoOf(work: Promise<unknown>): Promise<unknown> {
  const error: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  return error instanceof Error && "code" in error ? error.code : error;
}

/** Collects what comes and says when it is what was waited for. */
function collector(enough: (text: string) => boolean) {
  let text = "";
  const done = Promise.withResolvers<string>();
  return {
    onData: (chunk: Uint8Array) => {
      text += Buffer.from(chunk).toString("latin1");
      if (enough(text)) done.resolve(text);
    },
    done: done.promise,
  };
}

describe("connections", () => {
  test("much is written and comes back whole, through a path longer than sun_path", async () => {
    const long = join(directory, "d".repeat(120));
    fs.mkdirSync(long);
    const waiting: Uint8Array[] = [];
    const flush = (socket: Bun.Socket) => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const taken = Math.max(0, socket.write(next));
        if (taken === next.byteLength) continue;
        waiting.unshift(next.subarray(taken));
        return;
      }
    };
    const server = Bun.listen({
      unix: join(long, "socket"),
      socket: { data: (socket, chunk) => (waiting.push(new Uint8Array(chunk)), flush(socket)), drain: flush },
    });
    const sent = "0123456789abcdef".repeat(1 << 17);
    const { onData, done } = collector((text) => text.length >= sent.length);
    const connection = await host.connect(join(long, "socket"), onData);
    for (let at = 0; at < sent.length; at += 700_001) connection.write(sent.slice(at, at + 700_001));
    expect((await done) === sent).toBe(true);
    connection.close();
    await connection.closed;
    connection.write("after the end");
    server.stop(true);
  });

  test("where the runtime has no way of its own, a long path is reached by a short name, which goes at once", async () => {
    const long = join(directory, "e".repeat(120));
    fs.mkdirSync(long);
    const server = Bun.listen({
      unix: join(long, "socket"),
      socket: { data: () => undefined, open: (socket) => void socket.end("hello") },
    });
    const links = () =>
      fs.readdirSync("/tmp").filter((name) => name.startsWith("garth-") && fs.existsSync(`/tmp/${name}/d/socket`));
    let text = "";
    const connection = await connectByShortName(join(long, "socket"), (chunk) => (text += Buffer.from(chunk).toString()));
    expect(links()).toEqual([]);
    await connection.closed;
    expect(text).toBe("hello");
    server.stop(true);
    expect(await errnoOf(connectByShortName(join(long, "none"), () => undefined))).toBe("ENOENT");
  });

  test("the other side's end is told after its last data, by TCP too", async () => {
    const server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { data: () => undefined, open: (socket) => void socket.end("SSH-2.0-test\r\n") },
    });
    let text = "";
    const connection = await host.connectTcp("127.0.0.1", server.port, (chunk) => (text += Buffer.from(chunk).toString()));
    await connection.closed;
    expect(text).toBe("SSH-2.0-test\r\n");
    server.stop(true);
    expect(await errnoOf(host.connectTcp("127.0.0.1", server.port, () => undefined))).toBe("ECONNREFUSED");
  });

  test("nothing there, and something that is no socket", async () => {
    fs.writeFileSync(join(directory, "file"), "");
    expect(await errnoOf(host.connect(join(directory, "none"), () => undefined))).toBe("ENOENT");
    expect(await errnoOf(host.connect(join(directory, "file"), () => undefined))).toBe("ECONNREFUSED");
  });

  test("a free port can be listened on at once", () => {
    const port = host.freePort();
    const server = Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => undefined } });
    expect(server.port).toBe(port);
    const others = Array.from({ length: 20 }, () => host.freePort());
    expect(others).not.toContain(port);
    server.stop(true);
  });

  test("where the kernel cannot be asked for a port, one that netstat does not list will do", () => {
    const freebsd = `Active Internet connections (including servers)
Proto Recv-Q Send-Q Local Address          Foreign Address        (state)
tcp4       0      0 127.0.0.1.49157        127.0.0.1.22           ESTABLISHED
tcp6       0      0 *.49158                *.*                    LISTEN
`;
    expect(unlistedPort(freebsd, 5)).toBe(49159);
    expect(unlistedPort(freebsd, 16384 + 4)).toBe(49156);
    expect(unlistedPort("tcp        0      0 127.0.0.1:49152         0.0.0.0:*               LISTEN\n", 0)).toBe(49153);
    expect(unlistedPort("", 5)).toBe(0);
  });
});

describe("a process that is written to", () => {
  test("answers while it runs, and ends with its input", async () => {
    const { onData, done } = collector((text) => text === "one\n");
    let all = "";
    const running = host.spawn(
      { argv: ["cat"] },
      { stdin: "pipe", onOutput: (chunk) => (onData(chunk), (all += Buffer.from(chunk).toString())) },
    );
    await running.write("one\n");
    await done;
    const big = "x".repeat(1 << 20);
    await running.write(big);
    await running.endInput();
    expect(await running.exited).toEqual({ status: 0, signal: null });
    expect(all === `one\n${big}`).toBe(true);
    await running.write("nobody reads this");
    await running.endInput();
  });

  test("may end without reading, whatever is on the way to it", async () => {
    const running = host.spawn({ argv: ["sh", "-c", "exec <&-; exit 3"] }, { stdin: "pipe" });
    await running.write(new Uint8Array(4 << 20));
    expect(await running.exited).toEqual({ status: 3, signal: null });
  });

  test("has nothing to be written to when its input is closed", async () => {
    const running = host.spawn({ argv: ["cat"] });
    await running.write("lost");
    expect(await running.exited).toEqual({ status: 0, signal: null });
  });
});
