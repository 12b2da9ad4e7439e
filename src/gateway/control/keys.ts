/**
 * API keys. `e2b_` and 40 hexadecimal digits, which is what E2B's SDKs accept without being asked; shown once, when it is made. Kept
 * is its SHA-256: whoever reads the ledger cannot use what is there. A key that a person chose (in the configuration) is as good as
 * its choice.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { Problem } from "../../base/index.ts";
import type { Ledger, Row } from "../../ledger/index.ts";
import type { Caller, Scope } from "./types.ts";

const SCOPES: readonly Scope[] = ["read", "exec", "admin"];
const TENANT = /^[a-z0-9][a-z0-9_-]{0,62}$/;
/** Printable, without what separates the parts of a list. */
const CHOSEN_KEY = /^[!-+\-.-9;-~]{8,128}$/;
const SANDBOXES_MAX = 1_000_000;

export interface KeyRecord {
  /** Its first characters: "e2b_0123abcd". */
  readonly id: string;
  readonly tenant: string;
  readonly scopes: readonly Scope[];
  readonly label: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number | undefined;
  readonly sandboxesMax: number | undefined;
}

export interface NewKey {
  readonly tenant: string;
  readonly scopes: readonly string[];
  readonly label?: string;
  readonly expiresAtMs?: number;
  readonly sandboxesMax?: number;
}

function badKey(message: string, hint: string): Problem {
  return new Problem({ code: "E_BAD_KEY", message, hint, exit: 2 });
}

function isScope(text: string): text is Scope {
  return (SCOPES as readonly string[]).includes(text);
}

function checked(tenant: string, scopes: readonly string[], sandboxesMax: number | undefined): readonly Scope[] {
  if (!TENANT.test(tenant)) {
    throw badKey(`${JSON.stringify(tenant)} is not the name of a tenant`, "small letters, digits, - and _; 63 at most");
  }
  const wrong = scopes.find((scope) => !isScope(scope));
  if (wrong !== undefined || scopes.length === 0) {
    throw badKey(
      wrong === undefined ? "a key without scopes" : `${JSON.stringify(wrong)} is not a scope`,
      `scopes are ${SCOPES.join(", ")}`,
    );
  }
  if (sandboxesMax !== undefined && (!Number.isInteger(sandboxesMax) || sandboxesMax < 0 || sandboxesMax > SANDBOXES_MAX)) {
    throw badKey(`${sandboxesMax} is not a number of sandboxes`, `a whole number up to ${SANDBOXES_MAX}`);
  }
  return SCOPES.filter((scope) => scopes.includes(scope));
}

function hashOf(key: string): string {
  return createHash("sha256").update(key).digest("hex");
}

function recordOf(row: Row): KeyRecord {
  const number = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);
  return {
    id: String(row["id"]),
    tenant: String(row["tenant"]),
    scopes: String(row["scopes"]).split(" ").filter(isScope),
    label: String(row["label"]),
    createdAtMs: Number(row["created_at_ms"]),
    expiresAtMs: number(row["expires_at_ms"]),
    sandboxesMax: number(row["sandboxes_max"]),
  };
}

/** The key itself is in no other place: whoever asked for it has to keep it. @throws Problem E_BAD_KEY (exit 2) */
export function addKey(
  ledger: Ledger,
  wanted: NewKey,
  { now, random }: { readonly now: () => number; readonly random: (sizeBytes: number) => Uint8Array },
): { readonly key: string; readonly record: KeyRecord } {
  const scopes = checked(wanted.tenant, wanted.scopes, wanted.sandboxesMax);
  const key = `e2b_${Buffer.from(random(20)).toString("hex")}`;
  const row = ledger.transaction(() =>
    ledger
      .statement(
        `INSERT INTO gateway_key(id, hash, tenant, scopes, label, created_at_ms, expires_at_ms, sandboxes_max)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING *`,
      )
      .get(
        key.slice(0, 16),
        hashOf(key),
        wanted.tenant,
        scopes.join(" "),
        (wanted.label ?? "").slice(0, 200),
        Math.trunc(now()),
        wanted.expiresAtMs === undefined ? null : Math.trunc(wanted.expiresAtMs),
        wanted.sandboxesMax ?? null,
      ),
  );
  if (row === undefined) throw new Error("a key was not kept");
  return { key, record: recordOf(row) };
}

/** The oldest first. */
export function listKeys(ledger: Ledger): readonly KeyRecord[] {
  return ledger.statement("SELECT * FROM gateway_key ORDER BY created_at_ms, id").all().map(recordOf);
}

/** By its id, or the key itself; it opens nothing from now on. false: there is none. */
export function removeKey(ledger: Ledger, idOrKey: string): boolean {
  return ledger.transaction(
    () => ledger.statement("DELETE FROM gateway_key WHERE id = ? OR hash = ?").run(idOrKey, hashOf(idOrKey)) > 0,
  );
}

interface ChosenKey {
  readonly hash: string;
  readonly caller: Caller;
}

/** `tenant:key:scope|scope[:max]`, separated by commas, blanks or lines. @throws Problem E_BAD_KEY (exit 2), which shows no key */
export function parseKeys(text: string): readonly ChosenKey[] {
  const words = text.split(/[\s,]+/).filter((word) => word !== "");
  return words.map((word, index) => {
    const [tenant, key, scopes, max, ...rest] = word.split(":");
    if (tenant === undefined || key === undefined || scopes === undefined || rest.length > 0) {
      throw badKey(`key ${index + 1} of the list has another form`, "tenant:key:scope|scope, and :number where it has a limit");
    }
    if (!CHOSEN_KEY.test(key)) {
      throw badKey(`key ${index + 1} of the list, of ${tenant}, is no key`, "8 to 128 printable characters");
    }
    const sandboxesMax = max === undefined ? undefined : /^\d+$/.test(max) ? Number(max) : Number.NaN;
    return {
      hash: hashOf(key),
      caller: {
        tenant,
        scopes: checked(tenant, scopes.split("|"), sandboxesMax),
        keyId: key.slice(0, Math.min(16, Math.floor(key.length / 2))),
        sandboxesMax,
        expiresAtMs: undefined,
      },
    };
  });
}

export interface KeyRing {
  /** Whether anybody can have a key. */
  readonly empty: boolean;
  /** undefined: nobody's. Of a key that has expired, too: whoever asks looks at the time. */
  find(key: string): Caller | undefined;
}

/** Those of the configuration, and those in the ledger as they are at each question: another process may add and remove some. */
export function openKeyRing(ledger: Ledger, chosen: readonly ChosenKey[]): KeyRing {
  const same = (one: string, other: string): boolean => timingSafeEqual(Buffer.from(one, "hex"), Buffer.from(other, "hex"));
  return {
    get empty() {
      return chosen.length === 0 && ledger.statement("SELECT 1 FROM gateway_key LIMIT 1").get() === undefined;
    },
    find: (key) => {
      const hash = hashOf(key);
      let found: Caller | undefined;
      // Every one is compared, whichever it is.
      for (const one of chosen) if (same(one.hash, hash)) found = one.caller;
      if (found !== undefined) return found;
      // By the digest: how long the index takes says nothing about the key.
      const row = ledger.statement("SELECT * FROM gateway_key WHERE hash = ?").get(hash);
      if (row === undefined || !same(String(row["hash"]), hash)) return undefined;
      const { id, tenant, scopes, sandboxesMax, expiresAtMs } = recordOf(row);
      return { tenant, scopes, keyId: id, sandboxesMax, expiresAtMs };
    },
  };
}
