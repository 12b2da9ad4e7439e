/** Names and secrets, from a source of randomness. */

const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789";
const ID_LENGTH = 20;

export type Random = (sizeBytes: number) => Uint8Array;

/** [a-z0-9]{20}, for host names: no letter is likelier than another. */
export function sandboxId(random: Random): string {
  let id = "";
  while (id.length < ID_LENGTH) {
    for (const byte of random(2 * ID_LENGTH)) {
      // 252 is the last multiple of 36 in a byte.
      if (byte < 252 && id.length < ID_LENGTH) id += LETTERS[byte % LETTERS.length] ?? "";
    }
  }
  return id;
}

export function token(random: Random): string {
  return Buffer.from(random(32)).toString("hex");
}

/** RFC 9562, version 4. */
export function uuid(random: Random): string {
  const bytes = Buffer.from(random(16));
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x40, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
