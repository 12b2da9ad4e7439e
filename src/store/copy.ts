/**
 * The copying half of `add`: the bytes that are hashed are the bytes that are written, from one buffer.
 *
 * Files are created on the runtime's threads while the next are read and hashed. The buffer is used again only when every write
 * from it has settled: the emitter asks for room before each entry.
 */
import { Problem } from "../base/index.ts";
import type { Files, PathLike } from "../host/index.ts";
import { CANONICAL_TIME_MS, DIRECTORY_MODE } from "./canonical.ts";
import type { NarStream } from "./stream.ts";
import { isExecutable, shownPath, type TreeEntry } from "./tree.ts";

/** Files up to this size are written whole from the buffer, larger ones by parts. */
const WHOLE_BYTES = 512 * 1024;
const FILE_MODE = 0o444;
const EXECUTABLE_MODE = 0o555;

export function changedWhileReading(entry: TreeEntry): Problem {
  return new Problem({
    code: "E_CHANGED_WHILE_READING",
    message: `${shownPath(entry.path)} became shorter while it was read`,
    hint: "let nothing write to it, and try again",
    where: shownPath(entry.path),
  });
}

/** Fills the stream with the next part of a file; the part is valid until the stream is written to again. */
export function readPart(files: Files, entry: TreeEntry, descriptor: number, at: number, stream: NarStream): Uint8Array {
  const room = stream.room(entry.stat.sizeBytes - at);
  const count = files.read(descriptor, room, at);
  if (count === 0) throw changedWhileReading(entry);
  return count === room.byteLength ? room : room.subarray(0, count);
}

interface Made {
  readonly path: PathLike;
  readonly mode: number;
}

/** One copy, from its first entry to `settle`. */
export class TreeCopy {
  readonly #files: Files;
  readonly #stream: NarStream;
  readonly #beside: ((part: Uint8Array) => Promise<void>) | undefined;
  #writing: Promise<void>[] = [];
  #made: Made[] = [];
  readonly #directories: PathLike[] = [];
  /** Whether files come out with the mode that was asked for: the process's umask may take bits away. Known from the first. */
  #modesHold: boolean | undefined;

  /** `beside` is given what is written by parts, and waited for with the writing. */
  constructor(files: Files, stream: NarStream, beside?: (part: Uint8Array) => Promise<void>) {
    this.#files = files;
    this.#stream = stream;
    this.#beside = beside;
  }

  /** Waits for the buffer, if framing of so many bytes and the entry's contents do not fit behind what is in it. */
  async prepare(entry: TreeEntry, framingBytes: number): Promise<void> {
    const contents = entry.type === "file" && entry.stat.sizeBytes <= WHOLE_BYTES ? entry.stat.sizeBytes : 0;
    if (this.#stream.freeBytes >= framingBytes + contents) return;
    await this.#drain();
    this.#stream.flush();
  }

  directory(path: PathLike): void {
    this.#files.makeDirectory(path, { mode: 0o700 });
  }

  /** Its time is set when nothing is made in it any more. */
  closeDirectory(path: PathLike): void {
    this.#directories.push(path);
  }

  symlink(path: PathLike, target: Uint8Array): void {
    this.#files.symlink(target, path);
    this.#files.setTimes(path, CANONICAL_TIME_MS);
  }

  async file(entry: TreeEntry, path: PathLike): Promise<void> {
    const mode = isExecutable(entry) ? EXECUTABLE_MODE : FILE_MODE;
    const whole = entry.stat.sizeBytes <= WHOLE_BYTES;
    if (!whole) await this.#drain();
    this.#made.push({ path, mode });
    if (entry.stat.sizeBytes === 0) {
      this.#writing.push(this.#files.writeNewBeside(path, new Uint8Array(), mode));
      return;
    }
    const descriptor = this.#files.open(entry.path, "r");
    try {
      if (whole) this.#whole(entry, descriptor, path, mode);
      else await this.#byParts(entry, descriptor, path, mode);
    } finally {
      this.#files.close(descriptor);
    }
  }

  #whole(entry: TreeEntry, descriptor: number, path: PathLike, mode: number): void {
    const size = entry.stat.sizeBytes;
    const room = this.#stream.room(size);
    for (let at = 0; at < size;) {
      const count = this.#files.read(descriptor, room.subarray(at), at);
      if (count === 0) throw changedWhileReading(entry);
      at += count;
    }
    this.#stream.advance(size);
    this.#writing.push(this.#files.writeNewBeside(path, room, mode));
  }

  async #byParts(entry: TreeEntry, descriptor: number, path: PathLike, mode: number): Promise<void> {
    const output = this.#files.createBeside(path, mode);
    try {
      for (let at = 0; at < entry.stat.sizeBytes;) {
        this.#stream.flush();
        const part = readPart(this.#files, entry, descriptor, at, this.#stream);
        const writing = Promise.all([output.write(part, at), this.#beside?.(part)]);
        try {
          this.#stream.advance(part.byteLength);
          this.#stream.flush();
        } finally {
          await writing;
        }
        at += part.byteLength;
      }
    } finally {
      output.close();
    }
  }

  async #drain(): Promise<void> {
    const results = await Promise.allSettled(this.#writing);
    this.#writing = [];
    for (const result of results) if (result.status === "rejected") throw result.reason;
    const [first] = this.#made;
    if (first !== undefined) this.#modesHold ??= this.#files.lstat(first.path).mode === first.mode;
    for (const { path, mode } of this.#made) {
      if (this.#modesHold === false) this.#files.chmod(path, mode);
      this.#files.setTimes(path, CANONICAL_TIME_MS);
    }
    this.#made = [];
  }

  /** Everything is written and has its canonical metadata. */
  async settle(): Promise<void> {
    await this.#drain();
    for (const path of this.#directories) {
      this.#files.chmod(path, DIRECTORY_MODE);
      this.#files.setTimes(path, CANONICAL_TIME_MS);
    }
  }

  /** After an error: nothing writes any more, so that the copy can be removed. */
  async abandon(): Promise<void> {
    await Promise.allSettled(this.#writing);
  }
}
