import { expect, test } from "bun:test";
import { storePath } from "../base/index.ts";
import type { BuildEvent } from "../build/index.ts";
import { EMPTY_TREE, reduce, remainingMs, type StepState, type TimedEvent, totals, type Tree } from "./index.ts";

const path = storePath({ kind: "flat", sha256: "0".repeat(64), references: [] }, "a");

const graph: BuildEvent = {
  kind: "graph",
  steps: [
    { key: "lib", label: "lib-1", inputs: [], expectedMs: 4000 },
    { key: "app", label: "app-1", inputs: ["lib"], expectedMs: 6000 },
  ],
};

const at = (atMs: number, event: BuildEvent): TimedEvent => ({ atMs, event });
const after = (...events: readonly TimedEvent[]): Tree => reduce(EMPTY_TREE, [at(0, graph), ...events]);
const stateOf = (tree: Tree, key: string) => tree.steps.get(key)?.state;

test("a step goes through its states", () => {
  const story: readonly (readonly [BuildEvent, StepState])[] = [
    [{ kind: "fetch-started", key: "lib", what: "lib.tar", from: "https://a.example/" }, "fetching"],
    [{ kind: "fetch-finished", key: "lib", path, from: "https://a.example/" }, "waiting"],
    [{ kind: "waiting", key: "lib", holder: "1:2:3" }, "locked"],
    [{ kind: "started", key: "lib", drv: path, expectedMs: 5000 }, "building"],
    [{ kind: "registering", key: "lib" }, "registering"],
    [{ kind: "probing", key: "lib" }, "probing"],
    [{ kind: "built", key: "lib", out: path, durationMs: 4200 }, "built"],
  ];
  let tree = after();
  for (const [event, state] of story) {
    tree = reduce(tree, [at(10, event)]);
    expect(stateOf(tree, "lib")).toBe(state);
  }
  expect(tree.steps.get("lib")).toMatchObject({ durationMs: 4200, expectedMs: 5000, sinceMs: undefined });
});

test("a batch gives what its events give one by one, and the former tree stays as it was", () => {
  const events: readonly TimedEvent[] = [
    at(1, { kind: "started", key: "lib", drv: path, expectedMs: undefined }),
    at(2, { kind: "output", key: "lib", text: "one\ntwo" }),
    at(3, { kind: "phase", key: "lib", phase: "install" }),
    at(4, { kind: "failed", key: "lib", code: "E_BUILD_FAILED", message: "status 2" }),
    at(5, { kind: "cancelled", key: "app" }),
  ];
  const before = after();
  const text = JSON.stringify([...before.steps]);
  const whole = reduce(before, events);
  const steps = events.reduce((tree, event) => reduce(tree, [event]), before);
  expect(whole).toEqual(steps);
  expect(JSON.stringify([...before.steps])).toBe(text);
  expect(whole.steps.get("lib")?.detail).toBe("E_BUILD_FAILED: status 2");
  expect(totals(whole)).toEqual({ done: 0, present: 0, active: 0, waiting: 0, failed: 2 });
});

test("the last line of several is shown", () => {
  const tree = after(at(1, { kind: "output", key: "lib", text: "one\ntwo" }));
  expect(tree.steps.get("lib")?.lastLine).toBe("two");
});

test("a world that no step names stands for itself and ends as present", () => {
  const tree = after(at(1, { kind: "world-started", key: "w", name: "bookworm", packages: 120 }));
  expect(tree.steps.get("w")).toMatchObject({ label: "bookworm", state: "preparing" });
  expect(stateOf(reduce(tree, [at(2, { kind: "world-finished", key: "w", path })]), "w")).toBe("present");
});

test("what is left is the longest chain, less what has passed", () => {
  expect(remainingMs(after(), 0)).toBe(10_000);
  const building = after(at(1000, { kind: "started", key: "lib", drv: path, expectedMs: 4000 }));
  expect(remainingMs(building, 2000)).toBe(9000);
  expect(remainingMs(building, 60_000)).toBe(6000);
  const done = reduce(building, [at(5000, { kind: "built", key: "lib", out: path, durationMs: 4000 })]);
  expect(remainingMs(done, 5000)).toBe(6000);
});

test("a step that was never timed makes the rest unknown", () => {
  const events: BuildEvent = { kind: "graph", steps: [{ key: "x", label: "x", inputs: [], expectedMs: undefined }] };
  expect(remainingMs(reduce(EMPTY_TREE, [at(0, events)]), 0)).toBeUndefined();
});
