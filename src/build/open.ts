/** A builder: what lives from its opening to its closing. */
import { Problem } from "../base/index.ts";
import type { Graph } from "../recipe/index.ts";
import { type BuilderContext, type Building, type Workshop } from "./context.ts";
import { lookUpAll, plannedSteps, rebuiltSteps } from "./dryrun.ts";
import { buildRootOf, makeLeaf } from "./leaves.ts";
import { logPath, readLog } from "./log.ts";
import { openRecords } from "./records.ts";
import { openRegistrar } from "./registrar.ts";
import { openBuilding, runBuild } from "./run.ts";
import { openSlots, recoverSlots } from "./slots.ts";
import type { Builder, BuildOptions } from "./types.ts";

const LOOK_ONLY: BuildOptions = { jobs: 1, keepFailed: false, rebuild: false, check: false, dryRun: true };
/** How often a build starts over because gc took what it was about to use. */
const RESTARTS = 3;

let opened = 0;

export function openBuilder(context: BuilderContext): Builder {
  const { host, ledger, sandbox, directories, now } = context;
  opened += 1;
  const owner = `${host.processIdentity}#${opened}`;
  const isAlive = (holder: string): boolean => host.isAlive(holder.split("#", 1)[0] ?? holder);
  const shop: Workshop = {
    ...context,
    records: openRecords(ledger),
    slots: openSlots({ host, ledger, temporary: directories.temporary, owner, isAlive, now }),
    registrar: openRegistrar(context.store),
    owner,
    isAlive,
    pinned: new Set(),
    making: new Map(),
  };
  let recovered = false;

  async function recover(): Promise<void> {
    if (recovered) return;
    await recoverSlots(host, ledger, sandbox);
    recovered = true;
  }

  async function look(graph: Graph, options: Pick<BuildOptions, "on"> = {}): Promise<Building> {
    const building = await openBuilding(shop, graph, { ...LOOK_ONLY, ...options });
    await lookUpAll(building);
    return building;
  }

  return {
    async build(graph, options) {
      if (options.dryRun) {
        const missing = plannedSteps(await look(graph, options.on === undefined ? {} : { on: options.on })).filter(
          ({ state }) => state !== "present",
        );
        if (missing.length > 0) throw wouldBuild(missing.map(({ label }) => label));
      }
      await recover();
      for (let restarts = 0; ; restarts += 1) {
        try {
          return await runBuild(shop, graph, options);
        } catch (error) {
          if (!(error instanceof Problem) || error.code !== "E_COLLECTED" || restarts === RESTARTS) throw error;
        }
      }
    },
    plan: async (graph, options) => plannedSteps(await look(graph, options)),
    whyRebuild: async (graph, goal) => rebuiltSteps(await look({ ...graph, goals: [goal] })),
    buildRoot: ({ step, derivation }, signal) =>
      buildRootOf({ shop, options: { ...LOOK_ONLY, ...(signal && { signal }) } }, step, derivation),
    world: async (source, signal) => {
      const building = { shop, options: { ...LOOK_ONLY, ...(signal && { signal }) } };
      return makeLeaf(building, { kind: "world", key: source.name, world: source, step: source.name });
    },
    fetch: async (source, signal) => {
      const building = { shop, options: { ...LOOK_ONLY, ...(signal && { signal }) } };
      return makeLeaf(building, { kind: "source", key: source.name, fetch: source, step: source.name });
    },
    readLog: (drv) => readLog(host.files, logPath(directories.log, drv)),
    recover,
    close: () => shop.slots.close(),
  };
}

function wouldBuild(steps: readonly string[]): Problem {
  return new Problem({
    code: "E_DRY_RUN",
    message: `nothing was to be built, and ${steps.length} of the steps would have to be`,
    details: steps,
    hint: "leave out --dry-run",
  });
}
