/** Many clones at once: nobody gets what another one has, and how many have room. */
import * as fs from "node:fs";
import type { PoolEntry } from "../src/pool/index.ts";
import type { PoolPlace } from "./pool-place.ts";
import { type BenchRow, shownMs } from "./row.ts";

const CLONE_REACH_MIB = 40;
/** Below this the machine is left to others: what was made so far is taken away. */
const AVAILABLE_MIN_MIB = 1536;
const LOOK_EVERY_MS = 500;
/** Clones that run at once while they are asked whether they are alive. */
const AWAKE_AT_ONCE = 4;

function availableMiB(): number {
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(fs.readFileSync("/proc/meminfo", "utf8"))?.[1];
  if (kib === undefined) throw new Error("/proc/meminfo does not say what is available");
  return Number(kib) / 1024;
}

/** The share of each page that it holds with others counts as its part of them. */
function pssMiB({ id, pid }: PoolEntry): number {
  const kib = /^Pss:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1];
  if (kib === undefined) throw new Error(`${id} has no figures of memory`);
  return Number(kib) / 1024;
}

class Short extends Error {}

/** Ends `work` when the host runs out of memory. @throws Short */
async function watchingMemory<Value>(work: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
  const stop = new AbortController();
  const timer = setInterval(() => {
    if (availableMiB() < AVAILABLE_MIN_MIB) stop.abort(new Short(`less than ${AVAILABLE_MIN_MIB} MiB of memory are left`));
  }, LOOK_EVERY_MS);
  try {
    return await work(stop.signal);
  } finally {
    clearInterval(timer);
  }
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
}

export function concurrentRows(count: number) {
  return async (place: PoolPlace): Promise<readonly BenchRow[]> => {
    const { pools, accelerator } = place;
    const name = await place.pool("many", { template: "micro", density: "dense", size: count });
    const { durationMs } = await watchingMemory((signal) => pools.warm(name, { signal }));
    place.say(`${count} dense clones of micro are there after ${shownMs(durationMs)}`);
    const asked = Array.from({ length: count }, async (_, index) => {
      const begun = performance.now();
      const checkout = await pools.checkout(name, { holder: `bench ${index}` });
      return { ...checkout, ms: performance.now() - begun };
    });
    const outcomes = await Promise.allSettled(asked);
    const had = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
    for (const outcome of outcomes) if (outcome.status === "rejected") place.say(`a checkout failed: ${String(outcome.reason)}`);
    const failed = count - had.length;
    const doubled = had.length - new Set(had.map(({ entry }) => entry.id)).size;
    const missed = had.filter(({ miss }) => miss).length;
    const times = had.map(({ ms }) => ms);
    return [
      {
        work: `${count} concurrent checkouts from a pool of ${count} paused clones, micro, density dense (${accelerator})`,
        against: "-",
        reach: "none failed, none doubled",
        ours: `${failed} failed, ${doubled} doubled, ${missed} missed; p50 ${shownMs(percentile(times, 0.5))}, p95 ${shownMs(percentile(times, 0.95))}`,
        theirs: "-",
        ratio: undefined,
        met: failed === 0 && doubled === 0 && missed === 0,
      },
    ];
  };
}

interface Dense {
  readonly answered: number;
  readonly availableEachMiB: number;
  readonly pssEachMiB: number;
}

async function makeMany(place: PoolPlace, name: string, count: number, signal: AbortSignal): Promise<Dense> {
  const { pools } = place;
  // The snapshot that they share is no clone's.
  await pools.warm(name, { count: 1, signal });
  const before = availableMiB();
  const { durationMs } = await pools.warm(name, { count, signal });
  const after = availableMiB();
  const clones = pools.list(name).filter(({ state }) => state === "available");
  const pssEachMiB = clones.reduce((sum, clone) => sum + pssMiB(clone), 0) / clones.length;
  place.say(`${clones.length} dense clones of micro are there after ${shownMs(durationMs)}; ${after.toFixed(0)} MiB are left`);

  const answered = new Set<string>();
  const begun = performance.now();
  let next = 0;
  const one = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) {
      // The guest has answered; in the place of one that does not another is given, and of the last ones one that was not paused.
      const { entry, miss } = await pools.checkout(name, { holder: `bench ${index}`, signal });
      if (!miss) answered.add(entry.id);
      await pools.pause(entry.id);
    }
  };
  await Promise.all(Array.from({ length: AWAKE_AT_ONCE }, one));
  place.say(`all were asked within ${shownMs(performance.now() - begun)}`);
  return { answered: answered.size, availableEachMiB: (before - after) / (count - 1), pssEachMiB };
}

export function denseRows(count: number) {
  return async (place: PoolPlace): Promise<readonly BenchRow[]> => {
    const name = await place.pool("many", { template: "micro", density: "dense", size: count, subnet: "10.77.0.0/22" });
    const row = {
      work: `${count} paused clones of micro, density dense: alive, and memory of each (${place.accelerator})`,
      against: "-",
      reach: `all, <= ${CLONE_REACH_MIB} MiB`,
      theirs: "-",
      ratio: undefined,
    };
    try {
      const made = await watchingMemory((signal) => makeMany(place, name, count, signal));
      const { answered, availableEachMiB, pssEachMiB } = made;
      const memory = `${availableEachMiB.toFixed(1)} MiB of available memory, ${pssEachMiB.toFixed(1)} MiB PSS`;
      const isSmall = Math.max(availableEachMiB, pssEachMiB) <= CLONE_REACH_MIB;
      return [{ ...row, ours: `${answered} answered; ${memory}`, met: answered === count && isSmall }];
    } catch (error) {
      if (!(error instanceof Short)) throw error;
      return [{ ...row, ours: `${place.pools.list(name).length} were there, and ${error.message}`, met: false }];
    }
  };
}
