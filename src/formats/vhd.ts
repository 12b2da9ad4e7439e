/**
 * Virtual hard disks, fixed and dynamic (Microsoft, "Virtual Hard Disk Image Format Specification", version 1.0). All numbers are
 * big-endian.
 *
 *     fixed    the disk | footer
 *     dynamic  footer | header | table of blocks | one bitmap and 2 MiB for each block that is used | footer
 *
 * A plan names the raw disk as a file and does not read it.
 */
import { Problem } from "../base/index.ts";
import type { BlockImage, Piece } from "./blocks.ts";
import { concatenate } from "./tar-write.ts";

const SECTOR = 512;
export const VHD_BLOCK_BYTES = 2 << 20;
const HEADER_BYTES = 1024;
const SIZE_MAX = 2040 * 2 ** 30;
/** Times are seconds since 2000-01-01. */
const EPOCH_SECONDS = 946684800;
const VERSION = 0x00010000;
/**
 * Hyper-V's, because a reader goes by the creator to know which size counts: of a disk of Virtual PC ("vpc ") QEMU takes the
 * geometry, which is a few sectors off, and of this one the size that is written.
 */
const CREATOR = "win ";
const CREATOR_VERSION = 0x000a0000;
const CREATOR_SYSTEM = "Wi2k";

export interface VhdWish {
  /** Of the disk: whole sectors of 512 bytes. */
  readonly sizeBytes: number;
  readonly uuid: string;
  /** Whole seconds since 1970; what is before 2000 becomes 2000-01-01. */
  readonly timeSeconds: number;
}

/** The 512 bytes behind a fixed disk, or at both ends of a dynamic one. @throws Problem E_VHD_SIZE; RangeError for no UUID */
export function vhdFooter(wish: VhdWish & { readonly kind: "fixed" | "dynamic" }): Uint8Array {
  checkSize(wish.sizeBytes);
  const bytes = new Uint8Array(SECTOR);
  const view = new DataView(bytes.buffer);
  const size = BigInt(wish.sizeBytes);
  const [cylinders, heads, sectors] = geometry(wish.sizeBytes / SECTOR);
  text(bytes, 0, "conectix");
  view.setUint32(8, 2);
  view.setUint32(12, VERSION);
  view.setBigUint64(16, wish.kind === "fixed" ? 0xffffffffffffffffn : BigInt(SECTOR));
  view.setUint32(24, Math.max(0, wish.timeSeconds - EPOCH_SECONDS));
  text(bytes, 28, CREATOR);
  view.setUint32(32, CREATOR_VERSION);
  text(bytes, 36, CREATOR_SYSTEM);
  view.setBigUint64(40, size);
  view.setBigUint64(48, size);
  view.setUint16(56, cylinders);
  bytes.set([heads, sectors], 58);
  view.setUint32(60, wish.kind === "fixed" ? 2 : 3);
  bytes.set(uuidBytes(wish.uuid), 68);
  view.setUint32(64, checksum(bytes));
  return bytes;
}

/** The raw disk `file` and its footer. @throws Problem E_VHD_SIZE; RangeError for no UUID */
export function planFixedVhd(wish: VhdWish & { readonly file: string }): BlockImage {
  const { file, sizeBytes } = wish;
  return {
    sizeBytes: sizeBytes + SECTOR,
    pieces: [
      { at: 0, kind: "file", file, offset: 0, sizeBytes },
      { at: sizeBytes, kind: "bytes", bytes: vhdFooter({ ...wish, kind: "fixed" }) },
    ],
  };
}

/**
 * A disk that has only those of its blocks of `VHD_BLOCK_BYTES` for which `isUsed` says so; the others are zeros.
 *
 * @throws Problem E_VHD_SIZE; RangeError for no UUID
 */
export function planDynamicVhd(
  wish: VhdWish & { readonly file: string; readonly isUsed: (block: number) => boolean },
): BlockImage {
  const { sizeBytes, file } = wish;
  const footer = vhdFooter({ ...wish, kind: "dynamic" });
  const blocks = Math.ceil(sizeBytes / VHD_BLOCK_BYTES);
  const table = new Uint8Array(Math.ceil((blocks * 4) / SECTOR) * SECTOR).fill(0xff);
  const tableView = new DataView(table.buffer);
  /** Which sectors of a block are used: all. */
  const bitmap = new Uint8Array(VHD_BLOCK_BYTES / SECTOR / 8).fill(0xff);
  const pieces: Piece[] = [];
  const tableAt = SECTOR + HEADER_BYTES;
  let at = tableAt + table.length;
  for (let block = 0; block < blocks; block += 1) {
    if (!wish.isUsed(block)) continue;
    tableView.setUint32(block * 4, at / SECTOR);
    const offset = block * VHD_BLOCK_BYTES;
    pieces.push({ at, kind: "bytes", bytes: bitmap });
    at += bitmap.length;
    pieces.push({ at, kind: "file", file, offset, sizeBytes: Math.min(VHD_BLOCK_BYTES, sizeBytes - offset) });
    at += VHD_BLOCK_BYTES;
  }
  const head = concatenate([footer, dynamicHeader(tableAt, blocks), table]);
  return {
    sizeBytes: at + SECTOR,
    pieces: [{ at: 0, kind: "bytes", bytes: head }, ...pieces, { at, kind: "bytes", bytes: footer }],
  };
}

function dynamicHeader(tableAt: number, blocks: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  text(bytes, 0, "cxsparse");
  view.setBigUint64(8, 0xffffffffffffffffn);
  view.setBigUint64(16, BigInt(tableAt));
  view.setUint32(24, VERSION);
  view.setUint32(28, blocks);
  view.setUint32(32, VHD_BLOCK_BYTES);
  view.setUint32(36, checksum(bytes));
  return bytes;
}

function checkSize(sizeBytes: number): void {
  if (sizeBytes > 0 && sizeBytes <= SIZE_MAX && sizeBytes % SECTOR === 0) return;
  throw new Problem({
    code: "E_VHD_SIZE",
    message: `writing a virtual hard disk: it cannot have ${sizeBytes} bytes`,
    hint: "the format holds whole sectors of 512 bytes, up to 2040 GiB; use another format for a larger disk",
    exit: 2,
  });
}

/** Cylinders, heads, sectors per track: the computation of the specification's appendix, which others repeat. */
function geometry(sectors: number): readonly [cylinders: number, heads: number, sectorsPerTrack: number] {
  const total = Math.min(sectors, 65535 * 16 * 255);
  if (total >= 65535 * 16 * 63) return [Math.floor(Math.floor(total / 255) / 16), 16, 255];
  const tracks = Math.floor(total / 17);
  const heads = Math.max(4, Math.floor((tracks + 1023) / 1024));
  if (tracks < heads * 1024 && heads <= 16) return [Math.floor(tracks / heads), heads, 17];
  const perTrack = Math.floor(total / 31) < 16 * 1024 ? 31 : 63;
  return [Math.floor(Math.floor(total / perTrack) / 16), 16, perTrack];
}

/** The complement of the sum of all bytes, where the checksum itself is zero. */
function checksum(bytes: Uint8Array): number {
  return ~bytes.reduce((sum, byte) => sum + byte, 0) >>> 0;
}

function uuidBytes(uuid: string): Uint8Array {
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(uuid)) throw new RangeError(`${JSON.stringify(uuid)} is no UUID`);
  return Uint8Array.fromHex(uuid.replaceAll("-", ""));
}

function text(bytes: Uint8Array, at: number, value: string): void {
  bytes.set(new TextEncoder().encode(value), at);
}
