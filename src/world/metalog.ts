/**
 * METALOG: who owns what in a tree that was installed without being root, and with which modes. Pure.
 *
 * FreeBSD's `make installworld -DNO_ROOT` has install(1) write a line of mtree(5) for each thing that it puts under DESTDIR:
 *
 *     #mtree 2.0
 *     ./var/mail type=dir uname=root gname=mail mode=0775
 *     ./usr/bin/su type=file uname=root gname=wheel mode=04555 size=18472 tags=package=runtime
 *     ./usr/bin/chfn type=file mode=0555 size=27064
 *     ./etc/termcap type=link uname=root gname=wheel mode=0755 link=/usr/share/misc/termcap
 *
 * Of a hard link install(1) says neither owner nor set-id bits: it has what the file has that it is another name of. Which one that is
 * the log does not tell, and a store item does not know either; so it is the first named one of the same bytes and the same other bits.
 * Owners are names of the tree's own accounts. Flags are not carried, and what the log says of paths that are not there is not looked at.
 */
import { Problem } from "../base/index.ts";
import { type MtreeEntry, parseMtree } from "../formats/index.ts";
import { type Attributes, type AttributeTable, usualMode } from "./attributes.ts";
import type { ListedEntry } from "./types.ts";

/** At the top of a tree; no part of it. */
export const METALOG = "METALOG";

/** Numbers by names. */
export interface Accounts {
  readonly users: ReadonlyMap<string, number>;
  readonly groups: ReadonlyMap<string, number>;
}

export interface LoggedTree {
  /** For errors. */
  readonly world: string;
  readonly listing: readonly ListedEntry[];
  readonly accounts: Accounts;
  /** Of a file's bytes. */
  readonly digestOf: (path: string) => string;
}

/** @throws Problem E_BAD_MTREE with the line */
export function parseMetalog(text: string, where: string): readonly MtreeEntry[] {
  return parseMtree(text, where, { isLog: true });
}

/** Of what the log names; everything else is as usual. @throws Problem E_WORLD_OWNER for a name that the tree does not know */
export function loggedAttributes(log: readonly MtreeEntry[], tree: LoggedTree): AttributeTable {
  const listed = new Map(tree.listing.map((entry) => [entry.path, entry]));
  const table = new Map<string, Attributes>();
  const nameless: MtreeEntry[] = [];
  const named = new Map<number, string[]>();
  for (const said of log) {
    const entry = listed.get(said.path);
    if (entry === undefined) continue;
    if (entry.type === "file" && isNameless(said)) {
      nameless.push(said);
      continue;
    }
    const mode = entry.type === "symlink" ? usualMode(entry) : (said.mode ?? usualMode(entry));
    table.set(said.path, { mode, uid: numberOf(tree, said, "user"), gid: numberOf(tree, said, "group") });
    if (entry.type === "file") named.set(entry.sizeBytes, [...(named.get(entry.sizeBytes) ?? []), said.path]);
  }
  const digests = new Map<string, string>();
  const digestOf = (path: string): string => {
    const digest = digests.get(path) ?? tree.digestOf(path);
    digests.set(path, digest);
    return digest;
  };
  for (const { path, mode } of nameless) {
    const entry = listed.get(path);
    if (entry === undefined) continue;
    const own = { mode: mode ?? usualMode(entry), uid: 0, gid: 0 };
    const twin = named.get(entry.sizeBytes)?.find((other) => {
      const bits = table.get(other)?.mode ?? 0;
      return (bits & 0o777) === (own.mode & 0o777) && digestOf(other) === digestOf(path);
    });
    table.set(path, (twin === undefined ? undefined : table.get(twin)) ?? own);
  }
  return table;
}

function isNameless({ uname, gname, uid, gid }: MtreeEntry): boolean {
  return uname === undefined && gname === undefined && uid === undefined && gid === undefined;
}

function numberOf({ world, accounts }: LoggedTree, said: MtreeEntry, what: "user" | "group"): number {
  const [name, given, known, file] =
    what === "user"
      ? ([said.uname, said.uid, accounts.users, "etc/master.passwd"] as const)
      : ([said.gname, said.gid, accounts.groups, "etc/group"] as const);
  const found = name === undefined ? given : (known.get(name) ?? given);
  if (found !== undefined || name === undefined) return found ?? 0;
  throw new Problem({
    code: "E_WORLD_OWNER",
    message: `the world ${world}: its ${METALOG} says that /${said.path} belongs to the ${what} ${name}, which the tree does not know`,
    hint: `accounts are in ${file} of the tree: install it there too (FreeBSD: make distribution), or name the owner by number`,
    exit: 2,
  });
}
