/** The handler behind a real server on loopback, asked by curl. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { publish, readRepository, repositoryHandler, sourceOf, verifyRepository } from "./index.ts";
import { codeOf, workshop } from "./testing.ts";

const shop = workshop();
const { host, keyFile, pack, publicPem } = shop;
const NOW = Date.UTC(2026, 10, 21, 12);
const directory = shop.directory("served");
await publish(host, {
  directory,
  add: [pack({ name: "a", version: "1.0_2,1" }, { "/usr/local/x": "x".repeat(100_000) })],
  keyFile,
  nowMs: NOW,
});
const handler = repositoryHandler(host, directory);
const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: handler });
afterAll(async () => {
  await server.stop(true);
  shop[Symbol.dispose]();
});
const base = `http://127.0.0.1:${server.port}`;
const packagePath = `All/${readlinkSync(join(directory, "All/a-1.0_2,1.pkg"))}`;
const whole = readFileSync(join(directory, packagePath));

interface Answer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

async function curl(path: string, ...options: readonly string[]): Promise<Answer> {
  const headerFile = join(shop.root, `headers-${Math.floor(performance.now() * 1000)}`);
  const argv = [
    "curl",
    "--silent",
    "--show-error",
    "--path-as-is",
    "--max-time",
    "10",
    "--dump-header",
    headerFile,
    ...options,
    `${base}${path}`,
  ];
  const child = Bun.spawn(argv, { stdout: "pipe" });
  const body = Buffer.from(await new Response(child.stdout).arrayBuffer());
  expect(await child.exited).toBe(0);
  const [first = "", ...lines] = readFileSync(headerFile, "latin1").trim().split("\r\n");
  const headers = new Map(
    lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
  );
  return { status: Number(first.split(" ")[1]), headers, body };
}

describe("files", () => {
  test("are sent whole, with what caches need", async () => {
    const answer = await curl("/data.pkg");
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual(readFileSync(join(directory, "data.pkg")));
    expect(answer.headers.get("etag")).toMatch(/^"[0-9a-f-]+"$/);
    expect(answer.headers.get("last-modified")).toBe("Sat, 21 Nov 2026 12:00:00 GMT");
    expect(answer.headers.get("cache-control")).toBe("no-cache");
    expect((await curl(`/${packagePath}`)).headers.get("cache-control")).toContain("immutable");
    expect((await curl("/meta.conf")).headers.get("content-type")).toBe("text/plain; charset=utf-8");
  });
  test("by the name for people too, and with names in percent encoding", async () => {
    expect((await curl("/All/a-1.0_2,1.pkg")).body).toEqual(whole);
    expect((await curl("/All/a-1.0%5f2%2C1.pkg")).body).toEqual(whole);
  });
  test("HEAD says the same without a body", async () => {
    const answer = await curl(`/${packagePath}`, "--head");
    expect([answer.status, answer.headers.get("content-length"), answer.body.length]).toEqual([
      200,
      String(whole.length),
      answer.body.length,
    ]);
    expect(answer.headers.get("accept-ranges")).toBe("bytes");
  });
});

describe("conditional requests", () => {
  test("by tag and by date", async () => {
    const { headers } = await curl("/data.pkg");
    const [etag = "", date = ""] = [headers.get("etag"), headers.get("last-modified")];
    const status = async (...lines: readonly string[]): Promise<number> =>
      (await curl("/data.pkg", ...lines.flatMap((line) => ["--header", line]))).status;
    expect(await status(`If-None-Match: ${etag}`)).toBe(304);
    expect(await status(`If-None-Match: W/${etag}, "x"`)).toBe(304);
    expect(await status("If-None-Match: *")).toBe(304);
    expect(await status('If-None-Match: "x"')).toBe(200);
    expect(await status(`If-Modified-Since: ${date}`)).toBe(304);
    expect(await status("If-Modified-Since: Sat, 21 Nov 2026 11:59:59 GMT")).toBe(200);
    expect(await status("If-Modified-Since: yesterday")).toBe(200);
    // The tag goes before the date.
    expect(await status('If-None-Match: "x"', `If-Modified-Since: ${date}`)).toBe(200);
    expect(await status(`If-Match: ${etag}`)).toBe(200);
    expect(await status('If-Match: "x"')).toBe(412);
    expect(await status("If-Unmodified-Since: Sat, 21 Nov 2026 11:59:59 GMT")).toBe(412);
  });
});

describe("ranges", () => {
  const { length } = whole;
  const range = (value: string, ...more: readonly string[]) => curl(`/${packagePath}`, "--header", `Range: ${value}`, ...more);
  test("from, to, open and from the end", async () => {
    for (const [value, start, end] of [
      ["bytes=0-0", 0, 1],
      ["bytes=10-19", 10, 20],
      [`bytes=${length - 5}-`, length - 5, length],
      ["bytes=-7", length - 7, length],
      [`bytes=-${length * 2}`, 0, length],
      [`bytes=1-${length * 2}`, 1, length],
    ] as const) {
      const answer = await range(value);
      expect([value, answer.status, answer.headers.get("content-range")]).toEqual([
        value,
        206,
        `bytes ${start}-${end - 1}/${length}`,
      ]);
      expect(answer.body).toEqual(whole.subarray(start, end));
    }
  });
  test("that cannot be are 416; that make no sense are ignored", async () => {
    for (const value of [`bytes=${length}-`, "bytes=-0"]) {
      const answer = await range(value);
      expect([answer.status, answer.headers.get("content-range")]).toEqual([416, `bytes */${length}`]);
    }
    for (const value of ["bytes=5-2", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,3-4"])
      expect([value, (await range(value)).status]).toEqual([value, 200]);
  });
  test("hold only for the file they were begun with", async () => {
    const { headers } = await curl(`/${packagePath}`);
    expect((await range("bytes=0-1", "--header", `If-Range: ${headers.get("etag")}`)).status).toBe(206);
    expect((await range("bytes=0-1", "--header", `If-Range: ${headers.get("last-modified")}`)).status).toBe(206);
    expect((await range("bytes=0-1", "--header", 'If-Range: "x"')).status).toBe(200);
  });
});

describe("what is not served", () => {
  mkdirSync(join(directory, "All/sub"));
  symlinkSync("/etc/passwd", join(directory, "All/leak.pkg"));
  writeFileSync(join(directory, "secret.key"), "x");
  for (const path of [
    "/",
    "/All",
    "/All/",
    "/All/sub",
    "/.garth/lock",
    "/.garth/current/data.pkg",
    "/../../etc/passwd",
    "/All/../../../etc/passwd",
    "/All/%2e%2e/%2e%2e/etc/passwd",
    "/All/..%2f..%2fsecret.key",
    "/All//a-1.0_2,1.pkg",
    "/All/leak.pkg",
    "/secret.key",
    "/nothing.pkg",
    "/data.pkg%00.txt",
    "/data.pkg/",
    "/%ff%fe",
    `/${"x".repeat(3000)}`,
  ]) {
    test(path.slice(0, 40), async () => expect((await curl(path)).status).toBe(404));
  }
  test("anything but GET and HEAD", async () => {
    for (const method of ["POST", "PUT", "DELETE"]) {
      const answer = await curl("/data.pkg", "--request", method);
      expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    }
  });
});

describe("together with the reader", () => {
  const trust = { mode: "pubkey", publicPem } as const;
  test("a repository verifies over HTTP as it does on disk", async () => {
    const report = await verifyRepository(host, sourceOf(host, base), { trust, nowMs: NOW });
    expect(report).toMatchObject({ packageCount: 1, lint: [], bad: [] });
    expect(await codeOf(() => readRepository(host, sourceOf(host, `${base}/none`), { trust, nowMs: NOW }))).toBe(
      "E_CATALOGUE_MISSING",
    );
  });
  test("a response begun under one catalogue ends under it, while another is published", async () => {
    const before = readFileSync(join(directory, "data.pkg"));
    const response = await handler(new Request(`${base}/data.pkg`));
    await publish(host, { directory, add: [pack({ name: "b" })], keyFile, nowMs: NOW });
    expect(Buffer.from(await response.arrayBuffer())).toEqual(before);
    expect((await curl("/data.pkg", "--header", "If-Modified-Since: Sat, 21 Nov 2026 12:00:00 GMT")).status).toBe(200);
    const { catalogue } = await readRepository(host, sourceOf(host, base), { trust, nowMs: NOW });
    expect(catalogue.entries.length).toBe(2);
  });
  test("a server that is not there", async () => {
    expect(await codeOf(() => readRepository(host, sourceOf(host, "http://127.0.0.1:1"), { trust, nowMs: NOW }))).toBe(
      "E_FETCH_FAILED",
    );
  });
});
