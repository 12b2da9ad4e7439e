/** Webhooks, received by a real server. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createHash, createHmac } from "node:crypto";
import { type TestGateway, testGateway, type TestGatewayOptions } from "../testing.ts";

interface Received {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

let place: TestGateway;
let received: Received[] = [];
let waiting: (() => void)[] = [];
let answers: (number | "never")[] = [];
let receiver: ReturnType<typeof Bun.serve>;

beforeEach(() => {
  [received, waiting, answers] = [[], [], []];
  receiver = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      received.push({
        path: new URL(request.url).pathname,
        headers: Object.fromEntries(request.headers),
        body: await request.text(),
      });
      for (const look of waiting.splice(0)) look();
      const answer = answers.shift() ?? 200;
      if (answer === "never") return new Promise<Response>(() => undefined);
      return new Response("x".repeat(100), { status: answer, headers: answer === 302 ? { Location: "/elsewhere" } : {} });
    },
  });
});
afterEach(async () => {
  await place.close();
  await receiver.stop(true);
});

const SECRET = "a secret of mine";
const open = async (configuration: TestGatewayOptions["configuration"] = {}): Promise<TestGateway> => {
  place = await testGateway({
    configuration: { webhooksPrivate: true, webhookBackoffMs: [1, 1], webhookTimeoutMs: 500, ...configuration },
  });
  return place;
};

async function until(count: number): Promise<void> {
  while (received.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
}

async function add(change: object = {}): Promise<string> {
  const events = ["sandbox.lifecycle.created", "sandbox.lifecycle.killed"];
  const url = `${receiver.url.href}hook`;
  const answer = await place.call("POST", "/events/webhooks", {
    name: "mine",
    url,
    enabled: true,
    events,
    signatureSecret: SECRET,
    ...change,
  });
  expect(answer.status).toBe(201);
  return ((await answer.json()) as { id: string }).id;
}

async function make(): Promise<string> {
  const answer = await place.call("POST", "/v2/sandboxes", { templateID: "base" });
  return ((await answer.json()) as { sandboxID: string }).sandboxID;
}

interface Delivery {
  readonly status: string;
  readonly attempt: number;
  readonly responseStatus: number | null;
  readonly error: string | null;
  readonly eventType: string;
}
const deliveries = async (id: string): Promise<readonly Delivery[]> =>
  (await (await place.call("GET", `/events/webhooks/${id}/deliveries`)).json()) as Delivery[];
/** The newest of `count`. */
async function delivered(id: string, count: number): Promise<readonly Delivery[]> {
  for (;;) {
    const all = await deliveries(id);
    if (all.length >= count) return all;
  }
}

test("events arrive in their order, signed as E2B signs them and with an HMAC", async () => {
  await open();
  const id = await add();
  const sandbox = await make();
  await place.call("POST", `/sandboxes/${sandbox}/pause`);
  await place.call("DELETE", `/sandboxes/${sandbox}`);
  await until(2);
  expect(received.map(({ path, body }) => [path, (JSON.parse(body) as { type: string }).type])).toEqual([
    ["/hook", "sandbox.lifecycle.created"],
    ["/hook", "sandbox.lifecycle.killed"],
  ]);
  for (const { headers, body } of received) {
    expect(headers["e2b-signature"]).toBe(
      createHash("sha256")
        .update(SECRET + body)
        .digest("base64")
        .replace(/=+$/, ""),
    );
    expect(headers["garth-signature"]).toBe(`sha256=${createHmac("sha256", SECRET).update(body).digest("hex")}`);
    expect(headers).toMatchObject({ "e2b-webhook-id": id, "e2b-signature-version": "v1", "content-type": "application/json" });
    expect(JSON.parse(body)).toMatchObject({ sandboxId: sandbox, sandboxTeamId: "acme" });
  }
  const all = await delivered(id, 2);
  expect(all.map(({ eventType, status, responseStatus }) => [eventType, status, responseStatus])).toEqual([
    ["sandbox.lifecycle.killed", "success", 200],
    ["sandbox.lifecycle.created", "success", 200],
  ]);
});

test("one that fails is tried again as often as was said, and then no more; the next event gets its turn", async () => {
  await open();
  const id = await add();
  answers = [500, 302, "never", 200];
  await make();
  await make();
  await until(4);
  const all = await delivered(id, 4);
  expect(all.toReversed().map(({ attempt, status, responseStatus, error }) => [attempt, status, responseStatus, error])).toEqual([
    [1, "failed", 500, "the answer was 500"],
    // Not followed.
    [2, "failed", 302, "the answer was 302"],
    [3, "failed", null, "no answer within 500 ms"],
    [1, "success", 200, null],
  ]);
  expect(received.map(({ path }) => path)).toEqual(["/hook", "/hook", "/hook", "/hook"]);
  const text = await (await fetch(`${place.url}/metrics`)).text();
  expect(text).toContain('garth_webhook_deliveries_total{outcome="failed"} 1');
  expect(text).toContain('garth_webhook_deliveries_total{outcome="delivered"} 1');
});

test("are shown without their secret, changed, switched off and removed; another tenant's do not exist", async () => {
  const { call, key } = await open();
  const id = await add();
  const shown = {
    id,
    teamId: "acme",
    name: "mine",
    enabled: true,
    url: `${receiver.url.href}hook`,
    createdAt: expect.any(String),
  };
  const listed = (await (await call("GET", "/events/webhooks")).json()) as unknown[];
  expect(listed).toEqual([{ ...shown, events: ["sandbox.lifecycle.created", "sandbox.lifecycle.killed"] }]);
  expect(JSON.stringify(listed)).not.toContain(SECRET);
  const other = { "X-API-KEY": key("other", ["admin"]) };
  for (const [method, path] of [
    ["GET", ""],
    ["PATCH", ""],
    ["DELETE", ""],
    ["GET", "/deliveries"],
  ] as const) {
    expect((await call(method, `/events/webhooks/${id}${path}`, method === "GET" ? undefined : {}, other)).status).toBe(404);
  }
  expect(await (await call("GET", "/events/webhooks", undefined, other)).json()).toEqual([]);

  expect((await call("PATCH", `/events/webhooks/${id}`, { enabled: false })).status).toBe(200);
  const silent = await make();
  expect((await call("PATCH", `/events/webhooks/${id}`, { enabled: true, events: ["sandbox.lifecycle.killed"] })).status).toBe(
    200,
  );
  const heard = await make();
  await call("DELETE", `/sandboxes/${heard}`);
  await until(1);
  expect(JSON.parse(received[0]?.body ?? "")).toMatchObject({ type: "sandbox.lifecycle.killed", sandboxId: heard });
  await delivered(id, 1);
  expect((await call("DELETE", `/events/webhooks/${id}`)).status).toBe(204);
  expect((await call("DELETE", `/events/webhooks/${id}`)).status).toBe(404);
  await call("DELETE", `/sandboxes/${silent}`);
  await place.gateway.close();
  expect(received.length).toBe(1);
  expect(place.ledger.statement("SELECT count(*) AS n FROM gateway_delivery").get()).toEqual({ n: 0 });
});

test("what waits has a number, and so has what is remembered", async () => {
  await open({ deliveriesWaitingMax: 2, deliveriesKeptMax: 1, webhookBackoffMs: [] });
  const id = await add();
  answers = ["never"];
  for (let index = 0; index < 5; index += 1) await make();
  await until(2);
  for (;;) if ((await deliveries(id))[0]?.status === "success") break;
  expect(await deliveries(id)).toMatchObject([{ status: "success" }]);
  expect(received.length).toBe(2);
  expect(await (await fetch(`${place.url}/metrics`)).text()).toContain('garth_webhook_deliveries_total{outcome="dropped"} 3');
});

test("closing waits for none of them", async () => {
  await open({ webhookTimeoutMs: 600_000, webhookBackoffMs: [600_000] });
  await add();
  await add({ name: "second", url: "http://127.0.0.1:1/" });
  answers = ["never"];
  await make();
  await until(1);
  await place.gateway.close();
});

describe("an address of the inner network", () => {
  const add = (url: string) =>
    place.call("POST", "/events/webhooks", { name: "x", url, events: ["sandbox.lifecycle.killed"], signatureSecret: SECRET });

  test.each([
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0/",
    "http://localhost:8080/",
    "http://a.localhost/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.64.0.1/",
    "http://[::1]/",
    "http://[::]/",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://user:password@example.org/",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://example.org/",
    "not a url",
    "",
  ])("%s is refused", async (url) => {
    await open({ webhooksPrivate: false });
    expect((await add(url)).status).toBe(400);
  });

  test.each([
    "http://172.32.0.1/",
    "https://example.org/hook",
    "http://[2001:db8::1]/",
    "http://11.0.0.1/",
    "http://10.example.org/",
  ])("%s is none", async (url) => {
    await open({ webhooksPrivate: false });
    expect((await add(url)).status).toBe(201);
  });
});

test("a tenant has so many and no more", async () => {
  await open({ webhooksPerTenantMax: 1 });
  await add();
  const body = { name: "x", url: "https://example.org/", events: ["sandbox.lifecycle.killed"], signatureSecret: SECRET };
  expect((await place.call("POST", "/events/webhooks", body)).status).toBe(403);
  for (const wrong of [{ events: [] }, { events: ["born"] }, { signatureSecret: "short" }, { name: "" }]) {
    expect((await place.call("POST", "/events/webhooks", { ...body, ...wrong })).status).toBe(400);
  }
});
