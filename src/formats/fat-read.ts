/**
 * Reads FAT12, FAT16 and FAT32 file systems: what is in them, and where on the disk each file lies.
 *
 * It believes nothing: each number is checked before it is used, and a cluster belongs to one file or directory, so that no chain
 * is followed twice or without an end.
 */
import { Problem } from "../base/index.ts";
import { MAXIMUM_TABLE_BYTES, type ReadAt } from "./elf.ts";
import { FAT16_CLUSTERS, FAT32_CLUSTERS, type FatBits } from "./fat-geometry.ts";
import {
  LAST_LONG,
  LONG_ATTRIBUTES,
  LONG_PLACES,
  LONG_UNITS,
  LOWER_BASE,
  LOWER_EXTENSION,
  SHORT_BYTES,
  shortChecksum,
  SLOT_BYTES,
} from "./fat-names.ts";
import { concatenate } from "./tar-write.ts";

const latin1 = new TextDecoder("latin1");
/** 65536 slots; and what bounds how deep directories lie in one another. */
const DIRECTORY_BYTES_MAX = 65536 * SLOT_BYTES;
const PATH_UNITS_MAX = 4096;

/** Bytes of the disk, one run of several. */
export interface Run {
  readonly at: number;
  readonly sizeBytes: number;
}

export interface FatFile {
  /** Without a slash at its ends. */
  readonly path: string;
  readonly type: "directory" | "file";
  /** 0 of a directory. */
  readonly sizeBytes: number;
  /** Where its content lies, in order. */
  readonly runs: readonly Run[];
}

export interface FatReading {
  readonly bits: FatBits;
  readonly sizeBytes: number;
  readonly clusterBytes: number;
  readonly label: string;
  readonly volumeId: number;
  /** In the order of their directories, each directory before what is in it. */
  readonly entries: readonly FatFile[];
}

interface Volume {
  readonly bits: FatBits;
  readonly sizeBytes: number;
  readonly clusterBytes: number;
  readonly clusters: number;
  readonly fatAt: number;
  readonly rootAt: number;
  readonly rootBytes: number;
  readonly rootCluster: number;
  readonly dataAt: number;
  readonly label: string;
  readonly volumeId: number;
}

/** @throws Problem E_FAT_DAMAGED for what is no FAT file system, or a broken one */
export function readFat(readAt: ReadAt): FatReading {
  const volume = volumeOf(readAt(0, 512));
  const next = chainReader(readAt, volume);
  const seen = new Uint8Array((volume.clusters + 2) / 8 + 1);
  /** Of a directory, which says no size, the chain up to its end. */
  const runsFrom = (cluster: number, path: string, sizeBytes?: number): readonly Run[] => {
    const runs: { at: number; sizeBytes: number }[] = [];
    const isDirectory = sizeBytes === undefined;
    let left = sizeBytes ?? DIRECTORY_BYTES_MAX;
    for (let at = cluster; ; at = next(at)) {
      const isEnd = at >= volume.clusters + 2;
      if (isDirectory ? isEnd : left === 0) return runs;
      if (left <= 0) throw damaged(`/${path} is larger than a directory can be`);
      if (at < 2 || isEnd) throw damaged(`/${path} goes to cluster ${at}, which there is not`);
      if (((seen[at >> 3] ?? 0) & (1 << (at & 7))) !== 0)
        throw damaged(`/${path} goes through cluster ${at}, which is used before`);
      seen[at >> 3] = (seen[at >> 3] ?? 0) | (1 << (at & 7));
      const [start, taken] = [volume.dataAt + (at - 2) * volume.clusterBytes, Math.min(left, volume.clusterBytes)];
      const last = runs.at(-1);
      if (last !== undefined && last.at + last.sizeBytes === start) last.sizeBytes += taken;
      else runs.push({ at: start, sizeBytes: taken });
      left -= taken;
    }
  };

  const entries: FatFile[] = [];
  let label = volume.label;
  const read = (path: string, runs: readonly Run[]): void => {
    for (const { name, attributes, cluster, sizeBytes } of slotsIn(readRuns(readAt, runs))) {
      if ((attributes & 0x08) !== 0) {
        if (path === "") label = name;
        continue;
      }
      if (name === "." || name === "..") continue;
      const full = path === "" ? name : `${path}/${name}`;
      if (full.length > PATH_UNITS_MAX) throw damaged(`it has a path of ${full.length} characters`);
      const isDirectory = (attributes & 0x10) !== 0;
      const inside = isDirectory ? runsFrom(cluster, full) : runsFrom(cluster, full, sizeBytes);
      entries.push({
        path: full,
        type: isDirectory ? "directory" : "file",
        sizeBytes: isDirectory ? 0 : sizeBytes,
        runs: inside,
      });
      if (isDirectory) read(full, inside);
    }
  };
  const fixedRoot = [{ at: volume.rootAt, sizeBytes: volume.rootBytes }];
  read("", volume.bits === 32 ? runsFrom(volume.rootCluster, "") : fixedRoot);
  const { bits, sizeBytes, clusterBytes, volumeId } = volume;
  return { bits, sizeBytes, clusterBytes, label, volumeId, entries };
}

/** Small contents, in memory. */
export function readRuns(readAt: ReadAt, runs: readonly Run[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { at, sizeBytes } of runs) {
    for (let done = 0; done < sizeBytes; done += MAXIMUM_TABLE_BYTES)
      parts.push(readAt(at + done, Math.min(MAXIMUM_TABLE_BYTES, sizeBytes - done)));
  }
  return concatenate(parts);
}

function damaged(what: string): Problem {
  return new Problem({
    code: "E_FAT_DAMAGED",
    message: `reading a FAT file system: ${what}`,
    hint: "fsck.fat -n -v says more about it",
  });
}

function volumeOf(boot: Uint8Array): Volume {
  if (boot.length < 512 || boot[510] !== 0x55 || boot[511] !== 0xaa) throw damaged("it has no boot sector");
  const view = viewOf(boot);
  const sectorBytes = view.getUint16(11, true);
  const sectorsPerCluster = boot[13] ?? 0;
  const isPowerOfTwo = (value: number): boolean => value > 0 && (value & (value - 1)) === 0;
  if (!isPowerOfTwo(sectorBytes) || sectorBytes < 512 || sectorBytes > 4096 || !isPowerOfTwo(sectorsPerCluster))
    throw damaged(`its boot sector says ${sectorBytes} bytes a sector, ${sectorsPerCluster} sectors a cluster`);
  const reservedSectors = view.getUint16(14, true);
  const tables = boot[16] ?? 0;
  const rootBytes = view.getUint16(17, true) * SLOT_BYTES;
  const sectors = view.getUint16(19, true) || view.getUint32(32, true);
  const tableSectors = view.getUint16(22, true) || view.getUint32(36, true);
  const rootAt = (reservedSectors + tables * tableSectors) * sectorBytes;
  const dataAt = rootAt + Math.ceil(rootBytes / sectorBytes) * sectorBytes;
  const clusterBytes = sectorsPerCluster * sectorBytes;
  const clusters = Math.floor((sectors * sectorBytes - dataAt) / clusterBytes);
  const bits = clusters < FAT16_CLUSTERS ? 12 : clusters < FAT32_CLUSTERS ? 16 : 32;
  if (reservedSectors === 0 || tables === 0 || clusters < 1 || (bits === 32) !== (rootBytes === 0))
    throw damaged("the parts that its boot sector speaks of do not fit together");
  if (((clusters + 2) * bits) / 8 > tableSectors * sectorBytes) throw damaged(`its table is too short for ${clusters} clusters`);
  const extended = bits === 32 ? 64 : 36;
  const label = latin1.decode(boot.subarray(extended + 7, extended + 7 + SHORT_BYTES)).trimEnd();
  return {
    bits,
    sizeBytes: sectors * sectorBytes,
    clusterBytes,
    clusters,
    fatAt: reservedSectors * sectorBytes,
    rootAt,
    rootBytes,
    rootCluster: view.getUint32(44, true),
    dataAt,
    label: label === "NO NAME" ? "" : label,
    volumeId: view.getUint32(extended + 3, true),
  };
}

/** The cluster after one; the table is read a window at a time, which is a multiple of all three sizes of entries. */
function chainReader(readAt: ReadAt, volume: Volume): (cluster: number) => number {
  const windowBytes = 3 << 15;
  let windowAt = -1;
  let view = viewOf(new Uint8Array(0));
  return (cluster) => {
    const at = Math.floor((cluster * volume.bits) / 8);
    const start = Math.floor(at / windowBytes) * windowBytes;
    if (start !== windowAt) {
      windowAt = start;
      view = viewOf(readAt(volume.fatAt + start, windowBytes));
    }
    const inside = at - start;
    if (inside + (volume.bits === 32 ? 4 : 2) > view.byteLength) throw damaged("it ends inside its table");
    // What marks an end is larger than any cluster's number.
    if (volume.bits === 32) return view.getUint32(inside, true) & 0x0fffffff;
    if (volume.bits === 16) return view.getUint16(inside, true);
    return (view.getUint16(inside, true) >> (cluster % 2 === 0 ? 0 : 4)) & 0xfff;
  };
}

interface Slot {
  readonly name: string;
  readonly attributes: number;
  readonly cluster: number;
  readonly sizeBytes: number;
}

/** What a directory names, labels too, with long names where there are whole ones. */
function slotsIn(bytes: Uint8Array): readonly Slot[] {
  const found: Slot[] = [];
  let long: Uint8Array[] = [];
  for (let at = 0; at + SLOT_BYTES <= bytes.length; at += SLOT_BYTES) {
    const slot = bytes.subarray(at, at + SLOT_BYTES);
    const first = slot[0] ?? 0;
    const attributes = (slot[11] ?? 0) & 0x3f;
    if (first === 0) break;
    if (first === 0xe5) long = [];
    else if (attributes === LONG_ATTRIBUTES) {
      if ((first & LAST_LONG) !== 0) long = [];
      long.push(slot);
    } else {
      const view = viewOf(slot);
      const isLabel = (attributes & 0x08) !== 0;
      found.push({
        name: (isLabel ? undefined : longName(long, slot.subarray(0, SHORT_BYTES))) ?? shortText(slot, isLabel),
        attributes,
        cluster: view.getUint16(26, true) + view.getUint16(20, true) * 0x10000,
        sizeBytes: view.getUint32(28, true),
      });
      long = [];
    }
  }
  return found;
}

/** undefined when the slots are not all there, or belong to another short name. */
function longName(slots: readonly Uint8Array[], short: Uint8Array): string | undefined {
  const checksum = shortChecksum(short);
  const whole = slots.every((slot, index) => ((slot[0] ?? 0) & 0x3f) === slots.length - index && slot[13] === checksum);
  if (slots.length === 0 || !whole) return undefined;
  const views = slots.toReversed().map(viewOf);
  const units = views.flatMap((view) => LONG_PLACES.map((place) => view.getUint16(place, true)));
  const end = units.indexOf(0);
  return String.fromCharCode(...units.slice(0, end < 0 ? slots.length * LONG_UNITS : end));
}

/** Bytes above 127 are of a code page that is not said; they are taken as Latin-1. */
function shortText(slot: Uint8Array, isLabel: boolean): string {
  const bytes = slot.slice(0, SHORT_BYTES);
  if (bytes[0] === 0x05) bytes[0] = 0xe5;
  const all = latin1.decode(bytes);
  if (isLabel) return all.trimEnd();
  const flags = slot[12] ?? 0;
  const lower = (text: string, flag: number): string => ((flags & flag) === 0 ? text : text.toLowerCase());
  const base = lower(all.slice(0, 8).trimEnd(), LOWER_BASE);
  const extension = lower(all.slice(8).trimEnd(), LOWER_EXTENSION);
  return extension === "" ? base : `${base}.${extension}`;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
