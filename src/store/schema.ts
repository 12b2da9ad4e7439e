/** The store's tables. `item` is the truth about what is valid: a directory without a row is not an item. */
import type { Migration } from "../ledger/index.ts";

export const STORE_MIGRATION: Migration = {
  room: "store",
  steps: [
    `CREATE TABLE item(
       id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, nar_sha256 TEXT NOT NULL, nar_size INTEGER NOT NULL, deriver TEXT,
       registered_at_ms INTEGER NOT NULL, used_at_ms INTEGER NOT NULL) STRICT;
     CREATE TABLE reference(
       referrer INTEGER NOT NULL REFERENCES item(id) ON DELETE CASCADE, target INTEGER NOT NULL REFERENCES item(id),
       PRIMARY KEY (referrer, target)) STRICT, WITHOUT ROWID;
     CREATE INDEX reference_target ON reference(target);
     CREATE TABLE realisation(
       drv TEXT NOT NULL, output TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (drv, output)) STRICT, WITHOUT ROWID;
     CREATE INDEX realisation_path ON realisation(path);
     CREATE TABLE pin(owner TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (owner, path)) STRICT, WITHOUT ROWID;`,
  ],
};
