/**
 * When a sandbox ends or goes to sleep. Decides, and does nothing: time is an argument.
 *
 *              ┌── endAt reached, onTimeout kill ──────────────────────────► ended
 *     running ─┤
 *      ▲ ▲     └── endAt reached, onTimeout pause ──► (pausing) ──done──► paused: no endAt, no timer
 *      │ └───────── failed: tried again after a back-off ◄──┘                │
 *      └──────────── connect, resume, or a request (autoResume): a new endAt ◄┘
 *
 * The deadline of a sandbox is fixed, as E2B's is: requests do not move it. Only a sandbox that its next request would wake again
 * (autoResume) is not put to sleep in the middle of its work: each request keeps it for one more window.
 */
import type { Lifecycle } from "../types.ts";

/** What decides about the end of a sandbox. */
export interface Span {
  readonly state: "running" | "paused";
  /** undefined while it is paused, and never otherwise. */
  readonly endAtMs: number | undefined;
  /** The window that was asked for last. */
  readonly timeoutMs: number;
  readonly lifecycle: Lifecycle;
  /** Attempts to pause it at its end that failed, one after the other. */
  readonly pauseFailures: number;
  /** Until then the next attempt waits. */
  readonly retryAtMs: number | undefined;
}

/** A sandbox that a request woke is not put to sleep again at once, however short its window was. */
export const AUTO_RESUME_MIN_MS = 300_000;
/** A window is moved on in steps: a request each millisecond is not a write each millisecond. */
const ACTIVITY_STEP_MS = 1000;
const BACKOFF_FIRST_MS = 1000;
const BACKOFF_MAX_MS = 300_000;

export type Due = "kill" | "pause";

export function begin(nowMs: number, timeoutMs: number, lifecycle: Lifecycle): Span {
  return { state: "running", endAtMs: nowMs + timeoutMs, timeoutMs, lifecycle, pauseFailures: 0, retryAtMs: undefined };
}

/** A new window from now on, longer or shorter. A paused sandbox has none: undefined. */
export function restart(span: Span, nowMs: number, timeoutMs: number): Span | undefined {
  if (span.state === "paused") return undefined;
  return { ...span, endAtMs: nowMs + timeoutMs, timeoutMs, pauseFailures: 0, retryAtMs: undefined };
}

/** The end, moved on where it would come earlier; never moved back. */
export function extend(span: Span, nowMs: number, timeoutMs: number): Span {
  if (span.endAtMs === undefined || span.endAtMs >= nowMs + timeoutMs) return span;
  return { ...span, endAtMs: nowMs + timeoutMs, timeoutMs, pauseFailures: 0, retryAtMs: undefined };
}

/** A request came. The same object when nothing moves. */
export function active(span: Span, nowMs: number): Span {
  if (span.endAtMs === undefined || !wakes(span)) return span;
  const endAtMs = nowMs + span.timeoutMs;
  return endAtMs - span.endAtMs < ACTIVITY_STEP_MS ? span : { ...span, endAtMs, retryAtMs: undefined };
}

export function paused(span: Span): Span {
  return { ...span, state: "paused", endAtMs: undefined, pauseFailures: 0, retryAtMs: undefined };
}

export function pauseFailed(span: Span, nowMs: number): Span {
  const backoffMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(span.pauseFailures, 20));
  return { ...span, pauseFailures: span.pauseFailures + 1, retryAtMs: nowMs + backoffMs };
}

/** `timeoutMs` undefined: nobody asked, a request woke it. */
export function resumed(span: Span, nowMs: number, timeoutMs: number | undefined): Span {
  const windowMs = timeoutMs ?? Math.max(AUTO_RESUME_MIN_MS, span.timeoutMs);
  return {
    ...span,
    state: "running",
    endAtMs: nowMs + windowMs,
    timeoutMs: timeoutMs ?? span.timeoutMs,
    pauseFailures: 0,
    retryAtMs: undefined,
  };
}

/** Whether a request to it, paused, wakes it. */
export function wakes({ lifecycle }: Pick<Span, "lifecycle">): boolean {
  return lifecycle.onTimeout === "pause" && lifecycle.autoResume;
}

/** When `due` has something to say; undefined: never, as things are. */
export function dueAtMs(span: Span): number | undefined {
  if (span.endAtMs === undefined) return undefined;
  return Math.max(span.endAtMs, span.retryAtMs ?? 0);
}

export function due(span: Span, nowMs: number): Due | undefined {
  const atMs = dueAtMs(span);
  return atMs === undefined || atMs > nowMs ? undefined : span.lifecycle.onTimeout;
}
