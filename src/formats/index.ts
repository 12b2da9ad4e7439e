/**
 * formats: codecs, bytes to values and back, without I/O. Each is checked against another reader or writer of its format.
 *
 * Readers of what comes from outside pull (an `AsyncIterable` in, an async generator out) or read at offsets, hold a bounded
 * amount, and throw a `Problem` for anything that is not as the format says.
 */
export {
  between,
  type BlockImage,
  type ByteRange,
  type Content,
  contentBytes,
  type FileSystemEntry,
  type FileSystemPlan,
  type Piece,
  shifted,
  shiftedFree,
} from "./blocks.ts";
export { crc32 } from "./crc.ts";
export {
  type Disk,
  type GptReading,
  guidBytes,
  guidText,
  layOutDisk,
  type Partition,
  PARTITION_TYPE,
  type PartitionWish,
  planGpt,
  readGpt,
} from "./gpt.ts";
export { MBR_TYPE, type MbrPartition, type MbrReading, mbrSector, readMbr } from "./mbr.ts";
export { type MtreeEntry, parseMtree, renderMtree, visText } from "./mtree.ts";
export { type Compression, compressZstd, decompress, sniffCompression } from "./compression.ts";
export { type ElfAbiTag, type ElfInfo, MAXIMUM_TABLE_BYTES, type ReadAt, readAtOf, readElf } from "./elf.ts";
export { type Ext4Options, planExt4 } from "./ext4.ts";
export { type Ext4Entry, type Ext4Facts, type Ext4Reading, type Ext4Type, readExt4 } from "./ext4-read.ts";
export { paddingOf, type TarMember, type TarNames, type TarType } from "./tar.ts";
export { readTar, type TarEntry, type TarLimits } from "./tar-read.ts";
export { concatenate, tarArchive, tarEnd, tarHeader } from "./tar-write.ts";
export { parseUcl, renderUcl, type UclObject } from "./ucl.ts";
export { pkgBase32 } from "./zbase32.ts";
export { encodeNar, type NarEntry, type NarNode } from "./nar.ts";
export { NarWriter } from "./nar-write.ts";
export { HASH_BYTES, type HashTable, hashTable, scanHashes } from "./scan.ts";
export { type FatEntry, fatSizeFor, type FatWish, planFat } from "./fat.ts";
export { type FatFile, type FatReading, readFat, readRuns, type Run } from "./fat-read.ts";
export { ISO_ESP_AT, type IsoOptions, type IsoPlan, type PackedFile, planIso } from "./iso9660.ts";
export { cpioArchive, type CpioEntry, type CpioReading, readCpio } from "./cpio.ts";
export { planQcow2, QCOW2_CLUSTER_BYTES, type Qcow2Header, readQcow2Header } from "./qcow2.ts";
export { planUfs, type UfsOptions } from "./ufs.ts";
export { readUfs, type UfsEntry, type UfsFacts, type UfsReading } from "./ufs-read.ts";
export { planDynamicVhd, planFixedVhd, VHD_BLOCK_BYTES, vhdFooter, type VhdWish } from "./vhd.ts";
