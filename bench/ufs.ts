/**
 * The root of a FreeBSD system beside mke2fs: one tree of 40,000 entries, in sizes as a base system has them, into a file system of 1 GiB;
 * and the image of a system with it, of which one package changes. All sides are whole processes that read the tree themselves, out of the
 * page cache, and none syncs what it wrote.
 */
import * as fs from "node:fs";
import { localHost } from "../src/host/index.ts";
import { type BenchRow, median, ratioRow } from "./row.ts";
import { alternate, type Child, childOf, numberIn, program, settled, textIn, timed } from "./runs.ts";

const RUNS = { writer: 7, image: 3 };
const MIB = 1 << 20;
const SIZE_BYTES = 1024 * MIB;
const MEMORY_MAX_BYTES = 200 * MIB;
const TREE = { directories: 3_000, symlinks: 2_000, files: 35_000, contentBytes: 850 * MIB };
const host = localHost();

/** The same numbers each time (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Most files small, most bytes in large ones: the logarithm of a size is spread evenly, and all come to `contentBytes`. */
function stage(root: string): void {
  const next = numbers(15);
  const directories = [root];
  for (let made = 0; made < TREE.directories; made += 1) {
    const above = directories[Math.floor(next() * Math.min(directories.length, 400))] ?? root;
    const directory = `${above}/directory-${made}`;
    fs.mkdirSync(directory, { recursive: true });
    directories.push(directory);
  }
  const weights = Array.from({ length: TREE.files }, () => 2 ** (4 + next() * 17));
  const scale = TREE.contentBytes / weights.reduce((sum, weight) => sum + weight, 0);
  const bytes = Buffer.from(Uint32Array.from({ length: MIB }, () => next() * 2 ** 32).buffer);
  const inSome = (): string => directories[Math.floor(next() * directories.length)] ?? root;
  for (const [index, weight] of weights.entries()) {
    const size = Math.round(weight * scale);
    const from = Math.floor(next() * (bytes.length - size));
    fs.writeFileSync(`${inSome()}/file-${index}`, bytes.subarray(from, from + size), { mode: index % 5 === 0 ? 0o555 : 0o644 });
  }
  for (let made = 0; made < TREE.symlinks; made += 1) fs.symlinkSync(`../lib/file-${made}`, `${inSome()}/link-${made}`);
}

/** What a system has to have besides; the sizes are as they are. */
const SYSTEM: Readonly<Record<string, string>> = {
  "bin/sh": "sh\n",
  "sbin/init": "init\n",
  "boot/kernel/kernel": "kernel\n",
  "boot/loader.efi": "loader\n",
  "boot/lua/loader.lua": "lua\n",
  "boot/defaults/loader.conf": "defaults\n",
  "boot/device.hints": "hints\n",
  "etc/rc": "#!/bin/sh\n",
  "etc/rc.d/sshd": "#!/bin/sh\n",
  "etc/master.passwd": "root:*:0:0::0:0:Charlie &:/root:/bin/sh\n",
  "etc/group": "wheel:*:0:root\n",
};

async function writerRows(tree: string, file: string): Promise<readonly BenchRow[]> {
  const ours = async (): Promise<Child> => {
    fs.rmSync(file, { force: true });
    return settled(() => program("ufs", "ufs-child.ts", tree, file, String(SIZE_BYTES)));
  };
  const theirs = async (): Promise<number> => {
    fs.rmSync(file, { force: true });
    return settled(() => timed(["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", tree, file, `${SIZE_BYTES / 1024}k`]));
  };
  const entries = numberIn(await ours(), "entries");
  await theirs();
  const peaks: number[] = [];
  const pairs = await alternate(
    RUNS.writer,
    async () => {
      const done = await ours();
      peaks.push(numberIn(done, "peakBytes"));
      return done.ms;
    },
    theirs,
  );
  fs.rmSync(file);
  const peakBytes = median(peaks);
  const content = `${TREE.contentBytes / MIB} MiB in ${entries.toLocaleString("en")} entries`;
  return [
    ratioRow(`UFS2 file system of ${SIZE_BYTES / MIB} MiB, ${content}`, "mke2fs -d of the same tree", 1, pairs),
    {
      work: "memory while writing it, the whole process",
      against: "-",
      reach: `<= ${MEMORY_MAX_BYTES / MIB} MiB`,
      ours: `${Math.round(peakBytes / MIB)} MiB`,
      theirs: "-",
      ratio: undefined,
      met: peakBytes <= MEMORY_MAX_BYTES,
    },
  ];
}

async function changedRow(tree: string, root: string): Promise<BenchRow> {
  for (const [path, text] of Object.entries(SYSTEM)) {
    fs.mkdirSync(`${tree}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
    fs.writeFileSync(`${tree}/${path}`, text, { mode: 0o755 });
  }
  const child = childOf(root, "freebsd");
  const world = textIn(await child("import", tree), "path");
  await child("image", world, "", "first");
  const pairs = await alternate(
    RUNS.image,
    async (run) => (await settled(() => child("image", world, "", `changed-${run}`))).ms,
    async (run) => (await settled(() => child("image", world, `new-${run}`, `new-${run}`))).ms,
  );
  return ratioRow(
    "image of a FreeBSD system with that tree, one package changed",
    "the same from nothing but its world: slices, profile, system, image",
    0.6,
    pairs,
  );
}

/** Takes three minutes and 16 GiB. */
export async function ufsRows(): Promise<readonly BenchRow[]> {
  const scratch = fs.mkdtempSync("/var/tmp/garth-bench-ufs-");
  const tree = `${scratch}/tree`;
  try {
    fs.mkdirSync(tree);
    stage(tree);
    return [...(await writerRows(tree, `${scratch}/file-system`)), await changedRow(tree, scratch)];
  } finally {
    host.files.removeTree(scratch);
  }
}
