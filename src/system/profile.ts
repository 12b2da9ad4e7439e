/**
 * One tree out of many parts: the profile that `/usr` and its like stand for. Pure.
 *
 * A directory that only one part has becomes one symlink to it, however much is below; where several meet, a directory is made and
 * what is in it is linked. A symlink of a part keeps its target and leads to what is there in the merged tree: a directory with one
 * that would lead to something else from inside its part is made as well. One that leads to what is not in a profile (`../etc/x`)
 * becomes absolute, one that climbs out of its part stays the part's own. Two parts that bring something else at one path are an error.
 */
import { Problem } from "../base/index.ts";
import { ABOUT, type ListedEntry } from "../world/index.ts";
import type { Part, PlannedEntry, PlannedTree } from "./types.ts";

interface Node {
  /** Parts that have a directory here. */
  readonly directories: Part[];
  readonly children: Map<string, Node>;
  /** The first part whose root lies here or below. */
  madeFor: Part | undefined;
  /** Something the part has here was left out. */
  isCut: boolean;
  leaf: Leaf | undefined;
}

interface Leaf {
  readonly part: Part;
  readonly target: string;
  /** own: a file, or a link that is read in its part. kept: a link read where it is put. changed: the same, with a target made absolute. */
  readonly kind: "own" | "kept" | "changed";
}

export interface Conflict {
  readonly path: string;
  readonly parts: readonly [string, string];
}

function newNode(): Node {
  return { directories: [], children: new Map(), madeFor: undefined, isCut: false, leaf: undefined };
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
  for (const [name, child] of sortedChildren(root)) emit([root, child], name, tree);
  return tree;
}

function sortedChildren(node: Node): readonly (readonly [string, Node])[] {
  return [...node.children].toSorted(([left], [right]) => (left < right ? -1 : 1));
}

function addPart(root: Node, part: Part, isOutside: (path: string, part: Part) => boolean, conflicts: Conflict[]): void {
  let top = root;
  let above = "";
  for (const name of partsOf(part.prefix)) {
    top = childOf(top, name);
    above = above === "" ? name : `${above}/${name}`;
    // A directory above the part's own root belongs to nobody: it is made.
    top.madeFor ??= part;
    if (top.leaf !== undefined) conflicts.push({ path: above, parts: [top.leaf.part.name, part.name] });
  }
  if (top !== root) top.directories.push(part);
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
    const leaf = leafOf(entry, part, isOutside);
    const other = node.leaf?.part ?? node.directories[0] ?? node.madeFor;
    if (other === undefined) node.leaf = leaf;
    else if (node.leaf === undefined || leaf.kind === "own" || node.leaf.target !== leaf.target)
      conflicts.push({ path: inSystem, parts: [other.name, part.name] });
  }
}

function leafOf(entry: ListedEntry, part: Part, isOutside: (path: string, part: Part) => boolean): Leaf {
  const { path, type, target = "" } = entry;
  if (type === "symlink" && target.startsWith("/")) return { part, target, kind: "kept" };
  const place = type === "symlink" ? placeOf(path, target) : undefined;
  if (place === undefined) return { part, target: `${part.path}/${path}`, kind: "own" };
  const inSystem = [part.prefix, place].filter((each) => each !== "").join("/");
  // The root of the system has more than the profile.
  return inSystem === "" || isOutside(inSystem, part)
    ? { part, target: `/${inSystem}`, kind: "changed" }
    : { part, target, kind: "kept" };
}

function childOf(node: Node, name: string): Node {
  const known = node.children.get(name);
  if (known !== undefined) return known;
  const fresh = newNode();
  node.children.set(name, fresh);
  return fresh;
}

/** Where a relative link leads, read as text. undefined: out of its part. */
function placeOf(path: string, target: string): string | undefined {
  const place = path.split("/").slice(0, -1);
  for (const name of partsOf(target)) {
    if (name !== "..") place.push(name);
    else if (place.pop() === undefined) return undefined;
  }
  return place.join("/");
}

function partsOf(path: string): readonly string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}

/** `trail`: the nodes from the root to the one at the path. */
function emit(trail: readonly Node[], path: string, tree: Map<string, PlannedEntry>): void {
  const node = lastOf(trail);
  if (node.leaf !== undefined) {
    tree.set(path, { type: "symlink", target: node.leaf.target });
    return;
  }
  const [only, ...more] = node.directories;
  if (only !== undefined && more.length === 0 && isWholly(node, only) && isClosed(trail, only)) {
    const below = only.prefix === "" ? path : path.slice(only.prefix.length + 1);
    tree.set(path, { type: "symlink", target: below === "" ? only.path : `${only.path}/${below}` });
    return;
  }
  tree.set(path, { type: "directory" });
  for (const [name, child] of sortedChildren(node)) emit([...trail, child], `${path}/${name}`, tree);
}

function lastOf(trail: readonly Node[]): Node {
  const node = trail.at(-1);
  if (node === undefined) throw new Error("a trail begins with the root");
  return node;
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

/** Whether each link below leads to the same, read inside the part alone. */
function isClosed(trail: readonly Node[], part: Part): boolean {
  for (const child of lastOf(trail).children.values()) {
    if (child.leaf?.kind === "changed") return false;
    if (child.leaf?.kind === "kept" && !leadsToOwn(trail, child.leaf.target, part)) return false;
    if (child.leaf === undefined && !isClosed([...trail, child], part)) return false;
  }
  return true;
}

/** As many as Linux follows. */
const LINKS = 40;

/** Whether all on the way, and all at the end, is of the part; or there is nothing at the end for anybody. */
function leadsToOwn(from: readonly Node[], target: string, part: Part): boolean {
  let trail = [...from];
  let rest = partsOf(target);
  if (target.startsWith("/")) return true;
  for (let links = 0; links < LINKS;) {
    const [name, ...more] = rest;
    const here = lastOf(trail);
    if (name === undefined) return isWholly(here, part);
    rest = more;
    if (name === "..") {
      trail = trail.length > 1 ? trail.slice(0, -1) : trail;
      continue;
    }
    const next = here.children.get(name);
    if (next === undefined) return !here.isCut;
    if (next.leaf === undefined) {
      if (!next.directories.includes(part)) return false;
      trail.push(next);
      continue;
    }
    if (next.leaf.part !== part || next.leaf.kind === "changed") return false;
    if (next.leaf.kind === "own" || next.leaf.target.startsWith("/")) return true;
    links += 1;
    rest = [...partsOf(next.leaf.target), ...rest];
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
