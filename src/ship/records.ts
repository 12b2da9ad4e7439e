/** Which stage was done for which key, and what it made. */
import { isStorePath } from "../base/index.ts";
import type { Ledger, Migration } from "../ledger/index.ts";
import type { ReceiptFields } from "../receipt/index.ts";
import type { Abi } from "../pkg/index.ts";
import type { MadePackage } from "./plan.ts";

export const SHIP_MIGRATION: Migration = {
  room: "ship",
  steps: [`CREATE TABLE ship_done(key TEXT PRIMARY KEY, result TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID`],
};

/** The result of a stage, as JSON, or undefined. A text that is no longer understood counts as not done. */
export function resultOf(ledger: Ledger, key: string): unknown {
  const text = ledger.statement("SELECT result FROM ship_done WHERE key = ?").get(key)?.["result"];
  if (typeof text !== "string") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function noteResult(ledger: Ledger, key: string, result: unknown, atMs: number): void {
  ledger
    .statement(
      "INSERT INTO ship_done(key, result, at_ms) VALUES(?, ?, ?) ON CONFLICT(key) DO UPDATE SET result = excluded.result, at_ms = excluded.at_ms",
    )
    .run(key, JSON.stringify(result), atMs);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function readFields(value: unknown): ReceiptFields | undefined {
  if (!isRecord(value)) return undefined;
  const fields: Record<string, string> = {};
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") return undefined;
    fields[key] = text;
  }
  return fields;
}

export function readPackages(value: unknown): readonly MadePackage[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const packages: MadePackage[] = [];
  for (const each of value) {
    const { name, version, path, sha256 } = readFields(each) ?? {};
    if (name === undefined || version === undefined || sha256 === undefined || path === undefined || !isStorePath(path))
      return undefined;
    packages.push({ name, version, path, sha256 });
  }
  return packages;
}

export function readAbi(value: unknown): Abi | undefined {
  if (!isRecord(value)) return undefined;
  const { system, release, architecture, osVersion } = value;
  if ((system !== "FreeBSD" && system !== "Linux") || typeof release !== "string" || typeof architecture !== "string")
    return undefined;
  return { system, release, architecture, ...(typeof osVersion === "number" && { osVersion }) };
}
