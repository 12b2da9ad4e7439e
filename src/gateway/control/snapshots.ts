/**
 * Whose snapshots there are. The pool keeps the snapshots; this says which tenant each belongs to and what it is called.
 *
 *     shown ──deleted──► hidden ──the last sandbox that was started from it is gone──► removed from the pool
 *
 * Clones map the memory of their snapshot and write over its disk, so a snapshot stays for as long as one of them lives. The one of a
 * fork is hidden from the beginning.
 */
import type { Ledger, Row } from "../../ledger/index.ts";
import type { MachineSnapshot, Pools } from "../../pool/index.ts";
import { Refusal } from "./refusal.ts";

export interface SnapshotRecord {
  readonly id: string;
  readonly tenant: string;
  /** The sandbox it was taken of. */
  readonly sandbox: string;
  readonly name: string | undefined;
  readonly createdAtMs: number;
  readonly pool: string;
}

export interface Snapshots {
  add(
    snapshot: MachineSnapshot,
    tenant: string,
    sandbox: string,
    name: string | undefined,
    visible: "shown" | "hidden",
  ): SnapshotRecord;
  /** Those that are shown, and that the pool still has. */
  list(tenant: string): readonly SnapshotRecord[];
  /** By id, or by name: the newest of that name. undefined: there is none. */
  find(tenant: string, idOrName: string): SnapshotRecord | undefined;
  /** Nobody is shown it any more. false: there was none. */
  hide(tenant: string, id: string): boolean;
  /** It stays until the returned function is called: something is being started from it. */
  hold(id: string): () => void;
  /** Takes away the hidden ones that nobody uses. */
  collect(inUse: ReadonlySet<string>): void;
}

const NAME = /^(?:[a-z0-9][a-z0-9_-]{0,62}\/)?[a-z0-9][a-z0-9._-]{0,62}(?::[a-z0-9][a-z0-9._-]{0,62})?$/i;

/** What the pool calls them by. */
const ID = /^snap[0-9a-f]{12}$/i;

/** `name`, `name:tag`, `team/name:tag`; the tag `default` is none. Nobody's name is what another one's id may be. @throws Refusal 400 */
export function snapshotName(text: string): string {
  if (NAME.test(text) && !ID.test(text)) return text.replace(/:default$/i, "");
  throw new Refusal(400, `name: ${JSON.stringify(text)} is not the name of a snapshot (letters, digits, . _ - and a :tag)`);
}

/** Whether the text is its id or its name, with or without its tenant. */
export function isCalled({ id, tenant, name }: SnapshotRecord, text: string): boolean {
  const plain = text.replace(/:default$/i, "");
  return id === text || (name !== undefined && (name === plain || `${tenant}/${name}` === plain));
}

export function openSnapshots(ledger: Ledger, pools: Pools): Snapshots {
  /** A snapshot that the pool has lost is none. */
  const recordOf = (row: Row, poolOf: ReadonlyMap<string, string>): readonly SnapshotRecord[] => {
    const id = String(row["id"]);
    const pool = poolOf.get(id);
    const name = typeof row["name"] === "string" ? row["name"] : undefined;
    const [tenant, sandbox] = [String(row["tenant"]), String(row["sandbox"])];
    return pool === undefined ? [] : [{ id, tenant, sandbox, name, createdAtMs: Number(row["created_at_ms"]), pool }];
  };
  const list = (tenant: string): readonly SnapshotRecord[] => {
    const poolOf = new Map(pools.snapshots().map(({ id, pool }) => [id, pool]));
    return ledger
      .statement("SELECT * FROM gateway_snapshot WHERE tenant = ? AND hidden = 0 ORDER BY created_at_ms DESC, id DESC")
      .all(tenant)
      .flatMap((row) => recordOf(row, poolOf));
  };
  const held = new Map<string, number>();
  return {
    list,
    hold: (id) => {
      held.set(id, (held.get(id) ?? 0) + 1);
      return () => {
        const left = (held.get(id) ?? 1) - 1;
        if (left > 0) held.set(id, left);
        else held.delete(id);
      };
    },
    add: ({ id, createdAtMs, pool }, tenant, sandbox, name, visible) => {
      ledger.transaction(() =>
        ledger
          .statement("INSERT INTO gateway_snapshot(id, tenant, sandbox, name, created_at_ms, hidden) VALUES (?, ?, ?, ?, ?, ?)")
          .run(id, tenant, sandbox, name ?? null, Math.trunc(createdAtMs), visible === "shown" ? 0 : 1),
      );
      return { id, tenant, sandbox, name, createdAtMs, pool };
    },
    find: (tenant, idOrName) => {
      const all = list(tenant);
      return all.find(({ id }) => id === idOrName) ?? all.find((one) => isCalled(one, idOrName));
    },
    hide: (tenant, id) =>
      ledger.transaction(
        () =>
          ledger.statement("UPDATE gateway_snapshot SET hidden = 1 WHERE id = ? AND tenant = ? AND hidden = 0").run(id, tenant) >
          0,
      ),
    collect: (inUse) => {
      const rows = ledger.statement("SELECT id FROM gateway_snapshot WHERE hidden = 1").all();
      for (const id of rows.map((row) => String(row["id"])).filter((one) => !inUse.has(one) && !held.has(one))) {
        // From the pool first: a process that dies between the two asks again.
        pools.removeSnapshot(id);
        ledger.transaction(() => ledger.statement("DELETE FROM gateway_snapshot WHERE id = ?").run(id));
      }
    },
  };
}
