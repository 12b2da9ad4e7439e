/**
 * What POSIX wants to know of a name (Rock Ridge, IEEE P1282 of 1994, in the System Use Sharing Protocol, IEEE P1281): the fields behind a record's
 * name, and the areas in which those go on that find no room there.
 */
import { both32, RECORD_BYTES, RECORD_MAX_BYTES, SECTOR, shortTime, viewOf } from "./iso9660-format.ts";
import { concatenate } from "./tar-write.ts";
import type { NodeEntry, TreeNode } from "./tree.ts";

const FIELD_MAX_BYTES = 255;
const CONTINUATION_BYTES = 28;
const VERSION = 1;
const KINDS: Readonly<Record<NodeEntry["type"], number>> = {
  directory: 0o040000,
  file: 0o100000,
  symlink: 0o120000,
  character: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
};
/** Modification, access, change of attributes. */
const TIMES = 0x02 | 0x04 | 0x08;
const CONTINUES = 0x01;
const COMPONENT = { continues: CONTINUES, current: 0x02, parent: 0x04, root: 0x08 } as const;

/** For the components in one field. */
const LINK_ROOM_BYTES = FIELD_MAX_BYTES - 5;
const NO_TEXT = new Uint8Array();

const encoder = new TextEncoder();

function field(signature: string, body: Uint8Array | readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 + body.length);
  bytes.set([signature.charCodeAt(0), signature.charCodeAt(1), bytes.length, VERSION]);
  bytes.set(body, 4);
  return bytes;
}

/** Mode, links, owner, and a number that all names of one file have. */
function attributes({ entry, links, inode }: TreeNode): Uint8Array {
  const bytes = new Uint8Array(40);
  const values = [KINDS[entry.type] | entry.mode, links, entry.uid, entry.gid, inode];
  for (const [index, value] of values.entries()) both32(viewOf(bytes), 8 * index, value);
  return field("PX", bytes);
}

function times({ entry: { timeSeconds } }: TreeNode): Uint8Array {
  const time = shortTime(timeSeconds);
  return field("TF", [TIMES, ...time, ...time, ...time]);
}

function names(name: Uint8Array): readonly Uint8Array[] {
  const found: Uint8Array[] = [];
  const room = FIELD_MAX_BYTES - 5;
  for (let from = 0; from < name.length; from += room) {
    const part = name.subarray(from, from + room);
    found.push(field("NM", [from + part.length < name.length ? CONTINUES : 0, ...part]));
  }
  return found;
}

/** In the lower half of two of 32 bits: some take the upper one for the major number, others for more of both. */
function device(major: number, minor: number): Uint8Array {
  const bytes = new Uint8Array(16);
  both32(viewOf(bytes), 8, major * 0x100 + minor);
  return field("PN", bytes);
}

/**
 * A target, component by component. Of "/" alone FreeBSD makes nothing, unless an empty component follows; that is also how a slash at the end
 * and two in a row are said. Between two fields readers put a slash or none, as each thinks right, unless a component goes on there: so one
 * always does.
 */
function link(target: string): readonly Uint8Array[] {
  const bodies: Uint8Array[][] = [[]];
  let left = LINK_ROOM_BYTES;
  const push = (flags: number, text: Uint8Array = NO_TEXT): void => {
    bodies.at(-1)?.push(Uint8Array.of(flags, text.length), text);
    left -= 2 + text.length;
  };
  const next = (): void => {
    bodies.push([]);
    left = LINK_ROOM_BYTES;
  };
  const rooted = target.startsWith("/");
  if (rooted) push(COMPONENT.root);
  const parts = target.slice(rooted ? 1 : 0).split("/");
  for (const [index, part] of parts.entries()) {
    // A component of one byte, to go on with.
    const kept = index === parts.length - 1 ? 0 : 3;
    const flags = part === "." ? COMPONENT.current : part === ".." ? COMPONENT.parent : 0;
    let text = flags === 0 ? encoder.encode(part) : NO_TEXT;
    while (2 + text.length > left - kept) {
      const taken = text.subarray(0, left - 2);
      push(COMPONENT.continues, taken);
      text = text.subarray(taken.length);
      next();
    }
    push(flags, text);
  }
  return bodies.map((body, index) => field("SL", [index < bodies.length - 1 ? CONTINUES : 0, ...concatenate(body)]));
}

/** Of a node under `name`; without one it is a directory as its own "." or somebody's "..". */
export function rockRidge(node: TreeNode, name: Uint8Array | undefined): readonly Uint8Array[] {
  const { entry } = node;
  const common = [...(name === undefined ? [] : names(name)), attributes(node), times(node)];
  if (name === undefined) return common;
  if (entry.type === "symlink") return [...common, ...link(entry.target)];
  if (entry.type === "character" || entry.type === "block") return [...common, device(entry.major, entry.minor)];
  return common;
}

/** What the root's "." begins with: that there are such fields, and by whose book. */
export function announcement(): readonly Uint8Array[] {
  const id = encoder.encode("IEEE_P1282");
  const description = encoder.encode("THE IEEE P1282 PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS");
  const source = encoder.encode("PLEASE CONTACT THE IEEE STANDARDS DEPARTMENT, PISCATAWAY, NJ, USA FOR THE P1282 SPECIFICATION");
  return [
    field("SP", [0xbe, 0xef, 0]),
    field("ER", [id.length, description.length, source.length, VERSION, ...concatenate([id, description, source])]),
  ];
}

/** A stretch of the sectors in which fields go on. */
export interface Area {
  readonly sector: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

/** The fields of one record: in it, and where they go on. */
export interface SystemUse {
  readonly inline: Uint8Array;
  readonly more: Area | undefined;
}

/** Gives fields that find no room in their record a place: each area lies in one sector, as kernels want it. */
export class Continuations {
  readonly #areas: { readonly area: Area; readonly bytes: Uint8Array; readonly next: Area | undefined }[] = [];
  #used = 0;

  get sectors(): number {
    return Math.ceil(this.#used / SECTOR);
  }

  /** @param idBytes of the name in the record */
  split(fields: readonly Uint8Array[], idBytes: number): SystemUse {
    const room = RECORD_MAX_BYTES - nameEnd(idBytes);
    const { taken, rest } = filled(fields, room);
    return { inline: concatenate(taken), more: rest.length === 0 ? undefined : this.#add(rest) };
  }

  #add(fields: readonly Uint8Array[]): Area {
    const { taken, rest } = filled(fields, SECTOR);
    const bytes = concatenate(taken);
    const sizeBytes = bytes.length + (rest.length === 0 ? 0 : CONTINUATION_BYTES);
    if ((this.#used % SECTOR) + sizeBytes > SECTOR) this.#used = Math.ceil(this.#used / SECTOR) * SECTOR;
    const area = { sector: Math.floor(this.#used / SECTOR), offset: this.#used % SECTOR, sizeBytes };
    this.#used += sizeBytes;
    this.#areas.push({ area, bytes, next: rest.length === 0 ? undefined : this.#add(rest) });
    return area;
  }

  /** All of them, for sectors from `first` on. */
  render(first: number): Uint8Array {
    const all = new Uint8Array(this.sectors * SECTOR);
    for (const { area, bytes, next } of this.#areas) {
      const at = area.sector * SECTOR + area.offset;
      all.set(bytes, at);
      if (next !== undefined) all.set(continuation(next, first), at + bytes.length);
    }
    return all;
  }
}

export function systemUseBytes({ inline, more }: SystemUse): number {
  return inline.length + (more === undefined ? 0 : CONTINUATION_BYTES);
}

export function renderSystemUse(target: Uint8Array, { inline, more }: SystemUse, first: number): void {
  target.set(inline);
  if (more !== undefined) target.set(continuation(more, first), inline.length);
}

/** Where the fields of a record begin: at an even byte. */
export function nameEnd(idBytes: number): number {
  return RECORD_BYTES + idBytes + (idBytes % 2 === 0 ? 1 : 0);
}

function continuation({ sector, offset, sizeBytes }: Area, first: number): Uint8Array {
  const bytes = new Uint8Array(CONTINUATION_BYTES - 4);
  for (const [index, value] of [first + sector, offset, sizeBytes].entries()) both32(viewOf(bytes), 8 * index, value);
  return field("CE", bytes);
}

/** As many as fit, in their order; when not all do, there is room to say where the others are. */
function filled(
  fields: readonly Uint8Array[],
  room: number,
): { readonly taken: readonly Uint8Array[]; readonly rest: readonly Uint8Array[] } {
  const total = fields.reduce((sum, { length }) => sum + length, 0);
  if (total <= room) return { taken: fields, rest: [] };
  let left = room - CONTINUATION_BYTES;
  let count = 0;
  for (const { length } of fields) {
    if (length > left) break;
    left -= length;
    count += 1;
  }
  return { taken: fields.slice(0, count), rest: fields.slice(count) };
}
