/** Servers inside a sandbox, asked through a real SSH server. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { createServer, type Server } from "node:net";
import { Sandbox } from "e2b";
import { openTestGuest, type TestGuest } from "../../guest/testing.ts";
import { fakePools, type TestGateway, testGateway } from "../testing.ts";
import { dial } from "./dial.ts";

let guest: TestGuest;
let server: ReturnType<typeof Bun.serve>;
let place: TestGateway;
let sandbox: Sandbox;
let streaming: (() => void) | undefined;

beforeAll(async () => {
  guest = await openTestGuest();
  await guest.guest.connect();
});
afterAll(() => guest.close());
beforeEach(async () => {
  // The guest's loopback is this machine's.
  server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      const { pathname, search } = new URL(request.url);
      if (pathname === "/moved")
        return new Response(null, { status: 302, headers: { Location: "http://elsewhere.example.org/" } });
      if (pathname === "/packed") return new Response(Bun.gzipSync("packed"), { headers: { "Content-Encoding": "gzip" } });
      if (pathname === "/cookies")
        return new Response("", {
          headers: [
            ["Set-Cookie", "a=1"],
            ["Set-Cookie", "b=2"],
          ],
        });
      if (pathname === "/none") return new Response(null, { status: 204 });
      if (pathname === "/echo") return new Response(request.body);
      if (pathname === "/stream") {
        const body = new ReadableStream<Uint8Array>({
          start: (controller) => controller.enqueue(Buffer.from("first\n")),
          cancel: () => streaming?.(),
        });
        return new Response(body);
      }
      return Response.json({
        path: `${pathname}${search}`,
        headers: Object.fromEntries(request.headers),
        body: await request.text(),
      });
    },
  });
  const pools = fakePools({ guest: () => Promise.resolve(guest.guest) });
  place = await testGateway({ pools, configuration: { domain: "sbx.test:3000", portConnectionsMax: 4 } });
  sandbox = await Sandbox.create("base", place.connection);
});
afterEach(async () => {
  expect(place.faults).toEqual([]);
  await place.close();
  await server.stop(true);
});

interface Seen {
  readonly path: string;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}
const seenBy = async (answer: Response): Promise<Seen> => (await answer.json()) as Seen;
const token = (): string => Reflect.get(sandbox, "envdAccessToken");
const port = (): number => server.port ?? 0;
const status = async (work: Promise<Response>): Promise<number> => (await work).status;
function ask(path: string, headers: Record<string, string>, init: RequestInit = {}): Promise<Response> {
  return fetch(`${place.url}${path}`, { ...init, headers, redirect: "manual" });
}
const named = (to: number, more: Record<string, string> = {}): Record<string, string> => ({
  "E2b-Sandbox-Id": sandbox.sandboxId,
  "E2b-Sandbox-Port": String(to),
  ...more,
});

describe("a server inside", () => {
  test("is asked with the request as it came, but for what was meant for the gateway", async () => {
    const headers = named(port(), {
      "X-API-KEY": place.apiKey,
      "X-Access-Token": token(),
      "E2B-Traffic-Access-Token": "t",
      Authorization: "Bearer of-the-application",
      Cookie: "a=b",
      Connection: "x-hop",
      "X-Hop": "1",
      "X-Mine": "yes",
    });
    const answer = await ask("/a/b?c=d%20e", headers, { method: "PUT", body: "hello" });
    const seen = await seenBy(answer);
    expect(seen).toMatchObject({ path: "/a/b?c=d%20e", body: "hello" });
    expect(seen.headers).toMatchObject({ authorization: "Bearer of-the-application", cookie: "a=b", "x-mine": "yes" });
    const names = ["x-api-key", "x-access-token", "e2b-traffic-access-token", "e2b-sandbox-id", "e2b-sandbox-port", "x-hop"];
    expect(names.filter((name) => name in seen.headers)).toEqual([]);
    expect(JSON.stringify(seen)).not.toContain(place.apiKey);
  });

  test("sees the name that clients use, or the one that was asked for", async () => {
    const host = sandbox.getHost(port());
    expect((await seenBy(await ask("/", { Host: host }))).headers.host).toBe(host);
    const masked = await Sandbox.create("base", { ...place.connection, network: { maskRequestHost: "localhost:${PORT}" } });
    expect((await seenBy(await ask("/", { Host: masked.getHost(port()) }))).headers.host).toBe(`localhost:${port()}`);
  });

  test("answers for itself: redirects, packed bodies, no headers of ours", async () => {
    const moved = await ask("/moved", named(port()));
    expect([moved.status, moved.headers.get("location")]).toEqual([302, "http://elsewhere.example.org/"]);
    const packed = await ask("/packed", named(port(), { Origin: "https://app.example.org" }));
    expect([await packed.text(), packed.headers.get("access-control-allow-origin")]).toEqual(["packed", null]);
  });

  test("that does not listen is 502; an upgrade to something unknown is 501", async () => {
    const answer = await ask("/", named(1));
    expect([answer.status, await answer.json()]).toEqual([
      502,
      { code: 502, message: "nothing answers on port 1 of the sandbox" },
    ]);
    expect(await status(ask("/", named(port(), { Upgrade: "h2c", Connection: "Upgrade" })))).toBe(501);
  });

  test("of a sandbox without public traffic asks for the token", async () => {
    const closed = await Sandbox.create("base", { ...place.connection, network: { allowPublicTraffic: false } });
    const headers = { "E2b-Sandbox-Id": closed.sandboxId, "E2b-Sandbox-Port": String(port()) };
    expect(await status(ask("/", headers))).toBe(403);
    expect(await status(ask("/", { ...headers, "E2B-Traffic-Access-Token": sandbox.trafficAccessToken ?? "" }))).toBe(403);
    expect(await status(ask("/", { ...headers, "E2B-Traffic-Access-Token": closed.trafficAccessToken ?? "" }))).toBe(200);
  });

  test("has whole bodies both ways, and its answers are heard as they come", async () => {
    const data = crypto.getRandomValues(new Uint8Array(3_000_000)).map((byte) => byte ^ 0x5a);
    const echoed = await ask("/echo", named(port()), { method: "POST", body: data });
    expect(Buffer.from(await echoed.arrayBuffer()).equals(Buffer.from(data))).toBe(true);
    expect((await ask("/cookies", named(port()))).headers.getSetCookie()).toEqual(["a=1", "b=2"]);
    expect([await status(ask("/none", named(port()))), await status(ask("/x", named(port()), { method: "HEAD" }))]).toEqual([
      204, 200,
    ]);
    const gone = new Promise<void>((resolve) => (streaming = resolve));
    const stream = (await ask("/stream", named(port()))).body?.getReader();
    expect(new TextDecoder().decode((await stream?.read())?.value)).toBe("first\n");
    // Who stops reading ends it, to the very server.
    await stream?.cancel();
    await gone;
  });

  test("is asked by so many at once and no more", async () => {
    const streams = await Promise.all(Array.from({ length: 4 }, () => ask("/stream", named(port()))));
    const refused = await ask("/x", named(port()));
    expect([streams.map((stream) => stream.status), refused.status, refused.headers.get("retry-after")]).toEqual([
      [200, 200, 200, 200],
      429,
      "1",
    ]);
    const gone = new Promise<void>((resolve) => (streaming = resolve));
    await streams[0]?.body?.cancel();
    await gone;
    expect(await status(ask("/x", named(port())))).toBe(200);
    await Promise.all(streams.slice(1).map((stream) => stream.body?.cancel()));
  });

  test("ends with its sandbox", async () => {
    const gone = new Promise<void>((resolve) => (streaming = resolve));
    const stream = (await ask("/stream", named(port()))).body?.getReader();
    await stream?.read();
    await sandbox.kill();
    await gone;
    expect(
      await stream?.read().then(
        ({ done }) => done,
        () => true,
      ),
    ).toBe(true);
    expect(await status(ask("/x", named(port())))).toBe(502);
  });

  test("that breaks off, or speaks something else, is 502", async () => {
    const other = await listening((socket) => socket.once("data", () => socket.destroy()));
    const rude = await listening((socket) => socket.resume().end("no HTTP at all\r\n\r\n"));
    for (const { port } of [other, rude]) expect(await status(ask("/", named(port)))).toBe(502);
    for (const { close } of [other, rude]) await close();
  });
});

async function listening(onSocket: Parameters<typeof createServer>[1], host = "127.0.0.1") {
  const listener: Server = createServer({}, onSocket);
  await new Promise<void>((resolve) => listener.listen(0, host, resolve));
  const address = listener.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return { port: address.port, close: () => new Promise<unknown>((resolve) => listener.close(resolve)) };
}

test("a port that listens on ::1 alone is found", async () => {
  const other = await listening((socket) => socket.end("six"), "::1");
  const connection = await dial(guest.guest, other.port);
  let text = "";
  for await (const chunk of connection) text += String(chunk);
  expect(text).toBe("six");
  await other.close();
});
