/** What a builder works with, and what one run of it knows so far. */
import { type Emit, hashPart, type StorePath } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Ledger } from "../ledger/index.ts";
import type { Derivation, Graph } from "../recipe/index.ts";
import type { Sandbox, Site } from "../sandbox/index.ts";
import type { Store } from "../store/index.ts";
import type { Work } from "./nodes.ts";
import type { BuildPlan } from "./plan.ts";
import type { Records } from "./records.ts";
import type { Registrar } from "./registrar.ts";
import type { Roster } from "./roster.ts";
import type { Slots } from "./slots.ts";
import type { BuildEvent, BuildOptions } from "./types.ts";

export interface BuilderContext {
  readonly host: Host;
  readonly store: Store;
  readonly ledger: Ledger;
  /** Of this machine: what is shared by its builds, and what dead ones left. Builders run at a site. */
  readonly sandbox: Sandbox;
  /** Everywhere that builders run, this machine first. Asked for at each build: hosts come and go. */
  readonly sites: () => Promise<readonly Site[]>;
  /** How long the last host is waited for. Default: two minutes. */
  readonly answerWaitsMs?: readonly number[];
  readonly directories: {
    /** On the store's file system: outputs are moved from there. */
    readonly temporary: string;
    readonly log: string;
    readonly distfiles: string;
  };
  /** Of the caller: proxies and credentials, for fetching alone. No builder sees it. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly emit: Emit<BuildEvent>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** A builder: its context and what it holds while it lives. */
export interface Workshop extends BuilderContext {
  readonly records: Records;
  readonly slots: Slots;
  readonly registrar: Registrar;
  /** Of leases: this process and which of its builders. */
  readonly owner: string;
  readonly isAlive: (owner: string) => boolean;
  /** Pinned by this builder already. */
  readonly pinned: Set<StorePath>;
  /** Derivations being built here -> settles when they no longer are. */
  readonly making: Map<StorePath, Promise<void>>;
}

export type Outputs = Readonly<Record<string, StorePath>>;

export interface Resolved {
  readonly drv: StorePath;
  readonly derivation: Derivation;
  readonly text: string;
}

/** One call of `build`. */
export interface Building {
  readonly shop: Workshop;
  readonly graph: Graph;
  readonly options: BuildOptions;
  readonly work: Work;
  readonly plan: BuildPlan;
  readonly roster: Roster;
  /** Node -> its paths, as last known. A source and a world have the one output "out". */
  readonly outputs: Map<string, Outputs>;
  readonly resolved: Map<string, Resolved>;
  /** Keys of the steps whose sandbox ran. */
  readonly built: Set<string>;
  readonly failures: { readonly key: string; readonly label: string; readonly error: unknown }[];
  readonly expectedMs: ReadonlyMap<string, number>;
}

export function leaseName(drv: StorePath): string {
  return `build/${hashPart(drv)}`;
}

/** Holds the paths against gc for as long as this process lives. Returns those that are not there. */
export function pin(shop: Workshop, paths: readonly StorePath[]): readonly StorePath[] {
  const fresh = paths.filter((path) => !shop.pinned.has(path));
  if (fresh.length === 0) return [];
  const valid = new Set(shop.store.pin(fresh));
  for (const path of valid) shop.pinned.add(path);
  return fresh.filter((path) => !valid.has(path));
}
