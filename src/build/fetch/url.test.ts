/** Against real servers on loopback, well-behaved and not. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { sha256 } from "../../base/index.ts";
import { localHost } from "../../host/index.ts";
import type { Fetch } from "../../recipe/index.ts";
import { realiseFetch } from "./index.ts";
import { openFetchBench } from "./testing.ts";

const CONTENT = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7919) % 251));
const DIGEST = sha256(CONTENT);
const HALF = 150_000;

let web: ReturnType<typeof Bun.serve>;
let raw: Server;
const asked: { readonly path: string; readonly range: string | null }[] = [];
const sockets = new Set<Socket>();

/** What the raw server sends for a path, and whether it closes afterwards. */
const SCRIPTS: Readonly<Record<string, (request: string) => readonly [Buffer | string, "close" | "hold"]>> = {
  "/silent": () => ["", "hold"],
  "/stalls": () => [Buffer.concat([head(CONTENT.length), CONTENT.subarray(0, HALF)]), "hold"],
  "/truncated": () => [Buffer.concat([head(CONTENT.length), CONTENT.subarray(0, HALF)]), "close"],
  "/garbage": () => ["this is no HTTP\r\n\r\n", "close"],
  // Gives a half the first time, and the rest when it is asked to go on.
  "/breaks": (request) => {
    const from = /^range: bytes=(\d+)-/im.exec(request)?.[1];
    if (from === undefined) return [Buffer.concat([head(CONTENT.length, 'ETag: "one"'), CONTENT.subarray(0, HALF)]), "hold"];
    if (!/if-range: "one"/i.test(request)) return ["HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n", "close"];
    const rest = CONTENT.subarray(Number(from));
    const lines = `HTTP/1.1 206 Partial Content\r\nContent-Length: ${rest.length}\r\nContent-Range: bytes ${from}-${CONTENT.length - 1}/${CONTENT.length}\r\n`;
    return [
      Buffer.concat([Buffer.from(`${lines}Accept-Ranges: bytes\r\nETag: "one"\r\nConnection: close\r\n\r\n`), rest]),
      "close",
    ];
  },
};

function head(length: number, extra = ""): Buffer {
  const more = extra === "" ? "" : `Accept-Ranges: bytes\r\n${extra}\r\n`;
  return Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n${more}Connection: close\r\n\r\n`);
}

beforeAll(async () => {
  web = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const { pathname } = new URL(request.url);
      asked.push({ path: pathname, range: request.headers.get("range") });
      switch (pathname) {
        case "/good.bin":
          return new Response(CONTENT);
        case "/wrong.bin":
          return new Response("something else");
        case "/moved":
          return Response.redirect("/moved-again", 301);
        case "/moved-again":
          return Response.redirect("/good.bin", 307);
        case "/loop":
          return Response.redirect("/loop", 302);
        case "/to-a-file":
          return new Response("", { status: 302, headers: { location: "file:///etc/hostname" } });
        case "/mislabelled.tar.gz":
          return new Response(CONTENT, { headers: { "content-encoding": "gzip" } });
        case "/busy":
          return new Response("later", { status: 503, statusText: "Service Unavailable" });
        default:
          return new Response("nothing here", { status: 404, statusText: "Not Found" });
      }
    },
  });
  raw = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("data", (data) => {
      const request = data.toString("latin1");
      const path = /^GET (\S+)/.exec(request)?.[1] ?? "";
      asked.push({ path, range: /^range: (\S+)/im.exec(request)?.[1] ?? null });
      const [bytes, then] = SCRIPTS[path]?.(request) ?? ["", "close"];
      socket.write(bytes, () => {
        if (then === "close") socket.end();
      });
    });
  });
  const listening = Promise.withResolvers<void>();
  raw.listen(0, "127.0.0.1", listening.resolve);
  await listening.promise;
});

afterAll(() => {
  web.stop(true);
  for (const socket of sockets) socket.destroy();
  raw.close();
});

const good = (path: string) => `http://127.0.0.1:${web.port}${path}`;
const bad = (path: string) => {
  const address = raw.address();
  return `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}${path}`;
};
const fetchOf = (urls: readonly string[], digest = DIGEST): Fetch => ({
  fetcher: "fetchurl",
  name: "file.bin",
  urls,
  sha256: digest,
});
const QUICK = { answerMs: 150, stallMs: 150 };

describe("a file from its mirrors", () => {
  const working: readonly (readonly [what: string, url: () => string])[] = [
    ["a plain answer", () => good("/good.bin")],
    ["redirects", () => good("/moved")],
    ["an answer that calls itself compressed", () => good("/mislabelled.tar.gz")],
  ];
  for (const [what, url] of working) {
    test(`comes through ${what}`, async () => {
      using bench = openFetchBench();
      const fetched = await realiseFetch(bench.context(), fetchOf([url()]));
      expect(fetched.from).toBe(url());
      expect(readFileSync(bench.store.physical(fetched.path)).equals(CONTENT)).toBe(true);
      expect(readFileSync(`${bench.distfiles}/${DIGEST}`).equals(CONTENT)).toBe(true);
      expect(bench.events).toEqual([
        { kind: "fetch-started", what: "file.bin", from: url() },
        { kind: "fetch-finished", path: fetched.path, from: url() },
      ]);
    });
  }

  test("is picked up where it broke off, not fetched from the start", async () => {
    using bench = openFetchBench();
    const host = localHost();
    // The server hangs up once something has arrived.
    const write = (descriptor: number, data: Uint8Array) => {
      for (const socket of sockets) socket.end();
      return host.files.write(descriptor, data);
    };
    const context = bench.context({ host: { ...host, processIdentity: host.processIdentity, files: { ...host.files, write } } });
    const { path } = await realiseFetch(context, fetchOf([bad("/breaks")]));
    expect(readFileSync(bench.store.physical(path)).equals(CONTENT)).toBe(true);
    const [first, second, ...more] = asked.filter((each) => each.path === "/breaks").map((each) => each.range);
    expect([first, more]).toEqual([null, []]);
    expect(second).toMatch(/^bytes=[1-9][0-9]*-$/);
  });

  test("comes by file: as well", async () => {
    using bench = openFetchBench();
    writeFileSync(`${bench.root}/a b.bin`, CONTENT);
    const url = `file://${bench.root}/a%20b.bin`;
    expect((await realiseFetch(bench.context(), fetchOf([url]))).from).toBe(url);
  });

  test("is asked for once: then the store has it, and after that distfiles", async () => {
    using bench = openFetchBench();
    const { path } = await realiseFetch(bench.context(), fetchOf([good("/good.bin")]));
    const before = asked.length;
    expect(await realiseFetch(bench.context(), fetchOf([good("/good.bin")]))).toEqual({ path, from: "store" });
    await bench.store.gc({});
    using other = openFetchBench();
    mkdirSync(other.distfiles, { recursive: true });
    writeFileSync(`${other.distfiles}/${DIGEST}`, CONTENT);
    expect(await realiseFetch(other.context(), fetchOf([good("/good.bin")]))).toEqual({ path, from: "distfiles" });
    expect(asked.length).toBe(before);
  });

  test("is taken from a file that somebody put into distfiles under its own name", async () => {
    using bench = openFetchBench();
    mkdirSync(bench.distfiles, { recursive: true });
    writeFileSync(`${bench.distfiles}/good.bin`, CONTENT);
    expect((await realiseFetch(bench.context(), fetchOf(["http://127.0.0.1:1/good.bin"]))).from).toBe("distfiles");
  });

  test("is not taken from distfiles when it was damaged there; the damaged one is replaced", async () => {
    using bench = openFetchBench();
    mkdirSync(bench.distfiles, { recursive: true });
    writeFileSync(`${bench.distfiles}/${DIGEST}`, "rotten");
    expect((await realiseFetch(bench.context(), fetchOf([good("/good.bin")]))).from).toBe(good("/good.bin"));
    expect(bench.events[0]).toEqual({
      kind: "fetch-failed",
      from: `${bench.distfiles}/${DIGEST}`,
      reason: `wrong sha256: ${sha256("rotten")}`,
    });
    expect(readFileSync(`${bench.distfiles}/${DIGEST}`).equals(CONTENT)).toBe(true);
  });

  test("is not read through a link in distfiles", async () => {
    using bench = openFetchBench();
    mkdirSync(bench.distfiles, { recursive: true });
    symlinkSync("/etc/hostname", `${bench.distfiles}/file.bin`);
    expect((await realiseFetch(bench.context(), fetchOf([good("/good.bin")]))).from).toBe(good("/good.bin"));
  });
});

describe("when mirrors fail", () => {
  test("each is tried in order and each has its reason", async () => {
    using bench = openFetchBench();
    const urls = [
      "http://127.0.0.1:1/gone",
      "http://no-such-host.invalid/x",
      good("/missing"),
      good("/busy"),
      good("/loop"),
      good("/to-a-file"),
      bad("/silent"),
      bad("/stalls"),
      bad("/truncated"),
      bad("/garbage"),
      "file:///no/such/file",
      "gopher://127.0.0.1/x",
      "not a url",
    ];
    const failure = realiseFetch(bench.context({ timeouts: QUICK }), fetchOf(urls));
    await expect(failure).rejects.toMatchObject({ code: "E_FETCH_FAILED", exit: 1 });
    const reasons = bench.events.flatMap((event) => (event.kind === "fetch-failed" ? [event.reason] : []));
    expect(reasons).toHaveLength(urls.length);
    const [refused, name, missing, busy, loop, toFile, silent, stalls, truncated, garbage, ...rest] = reasons;
    expect(refused).toMatch(/refuses the connection/);
    expect(name).toMatch(/no-such-host.invalid cannot be resolved/);
    expect(missing).toBe("HTTP 404 Not Found");
    expect(busy).toBe("HTTP 503 Service Unavailable");
    expect(loop).toBe("more than 10 redirects");
    expect(toFile).toBe("a redirect to file: is not followed");
    expect(silent).toBe("no answer within 0.15 s");
    expect(stalls).toBe(`no byte for 0.15 s after ${HALF} bytes`);
    expect(truncated).toMatch(/^broke off after \d+ of 300000 bytes$/);
    expect(garbage?.length).toBeGreaterThan(3);
    expect(rest).toEqual(["there is no such file", "there is no fetcher for gopher:", "it is not a URL"]);
    const error = await failure.catch((caught: unknown) => caught);
    expect(error).toMatchObject({ details: urls.map((url, index) => `${url}: ${reasons[index]}`) });
    expect(readdirSync(bench.distfiles)).toEqual([]);
  });

  test("the next good one is taken after one with other bytes, which is reported", async () => {
    using bench = openFetchBench();
    const { from } = await realiseFetch(bench.context(), fetchOf([good("/wrong.bin"), good("/good.bin")]));
    expect(from).toBe(good("/good.bin"));
    expect(bench.events).toContainEqual({
      kind: "fetch-failed",
      from: good("/wrong.bin"),
      reason: `wrong sha256: ${sha256("something else")}`,
    });
  });

  test("a wrong digest names both, and nothing is kept", async () => {
    using bench = openFetchBench();
    const failure = realiseFetch(bench.context(), fetchOf([good("/wrong.bin"), good("/missing")]));
    await expect(failure).rejects.toMatchObject({
      code: "E_HASH_MISMATCH",
      details: [
        `expected sha256 ${DIGEST}`,
        `found    sha256 ${sha256("something else")}`,
        `${good("/wrong.bin")}: wrong sha256: ${sha256("something else")}`,
        `${good("/missing")}: HTTP 404 Not Found`,
      ],
    });
    expect(readdirSync(bench.distfiles)).toEqual([]);
    expect(bench.store.all()).toEqual([]);
  });

  test("a recipe without mirrors says so", async () => {
    using bench = openFetchBench();
    await expect(realiseFetch(bench.context(), fetchOf([]))).rejects.toMatchObject({ details: ["the recipe names no place"] });
  });
});

describe("whatever happens on the way", () => {
  test("an interruption ends the transfer and leaves nothing", async () => {
    using bench = openFetchBench();
    const controller = new AbortController();
    const context = bench.context({
      signal: controller.signal,
      emit: () => controller.abort(),
      timeouts: { answerMs: 60_000, stallMs: 60_000 },
    });
    await expect(realiseFetch(context, fetchOf([bad("/silent"), good("/good.bin")]))).rejects.toMatchObject({
      code: "E_INTERRUPTED",
      exit: 130,
    });
    expect(readdirSync(bench.distfiles)).toEqual([]);
  });

  test("an interruption in mid-flow does the same", async () => {
    using bench = openFetchBench();
    const controller = new AbortController();
    const host = localHost();
    const write = (descriptor: number, data: Uint8Array) => {
      controller.abort();
      return host.files.write(descriptor, data);
    };
    const context = bench.context({
      host: { ...host, processIdentity: host.processIdentity, files: { ...host.files, write } },
      signal: controller.signal,
    });
    await expect(realiseFetch(context, fetchOf([bad("/stalls")]))).rejects.toMatchObject({ code: "E_INTERRUPTED" });
    expect(readdirSync(bench.distfiles)).toEqual([]);
  });

  test("a full disk is said to be one, and the next mirror is not blamed for it", async () => {
    using bench = openFetchBench();
    const host = localHost();
    const write = () => {
      throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    };
    const context = bench.context({ host: { ...host, processIdentity: host.processIdentity, files: { ...host.files, write } } });
    await expect(realiseFetch(context, fetchOf([good("/good.bin"), good("/good.bin")]))).rejects.toMatchObject({
      code: "E_NO_SPACE",
    });
    expect(readdirSync(bench.distfiles)).toEqual([]);
    expect(bench.events).toHaveLength(1);
  });

  test("what a killed process left half fetched is swept, and what a living one is fetching is not", async () => {
    using bench = openFetchBench();
    const host = localHost();
    mkdirSync(bench.distfiles, { recursive: true });
    const [boot] = host.processIdentity.split(":");
    const dead = `${bench.distfiles}/.part-${boot}:1:1-7`;
    const living = `${bench.distfiles}/.part-${host.processIdentity}-999`;
    for (const part of [dead, living]) writeFileSync(part, "half");
    await realiseFetch(bench.context(), fetchOf([good("/good.bin")]));
    expect([existsSync(dead), existsSync(living)]).toEqual([false, true]);
  });
});
