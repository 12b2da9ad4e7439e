import { Database, type Statement as Compiled } from "bun:sqlite";
import { explained } from "./errors.ts";
import { migrate } from "./migrate.ts";
import type { Ledger, Migration, Row, SqlValue, Statement } from "./types.ts";

export interface OpenLedgerOptions {
  /** How long a writer waits for another process. */
  readonly busyMs?: number;
}

const DEFAULT_BUSY_MS = 30_000;

/** The files a ledger consists of, so that their keeper can set a damaged one aside: the database, its log, its index. */
export function ledgerFiles(file: string): readonly string[] {
  return [file, `${file}-wal`, `${file}-shm`];
}

/**
 * Opens or creates the database; its directory must exist.
 *
 * @throws Problem E_LEDGER_DAMAGED, E_LEDGER_NEWER, E_LEDGER_UNREACHABLE, E_LEDGER_BUSY
 */
export function openLedger(file: string, migrations: readonly Migration[], options: OpenLedgerOptions = {}): Ledger {
  const guard = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw explained(error, file);
    }
  };
  const database = guard(() => {
    const opened = new Database(file, { readwrite: true, create: true });
    try {
      // The wait comes first: the switch to WAL itself takes a lock.
      opened.run(`PRAGMA busy_timeout=${options.busyMs ?? DEFAULT_BUSY_MS}`);
      opened.run("PRAGMA journal_mode=WAL");
      opened.run("PRAGMA synchronous=FULL");
      opened.run("PRAGMA foreign_keys=ON");
      opened.run("PRAGMA temp_store=MEMORY");
      opened.run("PRAGMA cache_size=-16384");
      migrate(opened, migrations, file);
      return opened;
    } catch (error) {
      opened.close();
      throw error;
    }
  });

  const statements = new Map<string, Statement>();
  const compiled: Compiled<Row, SqlValue[]>[] = [];
  let depth = 0;

  const statement = (sql: string): Statement => {
    const known = statements.get(sql);
    if (known !== undefined) return known;
    const made = guard(() => database.prepare<Row, SqlValue[]>(sql));
    compiled.push(made);
    const wrapped: Statement = {
      all: (...parameters) => guard(() => made.all(...parameters)),
      get: (...parameters) => guard(() => made.get(...parameters) ?? undefined),
      run: (...parameters) => guard(() => made.run(...parameters).changes),
    };
    statements.set(sql, wrapped);
    return wrapped;
  };

  const transaction = <T>(work: () => T): T => {
    if (depth > 0) return work();
    statement("BEGIN IMMEDIATE").run();
    depth += 1;
    try {
      const result = work();
      statement("COMMIT").run();
      return result;
    } catch (error) {
      // A full disk makes SQLite roll back by itself.
      if (database.inTransaction) statement("ROLLBACK").run();
      throw error;
    } finally {
      depth -= 1;
    }
  };

  // In WAL mode, NORMAL leaves out the sync at COMMIT; the next FULL one makes everything before it durable as well (pragma.html).
  const quickTransaction = <T>(work: () => T): T => {
    if (depth > 0) return work();
    statement("PRAGMA synchronous=NORMAL").run();
    try {
      return transaction(work);
    } finally {
      statement("PRAGMA synchronous=FULL").run();
    }
  };

  return {
    apply: (migration) => guard(() => migrate(database, [migration], file)),
    statement,
    transaction,
    quickTransaction,
    record: (room, kind, subject, data, atMs) => {
      statement("INSERT INTO ledger_event(at_ms, room, kind, subject, data) VALUES (?, ?, ?, ?, ?)").run(
        Math.trunc(atMs),
        room,
        kind,
        subject,
        JSON.stringify(data ?? null),
      );
    },
    acquire: (name, owner, isAlive, atMs) =>
      transaction(() => {
        const holder = statement("SELECT owner FROM ledger_lease WHERE name = ?").get(name)?.["owner"];
        if (typeof holder === "string" && holder !== owner && isAlive(holder)) return holder;
        statement("INSERT OR REPLACE INTO ledger_lease(name, owner, at_ms) VALUES (?, ?, ?)").run(name, owner, Math.trunc(atMs));
        return undefined;
      }),
    release: (name, owner) => {
      statement("DELETE FROM ledger_lease WHERE name = ? AND owner = ?").run(name, owner);
    },
    registerUndo: (owner, kind, data) => {
      const row = statement("INSERT INTO ledger_undo(owner, kind, data) VALUES (?, ?, ?) RETURNING id").get(owner, kind, data);
      return Number(row?.["id"]);
    },
    forgetUndo: (id) => {
      statement("DELETE FROM ledger_undo WHERE id = ?").run(id);
    },
    abandoned: (isAlive) => {
      const rows = statement("SELECT id, owner, kind, data FROM ledger_undo ORDER BY id DESC").all();
      const alive = new Map<string, boolean>();
      return rows.flatMap((row) => {
        const owner = String(row["owner"]);
        const living = alive.get(owner) ?? isAlive(owner);
        alive.set(owner, living);
        return living ? [] : [{ id: Number(row["id"]), owner, kind: String(row["kind"]), data: String(row["data"]) }];
      });
    },
    damage: () => {
      try {
        const lines = database
          .query<Row, []>("PRAGMA quick_check")
          .all()
          .flatMap((row) => Object.values(row).map(String));
        return lines.length === 1 && lines[0] === "ok" ? [] : lines;
      } catch (error) {
        const problem = explained(error, file);
        if (problem instanceof Error && "code" in problem && problem.code === "E_LEDGER_DAMAGED") return [problem.message];
        throw problem;
      }
    },
    close: () => {
      for (const made of compiled) made.finalize();
      statements.clear();
      compiled.length = 0;
      database.close();
    },
  };
}
