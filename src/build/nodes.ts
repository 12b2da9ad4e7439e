/** A graph of steps as the planner sees it: steps, the sources they unpack, the worlds they run in. Pure. */
import { type Fetch, type Graph, type Step, stepLabel, type WorldSource } from "../recipe/index.ts";
import type { PlanNode } from "./plan.ts";

export interface StepNode {
  readonly kind: "step";
  readonly key: string;
  readonly step: Step;
  /** Source name -> key of its node. */
  readonly sources: Readonly<Record<string, string>>;
  readonly world: string | undefined;
  /** Where there were alternatives: name and version of the one taken. */
  readonly chosen: string | undefined;
}

export interface SourceNode {
  readonly kind: "source";
  readonly key: string;
  readonly fetch: Fetch;
  /** The first step that wants it: its events go there. */
  readonly step: string;
}

export interface WorldNode {
  readonly kind: "world";
  readonly key: string;
  readonly world: WorldSource;
  readonly step: string;
}

export type WorkNode = StepNode | SourceNode | WorldNode;

export interface Work {
  readonly nodes: readonly PlanNode[];
  readonly byKey: ReadonlyMap<string, WorkNode>;
}

/**
 * Equal sources and equal worlds become one node, however many steps name them.
 * `choices`: key of a group of alternatives -> the choice that takes its place.
 */
export function workOf(graph: Graph, choices: ReadonlyMap<string, Step>, durationsMs: ReadonlyMap<string, number>): Work {
  const nodes: PlanNode[] = [];
  const byKey = new Map<string, WorkNode>();
  const names = new Map<Fetch | WorldSource, string>();

  function leaf(kind: "source" | "world", value: Fetch | WorldSource): { readonly key: string; readonly isNew: boolean } {
    const known = names.get(value);
    if (known !== undefined) return { key: known, isNew: false };
    const key = `${kind}:${JSON.stringify(value)}`;
    names.set(value, key);
    const isNew = !byKey.has(key);
    if (isNew) nodes.push({ key, pool: "fetch", needs: [], expectedMs: undefined });
    return { key, isNew };
  }

  for (const { key, ...declared } of graph.steps) {
    const choice = choices.get(key);
    const { recipe, inputs } = choice ?? declared;
    const sources: Record<string, string> = {};
    for (const [name, fetch] of Object.entries(recipe.sources)) {
      const source = leaf("source", fetch);
      if (source.isNew) byKey.set(source.key, { kind: "source", key: source.key, fetch, step: key });
      sources[name] = source.key;
    }
    let world: string | undefined;
    if (recipe.buildRoot.kind === "world") {
      const root = leaf("world", recipe.buildRoot.world);
      if (root.isNew) byKey.set(root.key, { kind: "world", key: root.key, world: recipe.buildRoot.world, step: key });
      world = root.key;
    }
    const needs = [...Object.values(inputs), ...Object.values(sources), ...(world === undefined ? [] : [world])];
    const expectedMs = durationsMs.get(recipe.name);
    nodes.push({ key, pool: "build", needs, expectedMs });
    const chosen = choice === undefined ? undefined : stepLabel(choice);
    byKey.set(key, { kind: "step", key, step: { key, recipe, inputs }, sources, world, chosen });
  }
  return { nodes, byKey };
}
