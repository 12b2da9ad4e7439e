/**
 * Makes one machine, for the pool or for somebody who waits for it.
 *
 *     row ──► clone of a snapshot | boot ──► warming ──► at rest ──► available, frozen
 *                                                  └───► in-use, running
 *
 * What fails is undone at once; its row stays as "failed" with the reason, where nobody waits for the machine and hears of it.
 */
import { Problem } from "../base/index.ts";
import { type EgressPolicy, machineAddresses } from "../network/index.ts";
import type { Template } from "../template/index.ts";
import { bootMachine, cloneMachine } from "./boot.ts";
import { openChannel } from "./channel.ts";
import type { PoolContext } from "./context.ts";
import { undoFailed } from "./failure.ts";
import type { EntryRow } from "./records.ts";
import { shapeOf } from "./shape.ts";
import type { SnapshotPlace } from "./snapshot-place.ts";
import type { PoolRecord } from "./types.ts";

export interface MakeRequest {
  readonly pool: PoolRecord;
  readonly template: Template;
  /** undefined: booted. */
  readonly from: SnapshotPlace | undefined;
  /** Of a machine's snapshot: its id, and how large that machine was. */
  readonly saved?: { readonly id: string; readonly memoryBytes: number; readonly cpus: number };
  /** undefined: it becomes available. */
  readonly holder: string | undefined;
  readonly policy: EgressPolicy;
  readonly signal: AbortSignal | undefined;
}

/** How long an SSH server that is known to be there may take to let us in. */
const CONNECT_LIMIT_MS = 60_000;
/** The first command of a machine takes twice as long as the next: its guest reads programs, an emulator translates them. Nobody waits now. */
const REHEARSAL = { argv: ["/bin/bash", "-l", "-c", "true"], elsewhere: ["/usr/local/bin/bash", "/bin/sh"] } as const;
/** How long a guest that is to be frozen may have something to do. */
const REST_LIMIT_MS = 10_000;

export async function makeEntry(context: PoolContext, request: MakeRequest): Promise<EntryRow> {
  const { records, host } = context;
  const { pool, template, from, saved, holder, policy, signal } = request;
  const { memoryBytes, cpus } = saved ?? shapeOf(pool, template);
  const row = records.add(
    {
      pool: pool.name,
      template: pool.template,
      generation: pool.generation,
      owner: host.processIdentity,
      from: from === undefined ? "boot" : "snapshot",
      snapshot: saved?.id,
      memoryBytes,
      cpus,
      policy,
      holder,
    },
    {
      addresses: machineAddresses(pool.subnet),
      subnet: pool.subnet,
      directoryOf: (id) => `${context.places.pools}/${pool.name}/${id}`,
    },
  );
  try {
    const making = { context, pool, template, row, signal };
    const { row: warming } = from === undefined ? await bootMachine(making) : await cloneMachine(making, from);
    if (pool.density === "roomy" || holder !== undefined) {
      const guest = await context.guestOf(warming);
      await guest.connect({ timeoutMs: CONNECT_LIMIT_MS, ...(signal && { signal }) });
      if (holder === undefined) await guest.run({ ...REHEARSAL, timeoutMs: CONNECT_LIMIT_MS });
    } else if (from === undefined) {
      // A boot is over when somebody was let in; a connection takes memory here and in the guest.
      await context.letGo(warming);
    }
    if (holder === undefined && from !== undefined) await comeToRest(context, warming);
    return finished(context, warming, holder);
  } catch (error) {
    await undoFailed(context, row, error, { keep: holder === undefined });
    throw error;
  }
}

/** What it still has to do of its beginning it would do when somebody waits for it. One that finds no rest is frozen all the same. */
async function comeToRest({ host }: PoolContext, row: EntryRow): Promise<void> {
  const channel = await openChannel(host, row.id, row.directory);
  try {
    await channel.order({ do: "rest" }, REST_LIMIT_MS);
  } catch (error) {
    if (!(error instanceof Problem && error.code === "E_GUEST_SILENT")) throw error;
  } finally {
    channel.close();
  }
}

function finished(context: PoolContext, row: EntryRow, holder: string | undefined): EntryRow {
  const { host, records } = context;
  if (holder === undefined && !host.signal(row.process ?? "", "SIGSTOP"))
    throw new Problem({ code: "E_MACHINE_DIED", message: `freezing the machine ${row.id}: its hypervisor ended` });
  const done = records.move(row.id, ["warming"], holder === undefined ? "available" : "in-use");
  if (done !== undefined) return done;
  throw new Problem({ code: "E_ENTRY_GONE", message: `making the machine ${row.id}: somebody has taken it away meanwhile` });
}
