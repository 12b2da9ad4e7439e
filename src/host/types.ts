/**
 * The door to the outside: processes and files. No other room spawns or opens anything.
 *
 * `local.ts` is this machine; `recording.ts` (in testing.ts) wraps another host, writes down each effect in order, and lets a
 * test model a crash or a power loss after any of them.
 */
import type { System } from "../base/index.ts";

export interface Command {
  readonly argv: readonly [string, ...string[]];
  /** The whole environment: nothing is inherited. Default: PATH of the host's system directories and LC_ALL=C.UTF-8. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Default "closed". */
  readonly stdin?: "closed" | "inherit" | Uint8Array | string;
  readonly timeoutMs?: number;
  /** What this is for, in the words of an error: "listing the archive hello.tar". */
  readonly doing?: string;
  /** Statuses that are not failures. Default [0]. */
  readonly okStatuses?: readonly number[];
  /** Extra descriptors to hand over, from 3 on. */
  readonly passDescriptors?: readonly number[];
}

export interface Completed {
  readonly status: number;
  readonly stdout: Uint8Array;
  readonly stderr: string;
  readonly durationMs: number;
  /** stdout as UTF-8. */
  text(): string;
}

export interface Exit {
  /** null when a signal ended it. */
  readonly status: number | null;
  readonly signal: string | null;
}

/** A process that is still going. Its output comes in chunks as they arrive; both streams end before `exited` settles. */
export interface Running {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  kill(signal?: NodeJS.Signals): void;
  /**
   * To its standard input, where `SpawnOptions.stdin` is "pipe". Settles when the process's end has taken the data, or is gone:
   * `exited` tells. A caller that does not wait lets what is not yet taken pile up in memory.
   */
  write(data: Uint8Array | string): Promise<void>;
  /** The end of that input, after all that was written. */
  endInput(): Promise<void>;
}

export interface SpawnOptions {
  /**
   * Gives the process one pipe(2) as stdout and stderr instead of two sockets of the runtime, so that it can also open
   * /dev/stdout and /dev/stderr by name. All output is "stdout" then, in the order in which it was written. A user here owns the
   * pipe: a program that drops to that user could not open it otherwise.
   */
  readonly pipe?: "own" | { readonly uid: number; readonly gid: number };
  /** A promise holds back the rest of that stream until it settles: the process waits in its write then. */
  readonly onOutput?: (chunk: Uint8Array, stream: "stdout" | "stderr") => unknown;
  /** An input that stays open and is written to while the process runs, in place of what the command says. */
  readonly stdin?: "pipe";
  /** "own": setsid(2) in the process, which no terminal's end or Ctrl-C reaches then; it may outlive this one. */
  readonly session?: "own";
}

/** A connection that this process opened. */
export interface Connection {
  /** Queues what the kernel does not take at once. Nothing happens after the end. */
  write(data: Uint8Array | string): void;
  /** Ends both directions; what is still queued is lost. */
  close(): void;
  /** Settles, never rejects, when either side ended it. All data was handed on before. */
  readonly closed: Promise<void>;
}

/** The chunk is the receiver's to keep. */
export type OnData = (chunk: Uint8Array) => void;

export interface Stat {
  readonly type: "file" | "directory" | "symlink" | "fifo" | "socket" | "character" | "block";
  /** Permission bits with setuid, setgid and sticky: 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  readonly links: number;
  readonly device: number;
  readonly inode: number;
  /** 512-byte blocks on disk. */
  readonly blocks: number;
}

/** A path as text, or as bytes where a name is not UTF-8. */
export type PathLike = string | Uint8Array;

/** A large file being written. The caller leaves the data of a `write` alone until it settles, and closes in the end. */
export interface BesideFile {
  write(data: Uint8Array, position: number): Promise<void>;
  close(): void;
}

/** SHA-256 on another thread. The view must be of a SharedArrayBuffer, and stay as it is until the update settles. */
export interface BesideHasher {
  update(data: Uint8Array<SharedArrayBuffer>): Promise<void>;
  /** 64 lowercase hexadecimal digits. */
  digest(): Promise<string>;
  close(): void;
}

/**
 * Files, synchronously: small operations on local disks, called in long runs by the store. Each throws what the runtime
 * throws (an Error with `code: "ENOENT"` and `path`); the rooms turn it into a Problem where they know what it means.
 */
export interface Files {
  lstat(path: PathLike): Stat;
  /** undefined when there is nothing at the path. */
  lstatIfAny(path: PathLike): Stat | undefined;
  /** Names as bytes, in the order of the directory. */
  list(path: PathLike): Uint8Array[];
  readFile(path: PathLike): Uint8Array;
  readText(path: PathLike): string;
  /** undefined when there is no such file. */
  readTextIfAny(path: PathLike): string | undefined;
  readLink(path: PathLike): Uint8Array;
  /** Creates or truncates; `mode` default 0o644. */
  writeFile(path: PathLike, data: Uint8Array | string, mode?: number): void;
  append(path: PathLike, data: Uint8Array | string): void;
  makeDirectory(path: PathLike, options?: { readonly mode?: number; readonly parents?: boolean }): void;
  makeTemporaryDirectory(prefix: string): string;
  symlink(target: PathLike, path: PathLike): void;
  hardLink(existing: PathLike, path: PathLike): void;
  rename(from: PathLike, to: PathLike): void;
  unlink(path: PathLike): void;
  removeDirectory(path: PathLike): void;
  /** Removes a tree, also one with read-only directories. Nothing there is fine. */
  removeTree(path: PathLike): void;
  /** The same on one of the runtime's threads: taking away what many files were written to waits for the disk's journal. */
  removeTreeBeside(path: PathLike): Promise<void>;
  chmod(path: PathLike, mode: number): void;
  /** Of the link itself, where the path is one. */
  chown(path: PathLike, uid: number, gid: number): void;
  /** Of the link itself, where the path is one. Both times in milliseconds. */
  setTimes(path: PathLike, timeMs: number): void;
  /**
   * "claim" is "r+" of a disk that nobody else may claim meanwhile, as a mount or a RAID does: EBUSY (EPERM on FreeBSD) where somebody
   * has.
   */
  open(path: PathLike, flags: "r" | "w" | "wx" | "wx+" | "r+" | "claim", mode?: number): number;
  read(descriptor: number, into: Uint8Array, offset: number): number;
  write(descriptor: number, data: Uint8Array): number;
  /** The same at a position, on a thread of the runtime: the caller goes on and leaves `data` alone until it settles. */
  writeBeside(descriptor: number, data: Uint8Array, position: number): Promise<void>;
  /** Creates a small file and writes it whole, on a thread of the runtime. Something there already is EEXIST. */
  writeNewBeside(path: PathLike, data: Uint8Array, mode: number): Promise<void>;
  /** Creates a large file that is written on a thread of the runtime, past the page cache where the file system lets us. */
  createBeside(path: PathLike, mode: number): BesideFile;
  /**
   * From one open file to another inside the kernel, where it can: what is left out (all of it, where it cannot) is for reading and
   * writing. Offsets and sizes in bytes; returns how many were copied.
   */
  copyRange(from: number, fromAt: number, to: number, toAt: number, sizeBytes: number): number;
  /** The next run from `offset` on that is not a hole of the file, which has `sizeBytes`; undefined behind the last one. */
  nextData(descriptor: number, offset: number, sizeBytes: number): { readonly from: number; readonly to: number } | undefined;
  /** Bytes of an open file, or of a disk. */
  endOf(descriptor: number): number;
  /**
   * Makes a stretch read as zeros without writing them, and without giving it room where that can be. false: it has to be written. Of a
   * disk whole sectors.
   */
  clearRange(descriptor: number, at: number, sizeBytes: number): boolean;
  /** What of it is in memory is read from the disk again. What is not written yet stays. */
  forgetCached(descriptor: number): void;
  /** fsync(2), on a thread of the runtime. */
  syncBeside(descriptor: number): Promise<void>;
  close(descriptor: number): void;
  truncate(descriptor: number, sizeBytes: number): void;
  /** fsync(2) of a file or a directory. */
  sync(path: PathLike): void;
  /**
   * Everything under `path` is on disk when this returns. On Linux by one syncfs(2) of its file system; elsewhere, where
   * sync(2) only schedules the writes, by fsync(2) of every file and directory under it.
   */
  syncFileSystem(path: PathLike): void;
  /** Bytes free to the caller on the file system that holds the path, and its size. */
  space(path: PathLike): { readonly freeBytes: number; readonly totalBytes: number };
  exists(path: PathLike): boolean;
  realPath(path: string): string;
}

export interface Host {
  readonly name: string;
  readonly system: System;
  readonly files: Files;
  readonly isRoot: boolean;
  readonly processors: number;
  /** @throws Problem E_TOOL_MISSING (exit 3), E_COMMAND_FAILED with argv, status, tail of stderr and a replay line, E_TIMEOUT */
  run(command: Command): Promise<Completed>;
  spawn(command: Command, options?: SpawnOptions): Running;
  /**
   * Starts a process that outlives this one: in a session of its own, its input closed, its output added to a file. Settles nothing:
   * whether it lives is asked by its identity. @throws Problem E_TOOL_MISSING (exit 3)
   */
  launch(command: Command, options: { readonly outputFile: string }): { readonly pid: number; readonly identity: string };
  /** With this process's own input, output and errors: for programs that somebody sits before. @throws Problem E_TOOL_MISSING (exit 3) */
  attach(command: Command): Promise<Exit>;
  hashBeside(): BesideHasher;
  /** To a Unix socket, also one whose path is longer than sun_path (104 bytes or more). @throws Error with an errno name in `code` */
  connect(socketPath: string, onData: OnData): Promise<Connection>;
  /** To a numeric address. @throws Error with an errno name in `code` */
  connectTcp(address: string, port: number, onData: OnData): Promise<Connection>;
  /** A TCP port of 127.0.0.1 that nobody held a moment ago; somebody else may take it before you do. */
  freePort(): number;
  /** Absolute path of a program in the host's PATH, or undefined. */
  which(program: string): string | undefined;
  /** Names one process of this boot for good: "<boot id>:<pid>:<start time>". */
  readonly processIdentity: string;
  /** Whether the process so named is still the same living process. */
  isAlive(processIdentity: string): boolean;
  /** The name of a process that lives now; undefined when there is none of that number. */
  identityOf(pid: number): string | undefined;
  /** false: it had ended, and nothing was sent. */
  signal(processIdentity: string, signal: NodeJS.Signals): boolean;
}
