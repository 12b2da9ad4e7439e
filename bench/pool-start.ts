/** What a clone of a snapshot costs beside a boot of the same guest: the time until it has done something, its memory, ten of them. */
import * as fs from "node:fs";
import type { PoolEntry } from "../src/pool/index.ts";
import { type BenchTemplate, milliseconds, type PoolPlace } from "./pool-place.ts";
import { type BenchRow, median, type Pair, ratioRow, shownMs } from "./row.ts";

const KIB = 1024;
const MIB = 1024 ** 2;
const MEMORY_BYTES = 256 * MIB;
const COMMAND_LIMIT_MS = 120_000;

async function untilCommand({ pools }: PoolPlace, pool: string, holder: string): Promise<void> {
  const { entry, how, miss } = await pools.checkout(pool, { holder });
  if (miss) throw new Error(`${entry.id} came about by ${how}, not as its pool has it`);
  const { code } = await (await pools.guest(entry.id)).run({ argv: ["/bin/true"], timeoutMs: COMMAND_LIMIT_MS });
  if (code !== 0) throw new Error(`true ended with ${code} in ${entry.id}`);
  await pools.return(entry.id);
}

export interface StartSizes {
  readonly clones: number;
  readonly boots: number;
}

/** As a person has it who asks for a machine of a pool: from the call until the command has ended. */
export function startRows(template: BenchTemplate, most: number | undefined, { clones, boots }: StartSizes) {
  return async (place: PoolPlace): Promise<readonly BenchRow[]> => {
    const { pools, accelerator } = place;
    const snapshot = await place.pool("snapshot", { template, tier: "snapshot", size: 0 });
    const cold = await place.pool("cold", { template, tier: "cold", size: 0 });
    place.say(`${template}: its snapshot is there after ${shownMs((await pools.warm(snapshot)).durationMs)}`);
    const pairs: Pair[] = [];
    for (let boot = 0; boot < boots; boot += 1) {
      const theirsMs = await milliseconds(() => untilCommand(place, cold, `bench boot ${boot}`));
      place.say(`${template}: a boot until a command has run: ${shownMs(theirsMs)}`);
      for (let clone = 0; clone < clones; clone += 1) {
        const oursMs = await milliseconds(() => untilCommand(place, snapshot, `bench clone ${boot} ${clone}`));
        pairs.push({ oursMs, theirsMs });
      }
    }
    const work = `start of a snapshot clone of ${template} until a command has run (${accelerator})`;
    const row = ratioRow(work, "its cold boot, until the same", most ?? 1, pairs);
    return [most === undefined ? { ...row, reach: "-", met: true } : row];
  };
}

/** What is its own and nobody else's. */
function privateBytes({ id, pid }: PoolEntry): number {
  const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const fields = ["Private_Clean", "Private_Dirty"].map((field) => new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(text)?.[1]);
  if (fields.some((field) => field === undefined)) throw new Error(`${id} has no figures of memory`);
  return fields.reduce((sum, field) => sum + Number(field) * KIB, 0);
}

/** Of several clones, as a pool has them: what all of them read in their snapshot is nobody's own. */
export function memoryRows(clones: number) {
  return async (place: PoolPlace): Promise<readonly BenchRow[]> => {
    const { pools, accelerator } = place;
    const fields = { template: "micro", memoryBytes: MEMORY_BYTES, density: "dense" } as const;
    const hot = await place.pool("hot", { ...fields, size: clones });
    await pools.warm(hot);
    const paused = pools.list(hot).filter(({ state }) => state === "available");
    const cold = await place.pool("cold", { ...fields, tier: "cold", size: 0 });
    const { entry: booted } = await pools.checkout(cold, { holder: "bench memory" });
    await pools.pause(booted.id);
    const theirs = privateBytes(booted);
    const pairs = paused.map((clone) => ({ oursMs: privateBytes(clone), theirsMs: theirs }));
    const row = ratioRow(
      `private memory of a paused snapshot clone of a 256 MiB guest, micro, density dense, ${clones} of them (${accelerator})`,
      "that of a cold-booted one, paused",
      0.2,
      pairs,
    );
    const shown = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;
    return [{ ...row, ours: shown(median(pairs.map(({ oursMs }) => oursMs))), theirs: shown(theirs) }];
  };
}

/** From nothing: the guest is booted, its snapshot taken, the clones are made. */
export function warmRows(template: BenchTemplate, count: number) {
  return async (place: PoolPlace): Promise<readonly BenchRow[]> => {
    const { pools, accelerator } = place;
    const cold = await place.pool("cold", { template, tier: "cold", size: 0 });
    const boot = async (holder: string): Promise<number> => {
      const { entry, durationMs } = await pools.checkout(cold, { holder });
      await pools.return(entry.id);
      return durationMs;
    };
    const before = await boot("bench before");
    const hot = await place.pool("hot", { template, size: count });
    const { available, durationMs } = await pools.warm(hot);
    if (available !== count) throw new Error(`${available} of ${count} are available`);
    const after = await boot("bench after");
    const boots = [before, after].map((ms) => ({ oursMs: durationMs, theirsMs: count * ms }));
    return [
      ratioRow(
        `warm ${count} machines of ${template}, from nothing to available (${accelerator})`,
        `${count} times its cold boot`,
        0.3,
        boots,
      ),
    ];
  };
}
