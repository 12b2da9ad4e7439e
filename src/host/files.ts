/** Files of this machine. Thin over node:fs, which the runtime implements natively; one call here is one or two system calls. */
import * as fs from "node:fs";
import { clearRange, copyRange, endOf, forgetCached, nextData, syncFileSystemOf } from "./libc.ts";
import { createBeside, writeAllAt } from "./beside.ts";
import { isErrno } from "./errno.ts";
import type { Files, PathLike, Stat } from "./types.ts";

const PERMISSIONS = 0o7777;
const OPEN_FLAGS = {
  r: "r",
  w: "w",
  wx: "wx",
  "wx+": "wx+",
  "r+": "r+",
  claim: fs.constants.O_RDWR | fs.constants.O_EXCL,
} as const;

/** node:fs wants a Buffer where a path is given as bytes; the view shares the memory. */
function native(path: PathLike): string | Buffer {
  return typeof path === "string" ? path : Buffer.from(path.buffer, path.byteOffset, path.byteLength);
}

function typeOf(stat: fs.Stats): Stat["type"] {
  switch (stat.mode & fs.constants.S_IFMT) {
    case fs.constants.S_IFREG:
      return "file";
    case fs.constants.S_IFDIR:
      return "directory";
    case fs.constants.S_IFLNK:
      return "symlink";
    case fs.constants.S_IFIFO:
      return "fifo";
    case fs.constants.S_IFSOCK:
      return "socket";
    case fs.constants.S_IFCHR:
      return "character";
    default:
      return "block";
  }
}

function toStat(stat: fs.Stats): Stat {
  return {
    type: typeOf(stat),
    mode: stat.mode & PERMISSIONS,
    uid: stat.uid,
    gid: stat.gid,
    sizeBytes: stat.size,
    mtimeMs: stat.mtimeMs,
    ctimeMs: stat.ctimeMs,
    links: stat.nlink,
    device: stat.dev,
    inode: stat.ino,
    blocks: stat.blocks,
  };
}

function removeTree(path: string | Buffer): void {
  const stat = fs.lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isDirectory()) {
    fs.unlinkSync(path);
    return;
  }
  // A read-only directory of one's own refuses to give up its entries; root is not asked.
  if ((stat.mode & 0o700) !== 0o700) fs.chmodSync(path, 0o700);
  const prefix = Buffer.concat([Buffer.from(path), Buffer.from("/")]);
  for (const entry of fs.readdirSync(path, { encoding: "buffer" })) {
    const child = Buffer.concat([prefix, entry]);
    try {
      fs.unlinkSync(child);
    } catch (error) {
      if (!isErrno(error, "EISDIR", "EPERM", "EACCES")) throw error;
      removeTree(child);
    }
  }
  fs.rmdirSync(path);
}

export const localFiles: Files = {
  lstat: (path) => toStat(fs.lstatSync(native(path))),
  lstatIfAny: (path) => {
    try {
      const stat = fs.lstatSync(native(path), { throwIfNoEntry: false });
      return stat === undefined ? undefined : toStat(stat);
    } catch (error) {
      // A component of the path that is a file: there is nothing at the path either.
      if (isErrno(error, "ENOTDIR")) return undefined;
      throw error;
    }
  },
  list: (path) => fs.readdirSync(native(path), { encoding: "buffer" }),
  readFile: (path) => fs.readFileSync(native(path)),
  readText: (path) => fs.readFileSync(native(path), "utf8"),
  readTextIfAny: (path) => {
    try {
      return fs.readFileSync(native(path), "utf8");
    } catch (error) {
      if (isErrno(error, "ENOENT")) return undefined;
      throw error;
    }
  },
  readLink: (path) => fs.readlinkSync(native(path), { encoding: "buffer" }),
  writeFile: (path, data, mode = 0o644) => fs.writeFileSync(native(path), data, { mode }),
  append: (path, data) => fs.appendFileSync(native(path), data),
  makeDirectory: (path, options = {}) => {
    fs.mkdirSync(native(path), { mode: options.mode ?? 0o755, recursive: options.parents ?? false });
  },
  makeTemporaryDirectory: (prefix) => fs.mkdtempSync(prefix),
  symlink: (target, path) => fs.symlinkSync(native(target), native(path)),
  hardLink: (existing, path) => fs.linkSync(native(existing), native(path)),
  rename: (from, to) => fs.renameSync(native(from), native(to)),
  unlink: (path) => fs.unlinkSync(native(path)),
  removeDirectory: (path) => fs.rmdirSync(native(path)),
  removeTree: (path) => removeTree(native(path)),
  removeTreeBeside: async (path) => {
    try {
      await fs.promises.rm(native(path), { recursive: true, force: true });
    } catch {
      // Read-only directories stop it where the caller is not root; what is left, or cannot be removed at all, shows here.
      removeTree(native(path));
    }
  },
  chmod: (path, mode) => fs.chmodSync(native(path), mode),
  chown: (path, uid, gid) => fs.lchownSync(native(path), uid, gid),
  setTimes: (path, timeMs) => fs.lutimesSync(native(path), timeMs / 1000, timeMs / 1000),
  open: (path, flags, mode = 0o644) => fs.openSync(native(path), OPEN_FLAGS[flags], mode),
  read: (descriptor, into, offset) => fs.readSync(descriptor, into, 0, into.byteLength, offset),
  write: (descriptor, data) => {
    let written = 0;
    while (written < data.byteLength) written += fs.writeSync(descriptor, data, written, data.byteLength - written);
    return written;
  },
  writeBeside: writeAllAt,
  writeNewBeside: (path, data, mode) => fs.promises.writeFile(native(path), data, { mode, flag: "wx" }),
  createBeside: (path, mode) => createBeside(native(path), mode),
  copyRange,
  nextData,
  endOf,
  clearRange,
  forgetCached,
  syncBeside: (descriptor) =>
    new Promise((resolve, reject) => fs.fsync(descriptor, (error) => (error === null ? resolve() : reject(error)))),
  close: (descriptor) => fs.closeSync(descriptor),
  truncate: (descriptor, sizeBytes) => fs.ftruncateSync(descriptor, sizeBytes),
  sync: (path) => {
    const descriptor = fs.openSync(native(path), "r");
    try {
      fs.fsyncSync(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
  },
  syncFileSystem: (path) => syncFileSystemOf(native(path)),
  space: (path) => {
    const { bavail, blocks, bsize } = fs.statfsSync(native(path));
    // FreeBSD counts below zero when only the reserve of root is left; read as unsigned that is a huge number.
    const free = bavail < 0 || bavail > blocks ? 0 : bavail;
    return { freeBytes: free * bsize, totalBytes: blocks * bsize };
  },
  exists: (path) => fs.existsSync(native(path)),
  realPath: (path) => fs.realpathSync(path),
};
