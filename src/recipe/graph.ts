/** From declarations to a graph for one system: every recipe lowered once, dependencies first. */
import { Problem, sha256, type System } from "../base/index.ts";
import { Fault } from "./check.ts";
import { checked } from "./errors.ts";
import { locationOf, renderLocation } from "./location.ts";
import { inputsOf, lower } from "./lower.ts";
import type { AlternativesDeclaration, Buildable, Declaration } from "./options.ts";
import type { Alternatives, Graph, Recipe, SourceLocation, Step } from "./types.ts";

export interface InstantiateOptions {
  readonly system: System;
  /** Directory of the project file: the lock of the default world lies there. */
  readonly directory: string;
}

interface Made {
  readonly step: Step;
  readonly value: Recipe | Alternatives;
}

interface Visit {
  readonly node: Buildable;
  /** Of a recipe: its inputs by name. Of alternatives: its choices by number. */
  readonly children: Readonly<Record<string, Buildable>>;
  readonly names: readonly string[];
  next: number;
}

/**
 * A declaration is a node by its identity, so a recipe that a thousand others use is looked at once. Depth-first with a stack of its
 * own: a chain may be longer than the call stack.
 * @throws Problem E_RECIPE_INVALID, E_RECIPE_THREW, E_CYCLE
 */
export function instantiate(goals: Buildable | readonly Buildable[], { system, directory }: InstantiateOptions): Graph {
  const made = new Map<Buildable, Made>();
  const steps = new Map<string, Step>();
  const open = new Set<Buildable>();
  const stack: Visit[] = [];
  /** Choices are nodes, but not steps, unless something asks for one by itself. */
  const wanted = new Set<Buildable>();

  function enter(node: Buildable): void {
    if (made.has(node)) return;
    if (open.has(node)) throw cycle([...stack.map((visit) => visit.node), node]);
    const children = node.kind === "declaration" ? inputsOf(node, system) : Object.fromEntries(node.choices.entries());
    open.add(node);
    stack.push({ node, children, names: Object.keys(children), next: 0 });
  }

  function leave({ node, children, names }: Visit): void {
    const inputs: Record<string, Made> = {};
    for (const name of names) {
      const child = children[name];
      const input = child === undefined ? undefined : made.get(child);
      if (input !== undefined) inputs[name] = input;
    }
    made.set(
      node,
      node.kind === "declaration" ? makeStep(node, inputs, { system, directory }) : makeGroup(node, Object.values(inputs)),
    );
    open.delete(node);
  }

  const list = isList(goals) ? goals : [goals];
  for (const goal of list) {
    wanted.add(goal);
    enter(goal);
    for (let visit = stack.at(-1); visit !== undefined; visit = stack.at(-1)) {
      const name = visit.names[visit.next++];
      const child = name === undefined ? undefined : visit.children[name];
      if (child !== undefined) {
        if (visit.node.kind === "declaration") wanted.add(child);
        enter(child);
        continue;
      }
      leave(visit);
      stack.pop();
    }
  }

  for (const [node, { step }] of made) if (wanted.has(node) && !steps.has(step.key)) steps.set(step.key, step);
  return { system, steps: [...steps.values()], byKey: steps, goals: [...new Set(list.map((goal) => keyOf(made, goal)))] };
}

function isList(goals: Buildable | readonly Buildable[]): goals is readonly Buildable[] {
  return Array.isArray(goals);
}

function keyOf(made: ReadonlyMap<Buildable, Made>, goal: Buildable): string {
  const found = made.get(goal);
  if (found === undefined) throw new Error(`${goal.name} was not visited`);
  return found.step.key;
}

function makeStep(declaration: Declaration, inputs: Readonly<Record<string, Made>>, options: InstantiateOptions): Made {
  const recipes: Record<string, Recipe | Alternatives> = {};
  const keys: Record<string, string> = {};
  for (const name of Object.keys(inputs)) {
    const input = inputs[name];
    if (input === undefined) continue;
    recipes[name] = input.value;
    keys[name] = input.step.key;
  }
  const recipe = lower(declaration, recipes, options);
  return { value: recipe, step: { key: stepKey(recipe, keys), recipe, inputs: keys } };
}

function makeGroup(group: AlternativesDeclaration, choices: readonly Made[]): Made {
  const [first, ...others] = choices.map(({ step }) => step);
  if (first === undefined) throw new Error(`${group.name} has no choices`);
  const outputs = first.recipe.outputs.join(" ");
  checked("alternatives", group.name, group.site, () => {
    const other = others.find(({ recipe }) => recipe.outputs.join(" ") !== outputs);
    if (other !== undefined)
      throw new Fault(`the outputs of the first choice (${outputs}) in every one`, other.recipe.outputs.join(" "));
  });
  const value: Alternatives = {
    kind: "alternatives",
    name: group.name,
    choices: [first, ...others].map(({ recipe }) => recipe),
    get location() {
      return locationOf(group.site);
    },
  };
  const key = sha256(JSON.stringify(["alternatives", first.key, ...others.map((step) => step.key)]));
  return { value, step: { key, recipe: first.recipe, inputs: first.inputs, fallbacks: others } };
}

/**
 * The digest of everything that is known before anything is built. A local tree goes in by its path and not by its content, so a key
 * names a step within one run; what is compared between runs is the derivation, which has the content.
 *
 * Lowering gives every field one order, so the text needs no sorting.
 */
function stepKey(recipe: Recipe, inputs: Readonly<Record<string, string>>): string {
  const { name, version, system, buildSystem, builder, sources, outputs, buildRoot, limits, check, probe, metadata } = recipe;
  const fields = {
    name,
    version,
    system,
    buildSystem,
    builder,
    inputs,
    sources,
    outputs,
    buildRoot,
    limits,
    check,
    probe,
    metadata,
  };
  return sha256(JSON.stringify(fields));
}

/** `hello-2.12.3`, or the name alone where there is no version. */
export function stepLabel(step: Pick<Step, "recipe">): string {
  const { name, version } = step.recipe;
  return version === "" ? name : `${name}-${version}`;
}

function cycle(path: readonly Buildable[]): Problem {
  const last = path.at(-1);
  const round = path.slice(path.findIndex((node) => node === last));
  const details = round.slice(0, -1).map((node) => {
    const location: SourceLocation | undefined = locationOf(node.site);
    return location === undefined ? node.name : `${node.name} is declared at ${renderLocation(location)}`;
  });
  return new Problem({
    code: "E_CYCLE",
    message: `recipes need each other in a circle: ${round.map((node) => node.name).join(" -> ")}`,
    details,
    hint: "take one of these inputs away, or split a recipe so that the part the others need comes first",
    exit: 2,
  });
}
