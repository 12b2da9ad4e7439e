/**
 * What a FAT file system of a size is made of: which of the three kinds it is, how large a cluster is, where each part lies.
 *
 * A reader tells the kind by the number of clusters and by nothing else (Microsoft FAT specification, "FAT type determination"):
 * up to 4084 is FAT12, up to 65524 FAT16. Because some readers count wrong by a few, a writer stays 16 away from both.
 */

export const FAT_SECTOR = 512;
/** FAT12 has fewer clusters than the first, FAT16 fewer than the second. */
export const FAT16_CLUSTERS = 4085;
export const FAT32_CLUSTERS = 65525;
const CLUSTERS_MAX = 0x0ffffff5;
const MARGIN = 16;
const SIZE_MIN = 64 << 10;

export type FatBits = 12 | 16 | 32;

export interface FatGeometry {
  readonly bits: FatBits;
  readonly sectors: number;
  readonly sectorsPerCluster: number;
  readonly clusterBytes: number;
  readonly reservedSectors: number;
  /** Of one of the two tables. */
  readonly fatSectors: number;
  /** 32 bytes each; 0 of FAT32, whose root lies in clusters. */
  readonly rootSlots: number;
  readonly clusters: number;
  /** Bytes from the start: the first table, the root of FAT12 and FAT16, cluster number 2. */
  readonly fatAt: number;
  readonly rootAt: number;
  readonly dataAt: number;
}

/**
 * Smallest sizes of a kind and its clusters, largest first: Microsoft's tables, but that an EFI system partition of 64 MiB is
 * FAT32, as firmware wants it.
 */
const KINDS: readonly { readonly sectors: number; readonly bits: FatBits; readonly sectorsPerCluster: number }[] = [
  { sectors: 67108865, bits: 32, sectorsPerCluster: 64 },
  { sectors: 33554433, bits: 32, sectorsPerCluster: 32 },
  { sectors: 16777217, bits: 32, sectorsPerCluster: 16 },
  { sectors: 532481, bits: 32, sectorsPerCluster: 8 },
  { sectors: 131072, bits: 32, sectorsPerCluster: 1 },
  { sectors: 32681, bits: 16, sectorsPerCluster: 4 },
  { sectors: 8401, bits: 16, sectorsPerCluster: 2 },
  { sectors: 4097, bits: 12, sectorsPerCluster: 4 },
  { sectors: 0, bits: 12, sectorsPerCluster: 1 },
];

/** @throws RangeError for a size that is no whole sectors, is below 64 KiB, or needs more clusters or sectors than there are numbers */
export function fatGeometry(sizeBytes: number, rootSlots: number): FatGeometry {
  const sectors = sizeBytes / FAT_SECTOR;
  const kind = KINDS.find((one) => sectors >= one.sectors);
  if (kind === undefined || !Number.isInteger(sectors) || sizeBytes < SIZE_MIN || sectors > 0xffffffff)
    throw new RangeError(`a FAT file system of ${sizeBytes} bytes`);
  const { bits, sectorsPerCluster } = kind;
  const reservedSectors = bits === 32 ? 32 : 1;
  const slots = bits === 32 ? 0 : Math.max(512, Math.ceil(rootSlots / 16) * 16);
  const fixed = reservedSectors + slots / 16;

  let fatSectors = 0;
  let clusters = 0;
  // A larger table leaves fewer clusters, which need no larger table: this ends.
  for (let wanted = 1; wanted > fatSectors;) {
    fatSectors = wanted;
    clusters = Math.floor((sectors - fixed - 2 * fatSectors) / sectorsPerCluster);
    wanted = Math.ceil(((clusters + 2) * bits) / 8 / FAT_SECTOR);
  }
  const [low, high] =
    bits === 12 ? [1, FAT16_CLUSTERS] : bits === 16 ? [FAT16_CLUSTERS, FAT32_CLUSTERS] : [FAT32_CLUSTERS, CLUSTERS_MAX];
  if (clusters < low + (bits === 12 ? 0 : MARGIN) || clusters >= high - MARGIN)
    throw new RangeError(`a FAT file system of ${sizeBytes} bytes, ${rootSlots} slots in its root, and ${clusters} clusters`);
  const rootAt = (reservedSectors + 2 * fatSectors) * FAT_SECTOR;
  return {
    bits,
    sectors,
    sectorsPerCluster,
    clusterBytes: sectorsPerCluster * FAT_SECTOR,
    reservedSectors,
    fatSectors,
    rootSlots: slots,
    clusters,
    fatAt: reservedSectors * FAT_SECTOR,
    rootAt,
    dataAt: rootAt + slots * 32,
  };
}
