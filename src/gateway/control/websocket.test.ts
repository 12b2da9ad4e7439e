/** WebSockets of servers inside a sandbox, through a real SSH server; the server and the client are the runtime's, and so is the truth. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { Sandbox } from "e2b";
import { openTestGuest, type TestGuest } from "../../guest/testing.ts";
import { fakePools, type TestGateway, testGateway } from "../testing.ts";

let guest: TestGuest;
let server: Bun.Server<undefined>;
let place: TestGateway;
let sandbox: Sandbox;
/** Of the server, newest last. */
let closes: (readonly [number, string])[];
let told: () => void;

beforeAll(async () => {
  guest = await openTestGuest();
  await guest.guest.connect();
});
afterAll(() => guest.close());
beforeEach(async () => {
  closes = [];
  told = () => undefined;
  server = Bun.serve<undefined>({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request, here) => {
      const { pathname, search } = new URL(request.url);
      if (pathname === "/no") return new Response("no", { status: 403 });
      const seen = JSON.stringify({ path: `${pathname}${search}`, ...Object.fromEntries(request.headers) });
      const asked = request.headers.get("sec-websocket-protocol");
      const headers = { "X-Seen": seen, ...(asked !== null && { "Sec-WebSocket-Protocol": "second" }) };
      greeting = seen;
      return here.upgrade(request, { headers, data: undefined }) ? undefined : new Response("plain");
    },
    websocket: {
      maxPayloadLength: 64 * 1024 ** 2,
      open: (socket) => {
        socket.send(greeting);
      },
      message: (socket, data) => {
        if (data === "end") socket.close(4002, "over");
        else if (data === "cut") socket.terminate();
        else socket.send(data);
      },
      close: (_, code, reason) => {
        closes.push([code, reason]);
        told();
      },
    },
  });
  const pools = fakePools({ guest: () => Promise.resolve(guest.guest) });
  place = await testGateway({ pools, configuration: { domain: "sbx.test", portConnectionsMax: 3 } });
  sandbox = await Sandbox.create("base", place.connection);
});
afterEach(async () => {
  expect(readdirSync(`${place.directory}/gateway`).filter((name) => name.startsWith("ws-"))).toEqual([]);
  expect(place.faults).toEqual([]);
  await place.close();
  await server.stop(true);
});
let greeting = "";

interface Client {
  readonly socket: WebSocket;
  next(): Promise<string | Buffer>;
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
}

/** undefined: it did not come about. */
async function open(path: string, more: { readonly headers?: Record<string, string>; readonly protocols?: string[] } = {}) {
  const Host = sandbox.getHost(server.port ?? 0);
  const options = { headers: { Host, ...more.headers }, ...(more.protocols && { protocols: more.protocols }) };
  const socket = new WebSocket(`${place.url.replace("http", "ws")}${path}`, options);
  socket.binaryType = "nodebuffer";
  const came: (string | Buffer)[] = [];
  let wake = (): void => undefined;
  socket.addEventListener("message", ({ data }: { data: string | Buffer }) => {
    came.push(data);
    wake();
  });
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.addEventListener("close", ({ code, reason }) => resolve({ code, reason }));
  });
  const isOpen = new Promise<boolean>((resolve) => {
    socket.addEventListener("open", () => resolve(true));
    socket.addEventListener("error", () => resolve(false));
  });
  const client: Client = {
    socket,
    closed,
    next: async () => {
      for (;;) {
        const first = came.shift();
        if (first !== undefined) return first;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
  return (await isOpen) ? client : undefined;
}

async function mustOpen(...given: Parameters<typeof open>): Promise<Client> {
  const client = await open(...given);
  if (client === undefined) throw new Error("no WebSocket");
  return client;
}

describe("a WebSocket", () => {
  test("carries text and bytes both ways, whoever speaks first, and ends as the client ends it", async () => {
    const client = await mustOpen("/chat?room=1%202", {
      headers: { Cookie: "a=b", Origin: "https://app.example.org", "X-API-KEY": place.apiKey },
      protocols: ["first", "second"],
    });
    expect(client.socket.protocol).toBe("second");
    const seen: Readonly<Record<string, string>> = JSON.parse(String(await client.next()));
    const host = sandbox.getHost(server.port ?? 0);
    expect(seen).toMatchObject({ path: "/chat?room=1%202", host, cookie: "a=b", origin: "https://app.example.org" });
    expect(seen["sec-websocket-protocol"]).toBe("first, second");
    expect(JSON.stringify(seen)).not.toContain(place.apiKey);
    client.socket.send("grüße");
    expect(await client.next()).toBe("grüße");
    const data = crypto.getRandomValues(new Uint8Array(60_000));
    const large = Buffer.concat(Array.from({ length: 30 }, () => data));
    client.socket.send(large);
    const back = await client.next();
    expect(Buffer.isBuffer(back) && back.equals(large)).toBe(true);
    const gone = new Promise<void>((resolve) => (told = resolve));
    client.socket.close(4001, "enough");
    await gone;
    expect(closes).toEqual([[4001, "enough"]]);
  });

  test("ends as the server ends it, also when it breaks off", async () => {
    const client = await mustOpen("/");
    client.socket.send("end");
    expect(await client.closed).toEqual({ code: 4002, reason: "over" });
    const other = await mustOpen("/");
    other.socket.send("cut");
    expect((await other.closed).code).toBe(1001);
  });

  test("ends with its sandbox, and with the gateway", async () => {
    const client = await mustOpen("/");
    await sandbox.kill();
    expect((await client.closed).code).toBe(1001);
    sandbox = await Sandbox.create("base", place.connection);
    const other = await mustOpen("/");
    await place.restart();
    expect((await other.closed).code).toBe(1001);
  });

  test("that nobody answers, or the server does not want, does not come about", async () => {
    expect(await open("/no")).toBeUndefined();
    expect(await open("/", { headers: { Host: sandbox.getHost(1) } })).toBeUndefined();
    const upgrade = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    };
    const ask = async (headers: Record<string, string>) => {
      const answer = await fetch(place.url, { headers: { Host: sandbox.getHost(server.port ?? 0), ...headers } });
      return [answer.status, await answer.json()];
    };
    expect(await ask({ ...upgrade, Host: sandbox.getHost(1) })).toEqual([
      502,
      { code: 502, message: "nothing answers on port 1 of the sandbox" },
    ]);
    expect((await ask({ ...upgrade, Upgrade: "h2c" }))[0]).toBe(501);
    expect((await ask({ Connection: "Upgrade", Upgrade: "websocket" }))[0]).toBe(400);
  });

  test("counts as a connection, until it is closed", async () => {
    const clients = await Promise.all([mustOpen("/"), mustOpen("/"), mustOpen("/")]);
    expect(await open("/")).toBeUndefined();
    const gone = new Promise<void>((resolve) => (told = resolve));
    clients[0].socket.close();
    await gone;
    while ((await open("/")) === undefined) await clients[0].closed;
  });
});
