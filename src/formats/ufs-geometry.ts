/**
 * How a UFS2 file system is divided: cylinder groups of equal size, each with a copy of the superblock, its maps, its inodes, its data.
 *
 *     group   0 ........ superblock  maps  inodes ........ data ........................
 *             boot (first), free     24    32    40        dataAt                     fragmentsPerGroup
 */
import {
  BLOCK,
  CONTIGUOUS_MAX,
  FRAGMENT,
  FRAGMENTS,
  GROUP,
  INODES_PER_BLOCK,
  INODES_PER_FRAGMENT,
  roundUp,
  SUPERBLOCK_AT,
  SUPERBLOCK_ROOM,
} from "./ufs-format.ts";

export const SUPERBLOCK_FRAGMENT = roundUp((SUPERBLOCK_AT + SUPERBLOCK_ROOM) / FRAGMENT, FRAGMENTS);
export const GROUP_FRAGMENT = SUPERBLOCK_FRAGMENT + roundUp(SUPERBLOCK_ROOM / FRAGMENT, FRAGMENTS);
export const INODES_FRAGMENT = GROUP_FRAGMENT + FRAGMENTS;
/** Bytes of the sums of one group, in the table of all. */
export const SUMMARY_BYTES = 16;
/** So that the maps of a group are whole words. */
const GROUP_STEP = 4 * FRAGMENTS;
const INODES_MAX = 2 ** 32 - INODES_PER_BLOCK;
/** As newfs leaves it: the kernel of another machine may have a larger head. */
const GROUP_SLACK_BYTES = 320;

export interface Geometry {
  readonly fragments: number;
  readonly groups: number;
  readonly fragmentsPerGroup: number;
  readonly inodesPerGroup: number;
  /** The first fragment of data in each group. */
  readonly dataAt: number;
  /** Of one group's head and maps, whole fragments. */
  readonly groupBytes: number;
  /** Fragments of the table of sums, which lies where the data of the first group begin. */
  readonly summaryFragments: number;
}

/** Where the maps of a group are, from its head's beginning. */
export interface GroupMaps {
  readonly usedInodes: number;
  readonly free: number;
  readonly clusterSums: number;
  readonly clusters: number;
  readonly end: number;
}

export function groupMaps(fragmentsPerGroup: number, inodesPerGroup: number): GroupMaps {
  const usedInodes = GROUP.maps;
  const free = usedInodes + Math.ceil(inodesPerGroup / 8);
  // Counts from 1 on: what would be the count of runs of no block is the end of the map before.
  const clusterSums = roundUp(free + Math.ceil(fragmentsPerGroup / 8), 4) - 4;
  const clusters = clusterSums + (CONTIGUOUS_MAX + 1) * 4;
  const end = clusters + Math.ceil(fragmentsPerGroup / FRAGMENTS / 8);
  return { usedInodes, free, clusterSums, clusters, end };
}

/** undefined: so few fragments hold no group with so many inodes, or it has more groups than one table has room for. */
export function geometryOf(fragments: number, inodes: number): Geometry | undefined {
  if (inodes > INODES_MAX) return undefined;
  for (let groups = 1; groups * FRAGMENTS <= fragments; groups += 1) {
    const fragmentsPerGroup = roundUp(Math.ceil(fragments / groups), GROUP_STEP);
    const inodesPerGroup = roundUp(Math.max(Math.ceil(inodes / groups), 2), INODES_PER_BLOCK);
    const dataAt = INODES_FRAGMENT + inodesPerGroup / INODES_PER_FRAGMENT;
    const { end } = groupMaps(fragmentsPerGroup, inodesPerGroup);
    if (end > BLOCK - GROUP_SLACK_BYTES) continue;
    const summaryFragments = Math.ceil((groups * SUMMARY_BYTES) / FRAGMENT);
    // The last group has what is left: at least a block of data, or more groups make it no better.
    const last = fragments - (groups - 1) * fragmentsPerGroup;
    const needed = dataAt + FRAGMENTS;
    if (last < needed || fragmentsPerGroup < dataAt + roundUp(summaryFragments, FRAGMENTS) + FRAGMENTS) return undefined;
    const groupBytes = roundUp(end, FRAGMENT);
    return { fragments, groups, fragmentsPerGroup, inodesPerGroup, dataAt, groupBytes, summaryFragments };
  }
  return undefined;
}

/** The last group may be smaller than the others. */
export function fragmentsOf(geometry: Geometry, group: number): number {
  return Math.min(geometry.fragmentsPerGroup, geometry.fragments - group * geometry.fragmentsPerGroup);
}
