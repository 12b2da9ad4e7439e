/**
 * The superblock of ext4, its group descriptors, its bitmaps, and what its journal and its resize inode begin with
 * (Documentation/filesystems/ext4, journal.rst for jbd2). The options are what mke2fs 1.47 chooses, but for what is said below.
 */
import { crc32c } from "./crc.ts";
import {
  BLOCK,
  COMPATIBLE,
  DESCRIPTOR,
  DESCRIPTOR_BYTES,
  EXTRA_BYTES,
  FIRST_INODE,
  GROUP_BLOCKS,
  INCOMPATIBLE,
  INODE_BYTES,
  JOURNAL_INODE,
  MAGIC,
  READ_ONLY_COMPATIBLE,
  SUPER,
  SUPERBLOCK_BYTES,
  viewOf,
} from "./ext4-format.ts";
import { type Geometry, LOG_GROUPS_PER_FLEX } from "./ext4-geometry.ts";
import { HASH_HALF_MD4 } from "./ext4-directory.ts";
import type { Places } from "./ext4-place.ts";
import type { Placed } from "./pieces.ts";

/** Bytes at a block's beginning, or before it: the first superblock lies within its block. */
export interface SuperFields {
  readonly label: Uint8Array;
  readonly uuid: Uint8Array;
  readonly hashSeed: Uint8Array;
  readonly timeSeconds: number;
  /** undefined where there is none. */
  readonly journal: { readonly block: Uint8Array; readonly sizeBytes: number } | undefined;
  readonly journalBlocks: number;
  readonly freeInodes: number;
}

/** What the groups are made of, once every inode has its number. */
export interface GroupUse {
  readonly lastInode: number;
  readonly directoriesIn: (group: number) => number;
  /** The register after the UUID. */
  readonly seed: number;
}

/** Kept for root of every hundred blocks, so that a full disk can be logged into; mke2fs keeps five. */
const RESERVED_PERCENT = 1;
const CLEAN = 1;
const ERRORS_CONTINUE = 1;
const NEVER = 0xffff;
const DYNAMIC_REVISION = 1;
/** user_xattr and acl. */
const MOUNT_OPTIONS = 0x4 | 0x8;
const UNSIGNED_HASH = 0x2;
const CHECKSUM_CRC32C = 1;
const JOURNAL_IN_INODE = 1;
const GROUP_FLAG = { inodesUnused: 0x1, blocksUnused: 0x2, tableZeroed: 0x4 } as const;
const JOURNAL = { magic: 0xc03b3998, superblock: 4, uuid: 0x30, users: 0x40 } as const;

/** The superblock as it stands in `group`. */
export function renderSuper(places: Places, fields: SuperFields, group: number): Uint8Array {
  const { geometry } = places;
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  const view = viewOf(bytes);
  const u8 = (at: number, value: number): void => view.setUint8(at, value);
  const u16 = (at: number, value: number): void => view.setUint16(at, value, true);
  const u32 = (at: number, value: number): void => view.setUint32(at, value, true);
  u32(SUPER.inodes, geometry.inodesPerGroup * geometry.groups.length);
  wide(view, SUPER.blocks, SUPER.blocksHigh, geometry.blocks);
  wide(view, SUPER.reservedBlocks, SUPER.reservedBlocksHigh, Math.floor((geometry.blocks * RESERVED_PERCENT) / 100));
  wide(view, SUPER.freeBlocks, SUPER.freeBlocksHigh, places.freeBlocks);
  u32(SUPER.freeInodes, fields.freeInodes);
  u32(SUPER.logBlockSize, Math.log2(BLOCK / 1024));
  u32(SUPER.logClusterSize, Math.log2(BLOCK / 1024));
  u32(SUPER.blocksPerGroup, GROUP_BLOCKS);
  u32(SUPER.clustersPerGroup, GROUP_BLOCKS);
  u32(SUPER.inodesPerGroup, geometry.inodesPerGroup);
  const times = [
    [SUPER.writeTime, SUPER.writeTimeHigh],
    [SUPER.checkTime, SUPER.checkTimeHigh],
    [SUPER.madeTime, SUPER.madeTimeHigh],
  ] as const;
  for (const [low, high] of times) {
    u32(low, fields.timeSeconds);
    u8(high, Math.floor(fields.timeSeconds / 2 ** 32));
  }
  // Neither a number of mounts nor a time since the last check leads to a check at boot.
  u16(SUPER.maximumMounts, NEVER);
  u16(SUPER.magic, MAGIC);
  u16(SUPER.state, CLEAN);
  u16(SUPER.errors, ERRORS_CONTINUE);
  u32(SUPER.revision, DYNAMIC_REVISION);
  u32(SUPER.firstInode, FIRST_INODE);
  u16(SUPER.inodeBytes, INODE_BYTES);
  u16(SUPER.group, group);
  const { hasJournal, ...compatible } = COMPATIBLE;
  u32(SUPER.compatible, bits(compatible) | (fields.journal === undefined ? 0 : hasJournal));
  const { fileType, extents, wide: wideBlocks, flexGroups } = INCOMPATIBLE;
  u32(SUPER.incompatible, fileType | extents | wideBlocks | flexGroups);
  u32(SUPER.readOnlyCompatible, bits(READ_ONLY_COMPATIBLE));
  bytes.set(fields.uuid, SUPER.uuid);
  bytes.set(fields.label, SUPER.label);
  u16(SUPER.reservedDescriptorBlocks, geometry.reservedBlocks);
  bytes.set(fields.hashSeed, SUPER.hashSeed);
  u8(SUPER.hashVersion, HASH_HALF_MD4);
  u16(SUPER.descriptorBytes, DESCRIPTOR_BYTES);
  u32(SUPER.mountOptions, MOUNT_OPTIONS);
  if (fields.journal !== undefined) {
    u32(SUPER.journalInode, JOURNAL_INODE);
    u8(SUPER.journalBackup, JOURNAL_IN_INODE);
    bytes.set(fields.journal.block, SUPER.journalBlocks);
    u32(SUPER.journalSize, fields.journal.sizeBytes);
  }
  u16(SUPER.minimumExtra, EXTRA_BYTES);
  u16(SUPER.wantedExtra, EXTRA_BYTES);
  u32(SUPER.flags, UNSIGNED_HASH);
  u8(SUPER.logGroupsPerFlex, LOG_GROUPS_PER_FLEX);
  u8(SUPER.checksumType, CHECKSUM_CRC32C);
  u32(SUPER.overhead, geometry.takenBlocks + fields.journalBlocks);
  u32(SUPER.checksum, crc32c(bytes.subarray(0, SUPER.checksum)));
  return bytes;
}

/**
 * The descriptors of all groups, and the bitmaps that are needed: a group in which nothing is used says so instead ("uninit"),
 * and whoever uses it first makes its bitmap.
 */
export function renderGroups(
  places: Places,
  use: GroupUse,
): { readonly descriptors: Uint8Array; readonly bitmaps: readonly Placed[] } {
  const { geometry } = places;
  const descriptors = new Uint8Array(geometry.groups.length * DESCRIPTOR_BYTES);
  const bitmaps: Placed[] = [];
  const taken = takenIn(geometry);
  for (const [number, group] of geometry.groups.entries()) {
    const bytes = descriptors.subarray(number * DESCRIPTOR_BYTES, (number + 1) * DESCRIPTOR_BYTES);
    const view = viewOf(bytes);
    const blocks = blockBitmap(places, number, taken[number] ?? []);
    const inodes = Math.min(Math.max(use.lastInode - number * geometry.inodesPerGroup, 0), geometry.inodesPerGroup);
    let flags: number = GROUP_FLAG.tableZeroed;
    // The tools want the bitmap of the last group in any case: it is the one that growing changes.
    if (blocks.own && number < geometry.groups.length - 1) flags |= GROUP_FLAG.blocksUnused;
    else {
      bitmaps.push({ at: group.blockBitmap * BLOCK, bytes: blocks.bytes });
      checksum(view, DESCRIPTOR.blockBitmapChecksum, DESCRIPTOR.blockBitmapChecksumHigh, crc32c(blocks.bytes, use.seed));
    }
    if (inodes === 0) flags |= GROUP_FLAG.inodesUnused;
    else {
      const bitmap = ones(BLOCK, [
        [0, inodes],
        [geometry.inodesPerGroup, 8 * BLOCK],
      ]);
      bitmaps.push({ at: group.inodeBitmap * BLOCK, bytes: bitmap });
      const sum = crc32c(bitmap.subarray(0, geometry.inodesPerGroup / 8), use.seed);
      checksum(view, DESCRIPTOR.inodeBitmapChecksum, DESCRIPTOR.inodeBitmapChecksumHigh, sum);
    }
    wide(view, DESCRIPTOR.blockBitmap, DESCRIPTOR.blockBitmapHigh, group.blockBitmap);
    wide(view, DESCRIPTOR.inodeBitmap, DESCRIPTOR.inodeBitmapHigh, group.inodeBitmap);
    wide(view, DESCRIPTOR.inodeTable, DESCRIPTOR.inodeTableHigh, group.inodeTable);
    // Counts in a group fit into their lower halves.
    view.setUint16(DESCRIPTOR.freeBlocks, blocks.free, true);
    view.setUint16(DESCRIPTOR.freeInodes, geometry.inodesPerGroup - inodes, true);
    view.setUint16(DESCRIPTOR.directories, use.directoriesIn(number), true);
    view.setUint16(DESCRIPTOR.flags, flags, true);
    view.setUint16(DESCRIPTOR.unusedInodes, geometry.inodesPerGroup - inodes, true);
    const index = new Uint8Array(4);
    viewOf(index).setUint32(0, number, true);
    view.setUint16(DESCRIPTOR.checksum, crc32c(bytes, crc32c(index, use.seed)) & 0xffff, true);
  }
  return { descriptors, bitmaps };
}

/**
 * The resize inode's blocks. Its content is never read: it owns the blocks that are reserved for descriptors, so that nothing else
 * takes them. One block of numbers names the reserved blocks of group 0, and each of these their copies in other groups.
 */
export function renderResize(places: Places): { readonly blocks: readonly Placed[]; readonly count: number } {
  const { geometry, resize } = places;
  const copies = geometry.groups.filter(({ first, superBlocks }) => first > 0 && superBlocks > 0).map(({ first }) => first);
  const numbers = new Uint8Array(BLOCK);
  const reserved = Array.from({ length: geometry.reservedBlocks }, (_, index) => {
    const at = 1 + geometry.descriptorBlocks + index;
    viewOf(numbers).setUint32(4 * ((geometry.descriptorBlocks + index) % (BLOCK / 4)), at, true);
    const bytes = new Uint8Array(BLOCK);
    for (const [copy, first] of copies.entries()) viewOf(bytes).setUint32(4 * copy, first + at, true);
    return { at: at * BLOCK, bytes };
  });
  return {
    blocks: [...reserved, { at: resize * BLOCK, bytes: numbers }],
    count: 1 + geometry.reservedBlocks * (1 + copies.length),
  };
}

/** An empty journal without features: the kernel adds those it wants when it mounts. Big-endian, unlike all else. */
export function renderJournal(blocks: number, uuid: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  const words = [JOURNAL.magic, JOURNAL.superblock, 0, BLOCK, blocks, 1, 1];
  for (const [index, word] of words.entries()) viewOf(bytes).setUint32(4 * index, word);
  bytes.set(uuid, JOURNAL.uuid);
  viewOf(bytes).setUint32(JOURNAL.users, 1);
  return bytes;
}

type Range = readonly [from: number, to: number];

/** For each group, what the geometry takes of it, in bits of its bitmap. */
function takenIn(geometry: Geometry): readonly (readonly Range[])[] {
  const found: Range[][] = geometry.groups.map(() => []);
  for (const { start, count } of geometry.taken) {
    for (let at = start; at < start + count;) {
      const group = Math.floor(at / GROUP_BLOCKS);
      const end = Math.min(start + count, (group + 1) * GROUP_BLOCKS);
      found[group]?.push([at - group * GROUP_BLOCKS, end - group * GROUP_BLOCKS]);
      at = end;
    }
  }
  return found;
}

/** `own` says that nothing is used but what belongs to this very group, which every reader can work out. */
function blockBitmap(
  { geometry, end }: Places,
  number: number,
  taken: readonly Range[],
): { readonly bytes: Uint8Array; readonly free: number; readonly own: boolean } {
  const group = geometry.groups[number];
  if (group === undefined) throw new RangeError(`there is no group ${number}`);
  const used = Math.min(Math.max(end - group.first, 0), group.blocks);
  const inside = (start: number, count: number): number =>
    start >= group.first && start < group.first + group.blocks ? count : 0;
  const mine =
    group.superBlocks +
    inside(group.blockBitmap, 1) +
    inside(group.inodeBitmap, 1) +
    inside(group.inodeTable, geometry.tableBlocks);
  const fixed = taken.reduce((sum, [from, to]) => sum + to - from, 0);
  const above = taken.reduce((sum, [from, to]) => sum + Math.max(to - Math.max(from, used), 0), 0);
  return {
    bytes: ones(BLOCK, [[0, used], ...taken, [group.blocks, GROUP_BLOCKS]]),
    free: group.blocks - used - above,
    own: used === 0 && fixed === mine,
  };
}

function ones(sizeBytes: number, ranges: readonly Range[]): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (const [from, to] of ranges) {
    let bit = from;
    for (; bit < to && bit % 8 !== 0; bit += 1) bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (1 << (bit & 7));
    const whole = Math.max(bit, to - (to % 8));
    bytes.fill(0xff, bit >> 3, whole >> 3);
    for (bit = whole; bit < to; bit += 1) bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (1 << (bit & 7));
  }
  return bytes;
}

function bits(flags: Readonly<Record<string, number>>): number {
  return Object.values(flags).reduce((sum, flag) => sum | flag, 0);
}

function checksum(view: DataView, low: number, high: number, value: number): void {
  view.setUint16(low, value & 0xffff, true);
  view.setUint16(high, value >>> 16, true);
}

function wide(view: DataView, low: number, high: number, value: number): void {
  view.setUint32(low, value >>> 0, true);
  view.setUint32(high, Math.floor(value / 2 ** 32), true);
}
