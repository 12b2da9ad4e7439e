/** What would be done, and why, without doing it: `--dry-run` and `why-rebuild`. */
import { hashPart, type StorePath } from "../base/index.ts";
import { parseDerivation, type Reason, stepLabel, type Step, whyRebuild } from "../recipe/index.ts";
import { FIRST_BUILD_ID, planSandbox, type SandboxIdentity } from "../sandbox/index.ts";
import type { Resolved, Building } from "./context.ts";
import { lookUp } from "./lookup.ts";
import { outputPlaces, requestFor } from "./make.ts";
import type { StepNode } from "./nodes.ts";
import type { PlannedStep } from "./types.ts";

/** Everything that can be known without building or fetching. */
export async function lookUpAll(building: Building): Promise<void> {
  const { plan } = building;
  for (let keys = plan.lookups(); keys.length > 0; keys = plan.lookups()) await Promise.all(lookUp(building, keys));
  const [failure] = building.failures;
  if (failure !== undefined) throw failure.error;
}

/** The steps the goals stand on, dependencies first; those that nobody needs any more are left out. */
export function plannedSteps(building: Building): readonly PlannedStep[] {
  return wantedSteps(building).map(({ node, state }) => {
    const { name, version } = node.step.recipe;
    const resolved = state === "waits" ? undefined : building.resolved.get(node.key);
    return {
      key: node.key,
      label: stepLabel(node.step),
      name,
      version,
      state,
      drv: resolved?.drv,
      expectedMs: building.expectedMs.get(name),
      reasons: state === "present" ? [] : reasonsFor(building, node, resolved),
      plan: state === "build" && resolved !== undefined ? renderedPlan(building, resolved) : {},
    };
  });
}

export function rebuiltSteps(building: Building): readonly { readonly step: Step; readonly reasons: readonly Reason[] }[] {
  return wantedSteps(building).flatMap(({ node, state }) => {
    if (state === "present") return [];
    const resolved = state === "waits" ? undefined : building.resolved.get(node.key);
    return [{ step: node.step, reasons: reasonsFor(building, node, resolved) }];
  });
}

interface Wanted {
  readonly node: StepNode;
  readonly state: PlannedStep["state"];
}

function wantedSteps({ graph, work, plan }: Building): readonly Wanted[] {
  return graph.steps.flatMap(({ key }): Wanted[] => {
    const node = work.byKey.get(key);
    if (node?.kind !== "step") return [];
    const phase = plan.phase(key);
    if (phase === "had") return [{ node, state: "present" }];
    if (phase === "needed" || phase === "ready") return [{ node, state: "build" }];
    return phase === "asked" ? [{ node, state: "waits" }] : [];
  });
}

/** Against the last derivation built under the same name. */
function reasonsFor(building: Building, node: StepNode, resolved: Resolved | undefined): readonly Reason[] {
  const { records, store } = building.shop;
  const last = records.lastBuild(node.step.recipe.name);
  if (last === undefined) return [{ field: "name", before: undefined, after: stepLabel(node.step) }];
  if (resolved === undefined) return waitingFor(building, node);
  if (resolved.drv === last.drv) {
    const gone = Object.entries(records.knownOutputs(last.drv) ?? {}).filter(([, path]) => !store.isValid(path));
    return gone.map(([name, path]) => ({ field: `outputs.${name}`, before: path, after: undefined }));
  }
  return whyRebuild(parseDerivation(last.derivation, last.drv), resolved.derivation, pathNames(building, node));
}

/** Inputs that come out of a build of their own: what they will be is not known. */
function waitingFor({ plan }: Building, { step, sources, world }: StepNode): readonly Reason[] {
  const needs = [
    ...Object.entries(step.inputs).map(([name, key]) => [`inputs.${name}`, key] as const),
    ...Object.entries(sources).map(([name, key]) => [`sources.${name}`, key] as const),
    ...(world === undefined ? [] : [["buildRoot", world] as const]),
  ];
  return needs
    .filter(([, key]) => !["had", "known"].includes(plan.phase(key)))
    .map(([field]) => ({ field, before: undefined, after: "(not made yet)" }));
}

function pathNames(building: Building, { step, sources }: StepNode): ReadonlyMap<StorePath, string> {
  const names = new Map<StorePath, string>();
  for (const [name, key] of [...Object.entries(step.inputs), ...Object.entries(sources)]) {
    for (const path of Object.values(building.outputs.get(key) ?? {})) names.set(path, name);
  }
  return names;
}

/** As the site would run it that is taken first; where there is none, as this machine shows it. */
function renderedPlan({ shop, roster }: Building, resolved: Resolved): Readonly<Record<string, string>> {
  const id = hashPart(resolved.drv).slice(0, 8);
  const scratch = `${shop.directories.temporary}/planned/${id}`;
  const kind: SandboxIdentity["kind"] = shop.host.isRoot ? "drop" : "user-namespace";
  const place = { scratch, identity: { kind, uid: FIRST_BUILD_ID, gid: FIRST_BUILD_ID } };
  const request = requestFor(shop, resolved, place, outputPlaces(resolved, scratch, 0));
  const [site] = roster.working;
  return (site === undefined ? shop.sandbox.render(planSandbox(request)) : site.render(request)).files;
}
