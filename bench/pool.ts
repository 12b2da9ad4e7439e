/**
 * Pools: what a machine costs whoever asks for one. Every figure is of guests under the accelerator that its row names.
 *
 * `bun bench/pool.ts [NAME...]` takes some of the rows alone. GARTH_BENCH_SMALL=1 takes them with few machines, to see whether they can be
 * taken. Takes a quarter of an hour where guests are emulated; the row of 300 clones needs 12 GiB of memory.
 */
import { bannerRows, gatewayRows } from "./pool-checkout.ts";
import { concurrentRows, denseRows } from "./pool-many.ts";
import { type PoolPlace, takePoolRows } from "./pool-place.ts";
import { memoryRows, startRows, warmRows } from "./pool-start.ts";
import type { BenchRow } from "./row.ts";
import { seedRows } from "./seed.ts";

const isSmall = process.env["GARTH_BENCH_SMALL"] === "1";
const few = (full: number, small: number): number => (isSmall ? small : full);

/** In the order of the table; the heaviest comes last. */
const ROWS: Readonly<Record<string, (place: PoolPlace) => Promise<readonly BenchRow[]>>> = {
  banner: (place) => bannerRows(place, { machines: few(4, 2), pairs: few(8, 2) }),
  gateway: (place) => gatewayRows(place, few(20, 4)),
  debian: startRows("debian-12", 0.1, { clones: few(7, 2), boots: 1 }),
  micro: startRows("micro", undefined, { clones: few(5, 2), boots: few(3, 1) }),
  memory: memoryRows(few(4, 2)),
  seed: seedRows,
  warm: warmRows("debian-12", few(10, 3)),
  "warm-micro": warmRows("micro", few(10, 3)),
  concurrent: concurrentRows(few(50, 5)),
  dense: denseRows(few(300, 6)),
};

const OF_DEBIAN: ReadonlySet<string> = new Set(["debian", "warm"]);

export function poolRows(names: readonly string[] = Object.keys(ROWS)): Promise<readonly BenchRow[]> {
  const rows = Object.entries(ROWS).flatMap(([name, row]) => (names.includes(name) ? [row] : []));
  return takePoolRows(names.some((name) => OF_DEBIAN.has(name)) ? ["micro", "debian-12"] : ["micro"], rows);
}

if (import.meta.main) {
  const asked = process.argv.slice(2);
  for (const { work, ours, theirs, ratio, reach, met } of await poolRows(asked.length === 0 ? undefined : asked))
    console.log(`${work}\n    ${ours} / ${theirs} = ${ratio?.toFixed(3) ?? "-"}, reach ${reach}${met ? "" : ", MISSED"}`);
}
