/** The superblock of an ext4 file system that somebody else may have made, and its group descriptors. */
import { Problem } from "../base/index.ts";
import { crc32c } from "./crc.ts";
import type { ReadAt } from "./elf.ts";
import {
  COMPATIBLE,
  DESCRIPTOR,
  DESCRIPTOR_BYTES,
  INCOMPATIBLE,
  MAGIC,
  READ_ONLY_COMPATIBLE,
  SUPER,
  SUPERBLOCK_AT,
  SUPERBLOCK_BYTES,
  viewOf,
} from "./ext4-format.ts";

/** What it says of itself. */
export interface Ext4Facts {
  readonly label: string;
  readonly uuid: string;
  readonly blockBytes: number;
  /** Of the file system; what it lies in may be larger. */
  readonly sizeBytes: number;
  readonly freeBytes: number;
  readonly inodes: number;
  readonly freeInodes: number;
  /** As dumpe2fs calls them; those without a name here as their field and bit. */
  readonly features: readonly string[];
  readonly madeSeconds: number;
  readonly writtenSeconds: number;
  /** Unmounted, without errors, and with nothing in the journal that has to be done first. */
  readonly clean: boolean;
}

export interface Superblock {
  readonly facts: Ext4Facts;
  readonly blockBytes: number;
  readonly blocks: number;
  readonly inodes: number;
  readonly inodesPerGroup: number;
  readonly inodeBytes: number;
  readonly descriptorBytes: number;
  /** Where the descriptors begin. */
  readonly descriptorsAt: number;
  readonly wide: boolean;
  /** Where checksums begin; undefined where there are none. */
  readonly seed: number | undefined;
}

const FEATURES: readonly (readonly [field: number, name: string, bit: number, called: string])[] = [
  [SUPER.compatible, "compatible", COMPATIBLE.hasJournal, "has_journal"],
  [SUPER.compatible, "compatible", COMPATIBLE.extAttr, "ext_attr"],
  [SUPER.compatible, "compatible", COMPATIBLE.resizeInode, "resize_inode"],
  [SUPER.compatible, "compatible", COMPATIBLE.dirIndex, "dir_index"],
  [SUPER.incompatible, "incompatible", INCOMPATIBLE.fileType, "filetype"],
  [SUPER.incompatible, "incompatible", INCOMPATIBLE.recover, "needs_recovery"],
  [SUPER.incompatible, "incompatible", INCOMPATIBLE.extents, "extent"],
  [SUPER.incompatible, "incompatible", INCOMPATIBLE.wide, "64bit"],
  [SUPER.incompatible, "incompatible", INCOMPATIBLE.flexGroups, "flex_bg"],
  [SUPER.incompatible, "incompatible", INCOMPATIBLE.checksumSeed, "metadata_csum_seed"],
  [SUPER.readOnlyCompatible, "read-only", READ_ONLY_COMPATIBLE.sparseSuper, "sparse_super"],
  [SUPER.readOnlyCompatible, "read-only", READ_ONLY_COMPATIBLE.largeFile, "large_file"],
  [SUPER.readOnlyCompatible, "read-only", READ_ONLY_COMPATIBLE.hugeFile, "huge_file"],
  [SUPER.readOnlyCompatible, "read-only", READ_ONLY_COMPATIBLE.dirNlink, "dir_nlink"],
  [SUPER.readOnlyCompatible, "read-only", READ_ONLY_COMPATIBLE.extraIsize, "extra_isize"],
  [SUPER.readOnlyCompatible, "read-only", READ_ONLY_COMPATIBLE.metadataChecksum, "metadata_csum"],
];
const READABLE = Object.values(INCOMPATIBLE).reduce((sum: number, bit) => sum | bit, 0);
const CLEAN = 1;
const LOG_BLOCK_MOST = 6;
const SMALL_DESCRIPTOR_BYTES = 32;
const SMALL_INODE_BYTES = 128;

/** @throws Problem E_EXT4_DAMAGED, E_EXT4_UNREAD */
export function readSuper(readAt: ReadAt): Superblock {
  const bytes = readAt(SUPERBLOCK_AT, SUPERBLOCK_BYTES);
  const view = viewOf(bytes);
  if (bytes.length < SUPERBLOCK_BYTES || view.getUint16(SUPER.magic, true) !== MAGIC) throw damaged("there is no superblock");
  const u8 = (at: number): number => view.getUint8(at);
  const u16 = (at: number): number => view.getUint16(at, true);
  const u32 = (at: number): number => view.getUint32(at, true);
  const incompatible = u32(SUPER.incompatible);
  const has = (field: number, bit: number): boolean => (u32(field) & bit) !== 0;
  const summed = has(SUPER.readOnlyCompatible, READ_ONLY_COMPATIBLE.metadataChecksum);
  if (summed && crc32c(bytes.subarray(0, SUPER.checksum)) !== u32(SUPER.checksum))
    throw damaged("the superblock's checksum is wrong");
  if ((incompatible & ~READABLE) !== 0) throw unread(`it has features that are not read here: ${features(view).join(" ")}`);

  const wide = has(SUPER.incompatible, INCOMPATIBLE.wide);
  const high = (at: number): number => (wide ? u32(at) * 2 ** 32 : 0);
  const blocks = u32(SUPER.blocks) + high(SUPER.blocksHigh);
  const logBlockSize = u32(SUPER.logBlockSize);
  const blockBytes = 2 ** (10 + logBlockSize);
  const inodeBytes = u32(SUPER.revision) === 0 ? SMALL_INODE_BYTES : u16(SUPER.inodeBytes);
  const descriptorBytes = wide ? u16(SUPER.descriptorBytes) : SMALL_DESCRIPTOR_BYTES;
  const inodesPerGroup = u32(SUPER.inodesPerGroup);
  if (
    logBlockSize > LOG_BLOCK_MOST ||
    !Number.isSafeInteger(blocks * blockBytes) ||
    inodeBytes < SMALL_INODE_BYTES ||
    inodeBytes > blockBytes ||
    (wide && (descriptorBytes < DESCRIPTOR_BYTES || descriptorBytes > blockBytes)) ||
    inodesPerGroup === 0
  )
    throw damaged("the superblock makes no sense");

  const uuid = bytes.subarray(SUPER.uuid, SUPER.uuid + 16);
  const ownSeed = has(SUPER.incompatible, INCOMPATIBLE.checksumSeed);
  return {
    facts: {
      label: text(bytes.subarray(SUPER.label, SUPER.label + 16)),
      uuid: uuid.toHex().replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"),
      blockBytes,
      sizeBytes: blocks * blockBytes,
      freeBytes: (u32(SUPER.freeBlocks) + high(SUPER.freeBlocksHigh)) * blockBytes,
      inodes: u32(SUPER.inodes),
      freeInodes: u32(SUPER.freeInodes),
      features: features(view),
      madeSeconds: u32(SUPER.madeTime) + u8(SUPER.madeTimeHigh) * 2 ** 32,
      writtenSeconds: u32(SUPER.writeTime) + u8(SUPER.writeTimeHigh) * 2 ** 32,
      clean: u16(SUPER.state) === CLEAN && !has(SUPER.incompatible, INCOMPATIBLE.recover),
    },
    blockBytes,
    blocks,
    inodes: u32(SUPER.inodes),
    inodesPerGroup,
    inodeBytes,
    descriptorBytes,
    descriptorsAt: (u32(SUPER.firstDataBlock) + 1) * blockBytes,
    wide,
    seed: summed ? (ownSeed ? u32(SUPER.checksumSeed) : crc32c(uuid)) : undefined,
  };
}

/** Where in the image an inode lies. */
export function inodeAt(readAt: ReadAt, superblock: Superblock, number: number): number {
  const { blockBytes, blocks, descriptorBytes, descriptorsAt, inodeBytes, inodes, inodesPerGroup, wide } = superblock;
  if (number < 1 || number > inodes) throw damaged(`it speaks of inode ${number}, and has ${inodes}`);
  const group = Math.floor((number - 1) / inodesPerGroup);
  const descriptor = readAt(descriptorsAt + group * descriptorBytes, descriptorBytes);
  if (descriptor.length < descriptorBytes) throw damaged(`the descriptor of group ${group} is missing`);
  const view = viewOf(descriptor);
  const high = wide ? view.getUint32(DESCRIPTOR.inodeTableHigh, true) * 2 ** 32 : 0;
  const table = view.getUint32(DESCRIPTOR.inodeTable, true) + high;
  if (table >= blocks) throw damaged(`the inode table of group ${group} lies behind its end`);
  return table * blockBytes + ((number - 1) % inodesPerGroup) * inodeBytes;
}

export function damaged(what: string): Problem {
  return new Problem({
    code: "E_EXT4_DAMAGED",
    message: `reading an ext4 file system: ${what}`,
    hint: "e2fsck -fn says what else is wrong with it",
  });
}

export function unread(what: string): Problem {
  return new Problem({ code: "E_EXT4_UNREAD", message: `reading an ext4 file system: ${what}` });
}

export function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

function features(view: DataView): readonly string[] {
  const found: string[] = [];
  for (const field of [SUPER.compatible, SUPER.incompatible, SUPER.readOnlyCompatible]) {
    let left = view.getUint32(field, true);
    for (const [of, , bit, called] of FEATURES) {
      if (of !== field || (left & bit) === 0) continue;
      found.push(called);
      left &= ~bit;
    }
    const name = FEATURES.find(([of]) => of === field)?.[1] ?? "";
    for (let bit = 0; bit < 32; bit += 1) if (((left >>> bit) & 1) === 1) found.push(`${name}:${bit}`);
  }
  return found;
}
