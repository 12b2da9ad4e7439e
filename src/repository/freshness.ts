/**
 * How old is a catalogue? pkg has no answer: an older one, validly signed, replaces a newer one without a word.
 *
 * A publisher of Garth puts a small signed statement beside the catalogue, `freshness.json`: the digest of the catalogue and when it
 * was published, strictly later than every statement before. It is not part of the catalogue, whose bytes depend on the packages
 * alone. A reader keeps a record of the newest it has seen and refuses what is older. Of a repository without statements it
 * remembers the catalogues that were replaced, and refuses those.
 */
import type { KeyObject } from "node:crypto";
import { canonicalJson, isSha256, Problem } from "../base/index.ts";
import { signText, verifyText } from "./signature.ts";
import type { SigningKey } from "./types.ts";

const SCHEME = "garth-freshness-1";
const REMEMBERED = 256;
export const MAXIMUM_STATEMENT_BYTES = 16 << 10;

export interface Freshness {
  readonly catalogueSha256: string;
  /** Milliseconds since 1970. */
  readonly issuedAtMs: number;
}

/** What a reader keeps between two reads of one repository. */
export interface FreshnessRecord {
  readonly catalogueSha256: string;
  /** undefined for a repository without statements. */
  readonly issuedAtMs: number | undefined;
  /** Catalogues that were replaced by a newer one, newest last. */
  readonly superseded: readonly string[];
}

/** Later than `previous` even when the clock went back. */
export function nextIssue(nowMs: number, previous: Freshness | undefined): number {
  return Math.max(nowMs, (previous?.issuedAtMs ?? 0) + 1);
}

export function renderFreshness(freshness: Freshness, key: SigningKey): string {
  const signature = Buffer.from(signText(signedText(freshness), key)).toString("base64");
  const { catalogueSha256, issuedAtMs } = freshness;
  return `${canonicalJson({ scheme: SCHEME, catalogueSha256, issuedAtMs, signature })}\n`;
}

/** @throws Problem E_FRESHNESS_INVALID */
export function verifyFreshness(text: string, key: KeyObject, name: string): Freshness {
  const invalid = (why: string, cause?: unknown): Problem =>
    new Problem({ code: "E_FRESHNESS_INVALID", message: `the freshness statement of ${name} ${why}`, cause });
  let statement: unknown;
  try {
    statement = JSON.parse(text);
  } catch (cause) {
    throw invalid("is not JSON", cause);
  }
  if (typeof statement !== "object" || statement === null) throw invalid("is not an object");
  if (!("scheme" in statement) || statement.scheme !== SCHEME) throw invalid("is of an unknown scheme");
  const digest = "catalogueSha256" in statement ? statement.catalogueSha256 : undefined;
  const issuedAtMs = "issuedAtMs" in statement ? statement.issuedAtMs : undefined;
  const signature = "signature" in statement ? statement.signature : undefined;
  if (typeof digest !== "string" || !isSha256(digest)) throw invalid("names no catalogue");
  if (typeof issuedAtMs !== "number" || !Number.isSafeInteger(issuedAtMs)) throw invalid("has no time");
  if (typeof signature !== "string") throw invalid("is not signed");
  const freshness = { catalogueSha256: digest, issuedAtMs };
  if (!verifyText(signedText(freshness), Buffer.from(signature, "base64"), key)) throw invalid("has a wrong signature");
  return freshness;
}

export interface FreshnessOptions {
  readonly allowRollback?: boolean;
  /** Refuse a statement older than this: somebody may be holding back newer ones. */
  readonly maximumAgeMs?: number;
  readonly nowMs: number;
}

/**
 * The record to keep after this catalogue was read.
 *
 * @throws Problem E_CATALOGUE_ROLLED_BACK, E_CATALOGUE_STALE
 */
export function judgeFreshness(
  record: FreshnessRecord | undefined,
  catalogueSha256: string,
  statement: Freshness | undefined,
  options: FreshnessOptions,
  name: string,
): FreshnessRecord {
  if (statement !== undefined && statement.catalogueSha256 !== catalogueSha256) {
    throw new Problem({
      code: "E_CATALOGUE_ROLLED_BACK",
      message: `the catalogue of ${name} is not the one its publisher last vouched for`,
      details: [`vouched for ${statement.catalogueSha256}`, `found       ${catalogueSha256}`],
      hint: "if it was published this very moment, try again",
    });
  }
  const { maximumAgeMs, nowMs } = options;
  if (maximumAgeMs !== undefined && (statement === undefined || nowMs - statement.issuedAtMs > maximumAgeMs)) {
    throw new Problem({
      code: "E_CATALOGUE_STALE",
      message: `the catalogue of ${name} is older than allowed${statement === undefined ? ": it does not say when it was published" : ""}`,
      details: statement === undefined ? [] : [`published ${new Date(statement.issuedAtMs).toISOString()}`],
    });
  }
  const why = record === undefined ? undefined : rolledBack(record, catalogueSha256, statement);
  if (why !== undefined && options.allowRollback !== true) {
    throw new Problem({
      code: "E_CATALOGUE_ROLLED_BACK",
      message: `the catalogue of ${name} is older than one seen before: ${why}`,
      hint: "an old catalogue offers old, vulnerable packages; if the repository was really set back, say --allow-rollback once",
    });
  }
  const replaced = record !== undefined && record.catalogueSha256 !== catalogueSha256 ? [record.catalogueSha256] : [];
  const superseded = [...(record?.superseded ?? []), ...replaced]
    .filter((digest) => digest !== catalogueSha256)
    .slice(-REMEMBERED);
  const same = record?.catalogueSha256 === catalogueSha256;
  const issuedAtMs = same && why === undefined ? latest(record.issuedAtMs, statement?.issuedAtMs) : statement?.issuedAtMs;
  return { catalogueSha256, issuedAtMs, superseded };
}

function rolledBack(record: FreshnessRecord, catalogueSha256: string, statement: Freshness | undefined): string | undefined {
  if (record.issuedAtMs !== undefined && statement === undefined) return "that one said when it was published, this one does not";
  if (record.catalogueSha256 === catalogueSha256) return undefined;
  if (record.issuedAtMs !== undefined && statement !== undefined) {
    if (statement.issuedAtMs > record.issuedAtMs) return undefined;
    return `published ${new Date(statement.issuedAtMs).toISOString()}, seen ${new Date(record.issuedAtMs).toISOString()}`;
  }
  if (statement === undefined && record.superseded.includes(catalogueSha256)) return "it had been replaced by a newer one";
  return undefined;
}

function latest(left: number | undefined, right: number | undefined): number | undefined {
  if (left === undefined || right === undefined) return left ?? right;
  return Math.max(left, right);
}

function signedText({ catalogueSha256, issuedAtMs }: Freshness): string {
  return `${SCHEME}\n${catalogueSha256}\n${issuedAtMs}\n`;
}
