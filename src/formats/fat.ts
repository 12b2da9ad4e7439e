/**
 * Writes FAT12, FAT16 and FAT32 file systems with long names (Microsoft FAT specification, version 1.03): EFI system partitions,
 * and the small disks that tell a machine who it is.
 *
 *     reserved: boot sector | FAT | the same FAT | root, of 12 and 16 | clusters from number 2 on
 *
 * The same entries give the same bytes, whatever their order: a directory is sorted, each file lies in one run of clusters,
 * and everything has one time.
 */
import { Problem } from "../base/index.ts";
import { type BlockImage, type Content, contentBytes, type Piece } from "./blocks.ts";
import { FAT_SECTOR, type FatGeometry, fatGeometry } from "./fat-geometry.ts";
import { type FatName, fatNames, longSlots, SHORT_BYTES, shortName, SLOT_BYTES, slotsOf } from "./fat-names.ts";
import { concatenate } from "./tar-write.ts";

const MEBIBYTE = 1 << 20;
const FILE_BYTES = 0xffffffff;
const ATTRIBUTES = { volume: 0x08, directory: 0x10, archive: 0x20 };
/** "Fixed disk". */
const MEDIUM = 0xf8;
/** 1980-01-01 and 2107-12-31 23:59:59. */
const EARLIEST_SECONDS = 315532800;
const LATEST_SECONDS = 4354819199;
/** int 0x18, hlt, and again: a BIOS that comes here goes on to the next device. */
const NEXT_DEVICE = [0xcd, 0x18, 0xf4, 0xeb, 0xfd];
/** Clusters are counted from here. */
const FIRST_CLUSTER = 2;
const BACKUP_BOOT_SECTOR = 6;
const LABEL = /^[A-Za-z0-9 !#$%&'()@^_`{}~-]{0,11}$/;

/** `path` has no slash at its ends. Directories above an entry need not be said. */
export type FatEntry =
  | { readonly path: string; readonly type: "directory" }
  | { readonly path: string; readonly type: "file"; readonly content: Content };

export interface FatWish {
  /** Whole sectors of 512 bytes. */
  readonly sizeBytes: number;
  /** Up to 11 characters of ASCII; "" is none. */
  readonly label: string;
  /** 32 bits; tools show `1234-ABCD`. */
  readonly volumeId: number;
  readonly entries: readonly FatEntry[];
  /** Whole seconds since 1970; what is before 1980 becomes 1980-01-01, as FAT knows nothing earlier. */
  readonly timeSeconds: number;
  /** Where on its disk the file system begins: the BIOS's "hidden sectors". 0 when not said. */
  readonly partitionOffsetBytes?: number;
}

interface Node {
  readonly path: string;
  /** undefined for a directory. */
  readonly content: Content | undefined;
  readonly children: readonly { readonly name: FatName; readonly node: Node }[];
  /** Of its directory: 32 bytes each. */
  readonly slots: number;
}

/** @throws Problem E_FAT_TOO_SMALL, E_FAT_NAME, E_FAT_FILE_SIZE, E_FAT_LABEL; RangeError for a size that FAT cannot have */
export function planFat(wish: FatWish): BlockImage {
  if (!LABEL.test(wish.label))
    throw new Problem({
      code: "E_FAT_LABEL",
      message: `writing a FAT file system: ${JSON.stringify(wish.label)} cannot be its label`,
      hint: "a label has up to 11 characters: letters and digits of ASCII, spaces, and !#$%&'()@^_`{}~-",
      exit: 2,
    });
  const root = treeOf(wish.entries);
  const geometry = fatGeometry(wish.sizeBytes, root.slots);
  const needed = clustersOf(root, geometry, true);
  if (needed > geometry.clusters) {
    const missing = (needed - geometry.clusters) * geometry.clusterBytes;
    throw new Problem({
      code: "E_FAT_TOO_SMALL",
      message: `writing a FAT file system of ${wish.sizeBytes} bytes: its files need ${missing} bytes more`,
      hint: `make it ${fatSizeFor(wish.entries, 0)} bytes or larger`,
      exit: 2,
    });
  }
  return rendered(wish, root, geometry, needed);
}

/**
 * The smallest size in whole MiB in which the entries leave `slackBytes` of clusters free.
 *
 * @throws Problem E_FAT_NAME, E_FAT_FILE_SIZE
 */
export function fatSizeFor(entries: readonly FatEntry[], slackBytes: number): number {
  const root = treeOf(entries);
  const contents = entries.reduce((sum, entry) => sum + (entry.type === "file" ? contentBytes(entry.content) : 0), slackBytes);
  for (let sizeBytes = Math.max(1, Math.floor(contents / MEBIBYTE)) * MEBIBYTE; ; sizeBytes += MEBIBYTE) {
    const geometry = fatGeometry(sizeBytes, root.slots);
    const needed = clustersOf(root, geometry, true) + Math.ceil(slackBytes / geometry.clusterBytes);
    if (needed <= geometry.clusters) return sizeBytes;
  }
}

/** Entries as a tree, sorted, with every directory that a path goes through. */
function treeOf(entries: readonly FatEntry[]): Node {
  interface Growing {
    readonly content: Content | undefined;
    readonly children: Map<string, Growing>;
  }
  const root: Growing = { content: undefined, children: new Map() };
  // Sorted, parents come before what is in them.
  for (const entry of entries.toSorted((a, b) => (a.path < b.path ? -1 : 1))) {
    if (entry.path === "" && entry.type === "directory") continue;
    const names = entry.path.split("/");
    const last = names.pop() ?? "";
    let at = root;
    for (const name of names) {
      const next = at.children.get(name) ?? { content: undefined, children: new Map<string, Growing>() };
      if (next.content !== undefined) throw clash(entry.path, "is in a file, not in a directory");
      at.children.set(name, next);
      at = next;
    }
    const content = entry.type === "file" ? entry.content : undefined;
    if (content !== undefined && contentBytes(content) > FILE_BYTES)
      throw new Problem({
        code: "E_FAT_FILE_SIZE",
        message: `writing a FAT file system: /${entry.path} has ${contentBytes(content)} bytes, and a file can have ${FILE_BYTES}`,
        hint: "keep it on another file system",
        exit: 2,
      });
    if (at.children.has(last)) throw clash(entry.path, "is there twice");
    at.children.set(last, { content, children: new Map() });
  }
  const finished = ({ content, children }: Growing, path: string): Node => {
    const sorted = [...children].toSorted(([a], [b]) => (a < b ? -1 : 1));
    const names = fatNames(
      sorted.map(([name]) => name),
      path,
    );
    const inside = sorted.flatMap(([text, child], index) => {
      const name = names[index];
      return name === undefined ? [] : [{ name, node: finished(child, path === "" ? text : `${path}/${text}`) }];
    });
    // The root's label, or "." and ".." of any other.
    const slots = names.reduce((sum, name) => sum + slotsOf(name), path === "" ? 1 : 2);
    if (slots * SLOT_BYTES > 2 * MEBIBYTE) throw clash(path, "has more names than a directory can hold");
    return { path, content, children: inside, slots };
  };
  return finished(root, "");
}

function clash(path: string, what: string): Problem {
  return new Problem({
    code: "E_FAT_NAME",
    message: `writing a FAT file system: /${path} ${what}`,
    hint: "look at what puts it there",
    exit: 2,
  });
}

/** Of a tree; the root of FAT12 and FAT16 lies outside. */
function clustersOf(node: Node, geometry: FatGeometry, isRoot: boolean): number {
  const own = isRoot && geometry.bits !== 32 ? 0 : ownClusters(node, geometry);
  return node.children.reduce((sum, child) => sum + clustersOf(child.node, geometry, false), own);
}

function ownClusters(node: Node, geometry: FatGeometry): number {
  const bytes = node.content === undefined ? node.slots * SLOT_BYTES : contentBytes(node.content);
  return Math.ceil(bytes / geometry.clusterBytes);
}

/** A directory, its files, then its directories with all that is in them: the order on the disk. */
function inOrder(node: Node, parent: Node): readonly { readonly node: Node; readonly parent: Node }[] {
  const inside = node.children.map((child) => child.node);
  return [
    { node, parent },
    ...inside.filter((one) => one.content !== undefined).map((one) => ({ node: one, parent: node })),
    ...inside.filter((one) => one.content === undefined).flatMap((one) => inOrder(one, node)),
  ];
}

function rendered(wish: FatWish, root: Node, geometry: FatGeometry, needed: number): BlockImage {
  const order = inOrder(root, root);
  const firstCluster = new Map<Node, number>();
  const runs: number[] = [];
  let free = FIRST_CLUSTER;
  for (const { node } of order) {
    const count = node === root && geometry.bits !== 32 ? 0 : ownClusters(node, geometry);
    firstCluster.set(node, count === 0 ? 0 : free);
    if (count > 0) runs.push(count);
    free += count;
  }
  const clusterOf = (node: Node): number => firstCluster.get(node) ?? 0;
  const table = allocationTable(geometry, runs);
  const pieces: Piece[] = [
    { at: 0, kind: "bytes", bytes: reservedArea(wish, geometry, needed) },
    { at: geometry.fatAt, kind: "bytes", bytes: table },
    { at: geometry.fatAt + geometry.fatSectors * FAT_SECTOR, kind: "bytes", bytes: table },
  ];
  for (const { node, parent } of order) {
    const cluster = clusterOf(node);
    const at = cluster === 0 ? geometry.rootAt : geometry.dataAt + (cluster - FIRST_CLUSTER) * geometry.clusterBytes;
    const own = { cluster, parent: parent === root ? 0 : clusterOf(parent) };
    const content = node.content ?? {
      kind: "bytes",
      bytes: directoryBytes(wish, node, node === root ? undefined : own, clusterOf),
    };
    if (contentBytes(content) === 0) continue;
    pieces.push(content.kind === "bytes" ? { at, ...content } : { at, ...content, offset: 0 });
  }
  const end = geometry.dataAt + (free - FIRST_CLUSTER) * geometry.clusterBytes;
  const left = geometry.clusters * geometry.clusterBytes - (end - geometry.dataAt);
  return { sizeBytes: wish.sizeBytes, pieces, ...(left > 0 && { free: [{ at: end, sizeBytes: left }] }) };
}

/** `own` is undefined for the root, which has the label where others have themselves and their parent. */
function directoryBytes(
  wish: FatWish,
  node: Node,
  own: { readonly cluster: number; readonly parent: number } | undefined,
  clusterOf: (node: Node) => number,
): Uint8Array {
  const { directory, volume, archive } = ATTRIBUTES;
  const time = dosTime(wish.timeSeconds);
  const slot = (short: Uint8Array, attributes: number, caseFlags: number, cluster: number, sizeBytes: number): Uint8Array => {
    const bytes = new Uint8Array(SLOT_BYTES);
    const view = new DataView(bytes.buffer);
    bytes.set(short);
    bytes.set([attributes, caseFlags, time.hundredths], 11);
    view.setUint32(14, time.stamp, true);
    view.setUint16(18, time.stamp >>> 16, true);
    view.setUint16(20, cluster >>> 16, true);
    view.setUint32(22, time.stamp, true);
    view.setUint16(26, cluster & 0xffff, true);
    view.setUint32(28, sizeBytes, true);
    return bytes;
  };
  const parts: Uint8Array[] = [];
  if (own !== undefined)
    parts.push(slot(shortName(".", ""), directory, 0, own.cluster, 0), slot(shortName("..", ""), directory, 0, own.parent, 0));
  else if (wish.label !== "") parts.push(slot(shortName(wish.label, ""), volume, 0, 0, 0));
  for (const { name, node: child } of node.children) {
    const { content } = child;
    const [attributes, sizeBytes] = content === undefined ? [directory, 0] : [archive, contentBytes(content)];
    parts.push(longSlots(name), slot(name.short, attributes, name.caseFlags, clusterOf(child), sizeBytes));
  }
  return concatenate(parts);
}

/** The table as far as it is used: what is behind is zeros, which is free. `runs` are lengths, one behind the other. */
function allocationTable(geometry: FatGeometry, runs: readonly number[]): Uint8Array {
  const used = runs.reduce((sum, count) => sum + count, FIRST_CLUSTER);
  const { bits } = geometry;
  const bytes = new Uint8Array(Math.ceil((used * bits) / 8));
  const view = new DataView(bytes.buffer);
  const end = bits === 12 ? 0xfff : bits === 16 ? 0xffff : 0x0fffffff;
  const set = (cluster: number, value: number): void => {
    if (bits === 32) view.setUint32(cluster * 4, value, true);
    else if (bits === 16) view.setUint16(cluster * 2, value, true);
    else {
      // Two entries share three bytes.
      const at = (cluster * 3) >> 1;
      const [low, high] = cluster % 2 === 0 ? [value, value >> 8] : [value << 4, value >> 4];
      bytes[at] = (bytes[at] ?? 0) | low;
      bytes[at + 1] = (bytes[at + 1] ?? 0) | high;
    }
  };
  // The kind of medium, and flags that say "was unmounted, had no errors".
  set(0, (end & ~0xff) | MEDIUM);
  set(1, end);
  let at = FIRST_CLUSTER;
  for (const count of runs) {
    for (const last = at + count - 1; at < last; at += 1) set(at, at + 1);
    set(at, end);
    at += 1;
  }
  return bytes;
}

/** The boot sector; of FAT32 also how much is free, and a copy of both. */
function reservedArea(wish: FatWish, geometry: FatGeometry, needed: number): Uint8Array {
  const boot = bootSector(wish, geometry);
  if (geometry.bits !== 32) return boot;
  const info = new Uint8Array(FAT_SECTOR);
  const view = new DataView(info.buffer);
  view.setUint32(0, 0x41615252, true);
  view.setUint32(484, 0x61417272, true);
  view.setUint32(488, geometry.clusters - needed, true);
  view.setUint32(492, FIRST_CLUSTER + needed, true);
  view.setUint32(508, 0xaa550000, true);
  const between = new Uint8Array((BACKUP_BOOT_SECTOR - 2) * FAT_SECTOR);
  return concatenate([boot, info, between, boot, info]);
}

function bootSector(wish: FatWish, geometry: FatGeometry): Uint8Array {
  const wide = geometry.bits === 32;
  const bytes = new Uint8Array(FAT_SECTOR);
  const view = new DataView(bytes.buffer);
  const text = (at: number, value: string): void => bytes.set(new TextEncoder().encode(value), at);
  const code = wide ? 90 : 62;
  bytes.set([0xeb, code - 2, 0x90]);
  // The specification's advice: some readers believe no other.
  text(3, "MSWIN4.1");
  view.setUint16(11, FAT_SECTOR, true);
  bytes[13] = geometry.sectorsPerCluster;
  view.setUint16(14, geometry.reservedSectors, true);
  bytes[16] = 2;
  view.setUint16(17, geometry.rootSlots, true);
  const small = !wide && geometry.sectors < 0x10000;
  view.setUint16(19, small ? geometry.sectors : 0, true);
  bytes[21] = MEDIUM;
  view.setUint16(22, wide ? 0 : geometry.fatSectors, true);
  // A geometry in which 1 MiB is one cylinder.
  view.setUint16(24, 32, true);
  view.setUint16(26, 64, true);
  view.setUint32(28, (wish.partitionOffsetBytes ?? 0) / FAT_SECTOR, true);
  view.setUint32(32, small ? 0 : geometry.sectors, true);
  if (wide) {
    view.setUint32(36, geometry.fatSectors, true);
    view.setUint32(44, FIRST_CLUSTER, true);
    view.setUint16(48, 1, true);
    view.setUint16(50, BACKUP_BOOT_SECTOR, true);
  }
  const extended = wide ? 64 : 36;
  bytes.set([0x80, 0, 0x29], extended);
  view.setUint32(extended + 3, wish.volumeId, true);
  text(extended + 7, (wish.label === "" ? "NO NAME" : wish.label).padEnd(SHORT_BYTES));
  text(extended + 18, `FAT${geometry.bits}   `);
  bytes.set(NEXT_DEVICE, code);
  view.setUint16(510, 0xaa55, true);
  return bytes;
}

/** Date and time as FAT packs them, in UTC and steps of two seconds, and what is left of those. */
function dosTime(timeSeconds: number): { readonly stamp: number; readonly hundredths: number } {
  const seconds = Math.min(Math.max(timeSeconds, EARLIEST_SECONDS), LATEST_SECONDS);
  const time = new Date(seconds * 1000);
  const date = ((time.getUTCFullYear() - 1980) << 9) | ((time.getUTCMonth() + 1) << 5) | time.getUTCDate();
  const clock = (time.getUTCHours() << 11) | (time.getUTCMinutes() << 5) | (time.getUTCSeconds() >> 1);
  return { stamp: ((date << 16) | clock) >>> 0, hundredths: (seconds % 2) * 100 };
}
