/**
 * Signed URLs of files: `v1_` and the SHA-256 of path, operation, user, token and expiry, as standard base64 without padding.
 * The token is not in the URL; whoever has the URL can do this one thing, for as long as it says.
 */
import { createHash, timingSafeEqual } from "node:crypto";

export interface SignedRequest {
  /** As the query has it; "" where it has none. */
  readonly path: string;
  readonly operation: "read" | "write";
  readonly user: string;
  readonly signature: string;
  /** Seconds since 1970, as it was written. */
  readonly expiration: string | undefined;
}

export function signature(signed: Omit<SignedRequest, "signature">, token: string): string {
  const { path, operation, user, expiration } = signed;
  const text = [path, operation, user, token, ...(expiration === undefined ? [] : [expiration])].join(":");
  return `v1_${createHash("sha256").update(text).digest("base64").replace(/=+$/, "")}`;
}

/** undefined: the URL carries no signature. */
export function signedRequest(method: string, query: URLSearchParams): SignedRequest | undefined {
  const given = query.get("signature");
  if (given === null) return undefined;
  return {
    path: query.get("path") ?? "",
    operation: method === "GET" || method === "HEAD" ? "read" : "write",
    user: query.get("username") ?? "",
    // A `+` that a client left as it was arrives as a blank.
    signature: given.replaceAll(" ", "+"),
    expiration: query.get("signature_expiration") ?? undefined,
  };
}

export function isSignedBy(signed: SignedRequest, token: string, nowMs: number): boolean {
  if (signed.expiration !== undefined) {
    if (!/^\d{1,15}$/.test(signed.expiration) || Number(signed.expiration) * 1000 < nowMs) return false;
  }
  const [given, made] = [Buffer.from(signed.signature), Buffer.from(signature(signed, token))];
  return given.byteLength === made.byteLength && timingSafeEqual(given, made);
}

/** Takes as long whatever differs, the length too. */
export function equalSecrets(one: string, other: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}
