/**
 * One tree out of many parts: the profile that `/usr` and its like stand for. Pure.
 *
 * A directory that only one part has becomes one symlink to it, however much is below; where several meet, a directory is made and
 * what is in it is linked. A symlink of a part keeps its target, which means the same in the merged tree, unless it climbs out of it.
 * Two parts that bring something else at one path are an error.
 */
import { Problem } from "../base/index.ts";
import { ABOUT } from "../world/index.ts";
import type { Part, PlannedEntry, PlannedTree } from "./types.ts";

interface Node {
  /** Parts that have a directory here. */
  readonly directories: Part[];
  readonly children: Map<string, Node>;
  /** Something the part has here was left out. */
  isCut: boolean;
  leaf: { readonly part: Part; readonly target: string; readonly isLink: boolean } | undefined;
}

export interface Conflict {
  readonly path: string;
  readonly parts: readonly [string, string];
}

function newNode(): Node {
  return { directories: [], children: new Map(), isCut: false, leaf: undefined };
}

/**
 * `isOutside` says which paths (in the system, without a slash in front) have no place in a profile: what is copied to the root, or
 * belongs to another profile.
 * @throws Problem E_FILE_CONFLICT, which names both parts and each path
 */
export function planProfile(parts: readonly Part[], isOutside: (path: string, part: Part) => boolean): PlannedTree {
  const root = newNode();
  const conflicts: Conflict[] = [];
  for (const part of parts) addPart(root, part, isOutside, conflicts);
  if (conflicts.length > 0) throw conflictProblem(conflicts);
  const tree = new Map<string, PlannedEntry>();
  // The root itself is always made: it is the profile.
  for (const [name, child] of sortedChildren(root)) emit(child, name, tree);
  return tree;
}

function sortedChildren(node: Node): readonly (readonly [string, Node])[] {
  return [...node.children].toSorted(([left], [right]) => (left < right ? -1 : 1));
}

function addPart(root: Node, part: Part, isOutside: (path: string, part: Part) => boolean, conflicts: Conflict[]): void {
  const prefix = part.prefix === "" ? [] : part.prefix.split("/");
  let top = root;
  for (const name of prefix) {
    top = childOf(top, name);
    // A directory above the part's own root belongs to nobody: it is made.
  }
  if (prefix.length > 0) top.directories.push(part);
  const nodes = new Map<string, Node>([["", top]]);
  for (const entry of part.listing) {
    if (entry.path === ABOUT || entry.path.startsWith(`${ABOUT}/`)) continue;
    const inSystem = part.prefix === "" ? entry.path : `${part.prefix}/${entry.path}`;
    const cut = entry.path.lastIndexOf("/");
    const parent = nodes.get(entry.path.slice(0, Math.max(cut, 0)));
    if (parent === undefined) continue;
    if (isOutside(inSystem, part)) {
      parent.isCut = true;
      continue;
    }
    const node = childOf(parent, entry.path.slice(cut + 1));
    if (entry.type === "directory") {
      if (node.leaf !== undefined) conflicts.push({ path: inSystem, parts: [node.leaf.part.name, part.name] });
      node.directories.push(part);
      nodes.set(entry.path, node);
      continue;
    }
    const isLink = entry.type === "symlink" && !climbsOut(entry.path, entry.target ?? "");
    const target = isLink ? (entry.target ?? "") : `${part.path}/${entry.path}`;
    const other = node.leaf?.part ?? node.directories[0];
    if (other === undefined) node.leaf = { part, target, isLink };
    else if (node.leaf === undefined || !isLink || node.leaf.target !== target)
      conflicts.push({ path: inSystem, parts: [other.name, part.name] });
  }
}

function childOf(node: Node, name: string): Node {
  const known = node.children.get(name);
  if (known !== undefined) return known;
  const fresh = newNode();
  node.children.set(name, fresh);
  return fresh;
}

function climbsOut(path: string, target: string): boolean {
  if (target.startsWith("/")) return false;
  let depth = path.split("/").length - 1;
  for (const part of target.split("/")) {
    if (part === "..") depth -= 1;
    else if (part !== "" && part !== ".") depth += 1;
    if (depth < 0) return true;
  }
  return false;
}

function emit(node: Node, path: string, tree: Map<string, PlannedEntry>): void {
  if (node.leaf !== undefined) {
    tree.set(path, { type: "symlink", target: node.leaf.target });
    return;
  }
  const [only, ...more] = node.directories;
  if (only !== undefined && more.length === 0 && isWholly(node, only)) {
    const below = only.prefix === "" ? path : path.slice(only.prefix.length + 1);
    tree.set(path, { type: "symlink", target: below === "" ? only.path : `${only.path}/${below}` });
    return;
  }
  tree.set(path, { type: "directory" });
  for (const [name, child] of sortedChildren(node)) emit(child, `${path}/${name}`, tree);
}

/** Whether everything below is of this part, and nothing of what the part has there was left out. */
function isWholly(node: Node, part: Part): boolean {
  if (node.isCut) return false;
  for (const child of node.children.values()) {
    if (child.leaf !== undefined ? child.leaf.part !== part : child.directories.some((each) => each !== part)) return false;
    if (child.leaf === undefined && child.directories.length === 0) return false;
    if (child.leaf === undefined && !isWholly(child, part)) return false;
  }
  return true;
}

const SHOWN = 20;

/** Of at least one. */
export function conflictProblem(conflicts: readonly Conflict[]): Problem {
  const [first] = conflicts;
  const [left = "", right = ""] = first?.parts ?? [];
  const details = conflicts.slice(0, SHOWN).map(({ path, parts }) => `/${path}: ${parts[0]} and ${parts[1]}`);
  if (conflicts.length > SHOWN) details.push(`and ${conflicts.length - SHOWN} more`);
  return new Problem({
    code: "E_FILE_CONFLICT",
    message: `${left} and ${right} both bring /${first?.path ?? ""}`,
    details,
    hint: "leave one of the two out, or cut the path from a slice with `prune`",
    exit: 2,
  });
}
