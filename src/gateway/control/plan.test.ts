import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  active,
  AUTO_RESUME_MIN_MS,
  begin,
  due,
  dueAtMs,
  extend,
  paused,
  pauseFailed,
  restart,
  resumed,
  type Span,
  wakes,
} from "./plan.ts";

const DAY_MS = 24 * 3_600_000;
const window = fc.integer({ min: 0, max: DAY_MS });
const lifecycle = fc.constantFrom(
  { onTimeout: "kill", autoResume: false } as const,
  { onTimeout: "pause", autoResume: false } as const,
  { onTimeout: "pause", autoResume: true } as const,
);

type Step =
  | { readonly do: "restart" | "extend" | "resume"; readonly timeoutMs: number }
  | { readonly do: "active" | "pause" | "fail" | "auto-resume" };
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constantFrom("restart", "extend", "resume"), timeoutMs: window }),
  fc.record({ do: fc.constantFrom("active", "pause", "fail", "auto-resume") }),
);

/** Only what can come in a state: a paused sandbox is not paused, a running one is not woken. */
function apply(span: Span, one: Step, nowMs: number): Span {
  switch (one.do) {
    case "restart":
      return restart(span, nowMs, one.timeoutMs) ?? span;
    case "extend":
      return extend(span, nowMs, one.timeoutMs);
    case "active":
      return active(span, nowMs);
    case "pause":
      return span.state === "paused" ? span : paused(span);
    case "fail":
      return span.state === "paused" ? span : pauseFailed(span, nowMs);
    case "resume":
      return span.state === "running" ? span : resumed(span, nowMs, one.timeoutMs);
    case "auto-resume":
      return span.state === "running" || !wakes(span) ? span : resumed(span, nowMs, undefined);
  }
}

const walk = fc.record({
  timeoutMs: window,
  lifecycle,
  steps: fc.array(fc.record({ afterMs: fc.integer({ min: 0, max: 3_600_000 }), step }), { maxLength: 30 }),
});

describe("whatever happens to a sandbox", () => {
  test("it has an end exactly while it runs, and nothing is due while it is paused", () => {
    fc.assert(
      fc.property(walk, ({ timeoutMs, lifecycle, steps }) => {
        let nowMs = 1_000_000;
        let span = begin(nowMs, timeoutMs, lifecycle);
        for (const { afterMs, step } of steps) {
          nowMs += afterMs;
          span = apply(span, step, nowMs);
          expect(span.endAtMs === undefined).toBe(span.state === "paused");
          if (span.state === "paused")
            expect([due(span, nowMs + 10 * DAY_MS), dueAtMs(span), span.retryAtMs]).toEqual([undefined, undefined, undefined]);
        }
      }),
    );
  });

  test("nothing is due before the last end that was promised, and always at `dueAtMs`", () => {
    fc.assert(
      fc.property(walk, ({ timeoutMs, lifecycle, steps }) => {
        let nowMs = 1_000_000;
        let span = begin(nowMs, timeoutMs, lifecycle);
        for (const { afterMs, step } of steps) {
          nowMs += afterMs;
          span = apply(span, step, nowMs);
          const atMs = dueAtMs(span);
          if (atMs === undefined || span.endAtMs === undefined) continue;
          expect(atMs).toBeGreaterThanOrEqual(span.endAtMs);
          expect(due(span, atMs - 1)).toBeUndefined();
          expect(due(span, atMs)).toBe(lifecycle.onTimeout);
        }
      }),
    );
  });

  test("extending, requests and failures never bring the end nearer; only setting it anew does", () => {
    fc.assert(
      fc.property(walk, ({ timeoutMs, lifecycle, steps }) => {
        let nowMs = 1_000_000;
        let span = begin(nowMs, timeoutMs, lifecycle);
        for (const { afterMs, step } of steps) {
          nowMs += afterMs;
          const before = span.endAtMs;
          span = apply(span, step, nowMs);
          if (before === undefined || span.endAtMs === undefined || step.do === "restart") continue;
          expect(span.endAtMs).toBeGreaterThanOrEqual(before);
        }
      }),
    );
  });

  test("requests move the end of those alone that they would wake", () => {
    fc.assert(
      fc.property(window, lifecycle, fc.integer({ min: 0, max: DAY_MS }), (timeoutMs, lifecycle, afterMs) => {
        const span = begin(0, timeoutMs, lifecycle);
        const moved = active(span, afterMs);
        if (!lifecycle.autoResume) expect(moved).toBe(span);
        else expect(moved.endAtMs).toBeGreaterThanOrEqual(afterMs + timeoutMs - 1000);
      }),
    );
  });

  test("a request that wakes it gives it five minutes, or its own window where that is longer", () => {
    fc.assert(
      fc.property(window, fc.integer({ min: 0, max: DAY_MS }), (timeoutMs, nowMs) => {
        const span = resumed(paused(begin(0, timeoutMs, { onTimeout: "pause", autoResume: true })), nowMs, undefined);
        expect(span.endAtMs).toBe(nowMs + Math.max(AUTO_RESUME_MIN_MS, timeoutMs));
        // What was asked for is not forgotten.
        expect(span.timeoutMs).toBe(timeoutMs);
      }),
    );
  });
});

test("a pause that fails again and again is tried less and less often, and never more than five minutes apart", () => {
  let span = begin(0, 1000, { onTimeout: "pause", autoResume: false });
  const waits: number[] = [];
  for (let nowMs = 1000; waits.length < 40; nowMs = dueAtMs(span) ?? 0) {
    expect(due(span, nowMs)).toBe("pause");
    span = pauseFailed(span, nowMs);
    expect(span.state).toBe("running");
    waits.push((dueAtMs(span) ?? 0) - nowMs);
  }
  expect(waits.slice(0, 10)).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000]);
  expect(new Set(waits.slice(9))).toEqual(new Set([300_000]));
  // Paused in the end, it is as any other.
  expect(paused(span)).toMatchObject({ pauseFailures: 0, retryAtMs: undefined, endAtMs: undefined });
});

test("pausing a sandbox whose end is near leaves no end behind", () => {
  const span = paused(begin(0, 10, { onTimeout: "kill", autoResume: false }));
  expect(due(span, 1_000_000)).toBeUndefined();
  expect(restart(span, 0, 5)).toBeUndefined();
  expect(extend(span, 0, 5)).toBe(span);
});
