/**
 * The one call that the runtime does not offer: syncfs(2), through libc.
 *
 * Linux has it in glibc and musl under two names of the library. Elsewhere every file below the path is synced one by one;
 * FreeBSD's sync(2) returns before the writes are done and cannot be relied on.
 */
import { dlopen } from "bun:ffi";
import * as fs from "node:fs";

type SyncDescriptor = (descriptor: number) => number;

let syncfs: SyncDescriptor | undefined | "unknown" = "unknown";

function findSyncfs(): SyncDescriptor | undefined {
  if (process.platform !== "linux") return undefined;
  for (const library of ["libc.so.6", `libc.musl-${process.arch === "x64" ? "x86_64" : "aarch64"}.so.1`]) {
    try {
      return dlopen(library, { syncfs: { args: ["int"], returns: "int" } }).symbols.syncfs;
    } catch {
      // Not this C library; the next name, and in the end the slow way, which is as safe.
    }
  }
  return undefined;
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
