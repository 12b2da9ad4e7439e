/** Snapshots of a sandbox, and sandboxes that go on from where another one is. */
import { createSandbox, snapshotOrigin } from "./create.ts";
import type { MachineSnapshot } from "../../pool/index.ts";
import type { Control } from "./context.ts";
import { collectSnapshots, notFound } from "./life.ts";
import { Refusal, refusalOf } from "./refusal.ts";
import type { Live } from "./registry.ts";
import type { SnapshotRecord } from "./snapshots.ts";
import type { Caller } from "./types.ts";

/** One that is shown. The sandbox stands still for a moment, and goes on. @throws Refusal 404; Problem */
export function snapshotSandbox(control: Control, live: Live, name: string | undefined): Promise<SnapshotRecord> {
  return inItsTurn(control, live, name, (made) => {
    const { id, tenant } = live.record;
    const snapshot = control.snapshots.add(made, tenant, id, name, "shown");
    control.events.emit("sandbox.lifecycle.checkpointed", live.record, Math.trunc(control.now()), { snapshot_id: made.id });
    return snapshot;
  });
}

function inItsTurn<T>({ pools }: Control, live: Live, name: string | undefined, keep: (made: MachineSnapshot) => T): Promise<T> {
  return live.queue.run(async () => {
    const { id, entry } = live.record;
    if (live.ending !== undefined) throw notFound(id);
    return keep(await pools.snapshot(entry, name === undefined ? {} : { name }));
  });
}

export type Forked = { readonly live: Live } | { readonly refusal: Refusal };

/**
 * `count` sandboxes from one snapshot: each comes about or not by itself.
 *
 * @throws Refusal 403 when not even one of them would be let in, 404, 409 when it is paused
 */
export async function forkSandbox(
  control: Control,
  live: Live,
  caller: Pick<Caller, "tenant" | "sandboxesMax">,
  { count, timeoutMs }: { readonly count: number; readonly timeoutMs: number },
  signal: AbortSignal,
): Promise<readonly Forked[]> {
  const { registry, limitOf, onFault } = control;
  const { record } = live;
  if (record.state === "paused") throw new Refusal(409, `sandbox ${record.id} is paused`);
  const max = caller.sandboxesMax ?? limitOf(caller.tenant);
  if (max !== undefined && registry.count(caller.tenant) >= max) {
    throw new Refusal(403, `${caller.tenant} has ${registry.count(caller.tenant)} sandboxes, and may have ${max}`);
  }
  const { snapshots } = control;
  const { snapshot, release } = await inItsTurn(control, live, undefined, (made) => ({
    // Held before it is known: whoever takes hidden ones away meanwhile leaves it.
    release: snapshots.hold(made.id),
    snapshot: snapshots.add(made, record.tenant, record.id, undefined, "hidden"),
  }));
  const { lifecycle, metadata, environment, network, allowPublicTraffic, maskRequestHost } = record;
  const wanted = { timeoutMs, lifecycle, metadata, environment, network, allowPublicTraffic, maskRequestHost };
  try {
    return await Promise.all(
      Array.from({ length: count }, async (): Promise<Forked> => {
        try {
          return { live: await createSandbox(control, caller, snapshotOrigin(snapshot, undefined), wanted, signal) };
        } catch (error) {
          const refusal = refusalOf(error);
          if (refusal === undefined) onFault(`forking sandbox ${record.id}`, error);
          return { refusal: refusal ?? new Refusal(500, "the fork failed") };
        }
      }),
    );
  } finally {
    release();
    collectSnapshots(control);
  }
}
