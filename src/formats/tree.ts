/**
 * The entries of a file system as inodes: each numbered in the order given, with what it contains and how often it is linked. What the
 * file system cannot hold is refused here, before anything has a place.
 */
import { Problem } from "../base/index.ts";
import { contentBytes, type FileSystemEntry } from "./blocks.ts";

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

/** What one kind of file system can say. */
export interface TreeRules {
  /** "an ext4 file system" */
  readonly what: string;
  readonly rootInode: number;
  /** Of the first entry besides the root; from there on without a gap. */
  readonly firstInode: number;
  /** A directory that there always is, first of all. */
  readonly required?: { readonly path: string; readonly mode: number; readonly why: string };
  /** The type byte of a directory's entry; 0 for what the file system does not hold. */
  readonly kindOf: (type: NodeEntry["type"]) => number;
  /** Default 255. */
  readonly nameMaxBytes?: number;
  readonly targetMaxBytes: number;
  readonly fileMaxBytes: number;
  readonly linksMax: number;
  /** A directory with more links than that says 1, which means that nobody counts. Without it it is refused. */
  readonly manyDirectories?: true;
  readonly secondsMin: number;
  readonly secondsMax: number;
  readonly majorMax: number;
  readonly minorMax: number;
  /** Why there are no devices in it, where there are none. */
  readonly noDevices?: string;
}

export interface Tree {
  /** By inode: the root first, then from `firstInode` on without a gap. */
  readonly nodes: readonly TreeNode[];
  readonly lastInode: number;
}

const MAXIMUM_NAME_BYTES = 255;
const MAXIMUM_ID = 0xfffffffe;
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
export function planEntries(entries: readonly FileSystemEntry[], timeSeconds: number, rules: TreeRules): Tree {
  const bad = (path: string, what: string): Problem => refusedEntry(rules, path, what);
  const listed = new Map<string, FileSystemEntry>();
  for (const entry of entries) {
    checkEntry(entry, rules);
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
        parent = attach(listed.get(path) ?? directory(path, 0o755, timeSeconds), made.get(parentPath(path)), rules);
        made.set(path, parent);
      }
    }
    made.set(entry.path, attach(entry, parent, rules));
  };
  const { required } = rules;
  if (required !== undefined) {
    add(listed.get(required.path) ?? directory(required.path, required.mode, timeSeconds));
    if (made.get(required.path)?.entry.type !== "directory") throw bad(required.path, `has to be a directory: ${required.why}`);
  }
  for (const entry of entries) add(entry);

  return numbered(made, root, rules);
}

function attach(entry: FileSystemEntry, parent: Growing | undefined, rules: TreeRules): Growing {
  const bad = (path: string, what: string): Problem => refusedEntry(rules, path, what);
  if (parent === undefined) throw new Error(`${entry.path} has no parent`);
  if (parent.entry.type !== "directory")
    throw bad(entry.path, `lies in ${parent.entry.path}, which is a ${parent.entry.type} and not a directory`);
  const name = encoder.encode(entry.path.slice(entry.path.lastIndexOf("/") + 1));
  const { nameMaxBytes = MAXIMUM_NAME_BYTES } = rules;
  if (name.length > nameMaxBytes) throw bad(entry.path, `has a name of ${name.length} bytes; ${nameMaxBytes} are allowed`);
  const node = growing(entry, parent);
  parent.children.push({ name, of: node });
  return node;
}

/** Inode numbers and link counts; names that are hard links then stand for the inode they name. */
function numbered(made: ReadonlyMap<string, Growing>, root: Growing, rules: TreeRules): Tree {
  const bad = (path: string, what: string): Problem => refusedEntry(rules, path, what);
  const nodes: { readonly node: Growing; readonly entry: NodeEntry }[] = [];
  let next = rules.firstInode;
  for (const node of made.values()) {
    const { entry } = node;
    if (entry.type === "hardlink") continue;
    if (node === root) node.inode = rules.rootInode;
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
    const target = linked(made, node.entry, rules);
    targets.set(node, target);
    target.links += 1;
    if (target.links > rules.linksMax)
      throw bad(target.entry.path, `has more than ${rules.linksMax} names, which it cannot count`);
  }
  for (const { node } of nodes) {
    if (node.links <= rules.linksMax || rules.manyDirectories === true) continue;
    throw bad(node.entry.path, `has more than ${rules.linksMax - 2} directories in it, which it cannot count`);
  }
  const child = ({ name, of }: Named): Child => {
    const target = targets.get(of) ?? of;
    const { type } = target.entry;
    return { name, inode: target.inode, kind: type === "hardlink" ? 0 : rules.kindOf(type) };
  };
  return {
    lastInode: next - 1,
    nodes: nodes.map(({ node, entry }) => ({
      inode: node.inode,
      entry,
      links: node.links > rules.linksMax ? 1 : node.links,
      parent: node.parent?.inode ?? rules.rootInode,
      children: node.children.length === 0 ? NO_CHILDREN : node.children.map(child),
    })),
  };
}

/** What a hard link is another name for, through links to links. */
function linked(made: ReadonlyMap<string, Growing>, link: FileSystemEntry, rules: TreeRules): Growing {
  const bad = (path: string, what: string): Problem => refusedEntry(rules, path, what);
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

function checkEntry(entry: FileSystemEntry, rules: TreeRules): void {
  const { path } = entry;
  const bad = (what: string): Problem => refusedEntry(rules, path, what);
  const within = (what: string, value: number, least: number, most: number): void => {
    if (!Number.isSafeInteger(value) || value < least || value > most)
      throw bad(`has a ${what} of ${value}; ${least} to ${most} is what can be said`);
  };
  if (path !== "" && NOT_A_NAME.test(path)) throw bad("has a part that is empty, . or ..");
  if (path.includes("\0")) throw bad("has a NUL in it");
  if (!path.isWellFormed()) throw bad("is not Unicode: half of a surrogate pair");
  within("mode", entry.mode, 0, 0o7777);
  within("uid", entry.uid, 0, MAXIMUM_ID);
  within("gid", entry.gid, 0, MAXIMUM_ID);
  within("time", entry.timeSeconds, rules.secondsMin, rules.secondsMax);
  switch (entry.type) {
    case "symlink": {
      const fault = targetFault(entry.target, rules.targetMaxBytes);
      if (fault !== undefined) throw bad(fault);
      break;
    }
    case "file":
      within("size", contentBytes(entry.content), 0, rules.fileMaxBytes);
      break;
    case "character":
    case "block":
      if (rules.noDevices !== undefined) throw bad(`is a ${entry.type} device: ${rules.noDevices}`);
      within("major number", entry.major, 0, rules.majorMax);
      within("minor number", entry.minor, 0, rules.minorMax);
      break;
    case "directory":
    case "fifo":
    case "hardlink":
      break;
  }
}

function targetFault(target: string, maximumBytes: number): string | undefined {
  if (target === "") return "is a symbolic link to nothing";
  if (target.includes("\0")) return "is a symbolic link with a NUL in its target";
  if (!target.isWellFormed()) return "is a symbolic link whose target is not Unicode";
  // No character is more than three bytes a unit: most targets need not be encoded to be measured.
  if (3 * target.length <= maximumBytes) return undefined;
  const { length } = encoder.encode(target);
  return length > maximumBytes ? `is a symbolic link with a target of ${length} bytes; ${maximumBytes} are allowed` : undefined;
}

function refusedEntry({ what }: TreeRules, path: string, fault: string): Problem {
  return new Problem({
    code: "E_BAD_TREE",
    message: `planning ${what}: ${path === "" ? "the root" : JSON.stringify(path)} ${fault}`,
    hint: "look at what put this entry into the tree",
  });
}
