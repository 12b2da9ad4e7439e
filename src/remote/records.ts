/** Hosts in the ledger: a row for each that was added. */
import { type System, SYSTEMS } from "../base/index.ts";
import type { Ledger, Migration, Row, SqlValue } from "../ledger/index.ts";
import type { HostFacts, HostRecord } from "./types.ts";

export const HOST_MIGRATION: Migration = {
  room: "remote",
  steps: [
    `CREATE TABLE host(
       name TEXT PRIMARY KEY, url TEXT NOT NULL, root TEXT NOT NULL, jobs INTEGER NOT NULL, identity_file TEXT,
       system TEXT NOT NULL, release TEXT NOT NULL, os_version INTEGER, processors INTEGER NOT NULL, memory_bytes INTEGER NOT NULL,
       added_ms INTEGER NOT NULL, checked_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;`,
  ],
};

function systemOf(text: unknown): System {
  const system = SYSTEMS.find((each) => each === text);
  if (system === undefined) throw new Error(`a host of the system ${String(text)}`);
  return system;
}

function recordOf(row: Row): HostRecord {
  const text = (name: string): string => String(row[name]);
  const version = row["os_version"];
  const identity = row["identity_file"];
  return {
    name: text("name"),
    url: text("url"),
    root: text("root"),
    jobs: Number(row["jobs"]),
    identityFile: typeof identity === "string" ? identity : undefined,
    facts: {
      system: systemOf(row["system"]),
      release: text("release"),
      osVersion: typeof version === "number" ? version : undefined,
      processors: Number(row["processors"]),
      memoryBytes: Number(row["memory_bytes"]),
    },
    addedAtMs: Number(row["added_ms"]),
    checkedAtMs: Number(row["checked_ms"]),
  };
}

export interface Records {
  list(): readonly HostRecord[];
  get(name: string): HostRecord | undefined;
  add(record: HostRecord): void;
  update(name: string, facts: HostFacts, checkedAtMs: number): void;
  remove(name: string): void;
}

export function openRecords(ledger: Ledger): Records {
  return {
    list: () => ledger.statement("SELECT * FROM host ORDER BY name").all().map(recordOf),
    get: (name) => {
      const row = ledger.statement("SELECT * FROM host WHERE name = ?").get(name);
      return row === undefined ? undefined : recordOf(row);
    },
    add: ({ name, url, root, jobs, identityFile, facts, addedAtMs, checkedAtMs }) => {
      const { system, release, osVersion, processors, memoryBytes } = facts;
      const said: readonly SqlValue[] = [name, url, root, jobs, identityFile ?? null, system, release, osVersion ?? null];
      const values = [...said, processors, memoryBytes, Math.trunc(addedAtMs), Math.trunc(checkedAtMs)];
      ledger.transaction(() => {
        ledger
          .statement(
            `INSERT INTO host(name, url, root, jobs, identity_file, system, release, os_version, processors, memory_bytes, added_ms, checked_ms)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
          )
          .run(...values);
      });
    },
    update: (name, { system, release, osVersion, processors, memoryBytes }, checkedAtMs) => {
      ledger.transaction(() => {
        ledger
          .statement(
            `UPDATE host SET system = ?, release = ?, os_version = ?, processors = ?, memory_bytes = ?, checked_ms = ? WHERE name = ?`,
          )
          .run(system, release, osVersion ?? null, processors, memoryBytes, Math.trunc(checkedAtMs), name);
      });
    },
    remove: (name) => {
      ledger.transaction(() => {
        ledger.statement("DELETE FROM host WHERE name = ?").run(name);
      });
    },
  };
}
