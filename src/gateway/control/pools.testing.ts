/** Pools without machines: the interface, the states and the refusals of the real ones, and a hand on what happens when. */
import { Problem } from "../../base/index.ts";
import type { Guest } from "../../guest/index.ts";
import type { EgressPolicy } from "../../network/index.ts";
import type { Checkout, MachineSnapshot, PoolEntry, PoolEvent, PoolRecord, Pools, Tier } from "../../pool/index.ts";

const OPEN_POLICY: EgressPolicy = { allowInternetAccess: true, allowOut: [], denyOut: [] };

export type PoolCall = "checkout" | "return" | "pause" | "resume" | "snapshot" | "guest" | "setPolicy" | "usage";

export interface FakePools extends Pools {
  /** What was asked, in order: "checkout base", "pause base-1". */
  readonly calls: readonly string[];
  /** The next such call waits until it is let go on, or its signal says so (`deaf`: it does not listen). Settles when it waits. */
  hold(call: PoolCall, deaf?: "deaf"): { readonly reached: Promise<void>; release(): void };
  /** The next such call fails. */
  fail(call: PoolCall, error: Error): void;
  /** Settles when such a call has ended, one way or the other. */
  ended(call: PoolCall): Promise<void>;
  /** The hypervisor of the entry is gone. */
  die(id: string): void;
  /** As another process would: nobody is told. */
  vanish(id: string): void;
  /** Of the next checkouts. */
  tier: Tier;
}

export interface FakePoolsOptions {
  readonly pools?: readonly string[];
  readonly guest?: (entry: PoolEntry) => Promise<Guest>;
  readonly now?: () => number;
}

function poolRecord(name: string): PoolRecord {
  return {
    name,
    template: `${name}-template`,
    tier: "hot",
    size: 2,
    memoryBytes: 256 * 1024 ** 2,
    cpus: 1,
    network: "user",
    subnet: "10.77.0.0/24",
    policy: OPEN_POLICY,
    density: "roomy",
    bootTimeoutMs: 60_000,
    generation: 1,
    templateDigest: "0".repeat(64),
    createdAtMs: 0,
  };
}

/** A guest that can do nothing: for tests of the control plane. */
function noGuest(entry: PoolEntry): Promise<Guest> {
  const refuse = (): never => {
    throw new Error(`${entry.id} is no real guest`);
  };
  return Promise.resolve({
    address: {
      name: entry.id,
      address: "127.0.0.1",
      port: 1,
      user: "root",
      keyFile: "/none",
      knownHostsFile: "/none",
      controlSocket: "/none",
      through: [],
    },
    connect: refuse,
    spawn: refuse,
    run: refuse,
    files: { stat: refuse, list: refuse, makeDirectory: refuse, move: refuse, remove: refuse, read: refuse, write: refuse },
    watch: refuse,
    connectTo: refuse,
    user: refuse,
    close: () => undefined,
    disconnect: () => Promise.resolve(),
  });
}

function abortOf(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** The interface of the pools, their states and their refusals; nothing is started. */
export function fakePools({ pools: names = ["base"], guest = noGuest, now = Date.now }: FakePoolsOptions = {}): FakePools {
  const entries = new Map<string, PoolEntry>();
  const guests = new Map<string, Promise<Guest>>();
  const snapshots = new Map<string, MachineSnapshot>();
  const listeners = new Set<(event: PoolEvent) => void>();
  const calls: string[] = [];
  const holds = new Map<PoolCall, { reached: () => void; released: Promise<void>; deaf: boolean }[]>();
  const failures = new Map<PoolCall, Error[]>();
  const endings = new Map<PoolCall, (() => void)[]>();
  let count = 0;

  const entryOf = (id: string): PoolEntry => {
    const entry = entries.get(id);
    if (entry === undefined) throw new Problem({ code: "E_NO_ENTRY", message: `there is no machine ${id}`, exit: 2 });
    return entry;
  };
  const put = (entry: PoolEntry): PoolEntry => {
    const changed = { ...entry, sinceMs: now() };
    entries.set(entry.id, changed);
    for (const listener of listeners) listener({ kind: "entry", entry: changed });
    return changed;
  };
  const call = async <T>(name: PoolCall, subject: string, work: () => T | Promise<T>, signal?: AbortSignal): Promise<T> => {
    calls.push(`${name} ${subject}`);
    try {
      const held = holds.get(name)?.shift();
      if (held !== undefined) {
        held.reached();
        await (signal === undefined || held.deaf ? held.released : Promise.race([held.released, abortOf(signal)]));
        if (!held.deaf) signal?.throwIfAborted();
      }
      const failure = failures.get(name)?.shift();
      if (failure !== undefined) throw failure;
      return await work();
    } finally {
      for (const tell of endings.get(name)?.splice(0) ?? []) tell();
    }
  };
  const mustBe = (entry: PoolEntry, state: PoolEntry["state"]): void => {
    if (entry.state !== state)
      throw new Problem({ code: "E_ENTRY_STATE", message: `${entry.id} is ${entry.state}, not ${state}` });
  };
  const known = (name: string): PoolRecord => {
    if (!names.includes(name)) throw new Problem({ code: "E_NO_POOL", message: `there is no pool ${name}`, exit: 2 });
    return poolRecord(name);
  };

  const fake: FakePools = {
    calls,
    tier: "hot",
    hold: (name, deaf) => {
      const reached = Promise.withResolvers<void>();
      const released = Promise.withResolvers<void>();
      holds.set(name, [
        ...(holds.get(name) ?? []),
        { reached: reached.resolve, released: released.promise, deaf: deaf === "deaf" },
      ]);
      return { reached: reached.promise, release: released.resolve };
    },
    fail: (name, error) => {
      failures.set(name, [...(failures.get(name) ?? []), error]);
    },
    ended: (name) =>
      new Promise((resolve) => {
        endings.set(name, [...(endings.get(name) ?? []), resolve]);
      }),
    die: (id) => {
      put({ ...entryOf(id), state: "failed", failure: "its hypervisor was killed" });
      entries.delete(id);
    },
    vanish: (id) => {
      entries.delete(id);
    },
    init: (spec) => Promise.resolve(known(spec.name)),
    pools: () => names.map(poolRecord),
    pool: known,
    warm: (pool) => Promise.resolve({ pool, available: 0, made: 0, failed: 0, durationMs: 0 }),
    checkout: (pool, request) =>
      call(
        "checkout",
        pool,
        (): Checkout => {
          const { snapshot } = request;
          if (snapshot !== undefined && !snapshots.has(snapshot)) {
            throw new Problem({ code: "E_NO_SNAPSHOT", message: `there is no snapshot ${snapshot}`, exit: 2 });
          }
          count += 1;
          const record = known(pool);
          const entry = put({
            id: `${pool}-${count}`,
            pool,
            template: record.template,
            generation: 1,
            state: "in-use",
            sinceMs: now(),
            createdAtMs: now(),
            address: `10.77.0.${49 + (count % 200)}`,
            mac: "52:54:00:00:00:01",
            ssh: { address: "127.0.0.1", port: 1 },
            pid: 1,
            directory: "/none",
            holder: request.holder,
            from: snapshot === undefined ? "boot" : "snapshot",
            memoryBytes: record.memoryBytes ?? 0,
            cpus: record.cpus ?? 1,
            policy: request.policy ?? record.policy,
            failure: undefined,
          });
          return { entry, how: fake.tier, miss: fake.tier === "cold", durationMs: 1 };
        },
        request.signal,
      ),
    return: (id) =>
      call("return", id, () => {
        put({ ...entryOf(id), state: "retiring" });
        entries.delete(id);
        guests.delete(id);
      }),
    drain: () => {
      const destroyed = entries.size;
      entries.clear();
      return Promise.resolve({ destroyed });
    },
    list: (pool) => [...entries.values()].filter((entry) => pool === undefined || entry.pool === pool),
    entry: entryOf,
    held: (holder) => [...entries.values()].find((entry) => entry.holder === holder),
    pause: (id) =>
      call("pause", id, () => {
        mustBe(entryOf(id), "in-use");
        put({ ...entryOf(id), state: "paused" });
      }),
    resume: (id) =>
      call("resume", id, () => {
        mustBe(entryOf(id), "paused");
        put({ ...entryOf(id), state: "in-use" });
      }),
    guest: (id) =>
      call("guest", id, () => {
        const made = guests.get(id) ?? guest(entryOf(id));
        guests.set(id, made);
        return made;
      }),
    snapshot: (id, options = {}) =>
      call("snapshot", id, () => {
        const entry = entryOf(id);
        count += 1;
        const snapshot: MachineSnapshot = {
          id: `snap${count.toString(16).padStart(12, "0")}`,
          name: options.name,
          pool: entry.pool,
          holder: entry.holder ?? "",
          source: entry.id,
          createdAtMs: now(),
          sizeBytes: 1024,
        };
        snapshots.set(snapshot.id, snapshot);
        return snapshot;
      }),
    snapshots: () => [...snapshots.values()],
    removeSnapshot: (id) => snapshots.delete(id),
    setPolicy: (id, policy) =>
      call("setPolicy", id, () => {
        put({ ...entryOf(id), policy });
      }),
    usage: (id) =>
      call("usage", id, () => {
        const { cpus, memoryBytes } = entryOf(id);
        return {
          atMs: now(),
          cpuCount: cpus,
          cpuUsedPct: 12.5,
          memoryTotalBytes: memoryBytes,
          memoryUsedBytes: memoryBytes / 4,
          diskTotalBytes: 2 * 1024 ** 3,
          diskUsedBytes: 1024 ** 3,
        };
      }),
    console: (id) => `${entryOf(id).id} login: \r\n`,
    reconcile: () => Promise.resolve(),
    onEvent: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => Promise.resolve(),
  };
  return fake;
}
