/** What stands between a machine and the program that runs it: facts of the host go in, a plan comes out, and nothing is done yet. */
import type { System } from "../base/index.ts";
import type { UefiFiles } from "./firmware.ts";
import type { SpecFault } from "./plan.ts";
import type { AcceleratorName, MachineSpec } from "./types.ts";

/** What the plan has to know of the host. */
export interface QemuFacts {
  /** Of the host. */
  readonly system: System;
  /** Absolute paths of programs. */
  readonly qemu: string;
  /** setpriv(1) of util-linux, where there is one: QEMU then dies with the process that started it. */
  readonly setpriv: string | undefined;
  readonly accelerator: AcceleratorName;
  /** For a machine whose firmware is "uefi". */
  readonly firmware: UefiFiles | undefined;
  /** The machine's own directory, absolute. */
  readonly directory: string;
  /**
   * A machine that outlives whoever starts it: its console is added to a file, nothing of it hangs on this process. `incoming`: it waits
   * for the state of another machine.
   */
  readonly resident?: { readonly incoming: boolean };
}

export interface QemuPlan {
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  /** The machine's directory. */
  readonly cwd: string;
  /** To be there before QEMU starts, in this directory, for this user alone. */
  readonly files: readonly PlannedFile[];
  /** Names in the directory. */
  readonly sockets: { readonly supervisor: string; readonly others: string };
}

export type PlannedFile =
  | { readonly name: string; readonly kind: "copy"; readonly of: string }
  /** Read by QEMU when it starts and not after. */
  | { readonly name: string; readonly kind: "secret"; readonly text: string };

/** Chosen by the room's door. */
export interface Planner {
  plan(spec: MachineSpec, facts: QemuFacts): QemuPlan;
  lint(spec: MachineSpec): readonly SpecFault[];
}
