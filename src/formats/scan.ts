/**
 * Finds which of a set of 64-digit hashes occur in a stream of bytes, in one pass that a stream of nothing but hexadecimal
 * digits does not slow down.
 *
 * A window of 8 bytes is looked at every STRIDE bytes of the stream. STRIDE + 8 <= 64, so every occurrence of a hash holds exactly
 * one window that begins in its first STRIDE bytes; which of the hash's own bytes fall under it depends on where it lies, and there are STRIDE
 * possibilities. All of them, of all hashes, go into a table of bits sized so that a window that belongs to no hash passes one
 * time in 256 at most; only a window that passes is compared. Random hex text so costs the same as anything else.
 */

export const HASH_BYTES = 64;
const STRIDE = 56;
const MIN_TABLE_BITS = 16;
const MAX_TABLE_BITS = 27;
const SPARSENESS_BITS = 8;

export interface HashTable {
  /** Lower-case hex, as given and in that order. */
  readonly hashes: readonly string[];
  readonly bits: Uint8Array;
  readonly shift: number;
  /** Mixed window -> where it occurs: hash index * HASH_BYTES + offset inside the hash. Nearly always one place. */
  readonly places: ReadonlyMap<number, number | readonly number[]>;
  readonly bytes: readonly Uint8Array[];
}

function mix(low: number, high: number): number {
  return Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1);
}

/** @throws TypeError for a text that is not 64 lower-case hexadecimal digits (a bug of the caller) */
export function hashTable(hashes: Iterable<string>): HashTable {
  const list = [...new Set(hashes)];
  const wanted = Math.ceil(Math.log2(list.length * STRIDE + 1)) + SPARSENESS_BITS;
  const tableBits = Math.min(MAX_TABLE_BITS, Math.max(MIN_TABLE_BITS, wanted));
  const bits = new Uint8Array(1 << (tableBits - 3));
  const shift = 32 - tableBits;
  const places = new Map<number, number | readonly number[]>();
  const bytes = list.map((hash) => {
    if (!/^[0-9a-f]{64}$/.test(hash)) throw new TypeError(`${JSON.stringify(hash)} is not a hash`);
    return Buffer.from(hash, "latin1");
  });
  bytes.forEach((hash, index) => {
    for (let offset = 0; offset < STRIDE; offset += 1) {
      const key = mix(hash.readInt32LE(offset), hash.readInt32LE(offset + 4));
      const bit = key >>> shift;
      bits[bit >>> 3] = (bits[bit >>> 3] ?? 0) | (1 << (bit & 7));
      const known = places.get(key);
      const place = index * HASH_BYTES + offset;
      places.set(key, known === undefined ? place : typeof known === "number" ? [known, place] : [...known, place]);
    }
  });
  return { hashes: list, bits, shift, places, bytes };
}

/**
 * Reports every occurrence that lies wholly in `buffer[0, length)`: the hash's index and the offset of its first byte.
 * Occurrences are reported once each, in no particular order. The buffer must be aligned to 4 bytes in its memory.
 */
export function scanHashes(
  table: HashTable,
  buffer: Uint8Array,
  length: number,
  found: (hash: number, offset: number) => void,
): void {
  if (table.hashes.length === 0 || length < HASH_BYTES) return;
  const { bits, shift } = table;
  const words = new Int32Array(buffer.buffer, buffer.byteOffset, length >>> 2);
  const last = words.length - 2;
  for (let at = 0; at <= last; at += STRIDE / 4) {
    const key = Math.imul((words[at] ?? 0) ^ Math.imul(words[at + 1] ?? 0, 0x85ebca6b), 0x9e3779b1) >>> shift;
    if ((((bits[key >>> 3] ?? 0) >>> (key & 7)) & 1) !== 0) confirm(table, buffer, length, at * 4, words, found);
  }
}

function confirm(
  table: HashTable,
  buffer: Uint8Array,
  length: number,
  at: number,
  words: Int32Array,
  found: (hash: number, offset: number) => void,
): void {
  const key = mix(words[at >>> 2] ?? 0, words[(at >>> 2) + 1] ?? 0);
  const known = table.places.get(key);
  if (known === undefined) return;
  for (const place of typeof known === "number" ? [known] : known) {
    const hash = Math.floor(place / HASH_BYTES);
    const start = at - (place % HASH_BYTES);
    const bytes = table.bytes[hash];
    if (bytes === undefined || start < 0 || start + HASH_BYTES > length) continue;
    if (Buffer.compare(buffer.subarray(start, start + HASH_BYTES), bytes) === 0) found(hash, start);
  }
}
