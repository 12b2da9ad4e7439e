/**
 * A machine for somebody who waits.
 *
 *     hot pool ──claim──► thawed ──alive?──► yours                  (its resident answers, or its SSH connection does)
 *        │ none            └── dead: retired, the next one
 *        ▼
 *     snapshot there ──► a clone of it ──► yours
 *        │ none
 *        ▼
 *     a boot ──► yours
 *
 * A claim is one statement of the ledger: of any number of callers, in any number of processes, one gets an entry. What is handed out
 * is never available again.
 */
import { Problem } from "../base/index.ts";
import { openChannel } from "./channel.ts";
import type { PoolContext } from "./context.ts";
import { destroyEntry } from "./destroy.ts";
import { machineSnapshot } from "./fork.ts";
import { makeEntry } from "./make.ts";
import { checkWanted, samePolicy } from "./policy.ts";
import { type EntryRow, shown } from "./records.ts";
import { findSnapshot } from "./snapshot.ts";
import { tapName } from "./machine.ts";
import type { Checkout, CheckoutRequest, PoolRecord, Tier } from "./types.ts";

/** A guest that was thawed answers within milliseconds, or when many are thawed at once within seconds; it is asked again meanwhile. */
const ALIVE_LIMIT_MS = 4_000;
const ALIVE_TRIES = 5;

export async function checkout(context: PoolContext, pool: PoolRecord, request: CheckoutRequest): Promise<Checkout> {
  const begun = performance.now();
  const policy = request.policy ?? pool.policy;
  checkWanted(pool, policy);
  const done = (row: EntryRow, how: Tier): Checkout => ({
    entry: shown(row),
    how,
    miss: how !== pool.tier && request.snapshot === undefined,
    durationMs: performance.now() - begun,
  });
  if (request.snapshot !== undefined) return done(await fromSaved(context, pool, request, request.snapshot), "snapshot");
  const isFitting = pool.network === "bridge" || samePolicy(policy, pool.policy);
  if (pool.tier === "hot" && isFitting) {
    const row = await warm(context, pool, request.holder, request.signal);
    if (row !== undefined) {
      if (!samePolicy(policy, row.policy)) return done(await changePolicy(context, pool, row, policy), "hot");
      return done(row, "hot");
    }
  }
  const template = await context.templates.verify(pool.template, request.signal === undefined ? {} : { signal: request.signal });
  const from = pool.tier === "cold" ? undefined : await findSnapshot(context, pool, template);
  const row = await makeEntry(context, { pool, template, from, holder: request.holder, policy, signal: request.signal });
  return done(row, from === undefined ? "cold" : "snapshot");
}

async function fromSaved(context: PoolContext, pool: PoolRecord, request: CheckoutRequest, word: string): Promise<EntryRow> {
  const saved = machineSnapshot(context, word);
  if (saved.pool !== pool.name) {
    throw new Problem({
      code: "E_NO_SNAPSHOT",
      message: `the snapshot ${word} is of the pool ${saved.pool}, not of ${pool.name}`,
      exit: 2,
    });
  }
  const template = await context.templates.verify(pool.template);
  const { holder, policy = pool.policy, signal } = request;
  return await makeEntry(context, { pool, template, from: saved.place, saved, holder, policy, signal });
}

/** undefined: there is none. */
async function warm(
  context: PoolContext,
  pool: PoolRecord,
  holder: string,
  signal: AbortSignal | undefined,
): Promise<EntryRow | undefined> {
  const { records } = context;
  for (;;) {
    signal?.throwIfAborted();
    const row = records.claim(pool.name, pool.generation, holder);
    if (row === undefined) return undefined;
    try {
      await thaw(context, row);
      return row;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      context.note(pool.name, `${row.id} was not alive any more and is retired: ${error.message}`);
      const retiring = records.move(row.id, ["in-use"], "retiring", { owner: context.host.processIdentity, holder: undefined });
      if (retiring !== undefined) await destroyEntry(context, retiring);
    }
  }
}

/** Runs again, and answers. @throws Problem E_MACHINE_DIED, E_GUEST_SILENT */
export async function thaw(context: PoolContext, row: EntryRow): Promise<void> {
  const { host } = context;
  if (row.process === undefined || !host.signal(row.process, "SIGCONT"))
    throw new Problem({ code: "E_MACHINE_DIED", message: `thawing the machine ${row.id}: its hypervisor is gone` });
  if (row.from === "boot") return;
  try {
    const channel = await openChannel(host, row.id, row.directory);
    try {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await channel.order({ do: "ping" }, ALIVE_LIMIT_MS);
        } catch (error) {
          if (attempt === ALIVE_TRIES) throw error;
        }
      }
    } finally {
      channel.close();
    }
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem({ code: "E_MACHINE_DIED", message: `thawing the machine ${row.id}: nothing listens there`, cause: error });
  }
}

/** Live, on a bridge: what the machine reaches from now on. */
export async function changePolicy(
  context: PoolContext,
  pool: PoolRecord,
  row: EntryRow,
  policy: EntryRow["policy"],
): Promise<EntryRow> {
  const bridge = context.bridgeOf(pool);
  await bridge.setPolicy({ interface: tapName(row), mac: row.mac, address: row.address }, policy);
  return context.records.move(row.id, [row.state], row.state, { policy }) ?? row;
}
