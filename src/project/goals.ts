/** From references as they were typed to one graph and the steps they mean. */
import type { System } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Buildable, Graph, Step } from "../recipe/index.ts";
import { buildablesOf, parseReference, projectGraph } from "./reference.ts";
import type { Project } from "./types.ts";

/** One thing that was asked for: the reference as typed, the name it has, the step that makes it. */
export interface Goal {
  readonly ref: string;
  readonly name: string;
  readonly key: string;
}

export interface Goals {
  readonly graph: Graph;
  readonly named: readonly Goal[];
}

interface Wanted {
  readonly ref: string;
  readonly name: string;
  readonly value: Buildable;
}

/**
 * No references at all mean every recipe of the default project file. Each file is loaded once, and its recipes are lowered in
 * its own directory, so that two projects keep their own worlds.
 *
 * @throws Problem E_BAD_REFERENCE, E_UNKNOWN_NAME, E_NOT_BUILDABLE, E_RECIPE_INVALID, E_CYCLE, and those of loading
 */
export async function resolveGoals(
  host: Host,
  load: (file: string | undefined) => Promise<Project>,
  refs: readonly string[],
  system: System,
): Promise<Goals> {
  const byFile = new Map<string, { readonly project: Project; readonly wanted: Wanted[] }>();
  for (const ref of refs.length === 0 ? [undefined] : refs) {
    const { file, name } = ref === undefined ? { file: undefined, name: undefined } : parseReference(ref);
    const key = file ?? "";
    const entry = byFile.get(key) ?? { project: await load(file), wanted: [] };
    byFile.set(key, entry);
    for (const value of buildablesOf(entry.project, name)) {
      entry.wanted.push({ ref: ref ?? value.name, name: name ?? value.name, value });
    }
  }
  const parts = [...byFile.values()].map(({ project, wanted }) => lowered(host, project, wanted, system));
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : joined(parts, system);
}

function lowered(host: Host, project: Project, wanted: readonly Wanted[], system: System): Goals {
  const values = wanted.map(({ value }) => value);
  const { graph, keyOf } = graphWithKeys(host, project, values, system);
  return { graph, named: wanted.map(({ ref, name, value }) => ({ ref, name, key: keyOf(value) })) };
}

/** The graph of some recipes of a project, and which of its steps each of them is. */
export function graphWithKeys(
  host: Host,
  project: Project,
  values: readonly Buildable[],
  system: System,
): { readonly graph: Graph; readonly keyOf: (value: Buildable) => string } {
  const graph = projectGraph(host, project, values, system);
  // Goals are in the order of the recipes; two that are one step leave fewer, and then each is asked for by itself.
  const inOrder = graph.goals.length === values.length;
  const keys = new Map(inOrder ? values.map((value, index) => [value, graph.goals[index]]) : []);
  const keyOf = (value: Buildable): string => {
    const key = keys.get(value) ?? projectGraph(host, project, [value], system).goals[0];
    if (key === undefined) throw new Error(`${value.name} gives no step`);
    return key;
  };
  return { graph, keyOf };
}

function joined(parts: readonly Goals[], system: System): Goals {
  const byKey = new Map<string, Step>();
  for (const { graph } of parts) for (const step of graph.steps) byKey.set(step.key, step);
  const goals = [...new Set(parts.flatMap(({ graph }) => graph.goals))];
  return { graph: { system, steps: [...byKey.values()], byKey, goals }, named: parts.flatMap(({ named }) => named) };
}
