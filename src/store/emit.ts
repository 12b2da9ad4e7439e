/** Sends a tree through a `NarStream`, and on the way, where asked, into a copy. */
import { NarWriter } from "../formats/index.ts";
import type { Files, PathLike } from "../host/index.ts";
import { readPart, TreeCopy } from "./copy.ts";
import type { NarStream } from "./stream.ts";
import { isExecutable, joinPath, type TreeEntry } from "./tree.ts";

export interface EmitOptions {
  /** Where to put a copy, with canonical metadata; nothing may be there. The stream must not scan. */
  readonly copyTo?: PathLike;
  /** Told the contents of large files while they are copied. */
  readonly beside?: (part: Uint8Array) => Promise<void>;
  /** Called with each regular file's place in the archive. */
  readonly onFile?: (entry: TreeEntry, offset: number) => void;
  /** Called with each entry's name as it is written, when it differs from the one on disk. */
  readonly onRenamed?: (entry: TreeEntry, offset: number) => void;
}

/** `str("node")`, which follows a name. */
const NODE_BYTES = 16;
/** More than the framing of one entry takes: its name, a link's target, the fixed words. */
const ENTRY_FRAMING_BYTES = 8192;
/** More than closing one directory takes. */
const CLOSE_FRAMING_BYTES = 64;

/** Leaves `stream` before its `end`, so that the caller can add to the digest. */
export async function emitTree(
  files: Files,
  entries: readonly TreeEntry[],
  stream: NarStream,
  options: EmitOptions = {},
): Promise<void> {
  const copy = options.copyTo === undefined ? undefined : new TreeCopy(files, stream, options.beside);
  try {
    await emitEntries(files, entries, stream, copy, options);
    await copy?.settle();
  } catch (error) {
    await copy?.abandon();
    throw error;
  }
}

async function emitEntries(
  files: Files,
  entries: readonly TreeEntry[],
  stream: NarStream,
  copy: TreeCopy | undefined,
  options: EmitOptions,
): Promise<void> {
  const writer = new NarWriter((bytes) => stream.write(bytes));
  /** Of the open directories, where their copies are. */
  const open: PathLike[] = [];
  const closeDownTo = (depth: number): void => {
    while (open.length > depth) {
      writer.endDirectory();
      const closed = open.pop();
      if (closed !== undefined) copy?.closeDirectory(closed);
    }
  };
  for (const entry of entries) {
    if (copy !== undefined) await copy.prepare(entry, ENTRY_FRAMING_BYTES + open.length * CLOSE_FRAMING_BYTES);
    closeDownTo(entry.depth);
    const within = open.at(-1) ?? options.copyTo ?? "";
    const path = copy === undefined || entry.depth === 0 ? within : joinPath(within, entry.name);
    if (entry.depth > 0) {
      writer.entry(entry.shown);
      const nameAt = stream.position - NODE_BYTES - Math.ceil(entry.shown.byteLength / 8) * 8;
      if (entry.shown !== entry.name) options.onRenamed?.(entry, nameAt);
    }
    switch (entry.type) {
      case "directory":
        writer.directory();
        copy?.directory(path);
        open.push(path);
        break;
      case "symlink": {
        const target = entry.target ?? new Uint8Array();
        writer.symlink(target);
        copy?.symlink(path, target);
        break;
      }
      case "file":
        writer.regular(isExecutable(entry), entry.stat.sizeBytes);
        options.onFile?.(entry, stream.position);
        if (copy === undefined) readContents(files, entry, stream);
        else await copy.file(entry, path);
        writer.endRegular();
    }
  }
  closeDownTo(0);
  writer.end();
}

function readContents(files: Files, entry: TreeEntry, stream: NarStream): void {
  const size = entry.stat.sizeBytes;
  if (size === 0) return;
  const descriptor = files.open(entry.path, "r");
  try {
    for (let at = 0; at < size;) {
      const part = readPart(files, entry, descriptor, at, stream);
      stream.advance(part.byteLength);
      at += part.byteLength;
    }
  } finally {
    files.close(descriptor);
  }
}
