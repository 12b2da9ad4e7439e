/**
 * Images beside the tools that make them: the root of a large system against mke2fs, an image again against an image from nothing,
 * and each format against its own tool.
 *
 * What is large runs as whole processes on both sides, one after the other; what takes milliseconds runs in this process, where it
 * would be a part of something larger, after a first run of each that does not count. Both find their sources in the page cache, and
 * neither syncs what it wrote.
 */
import * as fs from "node:fs";
import { type BlockImage, layOutDisk, PARTITION_TYPE, planFat, planGpt } from "../src/formats/index.ts";
import { localHost } from "../src/host/index.ts";
import { type Container, convertImage, derivedUuid, writeBlocks } from "../src/image/index.ts";
import { shaInstructions } from "./machine.ts";
import { type BenchRow, median, ratioRow, shownMs } from "./row.ts";
import { alternate, type Child, childOf, numberIn, settled, textIn, timed } from "./runs.ts";
import { KEPT, stockDebian } from "./stock.ts";

const RUNS = { rootfs: 5, image: 3, convert: 3, small: 9 };
const MIB = 1 << 20;
const ROOT = `${KEPT}/images`;
const host = localHost();
const child = childOf(ROOT, "linux");

/** mke2fs gets the same entries, staged beforehand, and the same size; it makes no digest, and ours makes none here. */
async function rootfsRow(scratch: string, world: string): Promise<BenchRow> {
  const tree = `${scratch}/tree`;
  await child("stage", world, tree);
  const file = `${scratch}/root.ext4`;
  const ours = async (): Promise<Child> => {
    fs.rmSync(file, { force: true });
    return settled(() => child("rootfs", world, file));
  };
  const first = await ours();
  const size = `${numberIn(first, "sizeBytes") / 1024}k`;
  const theirs = async (): Promise<number> => {
    fs.rmSync(file, { force: true });
    return settled(() => timed(["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", tree, file, size]));
  };
  await theirs();
  const pairs = await alternate(RUNS.rootfs, async () => (await ours()).ms, theirs);
  fs.rmSync(file);
  const entries = numberIn(first, "entries").toLocaleString("en");
  return ratioRow(
    `root file system of ${Math.round(numberIn(first, "contentBytes") / MIB)} MiB in ${entries} entries, from items in the store`,
    "mke2fs -d of the same tree, staged beforehand",
    1.3,
    pairs,
  );
}

/** Returns the image of the last run too, for those that convert it. */
async function changedRows(world: string): Promise<{ readonly rows: readonly BenchRow[]; readonly image: string }> {
  let image = textIn(await child("image", world, "", "first"), "file");
  const digestMs: number[] = [];
  const pairs = await alternate(
    RUNS.image,
    async (run) => {
      const done = await settled(() => child("image", world, "", `changed-${run}`));
      image = textIn(done, "file");
      digestMs.push(await timed(["openssl", "dgst", "-sha256", image]));
      return done.ms;
    },
    async (run) => (await settled(() => child("image", world, `new-${run}`, `new-${run}`))).ms,
  );
  const oursMs = median(pairs.map((pair) => pair.oursMs));
  const bytesPerMs = fs.statSync(image).size / median(digestMs);
  return {
    image,
    rows: [
      ratioRow(
        "image of that system with one changed package",
        "the same from nothing but its world: slices, profile, system, image",
        0.6,
        pairs,
      ),
      {
        work: `image of ${Math.round(fs.statSync(image).size / MIB)} MiB: partition table, ESP, root, SHA-256 of the disk`,
        against: `openssl dgst -sha256 of the disk alone: ${Math.round(bytesPerMs / 1000)} MB/s, SHA instructions: ${shaInstructions()}`,
        reach: "-",
        ours: shownMs(oursMs),
        theirs: shownMs(median(digestMs)),
        ratio: oursMs / median(digestMs),
        met: true,
      },
    ],
  };
}

/** Writing alone, on both sides. */
async function convertRow(scratch: string, image: string, container: Container, words: readonly string[]): Promise<BenchRow> {
  const file = `${scratch}/converted`;
  const ours = async (): Promise<number> => {
    fs.rmSync(file, { force: true });
    await timed(["sync"]);
    const begin = performance.now();
    await convertImage(host, { from: image, to: file, container, seed: "bench", digest: false });
    return performance.now() - begin;
  };
  const theirs = async (): Promise<number> => {
    fs.rmSync(file, { force: true });
    await timed(["sync"]);
    return await timed(["qemu-img", "convert", "-f", "raw", ...words, image, file]);
  };
  const pairs = await alternate(RUNS.convert, ours, theirs);
  fs.rmSync(file);
  return ratioRow(`${container} of that image`, `qemu-img convert ${words.join(" ")}`, 1, pairs);
}

async function written(image: BlockImage, file: string): Promise<void> {
  await writeBlocks(host, image, file, { locate: (path) => path, digest: false });
}

interface Small {
  readonly work: string;
  readonly against: string;
  /** Writes the file, which is not there. */
  readonly ours: (file: string) => Promise<void>;
  readonly theirs: (file: string) => Promise<number>;
}

async function smallRow(scratch: string, { work, against, ours, theirs }: Small): Promise<BenchRow> {
  const file = `${scratch}/small`;
  const oursMs = async (): Promise<number> => {
    fs.rmSync(file, { force: true });
    const begin = performance.now();
    await ours(file);
    return performance.now() - begin;
  };
  const theirsMs = async (): Promise<number> => {
    fs.rmSync(file, { force: true });
    return theirs(file);
  };
  await oursMs();
  await theirsMs();
  const pairs = await alternate(RUNS.small, oursMs, theirsMs);
  fs.rmSync(file);
  return ratioRow(work, against, 1, pairs);
}

const DISK_BYTES = 700 * MIB;
const ESP_BYTES = 64 * MIB;

function gptWork(): Small {
  const partitions = [
    { name: "esp", typeGuid: PARTITION_TYPE.esp, guid: derivedUuid("esp"), sizeBytes: ESP_BYTES },
    { name: "root", typeGuid: PARTITION_TYPE.linuxRootX86_64, guid: derivedUuid("root"), sizeBytes: 600 * MIB },
  ];
  const wish = { diskGuid: derivedUuid("disk"), sizeBytes: DISK_BYTES, partitions };
  const words = partitions.flatMap(({ name, typeGuid, guid, sizeBytes }, index) => {
    const number = index + 1;
    return [`-n${number}:0:+${sizeBytes / MIB}M`, `-t${number}:${typeGuid}`, `-u${number}:${guid}`, `-c${number}:${name}`];
  });
  return {
    work: "partition table on a new disk of 700 MiB, two partitions",
    against: "sgdisk",
    ours: (file) => {
      const disk = layOutDisk(wish);
      return written({ sizeBytes: disk.sizeBytes, pieces: planGpt(disk) }, file);
    },
    theirs: (file) => {
      fs.writeFileSync(file, "");
      fs.truncateSync(file, DISK_BYTES);
      return timed(["sgdisk", `-U${wish.diskGuid}`, ...words, file]);
    },
  };
}

/** As large a cluster on both sides; the commands of one image in one shell. */
function espWork(scratch: string, kernel: string): Small {
  const initrd = `${scratch}/initrd`;
  fs.writeFileSync(initrd, fs.readFileSync(kernel).subarray(0, 2 * MIB));
  const content = (file: string) => ({ kind: "file", file, sizeBytes: fs.statSync(file).size }) as const;
  const script = `mkfs.fat -C -F 32 -s 1 -n ESP -i 12345678 "$1" ${ESP_BYTES / 1024} >/dev/null &&
    mmd -i "$1" ::garth ::garth/bench && mcopy -i "$1" "$2" ::garth/bench/kernel && mcopy -i "$1" "$3" ::garth/bench/initrd`;
  return {
    work: "EFI system partition of 64 MiB: a kernel of 14 MiB, an initial RAM disk of 2 MiB",
    against: "mkfs.fat, mmd, mcopy",
    ours: (file) =>
      written(
        planFat({
          sizeBytes: ESP_BYTES,
          label: "ESP",
          volumeId: 0x12345678,
          entries: [
            { path: "garth/bench/kernel", type: "file", content: content(kernel) },
            { path: "garth/bench/initrd", type: "file", content: content(initrd) },
          ],
          timeSeconds: 1,
        }),
        file,
      ),
    theirs: (file) => timed(["sh", "-c", script, "sh", file, kernel, initrd], { MTOOLS_SKIP_CHECK: "1" }),
  };
}

/** On a disk, not in memory. Takes three minutes and 8 GiB once the stock system is made. */
export async function imageRows(): Promise<readonly BenchRow[]> {
  const stock = await stockDebian();
  const scratch = fs.mkdtempSync("/var/tmp/garth-bench-image-");
  try {
    const world = textIn(await child("import", stock.tree), "path");
    const rootfs = await rootfsRow(scratch, world);
    const { rows, image } = await changedRows(world);
    return [
      rootfs,
      ...rows,
      await smallRow(scratch, gptWork()),
      await smallRow(scratch, espWork(scratch, stock.kernel)),
      await convertRow(scratch, image, "vhd-dynamic", ["-O", "vpc", "-o", "subformat=dynamic,force_size=on"]),
      await convertRow(scratch, image, "qcow2", ["-O", "qcow2"]),
    ];
  } finally {
    host.files.removeTree(scratch);
    await child("clean");
  }
}
