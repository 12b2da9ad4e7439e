/**
 * Hard links between identical files of items.
 *
 * `.links/<sha256>-<r|x>` in the store directory names each content seen once; files with that content and mode become links to
 * it. The name says the mode, because links share it. A file is replaced by rename, so it is there at every moment.
 */
import { sha256Hasher, type StorePath } from "../base/index.ts";
import { isErrno } from "../host/index.ts";
import { CANONICAL_TIME_MS, DIRECTORY_MODE } from "./canonical.ts";
import { physicalOf, type StoreContext } from "./context.ts";
import { toStorePath } from "./items.ts";
import { isExecutable, type TreeEntry, walk } from "./tree.ts";

const CHUNK_BYTES = 1024 * 1024;
const buffer = new Uint8Array(CHUNK_BYTES);

function digestOf(context: StoreContext, entry: TreeEntry): string {
  const { files } = context;
  const hasher = sha256Hasher();
  const descriptor = files.open(entry.path, "r");
  try {
    for (let at = 0; ;) {
      const count = files.read(descriptor, buffer, at);
      if (count === 0) return hasher.digest("hex");
      hasher.update(buffer.subarray(0, count));
      at += count;
    }
  } finally {
    files.close(descriptor);
  }
}

/** Bytes saved; undefined when the file is the first of its content, or already shares it. */
function linkOne(context: StoreContext, entry: TreeEntry, path: StorePath): number | undefined {
  const { files, host } = context;
  const known = `${context.linksDirectory}/${digestOf(context, entry)}-${isExecutable(entry) ? "x" : "r"}`;
  const first = files.lstatIfAny(known);
  if (first === undefined || first.sizeBytes !== entry.stat.sizeBytes) {
    // A name whose size does not fit was damaged; this file takes its place.
    if (first !== undefined) files.unlink(known);
    files.hardLink(entry.path, known);
    return undefined;
  }
  if (first.inode === entry.stat.inode || entry.parent === undefined) return undefined;
  const temporary = context.fresh("link");
  try {
    files.hardLink(known, temporary);
  } catch (error) {
    // As many links as the file system allows: the next file of this content begins anew.
    if (!isErrno(error, "EMLINK")) throw error;
    files.unlink(known);
    return undefined;
  }
  const directory = entry.parent.path;
  if (!host.isRoot) files.chmod(directory, 0o755);
  try {
    files.rename(temporary, entry.path);
  } catch (error) {
    files.unlink(temporary);
    throw new Error(`a file of ${path} could not be linked`, { cause: error });
  } finally {
    if (!host.isRoot) files.chmod(directory, DIRECTORY_MODE);
    files.setTimes(directory, CANONICAL_TIME_MS);
  }
  return entry.stat.links === 1 ? entry.stat.sizeBytes : 0;
}

export async function optimise(context: StoreContext): Promise<{ files: number; linked: number; savedBytes: number }> {
  const { files, ledger } = context;
  files.makeDirectory(context.linksDirectory, { parents: true });
  let seen = 0;
  let linked = 0;
  let savedBytes = 0;
  for (const row of ledger.statement("SELECT path FROM item ORDER BY path").all()) {
    const path = toStorePath(row["path"]);
    // One item at a time under the lock: gc of another process must not take it away between looking and linking.
    ledger.transaction(() => {
      if (files.lstatIfAny(physicalOf(context, path)) === undefined) return;
      for (const entry of walk(files, physicalOf(context, path))) {
        if (entry.type !== "file" || entry.stat.sizeBytes === 0) continue;
        seen += 1;
        const saved = linkOne(context, entry, path);
        if (saved === undefined) continue;
        linked += 1;
        savedBytes += saved;
      }
    });
  }
  return { files: seen, linked, savedBytes };
}
