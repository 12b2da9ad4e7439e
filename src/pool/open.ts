import { Problem } from "../base/index.ts";
import { type Guest, openGuest } from "../guest/index.ts";
import type { Host } from "../host/index.ts";
import type { Ledger } from "../ledger/index.ts";
import { consoleTail } from "../machine/index.ts";
import { type BridgeNetwork, bridgeNetwork, type BridgeSpec } from "../network/index.ts";
import type { Templates } from "../template/index.ts";
import { changePolicy, checkout, thaw } from "./checkout.ts";
import type { PoolContext, PoolPlaces } from "./context.ts";
import { controlSocket, destroyEntry } from "./destroy.ts";
import { noEntry, noPool, wrongState } from "./errors.ts";
import { listSnapshots, removeMachineSnapshot, removePoolSnapshots, snapshotMachine, withoutPlace } from "./fork.ts";
import { poolKey } from "./key.ts";
import { samePolicy } from "./policy.ts";
import { KNOWN_HOSTS_FILE } from "./prepare.ts";
import {
  beginning,
  drainPool,
  makeSeveral,
  reconcileKnown,
  reconcilePool,
  removeLostFiles,
  removeLostNetworks,
} from "./reconcile.ts";
import { type EntryRow, Records, shown } from "./records.ts";
import { removeOldSnapshots } from "./snapshot.ts";
import type { EntryState, PoolEvent, PoolRecord, Pools } from "./types.ts";
import { cpuSample, type Sample, usageOf } from "./usage.ts";
import { checkPool } from "./validate.ts";

export interface PoolsOptions {
  readonly host: Host;
  readonly ledger: Ledger;
  readonly templates: Templates;
  readonly places: PoolPlaces;
  /** Of pools whose network is a bridge: by which way machines leave it, and whom they may ask for names. */
  readonly bridge?: Pick<BridgeSpec, "dns" | "reachable" | "uplink">;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

const CONSOLE_LINES = 200;
const RETURNABLE: readonly EntryState[] = ["available", "in-use", "paused", "failed"];

export function openPools(options: PoolsOptions): Pools {
  const { host, ledger, templates, places, now } = options;
  const listeners = new Set<(event: PoolEvent) => void>();
  const emit = (event: PoolEvent): void => {
    for (const listener of listeners) listener(event);
  };
  const records = new Records(ledger, now, (row) => emit({ kind: "entry", entry: shown(row) }));
  const guests = new Map<string, Guest>();
  const bridges = new Map<string, BridgeNetwork>();
  const samples = new Map<string, Sample>();
  const busy = new Set<Promise<unknown>>();

  const bridgeOf = (pool: Pick<PoolRecord, "name" | "subnet">): BridgeNetwork => {
    const known = bridges.get(pool.name);
    if (known !== undefined) return known;
    const opened = bridgeNetwork(host, { ...options.bridge, pool: pool.name, subnet: pool.subnet, realm: places.pools });
    bridges.set(pool.name, opened);
    return opened;
  };

  const guestOf = async (row: EntryRow): Promise<Guest> => {
    const known = guests.get(row.id);
    if (known !== undefined && (row.ssh === undefined || known.address.port === row.ssh.port)) return known;
    known?.close();
    const pool = records.pool(row.pool);
    const template = templates.list().find(({ name }) => name === row.template);
    const through = pool?.network === "bridge" ? bridgeOf(pool).through : [];
    host.files.makeDirectory(places.runtime, { parents: true, mode: 0o700 });
    const guest = openGuest(host, {
      name: row.id,
      address: row.ssh?.address ?? row.address,
      port: row.ssh?.port ?? 22,
      user: template?.sidecar.sshUser ?? "root",
      keyFile: poolKey(host, places.pools).file,
      knownHostsFile: `${row.directory}/${KNOWN_HOSTS_FILE}`,
      controlSocket: controlSocket({ places }, row),
      through,
    });
    guests.set(row.id, guest);
    return guest;
  };

  const letGo = async (row: EntryRow): Promise<void> => {
    await (await guestOf(row)).disconnect();
    guests.delete(row.id);
  };

  const context: PoolContext = {
    host,
    ledger,
    templates,
    places,
    records,
    now,
    bridgeDns: options.bridge?.dns ?? [],
    bridgeOf,
    guestOf,
    letGo,
    note: (pool, text) => emit({ kind: "note", pool, text }),
  };

  /** Work that `close` waits for. */
  const tracked = <Value>(work: Promise<Value>): Promise<Value> => {
    busy.add(work);
    const over = (): void => void busy.delete(work);
    work.then(over, over);
    return work;
  };
  const pool = (name: string): PoolRecord => {
    const found = records.pool(name);
    if (found !== undefined) return found;
    throw noPool(
      name,
      records.pools().map((each) => each.name),
    );
  };
  const row = (id: string): EntryRow => {
    const found = records.entry(id);
    if (found !== undefined) return found;
    throw noEntry(
      id,
      records.list().map((each) => each.id),
    );
  };
  const forget = (id: string): void => {
    guests.get(id)?.close();
    guests.delete(id);
    samples.delete(id);
  };

  return {
    init: async (spec) => {
      const template = await templates.verify(spec.template);
      checkPool(spec, template);
      return records.putPool(spec, template.digest);
    },
    pools: () => records.pools(),
    pool,
    warm: (name, { count, signal } = {}) =>
      tracked(
        (async () => {
          const begun = performance.now();
          const record = pool(name);
          const template = await templates.verify(record.template, signal === undefined ? {} : { signal });
          // The template was made anew since: machines of the old one are retired.
          const current = template.digest === record.templateDigest ? record : records.putPool(record, template.digest);
          await reconcilePool(context, current, { refill: false, ...(signal && { signal }) });
          const available = (): number =>
            records.list(name).filter((each) => each.state === "available" && each.generation === current.generation).length;
          const wanted = current.tier === "hot" ? (count ?? current.size) : 0;
          if (current.tier === "snapshot") await beginning(context, current, template, signal);
          const missing = wanted - available();
          if (wanted > current.size) records.putPool({ ...specOf(current), size: wanted }, template.digest);
          const { made, failed, problem } = await makeSeveral(context, current, missing, signal);
          if (problem !== undefined) throw problem;
          return { pool: name, available: available(), made, failed, durationMs: performance.now() - begun };
        })(),
      ),
    checkout: (name, request) => tracked(checkout(context, pool(name), request)),
    return: (id) =>
      tracked(
        (async () => {
          const before = row(id);
          const owned = records.move(id, RETURNABLE, "retiring", { owner: host.processIdentity, holder: undefined });
          if (owned === undefined) throw wrongState(id, before.state, "one that can be returned");
          await destroyEntry(context, owned);
          forget(id);
        })(),
      ),
    drain: (name, { forget: alsoForget = false } = {}) =>
      tracked(
        (async () => {
          const record = pool(name);
          const ids = records.list(name).map(({ id }) => id);
          let destroyed = await drainPool(context, record);
          for (const id of ids) forget(id);
          if (alsoForget) {
            // Nobody begins another from now on; what was begun a moment ago goes the same way.
            records.removePool(name);
            destroyed += await drainPool(context, record);
            removePoolSnapshots(context, name);
          }
          // A machine's snapshot stands on the pool's.
          if (listSnapshots(ledger).every((each) => each.pool !== name)) {
            await removeOldSnapshots(context, name, undefined);
            await host.files.removeTreeBeside(`${places.pools}/${name}`);
          }
          bridges.delete(name);
          return { destroyed };
        })(),
      ),
    list: (name) => (name === undefined ? records.list() : (pool(name), records.list(name))).map(shown),
    entry: (id) => shown(row(id)),
    held: (holder) => {
      const found = records.held(holder);
      return found === undefined ? undefined : shown(found);
    },
    pause: async (id) => {
      const before = row(id);
      const paused = records.move(id, ["in-use"], "paused");
      if (paused === undefined) throw wrongState(id, before.state, "in use");
      if (!host.signal(paused.process ?? "", "SIGSTOP")) throw died(id);
    },
    resume: async (id) => {
      const before = row(id);
      if (before.state !== "paused") throw wrongState(id, before.state, "paused");
      await thaw(context, before);
      if (records.move(id, ["paused"], "in-use") === undefined) throw wrongState(id, row(id).state, "paused");
    },
    guest: async (id) => {
      const found = row(id);
      if (found.state !== "in-use") throw wrongState(id, found.state, "in use");
      const guest = await guestOf(found);
      await guest.connect();
      return guest;
    },
    snapshot: (id, { name } = {}) =>
      tracked(
        (async () => {
          const found = row(id);
          if (found.state !== "in-use" && found.state !== "paused") throw wrongState(id, found.state, "in use");
          // A frozen hypervisor can save nothing: it runs for the moment, its guest does not.
          const wasPaused = found.state === "paused";
          if (wasPaused) host.signal(found.process ?? "", "SIGCONT");
          try {
            return await snapshotMachine(context, found, name);
          } finally {
            if (wasPaused) host.signal(found.process ?? "", "SIGSTOP");
          }
        })(),
      ),
    snapshots: () => listSnapshots(ledger).map(withoutPlace),
    removeSnapshot: (id) => removeMachineSnapshot(context, id),
    setPolicy: async (id, policy) => {
      const found = row(id);
      const record = pool(found.pool);
      if (samePolicy(policy, found.policy)) return;
      if (record.network !== "bridge") {
        throw new Problem({
          code: "E_NETWORK_FIXED",
          message: `changing what ${id} may reach: it has a network of its own (user), which cannot be changed while it runs`,
          hint: "machines of a pool with `--network bridge` can; or ask for it when the machine is made",
        });
      }
      await changePolicy(context, record, found, policy);
    },
    usage: async (id) => {
      const found = row(id);
      const sample = cpuSample(host, found.pid ?? 0, now());
      const usage = usageOf(host, found, samples.get(id), sample);
      samples.set(id, sample);
      return usage;
    },
    console: (id) => consoleTail(host, row(id).directory, CONSOLE_LINES).join("\n"),
    reconcile: ({ refill = true, signal } = {}) =>
      tracked(
        (async () => {
          await removeLostNetworks(context);
          await removeLostFiles(context);
          for (const record of records.pools()) await reconcileKnown(context, record, { refill, ...(signal && { signal }) });
          for (const id of guests.keys()) if (records.entry(id) === undefined) forget(id);
        })(),
      ),
    onEvent: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: async () => {
      await Promise.allSettled(busy);
      for (const guest of guests.values()) guest.close();
      guests.clear();
    },
  };
}

function specOf(record: PoolRecord) {
  const { generation: _generation, templateDigest: _digest, createdAtMs: _created, ...spec } = record;
  return spec;
}

function died(id: string): Problem {
  return new Problem({
    code: "E_MACHINE_DIED",
    message: `the machine ${id}: its hypervisor is gone`,
    hint: "`garth pool list` after the next reconciliation no longer shows it",
  });
}
