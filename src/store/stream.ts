/**
 * One pass over a NAR: read, scan, replace, hash, through one buffer and without copying contents.
 *
 * Framing, names, targets and contents all flow through, so a hash is found wherever it stands, and an occurrence cannot be
 * missed at a chunk's end: the last bytes of each chunk are kept until the next one has come. Framing holds zero bytes, so no
 * false occurrence can arise between two files.
 */
import { type Hasher, sha256Hasher } from "../base/index.ts";
import { HASH_BYTES, type HashTable, scanHashes } from "../formats/index.ts";

/** A path of some store item, whole: found even where its hash was never a candidate. */
const PREFIX = Buffer.from("/frx/store/", "latin1");
const PATH_BYTES = PREFIX.byteLength + HASH_BYTES;
const KEPT_BYTES = PATH_BYTES - 1;
export const BUFFER_BYTES = 2 * 1024 * 1024;
/** Reading a large file in pieces smaller than this would cost more in calls than in bytes. */
const MIN_ROOM_BYTES = 256 * 1024;

/** A buffer that holds so much, or the usual one: a small output must not pay for clearing megabytes. */
export function bufferFor(bytes: number): Uint8Array {
  return new Uint8Array(Math.min(BUFFER_BYTES, bytes));
}

export interface Occurrence {
  /** Index in the table's hashes. */
  readonly hash: number;
  /** In the archive. */
  readonly offset: number;
}

export interface StreamOptions {
  readonly table?: HashTable;
  /** Index in the table -> the 64 bytes to put in its place before hashing. */
  readonly replace?: ReadonlyMap<number, Uint8Array>;
  /** Called once for each hash that follows `/frx/store/` and is not in the table; says whether to remember it. */
  readonly isForeign?: (hash: string) => boolean;
  /** false only scans. */
  readonly digest?: boolean;
  /** A second digest, over contents alone: of a single file, its own. */
  readonly flat?: Hasher;
}

export class NarStream {
  readonly #options: StreamOptions;
  readonly #buffer: Uint8Array;
  readonly #hasher: Hasher | undefined;
  readonly #seen = new Map<string, boolean>();
  #filled = 0;
  /** Offset in the archive of the buffer's first byte. */
  #base = 0;
  /** Everything that ends at or before this offset has been looked at. */
  #scanned = 0;

  /** Table index -> first offset. */
  readonly found = new Map<number, number>();
  /** Every occurrence of a hash that `replace` names, in the order of the archive once `end` was called. */
  readonly replaced: Occurrence[] = [];
  /** Hashes that `isForeign` remembered, with the first offset. */
  readonly foreign = new Map<string, number>();

  constructor(options: StreamOptions = {}, buffer: Uint8Array = new Uint8Array(BUFFER_BYTES)) {
    this.#options = options;
    this.#buffer = buffer;
    this.#hasher = options.digest === false ? undefined : sha256Hasher();
    for (const hash of options.table?.hashes ?? []) this.#seen.set(hash, false);
  }

  /** Bytes of the archive so far. */
  get position(): number {
    return this.#base + this.#filled;
  }

  /** What fits before the buffer is hashed and used again. */
  get freeBytes(): number {
    return this.#buffer.byteLength - this.#filled;
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength;) {
      if (this.#filled === this.#buffer.byteLength) this.flush();
      const part = at === 0 ? bytes : bytes.subarray(at);
      const room = this.#buffer.byteLength - this.#filled;
      const fits = part.byteLength <= room ? part : part.subarray(0, room);
      this.#buffer.set(fits, this.#filled);
      this.#filled += fits.byteLength;
      at += fits.byteLength;
    }
  }

  /** Where the next bytes of contents belong: fill some of it and say how many with `advance`. Valid until then. */
  room(wanted: number): Uint8Array {
    if (this.#buffer.byteLength - this.#filled < Math.min(wanted, MIN_ROOM_BYTES)) this.flush();
    return this.#buffer.subarray(this.#filled, Math.min(this.#buffer.byteLength, this.#filled + wanted));
  }

  advance(count: number): void {
    if (this.#options.flat !== undefined) this.#options.flat.update(this.#buffer.subarray(this.#filled, this.#filled + count));
    this.#filled += count;
  }

  /** An occurrence that the writer has replaced itself, in a name. */
  note(hash: number, offset: number): void {
    if (!this.found.has(hash)) this.found.set(hash, offset);
    this.replaced.push({ hash, offset });
  }

  /** Scans and hashes what has come, but for the last bytes. */
  flush(): void {
    this.#scan();
    const scanning = this.#options.table !== undefined || this.#options.isForeign !== undefined;
    const kept = scanning ? Math.min(KEPT_BYTES, this.#filled) : 0;
    const done = this.#filled - kept;
    this.#hasher?.update(this.#buffer.subarray(0, done));
    if (kept > 0) this.#buffer.copyWithin(0, done, this.#filled);
    this.#base += done;
    this.#filled = kept;
  }

  #scan(): void {
    const { table, replace, isForeign } = this.#options;
    const before = this.#scanned - this.#base;
    if (table !== undefined) {
      scanHashes(table, this.#buffer, this.#filled, (hash, start) => {
        if (start + HASH_BYTES <= before) return;
        const offset = this.#base + start;
        const first = this.found.get(hash);
        if (first === undefined || offset < first) this.found.set(hash, offset);
        const instead = replace?.get(hash);
        if (instead === undefined) return;
        this.#buffer.set(instead, start);
        this.replaced.push({ hash, offset });
      });
    }
    if (isForeign !== undefined) this.#scanForeign(isForeign, before);
    this.#scanned = this.#base + this.#filled;
  }

  #scanForeign(isForeign: (hash: string) => boolean, before: number): void {
    const view = Buffer.from(this.#buffer.buffer, this.#buffer.byteOffset, this.#filled);
    for (let at = view.indexOf(PREFIX); at >= 0 && at + PATH_BYTES <= this.#filled; at = view.indexOf(PREFIX, at + 1)) {
      if (at + PATH_BYTES <= before) continue;
      const hash = view.toString("latin1", at + PREFIX.byteLength, at + PATH_BYTES);
      let remembered = this.#seen.get(hash);
      if (remembered === undefined) {
        remembered = isForeign(hash);
        this.#seen.set(hash, remembered);
      }
      if (remembered && !this.foreign.has(hash)) this.foreign.set(hash, this.#base + at);
    }
  }

  /** The rest. `tail` is given what was replaced and may add to what is hashed. Returns digest and size of the archive. */
  end(trailer?: (replaced: readonly Occurrence[]) => string): { readonly sha256: string; readonly sizeBytes: number } {
    this.#scan();
    this.#hasher?.update(this.#buffer.subarray(0, this.#filled));
    const sizeBytes = this.position;
    this.replaced.sort((a, b) => a.offset - b.offset);
    if (trailer !== undefined) this.#hasher?.update(trailer(this.replaced));
    return { sha256: this.#hasher?.digest("hex") ?? "", sizeBytes };
  }
}
