/** Rows: reading and writing what is valid. */
import { isStorePath, Problem, STORE_DIRECTORY, type StorePath } from "../base/index.ts";
import type { Ledger, Row } from "../ledger/index.ts";
import type { Prepared, Realised } from "./plan.ts";
import type { StoreItem } from "./types.ts";

/** `lastUsedAtMs` is kept to the hour: a build that finds everything present writes nothing. */
export const USE_GRAIN_MS = 3_600_000;
const COLUMNS = "id, path, nar_sha256, nar_size, deriver, registered_at_ms, used_at_ms";

export function toStorePath(value: unknown): StorePath {
  if (typeof value === "string" && isStorePath(value)) return value;
  throw new Problem({
    code: "E_LEDGER_DAMAGED",
    message: `the database names ${JSON.stringify(value)} where a store path belongs`,
    hint: "run `garth store verify --repair`",
    exit: 3,
  });
}

/** In the column `nar_sha256`. */
const NOT_TAKEN = "";

function narDigestIn(row: Row): string | undefined {
  const text = String(row["nar_sha256"]);
  return text === NOT_TAKEN ? undefined : text;
}

function toItem(ledger: Ledger, row: Row): StoreItem {
  return {
    path: toStorePath(row["path"]),
    narSha256: narDigestIn(row),
    narSizeBytes: Number(row["nar_size"]),
    references: referencesOf(ledger, Number(row["id"])),
    deriver: row["deriver"] === null ? undefined : toStorePath(row["deriver"]),
    registeredAtMs: Number(row["registered_at_ms"]),
    lastUsedAtMs: Number(row["used_at_ms"]),
  };
}

function referencesOf(ledger: Ledger, id: number): readonly StorePath[] {
  return ledger
    .statement("SELECT path FROM reference JOIN item ON item.id = target WHERE referrer = ? ORDER BY path")
    .all(id)
    .map((row) => toStorePath(row["path"]));
}

export function idOf(ledger: Ledger, path: StorePath): number | undefined {
  const row = ledger.statement("SELECT id FROM item WHERE path = ?").get(path);
  return row === undefined ? undefined : Number(row["id"]);
}

export function queryItem(ledger: Ledger, path: StorePath): StoreItem | undefined {
  const row = ledger.statement(`SELECT ${COLUMNS} FROM item WHERE path = ?`).get(path);
  return row === undefined ? undefined : toItem(ledger, row);
}

export function allItems(ledger: Ledger): readonly StoreItem[] {
  const rows = ledger.statement(`SELECT ${COLUMNS} FROM item ORDER BY path`).all();
  const paths = new Map(rows.map((row) => [Number(row["id"]), toStorePath(row["path"])]));
  const references = new Map<number, StorePath[]>();
  for (const row of ledger.statement("SELECT referrer, target FROM reference").all()) {
    const target = paths.get(Number(row["target"]));
    const known = references.get(Number(row["referrer"]));
    if (target === undefined) continue;
    if (known === undefined) references.set(Number(row["referrer"]), [target]);
    else known.push(target);
  }
  return rows.map((row) => ({
    path: toStorePath(row["path"]),
    narSha256: narDigestIn(row),
    narSizeBytes: Number(row["nar_size"]),
    references: (references.get(Number(row["id"])) ?? []).toSorted(),
    deriver: row["deriver"] === null ? undefined : toStorePath(row["deriver"]),
    registeredAtMs: Number(row["registered_at_ms"]),
    lastUsedAtMs: Number(row["used_at_ms"]),
  }));
}

/** Full paths, hashes, beginnings of hashes, and names or beginnings of names. */
export function findItems(ledger: Ledger, text: string): readonly StorePath[] {
  const full = text.startsWith(`${STORE_DIRECTORY}/`) ? text : `${STORE_DIRECTORY}/${text}`;
  const byPath = ledger
    .statement("SELECT path FROM item WHERE path >= ? AND path < ? ORDER BY path")
    .all(full, `${full}\u{10ffff}`);
  const rows =
    byPath.length > 0
      ? byPath
      : ledger.statement("SELECT path FROM item WHERE substr(path, ?, length(?2)) = ?2 ORDER BY path").all(NAME_COLUMN, text);
  return rows.map((row) => toStorePath(row["path"]));
}
/** Where the name begins in a path, counted from 1. */
const NAME_COLUMN = STORE_DIRECTORY.length + 1 + 64 + 1 + 1;

export function referrersOf(ledger: Ledger, path: StorePath): readonly StorePath[] {
  return ledger
    .statement(
      `SELECT item.path AS path FROM reference JOIN item ON item.id = referrer
       WHERE target = (SELECT id FROM item WHERE path = ?) ORDER BY path`,
    )
    .all(path)
    .map((row) => toStorePath(row["path"]));
}

/** Dependencies first. Paths that are not valid are left out. */
export function closureOf(ledger: Ledger, paths: readonly StorePath[]): readonly StorePath[] {
  const done = new Set<StorePath>();
  const visiting = new Set<StorePath>();
  const order: StorePath[] = [];
  // An explicit stack: a chain of many thousand references must not exhaust the runtime's own.
  for (const start of paths) {
    const stack: { readonly path: StorePath; readonly next: Iterator<StorePath> }[] = [];
    const enter = (path: StorePath): void => {
      if (done.has(path) || visiting.has(path)) return;
      const id = idOf(ledger, path);
      if (id === undefined) return;
      visiting.add(path);
      stack.push({ path, next: referencesOf(ledger, id)[Symbol.iterator]() });
    };
    enter(start);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const next = top.next.next();
      if (next.done !== true) {
        enter(next.value);
        continue;
      }
      stack.pop();
      done.add(top.path);
      order.push(top.path);
    }
  }
  return order;
}

/** Inside a transaction. */
export function insertItem(ledger: Ledger, item: Prepared, now: number): void {
  ledger
    .statement("INSERT INTO item(path, nar_sha256, nar_size, deriver, registered_at_ms, used_at_ms) VALUES (?, ?, ?, ?, ?, ?)")
    .run(item.path, item.narSha256 ?? NOT_TAKEN, item.narSizeBytes, item.deriver ?? null, Math.trunc(now), Math.trunc(now));
}

/** Inside a transaction, when all items that come together have their rows. @throws Problem E_REFERENCE_MISSING */
export function insertReferences(ledger: Ledger, item: Prepared): void {
  const id = idOf(ledger, item.path) ?? 0;
  for (const reference of item.references) {
    const target = idOf(ledger, reference);
    if (target === undefined) {
      throw new Problem({
        code: "E_REFERENCE_MISSING",
        message: `${item.path} refers to ${reference}, which is not in the store`,
        hint: "register or build the reference first; it may have been removed by `garth store gc` in between",
      });
    }
    ledger.statement("INSERT INTO reference(referrer, target) VALUES (?, ?)").run(id, target);
  }
}

export function insertRealisation(ledger: Ledger, { drv, outputs }: Realised): void {
  ledger.statement("DELETE FROM realisation WHERE drv = ?").run(drv);
  for (const [output, path] of Object.entries(outputs)) {
    ledger.statement("INSERT INTO realisation(drv, output, path) VALUES (?, ?, ?)").run(drv, output, path);
  }
}

/** Inside a transaction. Derivations any of whose outputs goes are no longer realised. */
export function deleteItems(ledger: Ledger, paths: readonly StorePath[]): void {
  const rows = paths.map((path) => ({ path, id: idOf(ledger, path) }));
  const realised = ledger.statement("DELETE FROM realisation WHERE drv IN (SELECT drv FROM realisation WHERE path = ?)");
  const edges = ledger.statement("DELETE FROM reference WHERE referrer = ?");
  const item = ledger.statement("DELETE FROM item WHERE id = ?");
  for (const { path, id } of rows) {
    if (id === undefined) continue;
    realised.run(path);
    edges.run(id);
  }
  for (const { id } of rows) if (id !== undefined) item.run(id);
}

/** Of those derivations all of whose outputs are valid, the outputs. One statement, however many are asked for. */
export function realisationsOf(
  ledger: Ledger,
  drvs: readonly StorePath[],
): ReadonlyMap<StorePath, Readonly<Record<string, StorePath>>> {
  const rows = ledger
    .statement(
      `SELECT drv, output, realisation.path AS path, item.id AS id
       FROM realisation LEFT JOIN item ON item.path = realisation.path
       WHERE drv IN (SELECT value FROM json_each(?)) ORDER BY drv, output`,
    )
    .all(JSON.stringify(drvs));
  const found = new Map<StorePath, Record<string, StorePath>>();
  const broken = new Set<StorePath>();
  for (const row of rows) {
    const drv = toStorePath(row["drv"]);
    if (row["id"] === null) broken.add(drv);
    const outputs = found.get(drv) ?? {};
    outputs[String(row["output"])] = toStorePath(row["path"]);
    found.set(drv, outputs);
  }
  for (const drv of broken) found.delete(drv);
  return found;
}

/** The valid item with this hash. */
export function itemOfHash(ledger: Ledger, hash: string): StorePath | undefined {
  const from = `${STORE_DIRECTORY}/${hash}-`;
  const row = ledger.statement("SELECT path FROM item WHERE path >= ? AND path < ?").get(from, `${from}\u{10ffff}`);
  return row === undefined ? undefined : toStorePath(row["path"]);
}
