/** Temporary roots: rows that hold items against gc while the process that wrote them lives. */
import type { StorePath } from "../base/index.ts";
import type { StoreContext } from "./context.ts";
import { toStorePath, USE_GRAIN_MS } from "./items.ts";

/** Inside a transaction. */
export function insertPins(context: StoreContext, paths: readonly StorePath[]): void {
  const insert = context.ledger.statement("INSERT OR IGNORE INTO pin(owner, path) VALUES (?, ?)");
  for (const path of paths) insert.run(context.host.processIdentity, path);
}

/**
 * Pins and looks in one transaction: gc deletes rows under the same lock, so what is returned stays.
 * Uses are noted on the way, to the hour and never backwards. Nothing waits for the disk: a power failure ends the process too.
 */
export function pin(context: StoreContext, paths: readonly StorePath[]): readonly StorePath[] {
  if (paths.length === 0) return [];
  const { ledger } = context;
  const now = Math.trunc(context.now());
  return ledger.quickTransaction(() => {
    insertPins(context, paths);
    const find = ledger.statement("SELECT id, used_at_ms FROM item WHERE path = ?");
    const use = ledger.statement("UPDATE item SET used_at_ms = ? WHERE id = ?");
    return paths.filter((path) => {
      const row = find.get(path);
      if (row === undefined) return false;
      if (Number(row["used_at_ms"]) + USE_GRAIN_MS <= now) use.run(now, Number(row["id"]));
      return true;
    });
  });
}

/** Forgets the pins of processes that are no more. Reads only, when there are none. */
export function dropDeadPins(context: StoreContext): void {
  const owners = context.ledger.statement("SELECT DISTINCT owner FROM pin").all();
  const dead = owners.map((row) => String(row["owner"])).filter((owner) => !isLiving(context, owner));
  if (dead.length === 0) return;
  context.ledger.transaction(() => {
    for (const owner of dead) context.ledger.statement("DELETE FROM pin WHERE owner = ?").run(owner);
  });
}

export function isLiving(context: StoreContext, owner: string): boolean {
  return owner === context.host.processIdentity || context.host.isAlive(owner);
}

export function dropOwnPins(context: StoreContext): void {
  const { ledger, host } = context;
  ledger.quickTransaction(() => ledger.statement("DELETE FROM pin WHERE owner = ?").run(host.processIdentity));
}

export function livingPins(context: StoreContext): readonly { readonly owner: string; readonly path: StorePath }[] {
  const living = new Map<string, boolean>();
  return context.ledger
    .statement("SELECT owner, path FROM pin ORDER BY path")
    .all()
    .map((row) => ({ owner: String(row["owner"]), path: toStorePath(row["path"]) }))
    .filter(({ owner }) => {
      const known = living.get(owner) ?? isLiving(context, owner);
      living.set(owner, known);
      return known;
    });
}
