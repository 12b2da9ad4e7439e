/**
 * Rounds of reconciliation: what died is retired, what is missing is made.
 *
 *     resting ──an event, or REST_MS──► running ──nothing failed──► resting
 *        ▲                                 │ something failed
 *        └────────── waited 1 s, 2 s, ... 60 s ◄┘
 *
 * One round at a time; an event during a round makes another one follow. A guest that does not come up is not booted over and over:
 * each round in a row in which something failed doubles the wait before the next.
 */
import type { EntryState, Pools } from "./types.ts";

/** With no event a round begins this long after the one before has ended. */
export const REST_MS = 15_000;
export const WAIT_FIRST_MS = 1000;
export const WAIT_MAX_MS = 60_000;

/** A machine that is in one of these leaves a place to be filled, or has to be looked after. */
const CALLING: ReadonlySet<EntryState> = new Set(["in-use", "failed", "retiring"]);

export interface Timer {
  cancel(): void;
}

export interface RoundsOptions {
  readonly pools: Pick<Pools, "reconcile" | "onEvent">;
  readonly onFault: (error: unknown) => void;
  /** Default: the clock's. */
  readonly after?: (waitMs: number, work: () => void) => Timer;
}

export interface Rounds {
  /** Begins a round, or another one behind that which is running. */
  call(): void;
  /** No round begins any more, and the one that is running is cut short; settles when it is over. */
  close(): Promise<void>;
}

function byTheClock(waitMs: number, work: () => void): Timer {
  const timer = setTimeout(work, waitMs);
  return { cancel: () => clearTimeout(timer) };
}

export function openRounds({ pools, onFault, after = byTheClock }: RoundsOptions): Rounds {
  const closing = new AbortController();
  let running: Promise<void> | undefined;
  let timer: Timer | undefined;
  let called = false;
  let failed = false;
  let failures = 0;

  const rest = (waitMs: number): void => {
    timer?.cancel();
    timer = closing.signal.aborted ? undefined : after(waitMs, begin);
  };
  const waitMs = (): number => Math.min(WAIT_FIRST_MS * 2 ** (failures - 1), WAIT_MAX_MS);

  const round = async (): Promise<void> => {
    called = false;
    failed = false;
    try {
      await pools.reconcile({ refill: true, signal: closing.signal });
    } catch (error) {
      failed = true;
      if (!closing.signal.aborted) onFault(error);
    }
    failures = failed ? failures + 1 : 0;
    running = undefined;
    if (failures > 0) rest(waitMs());
    else if (called) begin();
    else rest(REST_MS);
  };
  const begin = (): void => {
    timer?.cancel();
    timer = undefined;
    if (!closing.signal.aborted) running ??= round();
  };
  const call = (): void => {
    called = true;
    // While it waits after a failure, events wait with it.
    if (running === undefined && failures === 0) begin();
  };

  const forget = pools.onEvent((event) => {
    if (event.kind !== "entry" || !CALLING.has(event.entry.state)) return;
    if (event.entry.state === "failed") failed = true;
    call();
  });

  return {
    call,
    close: async () => {
      forget();
      closing.abort(new Error("the daemon ends"));
      timer?.cancel();
      await running;
    },
  };
}
