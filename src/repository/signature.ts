/**
 * Signatures of catalogues, exactly as pkg(8) makes and checks them.
 *
 * With H the lowercase hex SHA-256 of the uncompressed inner file (`data`, `packagesite.yaml`): an RSA signature is PKCS#1 v1.5
 * with SHA-256 over the 64 characters of H. Clients configured with a public key read the member `signature`, where pkg
 * appends one NUL and strips it again; clients configured with fingerprints read `<name>.sig` and `<name>.pub`. One archive
 * carries both. ECDSA and EdDSA signatures are marked by a prefix; with a key file they are made over the BLAKE2b-512 digest
 * of the inner file, with fingerprints over H.
 */
import { createHash, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { Problem, sha256 } from "../base/index.ts";
import type { SigningKey, Trust } from "./types.ts";

export interface SignatureMember {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What an archive carries besides its inner file. */
export interface FoundSignatures {
  readonly signature: Uint8Array | undefined;
  /** By name without `.sig` and `.pub`. */
  readonly certificates: ReadonlyMap<string, { readonly sig?: Uint8Array; readonly pub?: Uint8Array }>;
}

export interface Verified {
  readonly mode: Trust["mode"];
  /** The key that verified, as it was trusted. */
  readonly key: KeyObject;
}

type SignatureType = "rsa" | "ecdsa" | "eddsa";

/** `digest` is H. */
export function signCatalogue(digest: string, innerName: string, key: SigningKey): readonly SignatureMember[] {
  const signature = signText(digest, key);
  const withNul = new Uint8Array(signature.length + 1);
  withNul.set(signature);
  return [
    { name: "signature", bytes: withNul },
    { name: `${innerName}.sig`, bytes: signature },
    { name: `${innerName}.pub`, bytes: new TextEncoder().encode(key.publicPem) },
  ];
}

export function signText(text: string, key: SigningKey): Uint8Array {
  return sign("sha256", Buffer.from(text), key.privatePem);
}

export function verifyText(text: string, signature: Uint8Array, key: KeyObject): boolean {
  return key.asymmetricKeyType === "rsa" && verify("sha256", Buffer.from(text), key, signature);
}

/**
 * @throws Problem E_SIGNATURE_MISSING, E_SIGNATURE_INVALID, E_KEY_REVOKED, E_KEY_UNTRUSTED, E_SIGNATURE_TYPE
 */
export function verifyCatalogue(inner: Uint8Array, found: FoundSignatures, trust: Trust, name: string): Verified {
  return trust.mode === "pubkey"
    ? verifyWithKey(inner, found, trust.publicPem, name)
    : verifyWithFingerprints(inner, found, trust, name);
}

function verifyWithKey(inner: Uint8Array, found: FoundSignatures, publicPem: string, name: string): Verified {
  const { signature } = found;
  if (signature === undefined) {
    throw problem("E_SIGNATURE_MISSING", `${name} carries no signature for clients that trust a key`, [
      "its publisher signs for fingerprints only, or somebody removed the signature",
    ]);
  }
  const key = trustedKey(Buffer.from(publicPem), "the trusted public key");
  const [type, bytes] = splitType(signature);
  const message = type === "rsa" ? Buffer.from(sha256(inner)) : createHash("blake2b512").update(inner).digest();
  if (!verifies(type, message, bytes, key)) throw invalid(name);
  return { mode: "pubkey", key };
}

function verifyWithFingerprints(
  inner: Uint8Array,
  found: FoundSignatures,
  trust: Extract<Trust, { mode: "fingerprints" }>,
  name: string,
): Verified {
  if (found.certificates.size === 0) throw problem("E_SIGNATURE_MISSING", `${name} carries no signature with a certificate`);
  const revoked = new Set(trust.revoked.map((fingerprint) => fingerprint.toLowerCase()));
  const trusted = new Set(trust.trusted.map((fingerprint) => fingerprint.toLowerCase()));
  const candidates: { readonly sig: Uint8Array; readonly pub: Uint8Array }[] = [];
  for (const [certificate, { sig, pub }] of found.certificates) {
    if (sig === undefined || pub === undefined) {
      throw problem(
        "E_SIGNATURE_MISSING",
        `${name} carries ${sig === undefined ? "no signature" : "no key"} named ${certificate}`,
      );
    }
    const fingerprint = sha256(pub);
    if (revoked.has(fingerprint)) throw problem("E_KEY_REVOKED", `${name} is signed with a revoked key (${fingerprint})`);
    if (trusted.has(fingerprint)) candidates.push({ sig, pub });
  }
  if (candidates.length === 0) {
    const seen = [...found.certificates.values()].map(({ pub }) => `found ${pub === undefined ? "no key" : sha256(pub)}`);
    throw problem("E_KEY_UNTRUSTED", `${name} is signed by no trusted key`, seen);
  }
  for (const { sig, pub } of candidates) {
    const [type, bytes] = splitType(sig);
    const key = trustedKey(Buffer.from(pub), `the key in ${name}`);
    if (verifies(type, Buffer.from(sha256(inner)), bytes, key)) return { mode: "fingerprints", key };
  }
  throw invalid(name);
}

/** What clients that trust in the other way would refuse, in a catalogue that was verified; undefined when there is nothing. */
export function otherModeFault(inner: Uint8Array, found: FoundSignatures, { mode, key }: Verified): string | undefined {
  if (mode === "fingerprints") {
    if (found.signature === undefined) return undefined;
    const [type, bytes] = splitType(found.signature);
    const message = type === "rsa" ? Buffer.from(sha256(inner)) : createHash("blake2b512").update(inner).digest();
    return verifies(type, message, bytes, key) ? undefined : "the signature for clients that trust a key is not of this content";
  }
  for (const [name, { sig, pub }] of found.certificates) {
    if (sig === undefined || pub === undefined) return `${name}.${sig === undefined ? "sig" : "pub"} is not there`;
    const [type, bytes] = splitType(sig);
    const fault = `${name}.sig and ${name}.pub, for clients that trust fingerprints, do not fit this content`;
    try {
      if (!verifies(type, Buffer.from(sha256(inner)), bytes, trustedKey(Buffer.from(pub), name))) return fault;
    } catch (error) {
      if (error instanceof Problem) return fault;
      throw error;
    }
  }
  return undefined;
}

const PREFIX = /^\$PKGSIGN:([a-z0-9]{1,16})\$/;

function splitType(signature: Uint8Array): readonly [SignatureType, Uint8Array] {
  const head = Buffer.from(signature.subarray(0, 32)).toString("latin1");
  const prefix = PREFIX.exec(head);
  if (prefix === null) {
    // pkg's terminating NUL; a signature that ends in one of its own has two.
    const end = signature.at(-1) === 0 && signature.length % 2 === 1 ? -1 : signature.length;
    return ["rsa", signature.subarray(0, end)];
  }
  const type = prefix[1];
  if (type !== "rsa" && type !== "ecdsa" && type !== "eddsa") throw unknownType(`$PKGSIGN:${type}$`);
  return [type, signature.subarray(prefix[0].length)];
}

function verifies(type: SignatureType, message: Uint8Array, signature: Uint8Array, key: KeyObject): boolean {
  switch (type) {
    case "rsa":
      return key.asymmetricKeyType === "rsa" && verify("sha256", message, key, signature);
    case "ecdsa":
      if (key.asymmetricKeyType !== "ec") return false;
      // DER is self-delimiting, so a trailing NUL is told from the signature by its own length.
      return verify("sha256", message, { key, dsaEncoding: "der" }, signature.subarray(0, derLength(signature)));
    case "eddsa":
      throw unknownType("eddsa");
  }
}

function derLength(der: Uint8Array): number {
  const [, first = 0, second = 0] = der;
  if (first < 0x80) return 2 + first;
  return first === 0x81 ? 3 + second : der.length;
}

/** PEM, or DER as pkg's own tools write for elliptic curves. */
function trustedKey(bytes: Buffer, what: string): KeyObject {
  try {
    return bytes.includes("-----BEGIN") ? createPublicKey(bytes) : createPublicKey({ key: bytes, format: "der", type: "spki" });
  } catch (cause) {
    throw new Problem({
      code: "E_SIGNATURE_TYPE",
      message: `${what} is of a kind that cannot be read here`,
      hint: "RSA keys in PEM always can; of the elliptic curves only those that the runtime knows",
      cause,
    });
  }
}

function invalid(name: string): Problem {
  return problem("E_SIGNATURE_INVALID", `${name} is not what the trusted key signed`, [
    "it was signed with another key, or its content or its signature was changed; nothing of it was used",
  ]);
}

function unknownType(type: string): Problem {
  return problem("E_SIGNATURE_TYPE", `signatures of the type ${type} cannot be verified here`);
}

function problem(code: `E_${string}`, message: string, details: readonly string[] = []): Problem {
  return new Problem({ code, message, details });
}
