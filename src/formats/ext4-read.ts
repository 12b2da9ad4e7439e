/**
 * Reads an ext4 file system at offsets: what it says of itself, what is in it, and contents. For images, not for disks in use: a
 * journal is not replayed. It knows what the writer here and mke2fs make; block maps of ext2 and ext3 it refuses.
 *
 * Checksums of the superblock and of inodes are checked; e2fsck is for the rest. A broken file system gives a `Problem`, never an
 * endless loop: every directory is entered once, and what is held is bounded.
 */
import type { ReadAt } from "./elf.ts";
import { ROOT_INODE, viewOf } from "./ext4-format.ts";
import { deviceOf, type Ext4Type, type Image, type Inode, readContent, readInode, readTarget } from "./ext4-read-inode.ts";
import { damaged, type Ext4Facts, readSuper } from "./ext4-read-super.ts";
import { type Named, readTree, type TreeReading } from "./walk.ts";

export type { Ext4Type } from "./ext4-read-inode.ts";
export type { Ext4Facts } from "./ext4-read-super.ts";

export interface Ext4Entry {
  /** As in `FileSystemEntry`: no slash at its ends, "" is the root. */
  readonly path: string;
  readonly type: Ext4Type;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly timeSeconds: number;
  /** Names with the same inode are one file. */
  readonly inode: number;
  readonly links: number;
  /** Of a symbolic link. */
  readonly target?: string;
  /** Of a device. */
  readonly device?: { readonly major: number; readonly minor: number };
}

export interface Ext4Reading extends TreeReading<Ext4Entry> {
  readonly facts: Ext4Facts;
}

const MAXIMUM_DIRECTORY_BYTES = 2 ** 28;
const ENTRY_HEAD = 8;

/**
 * Every function of what it gives may throw what it throws itself.
 *
 * @throws Problem E_EXT4_DAMAGED for what is no ext4, or a broken one; E_EXT4_UNREAD for a kind, or a size, that is not read here
 */
export function readExt4(readAt: ReadAt): Ext4Reading {
  const image: Image = { readAt, superblock: readSuper(readAt) };
  return {
    facts: image.superblock.facts,
    ...readTree({
      root: ROOT_INODE,
      inode: (number) => readInode(image, number),
      names: (inode) => namesIn(image, inode),
      entry: (path, inode) => entryOf(image, path, inode),
      content: (inode, maximumBytes) => readContent(image, inode, maximumBytes),
      damaged,
    }),
  };
}

function entryOf(image: Image, path: string, inode: Inode): Ext4Entry {
  const { type, mode, uid, gid, sizeBytes, timeSeconds, number, links } = inode;
  const entry = { path, type, mode, uid, gid, sizeBytes, timeSeconds, inode: number, links };
  if (type === "symlink") return { ...entry, target: readTarget(image, inode) };
  return type === "character" || type === "block" ? { ...entry, device: deviceOf(inode) } : entry;
}

/** Block by block: an index looks like entries that nobody uses. */
function namesIn(image: Image, inode: Inode): readonly Named[] {
  const { blockBytes } = image.superblock;
  const bytes = readContent(image, inode, MAXIMUM_DIRECTORY_BYTES);
  const view = viewOf(bytes);
  const decoder = new TextDecoder();
  const found: Named[] = [];
  for (let at = 0; at + ENTRY_HEAD <= bytes.length;) {
    const left = blockBytes - (at % blockBytes);
    const length = view.getUint16(at + 4, true);
    // 64 KiB do not fit into the field.
    const entryBytes = length === 0 || length === 0xffff ? left : length;
    const nameBytes = view.getUint8(at + 6);
    if (entryBytes < ENTRY_HEAD + nameBytes || entryBytes % 4 !== 0 || entryBytes > left)
      throw damaged(`the directory of inode ${inode.number} makes no sense at ${at}`);
    const number = view.getUint32(at, true);
    const name = decoder.decode(bytes.subarray(at + ENTRY_HEAD, at + ENTRY_HEAD + nameBytes));
    if (number !== 0 && name !== "." && name !== "..") found.push({ name, inode: number });
    at += entryBytes;
  }
  return found;
}
