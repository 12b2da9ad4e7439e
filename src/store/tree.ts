/** Trees as they lie on disk, listed depth first with names sorted by their bytes: the order of a NAR. */
import { Problem } from "../base/index.ts";
import type { Files, PathLike, Stat } from "../host/index.ts";

export interface TreeEntry {
  readonly path: PathLike;
  /** As it lies on disk; empty for the root. */
  readonly name: Uint8Array;
  /** As the archive is to say it; differs from `name` only where a hash inside it is being replaced. */
  readonly shown: Uint8Array;
  readonly parent: TreeEntry | undefined;
  readonly depth: number;
  readonly type: "file" | "directory" | "symlink";
  readonly stat: Stat;
  /** Of a symlink. */
  readonly target: Uint8Array | undefined;
}

export interface WalkOptions {
  /** Relative path and type; false leaves the entry and what is below it out. */
  readonly filter?: (relative: string, type: TreeEntry["type"]) => boolean;
  /** Called with each directory before it is listed, for a tree whose modes may shut its owner out. */
  readonly unlock?: (path: PathLike, stat: Stat) => void;
  readonly rename?: (name: Uint8Array) => Uint8Array;
}

const NO_NAME = new Uint8Array();

/** A name inside a directory, as text where its bytes are UTF-8. */
export function joinPath(parent: PathLike, name: Uint8Array): PathLike {
  const bytes = Buffer.from(name.buffer, name.byteOffset, name.byteLength);
  if (typeof parent === "string") {
    const text = bytes.toString("utf8");
    // The replacement character marks bytes that are not UTF-8 (or, rarely, stands for itself: bytes serve then too).
    if (!text.includes("\ufffd")) return `${parent}/${text}`;
  }
  return Buffer.concat([Buffer.from(parent), Buffer.from("/"), bytes]);
}

export function shownPath(path: PathLike): string {
  return typeof path === "string" ? path : Buffer.from(path).toString("utf8");
}

/** `bin/hello`; the root itself is `.`. */
export function relativeName(entry: TreeEntry): string {
  const names: string[] = [];
  for (let at: TreeEntry | undefined = entry; at?.parent !== undefined; at = at.parent) {
    names.unshift(Buffer.from(at.name).toString("utf8"));
  }
  return names.length === 0 ? "." : names.join("/");
}

function entryType(stat: Stat, path: PathLike): TreeEntry["type"] {
  if (stat.type === "file" || stat.type === "directory" || stat.type === "symlink") return stat.type;
  const kind = stat.type === "character" || stat.type === "block" ? `a ${stat.type} device` : `a ${stat.type}`;
  throw new Problem({
    code: "E_BAD_FILE_TYPE",
    message: `${shownPath(path)} is ${kind}; a store item holds regular files, directories and symbolic links only`,
    where: shownPath(path),
    hint: "remove it in the install phase, or leave it out with a filter",
  });
}

/** @throws Problem E_BAD_FILE_TYPE for anything but files, directories and symlinks */
export function walk(files: Files, root: PathLike, options: WalkOptions = {}): TreeEntry[] {
  const entries: TreeEntry[] = [];
  const visit = (path: PathLike, name: Uint8Array, shown: Uint8Array, parent: TreeEntry | undefined, relative: string): void => {
    const stat = files.lstat(path);
    if (options.filter !== undefined && parent !== undefined && stat.type !== "fifo" && stat.type !== "socket") {
      if (stat.type !== "character" && stat.type !== "block" && !options.filter(relative, stat.type)) return;
    }
    const type = entryType(stat, path);
    const target = type === "symlink" ? files.readLink(path) : undefined;
    const entry: TreeEntry = {
      path,
      name,
      shown,
      parent,
      depth: parent === undefined ? 0 : parent.depth + 1,
      type,
      stat,
      target,
    };
    entries.push(entry);
    if (type !== "symlink") options.unlock?.(path, stat);
    if (type !== "directory") return;
    const names = files.list(path).map((name) => ({ name, shown: options.rename?.(name) ?? name }));
    names.sort((a, b) => Buffer.compare(a.shown, b.shown));
    for (const child of names) {
      const below =
        options.filter === undefined ? "" : `${relative === "" ? "" : `${relative}/`}${Buffer.from(child.name).toString("utf8")}`;
      visit(joinPath(path, child.name), child.name, child.shown, entry, below);
    }
  };
  visit(root, NO_NAME, NO_NAME, undefined, "");
  return entries;
}

export function isExecutable(entry: TreeEntry): boolean {
  return (entry.stat.mode & 0o100) !== 0;
}
