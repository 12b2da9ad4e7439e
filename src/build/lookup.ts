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
import type { Outputs, Resolved, Session } from "./context.ts";
import { knownFetchPath, localTreePath } from "./fetch/index.ts";
import { fetchContext, worldContext } from "./leaves.ts";
import type { SourceNode, StepNode, WorkNode } from "./nodes.ts";
import type { Found } from "./plan.ts";
import { knownWorldPath } from "./world/index.ts";

/** Steps are answered before this returns; a promise is given where a tree must be read, and tells the plan itself. */
export function lookUp(session: Session, keys: readonly string[]): readonly Promise<void>[] {
  const steps: { readonly key: string; readonly resolved: Resolved }[] = [];
  const slow: Promise<void>[] = [];
  for (const key of keys) {
    const node = nodeOf(session, key);
    if (node.kind === "step") steps.push({ key, resolved: resolveStep(session, node) });
    else if (node.kind === "source" && node.fetch.fetcher === "localTree") slow.push(lookUpTree(session, node));
    else found(session, key, leafPath(session, node));
  }
  lookUpSteps(session, steps);
  return slow;
}

export function nodeOf(session: Pick<Session, "work">, key: string): WorkNode {
  const node = session.work.byKey.get(key);
  if (node === undefined) throw new Error(`the graph has no node ${key}`);
  return node;
}

function leafPath(session: Session, node: Exclude<WorkNode, StepNode>): StorePath | undefined {
  const { shop } = session;
  if (node.kind === "world") return knownWorldPath(worldContext(session, node.key), node.world);
  return knownFetchPath({ host: shop.host, distfiles: shop.directories.distfiles }, node.fetch);
}

function found(session: Session, key: string, path: StorePath | undefined): void {
  const changed = path !== undefined && setOutputs(session, key, { out: path });
  const state = path === undefined ? "unknown" : session.shop.store.isValid(path) ? "valid" : "remembered";
  session.plan.found(key, { state, changed });
}

async function lookUpTree(session: Session, { key, fetch, step }: SourceNode): Promise<void> {
  if (fetch.fetcher !== "localTree") throw new Error(`${key} is not a local tree`);
  try {
    found(session, key, await localTreePath(fetchContext(session, step), fetch));
  } catch (error) {
    session.failures.push({ key, label: fetch.name, error });
    session.plan.failed(key);
  }
}

function resolveStep(session: Session, node: StepNode): Resolved {
  const inputs: Record<string, Outputs> = {};
  for (const name of Object.keys(node.step.inputs)) inputs[name] = outputsOf(session, node.step.inputs[name] ?? "");
  const sources: Record<string, StorePath> = {};
  for (const name of Object.keys(node.sources)) sources[name] = onlyPath(session, node.sources[name] ?? "");
  const world = node.world === undefined ? undefined : onlyPath(session, node.world);
  const resolved = resolveTo(node.step, { inputs, sources, world });
  session.resolved.set(node.key, resolved);
  return resolved;
}

export function resolveTo(step: Step, resolution: Resolution): Resolved {
  const derivation: Derivation = resolve(step, resolution);
  const text = derivationText(derivation);
  return { drv: derivationPath(derivation, text), derivation, text };
}

export function resolvedOf(session: Pick<Session, "resolved">, key: string): Resolved {
  const resolved = session.resolved.get(key);
  if (resolved === undefined) throw new Error(`${key} is not resolved yet`);
  return resolved;
}

export function outputsOf(session: Pick<Session, "outputs">, key: string): Outputs {
  const outputs = session.outputs.get(key);
  if (outputs === undefined) throw new Error(`the paths of ${key} are not known yet`);
  return outputs;
}

function onlyPath(session: Session, key: string): StorePath {
  const { out } = outputsOf(session, key);
  if (out === undefined) throw new Error(`${key} has no path`);
  return out;
}

function lookUpSteps(session: Session, steps: readonly { readonly key: string; readonly resolved: Resolved }[]): void {
  if (steps.length === 0) return;
  const { store, records } = session.shop;
  const realised = store.realisations(steps.map(({ resolved }) => resolved.drv));
  const unknown: Resolved[] = [];
  for (const { key, resolved } of steps) {
    const valid = realised.get(resolved.drv);
    const known = valid ?? records.knownOutputs(resolved.drv);
    const state: Found["state"] = valid !== undefined ? "valid" : known !== undefined ? "remembered" : "unknown";
    const changed = known !== undefined && setOutputs(session, key, known);
    if (state === "unknown") unknown.push(resolved);
    session.plan.found(key, { state, changed });
  }
  if (unknown.length === 0 || session.options.dryRun) return;
  // A failure to prepare comes again, and is reported, where the first sandbox is run.
  session.shop.sandbox.prepare().catch(() => undefined);
  // These are going to be built: their derivations go to disk together.
  writeDerivations(session, unknown);
}

/** Those whose references are all there; one that refers to something collected is written when that was built again. */
export function writeDerivations({ shop: { store } }: Pick<Session, "shop">, resolved: readonly Resolved[]): void {
  const missing = resolved
    .filter(({ drv }) => !store.isValid(drv))
    .map(({ drv, derivation, text }) => ({ name: namePart(drv), text, references: derivationReferences(derivation) }))
    .filter(({ references }) => references.every((path) => store.isValid(path)));
  if (missing.length > 0) store.addTexts(missing);
}

/** Whether they are others than before. */
export function setOutputs(session: Session, key: string, outputs: Outputs): boolean {
  const before = session.outputs.get(key);
  session.outputs.set(key, outputs);
  if (before === undefined) return false;
  return Object.keys(outputs).some((name) => outputs[name] !== before[name]);
}
