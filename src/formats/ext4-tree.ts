/**
 * The entries of an ext4 file system as inodes: each numbered in the order given, with what it contains and how often it is
 * linked. What no ext4 can hold is refused here, before anything has a place.
 */
import { Problem } from "../base/index.ts";
import { contentBytes, type FileSystemEntry } from "./blocks.ts";
import { BLOCK, FIRST_INODE, KINDS, ROOT_INODE } from "./ext4-format.ts";

export type NodeEntry = Exclude<FileSystemEntry, { readonly type: "hardlink" }>;

/** A name in a directory. */
export interface Child {
  readonly name: Uint8Array;
  readonly inode: number;
  /** The file type byte of the directory entry. */
  readonly kind: number;
}

export interface TreeNode {
  readonly inode: number;
  readonly entry: NodeEntry;
  /** Of names for it; a directory's `.` and its directories' `..` count. */
  readonly links: number;
  /** Of a directory: the inode of its `..`. */
  readonly parent: number;
  readonly children: readonly Child[];
}

export interface Tree {
  /** By inode: the root first, lost+found second, then from 12 on without a gap. */
  readonly nodes: readonly TreeNode[];
  readonly lastInode: number;
}

export const LOST_AND_FOUND = "lost+found";
const MAXIMUM_NAME_BYTES = 255;
const MAXIMUM_TARGET_BYTES = BLOCK - 1;
/** EXT4_LINK_MAX. A directory with more says 1, which means that nobody counts (dir_nlink); a file cannot have more. */
const MAXIMUM_LINKS = 65000;
/** What an extent tree of one level describes wherever its blocks lie. */
const MAXIMUM_FILE_BYTES = 128 * 2 ** 30;
const MAXIMUM_ID = 0xfffffffe;
const EARLIEST_SECONDS = -(2 ** 31);
/** 2310-04-04: the two extra bits could say more, but e2fsck takes that for a time before 1970 from an old kernel. */
export const LATEST_SECONDS = 2 ** 33 + 2 ** 31 - 1;
const NOT_A_NAME = /(?:^|\/)\.{0,2}(?:\/|$)/;

const NO_CHILDREN: readonly Child[] = [];
const encoder = new TextEncoder();

interface Growing {
  inode: number;
  readonly entry: FileSystemEntry;
  /** undefined for the root, which is its own. */
  readonly parent: Growing | undefined;
  links: number;
  readonly children: Named[];
}

interface Named {
  readonly name: Uint8Array;
  readonly of: Growing;
}

/**
 * @param timeSeconds of directories that nobody listed
 * @throws Problem E_BAD_TREE
 */
export function planTree(entries: readonly FileSystemEntry[], timeSeconds: number): Tree {
  const listed = new Map<string, FileSystemEntry>();
  for (const entry of entries) {
    checkEntry(entry);
    if (listed.has(entry.path)) throw bad(entry.path, "is there twice");
    listed.set(entry.path, entry);
  }

  const made = new Map<string, Growing>();
  const root = growing(listed.get("") ?? directory("", 0o755, timeSeconds), undefined);
  if (root.entry.type !== "directory") throw bad("", `is a ${root.entry.type}, and the root has to be a directory`);
  made.set("", root);

  const add = (entry: FileSystemEntry): void => {
    if (made.has(entry.path)) return;
    const above = parentPath(entry.path);
    let parent = made.get(above);
    if (parent === undefined) {
      // A loop, not a recursion: paths may be thousands deep.
      const missing: string[] = [];
      for (let path = above; !made.has(path); path = parentPath(path)) missing.push(path);
      for (const path of missing.toReversed()) {
        parent = attach(listed.get(path) ?? directory(path, 0o755, timeSeconds), made.get(parentPath(path)));
        made.set(path, parent);
      }
    }
    made.set(entry.path, attach(entry, parent));
  };
  add(listed.get(LOST_AND_FOUND) ?? directory(LOST_AND_FOUND, 0o700, timeSeconds));
  const saved = made.get(LOST_AND_FOUND);
  if (saved === undefined || saved.entry.type !== "directory")
    throw bad(LOST_AND_FOUND, "has to be a directory: e2fsck puts there what it finds");
  for (const entry of entries) add(entry);

  return numbered(made, root);
}

function attach(entry: FileSystemEntry, parent: Growing | undefined): Growing {
  if (parent === undefined) throw new Error(`${entry.path} has no parent`);
  if (parent.entry.type !== "directory")
    throw bad(entry.path, `lies in ${parent.entry.path}, which is a ${parent.entry.type} and not a directory`);
  const name = encoder.encode(entry.path.slice(entry.path.lastIndexOf("/") + 1));
  if (name.length > MAXIMUM_NAME_BYTES)
    throw bad(entry.path, `has a name of ${name.length} bytes; ${MAXIMUM_NAME_BYTES} are allowed`);
  const node = growing(entry, parent);
  parent.children.push({ name, of: node });
  return node;
}

/** Inode numbers and link counts; names that are hard links then stand for the inode they name. */
function numbered(made: ReadonlyMap<string, Growing>, root: Growing): Tree {
  const nodes: { readonly node: Growing; readonly entry: NodeEntry }[] = [];
  let next = FIRST_INODE;
  for (const node of made.values()) {
    const { entry } = node;
    if (entry.type === "hardlink") continue;
    if (node === root) node.inode = ROOT_INODE;
    else {
      node.inode = next;
      next += 1;
      if (entry.type === "directory" && node.parent !== undefined) node.parent.links += 1;
    }
    nodes.push({ node, entry });
  }
  const targets = new Map<Growing, Growing>();
  for (const node of made.values()) {
    if (node.entry.type !== "hardlink") continue;
    const target = linked(made, node.entry);
    targets.set(node, target);
    target.links += 1;
    if (target.links > MAXIMUM_LINKS)
      throw bad(target.entry.path, `has more than ${MAXIMUM_LINKS} names, which ext4 cannot count`);
  }
  const child = ({ name, of }: Named): Child => {
    const target = targets.get(of) ?? of;
    const { type } = target.entry;
    return { name, inode: target.inode, kind: type === "hardlink" ? 0 : KINDS[type].entry };
  };
  return {
    lastInode: next - 1,
    nodes: nodes.map(({ node, entry }) => ({
      inode: node.inode,
      entry,
      links: node.links > MAXIMUM_LINKS ? 1 : node.links,
      parent: node.parent?.inode ?? ROOT_INODE,
      children: node.children.length === 0 ? NO_CHILDREN : node.children.map(child),
    })),
  };
}

/** What a hard link is another name for, through links to links. */
function linked(made: ReadonlyMap<string, Growing>, link: FileSystemEntry): Growing {
  const seen = new Set<FileSystemEntry>();
  for (let entry = link; ;) {
    if (entry.type !== "hardlink") throw new Error(`${entry.path} is not a hard link`);
    if (seen.has(entry)) throw bad(link.path, "is a hard link that leads back to itself");
    seen.add(entry);
    const target = made.get(entry.target);
    if (target === undefined) throw bad(link.path, `is a hard link to ${entry.target}, which is not there`);
    if (target.entry.type === "directory") throw bad(link.path, `is a hard link to ${entry.target}, which is a directory`);
    if (target.entry.type !== "hardlink") return target;
    ({ entry } = target);
  }
}

function parentPath(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf("/"), 0));
}

function growing(entry: FileSystemEntry, parent: Growing | undefined): Growing {
  return { inode: 0, entry, parent, links: entry.type === "directory" ? 2 : 1, children: [] };
}

function directory(path: string, mode: number, timeSeconds: number): FileSystemEntry {
  return { type: "directory", path, mode, uid: 0, gid: 0, timeSeconds };
}

function checkEntry(entry: FileSystemEntry): void {
  const { path } = entry;
  if (path !== "" && NOT_A_NAME.test(path)) throw bad(path, "has a part that is empty, . or ..");
  if (path.includes("\0")) throw bad(path, "has a NUL in it");
  if (!path.isWellFormed()) throw bad(path, "is not Unicode: half of a surrogate pair");
  within(entry, "mode", entry.mode, 0, 0o7777);
  within(entry, "uid", entry.uid, 0, MAXIMUM_ID);
  within(entry, "gid", entry.gid, 0, MAXIMUM_ID);
  within(entry, "time", entry.timeSeconds, EARLIEST_SECONDS, LATEST_SECONDS);
  switch (entry.type) {
    case "symlink":
      checkTarget(entry.path, entry.target);
      break;
    case "file":
      within(entry, "size", contentBytes(entry.content), 0, MAXIMUM_FILE_BYTES);
      break;
    case "character":
    case "block":
      within(entry, "major number", entry.major, 0, 0xfff);
      within(entry, "minor number", entry.minor, 0, 0xfffff);
      break;
    case "directory":
    case "fifo":
    case "hardlink":
      break;
  }
}

function checkTarget(path: string, target: string): void {
  if (target === "") throw bad(path, "is a symbolic link to nothing");
  if (target.includes("\0")) throw bad(path, "is a symbolic link with a NUL in its target");
  if (!target.isWellFormed()) throw bad(path, "is a symbolic link whose target is not Unicode");
  // No character is more than three bytes a unit: most targets need not be encoded to be measured.
  if (3 * target.length <= MAXIMUM_TARGET_BYTES) return;
  const { length } = encoder.encode(target);
  if (length > MAXIMUM_TARGET_BYTES)
    throw bad(path, `is a symbolic link with a target of ${length} bytes; ${MAXIMUM_TARGET_BYTES} are allowed`);
}

function within(entry: FileSystemEntry, what: string, value: number, least: number, most: number): void {
  if (!Number.isSafeInteger(value) || value < least || value > most)
    throw bad(entry.path, `has a ${what} of ${value}; ${least} to ${most} is what can be said`);
}

export function bad(path: string, what: string): Problem {
  return new Problem({
    code: "E_BAD_TREE",
    message: `planning an ext4 file system: ${path === "" ? "the root" : JSON.stringify(path)} ${what}`,
    hint: "look at what put this entry into the tree",
  });
}
