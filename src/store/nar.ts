/** The NAR of a tree that is no item. */
import type { Files } from "../host/index.ts";
import { emitTree } from "./emit.ts";
import { NarStream } from "./stream.ts";
import { walk } from "./tree.ts";

/** @throws Problem E_BAD_FILE_TYPE for anything but files, directories and symlinks */
export async function narOf(files: Files, physical: string): Promise<{ readonly sha256: string; readonly sizeBytes: number }> {
  const stream = new NarStream();
  await emitTree(files, walk(files, physical), stream);
  return stream.end();
}
