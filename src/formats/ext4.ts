/**
 * An ext4 file system from a list of entries: owners and modes as the list says, without root and without a staged tree, the same
 * image from the same list, and every file where its place in the list puts it. mke2fs can fill a file system from a directory
 * too; but it takes times, owners and links from the machine it runs on.
 *
 * Blocks of 4096 bytes, inodes of 256, checksums over all metadata. No entries with extended attributes, no encryption, quota,
 * orphan file or inline data; a file is at most 128 GiB. What the journal holds is left out of the image: zeros.
 */
import { Problem } from "../base/index.ts";
import {
  between,
  type ByteRange,
  contentBytes,
  type DataRun,
  type FileSystemEntry,
  type FileSystemPlan,
  type Piece,
} from "./blocks.ts";
import { crc32c } from "./crc.ts";
import { type DirectoryPlan, planDirectory, renderDirectory } from "./ext4-directory.ts";
import {
  BLOCK,
  BLOCK_FIELD_BYTES,
  INODE_FLAG,
  JOURNAL_INODE,
  KINDS,
  RESIZE_INODE,
  SUPERBLOCK_AT,
  viewOf,
} from "./ext4-format.ts";
import type { HashSeed } from "./ext4-hash.ts";
import { deviceBlock, extentBlock, extentLeaves, type InodeFields, inodeSeeds } from "./ext4-inode.ts";
import { InodeTables } from "./ext4-pieces.ts";
import { NOWHERE, type Placement, placeIn, type Places, smallestSize, type Wish } from "./ext4-place.ts";
import { renderGroups, renderJournal, renderResize, renderSuper, type SuperFields } from "./ext4-super.ts";
import { contentPieces, mergedPieces, type Placed } from "./pieces.ts";
import { LATEST_SECONDS, LOST_AND_FOUND, planTree, type Tree, type TreeNode } from "./ext4-tree.ts";

export interface Ext4Options {
  /** A whole number of blocks of 4096. Without it the size is what the contents and `freeBytes` need, in whole MiB. */
  readonly sizeBytes?: number;
  /** At most 16 bytes. */
  readonly label: string;
  readonly uuid: string;
  /** A UUID too: the key of the hash that orders names in large directories. */
  readonly hashSeed: string;
  /** When it was made, and the time of directories that nobody listed. */
  readonly timeSeconds: number;
  /** Room to leave when the size is chosen: without it 64 MiB, or 15 % of the contents where that is more. */
  readonly freeBytes?: number;
  /** Inodes to leave at least: without it 1024, or 15 % of those used where that is more. There is one for each 16 KiB anyway. */
  readonly inodesFree?: number;
  /** 0 for none, otherwise 4 MiB to 1 GiB. Without it what mke2fs takes for the size, but not more than 64 MiB. */
  readonly journalBytes?: number;
}

interface Checked {
  readonly label: Uint8Array;
  readonly uuid: Uint8Array;
  readonly hashSeed: Uint8Array;
}

const MEBIBYTE = 2 ** 20;
const LEAST_FREE_BYTES = 64 * MEBIBYTE;
const FREE_PART = 0.15;
const LEAST_FREE_INODES = 1024;
const BLOCKS_PER_INODE = 16384 / BLOCK;
const LOST_AND_FOUND_BLOCKS = 4;
const LEAST_JOURNAL_BLOCKS = 1024;
const MAXIMUM_BLOCKS = 2 ** 32 - 1;
const MAXIMUM_CHOSEN_BYTES = 2 ** 43;
const MAXIMUM_JOURNAL_BYTES = 2 ** 30;
const MAXIMUM_FREE_INODES = 2 ** 30;
const MAXIMUM_LABEL_BYTES = 16;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** `ext2fs_default_journal_size`: below so many blocks a journal of so many. Above the last it stays at 64 MiB. */
const JOURNAL_SIZES = [
  [2048, 0],
  [32768, 1024],
  [256 * 1024, 4096],
  [512 * 1024, 8192],
  [Number.POSITIVE_INFINITY, 16384],
] as const;
/** The resize inode's block numbers begin with twelve of its own; the fourteenth names a block of blocks of numbers. */
const NUMBERS = { own: 12, perBlock: BLOCK / 4, doubleAt: 13 * 4 } as const;

const encoder = new TextEncoder();

/**
 * @throws Problem E_BAD_TREE for entries that no ext4 can hold, E_EXT4_TOO_SMALL when `sizeBytes` is not enough, E_EXT4_OPTIONS
 */
export function planExt4(entries: readonly FileSystemEntry[], options: Ext4Options): FileSystemPlan {
  const checked = checkedOptions(options);
  const tree = planTree(entries, options.timeSeconds);
  const hashSeed = hashWords(checked.hashSeed);
  const directories = new Map(
    tree.nodes.flatMap((node) =>
      node.entry.type === "directory"
        ? [[node, planDirectory(node.children, hashSeed, node.entry.path === LOST_AND_FOUND ? LOST_AND_FOUND_BLOCKS : 1)]]
        : [],
    ),
  );
  const places = placed(
    tree,
    tree.nodes.map((node) => contentBlocks(node, directories.get(node))),
    options,
  );
  return rendered(tree, directories, places, checked, options);
}

/** Blocks of content; a short target and a device's number lie in the inode. */
function contentBlocks({ entry }: TreeNode, directory: DirectoryPlan | undefined): number {
  switch (entry.type) {
    case "directory":
      return directory?.blocks ?? 0;
    case "file":
      return Math.ceil(contentBytes(entry.content) / BLOCK);
    case "symlink":
      return encoder.encode(entry.target).length < BLOCK_FIELD_BYTES ? 0 : 1;
    case "character":
    case "block":
    case "fifo":
      return 0;
  }
}

function placed(tree: Tree, contentBlocks: readonly number[], options: Ext4Options): Places {
  const used = tree.lastInode;
  const spare = options.inodesFree ?? Math.max(LEAST_FREE_INODES, Math.ceil(used * FREE_PART));
  const wish: Wish = {
    contentBlocks,
    inodes: (blocks) => Math.max(used + spare, Math.floor(blocks / BLOCKS_PER_INODE)),
    journalBlocks: (blocks) =>
      options.journalBytes === undefined
        ? (JOURNAL_SIZES.find(([below]) => blocks < below)?.[1] ?? 0)
        : Math.ceil(options.journalBytes / BLOCK),
  };
  const contents = contentBlocks.reduce((sum, count) => sum + count, 0) * BLOCK;
  const free = options.freeBytes ?? Math.max(LEAST_FREE_BYTES, contents * FREE_PART);
  if (contents + free > MAXIMUM_CHOSEN_BYTES)
    throw refused(options, `${contents} bytes of contents and ${free} of room are more than 8 TiB`);
  if (options.sizeBytes === undefined) {
    return smallestSize(wish, Math.ceil(free / BLOCK));
  }
  const places = placeIn(wish, options.sizeBytes / BLOCK);
  if (typeof places !== "number") return places;
  // From its own size on: below 8 MiB there would be no journal, and so less to hold.
  const needed = smallestSize(wish, 0, options.sizeBytes / BLOCK).geometry.blocks * BLOCK;
  throw new Problem({
    code: "E_EXT4_TOO_SMALL",
    message: `planning the ext4 file system ${JSON.stringify(options.label)}: its contents do not fit into its size`,
    details: [
      `needed:  ${needed} bytes, of which ${contents} are contents`,
      `there:   ${options.sizeBytes} bytes`,
      `missing: ${needed - options.sizeBytes} bytes`,
    ],
    hint: "make it larger, leave something out, or leave the size to be chosen",
  });
}

function rendered(
  tree: Tree,
  directories: ReadonlyMap<TreeNode, DirectoryPlan>,
  places: Places,
  checked: Checked,
  options: Ext4Options,
): FileSystemPlan {
  const { geometry } = places;
  const seed = crc32c(checked.uuid);
  const seedOf = inodeSeeds(seed);
  const tables = new InodeTables(geometry, tree.lastInode);
  const metadata: Placed[] = [];
  const contents: Piece[] = [];
  const dataRuns: DataRun[] = [];
  const hidden = { mode: KINDS.file.mode | 0o600, uid: 0, gid: 0, timeSeconds: options.timeSeconds, links: 1, flags: 0 };

  const resize = renderResize(places);
  metadata.push(...resize.blocks);
  const numbers = { kind: "bytes", bytes: resizeBlock(places.resize), blocks: resize.count } as const;
  tables.set(RESIZE_INODE, { ...hidden, sizeBytes: resizeBytes(), block: numbers }, seedOf(RESIZE_INODE));

  const journal = journalOf(places, checked.uuid);
  if (journal !== undefined) {
    const own = seedOf(JOURNAL_INODE);
    metadata.push(journal.superblock, ...leafBlocks(places.journal, own));
    const block = { kind: "extents", placement: places.journal } as const;
    tables.set(JOURNAL_INODE, { ...hidden, sizeBytes: journal.sizeBytes, block }, own);
  }

  // One buffer for all directories: most are a single block, and there are thousands.
  const blocks = new Uint8Array(new ArrayBuffer([...directories.values()].reduce((sum, { blocks }) => sum + blocks, 0) * BLOCK));
  let filled = 0;
  for (const [index, node] of tree.nodes.entries()) {
    const placement = places.contents[index] ?? NOWHERE;
    const directory = directories.get(node);
    const own = seedOf(node.inode);
    tables.set(node.inode, inodeFields(node, placement, directory), own);
    if (placement.leaves.length > 0) metadata.push(...leafBlocks(placement, own));
    if (directory !== undefined) {
      const bytes = blocks.subarray(filled, filled + directory.blocks * BLOCK);
      filled += bytes.length;
      renderDirectory(bytes, directory, { inode: node.inode, parent: node.parent, seed: own });
      contents.push(...contentPieces({ kind: "bytes", bytes }, placement.extents));
    } else if (node.entry.type === "file") {
      for (const piece of contentPieces(node.entry.content, placement.extents)) {
        contents.push(piece);
        if (piece.kind === "file") dataRuns.push({ file: piece.file, at: piece.at, sizeBytes: piece.sizeBytes });
      }
    } else if (node.entry.type === "symlink" && placement.extents.length > 0) {
      contents.push(...contentPieces({ kind: "bytes", bytes: encoder.encode(node.entry.target) }, placement.extents));
    }
  }

  const inodes = geometry.inodesPerGroup * geometry.groups.length;
  const freeInodes = inodes - tree.lastInode;
  const inGroup = directoriesByGroup(tree, geometry.inodesPerGroup);
  const groups = renderGroups(places, { lastInode: tree.lastInode, directoriesIn: (group) => inGroup.get(group) ?? 0, seed });
  const fields: SuperFields = {
    ...checked,
    timeSeconds: options.timeSeconds,
    journal: journal && { block: extentBlock(places.journal), sizeBytes: journal.sizeBytes },
    journalBlocks: journal === undefined ? 0 : journal.sizeBytes / BLOCK,
    freeInodes,
  };
  metadata.push(...tables.blocks(), ...groups.bitmaps);
  for (const [number, group] of geometry.groups.entries()) {
    if (group.superBlocks === 0) continue;
    const at = group.first * BLOCK;
    metadata.push({ at: number === 0 ? SUPERBLOCK_AT : at, bytes: renderSuper(places, fields, number) });
    metadata.push({ at: at + BLOCK, bytes: groups.descriptors });
  }

  const sizeBytes = options.sizeBytes ?? geometry.blocks * BLOCK;
  const freeBytes = places.freeBlocks * BLOCK;
  return {
    image: {
      sizeBytes,
      pieces: mergedPieces([...contents, ...metadata.map((placed) => ({ ...placed, kind: "bytes" as const }))]),
      free: freeRanges(places, sizeBytes),
    },
    usage: { sizeBytes, usedBytes: geometry.blocks * BLOCK - freeBytes, freeBytes, inodes, freeInodes },
    dataRuns,
  };
}

/** Blocks in no use: behind the last content, and those that a last group not worth its tables would have had. */
function freeRanges({ geometry, end }: Places, sizeBytes: number): readonly ByteRange[] {
  const taken = geometry.taken.map(({ start, count }) => ({ at: start * BLOCK, sizeBytes: count * BLOCK }));
  return between(taken, end * BLOCK, sizeBytes);
}

function inodeFields({ entry, links }: TreeNode, placement: Placement, directory: DirectoryPlan | undefined): InodeFields {
  const flags = directory?.kind === "indexed" ? INODE_FLAG.index : 0;
  const { uid, gid, timeSeconds } = entry;
  const fields = { mode: KINDS[entry.type].mode | entry.mode, uid, gid, timeSeconds, links, flags };
  const extents = { kind: "extents", placement } as const;
  switch (entry.type) {
    case "directory":
      return { ...fields, sizeBytes: (directory?.blocks ?? 0) * BLOCK, block: extents };
    case "file":
      return { ...fields, sizeBytes: contentBytes(entry.content), block: extents };
    case "symlink": {
      const bytes = encoder.encode(entry.target);
      const block = placement.extents.length === 0 ? ({ kind: "bytes", bytes, blocks: 0 } as const) : extents;
      return { ...fields, sizeBytes: bytes.length, block };
    }
    case "character":
    case "block":
      return { ...fields, sizeBytes: 0, block: { kind: "bytes", bytes: deviceBlock(entry.major, entry.minor), blocks: 0 } };
    case "fifo":
      return { ...fields, sizeBytes: 0, block: { kind: "bytes", bytes: new Uint8Array(), blocks: 0 } };
  }
}

function journalOf(places: Places, uuid: Uint8Array): { readonly sizeBytes: number; readonly superblock: Placed } | undefined {
  const [first] = places.journal.extents;
  if (first === undefined) return undefined;
  const blocks = places.journal.extents.reduce((sum, { count }) => sum + count, 0);
  return { sizeBytes: blocks * BLOCK, superblock: { at: first.start * BLOCK, bytes: renderJournal(blocks, uuid) } };
}

function leafBlocks(placement: Placement, seed: number): readonly Placed[] {
  return extentLeaves(placement, seed).map(({ block, bytes }) => ({ at: block * BLOCK, bytes }));
}

/** As if all that the numbers could name were there. */
function resizeBytes(): number {
  return (NUMBERS.own + NUMBERS.perBlock + NUMBERS.perBlock ** 2) * BLOCK;
}

function resizeBlock(numbers: number): Uint8Array {
  const bytes = new Uint8Array(BLOCK_FIELD_BYTES);
  viewOf(bytes).setUint32(NUMBERS.doubleAt, numbers, true);
  return bytes;
}

function directoriesByGroup(tree: Tree, inodesPerGroup: number): ReadonlyMap<number, number> {
  const found = new Map<number, number>();
  for (const { inode, entry } of tree.nodes) {
    if (entry.type !== "directory") continue;
    const group = Math.floor((inode - 1) / inodesPerGroup);
    found.set(group, (found.get(group) ?? 0) + 1);
  }
  return found;
}

function checkedOptions(options: Ext4Options): Checked {
  const label = encoder.encode(options.label);
  if (label.length > MAXIMUM_LABEL_BYTES || options.label.includes("\0"))
    throw refused(options, `a label has at most ${MAXIMUM_LABEL_BYTES} bytes, none of them NUL`);
  for (const option of ["timeSeconds", "freeBytes", "inodesFree", "journalBytes"] as const) {
    const value = options[option] ?? 0;
    if (!Number.isSafeInteger(value) || value < 0) throw refused(options, `${option} is a whole number, not ${value}`);
  }
  const { sizeBytes, journalBytes } = options;
  if (sizeBytes !== undefined && (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes % BLOCK !== 0))
    throw refused(options, `its size is a whole number of blocks of ${BLOCK} bytes, not ${sizeBytes}`);
  if (options.timeSeconds > LATEST_SECONDS) throw refused(options, `timeSeconds is at most ${LATEST_SECONDS}`);
  if (sizeBytes !== undefined && sizeBytes > MAXIMUM_BLOCKS * BLOCK) throw refused(options, "its size is at most 16 TiB");
  const least = LEAST_JOURNAL_BLOCKS * BLOCK;
  if (journalBytes !== undefined && journalBytes !== 0 && (journalBytes < least || journalBytes > MAXIMUM_JOURNAL_BYTES))
    throw refused(options, `a journal has ${least} to ${MAXIMUM_JOURNAL_BYTES} bytes; 0 is none`);
  if ((options.inodesFree ?? 0) > MAXIMUM_FREE_INODES) throw refused(options, `inodesFree is at most ${MAXIMUM_FREE_INODES}`);
  return { label, uuid: uuidBytes(options, "uuid"), hashSeed: uuidBytes(options, "hashSeed") };
}

function uuidBytes(options: Ext4Options, option: "uuid" | "hashSeed"): Uint8Array {
  const value = options[option];
  if (!UUID.test(value)) throw refused(options, `${option} has to be a UUID, not ${JSON.stringify(value)}`);
  return Uint8Array.fromHex(value.replaceAll("-", ""));
}

function hashWords(seed: Uint8Array): HashSeed {
  const word = (index: number): number => viewOf(seed).getUint32(4 * index, true);
  return [word(0), word(1), word(2), word(3)];
}

function refused(options: Ext4Options, what: string): Problem {
  return new Problem({
    code: "E_EXT4_OPTIONS",
    message: `planning the ext4 file system ${JSON.stringify(options.label)}: ${what}`,
    exit: 2,
  });
}
