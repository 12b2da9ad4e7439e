/** Goals, progress and results of a build. */
import type { StorePath } from "../base/index.ts";
import type { Derivation, Fetch, Graph, Reason, Step, WorldSource } from "../recipe/index.ts";
import type { LimitName, SandboxResult, SandboxUse } from "../sandbox/index.ts";

export interface BuildOptions {
  /** Builds at one time on this machine. */
  readonly jobs: number;
  /** The host that builds, and no other; `here` is this machine. Default: every one of the system. */
  readonly on?: string;
  /** Keeps the scratch of a failed build and says how to enter it. */
  readonly keepFailed: boolean;
  /** Build the goals again although their outputs are valid, and replace nothing if the same came out. */
  readonly rebuild: boolean;
  /** Build the goals a second time under a second scratch path and compare. */
  readonly check: boolean;
  /** Throws when anything would have to be made. To see what, ask `plan`. */
  readonly dryRun: boolean;
  /** After a failure, builds what does not need it. Default: what runs may end, nothing new starts. */
  readonly keepGoing?: boolean;
  /** Forgets which alternative was taken before and tries them in order again. */
  readonly retryAlternatives?: boolean;
  readonly signal?: AbortSignal;
}

/** What happened to one step. */
export interface StepResult {
  readonly step: Step;
  readonly drv: StorePath;
  readonly derivation: Derivation;
  readonly outputs: Readonly<Record<string, StorePath>>;
  /** built: a sandbox ran. cutoff: it was known already. */
  readonly how: "built" | "cutoff";
  /** Of the sandbox; recorded ones when `how` is cutoff and the receipt of the first build is still there. */
  readonly use: SandboxUse | undefined;
  /** What the probe printed, without white space at its ends. */
  readonly probe: string | undefined;
  readonly logFile: string | undefined;
  /** Of several alternatives, the one that was taken. */
  readonly chosen: string | undefined;
}

export interface BuildResult {
  /** Dependencies first; only the steps that were needed to know the goals. */
  readonly steps: readonly StepResult[];
  /** Goal key -> result. */
  readonly goals: ReadonlyMap<string, StepResult>;
}

/** `--dry-run`: what is known before anything is built. Where an input is not built yet, its derivation is not known either. */
export interface PlannedStep {
  /** Of the graph's step. */
  readonly key: string;
  /** Name and version. */
  readonly label: string;
  readonly name: string;
  readonly version: string;
  readonly state: "present" | "build" | "waits";
  readonly drv: StorePath | undefined;
  readonly expectedMs: number | undefined;
  readonly reasons: readonly Reason[];
  /** The sandbox's files as they would be run (bwrap.sh, or jail.conf and its companions). */
  readonly plan: Readonly<Record<string, string>>;
}

export type BuildEvent =
  | {
      readonly kind: "graph";
      readonly steps: readonly {
        readonly key: string;
        readonly label: string;
        readonly inputs: readonly string[];
        readonly expectedMs: number | undefined;
      }[];
    }
  | { readonly kind: "present"; readonly key: string; readonly out: StorePath }
  | { readonly kind: "fetch-started"; readonly key: string; readonly what: string; readonly from: string }
  | { readonly kind: "fetch-finished"; readonly key: string; readonly path: StorePath; readonly from: string }
  | { readonly kind: "fetch-failed"; readonly key: string; readonly from: string; readonly reason: string }
  | {
      readonly kind: "alternative";
      readonly key: string;
      readonly took: string;
      readonly insteadOf: readonly string[];
      /** Why those were not taken, one place or problem a line. */
      readonly reasons: readonly string[];
      /** It was chosen by an earlier build. */
      readonly remembered: boolean;
    }
  | { readonly kind: "world-started"; readonly key: string; readonly name: string; readonly packages: number }
  | { readonly kind: "world-changed"; readonly key: string; readonly lines: readonly string[] }
  | { readonly kind: "world-finished"; readonly key: string; readonly path: StorePath }
  | { readonly kind: "waiting"; readonly key: string; readonly holder: string }
  | {
      readonly kind: "started";
      readonly key: string;
      readonly drv: StorePath;
      readonly expectedMs: number | undefined;
      readonly on?: string;
    }
  /** One or more whole lines of the builder, as printed, without the last newline. */
  | { readonly kind: "output"; readonly key: string; readonly text: string }
  /** The builder printed `@garth phase NAME` on a line of its own. */
  | { readonly kind: "phase"; readonly key: string; readonly phase: string }
  | { readonly kind: "registering"; readonly key: string }
  | { readonly kind: "built"; readonly key: string; readonly out: StorePath; readonly durationMs: number }
  | { readonly kind: "failed"; readonly key: string; readonly code: string; readonly message: string }
  | { readonly kind: "limit"; readonly key: string; readonly limit: LimitName; readonly value: number }
  | { readonly kind: "cancelled"; readonly key: string }
  /** `--keep-failed`: where the scratch is, and the line that enters it as the builder saw it, if that can still be seen. */
  | { readonly kind: "kept"; readonly key: string; readonly directory: string; readonly enter: string | undefined }
  /** Its host went away; it begins anew. Hosts: undefined is this machine. */
  | {
      readonly kind: "moved";
      readonly key: string;
      readonly from: string | undefined;
      readonly to: string | undefined;
      readonly code: string;
      readonly reason: string;
    }
  /** No other host is left: this one is asked again for so long. */
  | { readonly kind: "awaited"; readonly key: string; readonly host: string; readonly reason: string; readonly upToMs: number }
  | { readonly kind: "probing"; readonly key: string }
  | { readonly kind: "checked"; readonly key: string; readonly same: boolean };

export interface Builder {
  build(graph: Graph, options: BuildOptions): Promise<BuildResult>;
  /** `on`: as in BuildOptions. */
  plan(graph: Graph, options?: Pick<BuildOptions, "on">): Promise<readonly PlannedStep[]>;
  /** Against the last derivation built under the same name. */
  whyRebuild(graph: Graph, goal: string): Promise<readonly { readonly step: Step; readonly reasons: readonly Reason[] }[]>;
  /** The directory of the build root a goal is for; a world that was collected is made again. @throws Problem of the world */
  buildRoot(goal: StepResult, signal?: AbortSignal): Promise<string>;
  /** A world by itself, which no recipe has to be built in. @throws Problem of the world */
  world(source: WorldSource, signal?: AbortSignal): Promise<StorePath>;
  /** A source by itself. @throws Problem of the fetcher */
  fetch(source: Fetch, signal?: AbortSignal): Promise<StorePath>;
  /** The kept log of a derivation. @throws Problem E_NO_LOG */
  readLog(drv: StorePath): string;
  /** Removes what dead processes left of their builds. Cheap when there is nothing; `build` does it too. */
  recover(): Promise<void>;
  /** Gives back the build users and removes this process's scratch. */
  close(): void;
}

export type { SandboxResult };
