/**
 * What a boot gate asks of a machine's serial console, and what came of it.
 *
 * Patterns are JavaScript regular expressions with the flag `u` (ECMA-262), looked for in each line as a terminal would show it:
 * without its line end, without colours. Times of a gate are seconds, as people write them; times of a run are milliseconds
 * since the machine's first instruction.
 */
import type { StorePath } from "../base/index.ts";
import type { Accelerator, MachineEnd } from "../machine/index.ts";

/** Rules that come with Garth, by operating system; see builtin.ts. */
export type BuiltinSet = "linux" | "freebsd" | "none";

/** A rule's name is its pattern unless somebody gave it a better one. */
export interface Rule {
  readonly name: string;
  readonly pattern: string;
}

/** A line that has to come. A line in which the kernel repeats its command line is never taken for it. */
export interface RequiredMarker extends Rule {
  /** Since the start. undefined: the gate's own time limit. */
  readonly withinS: number | undefined;
  /** After the ordered marker before it in the list, or on the same line. */
  readonly ordered: boolean;
}

/** More than `max` matching lines within the window. Where the pattern has a group, each text it captured counts by itself. */
export interface RestartLoop extends Rule {
  readonly max: number;
  readonly windowS: number;
}

/** A command for the guest, run when every marker was seen. Without an expectation it has to end with status 0. */
export interface GateProbe {
  readonly name: string;
  /** One line for the user's shell. */
  readonly command: string;
  /** All it printed, white space at both ends aside; on the console that is stderr too. */
  readonly expect: string | undefined;
  /** Looked for in what it printed, with the flags `u` and `m`. */
  readonly expectPattern: string | undefined;
  readonly expectStatus: number | undefined;
  /** undefined: ssh where the machine forwards a port to the guest's port 22, else the console. */
  readonly via: ProbeWay | undefined;
  /** Who logs in over SSH. On the console it is whoever has a root shell there. */
  readonly user: string;
  readonly timeoutS: number;
}

export type ProbeWay = "ssh" | "console";

/** As it was declared: which set of rules it builds on is not looked up yet. */
export interface GateDeclaration {
  readonly kind: "gate";
  /** The system it is for, as it was declared; who runs the gate looks for it. */
  readonly system?: object;
  readonly name: string;
  /** undefined: the set of the image's own system. */
  readonly extends: BuiltinSet | undefined;
  /** Names of built-in rules that do not apply. */
  readonly except: readonly string[];
  /** For all of it: boot and probes. */
  readonly timeoutS: number;
  /** Where there is one, the set's own marker is not asked for. */
  readonly require: readonly RequiredMarker[];
  readonly forbid: readonly Rule[];
  readonly restartLoops: readonly RestartLoop[];
  readonly probes: readonly GateProbe[];
  readonly screenshot: boolean;
}

/** Every rule that applies, in the order in which a line is held against them. `gateText` is its canonical form. */
export type Gate = Omit<GateDeclaration, "kind" | "system" | "extends" | "except">;

/** Why a gate failed. Times in milliseconds since the start; lines are cut to 500 characters. */
export type Reason =
  | {
      readonly kind: "forbidden-line";
      readonly rule: string;
      readonly pattern: string;
      readonly line: string;
      readonly atMs: number;
    }
  | { readonly kind: "missing-marker"; readonly marker: string; readonly pattern: string; readonly deadlineMs: number }
  | {
      readonly kind: "out-of-order";
      readonly marker: string;
      /** The marker that should have come first. */
      readonly after: string;
      readonly line: string;
      readonly atMs: number;
    }
  | {
      readonly kind: "restart-loop";
      readonly rule: string;
      readonly pattern: string;
      readonly line: string;
      readonly count: number;
      readonly max: number;
      readonly windowMs: number;
      readonly atMs: number;
    }
  | { readonly kind: "timed-out"; readonly state: "booting" | "probing"; readonly timeoutMs: number }
  | { readonly kind: "machine-exited"; readonly end: MachineEnd["kind"]; readonly detail: string; readonly atMs: number }
  | {
      readonly kind: "probe-failed";
      readonly probe: string;
      readonly command: string;
      /** In words: `the text "running"`, `status 0`. */
      readonly expected: string;
      /** What it printed, cut to 2,000 characters; undefined when it never answered. */
      readonly got: string | undefined;
      readonly status: number | undefined;
      /** Why there is no answer. */
      readonly detail: string | undefined;
      readonly atMs: number;
    };

/** What a command in the guest gave. */
export type ProbeAnswer =
  | { readonly kind: "answered"; readonly output: string; readonly status: number }
  | { readonly kind: "silent"; readonly detail: string };

export interface ProbeRecord {
  readonly name: string;
  readonly command: string;
  readonly via: ProbeWay;
  readonly passed: boolean;
  /** Cut to 64 KiB. */
  readonly output: string | undefined;
  readonly status: number | undefined;
  readonly detail: string | undefined;
  readonly startedMs: number;
  readonly endedMs: number;
}

export interface MarkerRecord {
  readonly name: string;
  readonly pattern: string;
  /** undefined when it was never seen. */
  readonly line: string | undefined;
  readonly atMs: number | undefined;
}

/** What was booted. The caller knows its digest; the gate does not read the image. */
export interface GateImage {
  readonly file: string;
  readonly format: "raw" | "qcow2";
  readonly sha256: string;
  readonly storePath: StorePath | undefined;
}

/** The content of `verdict.json`. Times in seconds since the start, to the millisecond. */
export interface Verdict {
  readonly schema: 1;
  readonly name: string;
  readonly verdict: "pass" | "fail";
  readonly reasons: readonly Reason[];
  readonly image: { readonly path: string; readonly sha256: string };
  readonly gate: { readonly name: string; readonly sha256: string };
  readonly machine: {
    readonly system: string;
    readonly accelerator: Accelerator["accelerator"];
    readonly acceleratorReason: string;
    readonly memoryBytes: number;
    readonly cpus: number;
    readonly end: MachineEnd["kind"];
    readonly endDetail: string;
  };
  readonly markers: readonly { readonly name: string; readonly pattern: string; readonly line?: string; readonly atS?: number }[];
  readonly probes: readonly {
    readonly name: string;
    readonly command: string;
    readonly via: ProbeWay;
    readonly passed: boolean;
    readonly output?: string;
    readonly status?: number;
    readonly detail?: string;
    readonly startedS: number;
    readonly endedS: number;
  }[];
  /** Until every marker was seen; absent when one never was. */
  readonly bootS?: number;
  /** UTC, ISO 8601. */
  readonly startedAt: string;
  /** The system of the host that ran the gate. */
  readonly host: string;
}

export interface GateReport {
  readonly verdict: "pass" | "fail";
  readonly reasons: readonly Reason[];
  /** The verdict, a store item: see verdict.ts for its files. */
  readonly path: StorePath;
  readonly gateSha256: string;
  readonly image: GateImage;
  readonly accelerator: Accelerator;
  readonly markers: readonly MarkerRecord[];
  readonly probes: readonly ProbeRecord[];
  readonly bootMs: number | undefined;
  /** What the guest said of itself on its console: `garth: KEY=VALUE`. */
  readonly facts: Readonly<Record<string, string>>;
  /** Of the machine, while it ran. */
  readonly machineName: string;
  readonly machineEnd: MachineEnd;
  /** SHA-256 of the public key that signed, in PEM. */
  readonly publicKeySha256: string;
  /** From the arrival of what decided (a line, the machine's end) to the decision; 0 where a deadline decided. */
  readonly decisionMs: number;
  /** From the same moment to the verdict in the store. */
  readonly verdictMs: number;
  /** The last 20 lines of the console. */
  readonly consoleTail: readonly string[];
}

export type GateEvent =
  | { readonly kind: "gate-started"; readonly name: string; readonly accelerator: Accelerator; readonly timeoutMs: number }
  | { readonly kind: "gate-line"; readonly text: string; readonly atMs: number }
  | { readonly kind: "gate-marker"; readonly marker: string; readonly atMs: number; readonly missing: number }
  | { readonly kind: "gate-probe"; readonly probe: ProbeRecord }
  | {
      readonly kind: "gate-decided";
      readonly verdict: "pass" | "fail";
      readonly reasons: readonly Reason[];
      readonly atMs: number;
    };
