/**
 * Archives that the kernel unpacks into its first root: cpio in the "newc" form (cpio(5); Linux,
 * Documentation/driver-api/early-userspace/buffer-format.rst).
 *
 * A header of 110 hexadecimal characters, the name with a zero, the content; each of the last two padded to 4 bytes. The entry
 * TRAILER!!! ends it. Names of one file share an inode number, and the last of them has its content.
 */
import { Problem } from "../base/index.ts";
import type { FileSystemEntry } from "./blocks.ts";
import { concatenate } from "./tar-write.ts";

const MAGIC = "070701";
/** The same with a sum of each content, which nobody writes. */
const MAGIC_SUMMED = "070702";
const HEADER_BYTES = 110;
const BLOCK = 512;
const TRAILER = "TRAILER!!!";
const NUMBER_MAX = 0xffffffff;
const KIND_BITS = 0o170000;
const KIND = {
  fifo: 0o010000,
  character: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
} as const;

/** An entry whose content, if it has one, is in memory. */
export type CpioEntry = FileSystemEntry &
  (
    | { readonly type: "file"; readonly content: { readonly kind: "bytes"; readonly bytes: Uint8Array } }
    | { readonly type: Exclude<FileSystemEntry["type"], "file"> }
  );

/**
 * A whole archive, in the order given: a directory has to come before what is in it, for the kernel makes none by itself. Inode
 * numbers count the entries, so that nothing of the machine is in it.
 *
 * @throws RangeError for a hard link to what is no file of the archive, and for a number that does not fit (bugs in the caller)
 */
export function cpioArchive(entries: readonly CpioEntry[]): Uint8Array {
  const inodes = new Map(entries.map((entry, index) => [entry.path, index + 1]));
  const files = new Map(entries.flatMap((entry) => (entry.type === "file" ? [[entry.path, entry.content.bytes] as const] : [])));
  const names = Map.groupBy(entries, (entry) => (entry.type === "hardlink" ? entry.target : entry.path));
  const parts = entries.flatMap((entry) => {
    const owner = entry.type === "hardlink" ? entry.target : entry.path;
    if (entry.type === "hardlink" && !files.has(owner))
      throw new RangeError(`${entry.path} is a link to ${owner}, which is no file`);
    const links = names.get(owner) ?? [];
    const content =
      entry.type === "symlink" ? new TextEncoder().encode(entry.target) : links.at(-1) === entry ? files.get(owner) : undefined;
    return record(entry.path === "" ? "." : entry.path, content ?? new Uint8Array(0), {
      inode: inodes.get(owner) ?? 0,
      mode: entry.mode | KIND[entry.type === "hardlink" ? "file" : entry.type],
      links: entry.type === "directory" ? 2 : links.length,
      uid: entry.uid,
      gid: entry.gid,
      time: entry.timeSeconds,
      device: entry.type === "character" || entry.type === "block" ? [entry.major, entry.minor] : [0, 0],
    });
  });
  const end = record(TRAILER, new Uint8Array(0), { inode: 0, mode: 0, links: 1, uid: 0, gid: 0, time: 0, device: [0, 0] });
  const whole = concatenate([...parts, ...end]);
  return concatenate([whole, padding(whole.length, BLOCK)]);
}

/** What an archive holds, and where it ends: kernels take several behind one another, with zeros between them. */
export interface CpioReading {
  readonly entries: readonly CpioEntry[];
  /** Of the archive up to the end of its TRAILER!!! entry, padding to blocks left out. */
  readonly sizeBytes: number;
}

/** `name` is what the archive is called in an error. @throws Problem E_ARCHIVE_DAMAGED, E_ARCHIVE_TRUNCATED */
export function readCpio(bytes: Uint8Array, name: string): CpioReading {
  const members: Member[] = [];
  for (let at = 0; ;) {
    const member = memberAt(bytes, at, name);
    at = member.end;
    if (member.path === TRAILER) return { entries: entriesOf(members, name), sizeBytes: Math.min(at, bytes.length) };
    members.push(member);
  }
}

interface Numbers {
  readonly inode: number;
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly time: number;
  readonly device: readonly [major: number, minor: number];
}

function record(path: string, content: Uint8Array, numbers: Numbers): readonly Uint8Array[] {
  const { inode, mode, links, uid, gid, time, device } = numbers;
  const name = new TextEncoder().encode(`${path}\0`);
  const fields = [inode, mode, uid, gid, links, time, content.length, 0, 0, ...device, name.length, 0].map((value) => {
    if (!Number.isInteger(value) || value < 0 || value > NUMBER_MAX) throw new RangeError(`${path}: ${value} does not fit`);
    return value.toString(16).toUpperCase().padStart(8, "0");
  });
  const header = new TextEncoder().encode(MAGIC + fields.join(""));
  return [header, name, padding(header.length + name.length, 4), content, padding(content.length, 4)];
}

function padding(sizeBytes: number, unit: number): Uint8Array {
  return new Uint8Array(Math.ceil(sizeBytes / unit) * unit - sizeBytes);
}

interface Member extends Numbers {
  readonly path: string;
  /** Inode numbers count on one device. */
  readonly identity: string;
  readonly content: Uint8Array;
  /** Where the next one begins. */
  readonly end: number;
}

function memberAt(bytes: Uint8Array, at: number, name: string): Member {
  const cut = (from: number, length: number): Uint8Array => {
    if (from + length > bytes.length) throw problem("E_ARCHIVE_TRUNCATED", name, `ends inside the entry at ${at}`);
    return bytes.subarray(from, from + length);
  };
  const header = new TextDecoder("latin1").decode(cut(at, HEADER_BYTES));
  const magic = header.slice(0, 6);
  if ((magic !== MAGIC && magic !== MAGIC_SUMMED) || !/^[0-9a-f]*$/i.test(header))
    throw problem("E_ARCHIVE_DAMAGED", name, `has no entry of the newc form at ${at}`);
  const field = (index: number): number => Number.parseInt(header.slice(6 + index * 8, 14 + index * 8), 16);
  const nameBytes = field(11);
  const path = cut(at + HEADER_BYTES, nameBytes);
  if (path.at(-1) !== 0) throw problem("E_ARCHIVE_DAMAGED", name, `has a name without an end at ${at}`);
  const contentAt = at + Math.ceil((HEADER_BYTES + nameBytes) / 4) * 4;
  return {
    path: new TextDecoder().decode(path.subarray(0, -1)),
    identity: [field(0), field(7), field(8)].join(":"),
    inode: field(0),
    mode: field(1),
    uid: field(2),
    gid: field(3),
    links: field(4),
    time: field(5),
    device: [field(9), field(10)],
    content: cut(contentAt, field(6)),
    end: contentAt + Math.ceil(field(6) / 4) * 4,
  };
}

function entriesOf(members: readonly Member[], name: string): readonly CpioEntry[] {
  const isFile = (member: Member): boolean => (member.mode & KIND_BITS) === KIND.file;
  const linked = Map.groupBy(
    members.filter((member) => isFile(member) && member.links > 1),
    (member) => member.identity,
  );
  return members.map((member): CpioEntry => {
    const { mode, uid, gid, time, device, content } = member;
    const common = { path: pathOf(member.path), mode: mode & 0o7777, uid, gid, timeSeconds: time };
    const [major, minor] = device;
    switch (mode & KIND_BITS) {
      case KIND.directory:
        return { ...common, type: "directory" };
      case KIND.symlink:
        return { ...common, type: "symlink", target: new TextDecoder().decode(content) };
      case KIND.character:
        return { ...common, type: "character", major, minor };
      case KIND.block:
        return { ...common, type: "block", major, minor };
      case KIND.fifo:
        return { ...common, type: "fifo" };
      case KIND.file: {
        const group = linked.get(member.identity) ?? [member];
        const first = group[0] ?? member;
        if (first !== member) return { ...common, type: "hardlink", target: pathOf(first.path) };
        const bytes = group.find((one) => one.content.length > 0)?.content ?? content;
        return { ...common, type: "file", content: { kind: "bytes", bytes } };
      }
      default:
        throw problem("E_ARCHIVE_DAMAGED", name, `has ${member.path}, whose mode ${mode.toString(8)} is of no kind`);
    }
  });
}

/** Some archives write `./x`, some `/x`, the root is `.` to most. */
function pathOf(path: string): string {
  return path.replace(/^(?:\.?\/)+/, "").replace(/^\.$/, "");
}

function problem(code: "E_ARCHIVE_DAMAGED" | "E_ARCHIVE_TRUNCATED", name: string, what: string): Problem {
  return new Problem({
    code,
    message: `reading the archive ${name}: it ${what}`,
    hint: "fetch or make it again; nothing of it was used",
  });
}
