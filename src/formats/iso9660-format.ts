/** Where the fields of an ISO 9660 volume lie (ECMA-119), and how its numbers and times are written. */

/** A logical sector, and a logical block: nobody reads others. */
export const SECTOR = 2048;
/** Sectors. What comes before belongs to the system: here a partition table. */
export const DESCRIPTOR = { primary: 16, boot: 17, end: 18, catalogue: 19 } as const;
/**
 * Where everything lies that has no content. FreeBSD takes the place for the number of an inode in a directory, and readdir(3) leaves out what
 * has the number 0.
 */
export const EMPTY_SECTOR = 20;

/** Of a directory's record, before the name. */
export const RECORD_BYTES = 33;
/** A byte says how long a record is, and it is even. */
export const RECORD_MAX_BYTES = 254;
export const FLAG = { directory: 0x02, moreExtents: 0x80 } as const;

/** Whole sectors, of which a number of 32 bits tells the length in bytes. */
export const EXTENT_MAX_BYTES = 2 ** 32 - SECTOR;

/** A byte counts years from 1900. */
export const EARLIEST_SECONDS = Date.UTC(1900, 0, 1) / 1000;
export const LATEST_SECONDS = Date.UTC(2156, 0, 1) / 1000 - 1;

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

export function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

/** Both orders of bytes, one behind the other (7.3.3). */
export function both32(view: DataView, at: number, value: number): void {
  view.setUint32(at, value, true);
  view.setUint32(at + 4, value, false);
}

export function both16(view: DataView, at: number, value: number): void {
  view.setUint16(at, value, true);
  view.setUint16(at + 2, value, false);
}

/** Seven bytes, in UTC (9.1.5). */
export function shortTime(timeSeconds: number): readonly number[] {
  const time = new Date(timeSeconds * 1000);
  return [
    time.getUTCFullYear() - 1900,
    time.getUTCMonth() + 1,
    time.getUTCDate(),
    time.getUTCHours(),
    time.getUTCMinutes(),
    time.getUTCSeconds(),
    0,
  ];
}

/** Seventeen: digits, and the zone (8.4.26.1). undefined is "not said". */
export function longTime(timeSeconds: number | undefined): Uint8Array {
  const bytes = new Uint8Array(17).fill(0x30, 0, 16);
  if (timeSeconds === undefined) return bytes;
  const digits = new Date(timeSeconds * 1000)
    .toISOString()
    .replaceAll(/[^0-9]/g, "")
    .slice(0, 14);
  bytes.set(new TextEncoder().encode(digits));
  return bytes;
}
