/** What the command line and the daemon get: every room wired to one root, opened when first asked for. */
import type { Emit } from "../base/index.ts";
import type { Builder, BuildEvent } from "../build/index.ts";
import type { Effective } from "../config/index.ts";
import type { Host } from "../host/index.ts";
import type { Ledger } from "../ledger/index.ts";
import type { Project } from "../project/index.ts";
import type { Receipts } from "../receipt/index.ts";
import type { Sandbox } from "../sandbox/index.ts";
import type { Ship } from "../ship/index.ts";
import type { Store } from "../store/index.ts";
import type { Places } from "./places.ts";

export interface OpenOptions {
  /** `--root`. */
  readonly root?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
}

export interface Garth {
  readonly host: Host;
  readonly places: Places;
  readonly receipts: Receipts;
  /** The effective settings and where each came from. */
  settings(): Promise<Effective>;
  /** Opens garth.db and the store, and undoes what dead processes left. */
  readonly ledger: Ledger;
  readonly store: Store;
  readonly sandbox: Sandbox;
  builder(emit: Emit<BuildEvent>): Builder;
  ship(emit: Emit<BuildEvent>): Ship;
  /** A project file, a directory that holds a garth.ts, or undefined for ./garth.ts. */
  loadProject(file?: string): Promise<Project>;
  close(): void;
}
