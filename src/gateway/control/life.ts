/**
 * Pausing, waking and ending of one sandbox: each in its turn, and none on what is gone.
 *
 * An end waits for what is under way, but is seen at once: from then on nobody finds the sandbox, its streams end, and what was under
 * way finds that there is nothing left to change.
 */
import { Problem } from "../../base/index.ts";
import type { Session } from "../types.ts";
import { giveBack } from "./create.ts";
import type { Control } from "./context.ts";
import { reasonData } from "./events.ts";
import { uuid } from "./identity.ts";
import { active, paused, resumed, wakes } from "./plan.ts";
import { Refusal } from "./refusal.ts";
import type { Live } from "./registry.ts";
import type { Why } from "./types.ts";

export function notFound(id: string): Refusal {
  return new Refusal(404, `sandbox ${id} was not found`);
}

function mustLive(live: Live): void {
  if (live.ending !== undefined) throw notFound(live.record.id);
}

function saying({ record: { id } }: Live, why: Why): string {
  switch (why.reason) {
    case "request":
      return `sandbox ${id} was killed`;
    case "timeout":
      return `sandbox ${id} has reached the end of its time`;
    case "machine-lost":
      return `the machine of sandbox ${id} is gone: ${why.detail}`;
    case "auto-resume":
      return `sandbox ${id} was woken`;
  }
}

/** false: somebody else ended it; its machine is gone all the same when this settles. @throws Problem of the pool: it is tried again */
export async function endSandbox(control: Control, live: Live, why: Why): Promise<boolean> {
  const { registry, events, metrics, now } = control;
  const { record } = live;
  const mine = control.together(() => {
    if (!registry.end(live, why)) return false;
    events.emit("sandbox.lifecycle.killed", record, Math.trunc(now()), reasonData(why));
    return true;
  });
  if (!mine) {
    await live.destroying?.catch(() => undefined);
    return false;
  }
  live.ended.abort(new Problem({ code: "E_SANDBOX_ENDED", message: saying(live, why) }));
  metrics.killed(record.pool, why.reason);
  await destroy(control, live);
  return true;
}

/** The machine of a sandbox that is ending. Again and again, until its pool says that it is gone. */
export function destroy(control: Control, live: Live): Promise<void> {
  live.destroying ??= live.queue
    .always(async () => {
      await giveBack(control, live.record.entry);
      control.registry.forget(live.record.id);
      collectSnapshots(control);
    })
    .finally(() => {
      live.destroying = undefined;
    });
  return live.destroying;
}

export function collectSnapshots({ registry, snapshots }: Control): void {
  const used = [...registry.all(), ...registry.ending()].flatMap(({ record: { snapshot } }) =>
    snapshot === undefined ? [] : [snapshot],
  );
  snapshots.collect(new Set(used));
}

/** Its time stands still. @throws Refusal 404, 409 when it is paused; Problem: it goes on */
export function pauseSandbox(control: Control, live: Live, why: Why): Promise<void> {
  const { pools, registry, metrics, events, now } = control;
  return live.queue.run(async () => {
    mustLive(live);
    const { id, entry, state, pool } = live.record;
    if (state === "paused") throw new Refusal(409, `sandbox ${id} is paused already`);
    await pools.pause(entry);
    const atMs = Math.trunc(now());
    registry.move(live, paused(live.record), { pausedAtMs: atMs });
    metrics.paused(pool);
    events.emit("sandbox.lifecycle.paused", live.record, atMs, reasonData(why));
  });
}

/** false: it was awake. `timeoutMs` undefined: nobody said how long. @throws Refusal 404; Problem: it is still paused */
export function resumeSandbox(control: Control, live: Live, timeoutMs: number | undefined, why: Why): Promise<boolean> {
  const { pools, registry, metrics, events, now, random } = control;
  return live.queue.run(async () => {
    mustLive(live);
    const { entry, state, pool } = live.record;
    if (state === "running") return false;
    await pools.resume(entry);
    const atMs = Math.trunc(now());
    registry.move(live, resumed(live.record, atMs, timeoutMs), {
      pausedAtMs: undefined,
      execution: uuid(random),
      executionStartedAtMs: atMs,
    });
    metrics.resumed(pool);
    events.emit("sandbox.lifecycle.resumed", live.record, atMs, reasonData(why));
    return true;
  });
}

/** A request goes to it: its window moves on, or it wakes up, where it is one that does. @throws Refusal 502 when it sleeps on */
export async function touch(control: Control, live: Live): Promise<void> {
  const { registry, now } = control;
  if (live.record.state === "paused") {
    if (!wakes(live.record)) throw new Refusal(502, `sandbox ${live.record.id} is paused`);
    await resumeSandbox(control, live, undefined, { reason: "auto-resume" });
  }
  mustLive(live);
  const moved = active(live.record, Math.trunc(now()));
  if (moved !== live.record) registry.move(live, moved);
}

/** One object while the sandbox lives in this process. */
export function sessionOf({ pools }: Control, live: Live): Promise<Session> {
  live.session ??= pools.guest(live.record.entry).then(
    (guest) => ({
      get sandbox() {
        return live.record;
      },
      guest,
      ended: live.ended.signal,
    }),
    (error: unknown) => {
      live.session = undefined;
      throw error;
    },
  );
  return live.session;
}
