/** A sandbox plan is a value: everything that will be mounted, run and limited. The executor makes no choices. */
import type { StorePath, System } from "../base/index.ts";
import type { SandboxRequest } from "./plan.ts";

export type BuildRoot =
  /** A pinned tree, mounted read-only as the root. `physical` is where the tree lies. */
  | { readonly kind: "world"; readonly path: StorePath; readonly physical: string }
  /** Named directories of the host, read-only. */
  | { readonly kind: "host"; readonly paths: readonly string[] };

export type Mount =
  | { readonly kind: "read-only"; readonly source: string; readonly target: string; readonly type: "file" | "directory" }
  | { readonly kind: "writable"; readonly source: string; readonly target: string };

export type SandboxIdentity =
  /** As root: bare numeric ids, no supplementary group, no way back. */
  | { readonly kind: "drop"; readonly uid: number; readonly gid: number }
  /** Without root: a user namespace of one user. The ids are what the inside sees. */
  | { readonly kind: "user-namespace"; readonly uid: number; readonly gid: number }
  /**
   * As root on a host that others use, too: the lowest number from `uid` on, of `count`, that nobody has there, chosen when the builder
   * starts; its group is the same number. `taken` is the directory on that host which has a symlink for each that is taken.
   */
  | { readonly kind: "choose"; readonly uid: number; readonly gid: number; readonly count: number; readonly taken: string };

export interface Limits {
  readonly wallClockMs: number;
  readonly silenceMs: number;
  readonly memoryBytes: number;
  readonly processes: number;
  readonly openFiles: number;
  /** Of everything the sandbox may write: outputs, /build and /tmp together. */
  readonly outputBytes: number;
  /** Of what the builder prints. */
  readonly logBytes: number;
}
export type LimitName = keyof Limits;

export interface SandboxPlan {
  /** 8 hexadecimal digits, from the derivation. */
  readonly id: string;
  readonly system: System;
  /** `garth-<name>-<short id>`. */
  readonly hostname: string;
  readonly root: BuildRoot;
  readonly mounts: readonly Mount[];
  /** Physical scratch directory: holds what is mounted at /build and /tmp, and the jail's root. Private to the build user. */
  readonly scratch: string;
  readonly identity: SandboxIdentity;
  readonly network: "none" | "host";
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly limits: Limits;
}

/** The exit of the sandbox itself is never confused with the builder's. */
export type SandboxResult =
  | { readonly kind: "exited"; readonly status: number }
  | { readonly kind: "signalled"; readonly signal: string }
  | { readonly kind: "limit"; readonly limit: LimitName; readonly value: number; readonly raise: string }
  | { readonly kind: "cancelled" };

export interface SandboxUse {
  readonly uid: number;
  readonly gid: number;
  readonly hostname: string;
  /** `linux-bubblewrap` or `freebsd-jail`: the receipt's build_mode. */
  readonly mode: "linux-bubblewrap" | "freebsd-jail";
  readonly durationMs: number;
  readonly peakMemoryBytes: number | undefined;
  /** Whether memory and processes were limited for the whole sandbox, or for each process and user alone. */
  readonly limits?: "all" | "each";
  /**
   * The host it ran on, where it was not this machine; its release, "15.1-RELEASE"; and on FreeBSD `__FreeBSD_version` of its userland, which
   * what was built in its view is for.
   */
  readonly on?: { readonly host: string; readonly release: string; readonly osVersion?: number };
}

export interface RunOptions {
  /** What the builder prints, stdout and stderr in one stream, up to `limits.logBytes`. */
  readonly onOutput: (chunk: Uint8Array) => void;
  /** One line about the sandbox, for whoever reads the builder's output later: a path of the host view that is not there. */
  readonly onNote?: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface Sandbox {
  readonly mode: SandboxUse["mode"];
  /** The exact command lines and files the executor would use, for `--dry-run`, golden tests and `--keep-failed`. */
  render(plan: SandboxPlan): RenderedSandbox;
  /**
   * Makes `plan.scratch` and the sources of writable mounts where they are missing, gives them to the build user, and runs the
   * builder to its end. When this settles, no process and no mount of the sandbox is left; the scratch directory is the
   * caller's to keep or remove.
   * @throws Problem E_SANDBOX_PLAN, E_SANDBOX_UNAVAILABLE (exit 3), E_SANDBOX_SETUP, E_SANDBOX_STUCK, E_BUILDER_NOT_STARTED
   */
  run(plan: SandboxPlan, options: RunOptions): Promise<{ readonly result: SandboxResult; readonly use: SandboxUse }>;
  /**
   * What all sandboxes share, made ahead of the first `run`, which waits for it otherwise. To be called early, while other work
   * is done.
   * @throws Problem E_SANDBOX_UNAVAILABLE (exit 3)
   */
  prepare(): Promise<void>;
  /**
   * Ends what Garths that were killed may have left on this host: processes, mounts, jails, control groups. To be called once
   * at the start, before scratch directories of the dead are removed.
   */
  sweep(): Promise<void>;
  /** Gives back what `prepare` made. */
  close(): Promise<void>;
}

/**
 * Somewhere builders run: this machine, or a host over SSH. The request is the same for each, with the physical places of *this* machine; a
 * site that is elsewhere brings inputs there and outputs back.
 */
export interface Site {
  /** Of the host; undefined is this machine. */
  readonly host: string | undefined;
  readonly system: System;
  /** Builds at one time. */
  readonly jobs: number;
  /** As `Sandbox.render`, of the plan that `run` would make. */
  render(request: SandboxRequest): RenderedSandbox;
  /** Asked now, and not for long. This machine always does. */
  answers(): Promise<boolean>;
  /**
   * As `Sandbox.run`. When it settles with status 0, the outputs are at their physical places here, and nothing of the build is left
   * elsewhere. `keep`: what a builder that failed left stays where it ran, for `render(request).enter`.
   * @throws Problem those of Sandbox.run; E_HOST_LOST, E_HOST_UNREACHABLE: the host went away, and another may be tried
   */
  run(request: SandboxRequest, options: RunOptions & { readonly keep?: boolean }): Promise<SiteRun>;
}

export interface SiteRun {
  readonly result: SandboxResult;
  readonly use: SandboxUse;
  /** What was kept, where that is not the request's scratch: where it is and what enters it, for a person. */
  readonly kept?: { readonly directory: string; readonly enter: string };
}

export interface RenderedSandbox {
  /** For a person: paste it to enter the kept sandbox. */
  readonly enter: string;
  /** File name -> text. `bwrap.sh`, or `jail.conf` and `run.sh`, which also tears down; on another host always `run.sh`. */
  readonly files: Readonly<Record<string, string>>;
}
