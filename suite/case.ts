/**
 * What a case of the suite is, and what it has in its hands.
 *
 * A case does not stop at the first thing that is not as expected: all of it is told, because whoever mends it may be far from the host and
 * has nothing but this text. `equal` and its like go on; `must` and whatever is thrown end the case.
 */
import type { Hand, Said } from "./hand.ts";
import type { Ours } from "./ours.ts";

export type HostSystem = "freebsd" | "linux";

/** What the host says of itself, and what it has; found once, before any case. */
export interface HostSelf {
  readonly system: HostSystem;
  /** `uname -srm`. */
  readonly uname: string;
  /** Of its userland: `15.1-RELEASE-p2`; of a Linux, the kernel's. */
  readonly release: string;
  /** `x86_64-freebsd`. */
  readonly name: string;
  /** Programs of interest that are there, with their paths. */
  readonly tools: ReadonlyMap<string, string>;
  readonly uid: number;
  /** FreeBSD: kern.racct.enable. */
  readonly racct: boolean;
  /**
   * What stands in for FreeBSD's tools here, in its own words: scripts and their protocol can be tried against it, a kernel's doings
   * cannot. undefined: nothing says so.
   */
  readonly standIn: string | undefined;
}

export interface Suite {
  readonly url: string;
  readonly host: HostSelf;
  /** The host by way of plain ssh(1) and sh(1): nothing of what is tried stands between. */
  readonly hand: Hand;
  /** Directory of this run on the host, made; the suite's alone. */
  readonly root: string;
  /** Directory of this run here, made. */
  readonly here: string;
  /** The checkout. */
  readonly home: string;
  /** dist/garth-freebsd-x64, where somebody made it. */
  readonly binary: string;
  /** The known_hosts file that has the host's key. */
  readonly knownHosts: string;
  readonly identityFile: string | undefined;
  /** Fingerprint of the host's key: `SHA256:...`. */
  readonly hostKey: string;
  /** Garth, wired to a root of its own, opened at first need. */
  ours(): Promise<Ours>;
}

export interface Case {
  /** `room: what is so`. Unique. */
  readonly name: string;
  /** Names of cases without which this one says nothing. */
  readonly needs?: readonly string[];
  readonly only?: HostSystem;
  /** Needs what a real kernel does: left out where the host is a stand-in. */
  readonly kernel?: true;
  /** Programs of the host. */
  readonly tools?: readonly string[];
  /** Default 5 minutes: an emulated host is twenty times slower than it looks. */
  readonly limitMs?: number;
  readonly run: (trial: Trial, suite: Suite) => Promise<void>;
}

/** Thrown by `Trial.skip`. */
export class Skipped extends Error {}

/** Thrown by `Trial.must`: what is wrong was written down already. */
export class Stopped extends Error {}

export interface Trial {
  readonly signal: AbortSignal;
  /** A script for the host by plain ssh; it and what it said are told when the case fails. `W` is a directory of the case, made. */
  sh(script: string, options?: { readonly stdin?: string; readonly limitMs?: number }): Promise<Said>;
  /** What is told when the case fails: `what` did, and its text. */
  record(what: string, text: string): void;
  /** A finding that is told in any case. */
  note(text: string): void;
  equal(what: string, found: unknown, expected: unknown): boolean;
  matches(what: string, found: string, expected: RegExp): boolean;
  ok(what: string, holds: boolean, found?: unknown): boolean;
  /** The value, which must be there. @throws Stopped when it is not, or is false */
  must<T>(what: string, value: T | undefined | false, found?: unknown): T;
  /** That something is refused with a Problem of this code; the Problem. */
  refused(what: string, code: string | readonly string[], action: Promise<unknown>): Promise<RefusedProblem | undefined>;
  /** @throws Skipped */
  skip(reason: string): never;
  /** At the end of the case, last first, whatever happened. */
  undo(what: string, action: () => Promise<unknown>): void;
}

export interface RefusedProblem {
  readonly code: string;
  readonly message: string;
  readonly details: readonly string[];
}

export const MINUTE_MS = 60_000;
