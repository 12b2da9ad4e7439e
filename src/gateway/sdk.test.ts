/** The control plane as the unmodified e2b SDK uses it. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { AuthenticationError, RateLimitError, Sandbox, SandboxError, SandboxNotFoundError } from "e2b";
import { fakeClock, type TestGateway, testGateway, type TestGatewayOptions } from "./testing.ts";

let place: TestGateway;
const clock = fakeClock();
const open = async (options: TestGatewayOptions = {}): Promise<TestGateway> => {
  place = await testGateway({ now: clock, ...options });
  return place;
};
afterEach(async () => {
  await place.close();
});

async function thrown(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

async function pages(paginator: ReturnType<typeof Sandbox.list>): Promise<readonly (readonly string[])[]> {
  const all: string[][] = [];
  while (paginator.hasNext) all.push((await paginator.nextItems()).map(({ sandboxId }) => sandboxId));
  return all;
}

describe("one sandbox", () => {
  beforeEach(() => open());

  test("is created, told, listed, killed once", async () => {
    const { connection, pools } = place;
    const sandbox = await Sandbox.create("standard", { ...connection, metadata: { user: "ann" }, timeoutMs: 60_000 });
    expect(sandbox.sandboxId).toMatch(/^[a-z0-9]{20}$/);
    const info = await sandbox.getInfo();
    expect(info).toMatchObject({
      sandboxId: sandbox.sandboxId,
      templateId: "base",
      name: "standard",
      state: "running",
      metadata: { user: "ann" },
      cpuCount: 1,
      memoryMB: 256,
      allowInternetAccess: true,
      lifecycle: { onTimeout: "kill", autoResume: false },
    });
    expect(info.startedAt.getTime()).toBe(clock());
    expect(info.endAt.getTime()).toBe(clock() + 60_000);
    expect(await pages(Sandbox.list(connection))).toEqual([[sandbox.sandboxId]]);
    expect(pools.held(sandbox.sandboxId)?.state).toBe("in-use");
    expect(await sandbox.isRunning()).toBe(true);
    expect(await Sandbox.kill(sandbox.sandboxId, connection)).toBe(true);
    expect(await Sandbox.kill(sandbox.sandboxId, connection)).toBe(false);
    expect(pools.list()).toEqual([]);
    expect(await sandbox.isRunning()).toBe(false);
    expect(await thrown(sandbox.getInfo())).toBeInstanceOf(SandboxNotFoundError);
    expect(await thrown(sandbox.setTimeout(1000))).toBeInstanceOf(SandboxNotFoundError);
    expect(await thrown(sandbox.pause())).toBeInstanceOf(SandboxNotFoundError);
    expect(await thrown(Sandbox.connect(sandbox.sandboxId, connection))).toBeInstanceOf(SandboxNotFoundError);
    expect(await thrown(sandbox.getMetrics())).toBeInstanceOf(SandboxNotFoundError);
    expect(await thrown(sandbox.updateNetwork({}))).toBeInstanceOf(SandboxNotFoundError);
    expect(await thrown(sandbox.createSnapshot())).toBeInstanceOf(SandboxNotFoundError);
    expect(await thrown(Sandbox.fork(sandbox.sandboxId, connection))).toBeInstanceOf(SandboxNotFoundError);
  });

  test("has 300 seconds where nothing is said, and what setTimeout gives it", async () => {
    const sandbox = await Sandbox.create("base", place.connection);
    expect((await sandbox.getInfo()).endAt.getTime()).toBe(clock() + 300_000);
    clock.advance(10_000);
    await sandbox.setTimeout(5000);
    expect((await sandbox.getInfo()).endAt.getTime()).toBe(clock() + 5000);
    expect(await thrown(sandbox.setTimeout(25 * 3_600_000))).toMatchObject({
      message: expect.stringContaining("400: the timeout is longer"),
    });
  });

  test("is paused once, found paused, and wakes when somebody connects", async () => {
    const { connection, pools } = place;
    const sandbox = await Sandbox.create("base", { ...connection, timeoutMs: 60_000 });
    expect(await sandbox.pause()).toBe(true);
    expect(await sandbox.pause()).toBe(false);
    expect(pools.held(sandbox.sandboxId)?.state).toBe("paused");
    expect(await sandbox.isRunning()).toBe(false);
    expect((await sandbox.getInfo()).state).toBe("paused");
    expect(await pages(Sandbox.list({ ...connection, query: { state: ["running"] } }))).toEqual([[]]);
    expect(await pages(Sandbox.list({ ...connection, query: { state: ["paused"] } }))).toEqual([[sandbox.sandboxId]]);
    expect(await pages(Sandbox.list(connection))).toEqual([[sandbox.sandboxId]]);
    // Its time stands still.
    clock.advance(3_600_000);
    await place.gateway.tick();
    const again = await Sandbox.connect(sandbox.sandboxId, { ...connection, timeoutMs: 90_000 });
    expect(await again.isRunning()).toBe(true);
    expect((await again.getInfo()).endAt.getTime()).toBe(clock() + 90_000);
    // Connecting to one that runs never shortens its life.
    await Sandbox.connect(sandbox.sandboxId, { ...connection, timeoutMs: 1000 });
    expect((await again.getInfo()).endAt.getTime()).toBe(clock() + 90_000);
    await Sandbox.connect(sandbox.sandboxId, { ...connection, timeoutMs: 120_000 });
    expect((await again.getInfo()).endAt.getTime()).toBe(clock() + 120_000);
  });

  test("tells what it uses, within the time that was asked for", async () => {
    const sandbox = await Sandbox.create("base", place.connection);
    const start = new Date(clock());
    expect(await sandbox.getMetrics()).toEqual([
      {
        timestamp: start,
        cpuUsedPct: 12.5,
        cpuCount: 1,
        memUsed: 64 * 1024 ** 2,
        memTotal: 256 * 1024 ** 2,
        memCache: 0,
        diskUsed: 1024 ** 3,
        diskTotal: 2 * 1024 ** 3,
      },
    ]);
    clock.advance(60_000);
    expect((await sandbox.getMetrics()).length).toBe(2);
    expect((await sandbox.getMetrics({ start: new Date(clock() - 1000) })).length).toBe(2);
    expect((await sandbox.getMetrics({ end: start })).length).toBe(1);
  });

  test("has its network said at birth, and changed as a whole", async () => {
    const { connection, pools } = place;
    const network = { allowOut: ["8.8.8.8"], denyOut: ["0.0.0.0/0"] };
    const sandbox = await Sandbox.create("base", { ...connection, allowInternetAccess: false, network });
    const policy = () => pools.held(sandbox.sandboxId)?.policy;
    expect(policy()).toEqual({ allowInternetAccess: false, ...network });
    expect((await sandbox.getInfo()).network).toMatchObject(network);
    await sandbox.updateNetwork({ denyOut: ["10.0.0.0/8", "fd00::/8"] });
    expect(policy()).toEqual({ allowInternetAccess: true, allowOut: [], denyOut: ["10.0.0.0/8", "fd00::/8"] });
    await sandbox.updateNetwork({});
    expect(policy()).toEqual({ allowInternetAccess: true, allowOut: [], denyOut: [] });
    expect(await thrown(sandbox.updateNetwork({ allowOut: ["example.org"] }))).toMatchObject({
      message: expect.stringMatching(/^400: allowOut/),
    });
    expect(
      await thrown(sandbox.updateNetwork({ rules: { "example.org": [{ transform: { headers: { a: "b" } } }] } })),
    ).toMatchObject({
      message: "501: network.rules is not offered by this gateway",
    });
  });

  test("is refused what is not offered, and what cannot be", async () => {
    const { connection, pools } = place;
    const create = (options: Parameters<typeof Sandbox.create>[1]) =>
      thrown(Sandbox.create("base", { ...connection, ...options }));
    expect(await thrown(Sandbox.create("nothing", connection))).toMatchObject({
      message: '404: template "nothing" was not found',
    });
    expect(await create({ volumeMounts: { "/data": "volume" } })).toMatchObject({ message: expect.stringContaining("501") });
    expect(await create({ timeoutMs: 25 * 3_600_000 })).toBeInstanceOf(SandboxError);
    expect(await create({ metadata: { coppice_tenant_id: "other" } })).toMatchObject({
      message: expect.stringContaining("reserved"),
    });
    expect(await create({ envs: { "not a name": "1" } })).toMatchObject({ message: expect.stringContaining("envVars") });
    expect(await create({ lifecycle: { onTimeout: { action: "pause", keepMemory: false } } })).toMatchObject({
      message: expect.stringContaining("501"),
    });
    expect(pools.calls).toEqual([]);
  });
});

describe("lists", () => {
  beforeEach(() => open());

  test("go page by page, filtered by what was said at birth", async () => {
    const { connection } = place;
    const ids: string[] = [];
    const metadata = { "a key": "a&b=c %", plain: "x" };
    for (let index = 0; index < 5; index += 1) {
      const sandbox = await Sandbox.create("base", { ...connection, metadata: index % 2 === 0 ? metadata : { plain: "y" } });
      ids.push(sandbox.sandboxId);
      clock.advance(1000);
    }
    const [first, second, third, fourth, fifth] = ids;
    expect(await pages(Sandbox.list({ ...connection, limit: 2 }))).toEqual([
      [fifth, fourth],
      [third, second],
      [first],
    ] as string[][]);
    expect(await pages(Sandbox.list({ ...connection, limit: 2, order: "asc" }))).toEqual([
      [first, second],
      [third, fourth],
      [fifth],
    ] as string[][]);
    expect(await pages(Sandbox.list({ ...connection, query: { metadata } }))).toEqual([[fifth, third, first]] as string[][]);
    expect(await pages(Sandbox.list({ ...connection, query: { metadata: { plain: "y" } }, limit: 1 }))).toEqual([
      [fourth],
      [second],
    ] as string[][]);
    expect(await pages(Sandbox.list({ ...connection, query: { metadata: { plain: "z" } } }))).toEqual([[]]);
    const startedAfter = new Date(clock() - 2000);
    expect(await pages(Sandbox.list({ ...connection, query: { startedAfter } }))).toEqual([[fifth, fourth]] as string[][]);
    expect(await pages(Sandbox.list({ ...connection, query: { template: "base" } }))).toEqual([
      [fifth, fourth, third, second, first],
    ] as string[][]);
    expect(await pages(Sandbox.list({ ...connection, query: { template: "other" } }))).toEqual([[]]);
  });
});

describe("snapshots and forks", () => {
  beforeEach(() => open());

  test("a snapshot outlives its sandbox, starts others by id and by name, and is deleted once", async () => {
    const { connection, pools } = place;
    const sandbox = await Sandbox.create("base", connection);
    const plain = await sandbox.createSnapshot();
    clock.advance(1000);
    const named = await sandbox.createSnapshot({ name: "ready:v1" });
    expect(named.names).toEqual(["ready:v1"]);
    await sandbox.kill();
    const listed = async (options: Parameters<typeof Sandbox.listSnapshots>[0]) =>
      (await Sandbox.listSnapshots({ ...connection, ...options }).nextItems()).map(({ snapshotId }) => snapshotId);
    expect(await listed({})).toEqual([named.snapshotId, plain.snapshotId]);
    expect(await listed({ name: "acme/ready:v1" })).toEqual([named.snapshotId]);
    expect(await listed({ sandboxId: "x".repeat(20) })).toEqual([]);
    const paginator = Sandbox.listSnapshots({ ...connection, limit: 1 });
    expect([await paginator.nextItems(), paginator.hasNext, await paginator.nextItems(), paginator.hasNext]).toEqual([
      [{ snapshotId: named.snapshotId, names: ["ready:v1"] }],
      true,
      [{ snapshotId: plain.snapshotId, names: [] }],
      false,
    ]);

    const fromId = await Sandbox.create(plain.snapshotId, connection);
    const fromName = await Sandbox.create("ready:v1", connection);
    expect(pools.held(fromName.sandboxId)?.from).toBe("snapshot");
    expect((await fromName.getInfo()).templateId).toBe(named.snapshotId);
    expect(await Sandbox.deleteSnapshot(named.snapshotId, connection)).toBe(true);
    expect(await Sandbox.deleteSnapshot(named.snapshotId, connection)).toBe(false);
    expect(await listed({})).toEqual([plain.snapshotId]);
    expect(await thrown(Sandbox.create("ready:v1", connection))).toMatchObject({ message: expect.stringContaining("404") });
    // What a living machine stands on stays until the machine is gone.
    expect(pools.snapshots().map(({ id }) => id)).toEqual([plain.snapshotId, named.snapshotId]);
    await fromName.kill();
    expect(pools.snapshots().map(({ id }) => id)).toEqual([plain.snapshotId]);
    await fromId.kill();
    expect(pools.snapshots().map(({ id }) => id)).toEqual([plain.snapshotId]);
  });

  test("forks are sandboxes of their own, and take their snapshot with them", async () => {
    const { connection, pools } = place;
    const sandbox = await Sandbox.create("base", { ...connection, metadata: { user: "ann" } });
    const forks = await sandbox.fork({ count: 3 });
    const ids = forks.map((fork) => (fork instanceof Error ? fork.message : fork.sandboxId));
    expect(new Set([sandbox.sandboxId, ...ids]).size).toBe(4);
    const [one] = forks;
    if (!(one instanceof Sandbox)) throw new Error("no fork");
    expect(await one.getInfo()).toMatchObject({ metadata: { user: "ann" }, state: "running" });
    expect(await Sandbox.listSnapshots(connection).nextItems()).toEqual([]);
    expect(pools.snapshots().length).toBe(1);
    await sandbox.kill();
    for (const id of ids) {
      expect(pools.snapshots().length).toBe(1);
      await Sandbox.kill(id, connection);
    }
    expect(pools.snapshots()).toEqual([]);
  });

  test("each fork comes about or not by itself", async () => {
    const { connection, pools } = place;
    const limited = place.key("acme", ["exec"], { sandboxesMax: 3 });
    const sandbox = await Sandbox.create("base", connection);
    pools.fail("checkout", new Error("a bug"));
    const forks = await Sandbox.fork(sandbox.sandboxId, { ...connection, apiKey: limited, count: 4 });
    expect(forks.map((fork) => (fork instanceof Error ? fork.message : "ok"))).toEqual([
      "500: the fork failed",
      "ok",
      "403: acme has 3 sandboxes, and may have 3",
      "403: acme has 3 sandboxes, and may have 3",
    ]);
    expect(place.faults.length).toBe(1);
    await sandbox.pause();
    expect(await thrown(sandbox.fork())).toMatchObject({ message: expect.stringContaining("409") });
    expect(await thrown(sandbox.fork({ count: 21 }))).toMatchObject({ message: expect.stringContaining("400") });
  });
});

describe("who asks", () => {
  test("a wrong key, none, an expired one and one of too little are told so", async () => {
    const { connection, key, pools } = await open();
    const create = (apiKey: string) => thrown(Sandbox.create("base", { ...connection, apiKey }));
    expect(await create(`e2b_${"0".repeat(40)}`)).toBeInstanceOf(AuthenticationError);
    expect(await create(key("acme", ["exec"], { expiresAtMs: clock() }))).toBeInstanceOf(AuthenticationError);
    expect(await create(key("acme", ["read"]))).toMatchObject({
      message: expect.stringContaining("403: the API key has the scope read"),
    });
    expect(await create(key("acme", ["exec"], { expiresAtMs: clock() + 1 }))).toBeUndefined();
    expect(pools.calls).toEqual(["checkout base"]);
  });

  test("over its quota a tenant gets 403 before any machine is touched, and another tenant goes on", async () => {
    const { connection, key, pools } = await open({ configuration: { tenantLimits: "acme=2,*=1" } });
    const create = (apiKey: string) => thrown(Sandbox.create("base", { ...connection, apiKey }));
    const [acme, other] = [place.apiKey, key("other", ["exec"])];
    expect(await Promise.all([create(acme), create(acme), create(acme)])).toEqual([
      undefined,
      undefined,
      expect.objectContaining({ message: "403: acme has 2 sandboxes, and may have 2" }),
    ]);
    expect([await create(other), await create(other)]).toEqual([undefined, expect.any(SandboxError)]);
    expect(pools.calls.filter((call) => call.startsWith("checkout")).length).toBe(3);
  });

  test("another tenant's sandboxes, snapshots and templates do not exist", async () => {
    const { connection, key, pools } = await open();
    const other = { ...connection, apiKey: key("other", ["admin"]) };
    const sandbox = await Sandbox.create("base", connection);
    const { snapshotId } = await sandbox.createSnapshot({ name: "mine" });
    const before = pools.calls.length;
    const id = sandbox.sandboxId;
    expect(await Sandbox.kill(id, other)).toBe(false);
    const errors = await Promise.all(
      [
        Sandbox.getInfo(id, other),
        Sandbox.setTimeout(id, 1000, other),
        Sandbox.pause(id, other),
        Sandbox.connect(id, other),
        Sandbox.getMetrics(id, other),
        Sandbox.updateNetwork(id, {}, other),
        Sandbox.createSnapshot(id, other),
        Sandbox.fork(id, other),
      ].map(thrown),
    );
    expect(errors.filter((error) => error instanceof SandboxNotFoundError).length).toBe(8);
    expect(await Sandbox.deleteSnapshot(snapshotId, other)).toBe(false);
    for (const template of [snapshotId, "mine", "acme/mine"])
      expect(await thrown(Sandbox.create(template, other))).toBeInstanceOf(SandboxError);
    expect(await pages(Sandbox.list(other))).toEqual([[]]);
    expect(await Sandbox.listSnapshots(other).nextItems()).toEqual([]);
    expect(pools.calls.length).toBe(before);
  });

  test("more at once than are made at once is 429, which the SDK tries again", async () => {
    const { connection, pools } = await open({ configuration: { creatingMax: 1 } });
    const held = pools.hold("checkout");
    const first = Sandbox.create("base", connection);
    await held.reached;
    expect(await thrown(Sandbox.create("base", { ...connection, retries: 0 }))).toBeInstanceOf(RateLimitError);
    held.release();
    await first;
    await Sandbox.create("base", connection);
  });
});
