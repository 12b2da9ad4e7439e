/** The gateway's tables. What a row says beside its columns is one JSON document, read back through zod. */
import type { Migration } from "../../ledger/index.ts";

export const GATEWAY_MIGRATION: Migration = {
  room: "gateway",
  steps: [
    `CREATE TABLE gateway_sandbox(
       id TEXT PRIMARY KEY, tenant TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('creating', 'living', 'ending')),
       document TEXT NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE gateway_key(
       id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, scopes TEXT NOT NULL, label TEXT NOT NULL,
       created_at_ms INTEGER NOT NULL, expires_at_ms INTEGER, sandboxes_max INTEGER) STRICT, WITHOUT ROWID;
     CREATE TABLE gateway_snapshot(
       id TEXT PRIMARY KEY, tenant TEXT NOT NULL, sandbox TEXT NOT NULL, name TEXT, created_at_ms INTEGER NOT NULL,
       hidden INTEGER NOT NULL) STRICT, WITHOUT ROWID;
     CREATE INDEX gateway_snapshot_tenant ON gateway_snapshot(tenant, created_at_ms);
     CREATE TABLE gateway_event(
       seq INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, sandbox TEXT NOT NULL, type TEXT NOT NULL,
       document TEXT NOT NULL) STRICT;
     CREATE INDEX gateway_event_tenant ON gateway_event(tenant, seq);
     CREATE INDEX gateway_event_sandbox ON gateway_event(sandbox, seq);
     CREATE TABLE gateway_webhook(id TEXT PRIMARY KEY, tenant TEXT NOT NULL, document TEXT NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE gateway_delivery(
       seq INTEGER PRIMARY KEY AUTOINCREMENT, webhook TEXT NOT NULL REFERENCES gateway_webhook(id) ON DELETE CASCADE,
       document TEXT NOT NULL) STRICT;
     CREATE INDEX gateway_delivery_webhook ON gateway_delivery(webhook, seq);`,
  ],
};
