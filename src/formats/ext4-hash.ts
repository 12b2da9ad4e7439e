/**
 * The hash by which ext4 looks names up in large directories: half of MD4's rounds over the name, keyed with the file system's
 * hash seed (fs/ext4/hash.c, `DX_HASH_HALF_MD4_UNSIGNED`: bytes count as unsigned, whatever the machine's `char` is).
 */

/** Four words; what MD4 begins with when a seed is all zeros. */
export type HashSeed = readonly [number, number, number, number];

const MD4_START: HashSeed = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
const CHUNK = 32;
const WORDS = 8;
const K2 = 0x5a827999;
const K3 = 0x6ed9eba1;
/** The hash that would be mistaken for the end of a directory is taken to be the one before. */
const END = 0xfffffffe;

/** For each round: in which order it takes the eight words, and by how much it turns. */
const ROUNDS = [
  { words: [0, 1, 2, 3, 4, 5, 6, 7], turns: [3, 7, 11, 19], add: 0 },
  { words: [1, 3, 5, 7, 0, 2, 4, 6], turns: [3, 5, 9, 13], add: K2 },
  { words: [3, 7, 2, 6, 1, 5, 0, 4], turns: [3, 9, 11, 15], add: K3 },
] as const;

/** An even number of 32 bits: the lowest bit says in an index that names with this hash go on from the block before. */
export function nameHash(name: Uint8Array, seed: HashSeed): number {
  let state: HashSeed = seed.every((word) => word === 0) ? MD4_START : seed;
  for (let at = 0; at < name.length; at += CHUNK) state = transform(state, words(name, at));
  const hash = (state[1] & ~1) >>> 0;
  return hash === END ? END - 2 : hash;
}

/** 32 bytes of the name from `at` on, big-endian; behind its end the length of what was left stands in every byte. */
function words(name: Uint8Array, at: number): readonly number[] {
  const left = name.length - at;
  const filler = (left & 255) * 0x01010101;
  const end = Math.min(left, CHUNK);
  const found: number[] = [];
  for (let word = 0; word < WORDS; word += 1) {
    let value = filler | 0;
    for (let byte = 4 * word; byte < Math.min(4 * word + 4, end); byte += 1) value = ((name[at + byte] ?? 0) + (value << 8)) | 0;
    found.push(value);
  }
  return found;
}

function transform(state: HashSeed, input: readonly number[]): HashSeed {
  let [a, b, c, d] = state;
  for (const [round, { words, turns, add }] of ROUNDS.entries()) {
    for (let step = 0; step < WORDS; step += 1) {
      const mixed = round === 0 ? d ^ (b & (c ^ d)) : round === 1 ? ((b & c) + ((b ^ c) & d)) | 0 : b ^ c ^ d;
      const sum = (a + mixed + (input[words[step] ?? 0] ?? 0) + add) | 0;
      const turn = turns[step & 3] ?? 0;
      a = d;
      d = c;
      c = b;
      b = (sum << turn) | (sum >>> (32 - turn));
    }
  }
  return [(state[0] + a) | 0, (state[1] + b) | 0, (state[2] + c) | 0, (state[3] + d) | 0];
}
