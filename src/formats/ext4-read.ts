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
import { inodeAt, type Named, type Tree, walkTree } from "./walk.ts";

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

export interface Ext4Reading {
  readonly facts: Ext4Facts;
  /** Everything, a directory before what is in it, sorted. */
  readonly list: () => readonly Ext4Entry[];
  /**
   * The content of a plain file, of at most 64 MiB where nothing else is said; undefined when there is none of that name.
   * Symbolic links are not followed.
   */
  readonly readFile: (path: string, maximumBytes?: number) => Uint8Array | undefined;
}

const MAXIMUM_FILE_BYTES = 2 ** 26;
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
    list: () => walkTree(treeOf(image), (path, inode) => entryOf(image, path, inode)),
    readFile: (path, maximumBytes = MAXIMUM_FILE_BYTES) => {
      const found = inodeAt(treeOf(image), path);
      return found?.type === "file" ? readContent(image, found, maximumBytes) : undefined;
    },
  };
}

function treeOf(image: Image): Tree<Inode> {
  return {
    root: ROOT_INODE,
    inode: (number) => readInode(image, number),
    isDirectory: ({ type }) => type === "directory",
    names: (inode) => namesIn(image, inode),
    damaged,
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
