/** One recipe of a project, without the rest of the line. */
import type { Emit, StorePath } from "../base/index.ts";
import type { BuildEvent } from "../build/index.ts";
import { graphWithKeys } from "../project/index.ts";
import type { ShipContext } from "./run.ts";
import type { OutputRequest } from "./types.ts";

export async function outputOf(
  context: ShipContext,
  { file, recipe, jobs, signal }: OutputRequest,
  emit: Emit<BuildEvent>,
): Promise<StorePath> {
  const { graph, keyOf } = graphWithKeys(context.host, await context.loadProject(file), [recipe], context.system);
  const options = { jobs, keepFailed: false, rebuild: false, check: false, dryRun: false, ...(signal && { signal }) };
  const result = await context.builder(emit).build(graph, options);
  const out = result.goals.get(keyOf(recipe))?.outputs["out"];
  if (out === undefined) throw new Error(`the builder left out ${recipe.name}`);
  return out;
}
