/**
 * The base 32 that pkg(8) writes digests in: z-base-32's alphabet, but bits are taken from the low end of each byte first.
 * SHA-256 gives 52 characters, BLAKE2b-512 gives 103.
 */
const ALPHABET = "ybndrfg8ejkmcpqxot1uwisza345h769";

export function pkgBase32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held |= byte << bits;
    bits += 8;
    while (bits >= 5) {
      text += ALPHABET[held & 31];
      held >>= 5;
      bits -= 5;
    }
  }
  if (bits > 0) text += ALPHABET[held & 31];
  return text;
}
