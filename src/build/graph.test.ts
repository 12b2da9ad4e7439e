import { expect, test } from "bun:test";
import type { Buildable } from "../recipe/index.ts";
import { openBench, tiny } from "./testing.ts";

test("forty steps over three inputs each: each runs once, inputs first, and a second run starts nothing", async () => {
  const bench = openBench();
  try {
    const recipes: Buildable[] = [];
    for (let i = 0; i < 40; i++) {
      const inputs = [...new Set([i >> 1, i >> 2, i - 1])].flatMap((at) => (at < i && at >= 0 ? (recipes[at] ?? []) : []));
      recipes.push(tiny(`n${i}`, `echo ${i} > $out/n`, { inputs }));
    }
    const goal = recipes.at(-1);
    if (goal === undefined) throw new Error("unreachable");
    const result = await bench.build(goal, { jobs: 3 });
    const started = bench.started();
    expect(new Set(started).size).toBe(started.length);
    expect(started).toHaveLength(result.steps.length);
    const place = new Map(started.map((name, at) => [name, at]));
    for (const { step } of result.steps) {
      for (const input of Object.keys(step.inputs))
        expect(place.get(input) ?? Infinity).toBeLessThan(place.get(step.recipe.name) ?? -1);
    }
    bench.forget();
    const again = await bench.build(goal);
    expect(bench.started()).toEqual([]);
    expect(again.steps.map(({ outputs }) => outputs)).toEqual(result.steps.map(({ outputs }) => outputs));
  } finally {
    await bench.remove();
  }
});
