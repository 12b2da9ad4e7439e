/**
 * Undoes an entry, from whatever state a process that was killed has left it in: each step finds for itself what there is.
 *
 *     hypervisor killed ──► SSH connection ended ──► port of the bridge removed ──► directory removed ──► row removed
 *
 * The row goes last. It was there before the first thing was made, so that whoever comes finds all that has to be undone.
 */
import { sha256 } from "../base/index.ts";
import { isErrno } from "../host/index.ts";
import { endResident, residentProcess, residentsIn } from "../machine/index.ts";
import type { PoolContext } from "./context.ts";
import { tapName } from "./machine.ts";
import { withNetwork } from "./network-lease.ts";
import type { EntryRow } from "./records.ts";

export async function destroyEntry(context: PoolContext, row: EntryRow): Promise<void> {
  await undoMachine(context, row);
  context.records.remove(row.id);
}

/** Everything but the row. */
export async function undoMachine(context: PoolContext, row: EntryRow): Promise<void> {
  const { host, records } = context;
  const known = [row.process, residentProcess(host, row.directory)].filter((each) => each !== undefined);
  for (const identity of new Set([...known, ...residentsIn(host, row.id, row.directory)])) await endResident(host, identity);
  await context.letGo(row);
  removeSockets(context, row);
  const pool = records.pool(row.pool);
  if (pool?.network === "bridge")
    await withNetwork(context, pool.name, () => context.bridgeOf(pool).removePort({ interface: tapName(row) }));
  await host.files.removeTreeBeside(row.directory);
}

/** Where the SSH connection of an entry is: names of pools may be long, sockets may not. */
export function controlSocket(context: Pick<PoolContext, "places">, row: Pick<EntryRow, "directory">): string {
  return `${context.places.runtime}/${sha256(row.directory).slice(0, 16)}`;
}

/** A Garth that was killed while it opened the connection leaves the file by which others wait for it. */
function removeSockets(context: PoolContext, row: EntryRow): void {
  const { files } = context.host;
  const socket = controlSocket(context, row);
  const name = socket.slice(socket.lastIndexOf("/") + 1);
  const { runtime } = context.places;
  if (!files.exists(runtime)) return;
  for (const bytes of files.list(runtime)) {
    const each = Buffer.from(bytes).toString();
    if (!each.startsWith(name)) continue;
    try {
      files.unlink(`${runtime}/${each}`);
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
  }
}
