/** The names of a file system that is read: every directory entered once, what is held bounded. */
import type { Problem } from "../base/index.ts";

export interface Named {
  readonly name: string;
  readonly inode: number;
}

export interface Tree<Inode> {
  readonly root: number;
  readonly inode: (number: number) => Inode;
  readonly isDirectory: (inode: Inode) => boolean;
  /** Without "." and "..". */
  readonly names: (directory: Inode) => readonly Named[];
  readonly damaged: (what: string) => Problem;
}

const ENTRIES_MAX = 2 ** 21;

/** Everything, a directory before what is in it, sorted. @throws Problem `damaged` for a directory that is in two places */
export function walkTree<Inode, Entry>(tree: Tree<Inode>, entryOf: (path: string, inode: Inode) => Entry): readonly Entry[] {
  const found: Entry[] = [];
  const entered = new Set<number>();
  const waiting: { readonly path: string; readonly number: number }[] = [{ path: "", number: tree.root }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { path, number } = next;
    const inode = tree.inode(number);
    found.push(entryOf(path, inode));
    if (!tree.isDirectory(inode)) continue;
    if (entered.has(number)) throw tree.damaged(`the directory ${JSON.stringify(path)} is in two places`);
    entered.add(number);
    const names = tree.names(inode).toSorted((a, b) => (a.name < b.name ? 1 : -1));
    for (const { name, inode: below } of names) waiting.push({ path: path === "" ? name : `${path}/${name}`, number: below });
    if (found.length + waiting.length > ENTRIES_MAX) throw tree.damaged(`it has more than ${ENTRIES_MAX} entries`);
  }
  return found;
}

/** undefined: nothing has that path. Links are not followed. */
export function inodeAt<Inode>(tree: Tree<Inode>, path: string): Inode | undefined {
  let inode = tree.inode(tree.root);
  for (const part of path.split("/")) {
    if (!tree.isDirectory(inode)) return undefined;
    const name = tree.names(inode).find(({ name }) => name === part);
    if (name === undefined) return undefined;
    inode = tree.inode(name.inode);
  }
  return inode;
}
