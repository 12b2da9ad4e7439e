/** Directories of UFS2 (dir(5), struct direct): entries one after another in chunks of 512 bytes, the last of a chunk as long as what is left. */
import { DIRECTORY_CHUNK, KINDS, viewOf } from "./ufs-format.ts";
import type { Child, TreeNode } from "./tree.ts";

const HEAD_BYTES = 8;
const DOT = new TextEncoder().encode(".");
const DOT_DOT = new TextEncoder().encode("..");

/** With the NUL behind the name, in whole words. */
function entryBytes(name: Uint8Array): number {
  return (HEAD_BYTES + name.length + 1 + 3) & ~3;
}

export function directoryBytes(children: readonly Child[]): number {
  let [chunks, used] = [1, 2 * entryBytes(DOT)];
  for (const { name } of children) {
    const bytes = entryBytes(name);
    if (used + bytes > DIRECTORY_CHUNK) [chunks, used] = [chunks + 1, 0];
    used += bytes;
  }
  return chunks * DIRECTORY_CHUNK;
}

/** Into `bytes`, which has `directoryBytes` of them. */
export function renderDirectory(bytes: Uint8Array, node: TreeNode): void {
  const view = viewOf(bytes);
  let [at, last] = [0, 0];
  const put = (inode: number, kind: number, name: Uint8Array): void => {
    const length = entryBytes(name);
    const chunkEnd = (Math.floor(last / DIRECTORY_CHUNK) + 1) * DIRECTORY_CHUNK;
    if (at + length > chunkEnd) {
      view.setUint16(last + 4, chunkEnd - last, true);
      at = chunkEnd;
    }
    view.setUint32(at, inode, true);
    view.setUint16(at + 4, length, true);
    view.setUint8(at + 6, kind);
    view.setUint8(at + 7, name.length);
    bytes.set(name, at + HEAD_BYTES);
    last = at;
    at += length;
  };
  put(node.inode, KINDS.directory.entry, DOT);
  put(node.parent, KINDS.directory.entry, DOT_DOT);
  for (const { inode, kind, name } of node.children) put(inode, kind, name);
  view.setUint16(last + 4, bytes.length - last, true);
}
