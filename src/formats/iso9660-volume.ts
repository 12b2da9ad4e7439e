/** The descriptors of an ISO 9660 volume, and the catalogue of what firmware can start from it (El Torito 1.0). */
import { both16, both32, DESCRIPTOR, longTime, SECTOR, viewOf } from "./iso9660-format.ts";

/** UEFI Specification 2.10, 13.3.2.1. */
const PLATFORM_EFI = 0xef;
const BOOTABLE = 0x88;
const BOOT_SECTOR = 512;
const SECTORS_MAX = 0xffff;

const encoder = new TextEncoder();

function descriptor(type: number): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  bytes[0] = type;
  bytes.set(encoder.encode("CD001"), 1);
  bytes[6] = 1;
  return bytes;
}

export interface VolumeFields {
  readonly label: string;
  readonly timeSeconds: number;
  readonly sectors: number;
  readonly pathTable: { readonly sizeBytes: number; readonly little: number; readonly big: number };
  readonly root: Uint8Array;
}

/** 8.4. Texts that say nothing are blanks. */
export function primaryDescriptor({ label, timeSeconds, sectors, pathTable, root }: VolumeFields): Uint8Array {
  const bytes = descriptor(1);
  const view = viewOf(bytes);
  const text = (at: number, length: number, value = ""): void => bytes.set(encoder.encode(value.padEnd(length)), at);
  text(8, 32);
  text(40, 32, label);
  both32(view, 80, sectors);
  both16(view, 120, 1);
  both16(view, 124, 1);
  both16(view, 128, SECTOR);
  both32(view, 132, pathTable.sizeBytes);
  view.setUint32(140, pathTable.little, true);
  view.setUint32(148, pathTable.big, false);
  bytes.set(root, 156);
  // Names of a set, who published and prepared it, with what; files that say more.
  text(190, 4 * 128 + 3 * 37);
  for (const [index, time] of [timeSeconds, timeSeconds, undefined, undefined].entries()) {
    bytes.set(longTime(time), 813 + 17 * index);
  }
  bytes[881] = 1;
  return bytes;
}

export function bootDescriptor(): Uint8Array {
  const bytes = descriptor(0);
  bytes.set(encoder.encode("EL TORITO SPECIFICATION"), 7);
  viewOf(bytes).setUint32(71, DESCRIPTOR.catalogue, true);
  return bytes;
}

export function endDescriptor(): Uint8Array {
  return descriptor(255);
}

/**
 * One entry: the EFI system partition, which nothing is emulated for. What has more sectors than the entry can say reaches to the end of the
 * medium, says the UEFI specification; the file system in it knows how large it is.
 */
export function bootCatalogue(esp: { readonly sector: number; readonly sizeBytes: number }): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  const view = viewOf(bytes);
  bytes.set([1, PLATFORM_EFI]);
  bytes.set([0x55, 0xaa], 30);
  let sum = 0;
  for (let at = 0; at < 32; at += 2) sum += view.getUint16(at, true);
  view.setUint16(28, -sum & 0xffff, true);
  const sectors = Math.ceil(esp.sizeBytes / BOOT_SECTOR);
  bytes[32] = BOOTABLE;
  view.setUint16(38, sectors > SECTORS_MAX ? 0 : sectors, true);
  view.setUint32(40, esp.sector, true);
  return bytes;
}
