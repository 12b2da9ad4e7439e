/**
 * The two calls that the runtime does not offer, through libc: syncfs(2) and pipe(2).
 *
 * Linux has syncfs in glibc and musl under two names of the library. Elsewhere every file below the path is synced one by one;
 * FreeBSD's sync(2) returns before the writes are done and cannot be relied on.
 */
import { dlopen, ptr } from "bun:ffi";
import * as fs from "node:fs";

/** Names of the C library, by system: glibc, musl, FreeBSD. The first that opens is the one. */
const LIBRARIES = ["libc.so.6", `libc.musl-${process.arch === "x64" ? "x86_64" : "aarch64"}.so.1`, "libc.so.7"];

/** undefined where no library of that name has the call: there is a slower way for each, which is as safe. */
function fromLibc<Call>(open: (library: string) => Call): Call | undefined {
  for (const library of LIBRARIES) {
    try {
      return open(library);
    } catch {
      // Not this C library.
    }
  }
  return undefined;
}

type SyncDescriptor = (descriptor: number) => number;

let syncfs: SyncDescriptor | undefined | "unknown" = "unknown";

function findSyncfs(): SyncDescriptor | undefined {
  if (process.platform !== "linux") return undefined;
  return fromLibc((library) => dlopen(library, { syncfs: { args: ["int"], returns: "int" } }).symbols.syncfs);
}

export function syncFileSystemOf(path: string | Buffer): void {
  if (syncfs === "unknown") syncfs = findSyncfs();
  if (syncfs === undefined) return syncTree(path);
  const descriptor = fs.openSync(path, "r");
  try {
    // syncfs reports a write-back error once; fsync of the descriptor names it (EIO, ENOSPC) in the runtime's own way.
    if (syncfs(descriptor) !== 0) {
      fs.fsyncSync(descriptor);
      throw new Error("syncfs failed: the disk did not take what was written");
    }
  } finally {
    fs.closeSync(descriptor);
  }
}

function syncTree(path: string | Buffer): void {
  const stat = fs.lstatSync(path);
  if (stat.isSymbolicLink()) return;
  if (stat.isDirectory()) {
    const prefix = Buffer.concat([Buffer.from(path), Buffer.from("/")]);
    for (const entry of fs.readdirSync(path, { encoding: "buffer" })) syncTree(Buffer.concat([prefix, entry]));
  }
  const descriptor = fs.openSync(path, "r");
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

export interface Pipe {
  readonly readEnd: number;
  readonly writeEnd: number;
}

type MakePipe = (descriptors: Int32Array) => boolean;

let pipe: MakePipe | undefined | "unknown" = "unknown";

function findPipe(): MakePipe | undefined {
  return fromLibc((library) => {
    const { symbols } = dlopen(library, { pipe2: { args: ["ptr", "int"], returns: "int" } });
    return (descriptors) => symbols.pipe2(ptr(descriptors), CLOSE_ON_EXEC) === 0;
  });
}

/** O_CLOEXEC of open(2): the process that is started gets copies of its own, and no other may hold the pipe open. */
const CLOSE_ON_EXEC = process.platform === "linux" ? 0o2000000 : 0x100000;

/** undefined where libc cannot be asked. */
export function makePipe(): Pipe | undefined {
  if (pipe === "unknown") pipe = findPipe();
  const descriptors = new Int32Array(2);
  if (pipe === undefined || !pipe(descriptors)) return undefined;
  const [readEnd, writeEnd] = descriptors;
  return readEnd === undefined || writeEnd === undefined ? undefined : { readEnd, writeEnd };
}
