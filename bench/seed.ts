/** Seed disks beside cloud-localds: the disk of one machine, from its fields to a file. Neither syncs what it wrote. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { localHost } from "../src/host/index.ts";
import { seedDisk, seedFiles } from "../src/pool/seed.ts";
import { SEED } from "../src/pool/seed.testing.ts";
import { type BenchRow, type Pair, ratioRow } from "./row.ts";

const RUNS = 21;
const RUN_LIMIT_MS = 60_000;

export async function seedRows(): Promise<readonly BenchRow[]> {
  const host = localHost();
  const cwd = mkdtempSync(join(tmpdir(), "garth-bench-seed-"));
  try {
    for (const { name, text } of seedFiles(SEED)) writeFileSync(join(cwd, name), text);
    const ours = (run: number): number => {
      const begin = performance.now();
      writeFileSync(join(cwd, `ours-${run}.img`), seedDisk({ ...SEED, instanceId: `machine-${run}` }), { mode: 0o600 });
      return performance.now() - begin;
    };
    const theirs = async (run: number): Promise<number> => {
      const words = ["--filesystem", "vfat", "--network-config", "network-config", `theirs-${run}.img`, "user-data", "meta-data"];
      const begin = performance.now();
      await host.run({ argv: ["cloud-localds", ...words], cwd, timeoutMs: RUN_LIMIT_MS });
      return performance.now() - begin;
    };
    const pairs: Pair[] = [];
    for (let run = 0; run <= RUNS; run += 1) {
      const pair = { oursMs: ours(run), theirsMs: await theirs(run) };
      // The first run of each does not count.
      if (run > 0) pairs.push(pair);
    }
    return [ratioRow("seed disk of one machine", "cloud-localds", 0.2, pairs)];
  } finally {
    rmSync(cwd, { recursive: true });
  }
}
