/** A whole Garth on a directory of its own, for tests that build for real: host, ledger, store, sandbox, builder. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { type Host, localHost } from "../host/index.ts";
import { type Ledger, openLedger } from "../ledger/index.ts";
import { type Buildable, hostView, instantiate, script, type ScriptOptions } from "../recipe/index.ts";
import { localSite, openSandbox, type Sandbox, type Site } from "../sandbox/index.ts";
import { openStore, type Store, STORE_MIGRATION } from "../store/index.ts";
import { type BuildEvent, type Builder, type BuildOptions, type BuildResult, BUILD_MIGRATION, openBuilder } from "./index.ts";

export const OPTIONS: BuildOptions = { jobs: 2, keepFailed: false, rebuild: false, check: false, dryRun: false };

export interface Bench {
  readonly root: string;
  readonly host: Host;
  readonly ledger: Ledger;
  readonly store: Store;
  readonly sandbox: Sandbox;
  readonly builder: Builder;
  /** Of all builds so far; emptied by `forget`. */
  readonly events: BuildEvent[];
  /** Names of what a sandbox was started for, in order. */
  started(): readonly string[];
  forget(): void;
  build(goals: Buildable | readonly Buildable[], options?: Partial<BuildOptions>): Promise<BuildResult>;
  /** Leaves the directory. */
  close(): Promise<void>;
  remove(): Promise<void>;
}

export interface BenchOptions {
  readonly root?: string;
  readonly host?: Host;
  readonly now?: () => number;
  /** Besides or instead of this machine. Default: it alone. */
  readonly sites?: (local: Site) => readonly Site[];
  readonly answerWaitsMs?: readonly number[];
  readonly onEvent?: (event: BuildEvent) => void;
}

export function openBench(options: BenchOptions = {}): Bench {
  const host = options.host ?? localHost();
  const root = options.root ?? mkdtempSync(`${tmpdir()}/garth-build-`);
  const now = options.now ?? Date.now;
  const state = `${root}/frx/var/garth`;
  host.files.makeDirectory(state, { parents: true });
  const ledger = openLedger(`${state}/garth.db`, [STORE_MIGRATION, BUILD_MIGRATION]);
  const store = openStore({ host, ledger, storeDirectory: `${root}/frx/store`, stateDirectory: state, now });
  const sandbox = openSandbox(host);
  const local = localSite(host, sandbox, host.processors);
  const events: BuildEvent[] = [];
  const builder = openBuilder({
    host,
    store,
    ledger,
    sandbox,
    sites: async () => options.sites?.(local) ?? [local],
    ...(options.answerWaitsMs === undefined ? {} : { answerWaitsMs: options.answerWaitsMs }),
    environment: {},
    directories: { temporary: `${state}/tmp`, log: `${state}/log`, distfiles: `${state}/distfiles` },
    emit: (event) => {
      events.push(event);
      options.onEvent?.(event);
    },
    now,
  });
  const close = async (): Promise<void> => {
    builder.close();
    await sandbox.close();
    store.close();
    ledger.close();
  };
  return {
    root,
    host,
    ledger,
    store,
    sandbox,
    builder,
    events,
    started: () => events.flatMap((event) => (event.kind === "started" ? [event.drv.slice(event.drv.indexOf("-") + 1, -4)] : [])),
    forget: () => events.splice(0),
    build: (goals, changes = {}) =>
      builder.build(instantiate(goals, { system: host.system, directory: root }), { ...OPTIONS, ...changes }),
    close,
    remove: async () => {
      await close();
      host.files.removeTree(root);
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** A script in a view of the host. */
export function tiny(name: string, text: string, options: Partial<ScriptOptions> = {}) {
  return script({ name, script: text, buildRoot: hostView(), ...options });
}
