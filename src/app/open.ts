import { Problem, type StorePath } from "../base/index.ts";
import { type Builder, BUILD_MIGRATION, buildReceipt, openBuilder } from "../build/index.ts";
import { loadSettings } from "../config/index.ts";
import { localHost } from "../host/index.ts";
import { type Ledger, openLedger } from "../ledger/index.ts";
import { loadProject, type Project, resolveGoals } from "../project/index.ts";
import type { Machines } from "../machine/index.ts";
import type { Pools, PoolsOptions } from "../pool/index.ts";
import type { Hosts } from "../remote/index.ts";
import { openReceipts, writeReceiptFile } from "../receipt/index.ts";
import { localSite, openSandbox, type Sandbox, type Site } from "../sandbox/index.ts";
import { openShip, SHIP_MIGRATION } from "../ship/index.ts";
import { openStore, setAsideLedger, type Store, STORE_MIGRATION } from "../store/index.ts";
import type { TemplateStore } from "../template/index.ts";
import { placesFor } from "./places.ts";
import type { Garth, OpenOptions } from "./types.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

/** Opens nothing yet but the door to this machine; everything else is opened when it is first asked for. */
export function openGarth(options: OpenOptions): Garth {
  const { env, workingDirectory, home } = options;
  const host = localHost();
  const { system, isRoot } = host;
  const places = placesFor({ root: options.root, env, isRoot, system, workingDirectory });
  const receipts = openReceipts(host, places.receipts);
  const now = (): number => Date.now();
  const builders: Builder[] = [];
  let ledger: Ledger | undefined;
  let store: Store | undefined;
  let sandbox: Sandbox | undefined;
  let machines: Machines | undefined;
  let templates: Promise<TemplateStore> | undefined;
  let pools: Promise<Pools> | undefined;
  let hosts: Promise<Hosts> | undefined;

  const openedLedger = (): Ledger => {
    if (ledger === undefined) {
      host.files.makeDirectory(places.state, { parents: true });
      ledger = openLedger(places.ledger, [STORE_MIGRATION, BUILD_MIGRATION, SHIP_MIGRATION]);
    }
    return ledger;
  };
  const openedStore = (): Store => {
    if (store === undefined) {
      store = openStore({ host, ledger: openedLedger(), storeDirectory: places.store, stateDirectory: places.state, now });
      store.recover();
    }
    return store;
  };
  let toldUnchecked = false;
  const loadToBuild = async (file: string | undefined): Promise<Project> => {
    const project = await garth.loadProject(file);
    if (project.typeCheck === "absent" && !toldUnchecked) {
      toldUnchecked = true;
      options.onUnchecked?.(project.file);
    }
    return project;
  };
  const openedSandbox = (): Sandbox => (sandbox ??= openSandbox(host));
  const openedHosts = async (): Promise<Hosts> => {
    const { HOST_MIGRATION, openHosts } = await import("../remote/index.ts");
    openedLedger().apply(HOST_MIGRATION);
    return openHosts({
      host,
      ledger: openedLedger(),
      store: openedStore(),
      directory: places.hosts,
      runtimeDirectory: places.runtime,
      environment: env,
      now,
    });
  };
  const sites = async (): Promise<readonly Site[]> => {
    const here = localSite(host, openedSandbox(), host.processors);
    // Who has no hosts does not wait for the room of hosts to be loaded: adding one makes the directory.
    if (!host.files.exists(places.hosts)) return [here];
    const known = await garth.hosts();
    return [here, ...known.list().map(({ name }) => known.site(name))];
  };

  const hostKeyFile = `${places.keys}/host.pem`;
  const openedTemplates = async (): Promise<TemplateStore> => {
    const { openTemplates } = await import("../template/index.ts");
    return await openTemplates({
      host,
      store: openedStore(),
      directory: places.templates,
      keyFile: hostKeyFile,
      fetch: (source, signal) => garth.builder(() => undefined).fetch(source, signal),
    });
  };
  const poolsOptions = async (): Promise<PoolsOptions> => {
    const { POOL_MIGRATION } = await import("../pool/index.ts");
    const { settings } = await garth.settings();
    openedLedger().apply(POOL_MIGRATION);
    return {
      host,
      ledger: openedLedger(),
      templates: await garth.templates(),
      places: { pools: places.pools, runtime: places.runtime, acceleratorFile: `${places.state}/accelerator.json` },
      bridge: { dns: settings.networkDns, reachable: settings.networkReachable },
      now,
    };
  };
  const compare = async (left: StorePath, right: StorePath): Promise<readonly string[]> => {
    const { compareSystems, Listings } = await import("../compose/index.ts");
    const parts = { host, store: openedStore() };
    return compareSystems({ ...parts, listings: new Listings(host, parts.store) }, left, right).lines;
  };
  const openedPools = async (): Promise<Pools> => (await import("../pool/index.ts")).openPools(await poolsOptions());

  const garth: Garth = {
    host,
    places,
    receipts,
    system,
    settings: () => {
      const repositoryKey = `${places.keys}/repository.pem`;
      const defaults = { jobs: host.processors, keepGoing: false, repositoryKey, gcOlderThanMs: 30 * DAY_MS };
      return loadSettings(host, places.configuration, defaults, env);
    },
    get ledger() {
      return openedLedger();
    },
    get store() {
      return openedStore();
    },
    get sandbox() {
      return openedSandbox();
    },
    repository: () => import("../repository/index.ts"),
    pkg: () => import("../pkg/index.ts"),
    builder: (emit) => {
      const { temporary, log, distfiles } = places;
      const directories = { temporary, log, distfiles };
      const parts = { host, store: openedStore(), ledger: openedLedger(), sandbox: openedSandbox(), directories };
      const builder = openBuilder({ ...parts, sites, environment: env, emit, now });
      builders.push(builder);
      return builder;
    },
    ship: (emit) => {
      const parts = { host, store: openedStore(), ledger: openedLedger(), receipts, repositories: places.repositories };
      const { builder, machines, templates, pools } = garth;
      return openShip(
        { ...parts, system, now, builder, loadProject: loadToBuild, machines, templates, pools, hostKeyFile },
        emit,
      );
    },
    machines: async () => {
      const { openMachines } = await import("../machine/index.ts");
      machines ??= openMachines(host, { directory: places.machines, acceleratorFile: `${places.state}/accelerator.json` });
      return machines;
    },
    templates: () => (templates ??= openedTemplates()),
    pools: () => (pools ??= openedPools()),
    hosts: () => (hosts ??= openedHosts()),
    readWorld: async (from, wish) => {
      const { openVisit, readWorld } = await import("../remote/index.ts");
      if ("name" in from) return await readWorld(host, (await garth.hosts()).connection(from.name), wish);
      const connection = await openVisit({ host, runtimeDirectory: places.runtime, environment: env }, from);
      try {
        return await readWorld(host, connection, wish);
      } finally {
        await connection.close();
      }
    },
    planWarming: async (name, given = {}) => {
      const { planWarming } = await import("../pool/index.ts");
      const { accelerator } = await (await garth.machines()).accelerator({ system, accelerator: "auto" });
      return planWarming(await poolsOptions(), name, { ...given, accelerator });
    },
    image: () => import("../image/index.ts"),
    guest: () => import("../guest/index.ts"),
    template: () => import("../template/index.ts"),
    deploy: () => import("../deploy/index.ts"),
    systemMachine: async (wish) => {
      const { openMachine } = await import("../deploy/index.ts");
      const { hosts } = garth;
      const visit = { runtimeDirectory: places.runtime, environment: env };
      return await openMachine({ host, store: openedStore(), hosts, visit, now, compare }, wish);
    },
    compose: () => import("../compose/index.ts"),
    gate: () => import("../gate/index.ts"),
    machine: () => import("../machine/index.ts"),
    world: () => import("../world/index.ts"),
    loadProject: (file) =>
      loadProject(host, {
        file,
        workingDirectory,
        cacheDirectory: `${places.state}/cache`,
        ...(home === undefined ? {} : { home }),
      }),
    goals: (refs, of = system) => resolveGoals(host, loadToBuild, refs, of),
    buildReceipt: (result) => buildReceipt(result, openedStore()),
    writeReceipt: (file, fields) => writeReceiptFile(host, file, fields),
    setAsideLedger: () => {
      const opened = [store, ledger];
      [store, ledger] = [undefined, undefined];
      for (const room of opened) {
        try {
          room?.close();
        } catch (error) {
          // What a damaged database cannot take any more is what it is set aside for.
          if (!(error instanceof Problem)) throw error;
        }
      }
      return setAsideLedger(host, places.ledger, now());
    },
    close: async () => {
      await (await pools)?.close();
      await (await hosts)?.close();
      for (const builder of builders) builder.close();
      // Its processes end while the disk is written.
      const ended = sandbox?.close();
      store?.close();
      ledger?.close();
      await ended;
    },
  };
  return garth;
}
