/** A deterministic tar writer: a header for each member, whose content the caller puts after it, padded to whole blocks. */
import { BLOCK, FIELD, type FieldName, headerChecksum, paddingOf, type TarMember, type TarNames, TYPE_FLAG } from "./tar.ts";

const encoder = new TextEncoder();
type Encode = (text: string) => Uint8Array;
/** `bytes`: each character of a path and a target is one byte, which need not be UTF-8. */
const ENCODE: Readonly<Record<TarNames, Encode>> = {
  text: (value) => encoder.encode(value),
  bytes: (value) => Buffer.from(value, "latin1"),
};
const MAXIMUM_OCTAL_12 = 0o77777777777;
/** Printable ASCII: what every reader takes from a plain header in every locale. */
const PLAIN = /^[\x20-\x7e]*$/;

/** The two zero blocks that end an archive. */
export function tarEnd(): Uint8Array {
  return new Uint8Array(2 * BLOCK);
}

/**
 * The header of one member, preceded by a pax header when a value does not fit into ustar or a name is not plain ASCII.
 *
 * @throws RangeError for a mode, size or time that no header can say (a bug in the caller)
 */
export function tarHeader(member: TarMember, names: TarNames = "text"): Uint8Array {
  const encode = ENCODE[names];
  const path = member.type === "directory" ? `${member.path}/` : member.path;
  const target = member.target ?? "";
  const split = splitPath(path);
  const records: (readonly [string, string])[] = [];
  if (split === undefined) records.push(["path", path]);
  if (!PLAIN.test(target) || target.length > FIELD.linkname[1]) records.push(["linkpath", target]);
  if (member.sizeBytes > MAXIMUM_OCTAL_12) records.push(["size", String(member.sizeBytes)]);

  const header = plainHeader(member, split ?? truncated(path), target, encode);
  if (records.length === 0) return header;
  return concatenate([...paxHeader(member, records, encode), header]);
}

/** A whole archive of small members, in memory. */
export function tarArchive(members: readonly { readonly member: TarMember; readonly content?: Uint8Array }[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { member, content } of members) {
    parts.push(tarHeader(member));
    if (content !== undefined) parts.push(content, new Uint8Array(paddingOf(content.length)));
  }
  parts.push(tarEnd());
  return concatenate(parts);
}

export function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** `prefix` and `name` as ustar wants them, joined by a slash that is not stored; undefined where they do not fit. */
function splitPath(path: string): { readonly prefix: string; readonly name: string } | undefined {
  if (!PLAIN.test(path)) return undefined;
  if (path.length <= FIELD.name[1]) return { prefix: "", name: path };
  // The first slash that leaves a name short enough; the one that ends a directory's name is not a place to split at.
  const slash = path.indexOf("/", Math.max(1, path.length - FIELD.name[1] - 1));
  if (slash < 0 || slash > FIELD.prefix[1] || slash === path.length - 1) return undefined;
  return { prefix: path.slice(0, slash), name: path.slice(slash + 1) };
}

/** For readers that do not know pax: the end of the name, as far as it fits. */
function truncated(path: string): { readonly prefix: string; readonly name: string } {
  const name = path.slice(path.lastIndexOf("/", path.length - 2) + 1);
  return { prefix: "", name };
}

function plainHeader(
  member: TarMember,
  path: { readonly prefix: string; readonly name: string },
  target: string,
  encode: Encode,
  flag: string = TYPE_FLAG[member.type],
): Uint8Array {
  const header = new Uint8Array(BLOCK);
  const text = (field: FieldName, value: string): void => putText(header, field, value, encode);
  const octal = (field: FieldName, value: number, digits: number): void => putOctal(header, field, value, digits);
  text("name", path.name);
  octal("mode", member.mode, 7);
  octal("uid", 0, 7);
  octal("gid", 0, 7);
  octal("size", Math.min(member.sizeBytes, MAXIMUM_OCTAL_12), 11);
  octal("mtime", member.mtimeSeconds, 11);
  text("type", flag);
  text("linkname", target);
  text("magic", "ustar\u000000");
  text("uname", member.uname);
  text("gname", member.gname);
  octal("devmajor", 0, 7);
  octal("devminor", 0, 7);
  text("prefix", path.prefix);
  octal("checksum", headerChecksum(header), 6);
  header[FIELD.checksum[0] + 7] = 0x20;
  return header;
}

function paxHeader(member: TarMember, records: readonly (readonly [string, string])[], encode: Encode): readonly Uint8Array[] {
  // Without this record libarchive would convert names from UTF-8 to the locale of whoever unpacks.
  const body = concatenate([["hdrcharset", "BINARY"] as const, ...records].map(([key, value]) => paxRecord(key, encode(value))));
  const name = truncated(member.path).name.slice(0, 60);
  const header = plainHeader(
    { ...member, type: "file", mode: 0o644, sizeBytes: body.length },
    { prefix: "", name: `PaxHeader/${PLAIN.test(name) ? name : "name"}` },
    "",
    encode,
    "x",
  );
  return [header, body, new Uint8Array(paddingOf(body.length))];
}

/** `<length> <key>=<value>\n`, where the length counts its own digits. */
function paxRecord(key: string, value: Uint8Array): Uint8Array {
  const body = concatenate([encoder.encode(` ${key}=`), value, encoder.encode("\n")]);
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return concatenate([encoder.encode(String(length)), body]);
}

function putText(header: Uint8Array, field: FieldName, value: string, encode: Encode): void {
  const [start, length] = FIELD[field];
  if (!PLAIN.test(value)) {
    header.set(encode(value).subarray(0, length), start);
    return;
  }
  const count = Math.min(value.length, length);
  for (let at = 0; at < count; at += 1) header[start + at] = value.charCodeAt(at);
}

function putOctal(header: Uint8Array, field: FieldName, value: number, digits: number): void {
  if (!Number.isSafeInteger(value) || value < 0 || value >= 8 ** digits) throw new RangeError(`${field} ${value} does not fit`);
  const [start] = FIELD[field];
  for (let at = start + digits - 1, left = value; at >= start; at -= 1) {
    header[at] = 0x30 + (left % 8);
    left = Math.floor(left / 8);
  }
}
