/**
 * A ZFS root as makefs(8) of FreeBSD is told to make it: one pool on one partition, the whole root in `POOL/ROOT/default`. Pure.
 *
 * makefs compresses nothing and writes the same bytes for the same manifest; what it takes random numbers for it takes from a fixed seed,
 * and so the pool's GUID, which has to differ from machine to machine, is said. Sources: usr.sbin/makefs/zfs.c and zfs/, and how FreeBSD
 * makes its own images (release/tools/vmimage.subr).
 */
import { Problem, sha256, type StorePath } from "../base/index.ts";
import { contentBytes, type FileSystemEntry } from "../formats/index.ts";
import { renderRootMtree, rootDataset } from "../system/index.ts";

export interface ZfsWish {
  /** What the pool's GUID is derived from. */
  readonly system: StorePath;
  readonly entries: readonly FileSystemEntry[];
  readonly pool: string;
  /** Of the partition; without it what the contents and `freeBytes` need. */
  readonly sizeBytes: number | undefined;
  readonly freeBytes: number | undefined;
  readonly timeSeconds: number;
}

/** Files of the host that makes it. */
export interface ZfsPlaces {
  readonly image: string;
  readonly manifest: string;
  readonly contentsOf: (entry: FileEntry) => string;
}

export interface ZfsRootPlan {
  readonly argv: readonly [string, ...string[]];
  /** mtree(5), with the place of each file's bytes. */
  readonly manifest: string;
  readonly sizeBytes: number;
  /** At most: makefs says no numbers. */
  readonly usedBytes: number;
}

export type FileEntry = FileSystemEntry & { readonly type: "file" };

const KIBIBYTE = 2 ** 10;
const MEBIBYTE = 2 ** 20;
const LEAST_FREE_BYTES = 256 * MEBIBYTE;
const FREE_PART = 0.15;
/** ZFS takes no smaller device. */
const LEAST_BYTES = 64 * MEBIBYTE;
/** Labels, two at either end, and the room for a boot block. */
const LABEL_BYTES = 4.5 * MEBIBYTE;
const METASLAB = { least: 16 * MEBIBYTE, most: 512 * MEBIBYTE, count: 8 } as const;
const BLOCK_BYTES = 4 * KIBIBYTE;
const RECORD_BYTES = 128 * KIBIBYTE;
const POINTERS = RECORD_BYTES / 128;
const DNODE_BYTES = 512;
/** Of a directory that is one block: names of 49 bytes, 2047 of them. A larger one is made of leaves with so many chunks of 21 bytes. */
const MICRO = { nameBytes: 49, entries: 2_047, entryBytes: 64 } as const;
const LEAF = { chunks: 5_000, chunkBytes: 21, filled: 0.6 } as const;
/** The pool's own objects, and what is counted too small. */
const OWN_BYTES = 16 * MEBIBYTE;
const MORE_PART = 1.02;
/**
 * A link's target lies with its attributes in what a dnode has for them: 320 bytes, 176 of which are taken. makefs writes no second block
 * for them.
 */
export const ZFS_TARGET_MAX_BYTES = 144;
const SHOWN = 8;

/**
 * @throws Problem E_ZFS_TARGET for links that makefs cannot write, E_ZFS_TOO_SMALL, E_BAD_MTREE for a place that makefs cannot be told
 */
export function planZfsRoot(wish: ZfsWish, places: ZfsPlaces): ZfsRootPlan {
  const { entries, pool, timeSeconds } = wish;
  checkTargets(entries);
  const usedBytes = roomFor(entries);
  const sizeBytes = sizeOf(wish, usedBytes);
  const dataset = rootDataset(pool);
  const above = dataset.slice(0, dataset.lastIndexOf("/"));
  const options = [
    `poolname=${pool}`,
    `poolguid=${poolGuid(wish.system)}`,
    `bootfs=${dataset}`,
    "rootpath=/",
    `fs=${pool};mountpoint=none`,
    `fs=${above};mountpoint=none`,
    `fs=${dataset};mountpoint=/;canmount=noauto`,
  ];
  return {
    argv: [
      "makefs",
      "-t",
      "zfs",
      "-s",
      `${sizeBytes}`,
      "-T",
      `${timeSeconds}`,
      ...options.flatMap((option) => ["-o", option]),
      places.image,
      places.manifest,
    ],
    manifest: renderRootMtree(entries, places.contentsOf),
    sizeBytes,
    usedBytes,
  };
}

/** 63 bits, and not 0: that would be none. */
function poolGuid(system: StorePath): string {
  return ((BigInt(`0x${sha256(`zpool ${system}`).slice(0, 16)}`) >> 1n) | 1n).toString();
}

function checkTargets(entries: readonly FileSystemEntry[]): void {
  const long = entries.filter(({ type }) => type === "symlink").filter((entry) => targetBytes(entry) > ZFS_TARGET_MAX_BYTES);
  if (long.length === 0) return;
  throw new Problem({
    code: "E_ZFS_TARGET",
    message: `planning a ZFS root: the targets of ${long.length} symbolic links have more than ${ZFS_TARGET_MAX_BYTES} bytes, which makefs(8) cannot write`,
    details: long.slice(0, SHOWN).map((entry) => `/${entry.path}: ${targetBytes(entry)} bytes`),
    hint: 'choose shorter names of slices and packages, prune these paths, or give the system a UFS root: disk: { rootType: "ufs" }',
    exit: 2,
  });
}

function targetBytes(entry: FileSystemEntry): number {
  return entry.type === "symlink" ? Buffer.byteLength(entry.target) : 0;
}

/** As makefs allocates, or more. */
function roomFor(entries: readonly FileSystemEntry[]): number {
  const names = new Map<string, string[]>();
  for (const { path } of entries) {
    if (path === "") continue;
    const slash = path.lastIndexOf("/");
    const parent = path.slice(0, Math.max(0, slash));
    const known = names.get(parent);
    if (known === undefined) names.set(parent, [path.slice(slash + 1)]);
    else known.push(path.slice(slash + 1));
  }
  let bytes = records(entries.length * DNODE_BYTES);
  for (const entry of entries) if (entry.type === "file") bytes += records(contentBytes(entry.content));
  for (const each of names.values()) bytes += directoryBytes(each);
  return Math.ceil(bytes * MORE_PART) + OWN_BYTES;
}

/** One block of a power of two, or records and the blocks that say where they are. */
function records(sizeBytes: number): number {
  if (sizeBytes === 0) return 0;
  if (sizeBytes <= RECORD_BYTES) return Math.max(BLOCK_BYTES, 2 ** Math.ceil(Math.log2(sizeBytes)));
  let count = Math.ceil(sizeBytes / RECORD_BYTES);
  let total = count;
  do {
    count = Math.ceil(count / POINTERS);
    total += count;
  } while (count > 1);
  return total * RECORD_BYTES;
}

function directoryBytes(names: readonly string[]): number {
  const lengths = names.map((name) => Buffer.byteLength(name));
  if (names.length <= MICRO.entries && lengths.every((length) => length <= MICRO.nameBytes))
    return records((names.length + 1) * MICRO.entryBytes);
  const chunks = lengths.reduce((sum, length) => sum + 2 + Math.ceil((length + 1) / LEAF.chunkBytes), 0);
  const leaves = 2 ** Math.max(0, Math.ceil(Math.log2(chunks / (LEAF.chunks * LEAF.filled))));
  return (leaves + 2) * RECORD_BYTES;
}

function sizeOf({ sizeBytes, freeBytes, pool }: ZfsWish, usedBytes: number): number {
  const wanted = usedBytes + (freeBytes ?? Math.max(LEAST_FREE_BYTES, Math.ceil(usedBytes * FREE_PART)));
  const smallest = (needed: number): number => {
    let size = Math.max(LEAST_BYTES, Math.ceil((needed + LABEL_BYTES) / MEBIBYTE) * MEBIBYTE);
    while (usable(size) < needed) size += MEBIBYTE;
    return size;
  };
  if (sizeBytes === undefined) return smallest(wanted);
  if (usable(sizeBytes) >= usedBytes) return sizeBytes;
  const needed = smallest(usedBytes);
  throw new Problem({
    code: "E_ZFS_TOO_SMALL",
    message: `planning the ZFS root of the pool ${pool}: its contents do not fit into its size`,
    details: [
      `needed:  ${needed} bytes, of which ${usedBytes} are contents`,
      `there:   ${sizeBytes} bytes`,
      `missing: ${needed - sizeBytes} bytes`,
    ],
    hint: "make it larger, leave something out, or leave the size to be chosen",
    exit: 2,
  });
}

/** Whole metaslabs, of a size that is a power of two: what is behind the last is of no use. */
function usable(sizeBytes: number): number {
  const between = sizeBytes - LABEL_BYTES;
  const part = Math.min(METASLAB.most, Math.max(METASLAB.least, between / METASLAB.count));
  const metaslab = 2 ** Math.floor(Math.log2(part));
  return sizeBytes < LEAST_BYTES ? 0 : Math.floor(between / metaslab) * metaslab;
}
