/**
 * The two cyclic redundancy checks of disks: CRC-32 (ISO 3309, as zlib and GPT have it) and CRC-32C (Castagnoli, RFC 3720
 * appendix B.4, as ext4 has it). Both are reflected; eight bytes are taken at once from eight tables ("slicing by 8"), because
 * an image's metadata is tens of megabytes. Not zlib's own `crc32`: to load node:zlib costs every start 10 ms.
 */

/** Made when first asked for: they take milliseconds, and most commands write no disk. */
let ofCrc32: Uint32Array | undefined;
let ofCrc32c: Uint32Array | undefined;

/**
 * As zlib's `crc32`: inverted before and after. `seed` is the result for the bytes before these, so that
 * `crc32(b, crc32(a))` is that of `a` and `b` together.
 */
export function crc32(bytes: Uint8Array, seed = 0): number {
  ofCrc32 ??= tables(0xedb88320);
  return ~register(ofCrc32, bytes, ~seed) >>> 0;
}

/**
 * As the kernel's `crc32c`: the bare register, taken and given back without inversion, which is what ext4 stores. The published
 * CRC-32C of some bytes is `~crc32c(bytes) >>> 0`. Between 0 and 2^32 - 1; `seed` is the register before, all ones at the start.
 */
export function crc32c(bytes: Uint8Array, seed = ~0): number {
  ofCrc32c ??= tables(0x82f63b78);
  return register(ofCrc32c, bytes, seed) >>> 0;
}

/** Table n, at `n * 256`, holds what a byte does to the register that n more zero bytes follow. */
function tables(polynomial: number): Uint32Array {
  const table = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let value = byte;
    for (let bit = 0; bit < 8; bit += 1) value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ polynomial;
    table[byte] = value;
  }
  for (let at = 256; at < table.length; at += 1) {
    const before = entry(table, at - 256);
    table[at] = (before >>> 8) ^ entry(table, before & 255);
  }
  return table;
}

function entry(table: Uint32Array, index: number): number {
  return table[index] ?? 0;
}

function register(table: Uint32Array, bytes: Uint8Array, seed: number): number {
  let crc = seed | 0;
  let at = 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (const last = bytes.length - 8; at <= last; at += 8) {
    const low = view.getUint32(at, true) ^ crc;
    const high = view.getUint32(at + 4, true);
    crc =
      entry(table, 1792 + (low & 255)) ^
      entry(table, 1536 + ((low >>> 8) & 255)) ^
      entry(table, 1280 + ((low >>> 16) & 255)) ^
      entry(table, 1024 + (low >>> 24)) ^
      entry(table, 768 + (high & 255)) ^
      entry(table, 512 + ((high >>> 8) & 255)) ^
      entry(table, 256 + ((high >>> 16) & 255)) ^
      entry(table, high >>> 24);
  }
  for (; at < bytes.length; at += 1) crc = entry(table, (crc ^ (bytes[at] ?? 0)) & 255) ^ (crc >>> 8);
  return crc;
}
