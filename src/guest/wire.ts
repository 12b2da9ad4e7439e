/**
 * The words that SSH's protocols are made of (RFC 4251, 5): big-endian numbers and strings that begin with their length. Pure.
 *
 * Multiplexing, channels and SFTP all send packets as `uint32 length, byte[length]`; `framer` cuts a stream into them.
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function u8(value: number): Uint8Array {
  return Uint8Array.of(value);
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

export function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

/** Text as UTF-8, or bytes as they are, after their length. */
export function string(value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === "string" ? encoder.encode(value) : value;
  const out = new Uint8Array(4 + bytes.byteLength);
  new DataView(out.buffer).setUint32(0, bytes.byteLength);
  out.set(bytes, 4);
  return out;
}

/** The parts, behind their length together. */
export function frame(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.byteLength;
  const out = new Uint8Array(4 + length);
  new DataView(out.buffer).setUint32(0, length);
  let at = 4;
  for (const part of parts) {
    out.set(part, at);
    at += part.byteLength;
  }
  return out;
}

/** Reads one packet from its beginning. @throws RangeError where it is shorter than what is asked of it */
export interface Reader {
  readonly left: number;
  u8(): number;
  u32(): number;
  /** Up to 2^53; larger numbers lose their last digits. */
  u64(): number;
  /** A view into the packet. */
  bytes(): Uint8Array;
  text(): string;
}

export function readerOf(packet: Uint8Array, from = 0): Reader {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  let at = from;
  const take = (size: number): number => {
    const start = at;
    if (start + size > packet.byteLength) throw new RangeError(`a packet of ${packet.byteLength} bytes is shorter than it says`);
    at += size;
    return start;
  };
  const bytes = (): Uint8Array => {
    const size = view.getUint32(take(4));
    const start = take(size);
    return packet.subarray(start, start + size);
  };
  return {
    get left() {
      return packet.byteLength - at;
    },
    u8: () => view.getUint8(take(1)),
    u32: () => view.getUint32(take(4)),
    u64: () => Number(view.getBigUint64(take(8))),
    bytes,
    text: () => decoder.decode(bytes()),
  };
}

/**
 * Cuts a stream into packets, without their lengths; `onFrame` may keep what it is given. A length over `maxBytes` is `onOverflow`, and
 * nothing after it is looked at.
 */
export function framer(
  maxBytes: number,
  onFrame: (packet: Uint8Array) => void,
  onOverflow: () => void,
): (chunk: Uint8Array) => void {
  let pieces: Uint8Array[] = [];
  let held = 0;
  let wanted: number | undefined;
  let broken = false;

  /** The next `size` bytes of what is held, which has them. */
  const take = (size: number): Uint8Array => {
    const [first] = pieces;
    held -= size;
    if (first !== undefined && first.byteLength >= size) {
      if (first.byteLength === size) pieces.shift();
      else pieces[0] = first.subarray(size);
      return first.subarray(0, size);
    }
    const out = new Uint8Array(size);
    let at = 0;
    let used = 0;
    for (const piece of pieces) {
      const part = piece.subarray(0, size - at);
      out.set(part, at);
      at += part.byteLength;
      if (part.byteLength < piece.byteLength) {
        pieces[used] = piece.subarray(part.byteLength);
        break;
      }
      used += 1;
      if (at === size) break;
    }
    pieces = pieces.slice(used);
    return out;
  };

  return (chunk) => {
    if (broken || chunk.byteLength === 0) return;
    pieces.push(chunk);
    held += chunk.byteLength;
    for (;;) {
      if (wanted === undefined) {
        if (held < 4) return;
        wanted = readerOf(take(4)).u32();
        if (wanted > maxBytes) {
          broken = true;
          pieces = [];
          return onOverflow();
        }
      }
      if (held < wanted) return;
      const size = wanted;
      wanted = undefined;
      onFrame(size === 0 ? new Uint8Array(0) : take(size));
    }
  };
}
