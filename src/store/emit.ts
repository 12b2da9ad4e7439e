/** Sends a tree through a `NarStream`, and on the way, where asked, into a copy. */
import { NarWriter } from "../formats/index.ts";
import { Problem } from "../base/index.ts";
import type { Files, PathLike } from "../host/index.ts";
import { finishCopiedDirectory, finishCopiedFile } from "./canonical.ts";
import type { NarStream } from "./stream.ts";
import { isExecutable, joinPath, shownPath, type TreeEntry } from "./tree.ts";

export interface EmitOptions {
  /** Where to put a copy, with canonical metadata; nothing may be there. */
  readonly copyTo?: PathLike;
  /** Called with each regular file's place in the archive. */
  readonly onFile?: (entry: TreeEntry, offset: number) => void;
  /** Called with each entry's name as it is written, when it differs from the one on disk. */
  readonly onRenamed?: (entry: TreeEntry, offset: number) => void;
}

/** Contents that are written while they are hashed pay off from this size on. */
const LARGE_BYTES = 4 * 1024 * 1024;
/** A large copy is handed to the disk in parts of this size while the next are hashed. */
const SYNC_EVERY_BYTES = 128 * 1024 * 1024;
const FILE_MODE = 0o444;
const EXECUTABLE_MODE = 0o555;

interface Copied {
  readonly entry: TreeEntry;
  readonly path: PathLike;
}

/** Leaves `stream` before its `end`, so that the caller can add to the digest. */
export async function emitTree(
  files: Files,
  entries: readonly TreeEntry[],
  stream: NarStream,
  options: EmitOptions = {},
): Promise<void> {
  const writer = new NarWriter((bytes) => stream.write(bytes));
  const open: Copied[] = [];
  const closeDownTo = (depth: number): void => {
    while (open.length > depth) {
      writer.endDirectory();
      const closed = open.pop();
      if (closed !== undefined && options.copyTo !== undefined) finishCopiedDirectory(files, closed.path);
    }
  };
  for (const entry of entries) {
    closeDownTo(entry.depth);
    const within = open.at(-1)?.path ?? options.copyTo ?? "";
    const path = options.copyTo === undefined || entry.depth === 0 ? within : joinPath(within, entry.name);
    if (entry.depth > 0) {
      writer.entry(entry.shown);
      // The name has just gone by, before its padding and `str("node")`.
      if (entry.shown !== entry.name)
        options.onRenamed?.(entry, stream.position - 16 - Math.ceil(entry.shown.byteLength / 8) * 8);
    }
    switch (entry.type) {
      case "directory":
        writer.directory();
        if (options.copyTo !== undefined) files.makeDirectory(path, { mode: 0o700 });
        open.push({ entry, path });
        break;
      case "symlink": {
        const target = entry.target ?? new Uint8Array();
        writer.symlink(target);
        if (options.copyTo !== undefined) {
          files.symlink(target, path);
          finishCopiedFile(files, path, undefined);
        }
        break;
      }
      case "file":
        writer.regular(isExecutable(entry), entry.stat.sizeBytes);
        options.onFile?.(entry, stream.position);
        if (options.copyTo !== undefined) await copyContents(files, entry, stream, path);
        else readContents(files, entry, stream);
        writer.endRegular();
    }
  }
  closeDownTo(0);
  writer.end();
}

function changed(entry: TreeEntry): Problem {
  return new Problem({
    code: "E_CHANGED_WHILE_READING",
    message: `${shownPath(entry.path)} became shorter while it was read`,
    hint: "let nothing write to it, and try again",
    where: shownPath(entry.path),
  });
}

function readContents(files: Files, entry: TreeEntry, stream: NarStream): void {
  const size = entry.stat.sizeBytes;
  if (size === 0) return;
  const descriptor = files.open(entry.path, "r");
  try {
    for (let at = 0; at < size;) {
      const count = files.read(descriptor, stream.room(size - at), at);
      if (count === 0) throw changed(entry);
      stream.advance(count);
      at += count;
    }
  } finally {
    files.close(descriptor);
  }
}

async function copyContents(files: Files, entry: TreeEntry, stream: NarStream, to: PathLike): Promise<void> {
  const size = entry.stat.sizeBytes;
  const mode = isExecutable(entry) ? EXECUTABLE_MODE : FILE_MODE;
  const output = files.open(to, "wx", mode);
  try {
    if (size > 0) {
      const input = files.open(entry.path, "r");
      try {
        if (size < LARGE_BYTES) copySmall(files, entry, stream, input, output);
        else await copyLarge(files, entry, stream, input, output);
      } finally {
        files.close(input);
      }
    }
  } finally {
    files.close(output);
  }
  finishCopiedFile(files, to, mode);
}

function copySmall(files: Files, entry: TreeEntry, stream: NarStream, input: number, output: number): void {
  for (let at = 0; at < entry.stat.sizeBytes;) {
    const room = stream.room(entry.stat.sizeBytes - at);
    const count = files.read(input, room, at);
    if (count === 0) throw changed(entry);
    files.write(output, count === room.byteLength ? room : room.subarray(0, count));
    stream.advance(count);
    at += count;
  }
}

/** Writing runs beside hashing: the same bytes, in the same buffer, which is not touched again before both are done. */
async function copyLarge(files: Files, entry: TreeEntry, stream: NarStream, input: number, output: number): Promise<void> {
  const size = entry.stat.sizeBytes;
  let syncing: Promise<void> = Promise.resolve();
  let unsynced = 0;
  try {
    for (let at = 0; at < size;) {
      if (at === 0) stream.flush();
      const room = stream.room(size - at);
      const count = files.read(input, room, at);
      if (count === 0) throw changed(entry);
      const part = room.subarray(0, count);
      const writing = files.writeBeside(output, part, at);
      try {
        stream.advance(count);
        stream.flush();
      } finally {
        await writing;
      }
      at += count;
      unsynced += count;
      if (unsynced < SYNC_EVERY_BYTES) continue;
      await syncing;
      syncing = files.syncBeside(output);
      unsynced = 0;
    }
  } finally {
    await syncing;
  }
}
