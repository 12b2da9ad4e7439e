/** The tree of a file system that is read: every directory entered once, what is held bounded. */
import type { Problem } from "../base/index.ts";

export interface Named {
  readonly name: string;
  readonly inode: number;
}

interface Tree<Inode> {
  readonly root: number;
  readonly inode: (number: number) => Inode;
  /** Without "." and "..". */
  readonly names: (directory: Inode) => readonly Named[];
  readonly damaged: (what: string) => Problem;
}

const ENTRIES_MAX = 2 ** 21;
const FILE_MAX_BYTES = 2 ** 26;

export interface TreeReading<Entry> {
  /** Everything, a directory before what is in it, sorted. */
  readonly list: () => readonly Entry[];
  /**
   * The content of a plain file, of at most 64 MiB where nothing else is said; undefined when there is none of that name.
   * Symbolic links are not followed.
   */
  readonly readFile: (path: string, maximumBytes?: number) => Uint8Array | undefined;
}

export function readTree<Inode extends { readonly type: string }, Entry>(
  tree: Tree<Inode> & {
    readonly entry: (path: string, inode: Inode) => Entry;
    readonly content: (file: Inode, maximumBytes: number) => Uint8Array;
  },
): TreeReading<Entry> {
  return {
    list: () => walkTree(tree, tree.entry),
    readFile: (path, maximumBytes = FILE_MAX_BYTES) => {
      const found = inodeAt(tree, path);
      return found?.type === "file" ? tree.content(found, maximumBytes) : undefined;
    },
  };
}

/** @throws Problem `damaged` for a directory that is in two places */
function walkTree<Inode extends { readonly type: string }, Entry>(
  tree: Tree<Inode>,
  entryOf: (path: string, inode: Inode) => Entry,
): readonly Entry[] {
  const found: Entry[] = [];
  const entered = new Set<number>();
  const waiting: { readonly path: string; readonly number: number }[] = [{ path: "", number: tree.root }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { path, number } = next;
    const inode = tree.inode(number);
    found.push(entryOf(path, inode));
    if (inode.type !== "directory") continue;
    if (entered.has(number)) throw tree.damaged(`the directory ${JSON.stringify(path)} is in two places`);
    entered.add(number);
    const names = tree.names(inode).toSorted((a, b) => (a.name < b.name ? 1 : -1));
    for (const { name, inode: below } of names) waiting.push({ path: path === "" ? name : `${path}/${name}`, number: below });
    if (found.length + waiting.length > ENTRIES_MAX) throw tree.damaged(`it has more than ${ENTRIES_MAX} entries`);
  }
  return found;
}

/** undefined: nothing has that path. Links are not followed. */
function inodeAt<Inode extends { readonly type: string }>(tree: Tree<Inode>, path: string): Inode | undefined {
  let inode = tree.inode(tree.root);
  for (const part of path.split("/")) {
    if (inode.type !== "directory") return undefined;
    const name = tree.names(inode).find(({ name }) => name === part);
    if (name === undefined) return undefined;
    inode = tree.inode(name.inode);
  }
  return inode;
}
