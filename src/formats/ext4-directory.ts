/**
 * Directories of ext4. One block of entries in the order given; or, where they do not fit into one, an index of hashes over
 * blocks whose entries are ordered by hash ("htree"), which is what makes a directory of 40,000 names quick to search.
 *
 *     0 root of the index     1.. nodes, where the root is too small     then the leaves: blocks as in a small directory
 *
 * The index hides in entries that seem to cover their whole block, so that a reader without it can go through block by block.
 * Every block ends in a checksum. Source: Documentation/filesystems/ext4/directory.rst.
 */
import { crc32c } from "./crc.ts";
import { BLOCK, DIRECTORY_TAIL, KINDS, viewOf } from "./ext4-format.ts";
import { type HashSeed, nameHash } from "./ext4-hash.ts";
import type { Child } from "./ext4-tree.ts";

export interface Leaf {
  /** The lowest hash in it; odd when the block before ends with names of the same hash. */
  readonly hash: number;
  readonly children: readonly Child[];
}

/** What lies in which block; it depends on names alone, not on where anything is. */
export type DirectoryPlan =
  | { readonly kind: "linear"; readonly blocks: number; readonly children: readonly Child[] }
  | { readonly kind: "indexed"; readonly blocks: number; readonly leaves: readonly Leaf[]; readonly nodes: number };

export interface DirectoryNumbers {
  readonly inode: number;
  readonly parent: number;
  /** Where the checksums of this inode's blocks begin. */
  readonly seed: number;
}

const USABLE = BLOCK - DIRECTORY_TAIL.bytes;
const HEAD = 8;
/** `.` and `..`. */
const DOTS = 24;
const ROOT_INFO = { at: 0x18, hashVersion: 0x1c, infoBytes: 0x1d, levels: 0x1e } as const;
const ROOT_COUNTS = 0x20;
const NODE_COUNTS = 0x08;
const INDEX_ENTRY = 8;
const INDEX_TAIL = 8;
const ROOT_LIMIT = (BLOCK - ROOT_COUNTS - INDEX_TAIL) / INDEX_ENTRY;
const NODE_LIMIT = (BLOCK - NODE_COUNTS - INDEX_TAIL) / INDEX_ENTRY;
/** The kernel adds 3 for "unsigned", because the superblock's flags say so. */
export const HASH_HALF_MD4 = 1;
const DOT = Uint8Array.of(0x2e);
const DOT_DOT = Uint8Array.of(0x2e, 0x2e);

/** @param leastBlocks a directory that fits into one block is made so large with empty ones */
export function planDirectory(children: readonly Child[], hashSeed: HashSeed, leastBlocks = 1): DirectoryPlan {
  const bytes = children.reduce((sum, child) => sum + entryBytes(child.name), DOTS);
  if (bytes <= USABLE) return { kind: "linear", blocks: leastBlocks, children };
  const leaves = leavesOf(children, hashSeed);
  const nodes = leaves.length <= ROOT_LIMIT ? 0 : Math.ceil(leaves.length / NODE_LIMIT);
  if (nodes > ROOT_LIMIT) throw new RangeError(`a directory of ${children.length} names needs a third level of index`);
  return { kind: "indexed", blocks: 1 + nodes + leaves.length, leaves, nodes };
}

/** Fills zero bytes, as many as the plan has blocks. */
export function renderDirectory(bytes: Uint8Array, plan: DirectoryPlan, numbers: DirectoryNumbers): void {
  const block = (index: number): Uint8Array => bytes.subarray(index * BLOCK, (index + 1) * BLOCK);
  const { seed } = numbers;
  if (plan.kind === "linear") {
    const dots = [
      { name: DOT, inode: numbers.inode, kind: KINDS.directory.entry },
      { name: DOT_DOT, inode: numbers.parent, kind: KINDS.directory.entry },
    ];
    entries(block(0), [...dots, ...plan.children], seed);
    for (let index = 1; index < plan.blocks; index += 1) entries(block(index), [], seed);
    return;
  }

  const first = 1 + plan.nodes;
  const targets = plan.leaves.map(({ hash }, index) => ({ hash, block: first + index }));
  if (plan.nodes === 0) indexRoot(block(0), numbers, targets, 0);
  else {
    const nodes: IndexEntry[] = [];
    for (let node = 0; node < plan.nodes; node += 1) {
      const part = targets.slice(node * NODE_LIMIT, (node + 1) * NODE_LIMIT);
      nodes.push({ hash: part[0]?.hash ?? 0, block: 1 + node });
      indexNode(block(1 + node), part, seed);
    }
    indexRoot(block(0), numbers, nodes, 1);
  }
  for (const [index, leaf] of plan.leaves.entries()) entries(block(first + index), leaf.children, seed);
}

function entryBytes(name: Uint8Array): number {
  return (HEAD + name.length + 3) & ~3;
}

function leavesOf(children: readonly Child[], hashSeed: HashSeed): readonly Leaf[] {
  const hashed = children.map((child) => ({ child, hash: nameHash(child.name, hashSeed) })).toSorted((a, b) => a.hash - b.hash);
  const leaves: { readonly hash: number; readonly children: Child[] }[] = [];
  let free = 0;
  let before = -1;
  for (const { child, hash } of hashed) {
    const bytes = entryBytes(child.name);
    const leaf = leaves.at(-1);
    if (leaf === undefined || bytes > free) {
      // The first leaf has every hash below the second's.
      leaves.push({ hash: leaf === undefined ? 0 : hash === before ? hash + 1 : hash, children: [child] });
      free = USABLE - bytes;
    } else {
      leaf.children.push(child);
      free -= bytes;
    }
    before = hash;
  }
  return leaves;
}

/** The last entry is as long as what is left of the block; a block without entries is one that nobody uses. */
function entries(block: Uint8Array, children: readonly Child[], seed: number): void {
  const view = viewOf(block);
  let at = 0;
  let left = children.length;
  for (const { name, inode, kind } of children) {
    left -= 1;
    const bytes = left === 0 ? USABLE - at : entryBytes(name);
    entryHead(view, at, inode, bytes, name.length, kind);
    block.set(name, at + HEAD);
    at += bytes;
  }
  if (children.length === 0) entryHead(view, 0, 0, USABLE, 0, 0);
  entryHead(view, USABLE, 0, DIRECTORY_TAIL.bytes, 0, DIRECTORY_TAIL.kind);
  view.setUint32(USABLE + HEAD, crc32c(block.subarray(0, USABLE), seed), true);
}

function entryHead(view: DataView, at: number, inode: number, bytes: number, nameBytes: number, kind: number): void {
  view.setUint32(at, inode, true);
  view.setUint16(at + 4, bytes, true);
  view.setUint8(at + 6, nameBytes);
  view.setUint8(at + 7, kind);
}

interface IndexEntry {
  readonly hash: number;
  readonly block: number;
}

function indexRoot(block: Uint8Array, numbers: DirectoryNumbers, targets: readonly IndexEntry[], levels: number): void {
  const view = viewOf(block);
  entryHead(view, 0, numbers.inode, 12, DOT.length, KINDS.directory.entry);
  block.set(DOT, HEAD);
  entryHead(view, 12, numbers.parent, BLOCK - 12, DOT_DOT.length, KINDS.directory.entry);
  block.set(DOT_DOT, 12 + HEAD);
  view.setUint8(ROOT_INFO.hashVersion, HASH_HALF_MD4);
  view.setUint8(ROOT_INFO.infoBytes, ROOT_COUNTS - ROOT_INFO.at);
  view.setUint8(ROOT_INFO.levels, levels);
  index(block, ROOT_COUNTS, ROOT_LIMIT, targets, numbers.seed);
}

function indexNode(block: Uint8Array, targets: readonly IndexEntry[], seed: number): void {
  entryHead(viewOf(block), 0, 0, BLOCK, 0, 0);
  index(block, NODE_COUNTS, NODE_LIMIT, targets, seed);
}

/** The first entry has no hash: how many there may be and how many there are stands in its place. */
function index(block: Uint8Array, at: number, limit: number, targets: readonly IndexEntry[], seed: number): void {
  const view = viewOf(block);
  for (const [entry, { hash, block: target }] of targets.entries()) {
    view.setUint32(at + entry * INDEX_ENTRY, hash, true);
    view.setUint32(at + entry * INDEX_ENTRY + 4, target, true);
  }
  view.setUint16(at, limit, true);
  view.setUint16(at + 2, targets.length, true);
  // Over the entries in use, and then over the tail as it is before the checksum is in it: eight zeros.
  const used = crc32c(block.subarray(0, at + targets.length * INDEX_ENTRY), seed);
  view.setUint32(at + limit * INDEX_ENTRY + 4, crc32c(new Uint8Array(INDEX_TAIL), used), true);
}
