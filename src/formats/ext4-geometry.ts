/**
 * Where the fixed parts of an ext4 file system lie, and so what is free for files.
 *
 *     group 0                                                    group 1 (and 3, 5, 7, 9, 25, 27, ...)
 *     superblock | descriptors | reserved | tables of 16 groups | superblock | descriptors | reserved | free ...
 *
 * Sixteen groups are a flex group: their bitmaps and inode tables lie together in the first of them, so that file data goes on
 * over the borders of groups. Copies of the superblock and the descriptors begin group 1 and the powers of 3, 5 and 7
 * (sparse_super). Behind the descriptors blocks are kept for those of a file system that grows while it is mounted.
 */
import { BLOCK, DESCRIPTOR_BYTES, GROUP_BLOCKS, INODE_BYTES, type Run } from "./ext4-format.ts";

export interface Group {
  readonly first: number;
  readonly blocks: number;
  /** Blocks at its start for the superblock, the descriptors and those reserved; 0 in most groups. */
  readonly superBlocks: number;
  readonly blockBitmap: number;
  readonly inodeBitmap: number;
  readonly inodeTable: number;
}

export interface Geometry {
  /** Up to 65,000 fewer than asked for, when a last group would not be worth its tables. */
  readonly blocks: number;
  readonly groups: readonly Group[];
  readonly inodesPerGroup: number;
  /** Of one group. */
  readonly tableBlocks: number;
  readonly descriptorBlocks: number;
  readonly reservedBlocks: number;
  /** Everything above, in order, without a gap between two that touch. */
  readonly taken: readonly Run[];
  readonly takenBlocks: number;
}

export const LOG_GROUPS_PER_FLEX = 4;
const GROUPS_PER_FLEX = 1 << LOG_GROUPS_PER_FLEX;
const INODES_PER_BLOCK = BLOCK / INODE_BYTES;
const DESCRIPTORS_PER_BLOCK = BLOCK / DESCRIPTOR_BYTES;
export const MAXIMUM_INODES_PER_GROUP = 8 * BLOCK;
/** As mke2fs: below that a last group is left out. */
const LEAST_FREE_BLOCKS = 50;
/** One block of numbers in the resize inode names at most this many. */
const MAXIMUM_RESERVED_BLOCKS = BLOCK / 4;
/** Growth that is provided for: to 512 GiB or 16 times the size, but not to more than 1024 times. */
const GROWTH_BLOCKS = (512 * 2 ** 30) / BLOCK;
const GROWTH_LEAST = 16;
const GROWTH_MOST = 1024;

/** undefined where so many inodes do not fit into so many blocks. */
export function planGeometry(wantedBlocks: number, inodes: number): Geometry | undefined {
  const whole = Math.floor(wantedBlocks / GROUP_BLOCKS);
  const rest = wantedBlocks % GROUP_BLOCKS;
  return (rest === 0 ? undefined : geometryOf(wantedBlocks, inodes)) ?? geometryOf(whole * GROUP_BLOCKS, inodes);
}

/** undefined too when the last group is not worth it. */
function geometryOf(blocks: number, inodes: number): Geometry | undefined {
  const count = Math.ceil(blocks / GROUP_BLOCKS);
  if (count === 0) return undefined;
  const inodesPerGroup = roundedUp(Math.ceil(inodes / count), INODES_PER_BLOCK);
  if (inodesPerGroup > MAXIMUM_INODES_PER_GROUP) return undefined;
  const tableBlocks = inodesPerGroup / INODES_PER_BLOCK;
  const descriptorBlocks = Math.ceil(count / DESCRIPTORS_PER_BLOCK);
  const reservedBlocks = reservedFor(blocks, descriptorBlocks);
  const superBlocks = 1 + descriptorBlocks + reservedBlocks;

  const last = blocks - (count - 1) * GROUP_BLOCKS;
  const overhead = (hasSuperblock(count - 1) ? superBlocks : 0) + 2 + tableBlocks;
  if (last < overhead + LEAST_FREE_BLOCKS) return undefined;

  const supers = Array.from({ length: count }, (_, group) => (hasSuperblock(group) ? superBlocks : 0));
  const taken: Run[] = supers.flatMap((count, group) => (count === 0 ? [] : [{ start: group * GROUP_BLOCKS, count }]));
  const groups: Group[] = [];
  for (let flex = 0; flex < count; flex += GROUPS_PER_FLEX) {
    const members = Math.min(GROUPS_PER_FLEX, count - flex);
    let at = flex * GROUP_BLOCKS;
    const place = (sizeBlocks: number): number => {
      const start = clearOf(supers, at, sizeBlocks);
      at = start + sizeBlocks;
      taken.push({ start, count: sizeBlocks });
      return start;
    };
    const blockBitmaps = place(members);
    const inodeBitmaps = place(members);
    for (let member = 0; member < members; member += 1) {
      const group = flex + member;
      groups.push({
        first: group * GROUP_BLOCKS,
        blocks: Math.min(GROUP_BLOCKS, blocks - group * GROUP_BLOCKS),
        superBlocks: supers[group] ?? 0,
        blockBitmap: blockBitmaps + member,
        inodeBitmap: inodeBitmaps + member,
        inodeTable: place(tableBlocks),
      });
    }
    if (at > blocks) return undefined;
  }
  return {
    blocks,
    groups,
    inodesPerGroup,
    tableBlocks,
    descriptorBlocks,
    reservedBlocks,
    taken: joined(taken),
    takenBlocks: taken.reduce((sum, run) => sum + run.count, 0),
  };
}

function hasSuperblock(group: number): boolean {
  return group <= 1 || isPower(group, 3) || isPower(group, 5) || isPower(group, 7);
}

export function roundedUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

function isPower(value: number, base: number): boolean {
  let power = base;
  while (power < value) power *= base;
  return power === value;
}

/** At least one, so that the resize inode is not empty. */
function reservedFor(blocks: number, descriptorBlocks: number): number {
  const grown = Math.min(blocks * GROWTH_MOST, Math.max(blocks * GROWTH_LEAST, GROWTH_BLOCKS));
  const descriptors = Math.ceil(Math.ceil(grown / GROUP_BLOCKS) / DESCRIPTORS_PER_BLOCK);
  return Math.min(Math.max(descriptors - descriptorBlocks, 1), MAXIMUM_RESERVED_BLOCKS);
}

/** The first place from `at` on where `sizeBlocks` blocks meet no superblock and what follows it. */
function clearOf(supers: readonly number[], at: number, sizeBlocks: number): number {
  let start = at;
  for (let group = Math.floor(at / GROUP_BLOCKS); group * GROUP_BLOCKS < start + sizeBlocks; group += 1) {
    const end = group * GROUP_BLOCKS + (supers[group] ?? 0);
    if (start < end) start = end;
  }
  return start;
}

function joined(runs: readonly Run[]): readonly Run[] {
  const found: Run[] = [];
  for (const run of runs.toSorted((a, b) => a.start - b.start)) {
    const before = found.at(-1);
    if (before !== undefined && before.start + before.count === run.start)
      found[found.length - 1] = { start: before.start, count: before.count + run.count };
    else found.push(run);
  }
  return found;
}
