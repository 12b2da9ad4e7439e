/**
 * SSH keys made here, without a program: ed25519 in the format of OpenSSH (PROTOCOL.key of its sources; RFC 8709 for the public half).
 * A machine's host key is made before the machine, so that whoever connects knows whom to expect.
 */
import { generateKeyPairSync, randomBytes } from "node:crypto";

export interface SshKeyPair {
  /** As ssh-keygen writes it, without a passphrase. */
  readonly privateKey: string;
  /** "ssh-ed25519 AAAA... comment" */
  readonly publicKey: string;
}

const TYPE = "ssh-ed25519";
const BLOCK_BYTES = 8;
/** DER of PKCS #8 for ed25519 before the 32 bytes of the seed (RFC 8410). */
const PKCS8_HEAD_BYTES = 16;
const SPKI_HEAD_BYTES = 12;

function field(data: Uint8Array | string): Buffer {
  const bytes = Buffer.from(data);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.byteLength);
  return Buffer.concat([length, bytes]);
}

export function makeSshKeyPair(comment: string): SshKeyPair {
  const pair = generateKeyPairSync("ed25519", {
    privateKeyEncoding: { type: "pkcs8", format: "der" },
    publicKeyEncoding: { type: "spki", format: "der" },
  });
  return encodeKeyPair(pair.privateKey.subarray(PKCS8_HEAD_BYTES), pair.publicKey.subarray(SPKI_HEAD_BYTES), {
    comment,
    check: randomBytes(4),
  });
}

/** `seed` and `point` have 32 bytes each. `check` is repeated in the file: who decrypts it wrongly would see two numbers. */
function encodeKeyPair(
  seed: Uint8Array,
  point: Uint8Array,
  { comment, check }: { readonly comment: string; readonly check: Uint8Array },
): SshKeyPair {
  const blob = Buffer.concat([field(TYPE), field(point)]);
  const secret = Buffer.concat([check, check, blob, field(Buffer.concat([seed, point])), field(comment)]);
  const padding = Buffer.from(
    Array.from({ length: (BLOCK_BYTES - (secret.byteLength % BLOCK_BYTES)) % BLOCK_BYTES }, (_, i) => i + 1),
  );
  const one = Buffer.from([0, 0, 0, 1]);
  const file = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    field("none"),
    field("none"),
    field(""),
    one,
    field(blob),
    field(Buffer.concat([secret, padding])),
  ]);
  const lines = file.toString("base64").match(/.{1,70}/g) ?? [];
  return {
    privateKey: `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join("\n")}\n-----END OPENSSH PRIVATE KEY-----\n`,
    publicKey: `${TYPE} ${blob.toString("base64")} ${comment}`,
  };
}
