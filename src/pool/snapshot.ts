/**
 * The snapshot of a pool: a guest that was booted once, and from whose memory, devices and disk every clone begins.
 *
 *     absent ──lease──► booting ──► settled ──resident started──► stopped ──► saved ──► renamed into place: there
 *        ▲                  whatever fails: its machine undone, its files removed
 *        └── template, memory, processors, hypervisor or resident changed: another name
 *
 * Its name says what went into it, so that what is there fits. It is on the disk before it has its name, and survives the host's reboot.
 */
import { canonicalJson, Problem, sha256 } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import { monitorOf, qemuProgramOf, saveState } from "../machine/index.ts";
import { machineAddresses } from "../network/index.ts";
import type { Template } from "../template/index.ts";
import { bootMachine } from "./boot.ts";
import { unsupported } from "./errors.ts";
import type { PoolContext } from "./context.ts";
import { destroyEntry } from "./destroy.ts";
import { undoFailed } from "./failure.ts";
import { isolated } from "./policy.ts";
import { shapeOf } from "./shape.ts";
import { RESIDENT_DIGEST, startResidentIn } from "./resident.ts";
import { DISK, factsFileOf, memoryFileOf, type SnapshotPlace, stateFileOf } from "./snapshot-place.ts";
import { DISK_FILE } from "./machine.ts";
import type { PoolRecord } from "./types.ts";

/** Part of every name: raised when what a snapshot holds changes. */
const LAYOUT = "snapshot-1";
/** Behind the name of a snapshot that cannot be taken: a file with the reason. */
const UNSUPPORTED = ".unsupported";
/** How long somebody else may take to make one. */
const OTHERS_LIMIT_MS = 900_000;
const LOOK_EVERY_MS = 200;

export function snapshotsOf(context: PoolContext, pool: string): string {
  return `${context.places.pools}/${pool}/snapshots`;
}

/** The one that fits, if it is there. */
export async function findSnapshot(
  context: PoolContext,
  pool: PoolRecord,
  template: Template,
): Promise<SnapshotPlace | undefined> {
  return readPlace(context.host, `${snapshotsOf(context, pool.name)}/${await nameOf(context, pool, template)}`);
}

function readPlace(host: Host, directory: string): SnapshotPlace | undefined {
  const text = host.files.readTextIfAny(factsFileOf({ directory }));
  if (text === undefined) return undefined;
  const source: SnapshotPlace["source"] = JSON.parse(text);
  return { directory, shared: true, source };
}

async function nameOf(context: PoolContext, pool: PoolRecord, template: Template): Promise<string> {
  const { host } = context;
  const version = await hypervisorVersion(host);
  const facts = { what: LAYOUT, template: template.digest, ...shapeOf(pool, template), version, resident: RESIDENT_DIGEST };
  return sha256(canonicalJson({ ...facts, network: pool.network, subnet: pool.subnet })).slice(0, 16);
}

/** A state is for the version that wrote it. Asked once for each process: the program does not change beneath a pool. */
const versions = new WeakMap<Host, Promise<string>>();
function hypervisorVersion(host: Host): Promise<string> {
  const known = versions.get(host);
  if (known !== undefined) return known;
  const asked = host
    .run({ argv: [qemuProgramOf(host, host.system), "--version"], timeoutMs: 30_000 })
    .then((done) => done.text().split("\n")[0] ?? "");
  versions.set(host, asked);
  asked.catch(() => versions.delete(host));
  return asked;
}

/**
 * Finds it, or makes it; of several who ask, one makes it.
 * @throws Problem E_SNAPSHOT_UNSUPPORTED (exit 1), and what a boot throws
 */
export async function ensureSnapshot(
  context: PoolContext,
  pool: PoolRecord,
  template: Template,
  signal: AbortSignal | undefined,
): Promise<SnapshotPlace> {
  const { host, ledger } = context;
  if (template.sidecar.extraSlots.length > 0)
    throw unsupported(template.name, "a device of the host has no state that could be saved");
  const directory = `${snapshotsOf(context, pool.name)}/${await nameOf(context, pool, template)}`;
  const lease = `pool-snapshot:${pool.name}`;
  const deadline = context.now() + OTHERS_LIMIT_MS;
  for (;;) {
    signal?.throwIfAborted();
    const there = readPlace(host, directory);
    if (there !== undefined) return there;
    const known = host.files.readTextIfAny(`${directory}${UNSUPPORTED}`);
    if (known !== undefined) throw unsupported(template.name, known.replace(/^[^:]*: /, ""));
    const other = ledger.acquire(lease, host.processIdentity, host.isAlive, context.now());
    if (other === undefined && !making.has(directory)) break;
    if (context.now() > deadline) {
      throw new Problem({
        code: "E_SNAPSHOT_WAIT",
        message: `waiting for the snapshot of ${pool.name}: ${other ?? "this process"} has been making it for ${OTHERS_LIMIT_MS / 60_000} minutes`,
      });
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  making.add(directory);
  try {
    return await makeSnapshot(context, pool, template, directory, signal);
  } finally {
    making.delete(directory);
    ledger.release(lease, host.processIdentity);
  }
}

/** A lease is a process's: those who ask in one process look here. */
const making = new Set<string>();

async function makeSnapshot(
  context: PoolContext,
  pool: PoolRecord,
  template: Template,
  directory: string,
  signal: AbortSignal | undefined,
): Promise<SnapshotPlace> {
  const { host, records } = context;
  const fresh = `${directory}.making`;
  host.files.removeTree(fresh);
  host.files.makeDirectory(fresh, { parents: true, mode: 0o700 });
  const row = records.add(
    {
      pool: pool.name,
      template: pool.template,
      generation: pool.generation,
      owner: host.processIdentity,
      from: "boot",
      snapshot: undefined,
      holder: `snapshot of ${pool.name}`,
      policy: isolated,
      ...shapeOf(pool, template),
    },
    {
      addresses: machineAddresses(pool.subnet),
      subnet: pool.subnet,
      directoryOf: (id) => `${context.places.pools}/${pool.name}/${id}`,
    },
  );
  context.note(pool.name, `booting ${row.id}, of which the snapshot is taken`);
  try {
    const facts = { memoryFile: { file: memoryFileOf({ directory: fresh }), mode: "shared" as const } };
    const running = await bootMachine({ context, pool, template, row, signal }, facts);
    const guest = await context.guestOf(running.row);
    context.note(pool.name, `${row.id} answers; what its boot began is waited for`);
    await startResidentIn(host, guest, { name: row.id, directory: row.directory, settle: true, ...(signal && { signal }) });
    // A connection would be one of every clone.
    await context.letGo(running.row);
    const monitor = await monitorOf(host, row.id, row.directory);
    try {
      await monitor.execute("stop");
      await saveState(host, monitor, {
        name: row.id,
        directory: row.directory,
        stateFile: stateFileOf({ directory: fresh }),
        shared: true,
      });
      await monitor.execute("quit");
      await monitor.closed;
    } finally {
      monitor.close();
    }
    host.files.rename(`${row.directory}/${DISK_FILE}`, `${fresh}/${DISK}`);
    const source = { hostname: row.id, address: row.address, mac: row.mac };
    host.files.writeFile(factsFileOf({ directory: fresh }), JSON.stringify(source), 0o600);
    for (const file of [memoryFileOf({ directory: fresh }), `${fresh}/${DISK}`, factsFileOf({ directory: fresh }), fresh])
      host.files.sync(file);
    host.files.rename(fresh, directory);
    context.note(pool.name, `the snapshot is there: ${directory}`);
    records.move(row.id, ["warming"], "retiring");
    await destroyEntry(context, row);
    return { directory, shared: true, source };
  } catch (error) {
    const isUnsupported = error instanceof Problem && error.code === "E_SNAPSHOT_UNSUPPORTED";
    // What goes into it has a name, and what came of it stays true: nobody boots it again to hear the same.
    if (isUnsupported) host.files.writeFile(`${directory}${UNSUPPORTED}`, error.message, 0o600);
    host.files.removeTree(fresh);
    await undoFailed(context, row, error, { keep: !isUnsupported && signal?.aborted !== true });
    throw error;
  }
}

/** Snapshots that nothing begins from any more. Nothing that runs opens them again: removing one disturbs no machine. */
export async function removeOldSnapshots(context: PoolContext, pool: string, keep: string | undefined): Promise<void> {
  const { host } = context;
  const below = snapshotsOf(context, pool);
  let names: readonly string[];
  try {
    names = host.files.list(below).map((name) => Buffer.from(name).toString());
  } catch (error) {
    if (isErrno(error, "ENOENT")) return;
    throw error;
  }
  for (const name of names) {
    const directory = `${below}/${name}`;
    if (directory !== keep && !making.has(directory.replace(/\.making$/, ""))) await host.files.removeTreeBeside(directory);
  }
}
