/**
 * The key of this host: ed25519 (RFC 8032) in PEM (PKCS #8), in a file of mode 0600 that is made when it is not there. It says
 * that a verdict was given here, or that a template was made here; whoever signs with it signs texts that nothing else can be taken for.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomUUID, sign, verify } from "node:crypto";
import { dirname } from "node:path/posix";
import { Problem, sha256 } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";

export interface HostKey {
  readonly privateKey: KeyObject;
  readonly publicPem: string;
}

/** @throws Problem E_KEY_PERMISSIONS (others may read it), E_KEY_TYPE (not ed25519), E_BAD_KEY (exit 2) */
export function loadHostKey(host: Host, keyFile: string): HostKey {
  if (host.files.lstatIfAny(keyFile) === undefined) makeHostKey(host, keyFile);
  const stat = host.files.lstat(host.files.realPath(keyFile));
  if (stat.type !== "file") throw bad("E_BAD_KEY", keyFile, "is not a regular file");
  if ((stat.mode & 0o077) !== 0) {
    const mode = stat.mode.toString(8).padStart(4, "0");
    const hint = `chmod 600 ${keyFile}; if somebody may have read it, move it away and another one is made`;
    throw bad("E_KEY_PERMISSIONS", keyFile, `can be read or written by others (mode ${mode})`, hint);
  }
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(host.files.readText(keyFile));
  } catch (cause) {
    throw bad("E_BAD_KEY", keyFile, "is not an unencrypted private key in PEM", undefined, cause);
  }
  if (privateKey.asymmetricKeyType !== "ed25519") {
    throw bad("E_KEY_TYPE", keyFile, `is of the type ${privateKey.asymmetricKeyType}, not ed25519`);
  }
  return { privateKey, publicPem: publicPemOf(privateKey) };
}

/** What other rooms sign with: the key itself stays here. */
export interface HostSigner {
  readonly publicPem: string;
  readonly publicKeySha256: string;
  /** 64 bytes. */
  sign(text: string): Uint8Array;
  /** By this host's own key. */
  verify(text: string, signature: Uint8Array): boolean;
}

/** @throws Problem as `loadHostKey` */
export function hostSigner(host: Host, keyFile: string): HostSigner {
  const { privateKey, publicPem } = loadHostKey(host, keyFile);
  return {
    publicPem,
    publicKeySha256: keyFingerprint(publicPem),
    sign: (text) => sign(null, Buffer.from(text), privateKey),
    verify: (text, signature) => verify(null, Buffer.from(text), publicPem, signature),
  };
}

/** What people compare: SHA-256 of the PEM text of the public key. */
export function keyFingerprint(publicPem: string): string {
  return sha256(publicPem);
}

function publicPemOf(privateKey: KeyObject): string {
  return createPublicKey(privateKey).export({ type: "spki", format: "pem" }).toString();
}

/** Written beside and linked into place, so that two processes that start together end up with one key, and a whole one. */
function makeHostKey(host: Host, keyFile: string): void {
  const pem = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const beside = `${keyFile}.${randomUUID()}`;
  host.files.makeDirectory(dirname(keyFile), { parents: true, mode: 0o700 });
  const descriptor = host.files.open(beside, "wx", 0o600);
  try {
    host.files.write(descriptor, new TextEncoder().encode(pem));
    host.files.sync(beside);
    host.files.hardLink(beside, keyFile);
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  } finally {
    host.files.close(descriptor);
    host.files.unlink(beside);
  }
}

function bad(code: `E_${string}`, keyFile: string, why: string, hint?: string, cause?: unknown): Problem {
  return new Problem({
    code,
    message: `the host's key ${keyFile} ${why}`,
    ...(hint === undefined ? {} : { hint }),
    where: keyFile,
    exit: 2,
    ...(cause === undefined ? {} : { cause }),
  });
}
