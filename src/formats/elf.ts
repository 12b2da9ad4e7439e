/**
 * What a package wants to know of an ELF file (System V gABI, chapters 4 and 5): for which machine and system it is, which
 * shared libraries it needs, which it is, and where it looks for them.
 *
 * Program headers are read, not sections, because they are what the loader uses and what `strip` leaves. Every offset and
 * length of the file is checked before it is used: a broken or hostile file gives `undefined` or less information, never an
 * exception, and no read is larger than `MAXIMUM_TABLE_BYTES`.
 */

export interface ElfInfo {
  readonly bits: 32 | 64;
  readonly endian: "little" | "big";
  /** e_machine: 62 is x86-64, 183 AArch64. */
  readonly machine: number;
  /** e_type: 2 is an executable, 3 a shared object or a position-independent executable. */
  readonly type: number;
  /** EI_OSABI: 9 is FreeBSD; Linux uses 0 or 3. */
  readonly osAbi: number;
  readonly abiTag: ElfAbiTag | undefined;
  readonly interpreter: string | undefined;
  readonly needed: readonly string[];
  readonly soname: string | undefined;
  readonly rpath: readonly string[];
  readonly runpath: readonly string[];
}

/** From the notes NT_FREEBSD_ABI_TAG (`__FreeBSD_version`) and NT_GNU_ABI_TAG (the oldest kernel it runs on). */
export type ElfAbiTag =
  | { readonly system: "FreeBSD"; readonly osVersion: number }
  | { readonly system: "Linux"; readonly major: number; readonly minor: number; readonly patch: number };

/** `length` bytes of the file from `offset` on; fewer where it ends. Never called with more than `MAXIMUM_TABLE_BYTES`. */
export type ReadAt = (offset: number, length: number) => Uint8Array;

export const MAXIMUM_TABLE_BYTES = 1 << 20;
const MAXIMUM_STRING_BYTES = 4096;
const PT = { load: 1, dynamic: 2, interpreter: 3, note: 4 };
const DT = { end: 0, needed: 1, stringTable: 5, stringSize: 10, soname: 14, rpath: 15, runpath: 29 };

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly sizeBytes: number;
}

/** undefined for a file that is not ELF, or whose header makes no sense. */
export function readElf(readAt: ReadAt): ElfInfo | undefined {
  const ident = readAt(0, 64);
  if (ident.length < 52 || ident[0] !== 0x7f || ident[1] !== 0x45 || ident[2] !== 0x4c || ident[3] !== 0x46) return undefined;
  const bits = ident[4] === 1 ? 32 : ident[4] === 2 ? 64 : undefined;
  const endian = ident[5] === 1 ? "little" : ident[5] === 2 ? "big" : undefined;
  if (bits === undefined || endian === undefined || (bits === 64 && ident.length < 64)) return undefined;

  const header = new Fields(ident, bits, endian);
  const segments = programHeaders(readAt, header, bits, endian);
  const dynamic = dynamicSection(readAt, segments, bits, endian);
  const interpreter = segments.find(({ type }) => type === PT.interpreter);
  return {
    bits,
    endian,
    machine: header.u16(18),
    type: header.u16(16),
    osAbi: ident[7] ?? 0,
    abiTag: abiTag(readAt, segments, bits, endian),
    interpreter:
      interpreter === undefined
        ? undefined
        : text(readAt(interpreter.offset, Math.min(interpreter.sizeBytes, MAXIMUM_STRING_BYTES)), 0),
    ...dynamic,
  };
}

/** A whole file in memory, as something to read from. */
export function readAtOf(bytes: Uint8Array): ReadAt {
  return (offset, length) => bytes.subarray(Math.min(offset, bytes.length), Math.min(offset + length, bytes.length));
}

/** Numbers of a table at byte offsets; outside of it everything is 0. */
class Fields {
  readonly #view: DataView;
  readonly #little: boolean;
  readonly #wide: boolean;

  constructor(bytes: Uint8Array, bits: 32 | 64, endian: "little" | "big") {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#little = endian === "little";
    this.#wide = bits === 64;
  }

  u16(at: number): number {
    return at + 2 <= this.#view.byteLength ? this.#view.getUint16(at, this.#little) : 0;
  }

  u32(at: number): number {
    return at + 4 <= this.#view.byteLength ? this.#view.getUint32(at, this.#little) : 0;
  }

  /** An address, offset or size: 4 or 8 bytes. Infinity where a number cannot hold it, which no file reaches. */
  word(at: number): number {
    if (!this.#wide) return this.u32(at);
    if (at + 8 > this.#view.byteLength) return 0;
    const value = this.#view.getBigUint64(at, this.#little);
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.POSITIVE_INFINITY : Number(value);
  }
}

function programHeaders(readAt: ReadAt, header: Fields, bits: 32 | 64, endian: "little" | "big"): readonly Segment[] {
  const wide = bits === 64;
  const offset = header.word(wide ? 32 : 28);
  const entryBytes = header.u16(wide ? 54 : 42);
  const count = header.u16(wide ? 56 : 44);
  if (entryBytes < (wide ? 56 : 32) || !Number.isFinite(offset)) return [];
  const table = readAt(offset, Math.min(entryBytes * count, MAXIMUM_TABLE_BYTES));
  const fields = new Fields(table, bits, endian);
  const segments: Segment[] = [];
  for (let at = 0; at + entryBytes <= table.length; at += entryBytes) {
    const segment = {
      type: fields.u32(at),
      offset: fields.word(at + (wide ? 8 : 4)),
      address: fields.word(at + (wide ? 16 : 8)),
      sizeBytes: fields.word(at + (wide ? 32 : 16)),
    };
    if (Number.isFinite(segment.offset) && Number.isFinite(segment.address)) segments.push(segment);
  }
  return segments;
}

type Dynamic = Pick<ElfInfo, "needed" | "soname" | "rpath" | "runpath">;

function dynamicSection(readAt: ReadAt, segments: readonly Segment[], bits: 32 | 64, endian: "little" | "big"): Dynamic {
  const nothing: Dynamic = { needed: [], soname: undefined, rpath: [], runpath: [] };
  const segment = segments.find(({ type }) => type === PT.dynamic);
  if (segment === undefined) return nothing;
  const table = readAt(segment.offset, Math.min(segment.sizeBytes, MAXIMUM_TABLE_BYTES));
  const fields = new Fields(table, bits, endian);
  const entryBytes = bits / 4;
  const entries: (readonly [tag: number, value: number])[] = [];
  for (let at = 0; at + entryBytes <= table.length; at += entryBytes) {
    const tag = fields.word(at);
    if (tag === DT.end) break;
    entries.push([tag, fields.word(at + bits / 8)]);
  }
  const first = (tag: number): number | undefined => entries.find((entry) => entry[0] === tag)?.[1];
  const strings = stringTable(readAt, segments, first(DT.stringTable), first(DT.stringSize));
  if (strings === undefined) return nothing;
  const all = (tag: number): readonly string[] =>
    entries.flatMap(([found, value]) => {
      const string = found === tag ? strings(value) : undefined;
      return string === undefined || string === "" ? [] : [string];
    });
  return {
    needed: all(DT.needed),
    soname: all(DT.soname)[0],
    rpath: all(DT.rpath).flatMap((path) => path.split(":")),
    runpath: all(DT.runpath).flatMap((path) => path.split(":")),
  };
}

/**
 * DT_STRTAB is an address; the segment that is loaded there says where in the file it is. Strings are read one by one: a large
 * library has megabytes of them.
 */
function stringTable(
  readAt: ReadAt,
  segments: readonly Segment[],
  address: number | undefined,
  sizeBytes: number | undefined,
): ((at: number) => string | undefined) | undefined {
  if (address === undefined || sizeBytes === undefined) return undefined;
  const segment = segments.find((s) => s.type === PT.load && address >= s.address && address < s.address + s.sizeBytes);
  if (segment === undefined) return undefined;
  const start = segment.offset + (address - segment.address);
  if (!Number.isSafeInteger(start)) return undefined;
  return (at) => {
    if (!(at < sizeBytes) || !Number.isSafeInteger(start + at)) return undefined;
    return text(readAt(start + at, Math.min(sizeBytes - at, MAXIMUM_STRING_BYTES)), 0);
  };
}

function abiTag(readAt: ReadAt, segments: readonly Segment[], bits: 32 | 64, endian: "little" | "big"): ElfAbiTag | undefined {
  for (const segment of segments) {
    if (segment.type !== PT.note) continue;
    const notes = readAt(segment.offset, Math.min(segment.sizeBytes, MAXIMUM_TABLE_BYTES));
    const fields = new Fields(notes, bits, endian);
    for (let at = 0; at + 12 <= notes.length;) {
      const nameBytes = fields.u32(at);
      const descriptorBytes = fields.u32(at + 4);
      const type = fields.u32(at + 8);
      const descriptor = at + 12 + aligned(nameBytes);
      const owner = text(notes.subarray(0, Math.min(at + 12 + nameBytes, notes.length)), at + 12);
      const fits = (bytes: number): boolean => descriptorBytes >= bytes && descriptor + bytes <= notes.length;
      if (owner === "FreeBSD" && type === 1 && fits(4)) return { system: "FreeBSD", osVersion: fields.u32(descriptor) };
      if (owner === "GNU" && type === 1 && fits(16) && fields.u32(descriptor) === 0) {
        const [major, minor, patch] = [fields.u32(descriptor + 4), fields.u32(descriptor + 8), fields.u32(descriptor + 12)];
        return { system: "Linux", major, minor, patch };
      }
      at = descriptor + aligned(descriptorBytes);
    }
  }
  return undefined;
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

/** The zero-terminated text at an offset, read byte for byte; undefined where it starts outside. */
function text(bytes: Uint8Array, at: number): string | undefined {
  if (!(at < bytes.length)) return undefined;
  const end = bytes.indexOf(0, at);
  const stop = Math.min(end < 0 ? bytes.length : end, at + MAXIMUM_STRING_BYTES);
  return new TextDecoder().decode(bytes.subarray(at, stop));
}
