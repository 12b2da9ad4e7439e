/**
 * A guest as its users see it: commands, files and watches over one SSH connection, with nothing of ours installed inside.
 *
 * Paths are absolute paths of the guest. Sizes are bytes, times milliseconds.
 */

/** How the guest is reached. Everything is absolute and belongs to one machine. */
export interface GuestAddress {
  /** For errors and for the host key: the machine's name, "debian-12-3". Host keys are looked up under it (HostKeyAlias). */
  readonly name: string;
  readonly address: string;
  readonly port: number;
  /** Who logs in. */
  readonly user: string;
  readonly keyFile: string;
  /** Holds the machine's host key under `name`; a server with another key is refused. */
  readonly knownHostsFile: string;
  /** Of the multiplexed connection; a short path (sun_path has room for 104 bytes). Made by the connection, gone with it. */
  readonly controlSocket: string;
  /** Words that go before `ssh` where the guest is in a network of its own: `ip netns exec NAME`. */
  readonly through: readonly string[];
  /** MaxSessions of its sshd, where it is not the ten of one that nobody configured. */
  readonly maxSessions?: number;
}

export interface GuestCommand {
  readonly argv: readonly [string, ...string[]];
  /** Other places of the program. The first of all that is there is run; where none is, the last. */
  readonly elsewhere?: readonly string[];
  /** Added to the environment of the user: PATH, HOME, USER, LOGNAME. */
  readonly env?: Readonly<Record<string, string>>;
  /** Default: the user's home. */
  readonly cwd?: string;
  /** Another user than the one who logs in, who must be root then. @throws Problem E_NO_USER */
  readonly user?: string;
  /** A pseudo terminal; all output is `pty` then. */
  readonly pty?: { readonly columns: number; readonly rows: number };
  /** "open": written to with `write`. "closed" (default): /dev/null. */
  readonly stdin?: "open" | "closed";
}

export type Channel = "stdout" | "stderr" | "pty";

export interface GuestExit {
  /** The status, or -1 when a signal ended it. */
  readonly code: number;
  /** "SIGKILL" */
  readonly signal: string | undefined;
  /** The connection went before the process did; what became of it is not known. */
  readonly lost: boolean;
}

export interface GuestProcess {
  /** In the guest. Leader of its own session. */
  readonly pid: number;
  /** Settles when the guest's end has taken it; nothing happens after the end. */
  write(data: Uint8Array | string): Promise<void>;
  endInput(): Promise<void>;
  /** To the process and everything it started, what has left its process group too. false: it had ended. */
  signal(name: "SIGTERM" | "SIGKILL" | "SIGINT" | "SIGHUP"): Promise<boolean>;
  resize(columns: number, rows: number): void;
  /** Settles, never rejects, after all output was handed on. */
  readonly exited: Promise<GuestExit>;
}

export interface GuestResult {
  readonly code: number;
  readonly stdout: Uint8Array;
  readonly stderr: string;
}

export type EntryKind = "file" | "directory" | "symlink" | "other";

/** Bytes of a name that are no UTF-8 are shown as U+FFFD. */
export interface GuestEntry {
  readonly name: string;
  readonly path: string;
  readonly kind: EntryKind;
  readonly sizeBytes: number;
  /** 0o7777. */
  readonly mode: number;
  readonly owner: string;
  readonly group: string;
  /** Whole seconds. */
  readonly modifiedMs: number;
  /** Where a link leads in the end; its text, where it leads nowhere. */
  readonly target: string | undefined;
}

/**
 * @throws Problem E_NO_FILE, E_IS_DIRECTORY, E_NOT_DIRECTORY, E_FILE_EXISTS, E_FILE_DENIED, E_GUEST_FULL, E_GUEST_LOST; E_BAD_PATH (exit 2) for
 * what is no absolute path, E_FILE_FAILED where the guest does not say why, E_NO_USER
 */
export interface GuestFiles {
  /** Follows links: `kind` is the target's; `target` is set when the path itself is a link. */
  stat(path: string): Promise<GuestEntry>;
  /**
   * Without the directory itself, in the order of names, what is in a directory behind it. `depth` 1 is what lies directly in it. Links are
   * seen as by `stat` and not entered.
   */
  list(path: string, depth?: number): Promise<readonly GuestEntry[]>;
  /** With its parents. false: it was there. Owned by `user` where one is given. */
  makeDirectory(path: string, user?: string): Promise<boolean>;
  /** Parents of the destination are made; what is there is replaced. */
  move(from: string, to: string): Promise<GuestEntry>;
  /** A tree; nothing there is fine. */
  remove(path: string): Promise<void>;
  /**
   * Chunks in order, many requests under way at once. `range` in bytes, end not included. `sizeBytes`: how many bytes come; fewer, when the
   * file is cut meanwhile.
   */
  read(
    path: string,
    range?: { readonly from: number; readonly to: number },
  ): Promise<{ readonly sizeBytes: number; readonly chunks: AsyncIterable<Uint8Array> }>;
  /**
   * Written beside its place and renamed into it: a broken stream leaves what was there. Parents are made; mode and owner of a file that is
   * replaced are kept.
   */
  write(
    path: string,
    chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    options?: { readonly user?: string },
  ): Promise<GuestEntry>;
}

export type WatchKind = "create" | "write" | "remove" | "rename" | "chmod";

export interface WatchEvent {
  readonly kind: WatchKind;
  /** Relative to the watched directory. */
  readonly name: string;
}

export interface GuestUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

/** A connection to a port of the guest. */
export interface GuestStream {
  /** Settles when the guest's end has taken it; nothing happens after the end. */
  write(data: Uint8Array | string): Promise<void>;
  /** The end of what goes in, after all that was written; what comes out goes on. */
  end(): void;
  /** Both ways at once. */
  close(): void;
  /** Settles, never rejects, when nothing comes out any more and all of it was handed on. */
  readonly ended: Promise<void>;
  /** Settles, never rejects, when both ways are closed. `lost`: the guest's connection went first. */
  readonly closed: Promise<{ readonly lost: boolean }>;
}

export interface Guest {
  readonly address: GuestAddress;
  /** Opens the connection, or finds it open. @throws Problem E_GUEST_UNREACHABLE with what ssh said; the signal's reason */
  connect(options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal }): Promise<void>;
  /**
   * Settles when the process runs. A promise from `onOutput` holds back the rest of that channel until it settles: a reader that is slow slows
   * the process. @throws Problem E_GUEST_LOST, E_NO_USER, E_NO_DIRECTORY (its `cwd`)
   */
  spawn(command: GuestCommand, onOutput: (chunk: Uint8Array, channel: Channel) => unknown): Promise<GuestProcess>;
  /** To its end, all output in memory. @throws Problem as `spawn`, E_TIMEOUT after which nothing of it runs */
  run(command: GuestCommand & { readonly input?: Uint8Array | string; readonly timeoutMs?: number }): Promise<GuestResult>;
  readonly files: GuestFiles;
  /** Settles when every change from now on is seen. @throws Problem E_NO_FILE, E_NOT_DIRECTORY */
  watch(
    path: string,
    options: { readonly recursive: boolean },
    onEvent: (event: WatchEvent) => void,
  ): Promise<{ close(): void; readonly closed: Promise<void> }>;
  /**
   * To a TCP port of the guest's loopback (127.0.0.1, then ::1), opened by its SSH server. Settles when it is open; a promise from `onData` holds
   * back what comes next until it settles. @throws Problem E_PORT_CLOSED where nobody listens, E_PORT_DENIED where the server forwards
   * nothing, E_GUEST_LOST, E_GUEST_UNREACHABLE
   */
  connectTo(port: number, onData: (chunk: Uint8Array) => unknown): Promise<GuestStream>;
  /** @throws Problem E_NO_USER */
  user(name?: string): Promise<GuestUser>;
  /** This process's part of it: files and watches. The multiplexed connection stays for others. */
  close(): void;
  /** Ends the multiplexed connection too. */
  disconnect(): Promise<void>;
}
