/**
 * Writes and reads the partition table of a PC disk of the old kind (MBR): up to four partitions in the first sector.
 *
 * Ends in cylinders, heads and sectors are written for a geometry of 255 heads and 63 sectors, as every tool has done since
 * disks outgrew it; nobody boots by them.
 */
import type { ReadAt } from "./elf.ts";

const SECTOR = 512;
const TABLE = 446;
const ENTRY_BYTES = 16;
const ENTRIES = 4;
const SIGNATURE = 0xaa55;
const HEADS = 255;
const SECTORS_PER_TRACK = 63;
const CYLINDERS_MAX = 1023;
/** What the identifiers of partitions say: FAT12, FAT16 of up to 32 MiB, FAT16, FAT32, Linux. */
export const MBR_TYPE = { fat12: 0x01, fat16Small: 0x04, fat16: 0x06, fat32: 0x0c, linux: 0x83 } as const;

export interface MbrPartition {
  readonly type: number;
  readonly firstByte: number;
  readonly sizeBytes: number;
}

export interface MbrReading {
  readonly diskId: number;
  /** By number, from 1 on. Unused entries are left out. */
  readonly partitions: readonly (MbrPartition & { readonly number: number })[];
}

/** @throws RangeError for partitions that are no whole sectors, overlap, leave no room for the table, or are more than four */
export function mbrSector(disk: { readonly diskId: number; readonly partitions: readonly MbrPartition[] }): Uint8Array {
  if (disk.partitions.length > ENTRIES) throw new RangeError(`${disk.partitions.length} partitions, and ${ENTRIES} entries`);
  const bytes = new Uint8Array(SECTOR);
  const view = new DataView(bytes.buffer);
  view.setUint32(440, disk.diskId, true);
  let end = SECTOR;
  for (const one of disk.partitions.toSorted((a, b) => a.firstByte - b.firstByte)) {
    const [first, count] = [one.firstByte / SECTOR, one.sizeBytes / SECTOR];
    if (!Number.isInteger(first) || !Number.isInteger(count) || count < 1 || one.firstByte < end || first + count > 2 ** 32)
      throw new RangeError(`${one.sizeBytes} bytes from ${one.firstByte} on, where ${end} is free`);
    end = one.firstByte + one.sizeBytes;
  }
  for (const [index, { type, firstByte, sizeBytes }] of disk.partitions.entries()) {
    const at = TABLE + index * ENTRY_BYTES;
    const [first, count] = [firstByte / SECTOR, sizeBytes / SECTOR];
    bytes.set([0, ...cylinders(first), type, ...cylinders(first + count - 1)], at);
    view.setUint32(at + 8, first, true);
    view.setUint32(at + 12, count, true);
  }
  view.setUint16(510, SIGNATURE, true);
  return bytes;
}

/** undefined for a sector that is no such table. A protective one is: its partition has the type 0xee. */
export function readMbr(readAt: ReadAt): MbrReading | undefined {
  const bytes = readAt(0, SECTOR);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < SECTOR || view.getUint16(510, true) !== SIGNATURE) return undefined;
  const partitions = Array.from({ length: ENTRIES }, (_, index) => {
    const at = TABLE + index * ENTRY_BYTES;
    const firstByte = view.getUint32(at + 8, true) * SECTOR;
    return { number: index + 1, type: view.getUint8(at + 4), firstByte, sizeBytes: view.getUint32(at + 12, true) * SECTOR };
  });
  return {
    diskId: view.getUint32(440, true),
    partitions: partitions.filter(({ type, sizeBytes }) => type !== 0 && sizeBytes > 0),
  };
}

/** Head, sector and cylinder of a sector; the last there are for one that lies beyond. */
function cylinders(sector: number): readonly [number, number, number] {
  const cylinder = Math.floor(sector / (HEADS * SECTORS_PER_TRACK));
  if (cylinder > CYLINDERS_MAX) return [0xfe, 0xff, 0xff];
  const head = Math.floor(sector / SECTORS_PER_TRACK) % HEADS;
  return [head, (sector % SECTORS_PER_TRACK) + 1 + ((cylinder >> 2) & 0xc0), cylinder & 0xff];
}
