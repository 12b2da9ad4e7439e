/** The life of sandboxes: what is due, what happens at once, what a killed process leaves. */
import { afterEach, describe, expect, test } from "bun:test";
import { fakeClock, type TestGateway, testGateway, type TestGatewayOptions } from "../testing.ts";

let place: TestGateway;
let clock = fakeClock();
const open = async (options: TestGatewayOptions = {}): Promise<TestGateway> => {
  clock = fakeClock();
  place = await testGateway({ now: clock, ...options });
  return place;
};
afterEach(async () => {
  await place.close();
});

interface Shown {
  readonly sandboxID: string;
  readonly envdAccessToken: string;
  readonly state: string;
  readonly endAt: string;
}

async function create(body: Readonly<Record<string, unknown>> = {}, path = "/v2/sandboxes"): Promise<Shown> {
  const response = await place.call("POST", path, { templateID: "base", ...body });
  expect(response.status).toBe(201);
  return (await response.json()) as Shown;
}

async function info(id: string): Promise<Shown | number> {
  const response = await place.call("GET", `/sandboxes/${id}`);
  return response.ok ? ((await response.json()) as Shown) : response.status;
}

async function state(id: string): Promise<string | number> {
  const shown = await info(id);
  return typeof shown === "number" ? shown : shown.state;
}

async function endIn(id: string): Promise<number> {
  const shown = await info(id);
  return typeof shown === "number" ? Number.NaN : Date.parse(shown.endAt) - clock();
}

/** The type of each event of a sandbox and why it came, the first one first. */
async function story(id: string): Promise<readonly string[]> {
  const response = await place.call("GET", `/events/sandboxes/${id}?orderAsc=true&limit=100`);
  const events = (await response.json()) as { type: string; eventData: { reason?: string } }[];
  return events.map(({ type, eventData }) => `${type.replace("sandbox.lifecycle.", "")} ${eventData.reason ?? ""}`.trim());
}

const post = (id: string, verb: string, body: unknown = {}) => place.call("POST", `/sandboxes/${id}/${verb}`, body);
const status = async (work: Promise<Response>): Promise<number> => (await work).status;

/** A request to the sandbox's data plane. */
function ask(sandbox: Shown, path: string, port = 49_983): Promise<Response> {
  return fetch(`${place.url}${path}`, {
    method: "POST",
    headers: { "E2b-Sandbox-Id": sandbox.sandboxID, "E2b-Sandbox-Port": String(port), "X-Access-Token": sandbox.envdAccessToken },
  });
}

describe("at its time", () => {
  test("a sandbox is killed, and it is told why", async () => {
    const { gateway, pools } = await open();
    const { sandboxID: id } = await create({ timeout: 10 });
    clock.advance(9999);
    await gateway.tick();
    expect(await state(id)).toBe("running");
    clock.advance(1);
    await gateway.tick();
    expect([await state(id), pools.list()]).toEqual([404, []]);
    expect(await story(id)).toEqual(["created", "killed timeout"]);
  });

  test("the two ways to make one have the windows that are written down for them", async () => {
    await open();
    expect(await endIn((await create({}, "/sandboxes")).sandboxID)).toBe(15_000);
    expect(await endIn((await create({}, "/v2/sandboxes")).sandboxID)).toBe(300_000);
  });

  test.each([
    [{ timeoutSeconds: 7 }, 7000],
    [{ timeout_seconds: 7 }, 7000],
    [{ timeoutMs: 1500 }, 1500],
    [{ timeout_ms: 1500 }, 1500],
    [{ timeout: 3, timeoutMs: 1500 }, 3000],
    [{ timeout: null }, 300_000],
  ])("%p is a window", async (body, ms) => {
    await open();
    expect(await endIn((await create(body)).sandboxID)).toBe(ms);
  });

  test.each([
    [{ autoPause: true }],
    [{ onTimeout: "pause" }],
    [{ on_timeout: "pause" }],
    [{ lifecycle: { onTimeout: "pause" } }],
    [{ lifecycle: { on_timeout: "pause", auto_resume: true } }],
    [{ autoPause: true, autoResume: { enabled: true } }],
    [{ onTimeout: "pause", autoResume: true }],
    [{ lifecycle: { onTimeout: { action: "pause" }, autoResume: { enabled: false } } }],
  ])("%p is paused, keeps no end, and is not killed later", async (body) => {
    const { gateway, pools } = await open();
    const { sandboxID: id } = await create({ timeout: 10, ...body });
    clock.advance(10_000);
    await gateway.tick();
    expect([await state(id), pools.held(id)?.state]).toEqual(["paused", "paused"]);
    clock.advance(30 * 24 * 3_600_000);
    await gateway.tick();
    expect(await state(id)).toBe("paused");
    expect(await story(id)).toEqual(["created", "paused timeout"]);
  });

  test("waking by itself takes a sandbox that sleeps", async () => {
    await open();
    expect(await status(place.call("POST", "/v2/sandboxes", { templateID: "base", autoResume: true }))).toBe(400);
    expect(place.pools.calls).toEqual([]);
  });

  test("a pause that somebody asked for stops the clock that would have killed it", async () => {
    const { gateway } = await open();
    const { sandboxID: id } = await create({ timeout: 10 });
    expect(await status(post(id, "pause"))).toBe(204);
    clock.advance(3_600_000);
    await gateway.tick();
    expect(await state(id)).toBe("paused");
    expect(await status(post(id, "timeout", { timeout: 5 }))).toBe(409);
    expect(await status(post(id, "refreshes", { duration: 5 }))).toBe(409);
  });

  test("a pause that fails leaves it running, and is tried again later and later", async () => {
    const { gateway, pools, faults } = await open();
    const sandbox = await create({ timeout: 10, autoPause: true });
    const id = sandbox.sandboxID;
    const tries = (): number => pools.calls.filter((call) => call.startsWith("pause")).length;
    for (let index = 0; index < 2; index += 1) pools.fail("pause", new Error("no"));
    clock.advance(10_000);
    await gateway.tick();
    expect([await state(id), tries()]).toEqual(["running", 1]);
    expect(await status(ask(sandbox, "/process.Process/List"))).toBe(200);
    clock.advance(999);
    await gateway.tick();
    expect(tries()).toBe(1);
    clock.advance(1);
    await gateway.tick();
    expect([await state(id), tries()]).toEqual(["running", 2]);
    clock.advance(1999);
    await gateway.tick();
    expect(tries()).toBe(2);
    clock.advance(1);
    await gateway.tick();
    expect([await state(id), tries()]).toEqual(["paused", 3]);
    expect(faults.length).toBe(2);
  });

  test("what is under way is not begun again", async () => {
    const { gateway, pools } = await open();
    const { sandboxID: id } = await create({ timeout: 10, autoPause: true });
    const held = pools.hold("pause");
    pools.fail("pause", new Error("no"));
    clock.advance(10_000);
    const first = gateway.tick();
    await held.reached;
    const second = gateway.tick();
    held.release();
    await Promise.all([first, second]);
    expect([await state(id), pools.calls.filter((call) => call.startsWith("pause")).length]).toEqual(["running", 1]);
  });

  test("a timer keeps it, without anybody asking", async () => {
    const { pools } = await open({ now: Date.now });
    const gone = pools.ended("return");
    const { sandboxID: id } = await create({ timeoutMs: 30 });
    await gone;
    expect(await story(id)).toEqual(["created", "killed timeout"]);
  });

  test("no window is longer than the longest", async () => {
    await open({ configuration: { timeoutMaxMs: 60_000 } });
    expect(await status(place.call("POST", "/v2/sandboxes", { templateID: "base", timeout: 61 }))).toBe(400);
    const { sandboxID: id } = await create();
    expect(await endIn(id)).toBe(60_000);
    expect(await status(post(id, "timeout", { timeout: 61 }))).toBe(400);
    expect(await status(post(id, "connect", { timeout: 61 }))).toBe(400);
    expect(await status(post(id, "refreshes", { duration: 61 }))).toBe(400);
  });

  test("refreshing moves the end on, never back; zero ends it now", async () => {
    const { gateway } = await open();
    const { sandboxID: id } = await create({ timeout: 60 });
    expect(await status(post(id, "refreshes", { duration: 10 }))).toBe(204);
    expect(await endIn(id)).toBe(60_000);
    expect(await status(post(id, "refreshes", { duration: 100 }))).toBe(204);
    expect(await endIn(id)).toBe(100_000);
    expect(await status(post(id, "timeout", { timeout: 0 }))).toBe(204);
    await gateway.tick();
    expect(await state(id)).toBe(404);
    expect(await story(id)).toEqual(["created", "updated", "updated", "killed timeout"]);
  });
});

describe("a request to a paused sandbox", () => {
  test.each([
    ["/process.Process/List", 49_983],
    ["/filesystem.Filesystem/Stat", 49_983],
    ["/files", 49_983],
    ["/execute", 49_999],
    ["/contexts", 49_999],
  ])("%s wakes it where it was made for that, for five minutes at least", async (path, port) => {
    const { gateway } = await open();
    const sandbox = await create({ timeout: 10, autoPause: true, autoResume: true });
    const id = sandbox.sandboxID;
    clock.advance(10_000);
    await gateway.tick();
    expect(await state(id)).toBe("paused");
    expect(await status(ask(sandbox, path, port))).toBe(200);
    expect([await state(id), await endIn(id)]).toEqual(["running", 300_000]);
    expect(await story(id)).toEqual(["created", "paused timeout", "resumed auto-resume"]);
  });

  test("is 502 where it was not, and for one that only asks how it is", async () => {
    await open();
    const sleeper = await create({ autoPause: true });
    const waker = await create({ autoPause: true, autoResume: true });
    for (const { sandboxID } of [sleeper, waker]) expect(await status(post(sandboxID, "pause"))).toBe(204);
    const answer = await ask(sleeper, "/process.Process/List");
    expect([answer.status, await answer.json()]).toEqual([502, { code: 502, message: `sandbox ${sleeper.sandboxID} is paused` }]);
    const health = await fetch(`${place.url}/health`, { headers: { "E2b-Sandbox-Id": waker.sandboxID } });
    expect([health.status, await state(waker.sandboxID)]).toEqual([502, "paused"]);
  });

  test("many at once wake it once", async () => {
    const { pools } = await open();
    const sandbox = await create({ autoPause: true, autoResume: true });
    await post(sandbox.sandboxID, "pause");
    const statuses = await Promise.all(Array.from({ length: 20 }, () => status(ask(sandbox, "/process.Process/List"))));
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(pools.calls.filter((call) => call.startsWith("resume")).length).toBe(1);
  });

  test("with a wrong token wakes nobody", async () => {
    const { pools } = await open();
    const sandbox = await create({ autoPause: true, autoResume: true });
    await post(sandbox.sandboxID, "pause");
    expect(await status(ask({ ...sandbox, envdAccessToken: "f".repeat(64) }, "/process.Process/List"))).toBe(401);
    expect([await state(sandbox.sandboxID), pools.calls.some((call) => call.startsWith("resume"))]).toEqual(["paused", false]);
  });

  test("keeps a sandbox that wakes by itself for one more window, and no other", async () => {
    const { gateway } = await open();
    const waker = await create({ timeout: 60, autoPause: true, autoResume: true });
    const sleeper = await create({ timeout: 60, autoPause: true });
    clock.advance(50_000);
    await ask(waker, "/process.Process/List");
    await ask(sleeper, "/process.Process/List");
    clock.advance(50_000);
    await gateway.tick();
    expect([await state(waker.sandboxID), await state(sleeper.sandboxID)]).toEqual(["running", "paused"]);
  });
});

describe("resuming", () => {
  test("the old way is 409 for one that runs, and may change what happens at its end", async () => {
    const { gateway } = await open();
    const { sandboxID: id } = await create({ timeout: 60 });
    expect(await status(post(id, "resume", { timeout: 5 }))).toBe(409);
    await post(id, "pause");
    expect(await status(post(id, "resume", { timeout: 5, autoPause: true }))).toBe(201);
    clock.advance(5000);
    await gateway.tick();
    expect(await state(id)).toBe("paused");
  });

  test("that fails leaves it paused", async () => {
    const { pools } = await open();
    const { sandboxID: id } = await create();
    await post(id, "pause");
    pools.fail("resume", new Error("no"));
    expect(await status(post(id, "connect", { timeout: 5 }))).toBe(500);
    expect(await state(id)).toBe("paused");
    expect(await status(post(id, "connect", { timeout: 5 }))).toBe(201);
  });
});

describe("at once", () => {
  test("of two that kill one says so, and its machine is destroyed once", async () => {
    const { pools } = await open();
    const { sandboxID: id } = await create();
    const held = pools.hold("return");
    const first = place.call("DELETE", `/sandboxes/${id}`);
    await held.reached;
    expect(await status(place.call("DELETE", `/sandboxes/${id}`))).toBe(404);
    held.release();
    expect((await first).status).toBe(204);
    expect(pools.calls.filter((call) => call.startsWith("return")).length).toBe(1);
  });

  test("a kill while it is being paused wins; whoever paused hears that there is nothing", async () => {
    const { pools } = await open();
    const { sandboxID: id } = await create();
    const held = pools.hold("pause");
    const pausing = post(id, "pause");
    await held.reached;
    const killing = place.call("DELETE", `/sandboxes/${id}`);
    const gone = pools.ended("return");
    while ((await state(id)) !== 404) await Promise.resolve();
    expect(pools.calls.some((call) => call.startsWith("return"))).toBe(false);
    held.release();
    await gone;
    expect([(await pausing).status, (await killing).status]).toEqual([404, 204]);
    expect(await story(id)).toEqual(["created", "killed request"]);
    expect(pools.list()).toEqual([]);
  });

  test("of two that connect one wakes it", async () => {
    await open();
    const { sandboxID: id } = await create();
    await post(id, "pause");
    const answers = await Promise.all([post(id, "connect", { timeout: 60 }), post(id, "connect", { timeout: 60 })]);
    expect(answers.map((answer) => answer.status).toSorted()).toEqual([200, 201]);
  });

  test("of two that pause one does", async () => {
    await open();
    const { sandboxID: id } = await create();
    const answers = await Promise.all([post(id, "pause"), post(id, "pause")]);
    expect(answers.map((answer) => answer.status).toSorted()).toEqual([204, 409]);
  });

  test("more than may wait are told to come back", async () => {
    const { pools } = await open({ configuration: { waitingMax: 2 } });
    const { sandboxID: id } = await create();
    const held = pools.hold("pause");
    const first = post(id, "pause");
    await held.reached;
    const others = [post(id, "pause"), post(id, "pause"), post(id, "pause")];
    const refused = await Promise.race(others);
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "1"]);
    held.release();
    expect((await first).status).toBe(204);
    expect((await Promise.all(others)).map((answer) => answer.status).toSorted()).toEqual([409, 409, 429]);
  });

  test("a kill never waits in line behind what may wait", async () => {
    const { pools } = await open({ configuration: { waitingMax: 0 } });
    const { sandboxID: id } = await create();
    const held = pools.hold("snapshot");
    const snapshot = post(id, "snapshots");
    await held.reached;
    const killing = place.call("DELETE", `/sandboxes/${id}`);
    while ((await state(id)) !== 404) await Promise.resolve();
    held.release();
    expect((await killing).status).toBe(204);
    expect((await snapshot).status).toBe(201);
  });

  test("the end of its time and a kill end it once", async () => {
    const { pools, gateway } = await open();
    const { sandboxID: id } = await create({ timeout: 1 });
    clock.advance(1000);
    const [answer] = await Promise.all([place.call("DELETE", `/sandboxes/${id}`), gateway.tick()]);
    expect([204, 404]).toContain(answer.status);
    expect(pools.calls.filter((call) => call.startsWith("return")).length).toBe(1);
    expect((await story(id)).length).toBe(2);
  });
});

describe("streams", () => {
  const reader = async (sandbox: Shown): Promise<{ first: string; rest: Promise<string> }> => {
    const answer = await ask(sandbox, "/process.Process/Stream");
    if (answer.body === null) throw new Error("no body");
    const stream = answer.body.getReader();
    const text = async (): Promise<string> => new TextDecoder().decode((await stream.read()).value);
    return { first: await text(), rest: text() };
  };

  test("end when the sandbox is killed, and say so", async () => {
    await open();
    const sandbox = await create();
    const { first, rest } = await reader(sandbox);
    await place.call("DELETE", `/sandboxes/${sandbox.sandboxID}`);
    expect([first, await rest]).toEqual(["open\n", `ended: sandbox ${sandbox.sandboxID} was killed\n`]);
  });

  test("end when its machine dies, and the sandbox with it", async () => {
    const { pools } = await open();
    const sandbox = await create();
    const { rest } = await reader(sandbox);
    pools.die(pools.held(sandbox.sandboxID)?.id ?? "");
    expect(await rest).toContain("its hypervisor was killed");
    expect(await state(sandbox.sandboxID)).toBe(404);
    expect(await story(sandbox.sandboxID)).toEqual(["created", "killed machine-lost"]);
    expect(await status(ask(sandbox, "/process.Process/List"))).toBe(502);
  });

  test("go on through a pause", async () => {
    const { pools } = await open();
    const sandbox = await create();
    const { rest } = await reader(sandbox);
    await post(sandbox.sandboxID, "pause");
    await post(sandbox.sandboxID, "connect", { timeout: 60 });
    await place.call("DELETE", `/sandboxes/${sandbox.sandboxID}`);
    expect(await rest).toContain("was killed");
    // One session, one guest: what the data plane keeps of it is not lost.
    expect(pools.calls.filter((call) => call.startsWith("guest")).length).toBe(1);
  });
});

describe("a look at the machines", () => {
  test("ends the sandbox whose machine is gone, and follows what was done to it from outside", async () => {
    const { pools, gateway } = await open();
    const [gone, stopped, woken] = [await create(), await create(), await create()];
    const entryOf = ({ sandboxID }: Shown): string => pools.held(sandboxID)?.id ?? "";
    await post(woken.sandboxID, "pause");
    pools.vanish(entryOf(gone));
    await pools.pause(entryOf(stopped));
    await pools.resume(entryOf(woken));
    await gateway.tick();
    expect([await state(gone.sandboxID), await state(stopped.sandboxID), await state(woken.sandboxID)]).toEqual([
      404,
      "paused",
      "running",
    ]);
    expect(await story(gone.sandboxID)).toEqual(["created", "killed machine-lost"]);
    expect(await endIn(woken.sandboxID)).toBe(300_000);
  });

  test("finds as many as there may be, and no more", async () => {
    await open({ configuration: { sandboxesMax: 1 } });
    const { sandboxID: id } = await create();
    expect(await status(place.call("POST", "/v2/sandboxes", { templateID: "base" }))).toBe(503);
    await place.call("DELETE", `/sandboxes/${id}`);
    await create();
  });

  test("destroys again what could not be destroyed; its place is taken until then", async () => {
    const { pools, gateway } = await open({ configuration: { tenantLimits: "*=1" } });
    const { sandboxID: id } = await create();
    pools.fail("return", new Error("no"));
    expect(await status(place.call("DELETE", `/sandboxes/${id}`))).toBe(500);
    expect(await state(id)).toBe(404);
    expect(await status(place.call("POST", "/v2/sandboxes", { templateID: "base" }))).toBe(403);
    await gateway.tick();
    expect(pools.list()).toEqual([]);
    await create();
  });
});

describe("another process", () => {
  test("finds the sandboxes, with their tokens, ends and states", async () => {
    const { pools, gateway } = await open();
    const running = await create({ timeout: 100, metadata: { a: "b" } });
    const paused = await create();
    await post(paused.sandboxID, "pause");
    const before = [await info(running.sandboxID), await info(paused.sandboxID)];
    await place.restart();
    expect([await info(running.sandboxID), await info(paused.sandboxID)]).toEqual(before);
    expect(await status(ask(running, "/process.Process/List"))).toBe(200);
    expect(await status(post(paused.sandboxID, "connect", { timeout: 60 }))).toBe(201);
    expect(place.gateway).not.toBe(gateway);
    clock.advance(100_000);
    await place.gateway.tick();
    expect(await state(running.sandboxID)).toBe(404);
    expect(pools.list().map(({ holder }) => holder)).toEqual([]);
  });

  test("ends what has no machine any more, and takes the pool's word for what has", async () => {
    const { pools } = await open();
    const [gone, stopped, woken] = [await create(), await create(), await create()];
    const entryOf = ({ sandboxID }: Shown): string => pools.held(sandboxID)?.id ?? "";
    await post(woken.sandboxID, "pause");
    await place.gateway.close();
    pools.vanish(entryOf(gone));
    await pools.pause(entryOf(stopped));
    await pools.resume(entryOf(woken));
    await place.restart();
    expect([await state(gone.sandboxID), await state(stopped.sandboxID), await state(woken.sandboxID)]).toEqual([
      404,
      "paused",
      "running",
    ]);
    expect(await story(gone.sandboxID)).toEqual(["created", "killed machine-lost"]);
  });

  test("gives back the machine of one that was being made, and destroys the one that was being ended", async () => {
    const { pools, ledger } = await open();
    const ending = await create();
    // As a process that was killed leaves them: a row of each kind, and machines that are held.
    const made = "m".repeat(20);
    await pools.checkout("base", { holder: made });
    ledger.statement("INSERT INTO gateway_sandbox(id, tenant, state, document) VALUES (?, 'acme', 'creating', '{}')").run(made);
    ledger.statement("UPDATE gateway_sandbox SET state = 'ending' WHERE id = ?").run(ending.sandboxID);
    await pools.checkout("base", { holder: "a person" });
    await place.restart();
    expect(pools.list().map(({ holder }) => holder)).toEqual(["a person"]);
    expect(ledger.statement("SELECT count(*) AS n FROM gateway_sandbox").get()).toEqual({ n: 0 });
    expect([await state(made), await state(ending.sandboxID)]).toEqual([404, 404]);
  });

  test("begins where this one has ended what it was doing", async () => {
    const { pools, ledger } = await open();
    const { sandboxID: id } = await create();
    const [returning, coming] = [pools.hold("return"), pools.hold("checkout")];
    const killing = place.call("DELETE", `/sandboxes/${id}`);
    const making = place.call("POST", "/v2/sandboxes", { templateID: "base" });
    await Promise.all([returning.reached, coming.reached]);
    let closed = false;
    const closing = place.gateway.close().then(() => {
      closed = true;
    });
    // What is being made is given up at once.
    expect((await making).status).toBe(503);
    expect(closed).toBe(false);
    returning.release();
    await closing;
    expect((await killing).status).toBe(204);
    expect(ledger.statement("SELECT count(*) AS n FROM gateway_sandbox").get()).toEqual({ n: 0 });
  });
});
