/**
 * The store against Debian's Nix on the same files, whole processes on both sides, alternating.
 *
 * Nix works in a store of its own (NIX_STORE_DIR and companions) as root without a daemon. Both sides find the source in the
 * page cache. Ours ends with content, names and rows on disk; Nix 2.8 syncs its database alone.
 */
import * as fs from "node:fs";
import { randomBytes } from "node:crypto";
import { localHost } from "../src/host/index.ts";
import { nixStore } from "./nix.ts";
import { type BenchRow, median, type Pair, ratioRow } from "./row.ts";

const RUNS = 3;
const GIB = 1024 ** 3;
const CHUNK_BYTES = 8 * 1024 * 1024;
const FILES = 20_000;
const FILE_BYTES = 2048;
const DEAD_PATHS = 5000;
const CANDIDATES = 500;
const RSS_LIMIT_BYTES = 150 * 1024 ** 2;
const RUN_LIMIT_MS = 300_000;

interface Timed {
  readonly ms: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Two empty stores, and a directory for what is prepared. */
interface Stores {
  readonly directory: string;
  ours(...arguments_: readonly string[]): Promise<Timed>;
  nix(...argv: readonly [string, ...string[]]): Promise<Timed>;
}

const host = localHost();

async function timed(argv: readonly [string, ...string[]], env?: Readonly<Record<string, string>>): Promise<Timed> {
  const begin = performance.now();
  const done = await host.run({ argv, timeoutMs: RUN_LIMIT_MS, ...(env === undefined ? {} : { env }) });
  return { ms: performance.now() - begin, stdout: done.text(), stderr: done.stderr };
}

/**
 * Every run gets directories of its own and nothing is removed before the end: ext4 does not give out again for a while the
 * inodes of files that were just deleted, and looks past each of them when a file is created.
 */
async function fresh(scratch: string): Promise<Stores> {
  const directory = fs.mkdtempSync(`${scratch}/run-`);
  const { root: nixRoot, env } = nixStore(directory);
  fs.writeFileSync(`${nixRoot}/etc/nix.conf`, "build-users-group =\nsandbox = false\nsubstitute = false\n");
  const child = new URL("store-child.ts", import.meta.url).pathname;
  await timed(["nix-store", "--init"], env);
  await timed(["sync"]);
  return {
    directory,
    ours: (...rest) => timed([process.execPath, child, `${directory}/garth`, ...rest]),
    nix: (...argv) => timed(argv, env),
  };
}

/** Hexadecimal digits without an end of line, or random bytes: both are the worst a scan can meet. */
function writeLarge(path: string, hex: boolean): void {
  const output = fs.openSync(path, "w");
  for (let written = 0; written < GIB; written += CHUNK_BYTES) {
    fs.writeSync(output, hex ? Buffer.from(randomBytes(CHUNK_BYTES / 2).toString("hex"), "latin1") : randomBytes(CHUNK_BYTES));
  }
  fs.fsyncSync(output);
  fs.closeSync(output);
}

function writeSmall(directory: string): void {
  for (let index = 0; index < FILES; index += 1) {
    const parent = `${directory}/d${Math.floor(index / 200)}`;
    if (index % 200 === 0) fs.mkdirSync(parent, { recursive: true });
    fs.writeFileSync(`${parent}/f${index}`, randomBytes(FILE_BYTES));
  }
}

async function alternate(ours: () => Promise<number>, theirs: () => Promise<number>): Promise<readonly Pair[]> {
  const pairs: Pair[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    if (run % 2 === 0) pairs.push({ oursMs: await ours(), theirsMs: await theirs() });
    else pairs.push({ theirsMs: await theirs(), oursMs: await ours() });
  }
  return pairs;
}

async function addRows(scratch: string): Promise<readonly BenchRow[]> {
  const rows: BenchRow[] = [];
  const peaks: number[] = [];
  const large = `${scratch}/large`;
  const small = `${scratch}/small`;
  writeLarge(large, false);
  writeSmall(small);
  for (const [work, source, most] of [
    ["add a 1 GiB file", large, 0.4],
    ["add a tree of 20,000 files", small, 0.7],
  ] as const) {
    const ours = async (): Promise<number> => {
      const { ms, stderr } = await (await fresh(scratch)).ours("add", source);
      if (source === large) peaks.push(Number(/"peakRssBytes":(\d+)/.exec(stderr)?.[1]));
      return ms;
    };
    const theirs = async (): Promise<number> => (await (await fresh(scratch)).nix("nix-store", "--add", source)).ms;
    rows.push(ratioRow(work, "nix-store --add", most, await alternate(ours, theirs)));
  }
  const peak = median(peaks);
  const mebibytes = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MiB`;
  rows.push({
    work: "memory while adding 1 GiB",
    against: "-",
    reach: `<= ${mebibytes(RSS_LIMIT_BYTES)}`,
    ours: mebibytes(peak),
    theirs: "-",
    ratio: undefined,
    met: peak <= RSS_LIMIT_BYTES,
  });
  return rows;
}

/**
 * A build whose builder moves a prepared file into `$out`, against our registration of the same file with as many candidates.
 * Nix's figure includes its evaluation and its builder (0.1 s of 20); nothing is subtracted.
 */
async function registerRow(scratch: string): Promise<BenchRow> {
  const prepared = `${scratch}/hex`;
  writeLarge(prepared, true);
  const copy = async (to: string): Promise<void> => {
    await timed(["cp", prepared, to]);
    await timed(["sync"]);
  };
  const ours = async (): Promise<number> => {
    const { directory, ours } = await fresh(scratch);
    fs.writeFileSync(`${directory}/list`, (await ours("texts", String(CANDIDATES))).stdout);
    await copy(`${directory}/file`);
    return (await ours("register", `${directory}/file`, `${directory}/list`)).ms;
  };
  const theirs = async (): Promise<number> => {
    const { directory, nix } = await fresh(scratch);
    await copy(`${directory}/file`);
    const expression = `
      let candidates = builtins.genList (n: builtins.toFile "candidate-\${toString n}" "candidate \${toString n}\\n") ${CANDIDATES};
      in derivation {
        name = "bench"; system = builtins.currentSystem; builder = "/bin/sh"; inherit candidates;
        args = [ "-c" "/bin/mkdir $out && /bin/mv ${directory}/file $out/file" ];
      }`;
    return (await nix("nix-build", "--no-out-link", "-E", expression)).ms;
  };
  const row = ratioRow(
    "scan, hash, register 1 GiB of hex, 500 candidates",
    "nix-build of the same",
    0.15,
    await alternate(ours, theirs),
  );
  return row;
}

async function gcRow(scratch: string): Promise<BenchRow> {
  const sources = `${scratch}/dead`;
  fs.mkdirSync(sources);
  const names = Array.from({ length: DEAD_PATHS }, (_, index) => `${sources}/candidate-${index}`);
  names.forEach((name, index) => fs.writeFileSync(name, `candidate ${index}\n`));
  const ours = async (): Promise<number> => {
    const { ours } = await fresh(scratch);
    await ours("texts", String(DEAD_PATHS));
    await timed(["sync"]);
    return (await ours("gc")).ms;
  };
  const theirs = async (): Promise<number> => {
    const { nix } = await fresh(scratch);
    await nix("nix-store", "--add", ...names);
    await timed(["sync"]);
    return (await nix("nix-store", "--gc")).ms;
  };
  const row = ratioRow("gc of 5,000 dead paths", "nix-store --gc", 1, await alternate(ours, theirs));
  return row;
}

/** `directory` must be on a disk, not in memory. Takes about two minutes and 20 GiB. */
export async function storeRows(directory = "/var/tmp"): Promise<BenchRow[]> {
  const scratch = fs.mkdtempSync(`${directory}/garth-bench-store-`);
  try {
    return [...(await addRows(scratch)), await registerRow(scratch), await gcRow(scratch)];
  } finally {
    await timed(["rm", "-rf", scratch]);
  }
}
