/**
 * What the ledger keeps about builds: the last run of each derivation, the last derivation of each name, what probes said,
 * which alternative was taken, and what worlds came to.
 *
 * None of it decides what an output is: it is for receipts, expected times, `why-rebuild`, and for not asking the network twice.
 */
import { parseStorePath, type StorePath } from "../base/index.ts";
import type { Ledger, Migration, Row, SqlValue } from "../ledger/index.ts";
import type { SandboxUse } from "../sandbox/index.ts";

export const BUILD_MIGRATION: Migration = {
  room: "build",
  steps: [
    `CREATE TABLE build_run(
       drv TEXT PRIMARY KEY, finished_at_ms INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, hostname TEXT NOT NULL,
       mode TEXT NOT NULL, duration_ms INTEGER NOT NULL, peak_memory_bytes INTEGER, log TEXT NOT NULL,
       outputs TEXT NOT NULL
     ) WITHOUT ROWID`,
    `CREATE TABLE build_last(
       name TEXT PRIMARY KEY, drv TEXT NOT NULL, duration_ms INTEGER NOT NULL
     ) WITHOUT ROWID`,
    // Apart from the times, which are read a thousand at once: rows with these texts would fill a page each.
    `CREATE TABLE build_derivation(name TEXT PRIMARY KEY, derivation TEXT NOT NULL)`,
    `CREATE TABLE build_probe(out TEXT NOT NULL, probe TEXT NOT NULL, printed TEXT NOT NULL, PRIMARY KEY(out, probe)) WITHOUT ROWID`,
    `CREATE TABLE build_choice(alternatives TEXT PRIMARY KEY, choice TEXT NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID`,
    `CREATE TABLE build_world(drv TEXT PRIMARY KEY, path TEXT NOT NULL) WITHOUT ROWID`,
    `ALTER TABLE build_run ADD COLUMN limits TEXT`,
    // Where it ran, when that was not this machine.
    `ALTER TABLE build_run ADD COLUMN host TEXT`,
    `ALTER TABLE build_run ADD COLUMN host_release TEXT`,
    `ALTER TABLE build_run ADD COLUMN host_os_version INTEGER`,
  ],
};

export interface Run {
  readonly use: SandboxUse;
  readonly log: string;
  readonly outputs: Readonly<Record<string, StorePath>>;
}

export interface LastBuild {
  readonly drv: StorePath;
  /** Canonical JSON, kept here because the item may have been collected. */
  readonly derivation: string;
  readonly durationMs: number;
}

export interface Choice {
  /** Digest of the recipe that was taken. */
  readonly choice: string;
  /** Why those before it were not; several lines. */
  readonly reason: string;
}

export interface Records {
  run(drv: StorePath): Run | undefined;
  /**
   * What a derivation once gave, also when it was collected since: enough to know what its users are made from, and so to find
   * that they are all there.
   */
  knownOutputs(drv: StorePath): Readonly<Record<string, StorePath>> | undefined;
  lastBuild(name: string): LastBuild | undefined;
  /** Name -> duration of its last build; a graph asks for a thousand at once. */
  durationsMs(names: readonly string[]): ReadonlyMap<string, number>;
  noteRun(name: string, drv: StorePath, derivation: string, run: Run, atMs: number): void;
  /** What the probe with this digest printed when it was run on this output. */
  probe(out: StorePath, probe: string): string | undefined;
  noteProbe(out: StorePath, probe: string, printed: string): void;
  choice(alternatives: string): Choice | undefined;
  noteChoice(alternatives: string, choice: Choice): void;
  /** What the world of this derivation came to, also when it was collected since: its users may all be there without it. */
  worldPath(drv: StorePath): StorePath | undefined;
  noteWorld(drv: StorePath, path: StorePath): void;
}

export function openRecords(ledger: Ledger): Records {
  return {
    run(drv) {
      const row = ledger.statement("SELECT * FROM build_run WHERE drv = ?").get(drv);
      return row === undefined ? undefined : { use: useOf(row), log: text(row, "log"), outputs: outputsOf(row) };
    },
    knownOutputs(drv) {
      const row = ledger.statement("SELECT outputs FROM build_run WHERE drv = ?").get(drv);
      return row === undefined ? undefined : outputsOf(row);
    },
    lastBuild(name) {
      const row = ledger
        .statement("SELECT drv, derivation, duration_ms FROM build_last JOIN build_derivation USING (name) WHERE name = ?")
        .get(name);
      if (row === undefined) return undefined;
      return {
        drv: parseStorePath(text(row, "drv")),
        derivation: text(row, "derivation"),
        durationMs: Number(row["duration_ms"]),
      };
    },
    durationsMs(names) {
      const rows = ledger
        .statement("SELECT name, duration_ms FROM build_last WHERE name IN (SELECT value FROM json_each(?))")
        .all(JSON.stringify(names));
      return new Map(rows.map((row) => [text(row, "name"), Number(row["duration_ms"])]));
    },
    noteRun(name, drv, derivation, { use, log, outputs }, atMs) {
      const durationMs = Math.round(use.durationMs);
      ledger
        .statement("INSERT OR REPLACE INTO build_run VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .run(
          drv,
          Math.trunc(atMs),
          use.uid,
          use.gid,
          use.hostname,
          use.mode,
          durationMs,
          use.peakMemoryBytes ?? null,
          log,
          JSON.stringify(outputs),
          use.limits ?? null,
          use.on?.host ?? null,
          use.on?.release ?? null,
          use.on?.osVersion ?? null,
        );
      ledger.statement("INSERT OR REPLACE INTO build_last VALUES (?, ?, ?)").run(name, drv, durationMs);
      ledger.statement("INSERT OR REPLACE INTO build_derivation VALUES (?, ?)").run(name, derivation);
    },
    probe(out, probe) {
      const row = ledger.statement("SELECT printed FROM build_probe WHERE out = ? AND probe = ?").get(out, probe);
      return row === undefined ? undefined : text(row, "printed");
    },
    noteProbe(out, probe, printed) {
      ledger.statement("INSERT OR REPLACE INTO build_probe VALUES (?, ?, ?)").run(out, probe, printed);
    },
    choice(alternatives) {
      const row = ledger.statement("SELECT choice, reason FROM build_choice WHERE alternatives = ?").get(alternatives);
      return row === undefined ? undefined : { choice: text(row, "choice"), reason: text(row, "reason") };
    },
    noteChoice(alternatives, { choice, reason }) {
      ledger.statement("INSERT OR REPLACE INTO build_choice VALUES (?, ?, ?)").run(alternatives, choice, reason);
    },
    worldPath(drv) {
      const row = ledger.statement("SELECT path FROM build_world WHERE drv = ?").get(drv);
      return row === undefined ? undefined : parseStorePath(text(row, "path"));
    },
    noteWorld(drv, path) {
      ledger.statement("INSERT OR REPLACE INTO build_world VALUES (?, ?)").run(drv, path);
    },
  };
}

function useOf(row: Row): SandboxUse {
  const peak = row["peak_memory_bytes"];
  const [limits, host] = [text(row, "limits"), text(row, "host")];
  return {
    uid: Number(row["uid"]),
    gid: Number(row["gid"]),
    hostname: text(row, "hostname"),
    mode: text(row, "mode") === "freebsd-jail" ? "freebsd-jail" : "linux-bubblewrap",
    durationMs: Number(row["duration_ms"]),
    peakMemoryBytes: typeof peak === "number" ? peak : undefined,
    ...(limits === "all" || limits === "each" ? { limits } : {}),
    ...(host === "" ? {} : { on: { host, release: text(row, "host_release"), ...versionOf(row["host_os_version"]) } }),
  };
}

function versionOf(osVersion: SqlValue | undefined): { readonly osVersion?: number } {
  return typeof osVersion === "number" ? { osVersion } : {};
}

function outputsOf(row: Row): Readonly<Record<string, StorePath>> {
  const value: unknown = JSON.parse(text(row, "outputs"));
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(Object.entries(value).map(([name, path]) => [name, parseStorePath(String(path))]));
}

function text(row: Row, column: string): string {
  return String(row[column] ?? "");
}
