/** What an ext4 file system can say of a tree. */
import type { FileSystemEntry } from "./blocks.ts";
import { BLOCK, FIRST_INODE, KINDS, ROOT_INODE } from "./ext4-format.ts";
import { planEntries, type Tree, type TreeRules } from "./tree.ts";

export type { Child, Tree, TreeNode } from "./tree.ts";

export const LOST_AND_FOUND = "lost+found";
/** 2310-04-04: the two extra bits could say more, but e2fsck takes that for a time before 1970 from an old kernel. */
export const LATEST_SECONDS = 2 ** 33 + 2 ** 31 - 1;

const RULES: TreeRules = {
  what: "an ext4 file system",
  rootInode: ROOT_INODE,
  firstInode: FIRST_INODE,
  required: { path: LOST_AND_FOUND, mode: 0o700, why: "e2fsck puts there what it finds" },
  kindOf: (type) => KINDS[type].entry,
  targetMaxBytes: BLOCK - 1,
  // What an extent tree of one level describes wherever its blocks lie.
  fileMaxBytes: 128 * 2 ** 30,
  // EXT4_LINK_MAX. A directory may have more (dir_nlink), a file cannot.
  linksMax: 65000,
  manyDirectories: true,
  secondsMin: -(2 ** 31),
  secondsMax: LATEST_SECONDS,
  majorMax: 0xfff,
  minorMax: 0xfffff,
};

/**
 * Inodes: the root first, lost+found second, then from 12 on without a gap.
 *
 * @param timeSeconds of directories that nobody listed
 * @throws Problem E_BAD_TREE
 */
export function planTree(entries: readonly FileSystemEntry[], timeSeconds: number): Tree {
  return planEntries(entries, timeSeconds, RULES);
}
