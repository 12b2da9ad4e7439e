/**
 * Gives every block of content its place: whole blocks one after another, the ends of small files and directories as runs of fragments,
 * the fullest block that has room first. The addresses of a file lie before what they point to.
 */
import { BLOCK, DIRECT, FRAGMENT, FRAGMENTS, INDIRECT, POINTERS, roundUp } from "./ufs-format.ts";
import { fragmentsOf, type Geometry, SUPERBLOCK_FRAGMENT } from "./ufs-geometry.ts";

/** What somebody wants placed, in bytes; `holes` are block numbers of it that nobody wrote. */
export interface Want {
  readonly sizeBytes: number;
  readonly isHole?: (block: number) => boolean;
}

/** Blocks of a file that lie side by side. */
export interface Run {
  /** Block number in the file. */
  readonly block: number;
  /** Fragment of the file system. */
  readonly at: number;
  /** Fragments; whole blocks, but at the end of a file. */
  readonly fragments: number;
}

/** A block of addresses, and where it is. */
export interface Addresses {
  readonly at: number;
  readonly addresses: Float64Array;
}

export interface Placement {
  readonly runs: readonly Run[];
  /** The first twelve blocks and the three of addresses; 0 is a hole. */
  readonly pointers: readonly number[];
  readonly indirect: readonly Addresses[];
  /** Fragments that it takes, addresses included. */
  readonly fragments: number;
}

export interface Places {
  readonly geometry: Geometry;
  readonly placements: readonly Placement[];
  /** A bit for each fragment of each group, set where it is free. */
  readonly free: readonly Uint8Array<ArrayBuffer>[];
  readonly freeFragments: number;
}

export const NOTHING: Placement = { runs: [], pointers: [], indirect: [], fragments: 0 };

/** Fragments that the content takes; addresses are not counted. */
export function contentFragments({ sizeBytes, isHole }: Want): number {
  const blocks = Math.ceil(sizeBytes / BLOCK);
  const tail = tailFragments(sizeBytes);
  let total = 0;
  for (let block = 0; block < blocks; block += 1) {
    if (isHole?.(block) === true) continue;
    total += block === blocks - 1 ? tail : FRAGMENTS;
  }
  return total;
}

/** Of the last block: fragments where the whole file has direct blocks, else all of it. */
function tailFragments(sizeBytes: number): number {
  if (sizeBytes === 0) return 0;
  if (sizeBytes > DIRECT * BLOCK) return FRAGMENTS;
  const rest = sizeBytes % BLOCK;
  return rest === 0 ? FRAGMENTS : Math.ceil(rest / FRAGMENT);
}

class Full extends Error {}

class Space {
  readonly free: Uint8Array<ArrayBuffer>[];
  readonly #geometry: Geometry;
  #group = 0;
  #next: number;
  /** Blocks that are partly used, by how many fragments are left at their end. */
  readonly #open: number[][] = Array.from({ length: FRAGMENTS }, () => []);

  constructor(geometry: Geometry) {
    this.#geometry = geometry;
    this.free = Array.from({ length: geometry.groups }, (_, group) => freshMap(geometry, group));
    this.#next = geometry.dataAt + roundUp(geometry.summaryFragments, FRAGMENTS);
    const rest = geometry.summaryFragments % FRAGMENTS;
    if (rest !== 0) this.#open[FRAGMENTS - rest]?.push(geometry.dataAt + geometry.summaryFragments);
  }

  /** A whole block: the fragment where it begins. */
  block(): number {
    const { groups, fragmentsPerGroup, dataAt } = this.#geometry;
    while (this.#next + FRAGMENTS > fragmentsOf(this.#geometry, this.#group)) {
      this.#group += 1;
      if (this.#group >= groups) throw new Full();
      this.#next = dataAt;
    }
    const at = this.#group * fragmentsPerGroup + this.#next;
    this.#next += FRAGMENTS;
    this.#take(at, FRAGMENTS);
    return at;
  }

  /** Fewer fragments than a block has, side by side. */
  part(count: number): number {
    for (let left = count; left < FRAGMENTS; left += 1) {
      const at = this.#open[left]?.pop();
      if (at === undefined) continue;
      if (left > count) this.#open[left - count]?.push(at + count);
      this.#take(at, count);
      return at;
    }
    const at = this.block();
    this.#give(at + count, FRAGMENTS - count);
    this.#open[FRAGMENTS - count]?.push(at + count);
    return at;
  }

  #take(at: number, count: number): void {
    this.#set(at, count, false);
  }

  #give(at: number, count: number): void {
    this.#set(at, count, true);
  }

  #set(at: number, count: number, isFree: boolean): void {
    const { fragmentsPerGroup } = this.#geometry;
    const map = this.free[Math.floor(at / fragmentsPerGroup)];
    if (map === undefined) throw new RangeError(`there is no fragment ${at}`);
    const within = at % fragmentsPerGroup;
    const bits = ((1 << count) - 1) << (within % FRAGMENTS);
    const index = Math.floor(within / FRAGMENTS);
    map[index] = isFree ? (map[index] ?? 0) | bits : (map[index] ?? 0) & ~bits;
  }
}

/** Free: what is before the copy of the superblock, but in the first group, and the data. */
function freshMap(geometry: Geometry, group: number): Uint8Array<ArrayBuffer> {
  const map = new Uint8Array(Math.ceil(geometry.fragmentsPerGroup / 8));
  const mark = (from: number, to: number): void => {
    for (let fragment = from; fragment < to; fragment += 1) {
      const index = fragment >> 3;
      map[index] = (map[index] ?? 0) | (1 << (fragment & 7));
    }
  };
  if (group > 0) mark(0, SUPERBLOCK_FRAGMENT);
  mark(geometry.dataAt + (group === 0 ? geometry.summaryFragments : 0), fragmentsOf(geometry, group));
  return map;
}

/** undefined: there is no room for them. */
export function placeAll(geometry: Geometry, wants: readonly Want[]): Places | undefined {
  const space = new Space(geometry);
  try {
    const placements = wants.map((want) => placeOne(space, want));
    let freeFragments = 0;
    for (const map of space.free) for (const byte of map) freeFragments += BITS[byte] ?? 0;
    return { geometry, placements, free: space.free, freeFragments };
  } catch (error) {
    if (error instanceof Full) return undefined;
    throw error;
  }
}

/** How many bits are set in a byte. */
export const BITS: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

function placeOne(space: Space, want: Want): Placement {
  const { sizeBytes, isHole } = want;
  if (sizeBytes === 0) return NOTHING;
  const blocks = Math.ceil(sizeBytes / BLOCK);
  const tail = tailFragments(sizeBytes);
  const runs: { block: number; at: number; fragments: number }[] = [];
  const pointers = Array.from({ length: DIRECT + INDIRECT }, () => 0);
  const indirect: Addresses[] = [];
  let fragments = 0;

  const data = (block: number): number => {
    if (isHole?.(block) === true) return 0;
    const count = block === blocks - 1 ? tail : FRAGMENTS;
    const at = count === FRAGMENTS ? space.block() : space.part(count);
    const last = runs.at(-1);
    const follows = last !== undefined && last.at + last.fragments === at && last.block + last.fragments / FRAGMENTS === block;
    if (follows) last.fragments += count;
    else runs.push({ block, at, fragments: count });
    fragments += count;
    return at;
  };

  /** A block of addresses for the blocks from `from` on; each address reaches `reach` blocks. 0 when all of it is a hole. */
  const addresses = (from: number, reach: number): number => {
    const to = Math.min(blocks, from + reach * POINTERS);
    if (allHoles(want, from, to)) return 0;
    const at = space.block();
    fragments += FRAGMENTS;
    const table = new Float64Array(POINTERS);
    indirect.push({ at, addresses: table });
    for (let index = 0, block = from; block < to; index += 1, block += reach) {
      table[index] = reach === 1 ? data(block) : addresses(block, reach / POINTERS);
    }
    return at;
  };

  for (let block = 0; block < Math.min(DIRECT, blocks); block += 1) pointers[block] = data(block);
  let from = DIRECT;
  for (let level = 0, reach = 1; level < INDIRECT && from < blocks; level += 1, reach *= POINTERS) {
    pointers[DIRECT + level] = addresses(from, reach);
    from += reach * POINTERS;
  }
  return { runs, pointers, indirect, fragments };
}

function allHoles({ isHole }: Want, from: number, to: number): boolean {
  if (isHole === undefined) return false;
  for (let block = from; block < to; block += 1) if (!isHole(block)) return false;
  return true;
}
