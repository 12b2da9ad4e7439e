/** An inode of ext4 and the content that its extents name, from an image that may be broken. */
import { crc32c } from "./crc.ts";
import { MAXIMUM_TABLE_BYTES, type ReadAt } from "./elf.ts";
import { BLOCK_FIELD_BYTES, EXTENT, type Extent, INODE, INODE_FLAG, KIND_MASK, KINDS, viewOf } from "./ext4-format.ts";
import { damaged, inodeAt, type Superblock, text, unread } from "./ext4-read-super.ts";

export type Ext4Type = keyof typeof KINDS | "socket";

export interface Image {
  readonly readAt: ReadAt;
  readonly superblock: Superblock;
}

export interface Inode {
  readonly number: number;
  readonly type: Ext4Type;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly timeSeconds: number;
  readonly links: number;
  readonly flags: number;
  /** `i_block`. */
  readonly block: Uint8Array;
}

const TYPES: readonly (readonly [mode: number, type: Ext4Type])[] = [
  [KINDS.file.mode, "file"],
  [KINDS.directory.mode, "directory"],
  [KINDS.symlink.mode, "symlink"],
  [KINDS.character.mode, "character"],
  [KINDS.block.mode, "block"],
  [KINDS.fifo.mode, "fifo"],
  [0o140000, "socket"],
];
const SMALL_INODE_BYTES = 128;
const MAXIMUM_TARGET_BYTES = 2 ** 16;
const MAXIMUM_DEPTH = 5;
/** Blocks of one extent tree: more than a million extents. */
const MAXIMUM_NODES = 4096;
const HEAD = 12;

export function readInode(image: Image, number: number): Inode {
  const { inodeBytes, seed } = image.superblock;
  const bytes = image.readAt(inodeAt(image.readAt, image.superblock, number), inodeBytes);
  if (bytes.length < inodeBytes) throw damaged(`inode ${number} lies behind its end`);
  const view = viewOf(bytes);
  const u16 = (at: number): number => view.getUint16(at, true);
  const u32 = (at: number): number => view.getUint32(at, true);
  const extra = inodeBytes > SMALL_INODE_BYTES ? u16(INODE.extraBytes) : 0;
  const reaches = (field: number): boolean => SMALL_INODE_BYTES + extra >= field && field <= inodeBytes;
  if (seed !== undefined && !intact(bytes, number, seed, reaches(INODE.checksumHigh + 2)))
    throw damaged(`the checksum of inode ${number} is wrong`);
  const type = TYPES.find(([mode]) => mode === (u16(INODE.mode) & KIND_MASK))?.[1];
  if (type === undefined) throw damaged(`inode ${number} is in use and of no kind`);
  const more = reaches(INODE.modifyTimeExtra + 4) ? (u32(INODE.modifyTimeExtra) & 3) * 2 ** 32 : 0;
  return {
    number,
    type,
    mode: u16(INODE.mode) & 0o7777,
    uid: u16(INODE.uid) + u16(INODE.uidHigh) * 2 ** 16,
    gid: u16(INODE.gid) + u16(INODE.gidHigh) * 2 ** 16,
    sizeBytes: u32(INODE.size) + u32(INODE.sizeHigh) * 2 ** 32,
    timeSeconds: view.getInt32(INODE.modifyTime, true) + more,
    links: u16(INODE.links),
    flags: u32(INODE.flags),
    block: bytes.slice(INODE.block, INODE.block + BLOCK_FIELD_BYTES),
  };
}

/** All of it, in memory; what no extent names is zeros. */
export function readContent(image: Image, inode: Inode, maximumBytes: number): Uint8Array {
  const { blockBytes } = image.superblock;
  if (inode.sizeBytes > maximumBytes)
    throw unread(`inode ${inode.number} has ${inode.sizeBytes} bytes, more than ${maximumBytes}`);
  const content = new Uint8Array(inode.sizeBytes);
  if (inode.sizeBytes === 0) return content;
  if ((inode.flags & INODE_FLAG.inlineData) !== 0) throw unread(`inode ${inode.number} has its content within`);
  if ((inode.flags & INODE_FLAG.extents) === 0) throw unread(`inode ${inode.number} has a block map, not extents`);
  for (const { logical, start, count } of extentsOf(image, inode)) {
    const from = logical * blockBytes;
    const end = Math.min(from + count * blockBytes, content.length);
    for (let at = from; at < end; at += MAXIMUM_TABLE_BYTES) {
      const wanted = Math.min(MAXIMUM_TABLE_BYTES, end - at);
      const bytes = image.readAt(start * blockBytes + at - from, wanted);
      if (bytes.length < wanted) throw damaged(`inode ${inode.number} goes on behind the end`);
      content.set(bytes, at);
    }
  }
  return content;
}

export function readTarget(image: Image, inode: Inode): string {
  const inside = inode.sizeBytes < BLOCK_FIELD_BYTES && (inode.flags & INODE_FLAG.extents) === 0;
  return text(inside ? inode.block.subarray(0, inode.sizeBytes) : readContent(image, inode, MAXIMUM_TARGET_BYTES));
}

export function deviceOf({ block }: Inode): { readonly major: number; readonly minor: number } {
  const old = viewOf(block).getUint32(0, true);
  if (old !== 0) return { major: (old >>> 8) & 0xff, minor: old & 0xff };
  const value = viewOf(block).getUint32(4, true);
  return { major: (value >>> 8) & 0xfff, minor: (value & 0xff) | ((value >>> 12) & 0xfff00) };
}

function intact(bytes: Uint8Array, number: number, seed: number, wide: boolean): boolean {
  const copy = bytes.slice();
  const view = viewOf(copy);
  const low = view.getUint16(INODE.checksum, true);
  view.setUint16(INODE.checksum, 0);
  const high = wide ? view.getUint16(INODE.checksumHigh, true) : 0;
  if (wide) view.setUint16(INODE.checksumHigh, 0);
  const behind = new Uint8Array(8);
  viewOf(behind).setUint32(0, number, true);
  behind.set(bytes.subarray(INODE.generation, INODE.generation + 4), 4);
  const found = crc32c(copy, crc32c(behind, seed));
  return (found & 0xffff) === low && (!wide || found >>> 16 === high);
}

/** In the order of the file. An extent of more than 32768 blocks is one that was reserved and never written: zeros. */
function extentsOf(image: Image, inode: Inode): readonly Extent[] {
  const { blockBytes, blocks } = image.superblock;
  const found: Extent[] = [];
  let nodes = 0;
  const broken = (): Error => damaged(`the extents of inode ${inode.number} make no sense`);
  const visit = (node: Uint8Array, depth: number | undefined): void => {
    const view = viewOf(node);
    const count = view.getUint16(2, true);
    const own = view.getUint16(6, true);
    nodes += 1;
    if (nodes > MAXIMUM_NODES) throw broken();
    if (view.getUint16(0, true) !== EXTENT.magic || HEAD + count * EXTENT.entryBytes > node.length) throw broken();
    if (own > MAXIMUM_DEPTH || (depth !== undefined && own !== depth)) throw broken();
    for (let entry = 0; entry < count; entry += 1) {
      const at = HEAD + entry * EXTENT.entryBytes;
      const logical = view.getUint32(at, true);
      const before = found.at(-1);
      if (before !== undefined && logical < before.logical + before.count) throw broken();
      if (own === 0) {
        const length = view.getUint16(at + 4, true);
        const start = view.getUint16(at + 6, true) * 2 ** 32 + view.getUint32(at + 8, true);
        if (length === 0 || length > EXTENT.maximumBlocks) continue;
        if (start + length > blocks) throw broken();
        found.push({ logical, start, count: length });
      } else {
        const block = view.getUint32(at + 4, true) + view.getUint16(at + 8, true) * 2 ** 32;
        const bytes = block < blocks ? image.readAt(block * blockBytes, blockBytes) : new Uint8Array();
        if (bytes.length < blockBytes) throw broken();
        visit(bytes, own - 1);
      }
    }
  };
  visit(inode.block, undefined);
  return found;
}
