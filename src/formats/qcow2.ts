/**
 * Disks for QEMU that hold only what is used (QEMU, docs/interop/qcow2.rst, version 3). All numbers are big-endian.
 *
 *     header | table of counts | blocks of counts | L1 | L2 tables | clusters of the disk
 *
 * Clusters have 64 KiB. Written disks have no backing file, no snapshots and no compression, so each cluster is used once.
 */
import { Problem } from "../base/index.ts";
import type { BlockImage, Piece } from "./blocks.ts";
import type { ReadAt } from "./elf.ts";

const CLUSTER_BITS = 16;
export const QCOW2_CLUSTER_BYTES = 1 << CLUSTER_BITS;
const MAGIC = 0x514649fb;
const HEADER_BYTES = 104;
/** 16 bits each. */
const COUNT_ORDER = 4;
const COUNTS_PER_BLOCK = QCOW2_CLUSTER_BYTES / 2;
const ENTRIES_PER_TABLE = QCOW2_CLUSTER_BYTES / 8;
/** In entries of L1 and L2: "the cluster is used once, and may be written to". */
const COPIED = 1n << 63n;
const EXTERNAL_DATA = 4n;
const BACKING_FORMAT = 0xe2792aca;
const NAME_BYTES_MAX = 1023;

/**
 * The raw disk `file` with only those of its clusters of `QCOW2_CLUSTER_BYTES` for which `isUsed` says so; others are zeros.
 *
 * @throws RangeError for a size that is no whole sectors of 512 bytes
 */
export function planQcow2(wish: {
  readonly sizeBytes: number;
  readonly file: string;
  readonly isUsed: (cluster: number) => boolean;
}): BlockImage {
  const { sizeBytes, file } = wish;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % 512 !== 0)
    throw new RangeError(`a disk of ${sizeBytes} bytes`);
  const used: number[] = [];
  for (let cluster = 0; cluster * QCOW2_CLUSTER_BYTES < sizeBytes; cluster += 1) if (wish.isUsed(cluster)) used.push(cluster);

  const tables = [...new Set(used.map((cluster) => Math.floor(cluster / ENTRIES_PER_TABLE)))];
  const l1Entries = Math.ceil(sizeBytes / QCOW2_CLUSTER_BYTES / ENTRIES_PER_TABLE);
  const places = placesOf(Math.ceil(l1Entries / ENTRIES_PER_TABLE), tables.length, used.length);
  const head = new Uint8Array(places.data * QCOW2_CLUSTER_BYTES);
  const view = new DataView(head.buffer);
  header(view, sizeBytes, l1Entries, places);
  for (let block = places.countBlocks; block < places.l1; block += 1)
    view.setBigUint64((places.countTable * ENTRIES_PER_TABLE + block - places.countBlocks) * 8, clusterAt(block));
  for (let cluster = 0; cluster < places.data + used.length; cluster += 1)
    view.setUint16(places.countBlocks * QCOW2_CLUSTER_BYTES + cluster * 2, 1);
  const tableOf = new Map(tables.map((table, index) => [table, places.l2 + index]));
  for (const [table, cluster] of tableOf)
    view.setBigUint64(places.l1 * QCOW2_CLUSTER_BYTES + table * 8, clusterAt(cluster) | COPIED);

  const runs: { at: number; offset: number; sizeBytes: number }[] = [];
  used.forEach((cluster, index) => {
    const table = tableOf.get(Math.floor(cluster / ENTRIES_PER_TABLE)) ?? 0;
    const entry = table * ENTRIES_PER_TABLE + (cluster % ENTRIES_PER_TABLE);
    view.setBigUint64(entry * 8, clusterAt(places.data + index) | COPIED);
    const offset = cluster * QCOW2_CLUSTER_BYTES;
    const taken = Math.min(QCOW2_CLUSTER_BYTES, sizeBytes - offset);
    const last = runs.at(-1);
    if (last !== undefined && last.offset + last.sizeBytes === offset) last.sizeBytes += taken;
    else runs.push({ at: (places.data + index) * QCOW2_CLUSTER_BYTES, offset, sizeBytes: taken });
  });
  const pieces = runs.map((run): Piece => ({ kind: "file", file, ...run }));
  return {
    sizeBytes: (places.data + used.length) * QCOW2_CLUSTER_BYTES,
    pieces: [{ at: 0, kind: "bytes", bytes: head }, ...pieces],
  };
}

/** Numbers of clusters in the file. Each part begins where the one before it ends. */
interface Places {
  readonly countTable: number;
  readonly countBlocks: number;
  readonly l1: number;
  readonly l2: number;
  readonly data: number;
}

/** How many blocks of counts there are depends on how many clusters there are, the blocks among them. */
function placesOf(l1Clusters: number, tables: number, used: number): Places {
  let [table, blocks] = [1, 1];
  for (;;) {
    const clusters = 1 + table + blocks + l1Clusters + tables + used;
    const wanted = Math.ceil(clusters / COUNTS_PER_BLOCK);
    const wantedTable = Math.ceil(wanted / ENTRIES_PER_TABLE);
    if (wanted <= blocks && wantedTable <= table) break;
    [table, blocks] = [wantedTable, wanted];
  }
  const countBlocks = 1 + table;
  const l1 = countBlocks + blocks;
  const l2 = l1 + l1Clusters;
  return { countTable: 1, countBlocks, l1, l2, data: l2 + tables };
}

function header(view: DataView, sizeBytes: number, l1Entries: number, places: Places): void {
  view.setUint32(0, MAGIC);
  view.setUint32(4, 3);
  view.setUint32(20, CLUSTER_BITS);
  view.setBigUint64(24, BigInt(sizeBytes));
  view.setUint32(36, l1Entries);
  view.setBigUint64(40, clusterAt(places.l1));
  view.setBigUint64(48, clusterAt(places.countTable));
  view.setUint32(56, places.countBlocks - places.countTable);
  view.setUint32(96, COUNT_ORDER);
  view.setUint32(100, HEADER_BYTES);
}

function clusterAt(cluster: number): bigint {
  return BigInt(cluster) * BigInt(QCOW2_CLUSTER_BYTES);
}

/** What a disk says of itself before anything of it is used. */
export interface Qcow2Header {
  readonly version: number;
  /** Of the disk, not of the file. */
  readonly sizeBytes: number;
  readonly clusterBytes: number;
  /** A path or a URL, as it stands there: whoever opens the disk opens that, too. */
  readonly backingFile: string | undefined;
  readonly backingFormat: string | undefined;
  /** Its clusters lie in another file. */
  readonly hasExternalData: boolean;
  readonly isEncrypted: boolean;
  readonly snapshots: number;
}

/** undefined for a file that is no qcow2. @throws Problem E_QCOW2_DAMAGED for a header that makes no sense */
export function readQcow2Header(readAt: ReadAt): Qcow2Header | undefined {
  const bytes = readAt(0, QCOW2_CLUSTER_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 8 || view.getUint32(0) !== MAGIC) return undefined;
  const version = view.getUint32(4);
  const headerBytes = version === 2 ? 72 : bytes.length >= HEADER_BYTES ? view.getUint32(100) : 0;
  if ((version !== 2 && version !== 3) || headerBytes < (version === 2 ? 72 : HEADER_BYTES) || headerBytes > bytes.length)
    throw damaged(`its version is ${version}, and its header has ${headerBytes} bytes`);
  const clusterBits = view.getUint32(20);
  const size = view.getBigUint64(24);
  if (clusterBits < 9 || clusterBits > 21 || size > BigInt(Number.MAX_SAFE_INTEGER))
    throw damaged(`it says that it has ${size} bytes, in clusters of 2^${clusterBits}`);
  const backingAt = view.getBigUint64(8);
  const backingBytes = view.getUint32(16);
  if (backingBytes > NAME_BYTES_MAX || backingAt + BigInt(backingBytes) > 1n << BigInt(clusterBits))
    throw damaged(`its backing file's name has ${backingBytes} bytes from ${backingAt} on`);
  const backing = readAt(Number(backingAt), backingBytes);
  const format = extensionOf(bytes, view, headerBytes, BACKING_FORMAT);
  return {
    version,
    sizeBytes: Number(size),
    clusterBytes: 1 << clusterBits,
    backingFile: backingAt === 0n ? undefined : new TextDecoder().decode(backing),
    backingFormat: format === undefined ? undefined : new TextDecoder().decode(format),
    hasExternalData: version === 3 && (view.getBigUint64(72) & EXTERNAL_DATA) !== 0n,
    isEncrypted: view.getUint32(32) !== 0,
    snapshots: view.getUint32(60),
  };
}

/** Behind the header: type, length, data padded to 8 bytes; type 0 ends them. */
function extensionOf(bytes: Uint8Array, view: DataView, headerBytes: number, wanted: number): Uint8Array | undefined {
  for (let at = headerBytes; at + 8 <= bytes.length;) {
    const [type, length] = [view.getUint32(at), view.getUint32(at + 4)];
    if (type === 0 || at + 8 + length > bytes.length) return undefined;
    if (type === wanted) return bytes.subarray(at + 8, at + 8 + length);
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return undefined;
}

function damaged(what: string): Problem {
  return new Problem({
    code: "E_QCOW2_DAMAGED",
    message: `reading the header of a qcow2 disk: ${what}`,
    hint: "fetch or make it again; `qemu-img info` says more about it",
  });
}
