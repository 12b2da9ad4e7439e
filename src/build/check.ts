/**
 * `--check`: build again under another scratch path, and compare what came out with what is in the store.
 *
 * Paths of outputs are made from content with references to themselves taken out, so equal paths mean equal bytes. A reference to
 * itself that the builder hid (inside compressed data) was not rewritten the first time and shows here as a difference.
 */
import { stepLabel } from "../recipe/index.ts";
import type { FileDifference } from "../store/index.ts";
import type { Outputs, Resolved, Building } from "./context.ts";
import { notReproducible } from "./failure.ts";
import { runOnce } from "./make.ts";
import type { StepNode } from "./nodes.ts";

/** @throws Problem E_NOT_REPRODUCIBLE with the files that differ; with `--keep-failed` the second tree is kept */
export async function checkStep(building: Building, node: StepNode, resolved: Resolved, outputs: Outputs): Promise<void> {
  const { shop } = building;
  const run = await runOnce(building, node, resolved, 1, () => undefined);
  let done = false;
  try {
    const again = await shop.store.examine(run.registration);
    const differing = Object.keys(outputs).filter((name) => again[name]?.path !== outputs[name]);
    shop.emit({ kind: "checked", key: node.key, same: differing.length === 0 });
    const [first] = differing;
    if (first === undefined) return;
    const differences = differing.flatMap((name): readonly FileDifference[] => {
      const [path, candidate] = [outputs[name], run.registration.outputs[name]];
      return path === undefined || candidate === undefined ? [] : shop.store.compare(path, candidate);
    });
    const kept = run.keep();
    done = kept !== undefined;
    const path = outputs[first];
    if (path === undefined) throw new Error(`${first} is no output`);
    throw notReproducible(stepLabel(node.step), path, differences, kept === undefined ? undefined : run.trees[first]);
  } finally {
    if (!done) run.discard();
  }
}
