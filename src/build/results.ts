/** From a session that came to its end to what the caller gets. */
import type { StorePath } from "../base/index.ts";
import { type Outputs, pin, type Resolved, type Session } from "./context.ts";
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
export function confirmGoals(session: Session): void {
  const { shop, graph } = session;
  const [missing] = pin(
    shop,
    graph.goals.flatMap((key): StorePath[] => Object.values(outputsOf(session, key))),
  );
  if (missing !== undefined) throw collected(missing);
  writeDerivations(
    session,
    graph.goals.map((key) => resolvedOf(session, key)),
  );
}

/** Those that were built were probed then; those that were found may never have been. @throws Problem E_PROBE_FAILED */
export async function probeGoals(session: Session): Promise<void> {
  for (const key of session.graph.goals) {
    const node = session.work.byKey.get(key);
    if (node?.kind !== "step" || node.step.recipe.probe === undefined) continue;
    await probeOutput(session, node, resolvedOf(session, key), outputOf(outputsOf(session, key)));
  }
}

export function collectResults(session: Session): BuildResult {
  const { shop, graph, work, plan, built } = session;
  const steps: StepResult[] = [];
  const byKey = new Map<string, StepResult>();
  for (const { key } of graph.steps) {
    const node = work.byKey.get(key);
    if (node?.kind !== "step" || plan.phase(key) !== "had") continue;
    const outputs = outputsOf(session, key);
    if (!built.has(key)) shop.emit({ kind: "present", key, out: outputOf(outputs) });
    const result = resultOf(session, node, resolvedOf(session, key), outputs);
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
function resultOf(session: Session, node: StepNode, { drv, derivation }: Resolved, outputs: Outputs): StepResult {
  const { records } = session.shop;
  return {
    step: node.step,
    drv,
    derivation,
    outputs,
    how: session.built.has(node.key) ? "built" : "cutoff",
    chosen: node.chosen,
    get use() {
      return records.run(drv)?.use;
    },
    get probe() {
      return knownProbe(session, node, outputOf(outputs));
    },
    get logFile() {
      return records.run(drv)?.log;
    },
  };
}
