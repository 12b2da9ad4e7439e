/**
 * `npm run bench [-- NAME...]`: every figure of README's table beside the tool it is compared with, in one run; the table on
 * stdout and in bench/RESULTS.md. Ends with 1 when a figure misses its reach. NAMEs pick files: store, build, repository, image, ufs,
 * boot, pool.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { machine } from "./machine.ts";
import type { BenchRow } from "./row.ts";
import { markdown } from "./table.ts";

const PARTS: Readonly<Record<string, () => Promise<readonly BenchRow[]>>> = {
  store: async () => (await import("./store.ts")).storeRows(),
  build: async () => (await import("./build.ts")).buildRows(),
  repository: async () => (await import("./repository.ts")).repositoryRows(),
  image: async () => (await import("./image.ts")).imageRows(),
  ufs: async () => (await import("./ufs.ts")).ufsRows(),
  boot: async () => (await import("./boot.ts")).bootRows(),
  pool: async () => (await import("./pool.ts")).poolRows(),
};

const asked = process.argv.slice(2);
const unknown = asked.find((name) => !(name in PARTS));
if (unknown !== undefined) {
  console.error(`bench: there is no ${unknown}; there are ${Object.keys(PARTS).join(", ")}`);
  process.exit(2);
}

const rows: BenchRow[] = [];
for (const [name, load] of Object.entries(PARTS)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  console.error(`bench: ${name}`);
  rows.push(...(await load()));
}
const table = markdown(rows);
console.log(table);
// A part of the table does not replace the whole of it.
if (asked.length === 0) {
  const facts = machine().map(([what, value]) => `- ${what}: ${value}`);
  const text = [
    "# Figures",
    "",
    `Taken by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}. Medians; each ratio is of two runs taken one after the other.`,
    "",
    ...facts,
    "",
    table,
    "",
  ].join("\n");
  writeFileSync(join(import.meta.dir, "RESULTS.md"), text);
}
process.exit(rows.every((row) => row.met) ? 0 : 1);
