import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { thrownProblem } from "../../base/testing.ts";
import { type Ledger, openLedger } from "../../ledger/index.ts";
import { callerOf, may } from "./auth.ts";
import { addKey, listKeys, openKeyRing, parseKeys, removeKey } from "./keys.ts";
import { Refusal } from "./refusal.ts";
import { GATEWAY_MIGRATION } from "./schema.ts";

let ledger: Ledger;
beforeEach(() => {
  ledger = openLedger(":memory:", [GATEWAY_MIGRATION]);
});
afterEach(() => ledger.close());

const sources = { now: () => 1000, random: (sizeBytes: number) => crypto.getRandomValues(new Uint8Array(sizeBytes)) };

describe("keys in the ledger", () => {
  test("have the form that every SDK accepts, are shown once and kept as a digest", () => {
    const { key, record } = addKey(
      ledger,
      { tenant: "acme", scopes: ["exec", "read", "exec"], label: "laptop", sandboxesMax: 3 },
      sources,
    );
    expect(key).toMatch(/^e2b_[0-9a-f]{40}$/);
    expect(record).toEqual({
      id: key.slice(0, 16),
      tenant: "acme",
      scopes: ["read", "exec"],
      label: "laptop",
      createdAtMs: 1000,
      expiresAtMs: undefined,
      sandboxesMax: 3,
    });
    expect(listKeys(ledger)).toEqual([record]);
    const rows = JSON.stringify(ledger.statement("SELECT * FROM gateway_key").all());
    expect([rows.includes(key), rows.includes(key.slice(20))]).toEqual([false, false]);
    expect(rows).toContain(new Bun.CryptoHasher("sha256").update(key).digest("hex"));
  });

  test("open while they are there, and are removed by id or by themselves", () => {
    const ring = openKeyRing(ledger, []);
    expect([ring.empty, ring.find("e2b_x")]).toEqual([true, undefined]);
    const one = addKey(ledger, { tenant: "acme", scopes: ["admin"] }, sources);
    const two = addKey(ledger, { tenant: "other", scopes: ["read"], expiresAtMs: 5 }, sources);
    expect(ring.find(one.key)).toMatchObject({ tenant: "acme", scopes: ["admin"], keyId: one.record.id });
    expect(ring.find(two.key)).toMatchObject({ tenant: "other", expiresAtMs: 5 });
    expect([ring.empty, ring.find(one.key.toUpperCase()), ring.find(one.record.id), ring.find("")]).toEqual([
      false,
      undefined,
      undefined,
      undefined,
    ]);
    expect([removeKey(ledger, one.record.id), removeKey(ledger, one.record.id), removeKey(ledger, two.key)]).toEqual([
      true,
      false,
      true,
    ]);
    expect([ring.empty, ring.find(one.key), ring.find(two.key)]).toEqual([true, undefined, undefined]);
  });

  test.each([
    [{ tenant: "", scopes: ["read"] }],
    [{ tenant: "A", scopes: ["read"] }],
    [{ tenant: "a:b", scopes: ["read"] }],
    [{ tenant: "a", scopes: [] }],
    [{ tenant: "a", scopes: ["root"] }],
    [{ tenant: "a", scopes: ["read"], sandboxesMax: -1 }],
    [{ tenant: "a", scopes: ["read"], sandboxesMax: 1.5 }],
  ])("%p is none", (wanted) => {
    expect(thrownProblem(() => addKey(ledger, wanted, sources)).code).toBe("E_BAD_KEY");
    expect(listKeys(ledger)).toEqual([]);
  });
});

describe("keys in the configuration", () => {
  test("are read from lists of every form", () => {
    const ring = openKeyRing(
      ledger,
      parseKeys("acme:e2b_0123abcd:read|exec:4,\n other:a-long/secret+key=:admin  third:12345678:read"),
    );
    expect(ring.empty).toBe(false);
    expect(ring.find("e2b_0123abcd")).toMatchObject({
      tenant: "acme",
      scopes: ["read", "exec"],
      sandboxesMax: 4,
      expiresAtMs: undefined,
    });
    expect(ring.find("a-long/secret+key=")).toMatchObject({ tenant: "other", scopes: ["admin"], sandboxesMax: undefined });
    // Half of a short key at most is shown.
    expect(ring.find("12345678")?.keyId).toBe("1234");
  });

  test.each([
    "acme",
    "acme:12345678",
    "acme:1234567:read",
    "acme:12345678:",
    "acme:12345678:root",
    "acme:12345678:read:x",
    "acme:12345678:read:1:2",
  ])("%s is refused, and not repeated", (text) => {
    const { code, message, details, hint } = thrownProblem(() => parseKeys(text));
    expect(code).toBe("E_BAD_KEY");
    expect(JSON.stringify([message, details, hint])).not.toContain("1234567");
  });
});

describe("a request", () => {
  const caller = (headers: Record<string, string>, atMs = 0) => {
    try {
      const ring = openKeyRing(ledger, parseKeys("acme:12345678:exec"));
      return callerOf(new Headers(headers), ring, false, atMs).tenant;
    } catch (error) {
      if (error instanceof Refusal) return error.status;
      throw error;
    }
  };

  test("brings its key in one of two headers", () => {
    expect(caller({ "X-API-KEY": "12345678" })).toBe("acme");
    expect(caller({ Authorization: "Bearer 12345678" })).toBe("acme");
    expect(caller({ Authorization: "bearer  12345678" })).toBe("acme");
    expect([caller({}), caller({ "X-API-KEY": "" }), caller({ Authorization: "Basic 12345678" })]).toEqual([401, 401, 401]);
    expect([caller({ "X-API-KEY": "12345679" }), caller({ "X-API-KEY": "1".repeat(10_000) })]).toEqual([401, 401]);
  });

  test("may what its key may", () => {
    const allowed = (scopes: ("read" | "exec" | "admin")[]) => {
      const who = { tenant: "a", scopes, keyId: "", sandboxesMax: undefined, expiresAtMs: undefined };
      return (["read", "exec", "admin"] as const).filter((scope) => may(who, scope));
    };
    expect([allowed(["read"]), allowed(["exec"]), allowed(["admin"])]).toEqual([
      ["read"],
      ["read", "exec"],
      ["read", "exec", "admin"],
    ]);
  });
});
