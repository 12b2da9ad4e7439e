/** Looking into items: which file holds a reference, what differs between two, and the archive of one. */
import { hashPart, type StorePath } from "../base/index.ts";
import { HASH_BYTES, hashTable, NarWriter } from "../formats/index.ts";
import type { Files } from "../host/index.ts";
import { replaceIn, type Replacements, ZERO_HASH } from "./analyse.ts";
import { notValid, physicalOf, type StoreContext } from "./context.ts";
import { idOf } from "./items.ts";
import { NarStream } from "./stream.ts";
import { isExecutable, relativeName, type TreeEntry, walk } from "./tree.ts";
import type { FileDifference } from "./types.ts";

const CHUNK_BYTES = 1024 * 1024;

function entriesOf(context: StoreContext, path: StorePath): TreeEntry[] {
  if (idOf(context.ledger, path) === undefined) throw notValid(path);
  return walk(context.files, physicalOf(context, path));
}

/** The offset of the first occurrence in a file, or -1. Reads no further than it must. */
function firstIn(files: Files, entry: TreeEntry, needle: Buffer): number {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  const descriptor = files.open(entry.path, "r");
  try {
    let kept = 0;
    for (let at = 0; ;) {
      const count = files.read(descriptor, buffer.subarray(kept), at);
      const found = buffer.subarray(0, kept + count).indexOf(needle);
      if (found >= 0) return at - kept + found;
      if (count === 0) return -1;
      at += count;
      const keep = Math.min(needle.byteLength - 1, kept + count);
      buffer.copyWithin(0, kept + count - keep, kept + count);
      kept = keep;
    }
  } finally {
    files.close(descriptor);
  }
}

/** Offsets are those in a file's contents, in a link's target, or in a name. */
export function why(context: StoreContext, path: StorePath, reference: StorePath): { file: string; offset: number }[] {
  const needle = Buffer.from(hashPart(reference), "latin1");
  return entriesOf(context, path).flatMap((entry) => {
    const inName = Buffer.from(entry.name).indexOf(needle);
    if (inName >= 0) return [{ file: relativeName(entry), offset: inName }];
    const inTarget = entry.target === undefined ? -1 : Buffer.from(entry.target).indexOf(needle);
    if (inTarget >= 0) return [{ file: relativeName(entry), offset: inTarget }];
    const offset = entry.type === "file" && entry.stat.sizeBytes >= HASH_BYTES ? firstIn(context.files, entry, needle) : -1;
    return offset >= 0 ? [{ file: relativeName(entry), offset }] : [];
  });
}

/** A tree and the hash by which it calls itself, which is no difference. */
export interface Side {
  readonly physical: string;
  readonly self: string | undefined;
}

export function sideOf(context: StoreContext, path: StorePath): Side {
  if (idOf(context.ledger, path) === undefined) throw notValid(path);
  return { physical: physicalOf(context, path), self: hashPart(path) };
}

interface Seen {
  readonly entry: TreeEntry;
  readonly replacements: Replacements;
}

function look(context: StoreContext, side: Side): ReadonlyMap<string, Seen> {
  const replacements: Replacements = new Map(side.self === undefined ? [] : [[side.self, ZERO_HASH]]);
  const seen = walk(context.files, side.physical).map((entry): [string, Seen] => {
    const name = Buffer.from(relativeName(entry), "utf8");
    return [Buffer.from(replaceIn(name, replacements)).toString("utf8"), { entry, replacements }];
  });
  return new Map(seen);
}

function contentDigest(files: Files, { entry, replacements }: Seen): string {
  const table = hashTable(replacements.keys());
  const replace = new Map([...replacements.values()].map((instead, at) => [at, Buffer.from(instead, "latin1")]));
  const stream = new NarStream({ table, replace });
  const descriptor = files.open(entry.path, "r");
  try {
    for (let at = 0; at < entry.stat.sizeBytes;) {
      const count = files.read(descriptor, stream.room(entry.stat.sizeBytes - at), at);
      if (count === 0) break;
      stream.advance(count);
      at += count;
    }
  } finally {
    files.close(descriptor);
  }
  return stream.end().sha256;
}

function describe({ entry }: Seen): string {
  if (entry.type === "file") return `file of ${entry.stat.sizeBytes} bytes`;
  return entry.type === "symlink" ? `link to ${Buffer.from(entry.target ?? []).toString("utf8")}` : "directory";
}

function compare(files: Files, file: string, left: Seen, right: Seen): FileDifference[] {
  const [a, b] = [left.entry, right.entry];
  if (a.type !== b.type) return [{ file, kind: "type", detail: `${describe(left)} -> ${describe(right)}` }];
  const differences: FileDifference[] = [];
  if (a.type === "file" && isExecutable(a) !== isExecutable(b)) {
    differences.push({ file, kind: "mode", detail: isExecutable(a) ? "no longer executable" : "became executable" });
  }
  if (a.type === "file" && a.stat.sizeBytes !== b.stat.sizeBytes) {
    differences.push({ file, kind: "changed", detail: `${a.stat.sizeBytes} -> ${b.stat.sizeBytes} bytes` });
  } else if (a.type === "file" && contentDigest(files, left) !== contentDigest(files, right)) {
    differences.push({ file, kind: "changed", detail: `${a.stat.sizeBytes} bytes, contents differ` });
  }
  if (a.type === "symlink") {
    const targets = [left, right].map(({ entry, replacements }) =>
      Buffer.from(replaceIn(entry.target ?? new Uint8Array(), replacements)).toString("utf8"),
    );
    if (targets[0] !== targets[1]) differences.push({ file, kind: "target", detail: targets.join(" -> ") });
  }
  return differences;
}

export function compareTrees(context: StoreContext, left: Side, right: Side): readonly FileDifference[] {
  const [before, after] = [look(context, left), look(context, right)];
  const names = [...new Set([...before.keys(), ...after.keys()])].toSorted();
  return names.flatMap((file): FileDifference[] => {
    const [a, b] = [before.get(file), after.get(file)];
    if (a !== undefined && b !== undefined) return compare(context.files, file, a, b);
    if (a !== undefined) return [{ file, kind: "removed", detail: describe(a) }];
    return b === undefined ? [] : [{ file, kind: "added", detail: describe(b) }];
  });
}

/** Chunks are the reader's to keep. */
export async function* dump(context: StoreContext, path: StorePath): AsyncGenerator<Uint8Array, void> {
  const { files } = context;
  let pending: Uint8Array[] = [];
  const writer = new NarWriter((bytes) => pending.push(new Uint8Array(bytes)));
  let depth = 0;
  const framing = (): Uint8Array => {
    const bytes = Buffer.concat(pending);
    pending = [];
    return bytes;
  };
  for (const entry of entriesOf(context, path)) {
    for (; depth > entry.depth; depth -= 1) writer.endDirectory();
    if (entry.depth > 0) writer.entry(entry.name);
    if (entry.type === "directory") {
      writer.directory();
      depth += 1;
    } else if (entry.type === "symlink") {
      writer.symlink(entry.target ?? new Uint8Array());
    } else {
      writer.regular(isExecutable(entry), entry.stat.sizeBytes);
      yield framing();
      yield* contents(files, entry);
      writer.endRegular();
    }
  }
  for (; depth > 0; depth -= 1) writer.endDirectory();
  writer.end();
  yield framing();
}

function* contents(files: Files, entry: TreeEntry): Generator<Uint8Array, void> {
  const descriptor = files.open(entry.path, "r");
  try {
    for (let at = 0; at < entry.stat.sizeBytes;) {
      const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, entry.stat.sizeBytes - at));
      const count = files.read(descriptor, chunk, at);
      if (count === 0) throw new Error(`${relativeName(entry)} became shorter while it was read`);
      at += count;
      yield chunk.subarray(0, count);
    }
  } finally {
    files.close(descriptor);
  }
}
