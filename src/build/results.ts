/** From a building that came to its end to what the caller gets. */
import type { StorePath } from "../base/index.ts";
import { type Outputs, pin, type Resolved, type Building } from "./context.ts";
import { collected } from "./leaves.ts";
import { outputsOf, resolvedOf, writeDerivations } from "./lookup.ts";
import type { StepNode } from "./nodes.ts";
import { knownProbe, probeOutput } from "./probe.ts";
import type { BuildResult, StepResult } from "./types.ts";

export function outputOf(outputs: Outputs): StorePath {
  const out = outputs["out"] ?? Object.values(outputs)[0];
  if (out === undefined) throw new Error("a derivation without outputs");
  return out;
}

/** Goals that were found are held against gc, and their derivations are there to be shown. @throws Problem E_COLLECTED */
export function confirmGoals(building: Building): void {
  const { shop, graph } = building;
  const [missing] = pin(
    shop,
    graph.goals.flatMap((key): StorePath[] => Object.values(outputsOf(building, key))),
  );
  if (missing !== undefined) throw collected(missing);
  writeDerivations(
    building,
    graph.goals.map((key) => resolvedOf(building, key)),
  );
}

/** Those that were built were probed then; those that were found may never have been. @throws Problem E_PROBE_FAILED */
export async function probeGoals(building: Building): Promise<void> {
  for (const key of building.graph.goals) {
    const node = building.work.byKey.get(key);
    if (node?.kind !== "step" || node.step.recipe.probe === undefined) continue;
    await probeOutput(building, node, resolvedOf(building, key), outputOf(outputsOf(building, key)));
  }
}

export function collectResults(building: Building): BuildResult {
  const { shop, graph, work, plan, built } = building;
  const steps: StepResult[] = [];
  const byKey = new Map<string, StepResult>();
  for (const { key } of graph.steps) {
    const node = work.byKey.get(key);
    if (node?.kind !== "step" || plan.phase(key) !== "had") continue;
    const outputs = outputsOf(building, key);
    if (!built.has(key)) shop.emit({ kind: "present", key, out: outputOf(outputs) });
    const result = resultOf(building, node, resolvedOf(building, key), outputs);
    steps.push(result);
    byKey.set(key, result);
  }
  const goals = graph.goals.flatMap((key): [string, StepResult][] => {
    const result = byKey.get(key);
    return result === undefined ? [] : [[key, result]];
  });
  return { steps, goals: new Map(goals) };
}

/** What is recorded is read when it is asked for: of a thousand steps, most callers want to know of one. */
function resultOf(building: Building, node: StepNode, { drv, derivation }: Resolved, outputs: Outputs): StepResult {
  const { records } = building.shop;
  return {
    step: node.step,
    drv,
    derivation,
    outputs,
    how: building.built.has(node.key) ? "built" : "cutoff",
    chosen: node.chosen,
    get use() {
      return records.run(drv)?.use;
    },
    get probe() {
      return knownProbe(building, node, outputOf(outputs));
    },
    get logFile() {
      return records.run(drv)?.log;
    },
  };
}
