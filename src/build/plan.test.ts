import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type BuildPlan, openPlan, type PlanNode, type PlanOptions } from "./plan.ts";

const OPTIONS: PlanOptions = { places: { build: 2, fetch: 2 }, forced: new Set(), keepGoing: false };

function step(key: string, needs: readonly string[] = [], expectedMs?: number): PlanNode {
  return { key, pool: "build", needs, expectedMs };
}

/** Answers every look-up the same way until nothing is left to look up. */
function lookUpAll(plan: BuildPlan, state: (key: string) => "valid" | "remembered" | "unknown"): string[] {
  const asked: string[] = [];
  for (let batch = plan.lookups(); batch.length > 0; batch = plan.lookups()) {
    for (const key of batch) {
      asked.push(key);
      plan.found(key, { state: state(key), changed: false });
    }
  }
  return asked;
}

describe("what is wanted", () => {
  const CHAIN = [step("a"), step("b", ["a"]), step("c", ["b"])];

  test("everything valid: looked up from the bottom, nothing started", () => {
    const plan = openPlan(CHAIN, ["c"], OPTIONS);
    expect(lookUpAll(plan, () => "valid")).toEqual(["a", "b", "c"]);
    expect(plan.starts()).toEqual([]);
    expect(plan.isDone()).toBe(true);
  });

  test("an input that was collected is not made again while its user is there", () => {
    const plan = openPlan(CHAIN, ["c"], OPTIONS);
    lookUpAll(plan, (key) => (key === "c" ? "valid" : "remembered"));
    expect(plan.starts()).toEqual([]);
    expect(plan.phase("a")).toBe("known");
    expect(plan.isDone()).toBe(true);
  });

  test("it is made again when its user has to be made, and only as far down as needed", () => {
    const plan = openPlan(CHAIN, ["c"], OPTIONS);
    lookUpAll(plan, (key) => (key === "c" ? "unknown" : key === "b" ? "remembered" : "valid"));
    expect(plan.starts()).toEqual(["b"]);
    plan.finished("b", false);
    expect(plan.lookups()).toEqual([]);
    expect(plan.starts()).toEqual(["c"]);
  });

  test("a need that came out differently sends its users back to be looked up", () => {
    const plan = openPlan(CHAIN, ["c"], OPTIONS);
    lookUpAll(plan, (key) => (key === "c" ? "unknown" : "remembered"));
    expect(plan.starts()).toEqual(["a"]);
    plan.finished("a", true);
    expect(plan.lookups()).toEqual(["b"]);
    plan.found("b", { state: "valid", changed: true });
    expect(plan.lookups()).toEqual(["c"]);
    plan.found("c", { state: "valid", changed: true });
    expect(plan.isDone()).toBe(true);
  });

  test("what a look-up found does not count when a need changed meanwhile", () => {
    const plan = openPlan([step("a"), step("b"), step("c", ["a", "b"]), step("d", ["a"])], ["c", "d"], OPTIONS);
    for (const key of plan.lookups()) plan.found(key, { state: "remembered", changed: false });
    const looking = plan.lookups();
    expect(looking.toSorted()).toEqual(["c", "d"]);
    plan.found("d", { state: "unknown", changed: false });
    expect(plan.starts()).toEqual(["a"]);
    plan.finished("a", true);
    plan.found("c", { state: "valid", changed: true });
    expect(plan.phase("c")).toBe("asked");
    expect(plan.lookups().toSorted()).toEqual(["c", "d"]);
  });

  test("a forced goal is made although it is valid", () => {
    const plan = openPlan(CHAIN, ["c"], { ...OPTIONS, forced: new Set(["c"]) });
    lookUpAll(plan, () => "valid");
    expect(plan.starts()).toEqual(["c"]);
  });

  test("a parked node frees its place and is looked up again when woken", () => {
    const plan = openPlan([step("a"), step("b")], ["a", "b"], { ...OPTIONS, places: { build: 1, fetch: 1 } });
    lookUpAll(plan, () => "unknown");
    expect(plan.starts()).toEqual(["a"]);
    plan.park("a");
    expect(plan.starts()).toEqual(["b"]);
    plan.finished("b", false);
    expect(plan.isDone()).toBe(false);
    plan.wake("a");
    expect(lookUpAll(plan, () => "valid")).toEqual(["a"]);
    expect(plan.isDone()).toBe(true);
  });
});

test("a vacated place is used by the next, and only so many put their work away at once", () => {
  const keys = Array.from({ length: 8 }, (_, i) => `n${i}`);
  const plan = openPlan(
    keys.map((key) => step(key)),
    keys,
    { ...OPTIONS, places: { build: 1, fetch: 1 } },
  );
  lookUpAll(plan, () => "unknown");
  const away: string[] = [];
  for (let [next] = plan.starts(); next !== undefined; [next] = plan.starts()) {
    expect(plan.starts()).toEqual([]);
    expect(plan.busy("build")).toBe(1);
    plan.vacate(next);
    away.push(next);
  }
  expect(away).toEqual(["n0", "n1", "n2", "n3"]);
  plan.finished("n0", false);
  expect(plan.starts()).toEqual(["n4"]);
  for (const key of ["n4", "n1", "n2"]) plan.finished(key, false);
  plan.failed("n3");
  expect(plan.isDone()).toBe(true);
});

describe("failure", () => {
  const FORK = [step("a"), step("b"), step("x", ["a"]), step("y", ["b"]), step("top", ["x", "y"])];

  test("what runs may end, nothing new starts", () => {
    const plan = openPlan(FORK, ["top"], OPTIONS);
    lookUpAll(plan, () => "unknown");
    expect(plan.starts()).toEqual(["a", "b"]);
    plan.failed("a");
    expect(plan.isDone()).toBe(false);
    plan.finished("b", false);
    expect(plan.lookups()).toEqual([]);
    expect(plan.starts()).toEqual([]);
    expect(plan.isDone()).toBe(true);
    expect([plan.phase("x"), plan.phase("top")]).toEqual(["skipped", "skipped"]);
  });

  test("with keepGoing, what does not need it is made", () => {
    const plan = openPlan(FORK, ["top", "y"], { ...OPTIONS, keepGoing: true });
    lookUpAll(plan, () => "unknown");
    plan.starts();
    plan.failed("a");
    plan.finished("b", false);
    expect(lookUpAll(plan, () => "unknown")).toEqual(["y"]);
    expect(plan.starts()).toEqual(["y"]);
    plan.finished("y", false);
    expect(plan.isDone()).toBe(true);
    expect(["a", "x", "top"].map((key) => plan.phase(key))).toEqual(["failed", "skipped", "skipped"]);
  });
});

test("the longest path of expected time goes first; the median stands in for what never ran", () => {
  const nodes = [step("short", [], 10), step("long", [], 10), step("middle", ["long"], 500), step("top", ["short", "middle"])];
  const plan = openPlan(nodes, ["top"], { ...OPTIONS, places: { build: 1, fetch: 1 } });
  expect(plan.rankMs("long")).toBe(520);
  expect(plan.rankMs("short")).toBe(20);
  lookUpAll(plan, () => "unknown");
  expect(plan.starts()).toEqual(["long"]);
});

test("a chain longer than the call stack is no trouble", () => {
  const nodes = Array.from({ length: 50_000 }, (_, i) => step(`n${i}`, i === 0 ? [] : [`n${i - 1}`]));
  const plan = openPlan(nodes, ["n49999"], OPTIONS);
  expect(lookUpAll(plan, () => "valid")).toHaveLength(50_000);
});

/** A graph whose edges point backwards, with a state and an expected time for each node. */
const graphs = fc
  .array(
    fc.record({
      needs: fc.array(fc.nat(), { maxLength: 3 }),
      expectedMs: fc.option(fc.nat(1000), { nil: undefined }),
      state: fc.constantFrom("valid", "remembered", "unknown"),
      changes: fc.boolean(),
      fails: fc.boolean(),
      pool: fc.constantFrom("build", "fetch"),
    }),
    { minLength: 1, maxLength: 25 },
  )
  .map((rows) =>
    rows.map((row, i) => ({ ...row, key: `n${i}`, needs: i === 0 ? [] : [...new Set(row.needs.map((need) => `n${need % i}`))] })),
  );

test("any graph: topological, within its places, longest first, and it ends", () => {
  fc.assert(
    fc.property(
      graphs,
      fc.integer({ min: 1, max: 4 }),
      fc.boolean(),
      fc.infiniteStream(fc.nat()),
      (rows, jobs, keepGoing, choices) => {
        const byKey = new Map(rows.map((row) => [row.key, row]));
        const goal = rows.at(-1)?.key ?? "";
        const plan = openPlan(rows, [goal], { places: { build: jobs, fetch: 1 }, forced: new Set(), keepGoing });
        const made = new Set<string>();
        const running = new Set<string>();
        const started = new Set<string>();
        const inPool = (pool: string) => [...running].filter((key) => byKey.get(key)?.pool === pool);
        let failures = 0;
        for (let round = 0; !plan.isDone(); round++) {
          expect(round).toBeLessThan(2000);
          for (const key of plan.lookups()) {
            plan.found(key, { state: made.has(key) ? "valid" : (byKey.get(key)?.state ?? "unknown"), changed: false });
          }
          const batch = plan.starts();
          for (const key of batch) {
            const needs = byKey.get(key)?.needs ?? [];
            expect(needs.filter((need) => plan.phase(need) !== "had")).toEqual([]);
            expect(started.has(key)).toBe(false);
            started.add(key);
            running.add(key);
          }
          expect(inPool("build").length).toBeLessThanOrEqual(jobs);
          expect(inPool("fetch").length).toBeLessThanOrEqual(1);
          const built = batch.filter((key) => byKey.get(key)?.pool === "build").map((key) => plan.rankMs(key));
          expect(built).toEqual(built.toSorted((a, b) => b - a));
          const waiting = rows
            .filter((row) => row.pool === "build" && plan.phase(row.key) === "ready")
            .map((row) => plan.rankMs(row.key));
          if (built.length > 0 && waiting.length > 0) expect(Math.min(...built)).toBeGreaterThanOrEqual(Math.max(...waiting));
          const ending = [...running][(choices.next().value ?? 0) % Math.max(1, running.size)];
          if (ending === undefined) continue;
          running.delete(ending);
          if (byKey.get(ending)?.fails === true) {
            failures += 1;
            plan.failed(ending);
          } else {
            made.add(ending);
            plan.finished(ending, byKey.get(ending)?.changes === true);
          }
        }
        if (failures === 0) expect(plan.phase(goal)).toBe("had");
        else if (plan.phase(goal) !== "had")
          expect(["failed", "skipped", "asked", "needed", "ready"]).toContain(plan.phase(goal));
      },
    ),
    { numRuns: 300 },
  );
});
