/**
 * Carries a block image out in one pass: pieces in order into a file, its digest beside.
 *
 *     window ──filled from files and bytes──► hashed on one thread, written on another ──► next window
 *
 * What no piece covers stays a hole of the file, and is hashed as the zeros it reads as. Three windows go around, so that reading,
 * hashing and writing overlap. What is hashed is written past the page cache where the file system lets us: the disk has it when the
 * last of it is hashed, and whoever makes it durable has little to wait for.
 */
import { Problem } from "../base/index.ts";
import type { BlockImage, Piece } from "../formats/index.ts";
import { type BesideFile, type BesideHasher, type Host, isErrno } from "../host/index.ts";

export const WINDOW_BYTES = 4 << 20;
const WINDOWS = 3;

export interface WriteOptions {
  /** Where the content that the pieces call `file` lies on this host. */
  readonly locate: (file: string) => string;
  /** false: none is taken, and the kernel copies what it can from file to file. */
  readonly digest?: boolean;
  readonly signal?: AbortSignal;
}

export interface Written {
  /** "" where none was wanted. */
  readonly sha256: string;
  /** Bytes that were written: the image less its holes. */
  readonly writtenBytes: number;
}

/** `file` must not be there; what this made is gone again when it throws. @throws Problem E_IMAGE_SOURCE, E_NO_SPACE, E_INTERRUPTED */
export async function writeBlocks(host: Host, image: BlockImage, file: string, options: WriteOptions): Promise<Written> {
  const hasher = options.digest === false ? undefined : host.hashBeside();
  let beside: BesideFile | undefined;
  let descriptor: number | undefined;
  try {
    if (hasher !== undefined) beside = host.files.createBeside(file, 0o644);
    descriptor = host.files.open(file, beside === undefined ? "wx" : "r+", 0o644);
    host.files.truncate(descriptor, image.sizeBytes);
    const writtenBytes =
      beside === undefined
        ? await copied(host, image, descriptor, options)
        : await pass(host, image, { write: beside.write, hasher, options });
    return { sha256: (await hasher?.digest()) ?? "", writtenBytes };
  } catch (error) {
    // What was there before is somebody else's.
    if (beside !== undefined || descriptor !== undefined) host.files.unlink(file);
    if (isErrno(error, "ENOSPC", "EDQUOT")) throw noSpace(file, image.sizeBytes, error);
    throw error;
  } finally {
    if (descriptor !== undefined) host.files.close(descriptor);
    beside?.close();
    hasher?.close();
  }
}

interface Writing {
  readonly write: (data: Uint8Array, position: number) => Promise<void>;
  readonly hasher: BesideHasher | undefined;
  readonly options: WriteOptions;
}

interface Window {
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  /** Settles when hash and file have it. */
  done: Promise<unknown>;
}

/** Pieces from here on are copied by the kernel, where no digest asks to see them. */
const COPIED_BYTES = 64 << 10;

/** Without a digest nothing has to come through here: files go from file to file. */
async function copied(host: Host, image: BlockImage, descriptor: number, options: WriteOptions): Promise<number> {
  const rest: Piece[] = [];
  const reader = new PieceReader(host, image.pieces, options.locate);
  let writtenBytes = 0;
  try {
    for (const piece of image.pieces) {
      options.signal?.throwIfAborted();
      if (piece.kind !== "file" || piece.sizeBytes < COPIED_BYTES) {
        rest.push(piece);
        continue;
      }
      const { at, offset, sizeBytes } = piece;
      const done = host.files.copyRange(reader.descriptorOf(piece.file), offset, descriptor, at, sizeBytes);
      writtenBytes += done;
      if (done < sizeBytes) rest.push({ ...piece, at: at + done, offset: offset + done, sizeBytes: sizeBytes - done });
    }
  } finally {
    reader.close();
  }
  const write: Writing["write"] = (data, position) => host.files.writeBeside(descriptor, data, position);
  return writtenBytes + (await pass(host, { ...image, pieces: rest }, { write, hasher: undefined, options }));
}

async function pass(host: Host, image: BlockImage, { write, hasher, options }: Writing): Promise<number> {
  const windows = Array.from({ length: WINDOWS }, (): Window => ({
    bytes: new Uint8Array(new SharedArrayBuffer(WINDOW_BYTES)),
    done: Promise.resolve(),
  }));
  const zeros = new Uint8Array(new SharedArrayBuffer(WINDOW_BYTES));
  const reader = new PieceReader(host, image.pieces, options.locate);
  // One after the other: a digest knows one order.
  let chain: Promise<unknown> = Promise.resolve();
  const hash = (bytes: Uint8Array<SharedArrayBuffer>): Promise<unknown> => (chain = chain.then(() => hasher?.update(bytes)));
  let writtenBytes = 0;
  try {
    for (let at = 0, turn = 0; at < image.sizeBytes; at += WINDOW_BYTES) {
      options.signal?.throwIfAborted();
      const length = Math.min(WINDOW_BYTES, image.sizeBytes - at);
      if (!reader.touches(at + length)) {
        hash(zeros.subarray(0, length)).catch(() => undefined);
        continue;
      }
      const window = windows[turn++ % WINDOWS];
      if (window === undefined) throw new Error("there are windows");
      await window.done;
      const view = window.bytes.subarray(0, length);
      const spans = reader.fill(view, at);
      const hashed = hash(view);
      const writes = spans.map(({ from, to }) => write(view.subarray(from, to), at + from));
      writtenBytes += spans.reduce((sum, { from, to }) => sum + to - from, 0);
      window.done = Promise.all([hashed, ...writes]);
      // It is awaited when the window is wanted again; until then nobody else may be told of it.
      window.done.catch(() => undefined);
    }
    await Promise.all([chain, ...windows.map(({ done }) => done)]);
    return writtenBytes;
  } finally {
    await Promise.allSettled([chain, ...windows.map(({ done }) => done)]);
    reader.close();
  }
}

interface Span {
  readonly from: number;
  to: number;
}

/** Holes inside a window that are worth leaving out. */
export const HOLE_BYTES = 64 << 10;

/** Goes through the pieces once. A file that lies in several pieces in a row is opened once. */
export class PieceReader {
  readonly #host: Host;
  readonly #pieces: readonly Piece[];
  readonly #locate: (file: string) => string;
  #next = 0;
  #open: { readonly file: string; readonly descriptor: number } | undefined;

  constructor(host: Host, pieces: readonly Piece[], locate: (file: string) => string) {
    this.#host = host;
    this.#pieces = pieces;
    this.#locate = locate;
  }

  /** Whether a piece that was not read to its end begins before. */
  touches(end: number): boolean {
    const piece = this.#pieces[this.#next];
    return piece !== undefined && piece.at < end;
  }

  /** Fills the bytes of the image from `at` on; says which of them pieces cover. */
  fill(view: Uint8Array, at: number): readonly Span[] {
    const spans: Span[] = [];
    let cleared = 0;
    const end = at + view.length;
    for (; this.touches(end); this.#next++) {
      const piece = this.#pieces[this.#next];
      if (piece === undefined) break;
      const size = piece.kind === "bytes" ? piece.bytes.length : piece.sizeBytes;
      const from = Math.max(piece.at, at);
      const to = Math.min(piece.at + size, end);
      if (from - at > cleared) view.fill(0, cleared, from - at);
      this.#copy(piece, from - piece.at, view.subarray(from - at, to - at));
      cleared = to - at;
      const last = spans.at(-1);
      if (last !== undefined && from - at - last.to < HOLE_BYTES) last.to = to - at;
      else spans.push({ from: from - at, to: to - at });
      if (piece.at + size > end) break;
    }
    view.fill(0, cleared);
    return spans;
  }

  #copy(piece: Piece, offset: number, into: Uint8Array): void {
    if (piece.kind === "bytes") {
      into.set(piece.bytes.subarray(offset, offset + into.length));
      return;
    }
    const descriptor = this.descriptorOf(piece.file);
    for (let done = 0; done < into.length;) {
      const count = this.#host.files.read(descriptor, into.subarray(done), piece.offset + offset + done);
      if (count === 0) throw shorter(piece.file);
      done += count;
    }
  }

  descriptorOf(file: string): number {
    if (this.#open?.file === file) return this.#open.descriptor;
    this.close();
    try {
      const descriptor = this.#host.files.open(this.#locate(file), "r");
      this.#open = { file, descriptor };
      return descriptor;
    } catch (error) {
      if (!isErrno(error, "ENOENT", "ENOTDIR", "EACCES")) throw error;
      throw new Problem({
        code: "E_IMAGE_SOURCE",
        message: `writing an image: its file ${file} cannot be read`,
        where: this.#locate(file),
        hint: "`garth store verify` looks for damage",
        cause: error,
      });
    }
  }

  close(): void {
    if (this.#open !== undefined) this.#host.files.close(this.#open.descriptor);
    this.#open = undefined;
  }
}

function shorter(file: string): Problem {
  return new Problem({
    code: "E_IMAGE_SOURCE",
    message: `writing an image: ${file} is shorter than it was when the image was planned`,
    where: file,
    hint: "`garth store verify` looks for damage",
  });
}

function noSpace(file: string, sizeBytes: number, cause: unknown): Problem {
  return new Problem({
    code: "E_NO_SPACE",
    message: `writing an image of ${sizeBytes} bytes: the disk is full`,
    where: file,
    hint: "`garth store gc` removes what nothing needs",
    exit: 3,
    cause,
  });
}
