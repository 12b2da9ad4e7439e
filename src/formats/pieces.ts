/** What a file system is made of, as pieces of an image: contents cut where they lie, few and in order, what is all zeros left out. */
import { type Content, contentBytes, type Piece } from "./blocks.ts";
import { concatenate } from "./tar-write.ts";

/** Bytes and their place in the image. */
export interface Placed {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** Larger pieces are not copied to be joined with what lies beside them. */
const JOINED_BYTES = 1 << 16;
/** What addresses count, and the smallest that a file is given: a block of ext4, a fragment of UFS2. */
const BLOCK = 4096;

/** A stretch of a file, and where it lies; in blocks of 4096 bytes. */
export interface Stretch {
  readonly logical: number;
  readonly start: number;
  readonly count: number;
}

export function contentPieces(content: Content, extents: readonly Stretch[]): readonly Piece[] {
  const total = contentBytes(content);
  return extents.map(({ logical, start, count }) => {
    const offset = logical * BLOCK;
    const sizeBytes = Math.min(count * BLOCK, total - offset);
    const at = start * BLOCK;
    return content.kind === "bytes"
      ? { at, kind: "bytes", bytes: content.bytes.subarray(offset, offset + sizeBytes) }
      : { at, kind: "file", file: content.file, offset, sizeBytes };
  });
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
