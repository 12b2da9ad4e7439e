/**
 * The framing of a NAR, in order, to a sink. Contents do not pass through here: after `regular` the caller sends exactly
 * `sizeBytes` bytes to the same sink and then calls `endRegular`. So a file can be read straight into the sink's buffer.
 */
import { Problem } from "../base/index.ts";

const text = (value: string): Uint8Array => Buffer.from(value, "latin1");

export function badNar(message: string, hint = "the archive is truncated, tampered with, or not a NAR"): Problem {
  return new Problem({ code: "E_BAD_NAR", message, hint });
}

/** Zeros after `length` bytes, up to a multiple of 8. */
export function paddingOf(length: number): number {
  return (8 - (length % 8)) % 8;
}

function lengthWord(length: number): Uint8Array {
  const word = Buffer.alloc(8);
  word.writeBigUInt64LE(BigInt(length));
  return word;
}

function str(value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === "string" ? text(value) : value;
  return Buffer.concat([lengthWord(bytes.byteLength), bytes, Buffer.alloc(paddingOf(bytes.byteLength))]);
}

function strs(...values: readonly string[]): Uint8Array {
  return Buffer.concat(values.map(str));
}

const MAGIC = str("nix-archive-1");
const REGULAR = strs("(", "type", "regular", "contents");
const EXECUTABLE = strs("(", "type", "regular", "executable", "", "contents");
const SYMLINK = strs("(", "type", "symlink", "target");
const DIRECTORY = strs("(", "type", "directory");
const ENTRY = strs("entry", "(", "name");
const NODE = str("node");
const CLOSE = str(")");
const ZEROS = Buffer.alloc(8);

/** Why these bytes cannot name an entry, or undefined. */
export function nameFault(name: Uint8Array): string | undefined {
  if (name.byteLength === 0) return "is empty";
  if (name[0] === 0x2e && (name.byteLength === 1 || (name.byteLength === 2 && name[1] === 0x2e))) return "is '.' or '..'";
  for (const byte of name) {
    if (byte === 0x2f) return "holds a slash";
    if (byte === 0) return "holds a zero byte";
  }
  return undefined;
}

/** A name as people can read it, whatever its bytes. */
export function shownName(name: Uint8Array): string {
  return JSON.stringify(Buffer.from(name.buffer, name.byteOffset, name.byteLength).toString("utf8"));
}

/** Lives from the first node to `end`. The sink must take or copy the bytes before it returns: they are reused. */
export class NarWriter {
  readonly #sink: (bytes: Uint8Array) => void;
  readonly #word = Buffer.alloc(8);
  /** One element per open directory: the last name in it. */
  readonly #open: (Uint8Array | undefined)[] = [];
  #pad = 0;

  constructor(sink: (bytes: Uint8Array) => void) {
    this.#sink = sink;
    sink(MAGIC);
  }

  #length(length: number): void {
    // Two halves: a file of 4 GiB and more does not fit 32 bits, and BigInt would be made for each small one.
    this.#word.writeUInt32LE(length % 0x1_0000_0000, 0);
    this.#word.writeUInt32LE(Math.floor(length / 0x1_0000_0000), 4);
    this.#sink(this.#word);
  }

  #bytes(bytes: Uint8Array): void {
    this.#length(bytes.byteLength);
    this.#sink(bytes);
    const pad = paddingOf(bytes.byteLength);
    if (pad > 0) this.#sink(ZEROS.subarray(0, pad));
  }

  /** `)` of the node, and of the entry that holds it. */
  #closeNode(): void {
    this.#sink(CLOSE);
    if (this.#open.length > 0) this.#sink(CLOSE);
  }

  regular(executable: boolean, sizeBytes: number): void {
    this.#sink(executable ? EXECUTABLE : REGULAR);
    this.#length(sizeBytes);
    this.#pad = paddingOf(sizeBytes);
  }

  endRegular(): void {
    if (this.#pad > 0) this.#sink(ZEROS.subarray(0, this.#pad));
    this.#closeNode();
  }

  symlink(target: Uint8Array): void {
    this.#sink(SYMLINK);
    this.#bytes(target);
    this.#closeNode();
  }

  directory(): void {
    this.#sink(DIRECTORY);
    this.#open.push(undefined);
  }

  /** @throws Problem E_BAD_NAR when the name cannot be, or does not come after the one before */
  entry(name: Uint8Array): void {
    const fault = nameFault(name);
    if (fault !== undefined) throw badNar(`the name ${shownName(name)} ${fault}`, "such a file cannot be archived");
    const last = this.#open.at(-1);
    if (last !== undefined && Buffer.compare(last, name) >= 0) {
      throw badNar(`${shownName(name)} does not come after ${shownName(last)}`, "entries must be sorted by their bytes");
    }
    this.#open[this.#open.length - 1] = name;
    this.#sink(ENTRY);
    this.#bytes(name);
    this.#sink(NODE);
  }

  endDirectory(): void {
    this.#open.pop();
    this.#closeNode();
  }

  /** @throws Error when a directory is still open: a bug of the caller */
  end(): void {
    if (this.#open.length > 0) throw new Error("the archive ends inside a directory");
  }
}
