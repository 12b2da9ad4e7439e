/**
 * Signing keys: RSA of 4096 bits in PEM, which every client from pkg 1.17 on verifies in both signature modes. The private half
 * is a file of mode 0600 that never enters a store, a package or a repository.
 */
import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { Problem, sha256, STORE_DIRECTORY } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import type { SigningKey } from "./types.ts";

const MODULUS_BITS = 4096;
const MINIMUM_MODULUS_BITS = 2048;

/**
 * Writes a new private key to `keyFile` and its public half to `keyFile` + ".pub", in a directory that is made for the owner alone
 * where it is missing. An existing file is never touched.
 *
 * @throws Problem E_KEY_EXISTS
 */
export async function generateKey(host: Host, keyFile: string): Promise<SigningKey> {
  const { privateKey, publicKey } = await promisify(generateKeyPair)("rsa", { modulusLength: MODULUS_BITS });
  const privatePem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const publicPem = publicKey.export({ type: "spki", format: "pem" }).toString();
  let descriptor: number;
  try {
    host.files.makeDirectory(dirname(keyFile), { parents: true, mode: 0o700 });
    descriptor = host.files.open(keyFile, "wx", 0o600);
  } catch (cause) {
    if (!isErrno(cause, "EEXIST")) throw cause;
    throw new Problem({
      code: "E_KEY_EXISTS",
      message: `the key file ${keyFile} is there already and was left alone`,
      hint: "clients trust that key; move it away if you really want another one",
      where: keyFile,
      exit: 2,
      cause,
    });
  }
  try {
    host.files.write(descriptor, new TextEncoder().encode(privatePem));
  } finally {
    host.files.close(descriptor);
  }
  host.files.sync(keyFile);
  host.files.writeFile(publicKeyFile(keyFile), publicPem, 0o644);
  return { type: "rsa", privatePem, publicPem };
}

export function publicKeyFile(keyFile: string): string {
  return `${keyFile}.pub`;
}

/**
 * `exposed` are directories whose content others get to see: a key found there is refused, whatever its mode.
 *
 * @throws Problem E_KEY_EXPOSED, E_KEY_MISSING, E_KEY_PERMISSIONS (others may read it), E_KEY_TYPE (not RSA of 2048 bits or more), E_BAD_KEY
 */
export function loadKey(host: Host, keyFile: string, exposed: readonly string[]): SigningKey {
  const stat = host.files.lstatIfAny(keyFile);
  if (stat === undefined) {
    throw new Problem({
      code: "E_KEY_MISSING",
      message: `there is no signing key at ${keyFile}`,
      hint: "garth repo init makes one",
      where: keyFile,
      exit: 2,
    });
  }
  const realPath = host.files.realPath(keyFile);
  // A store of another root lies at ROOT/frx/store.
  const inStore = realPath.includes(`${STORE_DIRECTORY}/`);
  const seenIn = exposed.find(
    (directory) => host.files.exists(directory) && realPath.startsWith(`${host.files.realPath(directory)}/`),
  );
  if (inStore || seenIn !== undefined) {
    throw new Problem({
      code: "E_KEY_EXPOSED",
      message: `the signing key ${keyFile} lies in ${seenIn ?? "a store"}, which others read`,
      hint: "move it out, and if it was ever published make a new one and revoke its fingerprint",
      where: keyFile,
      exit: 2,
    });
  }
  const real = host.files.lstat(realPath);
  if (real.type !== "file") throw badKey(keyFile, "is not a regular file");
  if ((real.mode & 0o077) !== 0) {
    throw new Problem({
      code: "E_KEY_PERMISSIONS",
      message: `the signing key ${keyFile} can be read or written by others (mode ${real.mode.toString(8).padStart(4, "0")})`,
      hint: `chmod 600 ${keyFile}; if somebody may have read it, make a new key and revoke this one's fingerprint`,
      where: keyFile,
      exit: 2,
    });
  }
  const privatePem = host.files.readText(keyFile);
  let key: KeyObject;
  try {
    key = createPrivateKey(privatePem);
  } catch (cause) {
    throw badKey(keyFile, "is not an unencrypted private key in PEM", cause);
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== "rsa" || bits < MINIMUM_MODULUS_BITS) {
    throw new Problem({
      code: "E_KEY_TYPE",
      message: `the signing key ${keyFile} is not an RSA key of ${MINIMUM_MODULUS_BITS} bits or more`,
      hint: "RSA is the only kind that every pkg client verifies with a key file and with fingerprints",
      where: keyFile,
      exit: 2,
    });
  }
  return { type: "rsa", privatePem, publicPem: createPublicKey(key).export({ type: "spki", format: "pem" }).toString() };
}

/** What a fingerprint file says: SHA-256 of the PEM text, byte for byte. */
export function fingerprintOf(publicPem: string): string {
  return sha256(publicPem);
}

function badKey(keyFile: string, why: string, cause?: unknown): Problem {
  return new Problem({ code: "E_BAD_KEY", message: `the signing key ${keyFile} ${why}`, where: keyFile, exit: 2, cause });
}
