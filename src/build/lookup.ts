/**
 * Looking up: what are a node's paths, and are they there? Nothing is built, and nothing fetched, to answer that.
 *
 * A step is resolved against the paths of its needs; the store says which outputs its derivation gave and whether all are valid,
 * and the records say what it gave once, if they were collected since.
 */
import { namePart, type StorePath } from "../base/index.ts";
import {
  type Derivation,
  derivationPath,
  derivationReferences,
  derivationText,
  resolve,
  type Resolution,
  type Step,
} from "../recipe/index.ts";
import type { Outputs, Resolved, Building } from "./context.ts";
import { knownFetchPath, localTreePath } from "./fetch/index.ts";
import { fetchContext, worldContext } from "./leaves.ts";
import type { SourceNode, StepNode, WorkNode } from "./nodes.ts";
import type { Found } from "./plan.ts";
import { knownWorldPath } from "./world/index.ts";

/** Steps are answered before this returns; a promise is given where a tree must be read, and tells the plan itself. */
export function lookUp(building: Building, keys: readonly string[]): readonly Promise<void>[] {
  const steps: { readonly key: string; readonly resolved: Resolved }[] = [];
  const slow: Promise<void>[] = [];
  for (const key of keys) {
    const node = nodeOf(building, key);
    if (node.kind === "step") steps.push({ key, resolved: resolveStep(building, node) });
    else if (node.kind === "source" && node.fetch.fetcher === "localTree") slow.push(lookUpTree(building, node));
    else found(building, key, leafPath(building, node));
  }
  lookUpSteps(building, steps);
  return slow;
}

export function nodeOf(building: Pick<Building, "work">, key: string): WorkNode {
  const node = building.work.byKey.get(key);
  if (node === undefined) throw new Error(`the graph has no node ${key}`);
  return node;
}

function leafPath(building: Building, node: Exclude<WorkNode, StepNode>): StorePath | undefined {
  const { shop } = building;
  if (node.kind === "world") return knownWorldPath(worldContext(building, node.key), node.world);
  return knownFetchPath({ host: shop.host, distfiles: shop.directories.distfiles }, node.fetch);
}

function found(building: Building, key: string, path: StorePath | undefined): void {
  const changed = path !== undefined && setOutputs(building, key, { out: path });
  const state = path === undefined ? "unknown" : building.shop.store.isValid(path) ? "valid" : "remembered";
  building.plan.found(key, { state, changed });
}

async function lookUpTree(building: Building, { key, fetch, step }: SourceNode): Promise<void> {
  if (fetch.fetcher !== "localTree") throw new Error(`${key} is not a local tree`);
  try {
    found(building, key, await localTreePath(fetchContext(building, step), fetch));
  } catch (error) {
    building.failures.push({ key, label: fetch.name, error });
    building.plan.failed(key);
  }
}

function resolveStep(building: Building, node: StepNode): Resolved {
  const inputs: Record<string, Outputs> = {};
  for (const name of Object.keys(node.step.inputs)) inputs[name] = outputsOf(building, node.step.inputs[name] ?? "");
  const sources: Record<string, StorePath> = {};
  for (const name of Object.keys(node.sources)) sources[name] = onlyPath(building, node.sources[name] ?? "");
  const world = node.world === undefined ? undefined : onlyPath(building, node.world);
  const resolved = resolveTo(node.step, { inputs, sources, world });
  building.resolved.set(node.key, resolved);
  return resolved;
}

export function resolveTo(step: Step, resolution: Resolution): Resolved {
  const derivation: Derivation = resolve(step, resolution);
  const text = derivationText(derivation);
  return { drv: derivationPath(derivation, text), derivation, text };
}

export function resolvedOf(building: Pick<Building, "resolved">, key: string): Resolved {
  const resolved = building.resolved.get(key);
  if (resolved === undefined) throw new Error(`${key} is not resolved yet`);
  return resolved;
}

export function outputsOf(building: Pick<Building, "outputs">, key: string): Outputs {
  const outputs = building.outputs.get(key);
  if (outputs === undefined) throw new Error(`the paths of ${key} are not known yet`);
  return outputs;
}

function onlyPath(building: Building, key: string): StorePath {
  const { out } = outputsOf(building, key);
  if (out === undefined) throw new Error(`${key} has no path`);
  return out;
}

function lookUpSteps(building: Building, steps: readonly { readonly key: string; readonly resolved: Resolved }[]): void {
  if (steps.length === 0) return;
  const { store, records } = building.shop;
  const realised = store.realisations(steps.map(({ resolved }) => resolved.drv));
  const unknown: Resolved[] = [];
  for (const { key, resolved } of steps) {
    const valid = realised.get(resolved.drv);
    const known = valid ?? records.knownOutputs(resolved.drv);
    const state: Found["state"] = valid !== undefined ? "valid" : known !== undefined ? "remembered" : "unknown";
    const changed = known !== undefined && setOutputs(building, key, known);
    if (state === "unknown") unknown.push(resolved);
    building.plan.found(key, { state, changed });
  }
  if (unknown.length === 0 || building.options.dryRun) return;
  building.roster.require();
  // A failure to prepare comes again, and is reported, where the first sandbox is run.
  if (building.roster.working.some(({ host }) => host === undefined)) building.shop.sandbox.prepare().catch(() => undefined);
  // These are going to be built: their derivations go to disk together.
  writeDerivations(building, unknown);
}

/** Those whose references are all there; one that refers to something collected is written when that was built again. */
export function writeDerivations({ shop: { store } }: Pick<Building, "shop">, resolved: readonly Resolved[]): void {
  const missing = resolved
    .filter(({ drv }) => !store.isValid(drv))
    .map(({ drv, derivation, text }) => ({ name: namePart(drv), text, references: derivationReferences(derivation) }))
    .filter(({ references }) => references.every((path) => store.isValid(path)));
  if (missing.length > 0) store.addTexts(missing);
}

/** Whether they are others than before. */
export function setOutputs(building: Building, key: string, outputs: Outputs): boolean {
  const before = building.outputs.get(key);
  building.outputs.set(key, outputs);
  if (before === undefined) return false;
  return Object.keys(outputs).some((name) => outputs[name] !== before[name]);
}
