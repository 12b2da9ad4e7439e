/**
 * A strict tar reader that pulls: it asks for bytes only when somebody asks it for a member or for content, holds one header
 * and one chunk at a time, and stops at the first thing that is wrong. What a caller leaves unread of a member is skipped.
 */
import { Problem } from "../base/index.ts";
import { BLOCK, FIELD, type FieldName, headerChecksum, paddingOf, type TarMember, type TarNames, type TarType } from "./tar.ts";

export interface TarLimits {
  readonly members: number;
  /** Of all contents together, headers left out. */
  readonly contentBytes: number;
}

export interface TarReading {
  /** Default "text": what is not UTF-8 is refused. */
  readonly names?: TarNames;
  /** As `tar -C DIRECTORY .` writes: names may begin with "./", which is taken off, and the directory itself is "". */
  readonly belowDot?: boolean;
}

export interface TarEntry extends TarMember {
  /** May be taken once, before the next entry is asked for. */
  readonly content: () => AsyncGenerator<Uint8Array>;
}

const MAXIMUM_PATH_BYTES = 4096;
const MAXIMUM_EXTENSION_BYTES = 1 << 20;
const TYPES: Readonly<Record<string, TarType | undefined>> = {
  "0": "file",
  "\0": "file",
  "7": "file",
  "1": "hardlink",
  "2": "symlink",
  "5": "directory",
};

/**
 * The members of an archive in order. `name` is what the archive is called in an error.
 *
 * @throws Problem E_ARCHIVE_TRUNCATED, E_ARCHIVE_DAMAGED, E_ARCHIVE_MEMBER (a kind or a name that is not allowed),
 *   E_ARCHIVE_LIMIT
 */
export async function* readTar(
  source: AsyncIterable<Uint8Array>,
  name: string,
  limits: TarLimits,
  { names = "text", belowDot = false }: TarReading = {},
): AsyncGenerator<TarEntry, void, undefined> {
  const decode = DECODE[names];
  const bytes = new ByteSource(source, name);
  try {
    let extensions: Extensions = {};
    let left = limits.contentBytes;
    let members = 0;
    for (;;) {
      const block = await bytes.block();
      if (block.every((byte) => byte === 0)) {
        await bytes.expectEnd();
        return;
      }
      const header = parseHeader(block, name, decode);
      if (header.kind === "extension") {
        if (header.sizeBytes > MAXIMUM_EXTENSION_BYTES) throw limit(name, "an extended header", MAXIMUM_EXTENSION_BYTES);
        const body = await bytes.exactly(header.sizeBytes);
        await bytes.exactly(paddingOf(header.sizeBytes));
        Object.assign(extensions, parseExtension(header.flag, body, name, decode));
        continue;
      }
      members += 1;
      if (members > limits.members) throw limit(name, "the number of members", limits.members);
      const member = applyExtensions(header, extensions, name, belowDot);
      extensions = {};
      left -= member.sizeBytes;
      if (left < 0) throw limit(name, "the size of the contents", limits.contentBytes);
      const reading = bytes.content(member.sizeBytes);
      yield { ...member, content: () => reading };
      for await (const _ of reading) {
        // Skipped by whoever took the member.
      }
      await bytes.skip();
    }
  } finally {
    await bytes.close();
  }
}

type Extensions = { readonly path?: string; readonly target?: string; readonly sizeBytes?: number };

type Header =
  | { readonly kind: "extension"; readonly flag: "x" | "g" | "L" | "K"; readonly sizeBytes: number }
  | ({ readonly kind: "member" } & TarMember);

function parseHeader(block: Uint8Array, archive: string, decode: Decode): Header {
  const magic = latin1(block, "magic");
  const gnu = magic === "ustar  \0";
  if (!gnu && !magic.startsWith("ustar\0")) throw damaged(archive, "a header is not ustar, pax or GNU tar");
  if (number(block, "checksum", archive) !== headerChecksum(block)) throw damaged(archive, "a header has a wrong checksum");

  const flag = latin1(block, "type");
  const sizeBytes = number(block, "size", archive);
  if (flag === "x" || flag === "g" || flag === "L" || flag === "K") return { kind: "extension", flag, sizeBytes };

  const prefix = gnu ? "" : terminated(block, "prefix", archive, decode);
  const path = terminated(block, "name", archive, decode);
  const type = TYPES[flag];
  if (type === undefined) throw badMember(archive, path, `is of a kind (${JSON.stringify(flag)}) that a package cannot have`);
  return {
    kind: "member",
    path: prefix === "" ? path : `${prefix}/${path}`,
    type,
    mode: number(block, "mode", archive) & 0o7777,
    uname: terminated(block, "uname", archive, decode),
    gname: terminated(block, "gname", archive, decode),
    sizeBytes,
    mtimeSeconds: number(block, "mtime", archive),
    ...(type === "symlink" || type === "hardlink" ? { target: terminated(block, "linkname", archive, decode) } : {}),
  };
}

function applyExtensions(header: TarMember, extensions: Extensions, archive: string, belowDot: boolean): TarMember {
  const said = extensions.path ?? header.path;
  const path = belowDot ? said.replace(/^\.(?:\/+|$)/, "") : said;
  const target = extensions.target ?? header.target;
  const sizeBytes = extensions.sizeBytes ?? header.sizeBytes;
  const links = header.type === "symlink" || header.type === "hardlink";
  const clean = path.replace(/\/+$/, "");
  if (sizeBytes !== 0 && header.type !== "file") throw badMember(archive, clean, `is a ${header.type} with content`);
  if (!belowDot || clean !== "" || header.type !== "directory") checkPath(clean, archive);
  if (links && (target === undefined || target === "" || target.includes("\0")))
    throw badMember(archive, clean, "links to nothing");
  const below = belowDot && header.type === "hardlink" ? target?.replace(/^\.\/+/, "") : target;
  if (header.type === "hardlink" && below !== undefined) checkPath(below, archive);
  const { mode, uname, gname, mtimeSeconds, type } = header;
  const member = { path: clean, type, mode, uname, gname, sizeBytes, mtimeSeconds };
  return links && below !== undefined ? { ...member, target: below } : member;
}

function checkPath(path: string, archive: string): void {
  const parts = (path.startsWith("/") ? path.slice(1) : path).split("/");
  if (path.includes("\0") || parts.some((part) => part === "" || part === "." || part === "..")) {
    throw badMember(archive, path, "has a name that could lead out of the directory it is unpacked in");
  }
  if (path.length > MAXIMUM_PATH_BYTES) throw limit(archive, "the length of a name", MAXIMUM_PATH_BYTES);
}

function parseExtension(flag: "x" | "g" | "L" | "K", body: Uint8Array, archive: string, decode: Decode): Extensions {
  if (flag === "L") return { path: decode(untilZero(body), archive) };
  if (flag === "K") return { target: decode(untilZero(body), archive) };
  const found: { path?: string; target?: string; sizeBytes?: number } = {};
  for (const [key, value] of paxRecords(body, archive, decode)) {
    if (flag === "g" && (key === "path" || key === "linkpath" || key === "size")) {
      throw damaged(archive, `a global header sets ${key} for every member`);
    }
    if (key === "path") found.path = value;
    else if (key === "linkpath") found.target = value;
    else if (key === "size") {
      if (!/^[0-9]{1,15}$/.test(value)) throw damaged(archive, "a pax header has a size that is not a number");
      found.sizeBytes = Number(value);
    } else if (key.startsWith("GNU.sparse")) throw damaged(archive, "sparse members are not read");
  }
  return found;
}

function paxRecords(body: Uint8Array, archive: string, decode: Decode): readonly (readonly [string, string])[] {
  const records: (readonly [string, string])[] = [];
  let offset = 0;
  while (offset < body.length) {
    const space = body.indexOf(0x20, offset);
    const digits = space < 0 || space - offset > 8 ? "" : String.fromCharCode(...body.subarray(offset, space));
    const length = /^[1-9][0-9]*$/.test(digits) ? Number(digits) : 0;
    const end = offset + length;
    if (length === 0 || end > body.length || end <= space + 1 || body[end - 1] !== 0x0a) {
      throw damaged(archive, "a pax record has a wrong length");
    }
    const record = decode(body.subarray(space + 1, end - 1), archive);
    const equals = record.indexOf("=");
    if (equals < 1) throw damaged(archive, "a pax record has no key");
    records.push([record.slice(0, equals), record.slice(equals + 1)]);
    offset = end;
  }
  return records;
}

/** Octal text, or GNU's base 256 where the top bit of the first byte is set. Negative numbers are refused. */
function number(block: Uint8Array, field: FieldName, archive: string): number {
  const [start, length] = FIELD[field];
  const bytes = block.subarray(start, start + length);
  const first = bytes[0] ?? 0;
  if (first & 0x80) {
    if (first !== 0x80) throw damaged(archive, `the field ${field} of a header is out of range`);
    let value = 0;
    for (const byte of bytes.subarray(1)) value = value * 256 + byte;
    if (!Number.isSafeInteger(value)) throw damaged(archive, `the field ${field} of a header is out of range`);
    return value;
  }
  const text = String.fromCharCode(...untilZero(bytes)).trim();
  if (text === "") return 0;
  if (!/^[0-7]+$/.test(text)) throw damaged(archive, `the field ${field} of a header is not a number`);
  return Number.parseInt(text, 8);
}

function latin1(block: Uint8Array, field: FieldName): string {
  const [start, length] = FIELD[field];
  return String.fromCharCode(...block.subarray(start, start + length));
}

function terminated(block: Uint8Array, field: FieldName, archive: string, decode: Decode): string {
  const [start, length] = FIELD[field];
  return decode(untilZero(block.subarray(start, start + length)), archive);
}

function untilZero(bytes: Uint8Array): Uint8Array {
  const zero = bytes.indexOf(0);
  return zero < 0 ? bytes : bytes.subarray(0, zero);
}

type Decode = (bytes: Uint8Array, archive: string) => string;
const DECODE: Readonly<Record<TarNames, Decode>> = {
  text: utf8,
  bytes: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1"),
};

function utf8(bytes: Uint8Array, archive: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new Problem({
      code: "E_ARCHIVE_MEMBER",
      message: `a name in ${archive} is not UTF-8`,
      details: [JSON.stringify(String.fromCharCode(...bytes))],
      cause,
    });
  }
}

function damaged(archive: string, why: string): Problem {
  return new Problem({
    code: "E_ARCHIVE_DAMAGED",
    message: `${archive} is damaged: ${why}`,
    hint: "fetch or make it again; nothing of it was used",
  });
}

function badMember(archive: string, path: string, why: string): Problem {
  return new Problem({
    code: "E_ARCHIVE_MEMBER",
    message: `the member ${JSON.stringify(path)} of ${archive} ${why}`,
    hint: "no honest packager writes this; find out where the archive comes from",
  });
}

function limit(archive: string, what: string, most: number): Problem {
  return new Problem({ code: "E_ARCHIVE_LIMIT", message: `${archive} goes over the limit for ${what} (${most})` });
}

/** Bytes by the block and by the content, from chunks of any size. */
class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #archive: string;
  #chunk: Uint8Array = new Uint8Array(0);
  #skip = 0;
  #open = true;

  constructor(source: AsyncIterable<Uint8Array>, archive: string) {
    this.#chunks = source[Symbol.asyncIterator]();
    this.#archive = archive;
  }

  block(): Promise<Uint8Array> {
    return this.exactly(BLOCK);
  }

  async exactly(sizeBytes: number): Promise<Uint8Array> {
    if (this.#chunk.length >= sizeBytes) return this.#take(sizeBytes);
    const whole = new Uint8Array(sizeBytes);
    let filled = 0;
    while (filled < sizeBytes) {
      await this.#fill();
      const part = this.#take(Math.min(sizeBytes - filled, this.#chunk.length));
      whole.set(part, filled);
      filled += part.length;
    }
    return whole;
  }

  async *content(sizeBytes: number): AsyncGenerator<Uint8Array> {
    this.#skip = sizeBytes + paddingOf(sizeBytes);
    let left = sizeBytes;
    while (left > 0) {
      await this.#fill();
      const part = this.#take(Math.min(left, this.#chunk.length));
      left -= part.length;
      this.#skip -= part.length;
      yield part;
    }
  }

  /** Passes over what is left of a content whose reader went away early, and over its padding. */
  async skip(): Promise<void> {
    while (this.#skip > 0) {
      await this.#fill();
      this.#skip -= this.#take(Math.min(this.#skip, this.#chunk.length)).length;
    }
  }

  /** One more zero block, then nothing but zeros. */
  async expectEnd(): Promise<void> {
    let rest = await this.block();
    for (;;) {
      if (rest.some((byte) => byte !== 0)) throw damaged(this.#archive, "there is data after its end");
      if (this.#chunk.length === 0 && !(await this.#pull())) return;
      rest = this.#take(this.#chunk.length);
    }
  }

  async close(): Promise<void> {
    if (this.#open) await this.#chunks.return?.();
  }

  async #fill(): Promise<void> {
    if (this.#chunk.length > 0 || (await this.#pull())) return;
    throw new Problem({
      code: "E_ARCHIVE_TRUNCATED",
      message: `${this.#archive} ends in the middle`,
      hint: "fetch or make it again; nothing of it was used",
    });
  }

  async #pull(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) {
        this.#open = false;
        return false;
      }
      this.#chunk = next.value;
    }
    return true;
  }

  #take(sizeBytes: number): Uint8Array {
    const part = this.#chunk.subarray(0, sizeBytes);
    this.#chunk = this.#chunk.subarray(sizeBytes);
    return part;
  }
}
