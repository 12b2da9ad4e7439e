/** What an ext4 file system is made of, as pieces of an image: contents cut at their extents, inode tables, few and in order. */
import type { Content, Piece } from "./blocks.ts";
import { BLOCK, type Extent, INODE_BYTES } from "./ext4-format.ts";
import type { Geometry } from "./ext4-geometry.ts";
import { type InodeFields, renderInode } from "./ext4-inode.ts";
import type { Placed } from "./ext4-super.ts";
import { concatenate } from "./tar-write.ts";

/** A stretch of the image that is a stretch of a file. */
export interface DataRun {
  readonly file: string;
  readonly at: number;
  readonly sizeBytes: number;
}

/** Larger pieces are not copied to be joined with what lies beside them. */
const JOINED_BYTES = 1 << 16;

export function contentPieces(content: Content, extents: readonly Extent[]): readonly Piece[] {
  const total = content.kind === "bytes" ? content.bytes.length : content.sizeBytes;
  return extents.map(({ logical, start, count }) => {
    const offset = logical * BLOCK;
    const sizeBytes = Math.min(count * BLOCK, total - offset);
    const at = start * BLOCK;
    return content.kind === "bytes"
      ? { at, kind: "bytes", bytes: content.bytes.subarray(offset, offset + sizeBytes) }
      : { at, kind: "file", file: content.file, offset, sizeBytes };
  });
}

/** The inode tables of the groups that have inodes, as far as they are used. */
export class InodeTables {
  readonly #geometry: Geometry;
  readonly #tables: readonly Uint8Array<ArrayBuffer>[];

  constructor(geometry: Geometry, lastInode: number) {
    const { inodesPerGroup } = geometry;
    this.#geometry = geometry;
    this.#tables = Array.from({ length: Math.ceil(lastInode / inodesPerGroup) }, (_, group) => {
      const used = Math.min(lastInode - group * inodesPerGroup, inodesPerGroup);
      return new Uint8Array(new ArrayBuffer(Math.ceil((used * INODE_BYTES) / BLOCK) * BLOCK));
    });
  }

  set(number: number, fields: InodeFields, seed: number): void {
    const { inodesPerGroup } = this.#geometry;
    const table = this.#tables[Math.floor((number - 1) / inodesPerGroup)];
    if (table === undefined) throw new RangeError(`there is no inode ${number}`);
    const at = ((number - 1) % inodesPerGroup) * INODE_BYTES;
    renderInode(table.subarray(at, at + INODE_BYTES), fields, seed);
  }

  blocks(): readonly Placed[] {
    return this.#tables.map((bytes, group) => ({ at: (this.#geometry.groups[group]?.inodeTable ?? 0) * BLOCK, bytes }));
  }
}

/** In order, without those that are all zeros; small ones that lie in blocks side by side are one. */
export function mergedPieces(pieces: readonly Piece[]): readonly Piece[] {
  const found: Piece[] = [];
  let run: Placed[] = [];
  let end = 0;
  const flush = (): void => {
    const [first] = run;
    if (first === undefined) return;
    found.push({ at: first.at, kind: "bytes", bytes: run.length === 1 ? first.bytes : together(run, first.at) });
    run = [];
  };
  for (const piece of pieces.toSorted((a, b) => a.at - b.at)) {
    if (piece.kind === "file" || piece.bytes.length > JOINED_BYTES) {
      flush();
      if (piece.kind === "file" || !zeros(piece.bytes)) found.push(piece);
    } else if (!zeros(piece.bytes)) {
      if (run.length > 0 && piece.at > end) flush();
      run.push(piece);
      end = Math.ceil((piece.at + piece.bytes.length) / BLOCK) * BLOCK;
    }
  }
  flush();
  return found;
}

function together(run: readonly Placed[], start: number): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = start;
  for (const piece of run) {
    parts.push(new Uint8Array(piece.at - at), piece.bytes);
    at = piece.at + piece.bytes.length;
  }
  return concatenate(parts);
}

function zeros(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
