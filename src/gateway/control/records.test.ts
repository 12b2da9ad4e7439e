/** What is written down: the audit log, events, figures. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { localHost } from "../../host/index.ts";
import { fakeClock, type TestGateway, testGateway, type TestGatewayOptions } from "../testing.ts";
import { type AuditEntry, type AuditQuery, openAudit } from "./audit.ts";

let place: TestGateway | undefined;
let clock = fakeClock();
const open = async (options: TestGatewayOptions = {}): Promise<TestGateway> => {
  clock = fakeClock();
  place = await testGateway({ now: clock, ...options });
  return place;
};
afterEach(async () => {
  await place?.close();
  place = undefined;
});

const ALL: AuditQuery = { limit: 500, offset: 0, orderAsc: true, tenant: undefined, outcome: undefined, pathPrefix: undefined };

async function json<T>(response: Promise<Response>): Promise<T> {
  return (await (await response).json()) as T;
}

describe("the audit log", () => {
  const audited = async (query = "", apiKey?: string): Promise<readonly AuditEntry[]> =>
    json(
      place?.call(
        "GET",
        `/audit/events?orderAsc=true&${query}`,
        undefined,
        apiKey === undefined ? {} : { "X-API-KEY": apiKey },
      ) ?? Promise.reject(),
    );

  test("has what changes something and what fails, and not what was only read", async () => {
    const { call, key, url } = await open();
    const made = await json<{ sandboxID: string; envdAccessToken: string }>(
      call("POST", "/v2/sandboxes", { templateID: "base" }),
    );
    await call("GET", "/v2/sandboxes");
    await call("GET", `/sandboxes/${made.sandboxID}`);
    await fetch(`${url}/metrics`);
    await fetch(`${url}/v2/sandboxes?metadata=secret`, { headers: { "X-API-KEY": "e2b_secret" } });
    const reader = key("acme", ["read"]);
    await call("POST", "/v2/sandboxes", { templateID: "base" }, { "X-API-KEY": reader });
    await call("GET", "/audit/events", undefined, { "X-API-KEY": reader });
    await call("GET", "/sandboxes/nothing");
    const headers = { "E2b-Sandbox-Id": made.sandboxID, "X-Access-Token": made.envdAccessToken };
    for (const method of ["List", "Start", "SendInput", "Connect"])
      await fetch(`${url}/process.Process/${method}`, { method: "POST", headers });
    await fetch(`${url}/filesystem.Filesystem/Remove`, { method: "POST", headers });
    await fetch(`${url}/files?path=/x&signature=v1_secret`);
    await fetch(`${url}/process.Process/Start`, { method: "POST", headers: { ...headers, "X-Access-Token": "secret" } });

    const entries = await audited();
    expect(entries.map(({ method, path, status, outcome, tenant }) => [method, path, status, outcome, tenant].join(" "))).toEqual(
      [
        "POST /v2/sandboxes 201 ok acme",
        "GET /v2/sandboxes 401 unauthenticated ",
        "POST /v2/sandboxes 403 denied acme",
        "GET /audit/events 403 denied acme",
        "GET /sandboxes/nothing 404 failed acme",
        "POST /process.Process/Start 200 ok acme",
        "POST /filesystem.Filesystem/Remove 200 ok acme",
        "GET /files 401 unauthenticated ",
        "POST /process.Process/Start 401 unauthenticated acme",
      ],
    );
    expect(entries[0]).toMatchObject({
      keyId: place?.apiKey.slice(0, 16),
      remote: "127.0.0.1",
      timestamp: new Date(clock()).toISOString(),
    });
    expect(entries[5]).toMatchObject({ sandboxID: made.sandboxID });
    const file = readFileSync(join(place?.directory ?? "", "gateway/audit.jsonl"), "utf8");
    expect(
      file
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual([...entries]);
    expect([file.includes("secret"), file.includes(reader), file.includes(made.envdAccessToken)]).toEqual([false, false, false]);
    expect(statSync(join(place?.directory ?? "", "gateway/audit.jsonl")).mode & 0o777).toBe(0o600);
  });

  test("is asked by page, tenant, outcome and path", async () => {
    const { call, key } = await open();
    const other = key("other", ["exec"]);
    for (let index = 0; index < 3; index += 1) await call("POST", "/v2/sandboxes", { templateID: "base" });
    for (let index = 0; index < 2; index += 1) await call("DELETE", "/sandboxes/x", undefined, { "X-API-KEY": other });
    const ids = async (query: string): Promise<readonly number[]> => (await audited(query)).map(({ id }) => id);
    expect(await ids("")).toEqual([1, 2, 3, 4, 5]);
    expect(await ids("orderAsc=false")).toEqual([1, 2, 3, 4, 5]);
    expect(await json<AuditEntry[]>(call("GET", "/audit/events?limit=2"))).toMatchObject([{ id: 5 }, { id: 4 }]);
    expect(await ids("limit=2&offset=1")).toEqual([2, 3]);
    expect(await ids("tenant=other")).toEqual([4, 5]);
    expect(await ids("outcome=ok")).toEqual([1, 2, 3]);
    expect(await ids("pathPrefix=/sandboxes")).toEqual([4, 5]);
    const counted = await call("GET", "/audit/events?limit=1&tenant=acme");
    expect(counted.headers.get("x-total-count")).toBe("3");
    for (const query of ["limit=0", "limit=x", "offset=-1", "outcome=bad"])
      expect((await call("GET", `/audit/events?${query}`)).status).toBe(400);
    expect((await call("GET", "/audit/events", undefined, { "X-API-KEY": other })).status).toBe(403);
  });

  describe("in its files", () => {
    let directory: string;
    let faults: unknown[];
    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), "garth-audit-"));
      faults = [];
    });
    afterEach(() => rmSync(directory, { recursive: true, force: true }));
    const file = () => join(directory, "audit.jsonl");
    const log = (auditFileBytes = 20_000, auditMax = 50) =>
      openAudit({ files: localHost().files, file: file(), auditMax, auditFileBytes, onFault: (error) => faults.push(error) });
    const entry = (path: string): Omit<AuditEntry, "id"> => ({
      timestamp: "2026-01-01T00:00:00.000Z",
      tenant: null,
      keyId: null,
      method: "GET",
      path,
      status: 404,
      outcome: "failed",
      message: "x\ny",
      sandboxID: null,
      remote: null,
      userAgent: "\u0000ü",
      durationMs: 0,
    });
    const paths = (audit: ReturnType<typeof log>): readonly string[] => audit.list(ALL).events.map(({ path }) => path);

    test("never takes more room than it was given, and never holds more than it was told", () => {
      const audit = log();
      for (let index = 0; index < 2000; index += 1) audit.record(entry(`/${index}`));
      expect(statSync(file()).size + statSync(`${file()}.1`).size).toBeLessThanOrEqual(20_000);
      expect(paths(audit)).toEqual(Array.from({ length: 50 }, (_, index) => `/${1950 + index}`));
    });

    test("is what an earlier process left, half a line excepted", () => {
      const first = log();
      for (let index = 0; index < 60; index += 1) first.record(entry(`/${index}`));
      appendFileSync(file(), '{"id": 61, "time');
      const second = log();
      expect(paths(second)).toEqual(Array.from({ length: 50 }, (_, index) => `/${10 + index}`));
      second.record(entry("/new"));
      expect(second.list({ ...ALL, orderAsc: false, limit: 1 }).events).toMatchObject([{ id: 61, path: "/new" }]);
      expect(paths(log()).at(-1)).toBe("/new");
      expect(faults).toEqual([]);
    });

    test("that cannot be written stops no request, and is told", () => {
      const audit = log();
      rmSync(directory, { recursive: true });
      writeFileSync(directory, "");
      audit.record(entry("/a"));
      expect([paths(audit), faults.length]).toEqual([["/a"], 1]);
    });

    test("is short, however long the request was", () => {
      const audit = log();
      audit.record({ ...entry(`/${"x".repeat(10_000)}`), userAgent: "y".repeat(10_000) });
      expect(statSync(file()).size).toBeLessThan(2000);
    });
  });
});

interface Event {
  readonly type: string;
  readonly sandboxId: string;
  readonly eventData: Readonly<Record<string, unknown>>;
}

describe("events", () => {
  const list = (path: string, headers: Record<string, string> = {}): Promise<Event[]> =>
    json(place?.call("GET", path, undefined, headers) ?? Promise.reject());

  test("have E2B's fields, and say why", async () => {
    const { call } = await open();
    const { sandboxID: id } = await json<{ sandboxID: string }>(
      call("POST", "/v2/sandboxes", { templateID: "standard", metadata: { user: "ann" }, timeout: 60 }),
    );
    clock.advance(2000);
    await call("POST", `/sandboxes/${id}/timeout`, { timeout: 120 });
    await call("POST", `/sandboxes/${id}/pause`);
    clock.advance(1000);
    await call("POST", `/v2/sandboxes/${id}/connect`, { timeout: 60 });
    clock.advance(500);
    await call("DELETE", `/sandboxes/${id}`);
    const events = await list(`/events/sandboxes/${id}?orderAsc=true`);
    const [born, , , woken] = events as unknown as { readonly sandboxExecutionId: string }[];
    expect(born?.sandboxExecutionId).not.toBe(woken?.sandboxExecutionId ?? "");
    const common = {
      version: "v2",
      id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
      sandboxBuildId: "0".repeat(64),
      sandboxExecutionId: expect.any(String),
      sandboxId: id,
      sandboxTeamId: "acme",
      sandboxTemplateId: "base",
      timestamp: expect.any(String),
    };
    const sandbox_metadata = { user: "ann" };
    const at = (ms: number): string => new Date(Date.UTC(2026, 0, 1) + ms).toISOString();
    const execution = (fromMs: number, ms: number) => ({
      started_at: at(fromMs),
      vcpu_count: 1,
      memory_mb: 256,
      execution_time: ms,
    });
    expect(events as unknown[]).toEqual([
      { ...common, type: "sandbox.lifecycle.created", eventData: { sandbox_metadata } },
      { ...common, type: "sandbox.lifecycle.updated", eventData: { sandbox_metadata, set_timeout: at(122_000) } },
      {
        ...common,
        type: "sandbox.lifecycle.paused",
        eventData: { sandbox_metadata, execution: execution(0, 2000), reason: "request" },
      },
      { ...common, type: "sandbox.lifecycle.resumed", eventData: { sandbox_metadata, reason: "request" } },
      {
        ...common,
        type: "sandbox.lifecycle.killed",
        eventData: { sandbox_metadata, execution: execution(3000, 500), reason: "request" },
      },
    ]);
  });

  test("are asked by page and type, and are a tenant's own, also after its sandbox", async () => {
    const { call, key } = await open();
    const ids: string[] = [];
    for (let index = 0; index < 8; index += 1) {
      const { sandboxID } = await json<{ sandboxID: string }>(call("POST", "/v2/sandboxes", { templateID: "base" }));
      await call("DELETE", `/sandboxes/${sandboxID}`);
      ids.push(sandboxID);
    }
    expect((await list("/events/sandboxes")).length).toBe(10);
    expect((await list("/events/sandboxes?limit=100")).length).toBe(16);
    expect(await list("/events/sandboxes?limit=1")).toMatchObject([{ type: "sandbox.lifecycle.killed", sandboxId: ids[7] }]);
    expect(await list("/events/sandboxes?orderAsc=true&limit=2&offset=2")).toMatchObject([
      { sandboxId: ids[1] },
      { sandboxId: ids[1] },
    ]);
    const killed = await list("/events/sandboxes?types=sandbox.lifecycle.killed&limit=100");
    expect(killed.map(({ sandboxId }) => sandboxId)).toEqual(ids.toReversed());
    const both = "types=sandbox.lifecycle.killed&types=sandbox.lifecycle.created";
    expect((await list(`/events/sandboxes/${ids[0]}?${both}`)).length).toBe(2);
    const other = { "X-API-KEY": key("other", ["admin"]) };
    expect([await list("/events/sandboxes", other), await list(`/events/sandboxes/${ids[0]}`, other)]).toEqual([[], []]);
    for (const query of ["limit=0", "limit=x", "offset=-1", "types=born"])
      expect((await call("GET", `/events/sandboxes?${query}`)).status).toBe(400);
    await place?.restart();
    expect((await list("/events/sandboxes?limit=100")).length).toBe(16);
  });

  test("are kept up to a number", async () => {
    const { call, ledger } = await open({ configuration: { eventsMax: 20 } });
    const { sandboxID } = await json<{ sandboxID: string }>(call("POST", "/v2/sandboxes", { templateID: "base" }));
    for (let index = 0; index < 250; index += 1) await call("POST", `/sandboxes/${sandboxID}/timeout`, { timeout: 60 });
    const kept = Number(ledger.statement("SELECT count(*) AS n FROM gateway_event").get()?.["n"]);
    // Removed now and then, not each time.
    expect([kept >= 20, kept <= 120]).toEqual([true, true]);
  });
});

describe("figures", () => {
  const figures = async (): Promise<ReadonlyMap<string, number>> => {
    const response = await fetch(`${place?.url}/metrics`);
    expect(response.headers.get("content-type")).toStartWith("text/plain");
    const lines = (await response.text()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]));
  };

  test("count sandboxes, machines, checkouts, requests, and what was written down", async () => {
    const { call, pools, gateway } = await open();
    const make = async (body: object = {}) =>
      (await json<{ sandboxID: string }>(call("POST", "/v2/sandboxes", { templateID: "base", ...body }))).sandboxID;
    const [paused, , killed] = [await make(), await make({ timeout: 1 }), await make()];
    pools.tier = "cold";
    await make();
    await call("POST", `/sandboxes/${paused}/pause`);
    await call("DELETE", `/sandboxes/${killed}`);
    await call("GET", "/sandboxes/x");
    await call("GET", "/nothing/at/all");
    clock.advance(1000);
    await gateway.tick();
    const found = await figures();
    expect(Object.fromEntries([...found].filter(([name]) => !name.includes("_bucket")))).toMatchObject({
      garth_uptime_seconds: 1,
      'garth_sandboxes{pool="base",state="running"}': 1,
      'garth_sandboxes{pool="base",state="paused"}': 1,
      'garth_pool_entries{pool="base",state="in-use"}': 1,
      'garth_pool_entries{pool="base",state="paused"}': 1,
      'garth_sandboxes_created_total{pool="base"}': 4,
      'garth_sandboxes_killed_total{pool="base",reason="timeout"}': 1,
      'garth_sandboxes_killed_total{pool="base",reason="request"}': 1,
      'garth_sandboxes_paused_total{pool="base"}': 1,
      'garth_sandboxes_reaped_total{pool="base"}': 1,
      'garth_checkout_duration_seconds_count{how="hot"}': 3,
      'garth_checkout_duration_seconds_count{how="cold"}': 1,
      'garth_checkout_misses_total{pool="base"}': 1,
      'garth_http_requests_total{route="/v2/sandboxes",method="POST",status="201"}': 4,
      'garth_http_requests_total{route="/sandboxes/:sandboxID",method="GET",status="404"}': 1,
      'garth_http_requests_total{route="unmatched",method="GET",status="404"}': 1,
      'garth_audit_events_total{outcome="ok"}': 6,
      'garth_audit_events_total{outcome="failed"}': 2,
    });
  });

  test("of a sandbox are asked with its name, and are something else", async () => {
    const { call, url } = await open();
    const made = await json<{ sandboxID: string; envdAccessToken: string }>(
      call("POST", "/v2/sandboxes", { templateID: "base" }),
    );
    const headers = { "E2b-Sandbox-Id": made.sandboxID, "X-Access-Token": made.envdAccessToken };
    expect(await json<unknown>(fetch(`${url}/metrics`, { headers }))).toMatchObject({ cpu_count: 1 });
    expect(await json<unknown>(fetch(`${url}/health`))).toEqual({ status: "ok" });
    expect((await fetch(`${url}/health`, { headers })).status).toBe(204);
  });
});

test("a tenant is told who it is, what it has and what it may have", async () => {
  const { call, key } = await open({ configuration: { tenantLimits: "*=5" } });
  await call("POST", "/v2/sandboxes", { templateID: "base" });
  const whoami = await json<unknown>(call("GET", "/auth/whoami"));
  expect(whoami).toEqual({
    tenant: "acme",
    scopes: ["admin"],
    keyID: place?.apiKey.slice(0, 16),
    expiresAt: null,
    sandboxes: { used: 1, max: 5 },
  });
  const limited = key("other", ["read"], { sandboxesMax: 2, expiresAtMs: clock() + 1000 });
  expect(await json<unknown>(call("GET", "/auth/whoami", undefined, { "X-API-KEY": limited }))).toMatchObject({
    tenant: "other",
    expiresAt: new Date(clock() + 1000).toISOString(),
    sandboxes: { used: 0, max: 2 },
  });
  expect(await json<unknown>(call("GET", "/teams"))).toEqual([
    { teamID: "acme", name: "acme", apiKey: `${place?.apiKey.slice(0, 16)}...`, isDefault: true },
  ]);
  const templates = await json<unknown>(call("GET", "/templates"));
  expect(templates).toMatchObject([
    { templateID: "base", aliases: ["standard"], names: ["base", "standard"], cpuCount: 1, memoryMB: 256 },
  ]);
  expect(await json<unknown>(call("GET", "/v2/templates"))).toEqual(templates);
  expect(await json<unknown>(call("GET", "/templates/aliases/standard"))).toEqual({ templateID: "base", public: true });
  expect((await call("GET", "/templates/aliases/nothing")).status).toBe(404);
});

test("lists of old, logs, and figures of many at once", async () => {
  const { call } = await open();
  const make = async (metadata: object) =>
    (await json<{ sandboxID: string }>(call("POST", "/sandboxes", { templateID: "base", metadata, secure: true }))).sandboxID;
  const [one, two] = [await make({ a: "1" }), await make({ a: "2" })];
  await call("POST", `/sandboxes/${two}/pause`);
  expect(await json<unknown[]>(call("GET", "/sandboxes"))).toMatchObject([{ sandboxID: one, state: "running" }]);
  expect(await json<unknown[]>(call("GET", "/sandboxes?metadata=a%3D2"))).toEqual([]);
  const listed = await call("GET", "/v2/sandboxes?state=running,paused");
  expect([((await listed.json()) as unknown[]).length, listed.headers.get("x-total-running")]).toEqual([2, "1"]);
  expect(await json<unknown>(call("GET", `/sandboxes/${one}/logs`))).toMatchObject({ logs: [{ line: "base-1 login: " }] });
  expect(await json<unknown>(call("GET", `/v2/sandboxes/${one}/logs`))).toMatchObject({
    logs: [{ message: "base-1 login: ", level: "info" }],
  });
  const many = await json<{ sandboxes: object }>(call("GET", `/sandboxes/metrics?sandbox_ids=${one},${"z".repeat(20)}`));
  expect(Object.keys(many.sandboxes)).toEqual([one]);
});
