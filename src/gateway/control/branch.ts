/** Snapshots of a sandbox, and sandboxes that go on from where another one is. */
import { createSandbox, snapshotOrigin } from "./create.ts";
import type { Control } from "./context.ts";
import { collectSnapshots, notFound } from "./life.ts";
import { Refusal, refusalOf } from "./refusal.ts";
import type { Live } from "./registry.ts";
import type { SnapshotRecord } from "./snapshots.ts";
import type { Caller } from "./types.ts";

/** The sandbox stands still for a moment, and goes on. @throws Refusal 404; Problem */
export function snapshotSandbox(
  control: Control,
  live: Live,
  name: string | undefined,
  visible: "shown" | "hidden",
): Promise<SnapshotRecord> {
  const { pools, snapshots, events, now } = control;
  return live.queue.run(async () => {
    const { id, tenant, entry } = live.record;
    if (live.ending !== undefined) throw notFound(id);
    const made = await pools.snapshot(entry, name === undefined ? {} : { name });
    const snapshot = snapshots.add(made, tenant, id, name, visible);
    if (visible === "shown")
      events.emit("sandbox.lifecycle.checkpointed", live.record, Math.trunc(now()), { snapshot_id: made.id });
    return snapshot;
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
  const snapshot = await snapshotSandbox(control, live, undefined, "hidden");
  const release = control.snapshots.hold(snapshot.id);
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
