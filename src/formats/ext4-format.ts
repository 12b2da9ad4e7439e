/**
 * The numbers of ext4 that its writer and its reader share: where a field lies in its structure, and what a bit means. All are
 * little-endian. Sources: Documentation/filesystems/ext4 of the Linux kernel, fs/ext4/ext4.h, and lib/ext2fs of e2fsprogs.
 */

export const BLOCK = 4096;
export const INODE_BYTES = 256;
export const DESCRIPTOR_BYTES = 64;
/** One bit of a bitmap block for each block of a group. */
export const GROUP_BLOCKS = 8 * BLOCK;
/** The first superblock; the others begin their group. */
export const SUPERBLOCK_AT = 1024;
export const SUPERBLOCK_BYTES = 1024;

export const MAGIC = 0xef53;
export const ROOT_INODE = 2;
export const RESIZE_INODE = 7;
export const JOURNAL_INODE = 8;
/** The first that is not reserved, by custom that of lost+found. */
export const FIRST_INODE = 11;

export const COMPATIBLE = { hasJournal: 0x4, extAttr: 0x8, resizeInode: 0x10, dirIndex: 0x20 } as const;
export const INCOMPATIBLE = {
  fileType: 0x2,
  recover: 0x4,
  extents: 0x40,
  wide: 0x80,
  flexGroups: 0x200,
  checksumSeed: 0x2000,
} as const;
export const READ_ONLY_COMPATIBLE = {
  sparseSuper: 0x1,
  largeFile: 0x2,
  hugeFile: 0x8,
  dirNlink: 0x20,
  extraIsize: 0x40,
  metadataChecksum: 0x400,
} as const;

/** Offsets in the superblock. */
export const SUPER = {
  inodes: 0x00,
  blocks: 0x04,
  reservedBlocks: 0x08,
  freeBlocks: 0x0c,
  freeInodes: 0x10,
  firstDataBlock: 0x14,
  logBlockSize: 0x18,
  logClusterSize: 0x1c,
  blocksPerGroup: 0x20,
  clustersPerGroup: 0x24,
  inodesPerGroup: 0x28,
  writeTime: 0x30,
  maximumMounts: 0x36,
  magic: 0x38,
  state: 0x3a,
  errors: 0x3c,
  checkTime: 0x40,
  revision: 0x4c,
  firstInode: 0x54,
  inodeBytes: 0x58,
  group: 0x5a,
  compatible: 0x5c,
  incompatible: 0x60,
  readOnlyCompatible: 0x64,
  uuid: 0x68,
  label: 0x78,
  reservedDescriptorBlocks: 0xce,
  journalInode: 0xe0,
  hashSeed: 0xec,
  hashVersion: 0xfc,
  journalBackup: 0xfd,
  descriptorBytes: 0xfe,
  mountOptions: 0x100,
  madeTime: 0x108,
  journalBlocks: 0x10c,
  journalSize: 0x14c,
  blocksHigh: 0x150,
  reservedBlocksHigh: 0x154,
  freeBlocksHigh: 0x158,
  minimumExtra: 0x15c,
  wantedExtra: 0x15e,
  flags: 0x160,
  logGroupsPerFlex: 0x174,
  checksumType: 0x175,
  overhead: 0x248,
  checksumSeed: 0x270,
  writeTimeHigh: 0x274,
  madeTimeHigh: 0x276,
  checkTimeHigh: 0x277,
  checksum: 0x3fc,
} as const;

/** Offsets in a group descriptor; the upper halves of checksums lie apart. */
export const DESCRIPTOR = {
  blockBitmap: 0x00,
  inodeBitmap: 0x04,
  inodeTable: 0x08,
  freeBlocks: 0x0c,
  freeInodes: 0x0e,
  directories: 0x10,
  flags: 0x12,
  blockBitmapChecksum: 0x18,
  inodeBitmapChecksum: 0x1a,
  unusedInodes: 0x1c,
  checksum: 0x1e,
  blockBitmapHigh: 0x20,
  inodeBitmapHigh: 0x24,
  inodeTableHigh: 0x28,
  blockBitmapChecksumHigh: 0x38,
  inodeBitmapChecksumHigh: 0x3a,
} as const;

/** Offsets in an inode. */
export const INODE = {
  mode: 0x00,
  uid: 0x02,
  size: 0x04,
  accessTime: 0x08,
  changeTime: 0x0c,
  modifyTime: 0x10,
  gid: 0x18,
  links: 0x1a,
  sectors: 0x1c,
  flags: 0x20,
  block: 0x28,
  generation: 0x64,
  sizeHigh: 0x6c,
  sectorsHigh: 0x74,
  uidHigh: 0x78,
  gidHigh: 0x7a,
  checksum: 0x7c,
  extraBytes: 0x80,
  checksumHigh: 0x82,
  changeTimeExtra: 0x84,
  modifyTimeExtra: 0x88,
  accessTimeExtra: 0x8c,
  madeTime: 0x90,
  madeTimeExtra: 0x94,
} as const;
/** What the fields above cover behind the first 128 bytes: `i_extra_isize`. */
export const EXTRA_BYTES = 32;
/** The 15 words of `i_block`: extents, block numbers, a device's number, or a short target. */
export const BLOCK_FIELD_BYTES = 60;

export const INODE_FLAG = { index: 0x1000, extents: 0x80000, inlineData: 0x10000000 } as const;

/** The kind of a file: the upper bits of its mode, and the byte in its directory entry. */
export const KINDS = {
  file: { mode: 0o100000, entry: 1 },
  directory: { mode: 0o040000, entry: 2 },
  character: { mode: 0o020000, entry: 3 },
  block: { mode: 0o060000, entry: 4 },
  fifo: { mode: 0o010000, entry: 5 },
  symlink: { mode: 0o120000, entry: 7 },
} as const;
export const KIND_MASK = 0o170000;

/** Extent trees (fs/ext4/ext4_extents.h): a header and entries of 12 bytes each, and in a block a checksum behind the last. */
export const EXTENT = { magic: 0xf30a, entryBytes: 12, rootEntries: 4, leafEntries: 340, maximumBlocks: 32768 } as const;

/** A directory's block ends in an entry of this form that no reader sees, with the block's checksum. */
export const DIRECTORY_TAIL = { bytes: 12, kind: 0xde } as const;

/** Blocks from `start` on. */
export interface Run {
  readonly start: number;
  readonly count: number;
}

/** `count` blocks of a file, from its block `logical` on, at the file system's block `start`. */
export interface Extent extends Run {
  readonly logical: number;
}

/** A view of the same bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
