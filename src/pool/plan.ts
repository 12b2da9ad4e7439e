/**
 * What a pool has to do, from what is wanted and what is seen. Pure: whether a process lives is an argument.
 *
 * Steps are independent of each other: an executor may do them in any order and several at once, and may die between any two. What it
 * leaves is seen the next time.
 */
import type { EntryState, PoolEntry, PoolRecord } from "./types.ts";

const NEXT: Readonly<Record<EntryState, readonly EntryState[]>> = {
  preparing: ["booting", "failed", "retiring"],
  booting: ["warming", "failed", "retiring"],
  // Made for somebody who waits for it, or for whoever comes.
  warming: ["available", "in-use", "failed", "retiring"],
  available: ["in-use", "retiring"],
  "in-use": ["paused", "retiring"],
  paused: ["in-use", "retiring"],
  failed: ["retiring"],
  retiring: [],
};

export function mayBecome(from: EntryState, to: EntryState): boolean {
  return NEXT[from].includes(to);
}

/** Being made: whoever makes it is alive, or it is nobody's. */
const MAKING: ReadonlySet<EntryState> = new Set(["preparing", "booting", "warming"]);
const HELD: ReadonlySet<EntryState> = new Set(["in-use", "paused"]);
/** How long the reason of a failure is there to be read. */
export const FAILED_KEPT_MS = 10 * 60_000;
/** Failures in that time after which a pool makes no more: something is wrong that another try does not mend. */
export const FAILURES_MAX = 5;

export interface Observed {
  readonly entry: PoolEntry;
  /** Whether its hypervisor runs; undefined: it has none yet. */
  readonly lives: boolean | undefined;
  /** Whether the Garth that makes or undoes it runs. */
  readonly ownerLives: boolean;
}

export type PoolStep =
  | { readonly kind: "retire"; readonly id: string; readonly reason: RetireReason }
  | { readonly kind: "make"; readonly count: number }
  | { readonly kind: "give-up"; readonly failures: number };

/**
 * died: its hypervisor is gone. abandoned: whoever made it is gone. outdated: the pool or its template was changed. surplus: more
 * are available than wanted. failed: it did not come up, and its reason was there to be read long enough. unfinished: it was being undone.
 */
export type RetireReason = "died" | "abandoned" | "outdated" | "surplus" | "failed" | "unfinished";

/**
 * `refill`: machines that are missing are to be made. `now` in milliseconds since 1970.
 *
 * An entry that somebody holds is retired only when its hypervisor is gone.
 */
export function planPool(
  pool: PoolRecord,
  observed: readonly Observed[],
  { refill, now }: { readonly refill: boolean; readonly now: number },
): readonly PoolStep[] {
  const steps: PoolStep[] = [];
  let standing = 0;
  const spare: string[] = [];
  for (const { entry, lives, ownerLives } of observed) {
    const reason = retireReason(pool, entry, lives, ownerLives, now);
    if (reason !== undefined) steps.push({ kind: "retire", id: entry.id, reason });
    else if (entry.state === "available") spare.push(entry.id);
    else if (MAKING.has(entry.state) && entry.holder === undefined) standing += 1;
  }
  const wanted = pool.tier === "hot" ? pool.size : 0;
  for (const id of spare.slice(wanted)) steps.push({ kind: "retire", id, reason: "surplus" });
  const missing = wanted - Math.min(spare.length, wanted) - standing;
  if (!refill || missing <= 0) return steps;
  const failures = observed.filter(
    ({ entry }) => entry.state === "failed" && entry.generation === pool.generation && now - entry.sinceMs < FAILED_KEPT_MS,
  ).length;
  steps.push(failures >= FAILURES_MAX ? { kind: "give-up", failures } : { kind: "make", count: missing });
  return steps;
}

function retireReason(
  pool: PoolRecord,
  entry: PoolEntry,
  lives: boolean | undefined,
  ownerLives: boolean,
  now: number,
): RetireReason | undefined {
  const { state } = entry;
  if (state === "retiring") return ownerLives ? undefined : "unfinished";
  if (state === "failed") {
    const isOld = now - entry.sinceMs >= FAILED_KEPT_MS || entry.generation !== pool.generation;
    return isOld ? "failed" : undefined;
  }
  if (MAKING.has(state)) return ownerLives ? undefined : "abandoned";
  if (lives !== true) return "died";
  if (HELD.has(state)) return undefined;
  return entry.generation === pool.generation ? undefined : "outdated";
}
