/** SHA-256 by the runtime (BoringSSL, with the processor's SHA instructions). Digests are 64 lowercase hexadecimal digits. */
import { createHash, type Hash } from "node:crypto";

export type Hasher = Hash;

export function sha256Hasher(): Hasher {
  return createHash("sha256");
}

export function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

const HEX64 = /^[0-9a-f]{64}$/;

export function isSha256(text: string): boolean {
  return HEX64.test(text);
}
