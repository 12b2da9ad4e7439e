/**
 * Migrations: each room's steps, applied once, in order.
 *
 * What was applied is remembered as a count and the digest of those steps' text, so that a step edited after its release is
 * noticed instead of being skipped in silence.
 */
import type { Database } from "bun:sqlite";
import { Problem, sha256 } from "../base/index.ts";
import type { Migration } from "./types.ts";

/** The ledger's own tables are a migration like any other. */
export const LEDGER_MIGRATION: Migration = {
  room: "ledger",
  steps: [
    `CREATE TABLE ledger_event(
       id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, room TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
       data TEXT NOT NULL) STRICT;
     CREATE INDEX ledger_event_subject ON ledger_event(room, subject);
     CREATE TABLE ledger_lease(name TEXT PRIMARY KEY, owner TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE ledger_undo(
       id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL) STRICT;
     CREATE INDEX ledger_undo_owner ON ledger_undo(owner);`,
  ],
};

interface Applied {
  readonly room: string;
  readonly steps: number;
  readonly digest: string;
}

function digestOf(steps: readonly string[]): string {
  return sha256(steps.join("\u0000"));
}

function applied(database: Database): ReadonlyMap<string, Applied> | undefined {
  const known = database.query<{ name: string }, []>("SELECT name FROM sqlite_schema WHERE name = 'ledger_migration'").get();
  if (known === null) return undefined;
  const rows = database.query<Applied, []>("SELECT room, steps, digest FROM ledger_migration").all();
  return new Map(rows.map((row) => [row.room, row]));
}

/** The steps still to do, per room. */
function pending(migrations: readonly Migration[], done: ReadonlyMap<string, Applied>, file: string): readonly Migration[] {
  return migrations.flatMap((migration) => {
    const before = done.get(migration.room);
    if (before === undefined) return [migration];
    if (before.steps > migration.steps.length) {
      throw new Problem({
        code: "E_LEDGER_NEWER",
        message: `the database ${file} was written by a newer Garth`,
        details: [`${migration.room}: ${before.steps} steps were applied, this Garth knows ${migration.steps.length}`],
        hint: "use the newer Garth, or another root",
        exit: 3,
      });
    }
    if (digestOf(migration.steps.slice(0, before.steps)) !== before.digest) {
      throw new Error(`${migration.room}: a migration step that was already applied to ${file} has been edited`);
    }
    return before.steps === migration.steps.length ? [] : [{ room: migration.room, steps: migration.steps.slice(before.steps) }];
  });
}

/** @throws Problem E_LEDGER_NEWER */
export function migrate(database: Database, migrations: readonly Migration[], file: string): void {
  const all = [LEDGER_MIGRATION, ...migrations];
  const before = applied(database);
  if (before !== undefined && pending(all, before, file).length === 0) return;
  // Another process may be doing the same: look again once the lock is ours.
  database
    .transaction(() => {
      database.run(
        "CREATE TABLE IF NOT EXISTS ledger_migration(room TEXT PRIMARY KEY, steps INTEGER NOT NULL, digest TEXT NOT NULL) STRICT",
      );
      const now = applied(database) ?? new Map<string, Applied>();
      for (const { room, steps } of pending(all, now, file)) {
        for (const step of steps) database.run(step);
        const whole = all.find((migration) => migration.room === room)?.steps ?? steps;
        database
          .query("INSERT OR REPLACE INTO ledger_migration(room, steps, digest) VALUES (?, ?, ?)")
          .run(room, whole.length, digestOf(whole));
      }
    })
    .immediate();
}
