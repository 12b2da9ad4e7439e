/**
 * Building one step: lease, sandbox, registration, and giving everything back.
 *
 *     lease ── held by a living process ──► "held" (the caller waits and looks up again)
 *       │ ours
 *       ▼
 *     look up again ── valid by now ──► done
 *       ▼
 *     pin inputs ► berth ► slot ► sandbox ► log closed ► registered ► recorded, lease given back (one transaction)
 *                    ▲                │
 *                    └── host lost ◄──┘ (the slot is given back, nothing of it counts)
 *
 * Every step that can fail stands inside a `try` whose `finally` undoes the ones before it.
 */
import { hashPart, namePart, Problem, type StorePath } from "../base/index.ts";
import { derivationReferences, scratchPath, stepLabel } from "../recipe/index.ts";
import {
  type SandboxIdentity,
  type SandboxRequest,
  type SandboxResult,
  type SandboxUse,
  sandboxHostname,
  type Site,
  type SiteRun,
} from "../sandbox/index.ts";
import type { Registration } from "../store/index.ts";
import { leaseName, type Outputs, pin, type Resolved, type Building, type Workshop } from "./context.ts";
import { buildFailure, type Kept, outputRefused } from "./failure.ts";
import { collected } from "./leaves.ts";
import { type BuildLog, logPath, openLog } from "./log.ts";
import { writeDerivations } from "./lookup.ts";
import type { BuildOptions } from "./types.ts";
import type { StepNode } from "./nodes.ts";
import { type Berth, isLoss } from "./roster.ts";

export type Made =
  | { readonly kind: "built"; readonly outputs: Outputs; readonly use: SandboxUse; readonly log: string }
  /** Somebody else finished it. */
  | { readonly kind: "present"; readonly outputs: Outputs }
  /** Somebody else is making it. */
  | { readonly kind: "held"; readonly holder: string };

export interface MakeOptions {
  /** Although it is valid. */
  readonly forced: boolean;
  /** Called when the sandbox is gone: another build may take its place while this one is registered. */
  readonly onSandboxGone: () => void;
}

/** @throws Problem E_BUILD_FAILED, E_LIMIT_EXCEEDED, E_INTERRUPTED, and those of sandbox and store */
export async function makeStep(building: Building, node: StepNode, resolved: Resolved, options: MakeOptions): Promise<Made> {
  const { shop } = building;
  const { drv } = resolved;
  const { ledger } = shop;
  const holder = ledger.quickTransaction(() => ledger.acquire(leaseName(drv), shop.owner, shop.isAlive, shop.now()));
  if (holder !== undefined) return { kind: "held", holder };
  let leased = true;
  try {
    const present = options.forced ? undefined : shop.store.realisation(drv);
    if (present !== undefined) return { kind: "present", outputs: present };
    writeDerivations(building, [resolved]);
    pinNeeds(shop, resolved);
    const run = await runOnce(building, node, resolved, 0, options.onSandboxGone);
    try {
      shop.emit({ kind: "registering", key: node.key });
      const items = await shop.registrar.register(run.registration, building.plan.busy("build"));
      const outputs = Object.fromEntries(Object.entries(items).map(([name, { path }]) => [name, path]));
      for (const { path } of Object.values(items)) shop.pinned.add(path);
      ledger.quickTransaction(() => {
        const record = { use: run.use, log: run.log, outputs };
        shop.records.noteRun(node.step.recipe.name, drv, resolved.text, record, shop.now());
        ledger.release(leaseName(drv), shop.owner);
      });
      leased = false;
      run.discard();
      return { kind: "built", outputs, use: run.use, log: run.log };
    } catch (error) {
      throw refused(stepLabel(node.step), run, error);
    }
  } finally {
    if (leased) ledger.quickTransaction(() => ledger.release(leaseName(drv), shop.owner));
  }
}

/** What was built cannot be put into the store. The scratch is kept for the person who asked for that, or removed. */
function refused(label: string, run: SandboxRun, error: unknown): unknown {
  const isOfOutput = error instanceof Problem && Object.values(run.trees).some((tree) => error.where?.startsWith(tree));
  const kept = isOfOutput ? run.keep() : undefined;
  if (kept === undefined) run.discard();
  return isOfOutput ? outputRefused({ label, log: run.log, trees: run.trees, kept }, error) : error;
}

export interface SandboxRun {
  readonly registration: Registration;
  readonly use: SandboxUse;
  readonly log: string;
  /** Physical directories of the outputs, until `discard`. */
  readonly trees: Readonly<Record<string, string>>;
  /** Removes the scratch and gives the slot back. */
  discard(): void;
  /** Instead, with `--keep-failed`: leaves the scratch to the person and says where. undefined without it, and nothing is done. */
  keep(): Kept | undefined;
}

/**
 * One run of the builder in its sandbox, at the site that has room. `round` 1 is the second build of `--check`. When a host goes away, the
 * builder begins anew elsewhere; there are as many tries as hosts, and one.
 */
export async function runOnce(
  building: Building,
  node: StepNode,
  resolved: Resolved,
  round: number,
  onSandboxGone: () => void,
): Promise<SandboxRun> {
  return elsewhere(building, node.key, "take", async (berth) =>
    runAt(building, node, resolved, round, berth.site, () => {
      berth.leave();
      onSandboxGone();
    }),
  );
}

/** Does the work at one site after the other, as long as they are lost with it. */
export async function elsewhere<Result>(
  { shop, roster }: Building,
  key: string,
  place: "take" | "beside",
  work: (berth: Berth) => Promise<Result>,
): Promise<Result> {
  let left: { readonly site: Site; readonly problem: Problem } | undefined;
  for (;;) {
    const berth = await roster[place](key);
    if (left !== undefined) {
      const { site, problem } = left;
      shop.emit({ kind: "moved", key, from: site.host, to: berth.site.host, code: problem.code, reason: problem.message });
    }
    try {
      return await work(berth);
    } catch (error) {
      if (!isLoss(berth.site, error)) throw error;
      roster.lost(berth, error);
      left = { site: berth.site, problem: error };
    } finally {
      berth.leave();
    }
  }
}

async function runAt(
  building: Building,
  node: StepNode,
  resolved: Resolved,
  round: number,
  site: Site,
  onSandboxGone: () => void,
): Promise<SandboxRun> {
  const { shop, options } = building;
  const { drv } = resolved;
  const label = stepLabel(node.step);
  const slot = shop.slots.take();
  const id = hashPart(drv).slice(0, 8);
  const keepable = options.keepFailed ? shop.slots.keepable(slot, `${label}-${id}`) : undefined;
  const scratch = keepable === undefined ? shop.slots.fresh(slot, id) : `${keepable.directory}/${id}`;
  const discard = () => {
    keepable?.discard();
    shop.slots.giveBack(slot, scratch);
  };
  let settled = false;
  try {
    const { request, registration, trees } = prepare(shop, resolved, { identity: slot.identity, scratch }, round);
    const log = openStepLog(shop, node.key, drv, site, request, round);
    const keep = (): Kept | undefined => {
      if (keepable === undefined) return undefined;
      keepable.keep();
      shop.slots.giveBack(slot, shop.slots.fresh(slot, "none"));
      // Of a host, only what was fetched is here.
      const kept = { directory: scratch, enter: site.host === undefined ? site.render(request).enter : undefined };
      shop.emit({ kind: "kept", key: node.key, ...kept });
      return kept;
    };
    const expectedMs = building.expectedMs.get(node.step.recipe.name);
    shop.emit({ kind: "started", key: node.key, drv, expectedMs, ...(site.host === undefined ? {} : { on: site.host }) });
    const { result, use, kept: keptThere } = await runLogged(site, request, log, options);
    onSandboxGone();
    if (result.kind === "exited" && result.status === 0) {
      settled = true;
      return { registration, use, log: log.path, trees, discard, keep };
    }
    if (result.kind === "limit") shop.emit({ kind: "limit", key: node.key, limit: result.limit, value: result.value });
    if (keptThere !== undefined) shop.emit({ kind: "kept", key: node.key, ...keptThere });
    const keptHere = result.kind === "cancelled" || site.host !== undefined ? undefined : keep();
    settled = keptHere !== undefined;
    throw buildFailure({ label, drv, log: log.path, tail: log.tail(), kept: keptThere ?? keptHere }, result);
  } finally {
    if (!settled) discard();
  }
}

/** Everything that can be collected while the builder needs it. */
function pinNeeds(shop: Workshop, { drv, derivation }: Resolved): void {
  const [missing] = pin(shop, [...derivationReferences(derivation), drv]);
  if (missing !== undefined) throw collected(missing);
}

interface Prepared {
  readonly request: SandboxRequest;
  readonly registration: Registration;
  readonly trees: Readonly<Record<string, string>>;
}

/** What is asked of the site, and what will be registered. The sandbox makes the directories. */
function prepare(shop: Workshop, resolved: Resolved, place: RunPlace, round: number): Prepared {
  const outputs = outputPlaces(resolved, place.scratch, round);
  const request = requestFor(shop, resolved, place, outputs);
  const { drv, derivation } = resolved;
  const siblings = Object.values(outputs).map(({ path }) => path);
  const inView = shop.store.closure([...derivation.inputs, ...derivation.sources]);
  const candidates = Object.entries(outputs).map(([name, { path, physical }]) => {
    const referenceCandidates = [...inView, ...siblings.filter((other) => other !== path)];
    return [name, { physical, name: namePart(path), scratch: path, referenceCandidates, deriver: drv }] as const;
  });
  const trees = Object.fromEntries(Object.entries(outputs).map(([name, { physical }]) => [name, physical]));
  return { request, registration: { drv, outputs: Object.fromEntries(candidates) }, trees };
}

export interface RunPlace {
  readonly identity: SandboxIdentity;
  readonly scratch: string;
}

export type OutputPlaces = Readonly<Record<string, { readonly path: StorePath; readonly physical: string }>>;

export function outputPlaces({ drv, derivation }: Resolved, scratch: string, round: number): OutputPlaces {
  return Object.fromEntries(
    derivation.outputs.map((name) => [name, { path: scratchPath(drv, name, round), physical: `${scratch}/output-${name}` }]),
  );
}

/** Pure but for asking the store where the inputs are. */
export function requestFor(
  shop: Pick<Workshop, "store" | "host">,
  resolved: Resolved,
  place: RunPlace,
  outputs: OutputPlaces,
): SandboxRequest {
  const { drv, derivation } = resolved;
  const { builder, buildRoot } = derivation;
  const [program, ...words] = builder.argv;
  if (program === undefined) throw new Error(`${drv} has no builder`);
  return {
    hash: hashPart(drv),
    name: derivation.name,
    system: derivation.system,
    root: buildRoot.kind === "world" ? { ...buildRoot, physical: shop.store.physical(buildRoot.path) } : buildRoot,
    inputs: mountsOf(shop, [...derivation.inputs, ...derivation.sources]),
    outputs,
    scratch: place.scratch,
    identity: place.identity,
    network: derivation.network,
    argv: [program, ...words],
    env: builder.env,
    cwd: builder.cwd,
    limits: derivation.limits,
  };
}

/** The closure, as what is mounted. */
export function mountsOf({ store, host }: Pick<Workshop, "store" | "host">, paths: readonly StorePath[]) {
  return store.closure(paths).map((path) => {
    const physical = store.physical(path);
    const type: "file" | "directory" = host.files.lstat(physical).type === "directory" ? "directory" : "file";
    return { path, physical, type };
  });
}

function openStepLog(
  shop: Workshop,
  key: string,
  drv: StorePath,
  site: Site,
  { identity, name, hash }: SandboxRequest,
  round: number,
): BuildLog {
  const user = site.host === undefined ? `${identity.uid}:${identity.gid}` : `of ${site.host},`;
  const hostname = sandboxHostname(name, hash.slice(0, 8));
  return openLog(
    shop.host.files,
    logPath(shop.directories.log, drv, round === 0 ? "" : ".check"),
    { drv, startedAtMs: shop.now(), user, hostname },
    {
      onText: (text) => shop.emit({ kind: "output", key, text }),
      onPhase: (phase) => shop.emit({ kind: "phase", key, phase }),
    },
  );
}

async function runLogged(
  site: Site,
  request: SandboxRequest,
  log: BuildLog,
  { keepFailed, signal }: BuildOptions,
): Promise<SiteRun> {
  try {
    const run = await site.run(request, {
      onOutput: (chunk) => log.write(chunk),
      onNote: (line) => log.note(line),
      keep: keepFailed,
      ...(signal === undefined ? {} : { signal }),
    });
    const { durationMs, uid, gid, on } = run.use;
    const there = on === undefined ? "" : `, as ${uid}:${gid} on ${on.host} (${on.release})`;
    log.end(`${outcomeOf(run.result)} after ${Math.round(durationMs)} ms${there}`);
    return run;
  } catch (error) {
    log.end(`the sandbox could not be set up: ${error instanceof Problem ? error.message : String(error)}`);
    throw error;
  }
}

function outcomeOf(result: SandboxResult): string {
  switch (result.kind) {
    case "exited":
      return `ended with status ${result.status}`;
    case "signalled":
      return `ended by ${result.signal}`;
    case "limit":
      return `stopped at its limit ${result.limit}=${result.value}`;
    case "cancelled":
      return "cancelled";
  }
}
