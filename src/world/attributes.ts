/**
 * What a store item cannot say of a file: owner, group, and modes other than its own.
 *
 * A store item knows of a file whether it can be executed, and nothing else. A world's tree has files of root:shadow and programs that
 * change their user. So a world carries, under `.garth/attributes`, a line of mtree(5) for each path that is not what `usualMode` and
 * root say; a slice carries the lines of its own paths, and an image is made with them.
 */
import { type MtreeEntry, parseMtree, renderMtree } from "../formats/index.ts";
import type { ListedEntry } from "./types.ts";

/** The directory of a world or slice that holds what is known of it, and is no part of the tree. */
export const ABOUT = ".garth";
export const ATTRIBUTES_FILE = `${ABOUT}/attributes`;

export interface Attributes {
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Without slashes at the ends; "" is the root. */
export type AttributeTable = ReadonlyMap<string, Attributes>;

export function usualMode(entry: Pick<ListedEntry, "type" | "executable">): number {
  if (entry.type === "symlink") return 0o777;
  return entry.type === "directory" || entry.executable ? 0o755 : 0o644;
}

export function attributesOf(table: AttributeTable, path: string, entry: Pick<ListedEntry, "type" | "executable">): Attributes {
  return table.get(path) ?? { mode: usualMode(entry), uid: 0, gid: 0 };
}

/** Only what is not as usual, sorted by path. */
export function renderAttributes(table: AttributeTable, listing: readonly ListedEntry[]): string {
  const lines = listing.flatMap((entry): MtreeEntry[] => {
    const found = table.get(entry.path);
    if (found === undefined || isUsual(found, entry)) return [];
    return [{ path: entry.path, type: mtreeType(entry), mode: found.mode, uid: found.uid, gid: found.gid }];
  });
  return renderMtree(lines);
}

function isUsual({ mode, uid, gid }: Attributes, entry: ListedEntry): boolean {
  return uid === 0 && gid === 0 && (entry.type === "symlink" || mode === usualMode(entry));
}

function mtreeType({ type }: ListedEntry): "file" | "dir" | "link" {
  return type === "directory" ? "dir" : type === "symlink" ? "link" : "file";
}

/** @throws Problem E_BAD_MTREE with the line */
export function parseAttributes(text: string, where: string): AttributeTable {
  return new Map(
    parseMtree(text, where).map(({ path, mode, uid, gid }) => [path, { mode: mode ?? 0o644, uid: uid ?? 0, gid: gid ?? 0 }]),
  );
}

/**
 * A line of `tar --list --verbose --numeric-owner --quoting-style=literal`: `-rwsr-xr-x 0/0 55528 2023-03-23 12:34 ./usr/bin/mount`.
 * undefined for what is neither a file nor a directory.
 */
export function parseTarLine(line: string): (Attributes & { readonly path: string }) | undefined {
  const match = /^[-d]([-rwxsStT]{9}) (\d+)\/(\d+) +\d+ \S+ \S+ (?:\.\/)?(.*?)\/?$/.exec(line);
  if (match === null) return undefined;
  const [, letters = "", uid, gid, path = ""] = match;
  let mode = 0;
  for (const [index, letter] of [...letters].entries()) {
    if (/[rwxst]/.test(letter)) mode |= 0o400 >> index;
    if (/[sStT]/.test(letter)) mode |= index === 2 ? 0o4000 : index === 5 ? 0o2000 : 0o1000;
  }
  return { path, mode, uid: Number(uid), gid: Number(gid) };
}
