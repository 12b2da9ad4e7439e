/** A world's tree before it is an item. */
import type { Host } from "../host/index.ts";
import { ABOUT, type Accounts, type Attributes, type ListedEntry } from "../world/index.ts";
import { nameOf } from "./listing.ts";

export interface Imported {
  readonly listing: readonly ListedEntry[];
  readonly attributes: ReadonlyMap<string, Attributes>;
}

/** What a running system puts there is no part of a world. */
export const EMPTY: ReadonlySet<string> = new Set(["dev", "proc", "run", "sys", "tmp"]);

/** The tree gets the modes of a store item, and loses what is no file, directory or symlink; its own are those that were `said`. */
export function settle({ files }: Host, tree: string, said: ReadonlyMap<string, Attributes>): Imported {
  files.removeTree(`${tree}/${ABOUT}`);
  const listing: ListedEntry[] = [];
  const walk = (relative: string): void => {
    for (const bytes of files.list(relative === "" ? tree : `${tree}/${relative}`)) {
      const name = nameOf(bytes, `${tree}/${relative}`);
      const path = relative === "" ? name : `${relative}/${name}`;
      const { type, mode, sizeBytes } = files.lstat(`${tree}/${path}`);
      if (type !== "file" && type !== "directory" && type !== "symlink") {
        files.unlink(`${tree}/${path}`);
        continue;
      }
      const executable = ((said.get(path)?.mode ?? mode) & 0o111) !== 0;
      if (type !== "symlink") files.chmod(`${tree}/${path}`, type === "directory" || executable ? 0o755 : 0o644);
      listing.push({ path, type, executable, sizeBytes });
      if (type === "directory") walk(path);
    }
  };
  walk("");
  return { listing, attributes: said };
}

/** Third field of passwd(5) and group(5) by the first. What has no accounts still has root and wheel. No link is followed for them. */
export function accountsIn({ files }: Host, tree: string): Accounts {
  const isPlain = files.lstatIfAny(`${tree}/etc`)?.type === "directory";
  const numbers = (names: readonly string[], known: string): ReadonlyMap<string, number> => {
    const found = new Map([[known, 0]]);
    for (const file of names.map((name) => `${tree}/etc/${name}`)) {
      if (!isPlain || files.lstatIfAny(file)?.type !== "file") continue;
      for (const line of files.readText(file).split("\n")) {
        const match = /^([^#:+-][^:]*):[^:]*:(\d+):/.exec(line);
        if (match?.[1] !== undefined && !found.has(match[1])) found.set(match[1], Number(match[2]));
      }
    }
    return found;
  };
  return { users: numbers(["master.passwd", "passwd"], "root"), groups: numbers(["group"], "wheel") };
}
