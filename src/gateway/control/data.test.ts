/** Requests to sandboxes: by header, by host name, by signature; let in or not; 502 for what is not there. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { Sandbox } from "e2b";
import { type TestGateway, testGateway } from "../testing.ts";

let place: TestGateway;
let sandbox: Sandbox;
beforeEach(async () => {
  place = await testGateway({ configuration: { domain: "sbx.test:3000" } });
  sandbox = await Sandbox.create("base", place.connection);
});
afterEach(() => place.close());

interface Seen {
  readonly code?: unknown;
  readonly body?: string;
}
const seenBy = async (answer: Response): Promise<Seen> => (await answer.json()) as Seen;
const token = (): string => Reflect.get(sandbox, "envdAccessToken");
const status = async (work: Promise<Response>): Promise<number> => (await work).status;
function ask(path: string, headers: Record<string, string>, init: RequestInit = {}): Promise<Response> {
  return fetch(`${place.url}${path}`, { ...init, headers, redirect: "manual" });
}
const named = (port: number, more: Record<string, string> = {}): Record<string, string> => ({
  "E2b-Sandbox-Id": sandbox.sandboxId,
  "E2b-Sandbox-Port": String(port),
  ...more,
});

const PATHS = [
  ["POST", "/process.Process/Start"],
  ["POST", "/process.Process/List"],
  ["POST", "/filesystem.Filesystem/Stat"],
  ["GET", "/files?path=/etc/hostname"],
  ["POST", "/files?path=/tmp/x"],
  ["GET", "/health"],
  ["GET", "/metrics"],
  ["GET", "/envs"],
  ["POST", "/init"],
  ["POST", "/files/compose"],
  ["POST", "/execute"],
  ["GET", "/contexts"],
  ["DELETE", "/contexts/x"],
  ["GET", "/no/such/path"],
] as const;

describe("a sandbox that is not there", () => {
  test.each(PATHS)("%s %s is 502 and JSON, by header and by host name", async (method, path) => {
    const nobody = "z".repeat(20);
    await sandbox.kill();
    const port = path.startsWith("/execute") || path.startsWith("/contexts") ? 49_999 : 49_983;
    for (const id of [nobody, sandbox.sandboxId, "../etc"]) {
      const headers = { "E2b-Sandbox-Id": id, "E2b-Sandbox-Port": String(port), "X-Access-Token": token() };
      const answer = await ask(path, headers, { method });
      expect([answer.status, await answer.json()]).toEqual([502, { code: 502, message: expect.stringContaining("not found") }]);
    }
    const byHost = await ask(path, { Host: `${port}-${nobody}.sbx.test:3000` }, { method });
    expect([byHost.status, await byHost.json()]).toEqual([502, { code: 502, message: `sandbox ${nobody} was not found` }]);
  });

  test("is 502 on its own ports too", async () => {
    expect(await status(ask("/", { "E2b-Sandbox-Id": "z".repeat(20), "E2b-Sandbox-Port": "8000" }))).toBe(502);
  });
});

describe("a sandbox that is there", () => {
  test("is reached by header, and by host name", async () => {
    const access = { "X-Access-Token": token() };
    const byHeader = await ask("/process.Process/List", named(49_983, access), { method: "POST", body: "{}" });
    const expected = { part: "connect", sandbox: sandbox.sandboxId, path: "/process.Process/List", body: "{}" };
    expect([byHeader.status, await byHeader.json()]).toEqual([200, expected]);
    for (const host of [`49983-${sandbox.sandboxId}.sbx.test:3000`, `49983-${sandbox.sandboxId}.SBX.TEST`]) {
      const byHost = await ask("/process.Process/List", { Host: host, ...access }, { method: "POST", body: "{}" });
      expect([byHost.status, await byHost.json()]).toEqual([200, expected]);
    }
  });

  test.each([
    ["/process.Process/List", 49_983],
    ["/filesystem.Filesystem/Stat", 49_983],
    ["/files?path=/x", 49_983],
    ["/metrics", 49_983],
    ["/envs", 49_983],
    ["/init", 49_983],
    ["/execute", 49_999],
  ])("%s asks for its token", async (path, port) => {
    const other = await Sandbox.create("base", place.connection);
    for (const wrong of [undefined, "", "f".repeat(64), Reflect.get(other, "envdAccessToken")]) {
      const headers = named(port, wrong === undefined ? {} : { "X-Access-Token": wrong });
      const answer = await ask(path, headers, { method: "POST", body: "{}" });
      const code = path.includes(".") ? "unauthenticated" : 401;
      expect([answer.status, (await seenBy(answer)).code]).toEqual([401, code]);
    }
  });

  test("an API key is no token of a sandbox, and its token no API key", async () => {
    expect(await status(ask("/files?path=/x", named(49_983, { "X-API-KEY": place.apiKey })))).toBe(401);
    expect(await status(ask("/v2/sandboxes", { "X-API-KEY": token() }))).toBe(401);
  });

  test("contexts go by the name of the sandbox alone, but not with a wrong token", async () => {
    expect(await status(ask("/contexts", named(49_999)))).toBe(200);
    expect(await status(ask("/contexts", named(49_999, { "X-Access-Token": token() })))).toBe(200);
    expect(await status(ask("/contexts", named(49_999, { "X-Access-Token": "wrong" })))).toBe(401);
    expect(await status(ask("/contexts", named(49_999, { "E2B-Traffic-Access-Token": "wrong" })))).toBe(401);
    const closed = await Sandbox.create("base", { ...place.connection, network: { allowPublicTraffic: false } });
    const headers = { "E2b-Sandbox-Id": closed.sandboxId, "E2b-Sandbox-Port": "49999" };
    expect(await status(ask("/contexts", headers))).toBe(401);
    expect(await status(ask("/contexts", { ...headers, "E2B-Traffic-Access-Token": closed.trafficAccessToken ?? "" }))).toBe(200);
  });

  test("says how it is without a token: 204 and nothing", async () => {
    const answer = await ask("/health", named(49_983));
    expect([answer.status, await answer.text()]).toEqual([204, ""]);
    expect(await status(ask("/health", named(49_999)))).toBe(204);
  });

  test("tells its environment and what it uses", async () => {
    const other = await Sandbox.create("base", { ...place.connection, envs: { A: "1" } });
    const headers = { "E2b-Sandbox-Id": other.sandboxId, "X-Access-Token": Reflect.get(other, "envdAccessToken") };
    expect(await (await ask("/envs", headers)).json()).toEqual({ A: "1" });
    expect(await (await ask("/metrics", headers)).json()).toMatchObject({
      cpu_count: 1,
      cpu_used_pct: 12.5,
      mem_total: 256 * 1024 ** 2,
    });
  });

  test("whose machine answers no more is 502, and asked again the next time", async () => {
    const { pools } = place;
    const { Problem } = await import("../../base/index.ts");
    pools.fail("guest", new Problem({ code: "E_GUEST_UNREACHABLE", message: "no answer" }));
    const headers = named(49_983, { "X-Access-Token": token() });
    expect(await status(ask("/process.Process/List", headers, { method: "POST" }))).toBe(502);
    expect(await status(ask("/process.Process/List", headers, { method: "POST" }))).toBe(200);
  });
});

describe("signed URLs of files", () => {
  /** As E2B_SANDBOX_URL makes them: without the name of the sandbox. */
  const url = async (expiration?: number): Promise<URL> =>
    new URL(
      await sandbox.downloadUrl("/a b+c.txt", {
        user: "ann",
        ...(expiration === undefined ? {} : { useSignatureExpiration: expiration }),
      }),
    );

  test("are found by their signature, among many sandboxes", async () => {
    const others = await Promise.all(Array.from({ length: 5 }, () => Sandbox.create("base", place.connection)));
    const signed = await url(60);
    expect(signed.host).toBe(new URL(place.url).host);
    const answer = await fetch(signed);
    expect(await answer.json()).toMatchObject({ part: "files", sandbox: sandbox.sandboxId });
    const upload = await sandbox.uploadUrl("/x");
    expect((await seenBy(await fetch(upload, { method: "POST", body: "data" }))).body).toBe("data");
    for (const other of others) {
      expect(await (await fetch(await other.downloadUrl("/x"))).json()).toMatchObject({ sandbox: other.sandboxId });
    }
  });

  test("open nothing else, nor later, nor a sandbox that is gone", async () => {
    const signed = await url(60);
    const changed = (name: string, value: string): URL => {
      const copy = new URL(signed);
      copy.searchParams.set(name, value);
      return copy;
    };
    expect(await status(fetch(changed("path", "/etc/shadow")))).toBe(401);
    expect(await status(fetch(changed("username", "root")))).toBe(401);
    expect(await status(fetch(changed("signature_expiration", "99999999999")))).toBe(401);
    expect(await status(fetch(changed("signature", "v1_x")))).toBe(401);
    expect(await status(fetch(signed, { method: "POST", body: "x" }))).toBe(401);
    expect(await status(fetch(await url(-10)))).toBe(401);
    expect(await status(fetch(`${place.url}/files?path=/x`))).toBe(401);
    await sandbox.kill();
    expect(await status(fetch(signed))).toBe(401);
  });

  test("with the name of the sandbox, too; a wrong one is 401 and not 502", async () => {
    const signed = await url();
    const path = `${signed.pathname}${signed.search}`;
    expect(await status(ask(path, named(49_983)))).toBe(200);
    expect(await status(ask(path, { Host: `49983-${sandbox.sandboxId}.sbx.test` }))).toBe(200);
    expect(await status(ask(`${path}x`, named(49_983)))).toBe(401);
    expect(await status(ask(path.replace("signature=v1_", "signature=v1_A"), named(49_983)))).toBe(401);
  });

  test("wake a sandbox that wakes by itself", async () => {
    const waker = await Sandbox.create("base", { ...place.connection, lifecycle: { onTimeout: "pause", autoResume: true } });
    const signed = await waker.downloadUrl("/x");
    await waker.pause();
    expect(await status(fetch(signed))).toBe(200);
    expect((await waker.getInfo()).state).toBe("running");
  });
});
