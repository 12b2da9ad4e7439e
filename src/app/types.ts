/** What the command line and the daemon get: every room wired to one root, opened when first asked for. */
import type { Emit, System } from "../base/index.ts";
import type { Builder, BuildEvent, StepResult } from "../build/index.ts";
import type { Effective } from "../config/index.ts";
import type { Machine, MachineWish } from "../deploy/index.ts";
import type { Host } from "../host/index.ts";
import type { Ledger } from "../ledger/index.ts";
import type { Machines } from "../machine/index.ts";
import type { PlannedWarming, Pools } from "../pool/index.ts";
import type { Goals, Project } from "../project/index.ts";
import type { ReceiptFields, Receipts } from "../receipt/index.ts";
import type { Hosts, ReadWorld, VisitWish, WorldWish } from "../remote/index.ts";
import type { Sandbox } from "../sandbox/index.ts";
import type { Ship } from "../ship/index.ts";
import type { Store } from "../store/index.ts";
import type { TemplateStore } from "../template/index.ts";
import type { Places } from "./places.ts";

export interface OpenOptions {
  /** `--root`. */
  readonly root?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  /** The checkout this Garth runs from: Garth's types and the compiler are there, for checking project files. */
  readonly home?: string;
  /** Told once, of the first project file whose types were not checked, because there is no compiler beside the program. */
  readonly onUnchecked?: (file: string) => void;
}

export interface Garth {
  readonly host: Host;
  readonly places: Places;
  readonly receipts: Receipts;
  readonly system: System;
  /** The effective settings and where each came from. */
  settings(): Promise<Effective>;
  /** Opened at first use, as are the store and the sandbox; what dead processes left is undone then. */
  readonly ledger: Ledger;
  readonly store: Store;
  readonly sandbox: Sandbox;
  /** Doors of rooms that few commands need, loaded when they are asked for. */
  repository(): Promise<typeof import("../repository/index.ts")>;
  pkg(): Promise<typeof import("../pkg/index.ts")>;
  image(): Promise<typeof import("../image/index.ts")>;
  compose(): Promise<typeof import("../compose/index.ts")>;
  gate(): Promise<typeof import("../gate/index.ts")>;
  machine(): Promise<typeof import("../machine/index.ts")>;
  world(): Promise<typeof import("../world/index.ts")>;
  guest(): Promise<typeof import("../guest/index.ts")>;
  template(): Promise<typeof import("../template/index.ts")>;
  deploy(): Promise<typeof import("../deploy/index.ts")>;
  /** A machine that runs a system of Garth's, over SSH. The caller closes it. */
  systemMachine(wish: MachineWish): Promise<Machine>;
  machines(): Promise<Machines>;
  templates(): Promise<TemplateStore>;
  pools(): Promise<Pools>;
  /** Hosts over SSH on which builds run. */
  hosts(): Promise<Hosts>;
  /** The tree of a running machine into an archive: of a host that is known, or at an address. */
  readWorld(from: { readonly name: string } | VisitWish, wish: WorldWish): Promise<ReadWorld>;
  /** What `warm` would do, and nothing is done. */
  planWarming(pool: string, options?: { readonly count?: number }): Promise<PlannedWarming>;
  builder(emit: Emit<BuildEvent>): Builder;
  ship(emit: Emit<BuildEvent>): Ship;
  /** A project file, a directory that holds a garth.ts, or undefined for ./garth.ts. */
  loadProject(file?: string): Promise<Project>;
  /** `FILE#NAME` references, all of one graph; none means every recipe of ./garth.ts. `of`: what is built for; default this machine's. */
  goals(refs: readonly string[], of?: System): Promise<Goals>;
  buildReceipt(result: StepResult): ReceiptFields;
  /** A copy of a receipt where the caller wants it, and FILE.json. */
  writeReceipt(file: string, fields: ReceiptFields): void;
  /**
   * For a database that cannot be read: closes it, moves it aside and returns where it is now. The next use opens an empty one,
   * which `store.verify({ repair: true, contents: true, adopt: true })` fills from what lies in the store.
   */
  setAsideLedger(): string;
  close(): Promise<void>;
}
