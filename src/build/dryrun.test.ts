import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { problemOf } from "../base/testing.ts";
import { type Buildable, instantiate } from "../recipe/index.ts";
import { type Bench, openBench, tiny } from "./testing.ts";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
beforeEach(() => {
  bench.forget();
});
afterAll(() => bench.remove());

const graphOf = (goal: Buildable) => instantiate(goal, { system: bench.host.system, directory: bench.root });

const low = (text: string) => tiny("low", text, { env: { LEVEL: "low" } });
const high = (text: string, input = low(text)) => tiny("high", "cat $low/f > $out/f", { inputs: [input] });

async function why(goal: Buildable) {
  const graph = graphOf(goal);
  const steps = await bench.builder.whyRebuild(graph, graph.goals[0] ?? "");
  return steps.map(({ step, reasons }) => ({ name: step.recipe.name, reasons }));
}

test("what can be built now shows its sandbox; what stands above waits; nothing is done", async () => {
  const plan = await bench.builder.plan(graphOf(high("echo planned > $out/f")));
  expect(plan.map(({ name, state }) => `${name} ${state}`)).toEqual(["low build", "high waits"]);
  expect(plan[0]?.drv).toMatch(/-low\.drv$/);
  expect(Object.values(plan[0]?.plan ?? {}).join("")).toContain("--unshare");
  expect(plan[1]?.reasons).toEqual([{ field: "name", before: undefined, after: "high" }]);
  expect(bench.store.all()).toEqual([]);
  expect((await problemOf(bench.build(high("echo planned > $out/f"), { dryRun: true }))).code).toBe("E_DRY_RUN");
  expect(bench.started()).toEqual([]);
});

test("what is there is said to be present, and --dry-run is content", async () => {
  const goal = high("echo there > $out/f");
  await bench.build(goal);
  expect((await bench.builder.plan(graphOf(goal))).map(({ state }) => state)).toEqual(["present", "present"]);
  await bench.build(goal, { dryRun: true });
});

test("why-rebuild names the field, and what waits for it", async () => {
  await bench.build(high("echo one > $out/f"));
  const changed = tiny("low", "echo one > $out/f", { env: { LEVEL: "raised" } });
  expect(await why(high("", changed))).toEqual([
    { name: "low", reasons: [{ field: "builder.env.LEVEL", before: "low", after: "raised" }] },
    { name: "high", reasons: [{ field: "inputs.low", before: undefined, after: "(not made yet)" }] },
  ]);
  await bench.build(high("", changed));
  expect(bench.started()).toEqual(["low", "high", "low"]);
  expect(await why(high("", changed))).toEqual([]);
});

test("why-rebuild names the input that came out differently", async () => {
  await bench.build(high("echo before > $out/f"));
  await bench.build(low("echo after > $out/f"));
  const found = await why(high("echo after > $out/f"));
  expect(found.map(({ name, reasons }) => `${name}: ${reasons.map(({ field }) => field).join(" ")}`)).toEqual([
    "high: inputs.low",
  ]);
});

test("why-rebuild says that an output was collected", async () => {
  const goal = tiny("gone", "echo gone > $out/f");
  const { root } = bench;
  await bench.build(goal);
  await bench.close();
  bench = openBench({ root });
  await bench.store.gc({});
  const [found] = await why(goal);
  expect(found?.reasons).toMatchObject([{ field: "outputs.out", after: undefined }]);
});
