/**
 * Reads a UFS2 file system at offsets: what it says of itself, what is in it, and contents. For images, not for disks in use: a journal is
 * not replayed. Any size of blocks and fragments that newfs(8) makes, little-endian.
 *
 * A broken file system gives a `Problem`, never an endless loop: every directory is entered once, and what is held is bounded.
 */
import { Problem } from "../base/index.ts";
import type { ReadAt } from "./elf.ts";
import {
  DIRECT,
  DIRECTORY_CHUNK,
  INDIRECT,
  INODE,
  INODE_BYTES,
  KIND_MASK,
  KINDS,
  LABEL_BYTES,
  MAGIC,
  ROOT_INODE,
  SUPER,
  SUPERBLOCK_AT,
  SUPERBLOCK_BYTES,
  viewOf,
} from "./ufs-format.ts";
import { type Named, readTree, type TreeReading } from "./walk.ts";

export type UfsType = keyof typeof KINDS | "socket";

export interface UfsEntry {
  /** As in `FileSystemEntry`: no slash at its ends, "" is the root. */
  readonly path: string;
  readonly type: UfsType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly timeSeconds: number;
  readonly flags: number;
  /** Names with the same inode are one file. */
  readonly inode: number;
  readonly links: number;
  /** Of a symbolic link. */
  readonly target?: string;
}

export interface UfsFacts {
  readonly label: string;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly fragmentBytes: number;
  readonly groups: number;
  readonly fragmentsPerGroup: number;
  readonly inodesPerGroup: number;
  readonly isClean: boolean;
}

export interface UfsInode {
  readonly number: number;
  readonly type: UfsType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly timeSeconds: number;
  readonly flags: number;
  readonly links: number;
  /** Of 512 bytes. */
  readonly sectors: number;
  /** Twelve direct addresses and three of addresses, in fragments. */
  readonly pointers: readonly number[];
  /** Where a short target lies. */
  readonly inside: Uint8Array;
}

export interface UfsReading extends TreeReading<UfsEntry> {
  readonly facts: UfsFacts;
  readonly inode: (number: number) => UfsInode;
}

const DIRECTORY_MAX_BYTES = 2 ** 28;
const ENTRY_HEAD = 8;
const TYPES: ReadonlyMap<number, UfsType> = new Map([
  ...Object.entries(KINDS).map(([type, { mode }]): [number, UfsType] => [mode, isKind(type) ? type : "socket"]),
  [0o140000, "socket"],
]);

function isKind(type: string): type is keyof typeof KINDS {
  return type in KINDS;
}

interface Image {
  readonly readAt: ReadAt;
  readonly facts: UfsFacts;
  readonly inodesAt: number;
}

/** Every function of what it gives may throw what it throws itself. @throws Problem E_UFS_DAMAGED */
export function readUfs(readAt: ReadAt): UfsReading {
  const image = readSuper(readAt);
  return {
    facts: image.facts,
    ...readTree({
      root: ROOT_INODE,
      inode: (number) => readInode(image, number),
      names: (inode) => namesIn(image, inode),
      entry: (path, inode) => entryOf(image, path, inode),
      content: (inode, maximumBytes) => contentOf(image, inode, maximumBytes),
      damaged,
    }),
    inode: (number) => readInode(image, number),
  };
}

function readSuper(readAt: ReadAt): Image {
  const bytes = readAt(SUPERBLOCK_AT, SUPERBLOCK_BYTES);
  const view = viewOf(bytes);
  if (bytes.length < SUPERBLOCK_BYTES || view.getUint32(SUPER.magic, true) !== MAGIC)
    throw damaged("there is no superblock of UFS2 at 64 KiB");
  const at = (offset: number): number => view.getInt32(offset, true);
  const wide = (offset: number): number => Number(view.getBigInt64(offset, true));
  const facts: UfsFacts = {
    label: textOf(bytes.subarray(SUPER.label, SUPER.label + LABEL_BYTES)),
    blockBytes: at(SUPER.blockBytes),
    fragmentBytes: at(SUPER.fragmentBytes),
    groups: at(SUPER.groups),
    fragmentsPerGroup: at(SUPER.fragmentsPerGroup),
    inodesPerGroup: at(SUPER.inodesPerGroup),
    sizeBytes: wide(SUPER.size) * at(SUPER.fragmentBytes),
    isClean: bytes[SUPER.clean] === 1,
  };
  const { blockBytes, fragmentBytes } = facts;
  const isPower = (value: number): boolean => value > 0 && Number.isInteger(Math.log2(value));
  const makesSense =
    isPower(blockBytes) &&
    isPower(fragmentBytes) &&
    fragmentBytes >= 512 &&
    blockBytes <= 65_536 &&
    blockBytes >= fragmentBytes &&
    blockBytes <= 8 * fragmentBytes &&
    facts.groups > 0 &&
    facts.fragmentsPerGroup > 0 &&
    facts.inodesPerGroup > 0 &&
    wide(SUPER.superblockLocation) === SUPERBLOCK_AT;
  if (!makesSense) throw damaged("its superblock makes no sense");
  return { readAt, facts, inodesAt: at(SUPER.inodesAt) };
}

function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

function readInode({ readAt, facts, inodesAt }: Image, number: number): UfsInode {
  const { inodesPerGroup, fragmentsPerGroup, fragmentBytes, groups } = facts;
  const group = Math.floor(number / inodesPerGroup);
  if (number < ROOT_INODE || group >= groups) throw damaged(`there is no inode ${number}`);
  const at = (group * fragmentsPerGroup + inodesAt) * fragmentBytes + (number % inodesPerGroup) * INODE_BYTES;
  const bytes = readAt(at, INODE_BYTES);
  if (bytes.length < INODE_BYTES) throw damaged(`inode ${number} lies behind its end`);
  const view = viewOf(bytes);
  const mode = view.getUint16(INODE.mode, true);
  const type = TYPES.get(mode & KIND_MASK);
  if (type === undefined) throw damaged(`inode ${number} is of no kind: mode ${mode.toString(8)}`);
  return {
    number,
    type,
    mode: mode & 0o7777,
    uid: view.getUint32(INODE.uid, true),
    gid: view.getUint32(INODE.gid, true),
    sizeBytes: Number(view.getBigUint64(INODE.size, true)),
    timeSeconds: Number(view.getBigInt64(INODE.modified, true)),
    flags: view.getUint32(INODE.flags, true),
    links: view.getInt16(INODE.links, true) & 0xffff,
    sectors: Number(view.getBigUint64(INODE.sectors, true)),
    pointers: Array.from({ length: DIRECT + INDIRECT }, (_, index) => Number(view.getBigInt64(INODE.direct + 8 * index, true))),
    inside: bytes.slice(INODE.direct, INODE.direct + (DIRECT + INDIRECT) * 8),
  };
}

/** Where block after block of a file lies, in fragments; 0 is a hole. */
function* addressesOf(image: Image, inode: UfsInode): Generator<number> {
  const { blockBytes, fragmentBytes } = image.facts;
  const blocks = Math.ceil(inode.sizeBytes / blockBytes);
  const perBlock = blockBytes / 8;
  let given = 0;
  for (; given < Math.min(DIRECT, blocks); given += 1) yield inode.pointers[given] ?? 0;
  function* below(at: number, level: number): Generator<number> {
    const reach = perBlock ** level;
    if (at === 0) {
      for (let block = 0; block < reach && given < blocks; block += 1, given += 1) yield 0;
      return;
    }
    const view = viewOf(image.readAt(at * fragmentBytes, blockBytes));
    if (view.byteLength < blockBytes) throw damaged(`addresses of inode ${inode.number} lie behind its end`);
    for (let index = 0; index < perBlock && given < blocks; index += 1) {
      const address = Number(view.getBigInt64(8 * index, true));
      if (level > 1) yield* below(address, level - 1);
      else {
        given += 1;
        yield address;
      }
    }
  }
  for (let level = 1; level <= INDIRECT && given < blocks; level += 1)
    yield* below(inode.pointers[DIRECT + level - 1] ?? 0, level);
}

function contentOf(image: Image, inode: UfsInode, maximumBytes: number): Uint8Array {
  const { blockBytes, fragmentBytes } = image.facts;
  if (inode.sizeBytes > maximumBytes) {
    throw damaged(`inode ${inode.number} has ${inode.sizeBytes} bytes, and ${maximumBytes} are read here`);
  }
  const bytes = new Uint8Array(inode.sizeBytes);
  let at = 0;
  for (const address of addressesOf(image, inode)) {
    const wanted = Math.min(blockBytes, inode.sizeBytes - at);
    if (address !== 0) {
      const part = image.readAt(address * fragmentBytes, wanted);
      if (part.length < wanted) throw damaged(`content of inode ${inode.number} lies behind its end`);
      bytes.set(part, at);
    }
    at += wanted;
  }
  return bytes;
}

function namesIn(image: Image, inode: UfsInode): readonly Named[] {
  const bytes = contentOf(image, inode, DIRECTORY_MAX_BYTES);
  const view = viewOf(bytes);
  const decoder = new TextDecoder();
  const found: Named[] = [];
  for (let at = 0; at + ENTRY_HEAD <= bytes.length;) {
    const left = DIRECTORY_CHUNK - (at % DIRECTORY_CHUNK);
    const length = view.getUint16(at + 4, true);
    const nameBytes = view.getUint8(at + 7);
    if (length < ENTRY_HEAD + nameBytes || length % 4 !== 0 || length > left)
      throw damaged(`the directory of inode ${inode.number} makes no sense at ${at}`);
    const number = view.getUint32(at, true);
    const name = decoder.decode(bytes.subarray(at + ENTRY_HEAD, at + ENTRY_HEAD + nameBytes));
    if (number !== 0 && name !== "." && name !== "..") found.push({ name, inode: number });
    at += length;
  }
  return found;
}

function entryOf(image: Image, path: string, inode: UfsInode): UfsEntry {
  const { type, mode, uid, gid, sizeBytes, timeSeconds, flags, number, links } = inode;
  const entry = { path, type, mode, uid, gid, sizeBytes, timeSeconds, flags, inode: number, links };
  if (type !== "symlink") return entry;
  const isInside = sizeBytes < inode.inside.length;
  const bytes = isInside ? inode.inside.subarray(0, sizeBytes) : contentOf(image, inode, DIRECTORY_MAX_BYTES);
  return { ...entry, target: new TextDecoder().decode(bytes) };
}

function damaged(what: string): Problem {
  return new Problem({
    code: "E_UFS_DAMAGED",
    message: `reading a UFS2 file system: ${what}`,
    hint: "fsck_ffs(8) of FreeBSD says more; make the image again",
  });
}
