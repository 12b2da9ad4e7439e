/**
 * Calls that the runtime does not offer, through libc: syncfs(2), pipe(2), copy_file_range(2), lseek(2), fallocate(2) and its like, and
 * bind(2) without listening.
 *
 * Linux has syncfs in glibc and musl under two names of the library. Elsewhere every file below the path is synced one by one;
 * FreeBSD's sync(2) returns before the writes are done and cannot be relied on.
 */
import { dlopen, ptr } from "bun:ffi";
import * as fs from "node:fs";

/** Names of the C library: glibc and musl, or FreeBSD's. The first that opens is the one. */
const LIBRARIES =
  process.platform === "linux" ? ["libc.so.6", `libc.musl-${process.arch === "x64" ? "x86_64" : "aarch64"}.so.1`] : ["libc.so.7"];

/** undefined where no library of that name has the call, or none can be opened: there is a slower way for each, which is as safe. */
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
  // The rest has no content of its own, and opening a fifo would wait for somebody.
  if (!stat.isFile() && !stat.isDirectory()) return;
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

/** netinet/in.h; the numbers are the same on Linux and FreeBSD. */
const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCKADDR_IN_BYTES = 16;

/** 127.0.0.1, port 0. Linux begins with a 16-bit family; FreeBSD with a length and an 8-bit one. */
function anyLoopbackPort(): Uint8Array {
  const address = new Uint8Array(SOCKADDR_IN_BYTES);
  address.set(process.platform === "linux" ? [AF_INET, 0] : [SOCKADDR_IN_BYTES, AF_INET]);
  address.set([127, 0, 0, 1], 4);
  return address;
}

/** The kernel's choice, which is given back at once; where libc cannot be asked, one that nobody has. @throws Error where there is none */
export function freePort(): number {
  const port = boundPort() ?? unlistedPort(listedPorts(), Math.floor(performance.now() * 1000) + process.pid);
  if (port === 0) throw new Error("the kernel gave no free port of 127.0.0.1");
  return port;
}

function boundPort(): number | undefined {
  return fromLibc((library) => {
    const { symbols } = dlopen(library, {
      socket: { args: ["int", "int", "int"], returns: "int" },
      bind: { args: ["int", "ptr", "u32"], returns: "int" },
      getsockname: { args: ["int", "ptr", "ptr"], returns: "int" },
    });
    const address = anyLoopbackPort();
    const length = new Uint32Array([SOCKADDR_IN_BYTES]);
    const descriptor = symbols.socket(AF_INET, SOCK_STREAM, 0);
    if (descriptor < 0) return 0;
    try {
      const bound = symbols.bind(descriptor, ptr(address), SOCKADDR_IN_BYTES) === 0;
      if (!bound || symbols.getsockname(descriptor, ptr(address), ptr(length)) !== 0) return 0;
      return new DataView(address.buffer).getUint16(2);
    } finally {
      fs.closeSync(descriptor);
    }
  });
}

/** RFC 6335: nobody's in particular. */
const EPHEMERAL_PORTS = { first: 49152, count: 16384 };

function listedPorts(): string {
  const { exitCode, stdout } = Bun.spawnSync(["netstat", "-an"], {
    stdin: "ignore",
    stderr: "ignore",
    env: { LC_ALL: "C", PATH: "/usr/bin:/bin" },
  });
  return exitCode === 0 ? stdout.toString() : "";
}

/** The first from `start` on that what netstat(1) printed does not have. 0: it has all, or nothing was printed. */
export function unlistedPort(netstat: string, start: number): number {
  if (netstat === "") return 0;
  // "127.0.0.1:22" on Linux, "127.0.0.1.22" on FreeBSD.
  const taken = new Set([...netstat.matchAll(/[.:](\d+)(?=\s)/g)].map(([, port]) => Number(port)));
  const { first, count } = EPHEMERAL_PORTS;
  for (let step = 0; step < count; step += 1) {
    const port = first + ((start + step) % count);
    if (!taken.has(port)) return port;
  }
  return 0;
}

type CopyFileRange = (from: number, fromAt: BigInt64Array, to: number, toAt: BigInt64Array, sizeBytes: number) => number;

let copyFileRange: CopyFileRange | undefined | "unknown" = "unknown";

function findCopyFileRange(): CopyFileRange | undefined {
  return fromLibc((library) => {
    const { symbols } = dlopen(library, {
      copy_file_range: { args: ["int", "ptr", "int", "ptr", "u64", "u32"], returns: "i64" },
    });
    return (from, fromAt, to, toAt, sizeBytes) =>
      Number(symbols.copy_file_range(from, ptr(fromAt), to, ptr(toAt), BigInt(sizeBytes), 0));
  });
}

/**
 * From one open file to another inside the kernel. Returns how much was copied: less than asked for at the end of the file, and 0 also
 * where the kernel or the file systems cannot, for which there is reading and writing.
 */
export function copyRange(from: number, fromAt: number, to: number, toAt: number, sizeBytes: number): number {
  if (copyFileRange === "unknown") copyFileRange = findCopyFileRange();
  if (copyFileRange === undefined) return 0;
  const [source, target] = [BigInt64Array.of(BigInt(fromAt)), BigInt64Array.of(BigInt(toAt))];
  let done = 0;
  while (done < sizeBytes) {
    const count = copyFileRange(from, source, to, target, sizeBytes - done);
    if (count <= 0) break;
    done += count;
  }
  return done;
}

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

type Seek = (descriptor: number, offset: number, whence: number) => number;

let seek: Seek | undefined | "unknown" = "unknown";

function findSeek(): Seek | undefined {
  return fromLibc((library) => {
    const { symbols } = dlopen(library, { lseek: { args: ["int", "i64", "int"], returns: "i64" } });
    return (descriptor, offset, whence) => Number(symbols.lseek(descriptor, BigInt(offset), whence));
  });
}

/** Where the next run of bytes that are not a hole begins and ends (lseek(2)); undefined behind the last. All of it, where nobody can say. */
export function nextData(
  descriptor: number,
  offset: number,
  sizeBytes: number,
): { readonly from: number; readonly to: number } | undefined {
  if (offset >= sizeBytes) return undefined;
  if (seek === "unknown") seek = findSeek();
  if (seek === undefined) return { from: offset, to: sizeBytes };
  const from = seek(descriptor, offset, SEEK_DATA);
  // A hole up to the end, or a file system that knows no holes: there the other question has no answer either.
  if (from < 0) return seek(descriptor, offset, SEEK_HOLE) === offset ? undefined : { from: offset, to: sizeBytes };
  const to = seek(descriptor, from, SEEK_HOLE);
  return { from, to: to < 0 ? sizeBytes : Math.min(to, sizeBytes) };
}

const SEEK_END = 2;

/** Of a file, or of a disk: its size in both systems' lseek(2). @throws Error where nobody can say */
export function endOf(descriptor: number): number {
  if (seek === "unknown") seek = findSeek();
  const end = seek?.(descriptor, 0, SEEK_END) ?? -1;
  if (end < 0) throw new Error("there is no end of what is open, or the C library cannot be asked");
  return end;
}

type ClearRange = (descriptor: number, at: number, sizeBytes: number) => boolean;

let clear: ClearRange | undefined | "unknown" = "unknown";

/** fallocate(2): first without keeping room for the zeros, then with it, which a disk always can. */
const KEEP_SIZE = 0x01;
const FALLOCATE_MODES = [KEEP_SIZE | 0x02, KEEP_SIZE | 0x10];
/** fspacectl(2) of FreeBSD. */
const SPACECTL_DEALLOC = 1;

function findClear(): ClearRange | undefined {
  if (process.platform === "linux") {
    return fromLibc((library) => {
      const { symbols } = dlopen(library, { fallocate: { args: ["int", "int", "i64", "i64"], returns: "int" } });
      return (descriptor, at, sizeBytes) =>
        FALLOCATE_MODES.some((mode) => symbols.fallocate(descriptor, mode, BigInt(at), BigInt(sizeBytes)) === 0);
    });
  }
  return fromLibc((library) => {
    const { symbols } = dlopen(library, { fspacectl: { args: ["int", "int", "ptr", "int", "ptr"], returns: "int" } });
    return (descriptor, at, sizeBytes) => {
      const range = BigInt64Array.of(BigInt(at), BigInt(sizeBytes));
      // It says what is left, and may do less than it was asked for.
      while (range[1] !== 0n) {
        const before = range[1];
        if (symbols.fspacectl(descriptor, SPACECTL_DEALLOC, ptr(range), 0, ptr(range)) !== 0 || range[1] === before) return false;
      }
      return true;
    };
  });
}

/** false: neither the kernel nor the file system can, or nobody can be asked. */
export function clearRange(descriptor: number, at: number, sizeBytes: number): boolean {
  if (clear === "unknown") clear = findClear();
  return clear?.(descriptor, at, sizeBytes) ?? false;
}

/** Of posix_fadvise(2), in both systems. */
const DONTNEED = 4;

type Advise = (descriptor: number, advice: number) => void;

let advise: Advise | undefined | "unknown" = "unknown";

function findAdvise(): Advise | undefined {
  return fromLibc((library) => {
    const { symbols } = dlopen(library, { posix_fadvise: { args: ["int", "i64", "i64", "int"], returns: "int" } });
    return (descriptor, advice) => symbols.posix_fadvise(descriptor, 0n, 0n, advice);
  });
}

/** A wish that the kernel may leave unheard. */
export function forgetCached(descriptor: number): void {
  if (advise === "unknown") advise = findAdvise();
  advise?.(descriptor, DONTNEED);
}
