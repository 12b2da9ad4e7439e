/**
 * What is to be done to a disk that has had other contents, so that it reads as the plan says: what is written, what is cleared. Pure.
 *
 * Everything in whole grains: what is written may have zeros before and behind a piece, and what is free may lose its ends.
 */
import { between, type BlockImage, type ByteRange, type Piece } from "../formats/index.ts";
import { HOLE_BYTES, WINDOW_BYTES } from "./write.ts";

/** The physical sector of disks whose logical one is 512 bytes. */
const GRAIN_BYTES = 4096;

/** `spans` are written, `zeros` are cleared, the rest stays. Both in order. */
export interface Layout {
  readonly spans: readonly ByteRange[];
  readonly zeros: readonly ByteRange[];
}

/** `from` is a whole number of grains; `to` is one, or the end of the disk. */
export function layOut({ pieces, free = [] }: BlockImage, from: number, to: number): Layout {
  const spans: { readonly at: number; sizeBytes: number }[] = [];
  for (const piece of pieces) {
    const end = piece.at + sizeOf(piece);
    if (end <= from || piece.at >= to) continue;
    const at = Math.max(from, down(piece.at));
    const last = spans.at(-1);
    if (last !== undefined && at - (last.at + last.sizeBytes) < HOLE_BYTES) last.sizeBytes = Math.min(to, up(end)) - last.at;
    else spans.push({ at, sizeBytes: Math.min(to, up(end)) - at });
  }
  const untouched = free.flatMap(({ at, sizeBytes }) => {
    const [first, end] = [up(at), down(at + sizeBytes)];
    return end > first ? [{ at: first, sizeBytes: end - first }] : [];
  });
  const kept = [...spans, ...untouched].toSorted((left, right) => left.at - right.at);
  return { spans, zeros: between(kept, from, to) };
}

function sizeOf(piece: Piece): number {
  return piece.kind === "bytes" ? piece.bytes.length : piece.sizeBytes;
}

function down(at: number): number {
  return at - (at % GRAIN_BYTES);
}

function up(at: number): number {
  return down(at + GRAIN_BYTES - 1);
}

/** The parts of the ranges in each window of the stretch that has some. */
export function* windowed(
  ranges: readonly ByteRange[],
  from: number,
  to: number,
): Generator<{ readonly at: number; readonly parts: readonly ByteRange[] }> {
  let parts: ByteRange[] = [];
  let window = from;
  for (const range of ranges) {
    const end = Math.min(to, range.at + range.sizeBytes);
    for (let at = range.at; at < end;) {
      const base = from + Math.floor((at - from) / WINDOW_BYTES) * WINDOW_BYTES;
      if (base !== window) {
        if (parts.length > 0) yield { at: window, parts };
        [window, parts] = [base, []];
      }
      const sizeBytes = Math.min(end, base + WINDOW_BYTES) - at;
      parts.push({ at, sizeBytes });
      at += sizeBytes;
    }
  }
  if (parts.length > 0) yield { at: window, parts };
}
