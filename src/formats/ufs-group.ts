/** What a cylinder group says of itself (struct cg), and the superblock (struct fs) of all of them. */
import {
  BLOCK,
  CONTIGUOUS_MAX,
  DIRECT,
  FILE_MAX_BYTES,
  FRAGMENT,
  FRAGMENTS,
  GROUP,
  GROUP_MAGIC,
  INDIRECT,
  INODES_PER_BLOCK,
  MAGIC,
  POINTERS,
  roundUp,
  SECTOR,
  SUPER,
  SUPERBLOCK_AT,
  SUPERBLOCK_BYTES,
  viewOf,
} from "./ufs-format.ts";
import {
  fragmentsOf,
  type Geometry,
  GROUP_FRAGMENT,
  groupMaps,
  INODES_FRAGMENT,
  SUMMARY_BYTES,
  SUPERBLOCK_FRAGMENT,
} from "./ufs-geometry.ts";

export interface Totals {
  readonly directories: number;
  readonly freeBlocks: number;
  readonly freeInodes: number;
  readonly freeFragments: number;
}

export interface GroupFacts {
  readonly number: number;
  readonly directories: number;
  /** Used from the first on. */
  readonly usedInodes: number;
  /** A bit for each fragment, set where it is free. */
  readonly free: Uint8Array;
  readonly timeSeconds: number;
}

export interface RenderedGroup {
  readonly bytes: Uint8Array;
  readonly totals: Totals;
}

export function renderGroup(geometry: Geometry, facts: GroupFacts): RenderedGroup {
  const { inodesPerGroup, fragmentsPerGroup } = geometry;
  const { number, usedInodes, free, directories } = facts;
  const fragments = fragmentsOf(geometry, number);
  const maps = groupMaps(fragmentsPerGroup, inodesPerGroup);
  const bytes = new Uint8Array(geometry.groupBytes);
  const view = viewOf(bytes);
  const set = (at: number, value: number): void => view.setUint32(at, value, true);

  const counts = countFree(free, Math.floor(fragments / FRAGMENTS));
  const totals = { directories, freeInodes: inodesPerGroup - usedInodes, ...counts.totals };
  set(GROUP.magic, GROUP_MAGIC);
  set(GROUP.number, number);
  set(GROUP.fragments, fragments);
  putTotals(view, GROUP.directories, totals);
  for (const [length, count] of counts.runs.entries()) if (length > 0) set(GROUP.runs + 4 * length, count);
  set(GROUP.usedInodesAt, maps.usedInodes);
  set(GROUP.freeAt, maps.free);
  set(GROUP.endAt, maps.end);
  set(GROUP.clusterSumsAt, maps.clusterSums);
  set(GROUP.clustersAt, maps.clusters);
  set(GROUP.clusterBlocks, Math.floor(fragments / FRAGMENTS));
  set(GROUP.inodes, inodesPerGroup);
  // As newfs does, two blocks of them at least: the others are made when they are first needed.
  set(GROUP.initialised, Math.min(inodesPerGroup, Math.max(roundUp(usedInodes, INODES_PER_BLOCK), 2 * INODES_PER_BLOCK)));
  view.setBigInt64(GROUP.time, BigInt(facts.timeSeconds), true);

  for (let inode = 0; inode < usedInodes; inode += 8) {
    bytes[maps.usedInodes + (inode >> 3)] = inode + 8 <= usedInodes ? 0xff : (1 << (usedInodes - inode)) - 1;
  }
  bytes.set(free.subarray(0, Math.ceil(fragmentsPerGroup / 8)), maps.free);
  // Behind the map: its last word is where a count of runs without a block would be, which nobody reads.
  for (const [length, count] of counts.clusters.entries()) if (length > 0) set(maps.clusterSums + 4 * length, count);
  for (const [index, byte] of counts.freeBlocks.entries()) bytes[maps.clusters + index] = byte;
  return { bytes, totals };
}

interface FreeCounts {
  readonly totals: Pick<Totals, "freeBlocks" | "freeFragments">;
  /** By length, how many runs of fragments there are in blocks that are partly used. */
  readonly runs: readonly number[];
  /** By length, how many runs of free blocks; the last counts all that are as long or longer. */
  readonly clusters: readonly number[];
  /** A bit for each block, set where all of it is free. */
  readonly freeBlocks: Uint8Array;
}

function countFree(free: Uint8Array, blocks: number): FreeCounts {
  const runs = Array.from({ length: FRAGMENTS }, () => 0);
  const clusters = Array.from({ length: CONTIGUOUS_MAX + 1 }, () => 0);
  const map = new Uint8Array(Math.ceil(blocks / 8));
  let [freeBlocks, freeFragments, cluster] = [0, 0, 0];
  const endCluster = (): void => {
    if (cluster > 0) clusters[Math.min(cluster, CONTIGUOUS_MAX)] = (clusters[Math.min(cluster, CONTIGUOUS_MAX)] ?? 0) + 1;
    cluster = 0;
  };
  for (const [index, byte] of free.entries()) {
    if (byte === 0xff) {
      freeBlocks += 1;
      cluster += 1;
      map[index >> 3] = (map[index >> 3] ?? 0) | (1 << (index & 7));
      continue;
    }
    endCluster();
    if (byte === 0) continue;
    for (let run = 0, bit = 0; bit <= FRAGMENTS; bit += 1) {
      if (bit < FRAGMENTS && (byte & (1 << bit)) !== 0) run += 1;
      else if (run > 0) {
        runs[run] = (runs[run] ?? 0) + 1;
        freeFragments += run;
        run = 0;
      }
    }
  }
  endCluster();
  return { totals: { freeBlocks, freeFragments }, runs, clusters, freeBlocks: map };
}

/** cs_ndir, cs_nbfree, cs_nifree, cs_nffree. */
export function putTotals(view: DataView, at: number, totals: Totals): void {
  const { directories, freeBlocks, freeInodes, freeFragments } = totals;
  for (const [index, value] of [directories, freeBlocks, freeInodes, freeFragments].entries())
    view.setInt32(at + 4 * index, value, true);
}

export function renderSummary(geometry: Geometry, groups: readonly RenderedGroup[]): Uint8Array {
  const bytes = new Uint8Array(geometry.summaryFragments * FRAGMENT);
  for (const [index, { totals }] of groups.entries()) putTotals(viewOf(bytes), index * SUMMARY_BYTES, totals);
  return bytes;
}

export interface SuperFields {
  readonly label: Uint8Array;
  /** Two words that tell this file system from others. */
  readonly identity: readonly [number, number];
  readonly timeSeconds: number;
  readonly totals: Totals;
  readonly minimumFreePercent: number;
}

export function renderSuper(geometry: Geometry, fields: SuperFields): Uint8Array {
  const { fragments, groups, fragmentsPerGroup, inodesPerGroup, dataAt, groupBytes, summaryFragments } = geometry;
  const bytes = new Uint8Array(roundUp(SUPERBLOCK_BYTES, FRAGMENT));
  const view = viewOf(bytes);
  const set = (at: number, value: number): void => view.setInt32(at, value, true);
  const wide = (at: number, value: number | bigint): void => view.setBigInt64(at, BigInt(value), true);
  set(SUPER.superblockAt, SUPERBLOCK_FRAGMENT);
  set(SUPER.groupAt, GROUP_FRAGMENT);
  set(SUPER.inodesAt, INODES_FRAGMENT);
  set(SUPER.dataAt, dataAt);
  set(SUPER.groups, groups);
  set(SUPER.blockBytes, BLOCK);
  set(SUPER.fragmentBytes, FRAGMENT);
  set(SUPER.fragments, FRAGMENTS);
  set(SUPER.minimumFree, fields.minimumFreePercent);
  set(SUPER.blockMask, ~(BLOCK - 1));
  set(SUPER.fragmentMask, ~(FRAGMENT - 1));
  set(SUPER.blockShift, Math.log2(BLOCK));
  set(SUPER.fragmentShift, Math.log2(FRAGMENT));
  set(SUPER.contiguousMax, CONTIGUOUS_MAX);
  set(SUPER.blocksPerGroupMax, POINTERS);
  set(SUPER.fragmentsShift, Math.log2(FRAGMENTS));
  set(SUPER.sectorShift, Math.log2(FRAGMENT / SECTOR));
  set(SUPER.superblockBytes, bytes.length);
  set(SUPER.pointers, POINTERS);
  set(SUPER.inodesPerBlock, INODES_PER_BLOCK);
  for (const [index, word] of fields.identity.entries()) view.setUint32(SUPER.identity + 4 * index, word, true);
  set(SUPER.summaryBytes, summaryFragments * FRAGMENT);
  set(SUPER.groupBytes, groupBytes);
  set(SUPER.inodesPerGroup, inodesPerGroup);
  set(SUPER.fragmentsPerGroup, fragmentsPerGroup);
  putTotals(view, SUPER.oldTotals, fields.totals);
  bytes[SUPER.clean] = 1;
  // The fields below are where they are today.
  bytes[SUPER.oldFlags] = 0x80;
  bytes.set(fields.label, SUPER.label);
  set(SUPER.blockBytesMax, BLOCK);
  wide(SUPER.providerFragments, fragments);
  wide(SUPER.superblockLocation, SUPERBLOCK_AT);
  const { directories, freeBlocks, freeInodes, freeFragments } = fields.totals;
  for (const [index, value] of [directories, freeBlocks, freeInodes, freeFragments].entries())
    wide(SUPER.totals + 8 * index, value);
  wide(SUPER.time, fields.timeSeconds);
  wide(SUPER.size, fragments);
  wide(SUPER.dataSize, fragments - SUPERBLOCK_FRAGMENT - groups * (dataAt - SUPERBLOCK_FRAGMENT) - summaryFragments);
  wide(SUPER.summaryAt, dataAt);
  set(SUPER.averageFileBytes, 16_384);
  set(SUPER.averageFilesPerDirectory, 64);
  set(SUPER.clusterSums, CONTIGUOUS_MAX);
  set(SUPER.targetInInode, (DIRECT + INDIRECT) * 8);
  set(SUPER.oldInodeFormat, 2);
  wide(SUPER.fileMaxBytes, FILE_MAX_BYTES);
  wide(SUPER.blockRest, BLOCK - 1);
  wide(SUPER.fragmentRest, FRAGMENT - 1);
  set(SUPER.magic, MAGIC);
  return bytes;
}
