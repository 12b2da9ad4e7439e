/**
 * Which paths of a tree are in a slice. Pure.
 *
 * A pattern is a path relative to the root; in one of its parts `*` stands for any characters and `?` for one, and a part `**` for any
 * number of parts. It means what it matches and everything below. The directories above what is kept come along; a directory that was
 * not matched and holds nothing that is kept does not.
 */
import type { ListedEntry, SliceDeclaration } from "./types.ts";

export type PathTest = (path: string) => boolean;

/** Whether a path, or one above it, matches one of the patterns. */
export function matcher(patterns: readonly string[]): PathTest {
  const plain = new Set<string>();
  const globs: RegExp[] = [];
  for (const pattern of patterns) {
    if (/[*?]/.test(pattern)) globs.push(globExpression(pattern));
    else plain.add(pattern);
  }
  return (path) => {
    if (globs.some((glob) => glob.test(`${path}/`))) return true;
    for (let end = path.length; end > 0; end = path.lastIndexOf("/", end - 1)) if (plain.has(path.slice(0, end))) return true;
    return false;
  };
}

function globExpression(pattern: string): RegExp {
  // Of several in a row one says the same, and is not tried in every combination.
  const all = pattern.split("/").filter((part, index, list) => part !== "**" || list[index - 1] !== "**");
  const parts = all.map((part) => {
    if (part === "**") return "(?:[^/]+/)*";
    return `${part
      .replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`)
      .replaceAll("*", "[^/]*")
      .replaceAll("?", "[^/]")}/`;
  });
  return new RegExp(`^${parts.join("")}`, "u");
}

/** The entries of the slice, in the order of the listing, which has each directory before what is in it. */
export function selectEntries(
  listing: readonly ListedEntry[],
  { keep, prune }: Pick<SliceDeclaration, "keep" | "prune">,
): readonly ListedEntry[] {
  const isKept = keep.length === 0 ? () => true : matcher(keep);
  const isPruned = matcher(prune);
  const wanted = new Set<string>();
  for (const { path } of listing) {
    if (!isKept(path) || isPruned(path)) continue;
    for (let at = path; !wanted.has(at); at = at.slice(0, Math.max(at.lastIndexOf("/"), 0))) {
      wanted.add(at);
      if (!at.includes("/")) break;
    }
  }
  return listing.filter(({ path }) => wanted.has(path));
}

export interface SliceReport {
  /** Paths that lie in more than one slice, those above all of whose content does named for them. */
  readonly overlaps: readonly { readonly path: string; readonly slices: readonly string[] }[];
  /** Paths that lie in none. */
  readonly gaps: readonly string[];
}

/** How slices of one world cover it. Directories count by what is in them. */
export function compareSlices(
  listing: readonly ListedEntry[],
  slices: readonly { readonly name: string; readonly entries: readonly ListedEntry[] }[],
): SliceReport {
  const holders = new Map<string, string[]>();
  for (const { name, entries } of slices) {
    for (const { path, type } of entries) if (type !== "directory") holders.set(path, [...(holders.get(path) ?? []), name]);
  }
  const labelOf = (entry: ListedEntry): string => (holders.get(entry.path) ?? []).join(" ");
  const collapsed = collapse(listing, labelOf);
  return {
    overlaps: collapsed.flatMap(({ path, label }) => (label.includes(" ") ? [{ path, slices: label.split(" ") }] : [])),
    gaps: collapsed.flatMap(({ path, label }) => (label === "" ? [path] : [])),
  };
}

/** The highest paths below which every entry has one label. */
function collapse(
  listing: readonly ListedEntry[],
  labelOf: (entry: ListedEntry) => string,
): readonly { readonly path: string; readonly label: string }[] {
  // undefined: nothing below yet; null: several labels below.
  const below = new Map<string, string | null>();
  for (const entry of listing) {
    if (entry.type === "directory") continue;
    const label = labelOf(entry);
    for (
      let end = entry.path.lastIndexOf("/");
      end >= 0;
      end = end === 0 ? -1 : Math.max(entry.path.lastIndexOf("/", end - 1), 0)
    ) {
      const directory = entry.path.slice(0, end);
      const known = below.get(directory);
      below.set(directory, known === undefined || known === label ? label : null);
      if (end === 0) break;
    }
  }
  const found: { path: string; label: string }[] = [];
  let covered = "";
  for (const entry of listing) {
    if (covered !== "" && entry.path.startsWith(covered)) continue;
    const label = entry.type === "directory" ? below.get(entry.path) : labelOf(entry);
    if (label === undefined || label === null) continue;
    found.push({ path: entry.path, label });
    covered = entry.type === "directory" ? `${entry.path}/` : "";
  }
  return found;
}
