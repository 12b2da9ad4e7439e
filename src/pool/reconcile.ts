/** Carries out what plan.ts says, a few steps at once. Each step looks again before it acts: another process may have done it. */
import { Problem } from "../base/index.ts";
import type { PoolContext } from "./context.ts";
import { destroyEntry } from "./destroy.ts";
import { listSnapshots, sweepSnapshots } from "./fork.ts";
import { makeEntry } from "./make.ts";
import { withNetwork } from "./network-lease.ts";
import { trimConsole } from "../machine/index.ts";
import { type Observed, planPool, type PoolStep } from "./plan.ts";
import { shown } from "./records.ts";
import { ensureSnapshot, removeOldSnapshots } from "./snapshot.ts";
import type { SnapshotPlace } from "./snapshot-place.ts";
import { networksLeft } from "../network/index.ts";
import type { Template } from "../template/index.ts";
import type { EntryState, PoolRecord } from "./types.ts";

const RETIRING_AT_ONCE = 8;
/** A machine that is made waits now and then: for a disk, for a program that is started here. */
const MORE_THAN_PROCESSORS = 1;
/** A network is found by the name of its pool. */
const ANY_SUBNET = "10.77.0.0/24";
const ANY: readonly EntryState[] = ["preparing", "booting", "warming", "available", "in-use", "paused", "failed", "retiring"];

export function observe({ host, records }: Pick<PoolContext, "host" | "records">, pool: string): readonly Observed[] {
  return records.list(pool).map((row) => ({
    entry: shown(row),
    lives: row.process === undefined ? undefined : host.isAlive(row.process),
    ownerLives: host.isAlive(row.owner),
  }));
}

export async function reconcilePool(
  context: PoolContext,
  pool: PoolRecord,
  options: { readonly refill: boolean; readonly signal?: AbortSignal },
): Promise<void> {
  const { host, records } = context;
  sweepSnapshots(context);
  const observed = observe(context, pool.name);
  const steps = planPool(pool, observed, { refill: options.refill, now: context.now() });
  const retired = steps.flatMap((step) => (step.kind === "retire" ? [step] : []));
  await eachOf(retired, RETIRING_AT_ONCE, (step) => retire(context, step));
  for (const row of records.list(pool.name)) if (row.process !== undefined) trimConsole(host, row.directory);
  for (const step of steps) {
    if (step.kind === "give-up")
      context.note(
        pool.name,
        `${step.failures} machines failed one after the other: no more are made until their reasons are forgotten`,
      );
    if (step.kind === "make") await makeSeveral(context, pool, step.count, options.signal);
  }
}

/** Somebody may forget the pool meanwhile: what was begun for it after he had looked is undone here, and no failure of anybody's. */
export async function reconcileKnown(...given: Parameters<typeof reconcilePool>): Promise<void> {
  const [context, pool] = given;
  const isForgotten = (): boolean => context.records.pool(pool.name) === undefined;
  try {
    await reconcilePool(...given);
  } catch (error) {
    if (!isForgotten()) throw error;
  }
  if (!isForgotten()) return;
  await drainPool(context, pool);
  await context.host.files.removeTreeBeside(`${context.places.pools}/${pool.name}`);
}

async function retire(context: PoolContext, step: Extract<PoolStep, { kind: "retire" }>): Promise<void> {
  const { host, records } = context;
  const before = records.entry(step.id);
  if (before === undefined) return;
  // Of two Garths one becomes its owner; a holder's machine is taken away only when it is dead.
  const held = before.state === "in-use" || before.state === "paused";
  if (held && before.process !== undefined && host.isAlive(before.process)) return;
  const row = records.move(before.id, [before.state], "retiring", { owner: host.processIdentity });
  if (row === undefined) return;
  if (step.reason === "died" || step.reason === "abandoned")
    context.note(row.pool, `${row.id} is retired: it ${step.reason === "died" ? "died" : "was abandoned"}`);
  await destroyEntry(context, row);
}

/** What machines of the pool begin from; undefined: each is booted. @throws Problem as `ensureSnapshot` where nothing else will do */
export async function beginning(
  context: PoolContext,
  pool: PoolRecord,
  template: Template,
  signal: AbortSignal | undefined,
): Promise<SnapshotPlace | undefined> {
  if (pool.tier === "cold") return undefined;
  try {
    const place = await ensureSnapshot(context, pool, template, signal);
    // What stands on an older one is somebody's, and needs it.
    if (listSnapshots(context.ledger).every((each) => each.pool !== pool.name))
      await removeOldSnapshots(context, pool.name, place.directory);
    return place;
  } catch (error) {
    if (pool.tier === "hot" && error instanceof Problem && error.code === "E_SNAPSHOT_UNSUPPORTED") {
      context.note(pool.name, `${error.message}: its machines are booted one by one`);
      return undefined;
    }
    throw error;
  }
}

/** Several at once, until so many more are available. @throws what the first that failed threw, when all have ended */
export async function makeSeveral(
  context: PoolContext,
  pool: PoolRecord,
  count: number,
  signal: AbortSignal | undefined,
): Promise<{ readonly made: number; readonly failed: number; readonly problem: unknown }> {
  if (count <= 0) return { made: 0, failed: 0, problem: undefined };
  const template = await context.templates.verify(pool.template, signal === undefined ? {} : { signal });
  const from = await beginning(context, pool, template, signal);
  let made = 0;
  let failed = 0;
  let problem: unknown;
  const numbers = Array.from({ length: count }, (_, index) => index);
  await eachOf(numbers, context.host.processors + MORE_THAN_PROCESSORS, async () => {
    if (problem !== undefined) return;
    try {
      await makeEntry(context, { pool, template, from, holder: undefined, policy: pool.policy, signal });
      made += 1;
    } catch (error) {
      failed += 1;
      problem ??= error;
    }
  });
  return { made, failed, problem };
}

/** Everything of a pool, held or not. Returns how many machines there were. */
export async function drainPool(context: PoolContext, pool: PoolRecord): Promise<number> {
  const { host, records } = context;
  let destroyed = 0;
  for (;;) {
    const rows = records
      .list(pool.name)
      .filter((row) => row.state !== "retiring" || row.owner === host.processIdentity || !host.isAlive(row.owner));
    if (rows.length === 0) break;
    await eachOf(rows, RETIRING_AT_ONCE, async (row) => {
      const owned = records.move(row.id, ANY, "retiring", { owner: host.processIdentity, holder: undefined });
      if (owned === undefined) return;
      await destroyEntry(context, owned);
      destroyed += 1;
    });
  }
  if (pool.network === "bridge") await withNetwork(context, pool.name, () => context.bridgeOf(pool).remove());
  return destroyed;
}

/** Networks of pools that are not there any more: whoever drained one was killed before it came to that. */
export async function removeLostNetworks(context: PoolContext): Promise<void> {
  const { host, records, places } = context;
  if (!host.isRoot || host.which("ip") === undefined) return;
  for (const name of await networksLeft(host, places.pools)) {
    if (records.pool(name)?.network === "bridge") continue;
    await withNetwork(context, name, () => context.bridgeOf({ name, subnet: ANY_SUBNET }).remove());
  }
}

/** Files of pools that are not there any more, for the same reason. */
export async function removeLostFiles({ host, records, places }: PoolContext): Promise<void> {
  if (!host.files.exists(places.pools)) return;
  for (const bytes of host.files.list(places.pools)) {
    const name = Buffer.from(bytes).toString();
    // What begins with a dot is the pools' own.
    if (name.startsWith(".") || records.pool(name) !== undefined || records.list(name).length > 0) continue;
    const path = `${places.pools}/${name}`;
    if (host.files.lstatIfAny(path)?.type === "directory") await host.files.removeTreeBeside(path);
  }
}

/** A bound on how many run at once. @throws what the first that failed threw, when all have ended */
export async function eachOf<Item>(items: readonly Item[], atOnce: number, work: (item: Item) => Promise<void>): Promise<void> {
  const waiting = [...items];
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
      try {
        await work(item);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
}
