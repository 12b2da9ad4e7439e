/**
 * A strict reader of NARs: chunks in, events out, one file's contents never held whole.
 *
 * It accepts exactly the archives that a writer makes. Anything else ends in E_BAD_NAR with the offset: names that are empty,
 * '.', '..', hold '/' or NUL, come twice or out of order; padding that is not zero; a word that is not the expected one;
 * nesting deeper than 1,024; a name over 255 bytes or a target over 4,095; a truncated archive; bytes after its end.
 */
import { badNar, nameFault, paddingOf, shownName } from "./nar-write.ts";
import type { Problem } from "../base/index.ts";

export type NarEvent =
  | { readonly type: "directory" }
  | { readonly type: "directory-end" }
  /** The node that follows is the entry of this name in the open directory. */
  | { readonly type: "entry"; readonly name: Uint8Array }
  | { readonly type: "symlink"; readonly target: Uint8Array }
  | { readonly type: "regular"; readonly executable: boolean; readonly sizeBytes: number }
  /** A part of the open file; valid until the next event is asked for, when the chunks given are reused. */
  | { readonly type: "contents"; readonly bytes: Uint8Array }
  | { readonly type: "regular-end" };

const MAX_DEPTH = 1024;
const MAX_NAME_BYTES = 255;
const MAX_TARGET_BYTES = 4095;
const MAX_WORD_BYTES = 16;

/** Takes exact numbers of bytes from a run of chunks. */
class Source {
  readonly #chunks: Iterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array();
  #at = 0;
  #taken = 0;

  constructor(chunks: Iterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.iterator]();
  }

  fail(message: string): Problem {
    return badNar(`${message} at byte ${this.#taken} of the archive`);
  }

  /** Up to `limit` bytes, at least one; undefined at the end. */
  some(limit: number): Uint8Array | undefined {
    while (this.#at === this.#chunk.byteLength) {
      const next = this.#chunks.next();
      if (next.done === true) return undefined;
      this.#chunk = next.value;
      this.#at = 0;
    }
    const end = Math.min(this.#chunk.byteLength, this.#at + limit);
    const bytes = this.#chunk.subarray(this.#at, end);
    this.#at = end;
    this.#taken += bytes.byteLength;
    return bytes;
  }

  /** A copy of exactly `count` bytes. */
  exactly(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    for (let filled = 0; filled < count;) {
      const part = this.some(count - filled);
      if (part === undefined) throw this.fail("truncated");
      bytes.set(part, filled);
      filled += part.byteLength;
    }
    return bytes;
  }

  length(): number {
    const length = Buffer.from(this.exactly(8).buffer).readBigUInt64LE();
    if (length > BigInt(Number.MAX_SAFE_INTEGER)) throw this.fail(`an impossible length ${length}`);
    return Number(length);
  }

  padding(length: number): void {
    const count = paddingOf(length);
    if (count > 0 && this.exactly(count).some((byte) => byte !== 0)) throw this.fail("padding that is not zero");
  }

  bytes(limit: number, what: string): Uint8Array {
    const length = this.length();
    if (length > limit) throw this.fail(`${what} of ${length} bytes`);
    const bytes = this.exactly(length);
    this.padding(length);
    return bytes;
  }

  word(): string {
    return Buffer.from(this.bytes(MAX_WORD_BYTES, "a word").buffer).toString("latin1");
  }

  expect(word: string): void {
    const found = this.word();
    if (found !== word) throw this.fail(`${JSON.stringify(found)} where ${JSON.stringify(word)} belongs, before`);
  }
}

/**
 * Reads one archive. The events of a directory nest; every entry is followed by its node.
 *
 * @throws Problem E_BAD_NAR
 */
export function* readNar(chunks: Iterable<Uint8Array>): Generator<NarEvent, void> {
  const source = new Source(chunks);
  source.expect("nix-archive-1");
  yield* readNode(source, 0);
  if (source.some(1) !== undefined) throw source.fail("more after the end, found");
}

function* readNode(source: Source, depth: number): Generator<NarEvent, void> {
  if (depth > MAX_DEPTH) throw source.fail(`nested deeper than ${MAX_DEPTH}`);
  source.expect("(");
  source.expect("type");
  const type = source.word();
  switch (type) {
    case "regular":
      yield* readRegular(source);
      return source.expect(")");
    case "symlink": {
      source.expect("target");
      const target = source.bytes(MAX_TARGET_BYTES, "a link's target");
      if (target.byteLength === 0 || target.includes(0)) throw source.fail("a link's target that is empty or holds a zero byte");
      yield { type: "symlink", target };
      return source.expect(")");
    }
    case "directory":
      return yield* readDirectory(source, depth);
    default:
      throw source.fail(`an unknown type of node ${JSON.stringify(type)}`);
  }
}

function* readRegular(source: Source): Generator<NarEvent, void> {
  let word = source.word();
  const executable = word === "executable";
  if (executable) {
    source.expect("");
    word = source.word();
  }
  if (word !== "contents") throw source.fail(`${JSON.stringify(word)} where "contents" belongs, before`);
  const sizeBytes = source.length();
  yield { type: "regular", executable, sizeBytes };
  for (let left = sizeBytes; left > 0;) {
    const bytes = source.some(left);
    if (bytes === undefined) throw source.fail("truncated inside a file's contents");
    left -= bytes.byteLength;
    yield { type: "contents", bytes };
  }
  source.padding(sizeBytes);
  yield { type: "regular-end" };
}

function* readDirectory(source: Source, depth: number): Generator<NarEvent, void> {
  yield { type: "directory" };
  let last: Uint8Array | undefined;
  for (;;) {
    const word = source.word();
    if (word === ")") break;
    if (word !== "entry") throw source.fail(`${JSON.stringify(word)} where "entry" belongs, before`);
    source.expect("(");
    source.expect("name");
    const name = source.bytes(MAX_NAME_BYTES, "a name");
    const fault = nameFault(name);
    if (fault !== undefined) throw source.fail(`the name ${shownName(name)} ${fault},`);
    if (last !== undefined && Buffer.compare(last, name) >= 0) {
      throw source.fail(`the name ${shownName(name)} comes twice or out of order,`);
    }
    last = name;
    source.expect("node");
    yield { type: "entry", name };
    yield* readNode(source, depth + 1);
    source.expect(")");
  }
  yield { type: "directory-end" };
}
