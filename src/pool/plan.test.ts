/** What a pool has to do: by example, and as properties of every pool there could be. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FAILED_KEPT_MS, FAILURES_MAX, mayBecome, type Observed, planPool, type PoolStep } from "./plan.ts";
import { observed, poolEntry, poolRecord } from "./testing.ts";
import type { EntryState } from "./types.ts";

const NOW = 1_000_000;
const plan = (pool: Parameters<typeof poolRecord>[0], seen: readonly Observed[], refill = true): readonly PoolStep[] =>
  planPool(poolRecord(pool), seen, { refill, now: NOW });
const recent = { sinceMs: NOW - 1 };

describe("a hot pool", () => {
  test("makes what is missing, and counts what is being made", () => {
    expect(plan({ size: 3 }, [])).toEqual([{ kind: "make", count: 3 }]);
    expect(plan({ size: 3 }, [observed(poolEntry(1, "available")), observed(poolEntry(2, "booting"))])).toEqual([
      { kind: "make", count: 1 },
    ]);
    expect(plan({ size: 1 }, [observed(poolEntry(1, "available"))])).toEqual([]);
    expect(plan({ size: 3 }, [], false)).toEqual([]);
  });

  test("does not count what somebody waits for, nor what somebody has", () => {
    const seen = [observed(poolEntry(1, "booting", { holder: "x" })), observed(poolEntry(2, "in-use"))];
    expect(plan({ size: 1 }, seen)).toEqual([{ kind: "make", count: 1 }]);
  });

  test("gives back what is more than wanted, the newest first to go", () => {
    const seen = [1, 2, 3].map((number) => observed(poolEntry(number, "available")));
    expect(plan({ size: 1 }, seen)).toEqual([
      { kind: "retire", id: "micro-2", reason: "surplus" },
      { kind: "retire", id: "micro-3", reason: "surplus" },
    ]);
  });

  test("retires what died, what was left behind, and what is of another generation, but not under its holder", () => {
    const seen = [
      observed(poolEntry(1, "available"), { lives: false }),
      observed(poolEntry(2, "in-use"), { lives: false }),
      observed(poolEntry(3, "booting"), { ownerLives: false }),
      observed(poolEntry(4, "retiring"), { ownerLives: false }),
      observed(poolEntry(5, "available", { generation: 0 })),
      observed(poolEntry(6, "in-use", { generation: 0 })),
      observed(poolEntry(7, "paused"), { ownerLives: false }),
      observed(poolEntry(8, "available"), { ownerLives: false }),
    ];
    expect(plan({ size: 1 }, seen)).toEqual([
      { kind: "retire", id: "micro-1", reason: "died" },
      { kind: "retire", id: "micro-2", reason: "died" },
      { kind: "retire", id: "micro-3", reason: "abandoned" },
      { kind: "retire", id: "micro-4", reason: "unfinished" },
      { kind: "retire", id: "micro-5", reason: "outdated" },
    ]);
  });

  test("keeps the reason of a failure for a while, and gives up after many", () => {
    const failed = Array.from({ length: FAILURES_MAX }, (_, index) => observed(poolEntry(index + 1, "failed", recent)));
    expect(plan({ size: 1 }, failed.slice(1))).toEqual([{ kind: "make", count: 1 }]);
    expect(plan({ size: 1 }, failed)).toEqual([{ kind: "give-up", failures: FAILURES_MAX }]);
    const old = observed(poolEntry(1, "failed", { sinceMs: NOW - FAILED_KEPT_MS }));
    expect(plan({ size: 0 }, [old])).toEqual([{ kind: "retire", id: "micro-1", reason: "failed" }]);
  });
});

test("cold and snapshot pools keep no machines", () => {
  for (const tier of ["cold", "snapshot"] as const) {
    expect(plan({ tier, size: 5 }, [])).toEqual([]);
    expect(plan({ tier, size: 5 }, [observed(poolEntry(1, "available"))])).toEqual([
      { kind: "retire", id: "micro-1", reason: "surplus" },
    ]);
  }
});

const STATES: readonly EntryState[] = ["preparing", "booting", "warming", "available", "in-use", "paused", "retiring", "failed"];
const anyObserved = fc
  .record({
    state: fc.constantFrom(...STATES),
    generation: fc.constantFrom(1, 2),
    lives: fc.constantFrom(true, false),
    ownerLives: fc.boolean(),
    sinceMs: fc.integer({ min: 0, max: NOW }),
    waited: fc.boolean(),
  })
  .map(({ state, generation, lives, ownerLives, sinceMs, waited }) => (number: number): Observed => {
    const entry = poolEntry(number, state, { generation, sinceMs });
    return observed(waited && entry.holder === undefined && state !== "available" ? { ...entry, holder: "waiting" } : entry, {
      lives,
      ownerLives,
    });
  });

test("whatever is there: no living machine is taken from its holder, nothing twice, and the plan comes to an end", () => {
  fc.assert(
    fc.property(fc.array(anyObserved, { maxLength: 30 }), fc.integer({ min: 0, max: 20 }), (makers, size) => {
      const pool = poolRecord({ size, generation: 2 });
      const seen = makers.map((make, index) => make(index + 1));
      const steps = planPool(pool, seen, { refill: true, now: NOW });
      const retired = steps.flatMap((step) => (step.kind === "retire" ? [step.id] : []));
      expect(new Set(retired).size).toBe(retired.length);
      for (const { entry, lives } of seen) {
        const isHeld = entry.state === "in-use" || entry.state === "paused";
        if (isHeld && lives === true) expect(retired).not.toContain(entry.id);
      }
      const count = steps.reduce((all, step) => all + (step.kind === "make" ? step.count : 0), 0);
      // Carried out, the plan leaves what was wanted, and nothing to do.
      const kept = seen.filter(({ entry }) => !retired.includes(entry.id));
      const made = Array.from({ length: count }, (_, index) => observed(poolEntry(1000 + index, "available", { generation: 2 })));
      const making = kept.filter(
        ({ entry }) => ["preparing", "booting", "warming"].includes(entry.state) && entry.holder === undefined,
      );
      const available = [...kept, ...made].filter(({ entry }) => entry.state === "available").length;
      expect(available).toBeLessThanOrEqual(size);
      if (!steps.some(({ kind }) => kind === "give-up")) expect(available + making.length).toBeGreaterThanOrEqual(size);
      expect(planPool(pool, [...kept, ...made], { refill: true, now: NOW }).filter(({ kind }) => kind !== "give-up")).toEqual([]);
    }),
  );
});

test("nothing comes back from where it was retired, and nothing that was handed out becomes available", () => {
  for (const state of STATES) {
    expect(mayBecome("retiring", state)).toBe(false);
    expect(mayBecome(state, "preparing")).toBe(false);
  }
  expect(mayBecome("in-use", "available")).toBe(false);
  expect(mayBecome("paused", "available")).toBe(false);
  expect(mayBecome("failed", "available")).toBe(false);
});
