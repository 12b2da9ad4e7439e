/** Machines that run a system of Garth's: what is known of one, and what is done to it. Sizes are bytes, times milliseconds. */
import type { StorePath } from "../base/index.ts";

export type Family = "linux" | "freebsd";
export type Architecture = "x86_64" | "aarch64";

/** trial: to be started once. good: was ready. failed: was not. broken: an item of it is not in the store any more. */
export type GenerationState = "trial" | "good" | "failed" | "broken";

export interface MachineGeneration {
  readonly number: number;
  readonly state: GenerationState;
  readonly system: StorePath;
  /** "image", "install", "switch". */
  readonly by: string;
}

/** What a machine says of itself, by the program `generations` of the system that runs there. */
export interface MachineStatus {
  readonly family: Family;
  readonly architecture: Architecture | undefined;
  /** Another one after each start. */
  readonly bootId: string;
  readonly hasMtree: boolean;
  readonly running: number | undefined;
  readonly runningSystem: StorePath | undefined;
  readonly current: number | undefined;
  readonly rollback: number | undefined;
  readonly next: number | undefined;
  /** What runs is on trial, and has not been confirmed. */
  readonly onTrial: boolean;
  /** undefined: nobody could look. */
  readonly bootFreeBytes: number | undefined;
  readonly rootFreeBytes: number | undefined;
  /** By number. */
  readonly generations: readonly MachineGeneration[];
}

/** A system that is in the store here. */
export interface OfferedSystem {
  readonly path: StorePath;
  readonly family: Family;
  /** By its kernel; undefined where that does not say. */
  readonly architecture: Architecture | undefined;
  /** Everything it refers to, itself too. */
  readonly items: readonly StorePath[];
  /** What goes where the loader reads: kernel and initial RAM disk on Linux. FreeBSD's loader reads the store. */
  readonly bootBytes: number;
}

export interface MachineWish {
  /** `ssh://[user@]host[:port]`, or the name of a host that is known. */
  readonly machine: string;
  readonly identityFile?: string | undefined;
  /** Fingerprint, or "new". */
  readonly hostKey?: string | undefined;
}

/** How it came back. */
export interface RebootReport {
  /**
   * confirmed: the generation that was on trial was ready. started: the one that was chosen runs. fell-back: another one runs.
   * unconfirmed: it runs, and was not ready within its time, nor did the machine start anew.
   */
  readonly result: "confirmed" | "started" | "fell-back" | "unconfirmed";
  readonly running: number | undefined;
  readonly runningSystem: StorePath | undefined;
  readonly durationMs: number;
}

/** What is going to be done, before anything is. */
export interface SwitchPlan {
  readonly machine: string;
  readonly system: StorePath;
  /** Of the current generation. */
  readonly previous: StorePath | undefined;
  readonly current: number | undefined;
  /**
   * send: a new generation is made. waiting: it is the generation that is on trial already, at the next start or now. current: it is what the
   * machine starts, and nothing is to be done.
   */
  readonly action: "send" | "waiting" | "current";
  /** Of `waiting` and `current`. */
  readonly generation: number | undefined;
  readonly onTrial: boolean;
  /** Lines, as of `garth system diff`. */
  readonly difference: readonly string[];
  /** What is to be sent. */
  readonly missing: readonly StorePath[];
  readonly missingDiskBytes: number;
  readonly trialSeconds: number;
}

export interface SwitchReport extends SwitchPlan {
  /** Nothing was done when it was a dry run. */
  readonly done: boolean;
  readonly sentItems: number;
  readonly sentBytes: number;
  readonly reboot: RebootReport | undefined;
}

export interface RollbackPlan {
  readonly machine: string;
  readonly current: number | undefined;
  readonly previous: StorePath | undefined;
  readonly generation: number;
  readonly system: StorePath;
  /** select: the loader is told. current: it is what the machine starts, and nothing is to be done. */
  readonly action: "select" | "current";
  /** It has not been good: it is started once, and has to be ready in time. */
  readonly onTrial: boolean;
  /** One that waited for its trial and is not tried any more. */
  readonly dropped: number | undefined;
  readonly difference: readonly string[];
  readonly trialSeconds: number;
}

export interface RollbackReport extends RollbackPlan {
  readonly done: boolean;
  readonly reboot: RebootReport | undefined;
}

export interface RemoveReport {
  readonly removed: readonly number[];
  /** Names of store items that are gone. */
  readonly collected: readonly string[];
}
