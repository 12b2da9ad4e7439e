/**
 * Keeps time: one timer at the next deadline, and every `sweepMs` a look at every machine.
 *
 * What plan.ts says is due is done in the sandbox's turn; while it is under way the same is not begun again.
 */
import type { Control } from "./context.ts";
import { destroy, endSandbox, pauseSandbox } from "./life.ts";
import { due, dueAtMs, paused, pauseFailed, resumed } from "./plan.ts";
import { Refusal } from "./refusal.ts";
import type { Live } from "./registry.ts";

/** setTimeout takes 31 bits. */
const TIMER_MAX_MS = 2 ** 31 - 1;
/** Usages asked for at once: each reads what the kernel has to count. */
const SAMPLES_AT_ONCE = 4;

export interface Reaper {
  start(): void;
  /** A deadline may have moved. */
  moved(): void;
  /** What is due now. Settles when it is done. */
  reap(): Promise<void>;
  sweep(): Promise<void>;
  /** Settles when what it was doing is done. */
  close(): Promise<void>;
}

export function openReaper(control: Control): Reaper {
  const { registry, pools, metrics, now, configuration, onFault } = control;
  const busy = new Map<Live, Promise<void>>();
  let running = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let sweeper: ReturnType<typeof setTimeout> | undefined;
  let sweeping: Promise<void> | undefined;
  let armedAtMs: number | undefined;

  const act = async (live: Live, what: "kill" | "pause"): Promise<void> => {
    const { id, pool } = live.record;
    try {
      if (what === "kill") await endSandbox(control, live, { reason: "timeout" });
      else await pauseSandbox(control, live, { reason: "timeout" });
      metrics.reaped(pool);
    } catch (error) {
      // Killed, or paused by somebody else, before its turn came.
      if (error instanceof Refusal && (error.status === 404 || error.status === 409)) return;
      onFault(`${what === "kill" ? "ending" : "pausing"} sandbox ${id} at the end of its time`, error);
      if (what === "pause" && live.ending === undefined) registry.move(live, pauseFailed(live.record, Math.trunc(now())));
    }
  };
  const reap = async (): Promise<void> => {
    for (const live of registry.all()) {
      const what = due(live.record, now());
      if (what === undefined || busy.has(live)) continue;
      busy.set(
        live,
        act(live, what).finally(() => {
          busy.delete(live);
          moved();
        }),
      );
    }
    await Promise.all(busy.values());
  };
  const moved = (): void => {
    if (!running) return;
    const times = registry.all().flatMap((live) => (busy.has(live) ? [] : [dueAtMs(live.record) ?? Number.POSITIVE_INFINITY]));
    const nextMs = Math.min(Number.POSITIVE_INFINITY, ...times);
    if (nextMs === armedAtMs) return;
    clearTimeout(timer);
    armedAtMs = nextMs === Number.POSITIVE_INFINITY ? undefined : nextMs;
    if (armedAtMs === undefined) return;
    timer = setTimeout(
      () => {
        armedAtMs = undefined;
        void reap().catch((error: unknown) => onFault("keeping time", error));
        moved();
      },
      Math.min(TIMER_MAX_MS, Math.max(0, armedAtMs - now())),
    );
  };

  /** Whether the pool still has its machine, and in the state that it was left in. */
  const look = (): void => {
    const held = new Map(pools.list().flatMap((entry) => (entry.holder === undefined ? [] : [[entry.holder, entry] as const])));
    for (const live of registry.all()) {
      if (live.queue.length > 0) continue;
      const { id, state } = live.record;
      const entry = held.get(id);
      if (entry?.id !== live.record.entry || entry.state === "failed" || entry.state === "retiring") {
        const detail = entry?.failure ?? "its pool has it no more";
        const ending = endSandbox(control, live, { reason: "machine-lost", detail });
        void control.track(ending).catch((error: unknown) => onFault(`ending sandbox ${id}`, error));
      } else if (entry.state === "paused" && state === "running") {
        registry.move(live, paused(live.record), { pausedAtMs: Math.trunc(now()) });
      } else if (entry.state === "in-use" && state === "paused") {
        registry.move(live, resumed(live.record, Math.trunc(now()), undefined), { pausedAtMs: undefined });
      }
    }
  };
  const sample = async (): Promise<void> => {
    const { sampleMs } = configuration;
    const stale = registry
      .all()
      .filter(({ record, samples }) => record.state === "running" && (samples.at(-1)?.atMs ?? 0) <= now() - sampleMs)
      .values();
    const worker = async (): Promise<void> => {
      for (const live of stale) await sampleOf(control, live).catch(() => undefined);
    };
    await Promise.all(Array.from({ length: SAMPLES_AT_ONCE }, worker));
  };
  const sweepOnce = async (): Promise<void> => {
    look();
    const left = registry.ending().filter((live) => live.destroying === undefined);
    await Promise.all(
      left.map((live) =>
        destroy(control, live).catch((error: unknown) => onFault(`destroying the machine of ${live.record.id}`, error)),
      ),
    );
    await Promise.all(registry.ending().map((live) => live.destroying?.catch(() => undefined)));
    await sample();
  };
  const sweep = (): Promise<void> => {
    sweeping ??= sweepOnce().finally(() => {
      sweeping = undefined;
    });
    return sweeping;
  };
  const armSweep = (): void => {
    if (!running) return;
    sweeper = setTimeout(() => {
      void sweep()
        .catch((error: unknown) => onFault("looking at the machines", error))
        .finally(armSweep);
    }, configuration.sweepMs);
  };

  return {
    reap,
    sweep,
    moved,
    start: () => {
      running = true;
      moved();
      armSweep();
    },
    close: async () => {
      running = false;
      clearTimeout(timer);
      clearTimeout(sweeper);
      await Promise.all([...busy.values(), sweeping?.catch(() => undefined)]);
    },
  };
}

/** How much it uses now; remembered. */
export async function sampleOf({ pools, registry, diskMiB, configuration }: Control, live: Live): Promise<void> {
  const usage = await pools.usage(live.record.entry);
  live.samples.push(usage);
  if (live.samples.length > configuration.samplesMax) live.samples.shift();
  const size = Math.round(usage.diskTotalBytes / (1024 * 1024));
  diskMiB.set(live.record.pool, size);
  if (live.record.diskMiB !== size && live.ending === undefined) registry.change(live, { diskMiB: size });
}
