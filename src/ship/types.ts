/** The line: stages in order, each taking digests and leaving a receipt. */
import type { StorePath, System } from "../base/index.ts";
import type { ComposedSystem } from "../compose/index.ts";
import type { GateEvent } from "../gate/index.ts";
import type { ReceiptFields } from "../receipt/index.ts";
import type { Buildable } from "../recipe/index.ts";

export const STAGES = [
  "recipe",
  "build",
  "package",
  "repository",
  "world",
  "system",
  "image",
  "gate",
  "template",
  "pool",
] as const;
export type StageName = (typeof STAGES)[number];

export interface StageReport {
  readonly stage: StageName;
  /** `done`: work was done now. `unchanged`: it had been done for the same input, and what it made is still there. */
  readonly how: "done" | "unchanged";
  /** One line for a person: "hello-2.10 -> /frx/store/...". */
  readonly summary: string;
  /** Names of the receipts, one for each thing the stage made. */
  readonly receipts: readonly string[];
  readonly durationMs: number;
}

export interface ShipRequest {
  readonly file: string | undefined;
  readonly jobs: number;
  /** The host that builds, and no other; `here` is this machine. Default: every one of the system. */
  readonly on?: string;
  /** What is built for. Default: this machine's. */
  readonly system?: System;
  readonly keepGoing: boolean;
  readonly keepFailed: boolean;
  readonly keyFile: string;
  /** The last stage to come to. Default: all. */
  readonly until?: StageName;
  /** Name of an exported system: it and what it needs. Default: everything. */
  readonly only?: string;
  /** Do the last stage again although it was done. */
  readonly again?: boolean;
  readonly signal?: AbortSignal;
  readonly onStage: (report: StageReport) => void;
  /** What the gate sees while it runs. */
  readonly onGate?: (event: GateEvent) => void;
}

export interface ShipReport {
  readonly project: string;
  readonly stages: readonly StageReport[];
  /** Fields of the last stage's receipt. */
  readonly final: ReceiptFields;
  readonly systems: readonly ShippedSystem[];
}

/** What became of a system, as far as the line went. */
export interface ShippedSystem {
  /** Its export. */
  readonly name: string;
  readonly closure: StorePath;
  readonly image: { readonly path: StorePath; readonly sha256: string } | undefined;
  readonly verdict: StorePath | undefined;
  /** Its name, where the project declares one of the system. */
  readonly template: string | undefined;
  /** For a machine without firmware. Logical paths. */
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly commandLine: string;
  /** Its parts, and every path of its root. */
  readonly composed: ComposedSystem;
}

export interface OutputRequest {
  /** The project file that declares the recipe. */
  readonly file: string | undefined;
  readonly recipe: Buildable;
  readonly jobs: number;
  readonly signal?: AbortSignal;
}

export interface Ship {
  run(request: ShipRequest): Promise<ShipReport>;
  /** One recipe, built where it has to be: its output `out`. For a world of it, which nothing else is made of. @throws Problem of the build */
  outputOf(request: OutputRequest): Promise<StorePath>;
}
