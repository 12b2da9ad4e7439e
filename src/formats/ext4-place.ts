/**
 * Gives every content its blocks: one after the other in the order of inodes, so that what changes at the end of a tree moves
 * nothing before it. A content is split only where a superblock or a table lies in its way.
 */
import { EXTENT, type Extent, GROUP_BLOCKS, type Run } from "./ext4-format.ts";
import { type Geometry, MAXIMUM_INODES_PER_GROUP, planGeometry, roundedUp } from "./ext4-geometry.ts";

/** Where a content lies. */
export interface Placement {
  readonly extents: readonly Extent[];
  /** Blocks of the extent tree; none when the extents fit into the inode. */
  readonly leaves: readonly number[];
}

export interface Places {
  readonly geometry: Geometry;
  /** The block of block numbers of the resize inode. */
  readonly resize: number;
  readonly journal: Placement;
  /** One for each of the wanted sizes. */
  readonly contents: readonly Placement[];
  /** All blocks below are in use; of those above, what the geometry takes. */
  readonly end: number;
  readonly freeBlocks: number;
}

/** What has to find room. */
export interface Wish {
  /** Of each content, in order. */
  readonly contentBlocks: readonly number[];
  readonly inodes: (blocks: number) => number;
  readonly journalBlocks: (blocks: number) => number;
}

/** Sizes that are chosen are whole MiB. */
const SIZE_UNIT = 256;
const MAXIMUM_LEAVES = EXTENT.rootEntries;
const NONE: readonly number[] = [];
export const NOWHERE: Placement = { extents: [], leaves: NONE };

/** The number of blocks that are missing, or the places when that is 0 or less. */
export function placeIn(wish: Wish, blocks: number, freeBlocks = 0): Places | number {
  const geometry = planGeometry(blocks, wish.inodes(blocks));
  if (geometry === undefined) return SIZE_UNIT;
  const space = new FreeSpace(geometry);
  const [resize] = space.take(1);
  const journal = space.place(wish.journalBlocks(blocks));
  const contents = wish.contentBlocks.map((count) => space.place(count));
  const left = space.left();
  if (left < freeBlocks || resize === undefined) return freeBlocks - left;
  return { geometry, resize: resize.start, journal, contents, end: space.next, freeBlocks: left };
}

/** The smallest good size in which so many blocks stay free, in whole MiB; not below `least`: more is not always enough. */
export function smallestSize(wish: Wish, freeBlocks: number, least = 0): Places {
  const contents = wish.contentBlocks.reduce((sum, count) => sum + count, freeBlocks);
  const groups = Math.ceil(wish.inodes(0) / MAXIMUM_INODES_PER_GROUP) - 1;
  let blocks = roundedUp(Math.max(contents, groups * GROUP_BLOCKS, least), SIZE_UNIT);
  for (;;) {
    const places = placeIn(wish, blocks, freeBlocks);
    if (typeof places !== "number") return places;
    // Progress even where the next group costs as much as it brings.
    blocks += roundedUp(Math.max(places, 1), SIZE_UNIT);
  }
}

/** How many entries of a tree these extents are. */
function extentEntries(extents: readonly Run[]): number {
  return extents.reduce((sum, { count }) => sum + Math.ceil(count / EXTENT.maximumBlocks), 0);
}

/** Takes blocks in order; past the last it goes on as if there were more, so that `left` says how many are missing. */
class FreeSpace {
  next = 0;
  readonly #blocks: number;
  readonly #taken: readonly Run[];
  /** Of the first run of `#taken` that does not lie below `next`. */
  #index = 0;

  constructor(geometry: Geometry) {
    this.#blocks = geometry.blocks;
    this.#taken = geometry.taken;
  }

  left(): number {
    const above = this.#taken.reduce((sum, { start, count }) => sum + (start >= this.next ? count : 0), 0);
    return this.#blocks - this.next - above;
  }

  take(count: number): readonly Run[] {
    const runs: Run[] = [];
    let missing = count;
    while (missing > 0) {
      let obstacle = this.#taken[this.#index];
      while (obstacle !== undefined && obstacle.start <= this.next) {
        this.next = obstacle.start + obstacle.count;
        this.#index += 1;
        obstacle = this.#taken[this.#index];
      }
      const fitting = Math.min(missing, (obstacle?.start ?? Number.POSITIVE_INFINITY) - this.next);
      runs.push({ start: this.next, count: fitting });
      this.next += fitting;
      missing -= fitting;
    }
    return runs;
  }

  /** The leaves of a tree, where one is needed, lie before the content: they are known only when that has its place. */
  place(count: number): Placement {
    if (count === 0) return NOWHERE;
    const start = this.next;
    const obstacle = this.#taken[this.#index]?.start ?? Number.POSITIVE_INFINITY;
    if (start + count <= obstacle && count <= EXTENT.maximumBlocks) {
      this.next += count;
      return { extents: [{ logical: 0, start, count }], leaves: NONE };
    }
    for (let leaves = 0; leaves <= MAXIMUM_LEAVES; leaves += 1) {
      const [next, index] = [this.next, this.#index];
      const tree = this.take(leaves);
      const runs = this.take(count);
      if (extentEntries(runs) <= (leaves === 0 ? EXTENT.rootEntries : leaves * EXTENT.leafEntries)) {
        const blocks = tree.flatMap((run) => Array.from({ length: run.count }, (_, at) => run.start + at));
        return { extents: logical(runs), leaves: blocks };
      }
      [this.next, this.#index] = [next, index];
    }
    throw new RangeError(`${count} blocks are more than an extent tree of one level describes`);
  }
}

function logical(runs: readonly Run[]): readonly Extent[] {
  let at = 0;
  return runs.map((run) => {
    const extent = { ...run, logical: at };
    at += run.count;
    return extent;
  });
}
