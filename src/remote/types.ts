/**
 * Hosts: machines of other people's or of one's own on which builds run, reached over SSH. Such a machine has sshd and the tools of its base
 * system; nothing of ours is installed on it.
 *
 * Sizes are bytes, times milliseconds, paths absolute. A host's own directory (`root`) holds:
 *
 *     store/       copies of store items, complete and checked: what is there is valid
 *     incoming/    copies on their way
 *     tmp/         scratch of builds, a directory for each, with the identity of the script that owns it (`owner`)
 *     users/       build users that are taken: a symlink for each number, which says whose it is
 *     used/        when an item was last asked for: a file for each, with the names of what it refers to
 *     lock         held (lockf(1), flock(1)) by whoever removes what dead scripts left
 */
import type { StorePath, System } from "../base/index.ts";
import type { ScriptEvent } from "../host/index.ts";
import type { Site } from "../sandbox/index.ts";

/** What a person said of a host. */
export interface HostWish {
  /** Letters, digits, dots, dashes. */
  readonly name: string;
  /** `ssh://[user@]host[:port]`; IPv6 in brackets. Without a user it is root; ~/.ssh/config has its say. */
  readonly url: string;
  /** Default `/frx/var/garth/remote`. */
  readonly root?: string;
  /** Builds at one time. Default: as many as it has processors. */
  readonly jobs?: number;
  /** A key besides those that ssh(1) finds itself. */
  readonly identityFile?: string;
  /**
   * Which host key is accepted the first time: its fingerprint (`SHA256:...`), or "new" for whichever it has. Without it the caller's own
   * known_hosts must know it. Afterwards it is always the one that was recorded.
   */
  readonly hostKey?: string;
}

/** What was found on it, by its own words. */
export interface HostFacts {
  readonly system: System;
  /** "15.1-RELEASE-p2", "6.1.0-18-amd64". */
  readonly release: string;
  /** FreeBSD: `__FreeBSD_version` of the userland, 1501000. */
  readonly osVersion: number | undefined;
  readonly processors: number;
  readonly memoryBytes: number;
}

export interface HostRecord {
  readonly name: string;
  readonly url: string;
  readonly root: string;
  readonly jobs: number;
  readonly identityFile: string | undefined;
  readonly facts: HostFacts;
  readonly addedAtMs: number;
  readonly checkedAtMs: number;
}

/** One line of `host check`. */
export interface HostFinding {
  /** `system`, `jail`, `nullfs`, `zfs`, `rctl`, `vmm`, `space`, `clock`, `tools`, `sandbox`, `root`. */
  readonly key: string;
  /** lacking: builds run, something is worse for it. missing: builds do not run there. */
  readonly state: "ok" | "lacking" | "missing";
  readonly found: string;
  /** What to do, unless all is well. */
  readonly advice: string | undefined;
}

export interface HostReport {
  readonly facts: HostFacts;
  readonly findings: readonly HostFinding[];
}

/** One script for one host. */
export interface Script {
  /** In the words of an error: "building hello-2.12.3". */
  readonly doing: string;
  /** Its body; it is wrapped so that it runs whole or not at all. */
  readonly body: string;
}

export interface ScriptOptions {
  readonly onEvent?: (event: ScriptEvent) => void;
  /** Standard output. A promise holds back the rest until it settles. */
  readonly onOutput?: (chunk: Uint8Array) => unknown;
  /**
   * Standard input, sent when the script says `ready`, and ended behind it. Without it the input stays open as long as somebody here waits: the
   * script's leash, whose end tells it to undo everything.
   */
  readonly input?: AsyncIterable<Uint8Array>;
  /** Lets the leash go. The script has a minute to undo what it did; then the connection is closed. */
  readonly signal?: AbortSignal;
}

export interface ScriptEnd {
  readonly status: number;
  readonly events: readonly ScriptEvent[];
  /** The last lines that tools said on standard error. */
  readonly words: readonly string[];
}

export interface RunningScript {
  /** A line to the script, which it has said that it waits for. */
  send(line: string): void;
  /** The end of its input. */
  letGo(): void;
  /** @throws Problem E_HOST_LOST when the connection went before the script's end */
  readonly ended: Promise<ScriptEnd>;
}

/**
 * One host, over one multiplexed connection that is opened at first need.
 * @throws Problem from everything: E_HOST_UNREACHABLE, E_HOST_KEY (it has another key), E_HOST_KEY_UNKNOWN (with its fingerprint), E_HOST_DENIED,
 * E_HOST_LOST; each names the host and what was being done
 */
export interface Connection {
  readonly name: string;
  start(script: Script, options?: ScriptOptions): RunningScript;
  /** To its end. @throws Problem E_SCRIPT_FAILED for a status that is not 0, with what the tools said */
  run(script: Script, options?: ScriptOptions): Promise<ScriptEnd>;
  /** Words that begin a command line for a person: `ssh -t -p 2222 root@build.example`. */
  readonly shellWords: readonly string[];
  /** Ends the multiplexed connection. */
  close(): Promise<void>;
}

/** The store of a host, by name: what is there was checked there. */
export interface HostStore {
  /** Which of these are there. */
  present(paths: readonly StorePath[]): Promise<ReadonlySet<StorePath>>;
  /** What `send` would send, and nothing is sent. */
  need(paths: readonly StorePath[], options?: { readonly signal?: AbortSignal }): Promise<StoreNeed>;
  /**
   * Sends what is missing of these and of all that they refer to. An item is named in the host's store when mtree(8) has found every file in it as
   * it is here (type, mode, size, target, SHA-256), or, where there is none, when its NAR has the digest that it has here; what was finished before a failure stays, the rest is removed.
   * @throws Problem E_HOST_FULL with how much is needed and free, E_HOST_DAMAGED (twice: it is sent again once), E_HOST_LOST
   */
  send(paths: readonly StorePath[], options?: { readonly signal?: AbortSignal }): Promise<SendReport>;
  /** Physical path of an item on the host. */
  physical(path: StorePath): string;
  /**
   * Directories of the host (`from`) to directories here (`to`, which are made). Each is accepted when the SHA-256 of its NAR is the same as the
   * host's own; else nothing is left here. @throws Problem E_HOST_DAMAGED, E_HOST_LOST, E_BAD_ARCHIVE for what may not be in an output
   */
  fetch(
    trees: readonly { readonly from: string; readonly to: string }[],
    options?: { readonly signal?: AbortSignal },
  ): Promise<void>;
  /** Removes what was not asked for within the time and is not mounted. */
  collect(options: { readonly olderThanMs: number }): Promise<{ readonly removed: number; readonly freedBytes: number }>;
}

export interface StoreNeed {
  readonly missing: readonly StorePath[];
  /** On a disk that gives out blocks of 4 KiB: an estimate from above. */
  readonly diskBytes: number;
}

export interface SendReport {
  readonly sent: readonly StorePath[];
  readonly sentBytes: number;
}

/** The hosts that are known here. Names are unique. */
export interface Hosts {
  list(): readonly HostRecord[];
  /** @throws Problem E_UNKNOWN_HOST with the names there are */
  get(name: string): HostRecord;
  /** Connects, looks, and writes it down. @throws Problem E_BAD_HOST (exit 2), E_HOST_EXISTS, those of Connection */
  add(wish: HostWish): Promise<{ readonly record: HostRecord; readonly report: HostReport }>;
  /** Looks again, and writes down what changed. */
  check(name: string): Promise<HostReport>;
  /** `purge`: its directory on the host, too. @throws Problem E_HOST_BUSY when something of it is still mounted there */
  remove(name: string, options?: { readonly purge?: boolean }): Promise<void>;
  connection(name: string): Connection;
  store(name: string): HostStore;
  /** Where builds run on it. */
  site(name: string): Site;
  /** Connections of this process. */
  close(): Promise<void>;
}
