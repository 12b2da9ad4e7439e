/** The last bytes of a process's output, channel by channel in the order they came. Pure. */
import type { Channel } from "../../guest/index.ts";

/** Small ones that follow each other on a channel become one, up to this; a process that changes channel at each byte keeps this many. */
const JOINED_BYTES = 16 * 1024;
const PIECES_MAX = 4096;

export interface Piece {
  readonly chunk: Uint8Array;
  readonly channel: Channel;
}

export interface Tail {
  push(chunk: Uint8Array, channel: Channel): void;
  readonly pieces: readonly Piece[];
}

export function openTail(maxBytes: number): Tail {
  let pieces: Piece[] = [];
  let totalBytes = 0;

  /** From the front, as much as is too much. */
  const trim = () => {
    let gone = 0;
    for (const piece of pieces) {
      const overBytes = totalBytes - maxBytes;
      if (overBytes <= 0 && pieces.length - gone <= PIECES_MAX) break;
      if (piece.chunk.byteLength > overBytes && pieces.length - gone <= PIECES_MAX) {
        pieces[gone] = { chunk: piece.chunk.subarray(overBytes), channel: piece.channel };
        totalBytes -= overBytes;
        break;
      }
      totalBytes -= piece.chunk.byteLength;
      gone += 1;
    }
    if (gone > 0) pieces = pieces.slice(gone);
  };

  return {
    push(chunk, channel) {
      const last = pieces.at(-1);
      if (last !== undefined && last.channel === channel && last.chunk.byteLength + chunk.byteLength <= JOINED_BYTES) {
        pieces[pieces.length - 1] = { chunk: Buffer.concat([last.chunk, chunk]), channel };
      } else {
        pieces.push({ chunk, channel });
      }
      totalBytes += chunk.byteLength;
      trim();
    },
    get pieces() {
      return pieces;
    },
  };
}
