/**
 * The loop around the plan: look up what became known, start what may start, wait for something to end.
 *
 *     build ─► choose alternatives ─► plan ─► ┌ look up ─► start ─► wait ┐ ─► results, or what failed
 *                                             └──────────◄───────────────┘
 */
import { Problem } from "../base/index.ts";
import { type Graph, stepLabel } from "../recipe/index.ts";
import { chooseAlternatives } from "./alternatives.ts";
import { checkStep } from "./check.ts";
import { leaseName, type Resolved, type Building, type Workshop } from "./context.ts";
import { interrupted, noSite, summary } from "./failure.ts";
import { makeLeaf } from "./leaves.ts";
import { lookUp, nodeOf, resolvedOf, setOutputs } from "./lookup.ts";
import { type Made, makeStep } from "./make.ts";
import { type StepNode, workOf } from "./nodes.ts";
import { pause } from "./pause.ts";
import { openPlan } from "./plan.ts";
import { probeOutput } from "./probe.ts";
import { ANSWER_WAITS_MS, HERE, openRoster, type Roster } from "./roster.ts";
import { collectResults, confirmGoals, outputOf, probeGoals } from "./results.ts";
import type { BuildOptions, BuildResult } from "./types.ts";

/** Sources and worlds on their way at one time. */
const FETCHES = 4;
const POLL_FIRST_MS = 20;
const POLL_MAX_MS = 1000;

export async function openBuilding(shop: Workshop, graph: Graph, options: BuildOptions): Promise<Building> {
  const expectedMs = shop.records.durationsMs(graph.steps.map(({ recipe }) => recipe.name));
  const work = workOf(graph, await chooseAlternatives(shop, graph, options), expectedMs);
  const roster = await rosterOf(shop, graph, options);
  const plan = openPlan(work.nodes, graph.goals, {
    places: { build: roster.places, fetch: FETCHES },
    forced: new Set(options.rebuild || options.check ? graph.goals : []),
    keepGoing: options.keepGoing === true,
  });
  return {
    shop,
    graph,
    options,
    work,
    plan,
    roster,
    outputs: new Map(),
    resolved: new Map(),
    built: new Set(),
    failures: [],
    expectedMs,
  };
}

async function rosterOf(shop: Workshop, { system }: Graph, { on, jobs, signal }: BuildOptions): Promise<Roster> {
  const sites = await shop.sites();
  return openRoster({
    sites: sites.filter((site) => site.system === system && (on === undefined || on === (site.host ?? HERE))),
    localJobs: jobs,
    noSite: () => noSite(system, on, sites),
    onAwaited: (key, host, { message }, upToMs) => shop.emit({ kind: "awaited", key, host, reason: message, upToMs }),
    waitsMs: shop.answerWaitsMs ?? ANSWER_WAITS_MS,
    signal,
  });
}

export async function runBuild(shop: Workshop, graph: Graph, options: BuildOptions): Promise<BuildResult> {
  throwIfAborted(options);
  const building = await openBuilding(shop, graph, options);
  emitGraph(building);
  await drive(building);
  throwIfAborted(options);
  const failure = summary(building.failures, notTried(building));
  if (failure !== undefined) throw failure;
  confirmGoals(building);
  await probeGoals(building);
  await shop.slots.settled();
  return collectResults(building);
}

function throwIfAborted({ signal }: BuildOptions): void {
  if (signal?.aborted === true) throw interrupted("building");
}

function emitGraph({ shop, graph, work, expectedMs }: Building): void {
  const steps = graph.steps.map((declared) => {
    const node = work.byKey.get(declared.key);
    const step = node?.kind === "step" ? node.step : declared;
    const inputs = Object.values(step.inputs);
    return { key: step.key, label: stepLabel(step), inputs, expectedMs: expectedMs.get(step.recipe.name) };
  });
  shop.emit({ kind: "graph", steps });
}

function notTried({ plan, graph, work }: Building): readonly string[] {
  const left = new Set(["skipped", "asked", "needed", "ready"]);
  return graph.steps.flatMap(({ key }) => {
    const node = work.byKey.get(key);
    return node?.kind === "step" && left.has(plan.phase(key)) ? [stepLabel(node.step)] : [];
  });
}

async function drive(building: Building): Promise<void> {
  const { plan, roster, options } = building;
  const bell = openBell();
  roster.watch((places) => {
    plan.resize("build", places);
    bell.ring();
  });
  const running = new Set<Promise<void>>();
  const launch = (task: Promise<void>): void => {
    const watched = task
      .catch((error: unknown) => {
        building.failures.push({ key: "", label: "the build itself", error });
        plan.stop();
      })
      .finally(() => {
        running.delete(watched);
        bell.ring();
      });
    running.add(watched);
  };
  const onAbort = (): void => {
    plan.stop();
    bell.ring();
  };
  options.signal?.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      for (let keys = plan.lookups(); keys.length > 0; keys = plan.lookups()) {
        for (const slow of lookUp(building, keys)) launch(slow);
      }
      for (const key of plan.starts()) launch(perform(building, key, bell.ring));
      if (plan.isDone() && running.size === 0) return;
      if (running.size === 0) throw new Error("the plan waits for something that nobody does");
      await bell.heard();
    }
  } finally {
    options.signal?.removeEventListener("abort", onAbort);
    await Promise.allSettled(running);
    await building.shop.slots.settled();
  }
}

async function perform(building: Building, key: string, ring: () => void): Promise<void> {
  const { plan, shop } = building;
  const node = nodeOf(building, key);
  try {
    if (node.kind === "step") return await performStep(building, node, ring);
    const changed = setOutputs(building, key, { out: await makeLeaf(building, node) });
    plan.finished(key, changed);
  } catch (error) {
    plan.failed(key);
    const step = node.kind === "step" ? key : node.step;
    if (error instanceof Problem && error.exit === 130) {
      shop.emit({ kind: "cancelled", key: step });
      return;
    }
    const label = node.kind === "step" ? stepLabel(node.step) : node.kind === "source" ? node.fetch.name : node.world.name;
    building.failures.push({ key, label, error });
    const [code, message] = error instanceof Problem ? [error.code, error.message] : ["E_BUG", String(error)];
    shop.emit({ kind: "failed", key: step, code, message });
  }
}

async function performStep(building: Building, node: StepNode, ring: () => void): Promise<void> {
  const { shop, plan } = building;
  const resolved = resolvedOf(building, node.key);
  const other = shop.making.get(resolved.drv);
  if (other !== undefined) return parkUntil(building, node, other);
  const working = Promise.withResolvers<void>();
  shop.making.set(resolved.drv, working.promise);
  try {
    const isGoal = building.graph.goals.includes(node.key);
    const made = await makeOrCheck(building, node, resolved, isGoal, () => {
      plan.vacate(node.key);
      ring();
    });
    if (made.kind === "held") {
      shop.emit({ kind: "waiting", key: node.key, holder: made.holder });
      return parkUntil(building, node, untilReleased(building, resolved));
    }
    const changed = setOutputs(building, node.key, made.outputs);
    const out = outputOf(made.outputs);
    await probeOutput(building, node, resolved, out);
    if (made.kind === "built") {
      building.built.add(node.key);
      shop.emit({ kind: "built", key: node.key, out, durationMs: made.use.durationMs });
    }
    plan.finished(node.key, changed);
  } finally {
    shop.making.delete(resolved.drv);
    working.resolve();
  }
}

async function makeOrCheck(
  building: Building,
  node: StepNode,
  resolved: Resolved,
  isGoal: boolean,
  onSandboxGone: () => void,
): Promise<Made> {
  const { options } = building;
  const checks = options.check && isGoal;
  const made = await makeStep(building, node, resolved, {
    forced: options.rebuild && isGoal,
    onSandboxGone: checks ? () => undefined : onSandboxGone,
  });
  if (made.kind !== "held" && checks) await checkStep(building, node, resolved, made.outputs);
  return made;
}

/** Gives the place back until `settled`, then the step is looked up again. */
async function parkUntil({ plan }: Building, node: StepNode, settled: Promise<void>): Promise<void> {
  plan.park(node.key);
  await settled;
  plan.wake(node.key);
}

/** Asks for the lease, more and more seldom, until its holder gave it back or died; or until the build is cancelled. */
async function untilReleased({ shop, plan, options }: Building, { drv }: Resolved): Promise<void> {
  const name = leaseName(drv);
  for (let waitMs = POLL_FIRST_MS; !plan.isStopped(); waitMs = Math.min(POLL_MAX_MS, waitMs * 1.5)) {
    await pause(waitMs, options.signal);
    if (shop.ledger.acquire(name, shop.owner, shop.isAlive, shop.now()) === undefined) {
      shop.ledger.release(name, shop.owner);
      return;
    }
  }
}

interface Bell {
  ring(): void;
  /** At once, if it rang since it was last heard. */
  heard(): Promise<void>;
}

function openBell(): Bell {
  let next = Promise.withResolvers<void>();
  return {
    ring: () => next.resolve(),
    heard: async () => {
      await next.promise;
      next = Promise.withResolvers<void>();
    },
  };
}
