/**
 * GUID partition tables on disks of 512-byte sectors (UEFI Specification 2.10, chapter 5).
 *
 *     sector 0        protective MBR
 *     sector 1        primary header     33 sectors from the end  backup entries
 *     sectors 2..33   primary entries    the last sector          backup header
 *
 * A reader takes nothing on trust: what is wrong becomes a finding, and it gives what it could still read.
 */
import { Problem } from "../base/index.ts";
import type { Piece } from "./blocks.ts";
import { crc32 } from "./crc.ts";
import { MAXIMUM_TABLE_BYTES, type ReadAt } from "./elf.ts";
import { concatenate } from "./tar-write.ts";

const SECTOR = 512;
const MEBIBYTE = 1 << 20;
const ENTRIES = 128;
const ENTRY_BYTES = 128;
const ENTRY_SECTORS = (ENTRIES * ENTRY_BYTES) / SECTOR;
const HEADER_BYTES = 92;
const NAME_UNITS = 36;
const SIGNATURE = "EFI PART";
const REVISION = 0x00010000;
/** "Protective": what tools that do not know GPT see in the MBR, so that they leave the disk alone. */
const PROTECTIVE = 0xee;

/** Types of partitions, from the UEFI specification, the Discoverable Partitions Specification, and FreeBSD's sys/disk/gpt.h. */
export const PARTITION_TYPE = {
  esp: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
  linuxRootX86_64: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
  linuxRootAarch64: "b921b045-1df0-41c3-af44-4c6f280d3fae",
  linuxData: "0fc63daf-8483-4772-8e79-3d69d8477de4",
  linuxSwap: "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f",
  freebsdBoot: "83bd6b9d-7f41-11dc-be0b-001560b84f0f",
  freebsdSwap: "516e7cb5-6ecf-11d6-8ff8-00022d09712b",
  freebsdUfs: "516e7cb6-6ecf-11d6-8ff8-00022d09712b",
  freebsdZfs: "516e7cba-6ecf-11d6-8ff8-00022d09712b",
} as const;

/** A partition that has no place yet. GUIDs are text of 36 characters, in lower case where they are read. */
export interface PartitionWish {
  /** At most 36 UTF-16 units. */
  readonly name: string;
  readonly typeGuid: string;
  readonly guid: string;
  readonly sizeBytes: number;
  /** Numbers of the attribute bits that are set: 0 is "required", 2 "legacy BIOS bootable", 48 to 63 the type's own. */
  readonly attributes?: readonly number[];
}

export interface Partition extends PartitionWish {
  readonly firstByte: number;
}

export interface Disk {
  readonly sizeBytes: number;
  readonly diskGuid: string;
  /** In the order of their numbers, the first is 1. */
  readonly partitions: readonly Partition[];
}

/** What a disk says of itself, and what is wrong with that; no findings means that nothing is. */
export interface GptReading {
  /** undefined when neither header can be used; there are no partitions then. */
  readonly diskGuid: string | undefined;
  /** By number. Unused entries are left out, so numbers may have gaps. */
  readonly partitions: readonly (Partition & { readonly number: number })[];
  readonly findings: readonly string[];
}

/**
 * Gives each partition its place: in the order given, from 1 MiB on, starts and sizes rounded up to whole MiB. Without
 * `sizeBytes` the disk is as small as it can be in whole MiB.
 *
 * @throws Problem E_DISK_TOO_SMALL when `sizeBytes` cannot hold them, E_DISK_SIZE when it is no whole sectors
 */
export function layOutDisk(wish: {
  readonly partitions: readonly PartitionWish[];
  readonly diskGuid: string;
  readonly sizeBytes?: number;
}): Disk {
  let end = MEBIBYTE;
  const partitions = wish.partitions.map((partition) => {
    const firstByte = end;
    const sizeBytes = Math.ceil(partition.sizeBytes / MEBIBYTE) * MEBIBYTE;
    end += sizeBytes;
    return { ...partition, firstByte, sizeBytes };
  });
  const needed = end + (ENTRY_SECTORS + 1) * SECTOR;
  const sizeBytes = wish.sizeBytes ?? Math.ceil(needed / MEBIBYTE) * MEBIBYTE;
  if (sizeBytes < needed)
    throw new Problem({
      code: "E_DISK_TOO_SMALL",
      message: `laying out a disk of ${sizeBytes} bytes: its partitions need ${needed - sizeBytes} bytes more`,
      details: partitions.map((one) => `${one.name}: ${one.sizeBytes} bytes from ${one.firstByte} on`),
      hint: `make the disk ${needed} bytes or larger, or its partitions smaller`,
      exit: 2,
    });
  if (sizeBytes % SECTOR !== 0)
    throw new Problem({
      code: "E_DISK_SIZE",
      message: `laying out a disk of ${sizeBytes} bytes: they are no whole sectors of ${SECTOR} bytes`,
      hint: "say the size in whole MiB",
      exit: 2,
    });
  return { sizeBytes, diskGuid: wish.diskGuid, partitions };
}

/**
 * The table in two pieces: what comes before all partitions, and what comes after them.
 *
 * @throws Problem E_PARTITION_NAME for a name that is too long
 * @throws RangeError for places that are no whole sectors, overlap, or are taken by the table, and for what is no GUID (bugs in
 *   the caller: `layOutDisk` gives none)
 */
export function planGpt(disk: Disk): readonly [head: Piece, tail: Piece] {
  const sectors = disk.sizeBytes / SECTOR;
  checkPlaces(disk);
  const entries = new Uint8Array(ENTRIES * ENTRY_BYTES);
  disk.partitions.forEach((partition, index) => entries.set(entryOf(partition), index * ENTRY_BYTES));
  const header = (own: number, other: number, entriesAt: number): Uint8Array => {
    const bytes = new Uint8Array(SECTOR);
    const view = new DataView(bytes.buffer);
    bytes.set(new TextEncoder().encode(SIGNATURE));
    view.setUint32(8, REVISION, true);
    view.setUint32(12, HEADER_BYTES, true);
    view.setBigUint64(24, BigInt(own), true);
    view.setBigUint64(32, BigInt(other), true);
    view.setBigUint64(40, BigInt(2 + ENTRY_SECTORS), true);
    view.setBigUint64(48, BigInt(sectors - 2 - ENTRY_SECTORS), true);
    bytes.set(guidBytes(disk.diskGuid), 56);
    view.setBigUint64(72, BigInt(entriesAt), true);
    view.setUint32(80, ENTRIES, true);
    view.setUint32(84, ENTRY_BYTES, true);
    view.setUint32(88, crc32(entries), true);
    view.setUint32(16, crc32(bytes.subarray(0, HEADER_BYTES)), true);
    return bytes;
  };
  const backupAt = sectors - 1 - ENTRY_SECTORS;
  return [
    { at: 0, kind: "bytes", bytes: concatenate([protectiveMbr(sectors), header(1, sectors - 1, 2), entries]) },
    { at: backupAt * SECTOR, kind: "bytes", bytes: concatenate([entries, header(sectors - 1, 1, backupAt)]) },
  ];
}

/** Reads the table of a disk of `sizeBytes`, and checks all that the specification says of it. */
export function readGpt(readAt: ReadAt, sizeBytes: number): GptReading {
  const findings: string[] = [];
  const sectors = Math.floor(sizeBytes / SECTOR);
  if (sizeBytes % SECTOR !== 0) findings.push(`the disk's ${sizeBytes} bytes are no whole sectors`);
  checkMbr(readAt(0, SECTOR), sectors, findings);

  const primary = readTable(readAt, "primary", 1, sectors, findings);
  const last = sectors - 1;
  const backup = readTable(readAt, "backup", last, sectors, findings);
  if (primary !== undefined && primary.other !== last)
    findings.push(`the primary header says that the backup is in sector ${primary.other}, not ${last}`);
  if (backup !== undefined && backup.other !== 1)
    findings.push(`the backup header says that the primary is in sector ${backup.other}, not 1`);
  if (primary !== undefined && backup !== undefined && primary.shared !== backup.shared)
    findings.push("the primary and the backup table differ");
  const table = primary ?? backup;
  if (table === undefined) return { diskGuid: undefined, partitions: [], findings };
  checkPartitions(table, findings);
  return { diskGuid: table.diskGuid, partitions: table.partitions, findings };
}

/** A GUID as it lies on a disk: the first three groups little-endian. @throws RangeError for a text that is none */
export function guidBytes(guid: string): Uint8Array {
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(guid)) throw new RangeError(`${JSON.stringify(guid)} is no GUID`);
  const bytes = Uint8Array.fromHex(guid.replaceAll("-", ""));
  return swapped(bytes);
}

export function guidText(bytes: Uint8Array): string {
  return swapped(bytes)
    .toHex()
    .replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

function swapped(bytes: Uint8Array): Uint8Array {
  const swap = (from: number, to: number): Uint8Array => bytes.slice(from, to).toReversed();
  return concatenate([swap(0, 4), swap(4, 6), swap(6, 8), bytes.slice(8, 16)]);
}

function checkPlaces(disk: Disk): void {
  const { sizeBytes, partitions } = disk;
  if (partitions.length > ENTRIES) throw new RangeError(`${partitions.length} partitions, and ${ENTRIES} entries`);
  let end = (2 + ENTRY_SECTORS) * SECTOR;
  for (const one of partitions.toSorted((a, b) => a.firstByte - b.firstByte)) {
    const whole = Number.isSafeInteger(one.firstByte) && one.firstByte % SECTOR === 0 && one.sizeBytes % SECTOR === 0;
    if (!whole || one.sizeBytes <= 0 || one.firstByte < end)
      throw new RangeError(`partition ${one.name}: ${one.sizeBytes} bytes from ${one.firstByte} on, where ${end} is free`);
    end = one.firstByte + one.sizeBytes;
  }
  if (sizeBytes % SECTOR !== 0 || sizeBytes < end + (ENTRY_SECTORS + 1) * SECTOR)
    throw new RangeError(`a disk of ${sizeBytes} bytes, with partitions up to ${end}`);
}

function entryOf(partition: Partition): Uint8Array {
  const { name, firstByte, sizeBytes } = partition;
  if (name.length > NAME_UNITS)
    throw new Problem({
      code: "E_PARTITION_NAME",
      message: `writing a partition table: the name ${JSON.stringify(name)} has ${name.length} UTF-16 units, and ${NAME_UNITS} fit`,
      hint: "give the partition a shorter name",
      exit: 2,
    });
  const bytes = new Uint8Array(ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(guidBytes(partition.typeGuid), 0);
  bytes.set(guidBytes(partition.guid), 16);
  view.setBigUint64(32, BigInt(firstByte / SECTOR), true);
  view.setBigUint64(40, BigInt((firstByte + sizeBytes) / SECTOR - 1), true);
  const attributes = (partition.attributes ?? []).reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);
  view.setBigUint64(48, attributes, true);
  for (let at = 0; at < name.length; at += 1) view.setUint16(56 + 2 * at, name.charCodeAt(at), true);
  return bytes;
}

/** One entry that covers the disk. Its ends in cylinders, heads and sectors are those that say "look at the sectors instead". */
function protectiveMbr(sectors: number): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  bytes.set([0, 0, 2, 0, PROTECTIVE, 0xff, 0xff, 0xff], 446);
  const view = new DataView(bytes.buffer);
  view.setUint32(454, 1, true);
  view.setUint32(458, Math.min(sectors - 1, 0xffffffff), true);
  view.setUint16(510, 0xaa55, true);
  return bytes;
}

function checkMbr(bytes: Uint8Array, sectors: number, findings: string[]): void {
  const view = viewOf(bytes);
  if (bytes.length < SECTOR || view.getUint16(510, true) !== 0xaa55) {
    findings.push("there is no protective MBR");
    return;
  }
  const used = [446, 462, 478, 494].filter((at) => bytes[at + 4] !== 0);
  const at = used.find((at) => bytes[at + 4] === PROTECTIVE);
  if (at === undefined) findings.push("the MBR protects nothing: it has no partition of type ee");
  else {
    const [first, count] = [view.getUint32(at + 8, true), view.getUint32(at + 12, true)];
    const wanted = Math.min(sectors - 1, 0xffffffff);
    if (first !== 1 || count !== wanted)
      findings.push(`the MBR protects ${count} sectors from ${first} on, not ${wanted} from 1 on`);
  }
  if (used.length > 1) findings.push(`the MBR has ${used.length} partitions, not the protective one alone`);
}

interface Table {
  readonly diskGuid: string;
  readonly other: number;
  readonly firstUsable: number;
  readonly lastUsable: number;
  readonly partitions: GptReading["partitions"];
  /** What both tables of a disk have to agree about, as text to compare. */
  readonly shared: string;
}

/** undefined, and a finding, for a table that cannot be believed. */
function readTable(readAt: ReadAt, which: string, own: number, sectors: number, findings: string[]): Table | undefined {
  const bytes = own >= 1 ? readAt(own * SECTOR, SECTOR).slice() : new Uint8Array(0);
  const wrong = (what: string): undefined => {
    findings.push(`the ${which} header ${what}`);
    return undefined;
  };
  if (bytes.length < SECTOR || new TextDecoder("latin1").decode(bytes.subarray(0, 8)) !== SIGNATURE)
    return wrong(`is not in sector ${own}`);
  const view = viewOf(bytes);
  const headerBytes = view.getUint32(12, true);
  if (headerBytes < HEADER_BYTES || headerBytes > SECTOR) return wrong(`says that it has ${headerBytes} bytes`);
  const checksum = view.getUint32(16, true);
  view.setUint32(16, 0, true);
  if (crc32(bytes.subarray(0, headerBytes)) !== checksum) return wrong("does not have the checksum that it says");
  if (view.getUint32(8, true) !== REVISION) findings.push(`the ${which} header is of a revision other than 1.0`);
  if (sectorAt(view, 24) !== own) return wrong(`says that it is in sector ${sectorAt(view, 24)}, not ${own}`);

  const [firstUsable, lastUsable, entriesAt] = [sectorAt(view, 40), sectorAt(view, 48), sectorAt(view, 72)];
  const [count, entryBytes] = [view.getUint32(80, true), view.getUint32(84, true)];
  if (!(firstUsable <= lastUsable + 1 && lastUsable < sectors))
    return wrong(`says that sectors ${firstUsable} to ${lastUsable} of ${sectors} can be used`);
  if (entryBytes < ENTRY_BYTES || entryBytes % ENTRY_BYTES !== 0 || count * entryBytes > MAXIMUM_TABLE_BYTES)
    return wrong(`says that there are ${count} entries of ${entryBytes} bytes`);
  const entrySectors = Math.ceil((count * entryBytes) / SECTOR);
  const clear = own === 1 ? entriesAt >= 2 && entriesAt + entrySectors <= firstUsable : entriesAt > lastUsable;
  if (!clear || entriesAt + entrySectors > sectors) return wrong(`says that the entries are in sector ${entriesAt}`);
  const entries = readAt(entriesAt * SECTOR, count * entryBytes);
  if (crc32(entries) !== view.getUint32(88, true)) return wrong("has a checksum that is not that of its entries");

  const diskGuid = guidText(bytes.subarray(56, 72));
  const partitions: (Partition & { readonly number: number })[] = [];
  for (let at = 0; at + entryBytes <= entries.length; at += entryBytes) {
    const partition = partitionOf(entries.subarray(at, at + ENTRY_BYTES));
    if (partition !== undefined) partitions.push({ number: at / entryBytes + 1, ...partition });
  }
  const shared = JSON.stringify([diskGuid, firstUsable, lastUsable, count, entryBytes, view.getUint32(88, true)]);
  return { diskGuid, other: sectorAt(view, 32), firstUsable, lastUsable, partitions, shared };
}

/** undefined for an entry that is not used, which is one whose type is all zeros. */
function partitionOf(entry: Uint8Array): Partition | undefined {
  if (entry.subarray(0, 16).every((byte) => byte === 0)) return undefined;
  const view = viewOf(entry);
  const units = Array.from({ length: NAME_UNITS }, (_, at) => view.getUint16(56 + 2 * at, true));
  const end = units.indexOf(0);
  const bits = view.getBigUint64(48, true);
  const attributes = Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => ((bits >> BigInt(bit)) & 1n) === 1n);
  const first = sectorAt(view, 32);
  return {
    name: String.fromCharCode(...units.slice(0, end < 0 ? NAME_UNITS : end)),
    typeGuid: guidText(entry.subarray(0, 16)),
    guid: guidText(entry.subarray(16, 32)),
    firstByte: first * SECTOR,
    sizeBytes: (sectorAt(view, 40) - first + 1) * SECTOR,
    ...(attributes.length === 0 ? {} : { attributes }),
  };
}

function checkPartitions(table: Table, findings: string[]): void {
  const start = table.firstUsable * SECTOR;
  const end = (table.lastUsable + 1) * SECTOR;
  const guids = new Set([table.diskGuid]);
  for (const { number, guid, firstByte, sizeBytes } of table.partitions) {
    if (sizeBytes <= 0) findings.push(`partition ${number} ends before it starts`);
    else if (firstByte < start || firstByte + sizeBytes > end)
      findings.push(`partition ${number} is not inside the part of the disk that can be used`);
    if (guids.has(guid)) findings.push(`partition ${number} has a GUID that is used twice`);
    guids.add(guid);
  }
  const inOrder = table.partitions.filter((one) => one.sizeBytes > 0).toSorted((a, b) => a.firstByte - b.firstByte);
  let before = inOrder[0];
  for (const one of inOrder.slice(1)) {
    if (before !== undefined && one.firstByte < before.firstByte + before.sizeBytes)
      findings.push(`partitions ${before.number} and ${one.number} overlap`);
    if (before === undefined || one.firstByte + one.sizeBytes > before.firstByte + before.sizeBytes) before = one;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** A sector's number, at most one that no disk reaches and whose byte a number still holds. */
function sectorAt(view: DataView, at: number): number {
  return Math.min(Number(view.getBigUint64(at, true)), 2 ** 43);
}
