/** Inodes of 256 bytes and extent trees, with their checksums (Documentation/filesystems/ext4/inodes.rst and ifork.rst). */
import { crc32c } from "./crc.ts";
import { BLOCK, BLOCK_FIELD_BYTES, EXTENT, type Extent, EXTRA_BYTES, INODE, INODE_FLAG, viewOf } from "./ext4-format.ts";
import type { Placement } from "./ext4-place.ts";

export interface InodeFields {
  /** With the bits that say what it is. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly timeSeconds: number;
  readonly sizeBytes: number;
  readonly links: number;
  /** But for INODE_FLAG.extents. */
  readonly flags: number;
  /** What stands in `i_block`, and how many blocks the inode owns: those of its content and those that name them. */
  readonly block:
    | { readonly kind: "extents"; readonly placement: Placement }
    | { readonly kind: "bytes"; readonly bytes: Uint8Array; readonly blocks: number };
}

/** Where the checksum of what belongs to an inode begins. */
export type InodeSeed = (inode: number) => number;

const SECTORS_PER_BLOCK = BLOCK / 512;
/** Devices whose two numbers fit into a byte each are written as they always were, others in the second word. */
const OLD_DEVICE = 0xff;
const TREE_HEAD = 12;

/** Behind the register after the file system's UUID come the inode's number and its generation, which is 0. */
export function inodeSeeds(uuid: number): InodeSeed {
  const bytes = new Uint8Array(8);
  const view = viewOf(bytes);
  return (inode) => {
    view.setUint32(0, inode, true);
    return crc32c(bytes, uuid);
  };
}

/** Fills 256 zero bytes. */
export function renderInode(bytes: Uint8Array, fields: InodeFields, seed: number): void {
  const view = viewOf(bytes);
  const u16 = (field: number, value: number): void => view.setUint16(field, value, true);
  const u32 = (field: number, value: number): void => view.setUint32(field, value, true);
  const { block, timeSeconds } = fields;
  u16(INODE.mode, fields.mode);
  u16(INODE.uid, fields.uid & 0xffff);
  u16(INODE.uidHigh, fields.uid >>> 16);
  u16(INODE.gid, fields.gid & 0xffff);
  u16(INODE.gidHigh, fields.gid >>> 16);
  u32(INODE.size, fields.sizeBytes >>> 0);
  u32(INODE.sizeHigh, Math.floor(fields.sizeBytes / 2 ** 32));
  u16(INODE.links, fields.links);
  const sectors = ownBlocks(block) * SECTORS_PER_BLOCK;
  u32(INODE.sectors, sectors >>> 0);
  u16(INODE.sectorsHigh, Math.floor(sectors / 2 ** 32));
  u32(INODE.flags, fields.flags | (block.kind === "extents" ? INODE_FLAG.extents : 0));
  if (block.kind === "extents") extentRoot(view, INODE.block, block.placement);
  else bytes.set(block.bytes, INODE.block);
  u16(INODE.extraBytes, EXTRA_BYTES);
  // 32 signed bits, and two more in the lowest bits of the extra field: how often 2^32 is to be added.
  const low = timeSeconds | 0;
  const extra = (timeSeconds - low) / 2 ** 32;
  u32(INODE.accessTime, low);
  u32(INODE.accessTimeExtra, extra);
  u32(INODE.changeTime, low);
  u32(INODE.changeTimeExtra, extra);
  u32(INODE.modifyTime, low);
  u32(INODE.modifyTimeExtra, extra);
  u32(INODE.madeTime, low);
  u32(INODE.madeTimeExtra, extra);
  const checksum = crc32c(bytes, seed);
  u16(INODE.checksum, checksum & 0xffff);
  u16(INODE.checksumHigh, checksum >>> 16);
}

/** `i_block`, alone: the superblock has a copy of the journal's. */
export function extentBlock(placement: Placement): Uint8Array {
  const bytes = new Uint8Array(BLOCK_FIELD_BYTES);
  extentRoot(viewOf(bytes), 0, placement);
  return bytes;
}

/** The blocks of an extent tree that are not in the inode. */
export function extentLeaves(
  placement: Placement,
  seed: number,
): readonly { readonly block: number; readonly bytes: Uint8Array }[] {
  if (placement.leaves.length === 0) return [];
  return leafParts(placement).map(({ start, extents }) => {
    const bytes = new Uint8Array(BLOCK);
    treeNode(viewOf(bytes), 0, EXTENT.leafEntries, 0, extents, leafEntry);
    const tail = TREE_HEAD + EXTENT.leafEntries * EXTENT.entryBytes;
    viewOf(bytes).setUint32(tail, crc32c(bytes.subarray(0, tail), seed), true);
    return { block: start, bytes };
  });
}

/** `i_block` of a device node. */
export function deviceBlock(major: number, minor: number): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = viewOf(bytes);
  if (major <= OLD_DEVICE && minor <= OLD_DEVICE) view.setUint32(0, (major << 8) | minor, true);
  else view.setUint32(4, ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0, true);
  return bytes;
}

function ownBlocks(block: InodeFields["block"]): number {
  if (block.kind === "bytes") return block.blocks;
  return block.placement.leaves.length + block.placement.extents.reduce((sum, { count }) => sum + count, 0);
}

function extentRoot(view: DataView, at: number, placement: Placement): void {
  if (placement.leaves.length === 0) treeNode(view, at, EXTENT.rootEntries, 0, pieces(placement.extents), leafEntry);
  else treeNode(view, at, EXTENT.rootEntries, 1, leafParts(placement), indexEntry);
}

interface LeafPart {
  readonly logical: number;
  /** The block that has these extents. */
  readonly start: number;
  readonly extents: readonly Extent[];
}

/** All leaves are used, the last ones perhaps with little in them. */
function leafParts({ extents, leaves }: Placement): readonly LeafPart[] {
  const all = pieces(extents);
  const each = Math.ceil(all.length / leaves.length);
  return leaves.map((start, index) => {
    const part = all.slice(index * each, (index + 1) * each);
    return { logical: part[0]?.logical ?? 0, start, extents: part };
  });
}

/** An extent says at most 32768 blocks. */
function pieces(extents: readonly Extent[]): readonly Extent[] {
  if (extents.every(({ count }) => count <= EXTENT.maximumBlocks)) return extents;
  return extents.flatMap(({ logical, start, count }) =>
    Array.from({ length: Math.ceil(count / EXTENT.maximumBlocks) }, (_, index) => {
      const offset = index * EXTENT.maximumBlocks;
      return { logical: logical + offset, start: start + offset, count: Math.min(EXTENT.maximumBlocks, count - offset) };
    }),
  );
}

function treeNode<Entry>(
  view: DataView,
  at: number,
  most: number,
  depth: number,
  all: readonly Entry[],
  write: (view: DataView, at: number, entry: Entry) => void,
): void {
  view.setUint16(at, EXTENT.magic, true);
  view.setUint16(at + 2, all.length, true);
  view.setUint16(at + 4, most, true);
  view.setUint16(at + 6, depth, true);
  let next = at + TREE_HEAD;
  for (const entry of all) {
    write(view, next, entry);
    next += EXTENT.entryBytes;
  }
}

function leafEntry(view: DataView, at: number, { logical, start, count }: Extent): void {
  view.setUint32(at, logical, true);
  view.setUint16(at + 4, count, true);
  view.setUint16(at + 6, Math.floor(start / 2 ** 32), true);
  view.setUint32(at + 8, start >>> 0, true);
}

function indexEntry(view: DataView, at: number, { logical, start }: LeafPart): void {
  view.setUint32(at, logical, true);
  view.setUint32(at + 4, start >>> 0, true);
  view.setUint16(at + 8, Math.floor(start / 2 ** 32), true);
}
