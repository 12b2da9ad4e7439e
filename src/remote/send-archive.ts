/**
 * Store items as one tar archive, with what mtree(8) is to find behind each. Bounded: one small file or one part of a large one is in memory.
 *
 *     t/NAME...   the item: root's, modes as in the store, modified a second after the epoch
 *     s/NAME      its part of an mtree(5), to be read behind the line of the directory it is in: what was digested while it was read for the
 *                 archive, so that one reading is enough
 *     w/NAME      empty: the item is whole
 *
 * Names and targets are bytes: a character of a text here is one byte ("latin1"). Files that are one on disk (hard links) are several here.
 */
import { baseName, Problem, sha256Hasher, type StorePath } from "../base/index.ts";
import { paddingOf, tarEnd, tarHeader, type TarMember } from "../formats/index.ts";
import type { Files, Stat } from "../host/index.ts";

/** What is handed on at a time. A file that fits into it is read in one go. */
const CHUNK_BYTES = 256 * 1024;
const MTIME_SECONDS = 1;
/** The last line of an item's part of the mtree(5), a comment there: a disk that filled up may have cut it off. */
export const SPEC_END = "#whole";

export interface SentItem {
  readonly path: StorePath;
  readonly physical: string;
  /** As they were listed when it was weighed; listed again without. */
  readonly entries?: readonly Entry[];
}

export interface Entry {
  /** Below the directory that the item is in: begins with the item's own name. */
  readonly path: string;
  readonly name: string;
  readonly type: "file" | "directory" | "symlink";
  readonly mode: number;
  readonly sizeBytes: number;
  readonly target: string | undefined;
  /** How many directories of the item are above it. */
  readonly depth: number;
}

/** What an item will take on a disk that gives out blocks of 4 KiB, names and inodes included: an estimate from above. */
export interface Weight {
  readonly entries: number;
  readonly contentBytes: number;
  readonly diskBytes: number;
}

const BLOCK_BYTES = 4096;

/** Depth first, as they go into the archive. @throws Problem E_BAD_FILE_TYPE */
export function listItem(files: Files, { path, physical }: SentItem): readonly Entry[] {
  return [...entriesOf(files, physical, baseName(path))];
}

export function weigh(entries: readonly Entry[]): Weight {
  let [contentBytes, diskBytes] = [0, 0];
  for (const { sizeBytes } of entries) {
    contentBytes += sizeBytes;
    diskBytes += BLOCK_BYTES + Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
  }
  return { entries: entries.length, contentBytes, diskBytes };
}

const asBytes = (text: string): Buffer => Buffer.from(text, "latin1");

function entryType(stat: Stat, path: string): Entry["type"] {
  if (stat.type === "file" || stat.type === "directory" || stat.type === "symlink") return stat.type;
  throw new Problem({
    code: "E_BAD_FILE_TYPE",
    message: `${asBytes(path).toString()} is a ${stat.type}; a store item holds regular files, directories and symbolic links only`,
    hint: "garth store verify looks at what is in the store",
  });
}

/** Depth first, names of a directory sorted by their bytes. */
function* entriesOf(files: Files, physical: string, name: string): Generator<Entry> {
  const root = Buffer.from(physical).toString("latin1");
  function* visit(place: string, path: string, name: string, depth: number): Generator<Entry> {
    const stat = files.lstat(asBytes(place));
    const type = entryType(stat, place);
    const sizeBytes = type === "file" ? stat.sizeBytes : 0;
    const target = type === "symlink" ? Buffer.from(files.readLink(asBytes(place))).toString("latin1") : undefined;
    yield { path, name, type, mode: stat.mode, sizeBytes, target, depth };
    if (type !== "directory") return;
    const names = files.list(asBytes(place)).map((one) => Buffer.from(one).toString("latin1"));
    // Characters below 256 sort as the bytes that they are.
    for (const one of names.toSorted()) yield* visit(`${place}/${one}`, `${path}/${one}`, one, depth + 1);
  }
  yield* visit(root, name, name, 0);
}

function member(path: string, entry: Pick<Entry, "type" | "mode" | "sizeBytes" | "target">): Uint8Array {
  const said: TarMember = {
    path,
    type: entry.type,
    mode: entry.mode,
    uname: "",
    gname: "",
    sizeBytes: entry.sizeBytes,
    mtimeSeconds: MTIME_SECONDS,
    ...(entry.target === undefined ? {} : { target: entry.target }),
  };
  return tarHeader(said, "bytes");
}

const plainFile = (sizeBytes: number) => ({ type: "file", mode: 0o444, sizeBytes, target: undefined }) as const;

/** As vis(3) writes it, for every reader: octal where a byte has a meaning or none that can be seen. */
function vis(bytes: string): string {
  return bytes.replaceAll(/[^!-~]|[#=*?[\\]/g, (found) => `\\${(found.codePointAt(0) ?? 0).toString(8).padStart(3, "0")}`);
}

/**
 * A name with characters of a pattern is one for mtree(8), before or behind vis(3), depending on its version: then it is written as the pattern
 * that only this name matches.
 */
function specName(name: string): string {
  if (!/[*?[]/.test(name)) return vis(name);
  return name.replaceAll(/[*?[]|\\|[^*?[\\]+/g, (part) => {
    if (part === "\\") return String.raw`\134\134`;
    return /^[*?[]/.test(part) ? `[${part}]` : vis(part);
  });
}

function specLine(entry: Entry, sha256: string | undefined): string {
  const name = specName(entry.name);
  switch (entry.type) {
    case "directory":
      return `${name} type=dir mode=${entry.mode.toString(8).padStart(4, "0")} uid=0 gid=0\n`;
    case "symlink":
      return `${name} type=link uid=0 gid=0 link=${vis(entry.target ?? "")}\n`;
    case "file":
      return `${name} type=file mode=${entry.mode.toString(8).padStart(4, "0")} uid=0 gid=0 size=${entry.sizeBytes} sha256digest=${sha256 ?? ""}\n`;
  }
}

/** Collects what is to be sent into chunks, each of them the receiver's to keep. */
class Chunks {
  #buffer = new Uint8Array(CHUNK_BYTES);
  #filled = 0;
  readonly full: Uint8Array[] = [];

  put(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength;) {
      const room = this.room(bytes.byteLength - at);
      room.set(bytes.subarray(at, at + room.byteLength));
      this.took(room.byteLength);
      at += room.byteLength;
    }
  }

  zeros(count: number): void {
    for (let left = count; left > 0;) {
      const room = this.room(left);
      room.fill(0);
      this.took(room.byteLength);
      left -= room.byteLength;
    }
  }

  /** Where the next bytes belong; at most as many as wanted, at least one. */
  room(wanted: number): Uint8Array {
    return this.#buffer.subarray(this.#filled, Math.min(this.#filled + wanted, CHUNK_BYTES));
  }

  took(count: number): void {
    this.#filled += count;
    if (this.#filled === CHUNK_BYTES) this.flush();
  }

  flush(): void {
    if (this.#filled === 0) return;
    this.full.push(this.#buffer.subarray(0, this.#filled));
    this.#buffer = new Uint8Array(CHUNK_BYTES);
    this.#filled = 0;
  }

  *take(): Generator<Uint8Array> {
    yield* this.full.splice(0);
  }
}

function changed(entry: Entry): Problem {
  return new Problem({
    code: "E_CHANGED_WHILE_READING",
    message: `${asBytes(entry.path).toString()} became shorter while it was sent`,
    hint: "garth store verify looks at what is in the store",
  });
}

/** The contents into the chunks; returns their SHA-256. */
function* contents(files: Files, place: string, entry: Entry, chunks: Chunks): Generator<Uint8Array, string> {
  const hasher = sha256Hasher();
  const descriptor = files.open(asBytes(place), "r");
  try {
    for (let at = 0; at < entry.sizeBytes;) {
      const room = chunks.room(entry.sizeBytes - at);
      const count = files.read(descriptor, room, at);
      if (count === 0) throw changed(entry);
      hasher.update(room.subarray(0, count));
      chunks.took(count);
      at += count;
      yield* chunks.take();
    }
  } finally {
    files.close(descriptor);
  }
  return hasher.digest("hex");
}

const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** An item's part of the mtree(5), line by line. */
class Spec {
  readonly #lines: string[] = [];
  #open = 0;

  add(entry: Entry, sha256: string | undefined): void {
    this.#leaveTo(entry.depth);
    this.#lines.push(specLine(entry, sha256));
    if (entry.type === "directory") this.#open += 1;
  }

  #leaveTo(depth: number): void {
    for (; this.#open > depth; this.#open -= 1) this.#lines.push("..\n");
  }

  end(): Buffer {
    this.#leaveTo(0);
    return asBytes(`${this.#lines.join("")}${SPEC_END}\n`);
  }
}

const entriesOfItem = (files: Files, { path, physical, entries }: SentItem): Iterable<Entry> =>
  entries ?? entriesOf(files, physical, baseName(path));

/** The size that `archiveOf` will have. */
export function archiveBytes(files: Files, items: readonly SentItem[]): number {
  let size = tarEnd().byteLength;
  const withContent = (header: Uint8Array, count: number): number => header.byteLength + count + paddingOf(count);
  for (const item of items) {
    const name = baseName(item.path);
    const spec = new Spec();
    for (const entry of entriesOfItem(files, item)) {
      size += withContent(member(`t/${entry.path}`, entry), entry.sizeBytes);
      spec.add(entry, EMPTY_SHA256);
    }
    const count = spec.end().byteLength;
    size += withContent(member(`s/${name}`, plainFile(count)), count);
    size += withContent(member(`w/${name}`, plainFile(0)), 0);
  }
  return size;
}

function* itemArchive(files: Files, item: SentItem, chunks: Chunks): Generator<Uint8Array> {
  const { path, physical } = item;
  const name = baseName(path);
  const above = Buffer.from(physical).toString("latin1");
  const spec = new Spec();
  for (const entry of entriesOfItem(files, item)) {
    chunks.put(member(`t/${entry.path}`, entry));
    let sha256: string | undefined;
    if (entry.type === "file") {
      const place = `${above}${entry.path.slice(name.length)}`;
      sha256 = entry.sizeBytes === 0 ? EMPTY_SHA256 : yield* contents(files, place, entry, chunks);
      chunks.zeros(paddingOf(entry.sizeBytes));
    }
    spec.add(entry, sha256);
    yield* chunks.take();
  }
  const text = spec.end();
  chunks.put(member(`s/${name}`, plainFile(text.byteLength)));
  chunks.put(text);
  chunks.zeros(paddingOf(text.byteLength));
  chunks.put(member(`w/${name}`, plainFile(0)));
  yield* chunks.take();
}

export interface Pace {
  /** Nothing is read before it settles. */
  readonly mayBegin: Promise<unknown>;
  /** All bytes were taken. */
  readonly onWritten: () => void;
  /** The end of the input waits for it. */
  readonly mayEnd: Promise<unknown>;
  readonly onBytes: (count: number) => void;
}

/** The archive of these items, each behind those before it. */
export async function* archiveOf(files: Files, items: readonly SentItem[], pace: Pace): AsyncGenerator<Uint8Array> {
  const chunks = new Chunks();
  await pace.mayBegin;
  for (const item of items) {
    for (const chunk of itemArchive(files, item, chunks)) {
      pace.onBytes(chunk.byteLength);
      yield chunk;
    }
  }
  chunks.put(tarEnd());
  chunks.flush();
  for (const chunk of chunks.take()) {
    pace.onBytes(chunk.byteLength);
    yield chunk;
  }
  pace.onWritten();
  await pace.mayEnd;
}
