/** Tables of pools. Entries are rows from before anything of a machine is made until after everything of it is gone. */
import type { Migration } from "../ledger/index.ts";

export const POOL_MIGRATION: Migration = {
  room: "pool",
  steps: [
    `CREATE TABLE pool(
       name TEXT PRIMARY KEY, spec TEXT NOT NULL, template_digest TEXT NOT NULL, generation INTEGER NOT NULL,
       next_number INTEGER NOT NULL, created_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE pool_entry(
       id TEXT PRIMARY KEY, pool TEXT NOT NULL, number INTEGER NOT NULL, template TEXT NOT NULL, generation INTEGER NOT NULL,
       state TEXT NOT NULL, since_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL,
       owner TEXT NOT NULL, address TEXT NOT NULL, mac TEXT NOT NULL, directory TEXT NOT NULL,
       ssh_address TEXT, ssh_port INTEGER, process TEXT, holder TEXT, origin TEXT NOT NULL, snapshot TEXT,
       memory_bytes INTEGER NOT NULL, cpus INTEGER NOT NULL, policy TEXT NOT NULL, failure TEXT) STRICT, WITHOUT ROWID;
     CREATE UNIQUE INDEX pool_entry_address ON pool_entry(pool, address);
     CREATE INDEX pool_entry_state ON pool_entry(pool, state, number);
     CREATE UNIQUE INDEX pool_entry_holder ON pool_entry(holder) WHERE holder IS NOT NULL;
     CREATE TABLE pool_snapshot(
       id TEXT PRIMARY KEY, name TEXT, pool TEXT NOT NULL, holder TEXT NOT NULL, source TEXT NOT NULL, created_ms INTEGER NOT NULL,
       size_bytes INTEGER NOT NULL, directory TEXT NOT NULL, ready INTEGER NOT NULL, owner TEXT NOT NULL,
       facts TEXT NOT NULL) STRICT, WITHOUT ROWID;`,
  ],
};
