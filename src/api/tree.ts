/**
 * The one reducer: what work reported -> what to show. The terminal and the web page draw the same tree.
 *
 *   waiting ──► fetching ─┐
 *      │    ──► preparing ┤ (a world)
 *      │    ──► locked ───┤ (another Garth builds it)
 *      └──────────────────┴─► building ─► registering ─► probing ─► built
 *      └─► present                └─────────────┴────────────┴──► failed | cancelled
 *
 * Events come in batches: a thousand of them copy the table of steps once.
 */
import type { BuildEvent } from "../build/index.ts";

export type StepState =
  | "waiting"
  | "present"
  | "fetching"
  | "preparing"
  | "locked"
  | "building"
  | "registering"
  | "probing"
  | "built"
  | "failed"
  | "cancelled";

export interface TreeStep {
  readonly key: string;
  readonly label: string;
  /** false for a source or a world that several steps share and that the graph does not name. */
  readonly ofGraph: boolean;
  /** Keys of the steps it needs. */
  readonly inputs: readonly string[];
  readonly state: StepState;
  /** When the present activity began. */
  readonly sinceMs: number | undefined;
  readonly expectedMs: number | undefined;
  /** How long the build took. */
  readonly durationMs: number | undefined;
  /** What it is doing, in a few words: the phase, the address, the reason of a failure. */
  readonly detail: string | undefined;
  /** The last line the builder printed. */
  readonly lastLine: string | undefined;
}

export interface Tree {
  readonly steps: ReadonlyMap<string, TreeStep>;
}

export interface TimedEvent {
  readonly atMs: number;
  readonly event: BuildEvent;
}

export const EMPTY_TREE: Tree = { steps: new Map() };

export const ACTIVE_STATES: readonly StepState[] = ["fetching", "preparing", "locked", "building", "registering", "probing"];

export function isActive(step: TreeStep): boolean {
  return ACTIVE_STATES.includes(step.state);
}

export function reduce(tree: Tree, events: readonly TimedEvent[]): Tree {
  const steps = new Map(tree.steps);
  for (const { atMs, event } of events) {
    if (event.kind === "graph")
      for (const step of event.steps) steps.set(step.key, { ...idle(step.key, step.label), ...step, ofGraph: true });
    else {
      const before = steps.get(event.key) ?? idle(event.key, labelOf(event));
      const change = changeOf(before, event, atMs);
      if (change !== undefined) steps.set(event.key, { ...before, ...change });
    }
  }
  return { steps };
}

function idle(key: string, label: string): TreeStep {
  return {
    key,
    label,
    ofGraph: false,
    inputs: [],
    state: "waiting",
    sinceMs: undefined,
    expectedMs: undefined,
    durationMs: undefined,
    detail: undefined,
    lastLine: undefined,
  };
}

type StepEvent = Exclude<BuildEvent, { kind: "graph" }>;

/** Sources and worlds are no steps of the graph where they are shared: they stand for themselves. */
function labelOf(event: StepEvent): string {
  if (event.kind === "fetch-started") return event.what;
  if (event.kind === "world-started") return event.name;
  return event.key.slice(0, 12);
}

/** undefined: nothing to see. */
function changeOf(step: TreeStep, event: StepEvent, atMs: number): Partial<TreeStep> | undefined {
  switch (event.kind) {
    case "present":
      return { state: "present", sinceMs: undefined };
    case "fetch-started":
      return { state: "fetching", sinceMs: atMs, detail: `${event.what} from ${event.from}` };
    case "fetch-failed":
      return { detail: `${event.from}: ${event.reason}` };
    case "world-started":
      return { state: "preparing", sinceMs: atMs, detail: `${event.name}, ${event.packages} packages` };
    case "fetch-finished":
    case "world-finished":
      // A source or a world of its own is done; a step goes back to wait for its turn.
      return settled(step.ofGraph ? "waiting" : "present");
    case "waiting":
      return { state: "locked", sinceMs: atMs, detail: `another Garth (${event.holder}) builds it` };
    case "started":
      return {
        state: "building",
        sinceMs: atMs,
        expectedMs: event.expectedMs ?? step.expectedMs,
        detail: event.on === undefined ? undefined : `on ${event.on}`,
        lastLine: undefined,
      };
    case "moved":
      return { state: "waiting", sinceMs: undefined, detail: `${event.from ?? "this machine"} went away: ${event.reason}` };
    case "awaited":
      return { state: "locked", sinceMs: atMs, detail: `${event.host} went away, and is asked again` };
    case "phase":
      return { detail: event.phase };
    case "output":
      return { lastLine: event.text.slice(event.text.lastIndexOf("\n") + 1) };
    case "registering":
      return { state: "registering", detail: undefined };
    case "probing":
      return { state: "probing", detail: undefined };
    case "built":
      return { ...settled("built"), durationMs: event.durationMs };
    case "failed":
      return { ...settled("failed"), detail: `${event.code}: ${event.message}` };
    case "cancelled":
      return settled("cancelled");
    case "alternative":
    case "checked":
    case "kept":
    case "limit":
    case "world-changed":
      return undefined;
  }
}

function settled(state: StepState): Partial<TreeStep> {
  return { state, sinceMs: undefined, detail: undefined, lastLine: undefined };
}

export interface Totals {
  readonly done: number;
  readonly present: number;
  readonly active: number;
  readonly waiting: number;
  readonly failed: number;
}

export function totals(tree: Tree): Totals {
  let [done, present, active, waiting, failed] = [0, 0, 0, 0, 0];
  for (const step of tree.steps.values()) {
    if (step.state === "built") done += 1;
    else if (step.state === "present") present += 1;
    else if (isActive(step)) active += 1;
    else if (step.state === "waiting") waiting += 1;
    else failed += 1;
  }
  return { done, present, active, waiting, failed };
}

/** The time that the longest chain of unfinished steps still wants; undefined where one of its steps was never timed. */
export function remainingMs(tree: Tree, nowMs: number): number | undefined {
  const known = new Map<string, number | undefined>();
  const visit = (key: string): number | undefined => {
    if (known.has(key)) return known.get(key);
    const step = tree.steps.get(key);
    if (step === undefined || !(isActive(step) || step.state === "waiting")) return 0;
    const elapsed = step.state === "building" ? nowMs - (step.sinceMs ?? nowMs) : 0;
    let below: number | undefined = 0;
    for (const input of step.inputs) {
      const one = visit(input);
      below = one === undefined || below === undefined ? undefined : Math.max(below, one);
    }
    const own = step.expectedMs === undefined ? undefined : Math.max(0, step.expectedMs - elapsed);
    const all = own === undefined || below === undefined ? undefined : own + below;
    known.set(key, all);
    return all;
  };
  let longest: number | undefined = 0;
  for (const step of tree.steps.values()) {
    const one = visit(step.key);
    longest = one === undefined || longest === undefined ? undefined : Math.max(longest, one);
  }
  return longest;
}
