/**
 * Packets of SFTP version 3 (draft-ietf-secsh-filexfer-02) and of OpenSSH's extensions to it (its PROTOCOL, 4). Pure.
 *
 * Names are bytes to the protocol. Here they are text in which a byte that is no UTF-8 stands as the lone surrogate U+DC80 to U+DCFF, so that
 * every name comes back as the bytes it was.
 */
import { frame, type Reader, readerOf, string, u32, u64, u8 } from "./wire.ts";

export const REQUEST = {
  init: 1,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  lstat: 7,
  fstat: 8,
  setstat: 9,
  fsetstat: 10,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  rmdir: 15,
  realpath: 16,
  stat: 17,
  rename: 18,
  readlink: 19,
  extended: 200,
} as const;

const VERSION_REPLY = 2;
const STATUS_REPLY = 101;
const HANDLE_REPLY = 102;
const DATA_REPLY = 103;
const NAME_REPLY = 104;
const ATTRS_REPLY = 105;
const EXTENDED_REPLY = 201;
export const VERSION = 3;

export const STATUS = { ok: 0, eof: 1, noSuchFile: 2, permissionDenied: 3, failure: 4, badMessage: 5, unsupported: 8 } as const;

export const OPEN = { read: 0x01, write: 0x02, create: 0x08, truncate: 0x10, exclusive: 0x20 } as const;

/** st_mode of stat(2), which OpenSSH sends whole. */
const TYPE_MASK = 0o170000;
const TYPES: Readonly<Record<number, "file" | "directory" | "symlink">> = {
  0o100000: "file",
  0o040000: "directory",
  0o120000: "symlink",
};

export interface Attributes {
  readonly sizeBytes?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** With the type of the file. */
  readonly mode?: number;
  readonly accessedS?: number;
  readonly modifiedS?: number;
}

export function typeOf({ mode = 0 }: Attributes): "file" | "directory" | "symlink" | "other" {
  return TYPES[mode & TYPE_MASK] ?? "other";
}

const HAS_SIZE = 0x1;
const HAS_OWNER = 0x2;
const HAS_MODE = 0x4;
const HAS_TIMES = 0x8;
const HAS_MORE = 0x80000000;

export function encodeAttributes({ sizeBytes, uid, gid, mode, accessedS, modifiedS }: Attributes): Uint8Array {
  const parts: Uint8Array[] = [];
  let flags = 0;
  if (sizeBytes !== undefined) {
    flags |= HAS_SIZE;
    parts.push(u64(sizeBytes));
  }
  if (uid !== undefined && gid !== undefined) {
    flags |= HAS_OWNER;
    parts.push(u32(uid), u32(gid));
  }
  if (mode !== undefined) {
    flags |= HAS_MODE;
    parts.push(u32(mode));
  }
  if (accessedS !== undefined && modifiedS !== undefined) {
    flags |= HAS_TIMES;
    parts.push(u32(accessedS), u32(modifiedS));
  }
  return frame(u32(flags), ...parts).subarray(4);
}

export function decodeAttributes(reader: Reader): Attributes {
  const flags = reader.u32();
  const size = (flags & HAS_SIZE) === 0 ? {} : { sizeBytes: reader.u64() };
  const owner = (flags & HAS_OWNER) === 0 ? {} : { uid: reader.u32(), gid: reader.u32() };
  const mode = (flags & HAS_MODE) === 0 ? {} : { mode: reader.u32() };
  const times = (flags & HAS_TIMES) === 0 ? {} : { accessedS: reader.u32(), modifiedS: reader.u32() };
  if ((flags & HAS_MORE) !== 0) {
    for (let count = reader.u32(); count > 0; count -= 1) {
      reader.bytes();
      reader.bytes();
    }
  }
  return { ...size, ...owner, ...mode, ...times };
}

export interface NameEntry {
  readonly name: string;
  readonly attributes: Attributes;
}

export type Reply =
  | { readonly kind: "status"; readonly status: number; readonly message: string }
  | { readonly kind: "handle"; readonly handle: Uint8Array }
  | { readonly kind: "data"; readonly data: Uint8Array }
  | { readonly kind: "names"; readonly names: readonly NameEntry[] }
  | { readonly kind: "attributes"; readonly attributes: Attributes }
  | { readonly kind: "extended"; readonly reader: Reader };

/** @throws RangeError where it is cut, Error where it is none */
export function decodeReply(packet: Uint8Array): { readonly id: number; readonly reply: Reply } {
  const reader = readerOf(packet);
  const type = reader.u8();
  const id = reader.u32();
  switch (type) {
    case STATUS_REPLY: {
      const status = reader.u32();
      // Old servers send no text.
      return { id, reply: { kind: "status", status, message: reader.left > 0 ? reader.text() : "" } };
    }
    case HANDLE_REPLY:
      return { id, reply: { kind: "handle", handle: reader.bytes() } };
    case DATA_REPLY:
      return { id, reply: { kind: "data", data: reader.bytes() } };
    case NAME_REPLY: {
      const names: NameEntry[] = [];
      for (let count = reader.u32(); count > 0; count -= 1) {
        const name = decodeName(reader.bytes());
        // "-rw-r--r-- 1 root ...": a line for people.
        reader.bytes();
        names.push({ name, attributes: decodeAttributes(reader) });
      }
      return { id, reply: { kind: "names", names } };
    }
    case ATTRS_REPLY:
      return { id, reply: { kind: "attributes", attributes: decodeAttributes(reader) } };
    case EXTENDED_REPLY:
      return { id, reply: { kind: "extended", reader } };
    default:
      throw new Error(`an SFTP server sent a packet of type ${type}`);
  }
}

/** The first reply: the version and what else the server can do. undefined: it is another packet. */
export function decodeVersion(
  packet: Uint8Array,
): { readonly version: number; readonly extensions: ReadonlyMap<string, string> } | undefined {
  const reader = readerOf(packet);
  if (reader.u8() !== VERSION_REPLY) return undefined;
  const version = reader.u32();
  const extensions = new Map<string, string>();
  while (reader.left > 0) {
    const name = reader.text();
    extensions.set(name, reader.text());
  }
  return { version, extensions };
}

export function encodeInit(): Uint8Array {
  return frame(u8(REQUEST.init), u32(VERSION));
}

export function encodeRequest(type: number, id: number, payload: readonly Uint8Array[]): Uint8Array {
  return frame(u8(type), u32(id), ...payload);
}

/** A name or a path, as the bytes it is. */
export function path(text: string): Uint8Array {
  return string(encodeName(text));
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

export function decodeName(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    return decodeOdd(bytes);
  }
}

/** Whole characters where there are some, a surrogate for each byte that is part of none. */
function decodeOdd(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.byteLength;) {
    const length = [1, 2, 3, 4].find((size) => isOne(bytes.subarray(at, at + size)));
    text +=
      length === undefined ? String.fromCharCode(0xdc00 + (bytes[at] ?? 0)) : lenient.decode(bytes.subarray(at, at + length));
    at += length ?? 1;
  }
  return text;
}

function isOne(bytes: Uint8Array): boolean {
  try {
    return [...strict.decode(bytes)].length === 1;
  } catch {
    return false;
  }
}

export function encodeName(text: string): Uint8Array {
  if (text.isWellFormed()) return encoder.encode(text);
  const parts: Uint8Array[] = [];
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    parts.push(code >= 0xdc80 && code <= 0xdcff ? Uint8Array.of(code - 0xdc00) : encoder.encode(character));
  }
  return Buffer.concat(parts);
}

/** Numbers in a row: uids or gids of users-groups-by-id@openssh.com. */
export function encodeNumbers(numbers: readonly number[]): Uint8Array {
  return string(Buffer.concat(numbers.map(u32)));
}

/** Strings in a row, which the answer to it has. */
export function decodeStrings(bytes: Uint8Array): readonly string[] {
  const reader = readerOf(bytes);
  const found: string[] = [];
  while (reader.left > 0) found.push(reader.text());
  return found;
}
