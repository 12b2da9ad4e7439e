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

/** Only what is not as usual, sorted by path: a listing may have the order of a directory. */
export function renderAttributes(table: AttributeTable, listing: readonly ListedEntry[]): string {
  const sorted = listing.toSorted((left, right) => (left.path < right.path ? -1 : 1));
  const lines = sorted.flatMap((entry): MtreeEntry[] => {
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

/** `-rwsr-xr-x 0/0 55528 2023-03-23 12:34 "./usr/bin/mount"`, and what a link leads to behind it. */
const TAR_LINE = /^([-dlh])([-rwxsStT]{9}) (\d+)\/(\d+) +\d+ \S+ \S+ "((?:[^"\\]|\\.)*)"(?: link to "((?:[^"\\]|\\.)*)")?/;

/**
 * What `tar --list --verbose --numeric-owner --quoting-style=c` says of files, directories and symlinks. That style alone has one
 * meaning whatever a name holds. A hard link has what the file has that it is another name of.
 */
export function parseTarList(text: string): AttributeTable {
  const table = new Map<string, Attributes>();
  for (const line of text.split("\n")) {
    const match = TAR_LINE.exec(line);
    if (match === null) continue;
    const [, kind, letters = "", uid, gid, name = "", linked] = match;
    const own = { mode: kind === "l" ? 0o777 : modeOf(letters), uid: Number(uid), gid: Number(gid) };
    const other = kind === "h" && linked !== undefined ? table.get(memberPath(linked)) : undefined;
    table.set(memberPath(name), other ?? own);
  }
  return table;
}

/** Nine letters as ls(1) writes them. */
function modeOf(letters: string): number {
  let mode = 0;
  for (const [index, letter] of [...letters].entries()) {
    if (/[rwxst]/.test(letter)) mode |= 0o400 >> index;
    if (/[sStT]/.test(letter)) mode |= index === 2 ? 0o4000 : index === 5 ? 0o2000 : 0o1000;
  }
  return mode;
}

const C_ESCAPES: Readonly<Record<string, string>> = { a: "\u0007", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" };

/** The name without `./` or `/` before and a slash behind. Bytes that are not UTF-8 come as octal digits. */
function memberPath(quoted: string): string {
  const bytes = [...quoted.matchAll(/\\([0-7]{3})|\\(.)|[^\\]+/gs)].map(([whole, octal, escaped]) => {
    if (octal !== undefined) return Buffer.of(Number.parseInt(octal, 8));
    return Buffer.from(escaped === undefined ? whole : (C_ESCAPES[escaped] ?? escaped));
  });
  return Buffer.concat(bytes)
    .toString("utf8")
    .replace(/^(?:\.?\/)+/, "")
    .replace(/^\.$/, "")
    .replace(/\/+$/, "");
}
