/**
 * Snapshots of machines that somebody uses: memory, devices and disk at one moment. The machine stands still while they are written.
 *
 *     running ──stop──► memory and devices saved, layer of the disk copied ──cont──► running
 *
 * A machine that begins from one is a clone like those of the pool, with a new identity; what runs in it runs on. The layer stands on
 * what the machine's own stands on: the template's image, or the disk of the pool's snapshot, which is kept while it is needed.
 */
import { randomBytes } from "node:crypto";
import { isErrno } from "../host/index.ts";
import { Problem } from "../base/index.ts";
import type { Ledger, Row, SqlValue } from "../ledger/index.ts";
import { monitorOf, saveState } from "../machine/index.ts";
import type { PoolContext } from "./context.ts";
import { DISK_FILE } from "./machine.ts";
import type { EntryRow } from "./records.ts";
import { startResidentIn } from "./resident.ts";
import { DISK, type SnapshotPlace, stateFileOf } from "./snapshot-place.ts";
import type { MachineSnapshot } from "./types.ts";

const ID_BYTES = 6;

/** What a machine has to be like to begin from it. */
interface SnapshotFacts {
  readonly source: SnapshotPlace["source"];
  readonly memoryBytes: number;
  readonly cpus: number;
}

export interface FoundSnapshot extends MachineSnapshot {
  readonly place: SnapshotPlace;
  readonly memoryBytes: number;
  readonly cpus: number;
}

function snapshotOf(row: Row): FoundSnapshot {
  const facts: SnapshotFacts = JSON.parse(String(row["facts"]));
  return {
    id: String(row["id"]),
    name: typeof row["name"] === "string" ? row["name"] : undefined,
    pool: String(row["pool"]),
    holder: String(row["holder"]),
    source: String(row["source"]),
    createdAtMs: Number(row["created_ms"]),
    sizeBytes: Number(row["size_bytes"]),
    place: { directory: String(row["directory"]), shared: false, source: facts.source },
    memoryBytes: facts.memoryBytes,
    cpus: facts.cpus,
  };
}

export function listSnapshots(ledger: Ledger): readonly FoundSnapshot[] {
  return ledger.statement("SELECT * FROM pool_snapshot WHERE ready = 1 ORDER BY created_ms, id").all().map(snapshotOf);
}

/** By its id, or by its name: then the newest. */
export function findMachineSnapshot(ledger: Ledger, word: string): FoundSnapshot | undefined {
  const all = listSnapshots(ledger);
  return all.find(({ id }) => id === word) ?? all.findLast(({ name }) => name === word);
}

export async function snapshotMachine(context: PoolContext, row: EntryRow, name: string | undefined): Promise<MachineSnapshot> {
  const { host, ledger, places } = context;
  const id = `snap${randomBytes(ID_BYTES).toString("hex")}`;
  const directory = `${places.pools}/${row.pool}/saved/${id}`;
  const facts: SnapshotFacts = {
    source: { hostname: row.id, address: row.address, mac: row.mac },
    memoryBytes: row.memoryBytes,
    cpus: row.cpus,
  };
  const whose: readonly SqlValue[] = [id, name ?? null, row.pool, row.holder ?? "", row.id, Math.trunc(context.now())];
  ledger
    .statement(
      `INSERT INTO pool_snapshot(id, name, pool, holder, source, created_ms, size_bytes, directory, ready, owner, facts)
         VALUES (?, ?, ?, ?, ?, ?, 0, ?, 0, ?, ?)`,
    )
    .run(...whose, directory, host.processIdentity, JSON.stringify(facts));
  try {
    host.files.makeDirectory(directory, { parents: true, mode: 0o700 });
    if (row.from === "boot") {
      const guest = await context.guestOf(row);
      await startResidentIn(host, guest, { name: row.id, directory: row.directory, settle: false });
    }
    await save(context, row, directory);
    const sizeBytes = [stateFileOf({ directory }), `${directory}/${DISK}`].reduce(
      (all, file) => all + host.files.lstat(file).blocks * 512,
      0,
    );
    ledger.statement("UPDATE pool_snapshot SET ready = 1, size_bytes = ? WHERE id = ?").run(sizeBytes, id);
  } catch (error) {
    removeSnapshotRow(context, id, directory);
    throw error;
  }
  const found = listSnapshots(ledger).find((each) => each.id === id);
  if (found === undefined) throw new Error("a snapshot that was just written");
  return withoutPlace(found);
}

async function save(context: PoolContext, row: EntryRow, directory: string): Promise<void> {
  const { host } = context;
  const monitor = await monitorOf(host, row.id, row.directory);
  try {
    // Writes of the guest that are under way reach the disk's file before this returns.
    await monitor.execute("stop");
    try {
      await saveState(host, monitor, {
        name: row.id,
        directory: row.directory,
        stateFile: stateFileOf({ directory }),
        shared: false,
      });
      await host.run({
        argv: ["cp", "--reflink=auto", "--sparse=always", `${row.directory}/${DISK_FILE}`, `${directory}/${DISK}`],
        doing: `copying the disk of ${row.id}`,
      });
      host.files.sync(`${directory}/${DISK}`);
    } finally {
      await monitor.execute("cont");
    }
  } finally {
    monitor.close();
  }
}

export function withoutPlace(found: FoundSnapshot): MachineSnapshot {
  const { place: _place, memoryBytes: _memory, cpus: _cpus, ...snapshot } = found;
  return snapshot;
}

function removeSnapshotRow(context: PoolContext, id: string, directory: string): void {
  context.host.files.removeTree(directory);
  context.ledger.statement("DELETE FROM pool_snapshot WHERE id = ?").run(id);
}

/** false: there is none. Machines that began from it have it open and go on. */
export function removeMachineSnapshot(context: PoolContext, word: string): boolean {
  const found = findMachineSnapshot(context.ledger, word);
  if (found === undefined) return false;
  removeSnapshotRow(context, found.id, found.place.directory);
  return true;
}

/** Of Garths that were killed while they wrote one. */
export function sweepSnapshots(context: PoolContext): void {
  const { host, ledger } = context;
  for (const row of ledger.statement("SELECT id, directory, owner FROM pool_snapshot WHERE ready = 0").all()) {
    if (host.isAlive(String(row["owner"]))) continue;
    removeSnapshotRow(context, String(row["id"]), String(row["directory"]));
  }
}

/** @throws Problem E_NO_SNAPSHOT (exit 2) */
export function machineSnapshot(context: PoolContext, word: string): FoundSnapshot {
  const found = findMachineSnapshot(context.ledger, word);
  if (found !== undefined && context.host.files.exists(stateFileOf(found.place))) return found;
  throw new Problem({
    code: "E_NO_SNAPSHOT",
    message: `there is no snapshot ${JSON.stringify(word)} of a machine`,
    details: listSnapshots(context.ledger).map(({ id, name }) => (name === undefined ? id : `${id} (${name})`)),
    exit: 2,
  });
}

/** What is left of a pool's snapshots when the pool is gone. */
export function removePoolSnapshots(context: PoolContext, pool: string): void {
  for (const { id, place, pool: of } of listSnapshots(context.ledger))
    if (of === pool) removeSnapshotRow(context, id, place.directory);
  try {
    context.host.files.removeDirectory(`${context.places.pools}/${pool}/saved`);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOTEMPTY")) throw error;
  }
}
