/** The root of a system outside an image: as text, and as a tree of this machine. */
import { Problem } from "../base/index.ts";
import { contentBytes, type FileSystemEntry, type MtreeEntry, renderMtree } from "../formats/index.ts";
import { isErrno } from "../host/index.ts";
import { renderRootMtree, type RootPlan } from "../system/index.ts";
import type { ComposedSystem } from "./closure.ts";
import type { ComposeContext } from "./context.ts";
import { copyFile } from "./copy.ts";

const MTREE_TYPES = {
  directory: "dir",
  file: "file",
  symlink: "link",
  character: "char",
  block: "block",
  fifo: "fifo",
} as const;

/**
 * mtree(5), sorted by path. The ESP is not in it: it is another file system. For FreeBSD it says where the bytes of each file are, by
 * its path in the store: makefs(8) makes a file system of that.
 */
export function rootText({ root: { entries }, spec }: Pick<ComposedSystem, "root" | "spec">): string {
  if (spec.family === "freebsd") return renderRootMtree(entries);
  const byPath = new Map(entries.map((entry) => [entry.path, entry]));
  const lines = [...entries]
    .toSorted((left, right) => (left.path < right.path ? -1 : 1))
    .map((entry): MtreeEntry => {
      const { path, mode, uid, gid } = entry;
      const about = { path, mode, uid, gid };
      if (entry.type === "hardlink") return { ...about, type: "file", ...sizeOf(byPath.get(entry.target)) };
      if (entry.type === "symlink") return { ...about, type: "link", link: entry.target };
      const type = MTREE_TYPES[entry.type];
      if (entry.type === "character" || entry.type === "block")
        return { ...about, type, device: { major: entry.major, minor: entry.minor } };
      return { ...about, type, ...sizeOf(entry) };
    });
  return renderMtree(lines);
}

function sizeOf(entry: FileSystemEntry | undefined): Pick<MtreeEntry, "sizeBytes"> {
  return entry?.type === "file" ? { sizeBytes: contentBytes(entry.content) } : {};
}

export interface WrittenRoot {
  readonly entries: number;
  readonly contentBytes: number;
  /** Whether files have their owners: only root may give files away. */
  readonly owned: boolean;
}

/**
 * `directory` is made when it is not there. Modes with set-id bits are given only together with their owners.
 *
 * @throws Problem E_NOT_EMPTY (exit 2), E_INTERRUPTED with what was written left behind
 */
export function writeRoot(
  { host, store }: Pick<ComposeContext, "host" | "store">,
  { entries }: Pick<RootPlan, "entries">,
  directory: string,
  signal?: AbortSignal,
): WrittenRoot {
  const { files } = host;
  claimEmpty(host, directory);
  const owned = host.isRoot;
  const at = (path: string): string => (path === "" ? directory : `${directory}/${path}`);
  const settle = ({ path, type, mode, uid, gid, timeSeconds }: FileSystemEntry): void => {
    if (owned) files.chown(at(path), uid, gid);
    // After the owner: giving a file away takes its set-id bits.
    if (type !== "symlink") files.chmod(at(path), owned ? mode : mode & 0o1777);
    files.setTimes(at(path), timeSeconds * 1000);
  };
  let bytes = 0;
  for (const entry of entries) {
    signal?.throwIfAborted();
    const to = at(entry.path);
    switch (entry.type) {
      case "directory":
        // Its own mode and time come last: it is written into.
        files.makeDirectory(to, { parents: true });
        continue;
      case "symlink":
        files.symlink(entry.target, to);
        break;
      case "hardlink":
        files.hardLink(at(entry.target), to);
        continue;
      case "file":
        if (entry.content.kind === "bytes") files.writeFile(to, entry.content.bytes);
        else copyFile(host, `${store.directory}${entry.content.file.slice("/frx/store".length)}`, to);
        bytes += contentBytes(entry.content);
        break;
      case "character":
      case "block":
      case "fifo":
        throw new Error(`the root of a system has no ${entry.type}, and ${entry.path} is one`);
    }
    settle(entry);
  }
  for (const entry of entries.toReversed()) if (entry.type === "directory") settle(entry);
  return { entries: entries.length, contentBytes: bytes, owned };
}

function claimEmpty({ files }: ComposeContext["host"], directory: string): void {
  try {
    files.makeDirectory(directory, { parents: true });
    if (files.list(directory).length === 0) return;
  } catch (error) {
    if (!isErrno(error, "ENOTDIR", "EEXIST")) throw error;
  }
  throw new Problem({
    code: "E_NOT_EMPTY",
    message: `writing a root to ${directory}: it is not an empty directory`,
    where: directory,
    hint: "name one that is empty, or not there yet",
    exit: 2,
  });
}
