/**
 * The numbers of UFS2 that its writer and its reader share. Blocks of 32 KiB in eight fragments of 4 KiB, little-endian: what newfs(8) and
 * makefs(8) make today. All addresses count fragments. Sources: sys/ufs/ffs/fs.h, sys/ufs/ufs/{dinode,dir}.h of FreeBSD, and what
 * the kernel asks of a superblock (validate_sblock in ffs_subr.c).
 */
export const BLOCK = 32_768;
export const FRAGMENT = 4_096;
export const FRAGMENTS = BLOCK / FRAGMENT;
/** di_blocks and the smallest reach of a disk. */
export const SECTOR = 512;
export const INODE_BYTES = 256;
export const INODES_PER_BLOCK = BLOCK / INODE_BYTES;
export const INODES_PER_FRAGMENT = FRAGMENT / INODE_BYTES;
export const POINTERS = BLOCK / 8;
export const DIRECT = 12;
export const INDIRECT = 3;

export const SUPERBLOCK_AT = 65_536;
/** struct fs. */
export const SUPERBLOCK_BYTES = 1_376;
/** What is reserved for it. */
export const SUPERBLOCK_ROOM = 8_192;
export const MAGIC = 0x19540119;
export const GROUP_MAGIC = 0x090255;
export const ROOT_INODE = 2;
/** The first of the entries besides the root. */
export const FIRST_INODE = 3;
/** Shorter targets lie in the inode, where the addresses are otherwise. */
export const TARGET_IN_INODE = (DIRECT + INDIRECT) * 8;
/** Entries of a directory do not cross a multiple of this. */
export const DIRECTORY_CHUNK = 512;
/** What newfs counts for a disk whose largest transfer is 128 KiB. */
export const CONTIGUOUS_MAX = 4;

/** 12 blocks, and those of which a single, a double and a triple indirect block have the addresses; fs_maxfilesize. */
export const FILE_MAX_BYTES =
  BigInt(BLOCK) * BigInt(DIRECT) - 1n + BigInt(BLOCK) * (BigInt(POINTERS) + BigInt(POINTERS) ** 2n + BigInt(POINTERS) ** 3n);

/** Offsets in struct fs. */
export const SUPER = {
  superblockAt: 8,
  groupAt: 12,
  inodesAt: 16,
  dataAt: 20,
  groups: 44,
  blockBytes: 48,
  fragmentBytes: 52,
  fragments: 56,
  minimumFree: 60,
  blockMask: 72,
  fragmentMask: 76,
  blockShift: 80,
  fragmentShift: 84,
  contiguousMax: 88,
  blocksPerGroupMax: 92,
  fragmentsShift: 96,
  sectorShift: 100,
  superblockBytes: 104,
  pointers: 116,
  inodesPerBlock: 120,
  identity: 144,
  summaryBytes: 156,
  groupBytes: 160,
  inodesPerGroup: 184,
  fragmentsPerGroup: 188,
  oldTotals: 192,
  clean: 209,
  oldFlags: 211,
  label: 680,
  blockBytesMax: 860,
  providerFragments: 872,
  superblockLocation: 1000,
  totals: 1008,
  time: 1072,
  size: 1080,
  dataSize: 1088,
  summaryAt: 1096,
  averageFileBytes: 1196,
  averageFilesPerDirectory: 1200,
  flags: 1312,
  clusterSums: 1316,
  targetInInode: 1320,
  oldInodeFormat: 1324,
  fileMaxBytes: 1328,
  blockRest: 1336,
  fragmentRest: 1344,
  magic: 1372,
} as const;
export const LABEL_BYTES = 32;

/** Offsets in struct cg. */
export const GROUP = {
  magic: 4,
  number: 12,
  fragments: 20,
  directories: 24,
  freeBlocks: 28,
  freeInodes: 32,
  freeFragments: 36,
  rotor: 40,
  fragmentRotor: 44,
  inodeRotor: 48,
  runs: 52,
  usedInodesAt: 92,
  freeAt: 96,
  endAt: 100,
  clusterSumsAt: 104,
  clustersAt: 108,
  clusterBlocks: 112,
  inodes: 116,
  initialised: 120,
  time: 136,
  maps: 168,
} as const;

/** Offsets in struct ufs2_dinode. */
export const INODE = {
  mode: 0,
  links: 2,
  uid: 4,
  gid: 8,
  blockBytes: 12,
  size: 16,
  sectors: 24,
  accessed: 32,
  modified: 40,
  changed: 48,
  born: 56,
  generation: 80,
  flags: 88,
  direct: 112,
  indirect: 208,
} as const;

/** The type of a mode, and of a directory's entry (DT_*). */
export const KINDS = {
  fifo: { mode: 0o010000, entry: 1 },
  character: { mode: 0o020000, entry: 2 },
  directory: { mode: 0o040000, entry: 4 },
  block: { mode: 0o060000, entry: 6 },
  file: { mode: 0o100000, entry: 8 },
  symlink: { mode: 0o120000, entry: 10 },
} as const;
export const KIND_MASK = 0o170000;

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}
