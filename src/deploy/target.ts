/**
 * What somebody wants to install onto, looked at and not touched: what it is, how large, what is on it, and who uses it.
 *
 * Linux: sysfs and /proc say what is mounted, swapped to, and held by LVM, RAID or encryption; what they cannot say (ZFS), the kernel does,
 * which lets nobody claim such a disk. FreeBSD: GEOM says of every disk how it is opened.
 */
import { Problem } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import { readAtOfDisk } from "../image/index.ts";
import { contentsOf } from "./contents.ts";
import { type GeomProvider, geomProviders } from "./geom.ts";

export interface TargetFacts {
  /** Absolute, without links. */
  readonly path: string;
  /** "new": nothing is there. "other": what nobody installs onto. */
  readonly kind: "new" | "file" | "disk" | "partition" | "directory" | "other";
  /** Whether the directory is there that it lies in. */
  readonly hasParent: boolean;
  /** undefined where there is none yet. */
  readonly sizeBytes: number | undefined;
  /** Of a disk: what it reads and writes at least. */
  readonly sectorBytes: number | undefined;
  readonly readOnly: boolean;
  /** In words: a partition table, a file system. Nothing: it is empty. */
  readonly contents: readonly string[];
  /** In words: where it is mounted, what holds it. */
  readonly uses: readonly string[];
  /** Whether what runs here has its root on it. */
  readonly isRoot: boolean;
  /** Of a new file: bytes that are free where it will lie. */
  readonly roomBytes: number | undefined;
}

const SECTOR_BYTES = 512;

export async function lookAtTarget(host: Host, path: string): Promise<TargetFacts> {
  const { files } = host;
  const nothing = {
    hasParent: true,
    sizeBytes: undefined,
    sectorBytes: undefined,
    readOnly: false,
    contents: [],
    uses: [],
    isRoot: false,
    roomBytes: undefined,
  } as const;
  if (!files.exists(path)) {
    const parent = path.replace(/\/[^/]*$/, "") || "/";
    // A link that leads nowhere is there, and what it leads to is not: the name is taken.
    if (files.lstatIfAny(path) !== undefined) return { ...nothing, path, kind: "other" };
    const hasParent = files.exists(parent) && files.lstat(files.realPath(parent)).type === "directory";
    const roomBytes = hasParent ? files.space(parent).freeBytes : undefined;
    return { ...nothing, path, kind: "new", hasParent, roomBytes };
  }
  const real = files.realPath(path);
  const { type } = files.lstat(real);
  if (type === "directory") return { ...nothing, path: real, kind: "directory" };
  if (type === "file") return { ...nothing, ...(await fileFacts(host, real)) };
  if (type === "block") return { ...nothing, ...linuxDisk(host, real) };
  const disk = type === "character" && !host.system.endsWith("-linux") ? await freebsdDisk(host, real) : undefined;
  return { ...nothing, ...(disk ?? { path: real, kind: "other" }) };
}

async function fileFacts(host: Host, path: string): Promise<Partial<TargetFacts> & Pick<TargetFacts, "path" | "kind">> {
  const uses = host.system.endsWith("-linux") ? linuxFileUses(host, path) : await freebsdFileUses(host, path);
  return { path, kind: "file", uses, ...looked(host, path), readOnly: !canWrite(host, path) };
}

function canWrite(host: Host, path: string): boolean {
  try {
    host.files.close(host.files.open(path, "r+"));
    return true;
  } catch (error) {
    if (isErrno(error, "EACCES", "EPERM", "EROFS", "ETXTBSY")) return false;
    throw error;
  }
}

function looked(host: Host, path: string): Pick<TargetFacts, "sizeBytes" | "contents"> {
  let descriptor: number;
  try {
    descriptor = host.files.open(path, "r");
  } catch (error) {
    if (!isErrno(error, "EACCES", "EPERM", "EBUSY", "ENXIO", "ENOMEDIUM")) throw error;
    throw new Problem({
      code: "E_TARGET_UNREADABLE",
      message: `looking at ${path}: it cannot be read`,
      where: path,
      hint: "only root reads disks; and there must be a medium in it",
      exit: 3,
      cause: error,
    });
  }
  try {
    const sizeBytes = host.files.endOf(descriptor);
    return { sizeBytes, contents: contentsOf(readAtOfDisk(host, descriptor, sizeBytes), sizeBytes) };
  } finally {
    host.files.close(descriptor);
  }
}

const BLOCKS = "/sys/class/block";

function linuxDisk(host: Host, path: string): Partial<TargetFacts> & Pick<TargetFacts, "path" | "kind"> {
  const { files } = host;
  const name = path.slice(path.lastIndexOf("/") + 1);
  const about = (file: string): string | undefined => files.readTextIfAny(`${BLOCKS}/${name}/${file}`)?.trim();
  const readOnly = about("ro") === "1";
  const sectorBytes = Number(about("queue/logical_block_size") ?? SECTOR_BYTES);
  const kind = about("partition") === undefined ? "disk" : "partition";
  const { uses, isRoot } = linuxUses(host, name);
  // ZFS, and whoever else is in no list.
  const claimed = uses.length === 0 && !readOnly && isClaimed(host, path) ? ["the kernel says that somebody uses it"] : [];
  return { path, kind, readOnly, sectorBytes, uses: [...uses, ...claimed], isRoot, ...looked(host, path) };
}

function isClaimed({ files }: Host, path: string): boolean {
  try {
    files.close(files.open(path, "claim"));
    return false;
  } catch (error) {
    if (isErrno(error, "EBUSY")) return true;
    if (isErrno(error, "EACCES", "EPERM", "EROFS", "ENXIO", "ENOMEDIUM")) return false;
    throw error;
  }
}

/** The disk, its partitions, and what is made of either. */
function linuxUses(host: Host, disk: string): { readonly uses: readonly string[]; readonly isRoot: boolean } {
  const { files } = host;
  const read = (name: string, file: string): string => files.readTextIfAny(`${BLOCKS}/${name}/${file}`)?.trim() ?? "";
  const mounts = linuxMounts(host);
  const swaps = linuxSwaps(host);
  const uses: string[] = [];
  let isRoot = false;
  const seen = new Set<string>();
  const look = (name: string): void => {
    if (seen.has(name) || !files.exists(`${BLOCKS}/${name}`)) return;
    seen.add(name);
    const device = read(name, "dev");
    for (const { device: mounted, source, at } of mounts) {
      // Btrfs mounts have a number of their own.
      if (mounted !== device && source !== `/dev/${name}`) continue;
      uses.push(`/dev/${name} is mounted on ${at}`);
      isRoot ||= at === "/";
    }
    if (swaps.has(`/dev/${name}`)) uses.push(`/dev/${name} is swapped to`);
    for (const entry of names(host, `${BLOCKS}/${name}`)) if (files.exists(`${BLOCKS}/${name}/${entry}/partition`)) look(entry);
    for (const holder of names(host, `${BLOCKS}/${name}/holders`)) {
      uses.push(`/dev/${name} is part of ${holderWords(holder, read(holder, "dm/uuid"), read(holder, "dm/name"))}`);
      look(holder);
    }
  };
  look(disk);
  return { uses: [...new Set(uses)], isRoot };
}

function holderWords(name: string, uuid: string, mapped: string): string {
  if (uuid.startsWith("LVM-")) return `the logical volume ${mapped}`;
  if (uuid.startsWith("CRYPT-")) return `the encrypted volume ${mapped}`;
  return name.startsWith("md") ? `the RAID ${name}` : `${mapped === "" ? name : mapped}`;
}

function names({ files }: Host, directory: string): readonly string[] {
  if (!files.exists(directory)) return [];
  const decoder = new TextDecoder();
  return files
    .list(directory)
    .map((name) => decoder.decode(name))
    .toSorted();
}

interface Mount {
  /** "8:1". */
  readonly device: string;
  readonly source: string;
  readonly at: string;
}

/** proc(5): fields up to a lone dash, some of them optional, then type and source. */
function linuxMounts({ files }: Host): readonly Mount[] {
  const text = files.readTextIfAny("/proc/self/mountinfo") ?? "";
  return text.split("\n").flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ", 2);
    const [, , device, , at] = before.split(" ");
    const [, source = ""] = after.split(" ");
    return device === undefined || at === undefined ? [] : [{ device, source: unescaped(source), at: unescaped(at) }];
  });
}

/** Blanks and the like are three octal digits. */
function unescaped(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCodePoint(Number.parseInt(octal, 8)));
}

function linuxSwaps({ files }: Host): ReadonlySet<string> {
  const [, ...lines] = (files.readTextIfAny("/proc/swaps") ?? "").split("\n");
  return new Set(lines.map((line) => unescaped(line.split(/\s/, 1)[0] ?? "")));
}

function linuxFileUses(host: Host, path: string): readonly string[] {
  const swapped = linuxSwaps(host).has(path) ? ["it is swapped to"] : [];
  const loops = names(host, BLOCKS).flatMap((name) => {
    if (!name.startsWith("loop")) return [];
    return host.files.readTextIfAny(`${BLOCKS}/${name}/loop/backing_file`)?.trimEnd() === path
      ? [`/dev/${name} is made of it`]
      : [];
  });
  return [...swapped, ...loops];
}

/** undefined: no disk. */
async function freebsdDisk(
  host: Host,
  path: string,
): Promise<(Partial<TargetFacts> & Pick<TargetFacts, "path" | "kind">) | undefined> {
  const tell = async (...argv: readonly [string, ...string[]]): Promise<string> =>
    (await host.run({ argv, doing: `looking at ${path}` })).text();
  const providers = geomProviders(await tell("sysctl", "-n", "kern.geom.confxml"));
  const own = providers.find(({ name }) => `/dev/${name}` === path);
  if (own === undefined) return undefined;
  const mounts = new Map(
    (await tell("mount", "-p")).split("\n").map((line) => {
      const [source = "", at = ""] = line.split(/\s+/);
      return [source, at] as const;
    }),
  );
  const made = madeOf(providers, own);
  const mounted = made.flatMap(({ name }) => {
    const at = mounts.get(`/dev/${name}`);
    return at === undefined ? [] : [{ name, at }];
  });
  // Whoever opened a partition, also as swap or a part of a pool, has opened the disk.
  const open = made.filter(({ mode }) => mode !== "r0w0e0").map(({ name, mode }) => `/dev/${name} is open (${mode})`);
  const { sectorBytes } = own;
  return {
    path,
    kind: own.class === "PART" ? "partition" : "disk",
    sectorBytes,
    uses: [...mounted.map(({ name, at }) => `/dev/${name} is mounted on ${at}`), ...open],
    isRoot: mounted.some(({ at }) => at === "/"),
    ...looked(host, path),
  };
}

/** A provider, and all that GEOM makes of it: partitions, labels, mirrors. */
function madeOf(providers: readonly GeomProvider[], own: GeomProvider): readonly GeomProvider[] {
  const found = [own];
  for (const each of found)
    found.push(...providers.filter((other) => other.consumes.includes(each.id) && !found.includes(other)));
  return found;
}

/** mdconfig(8): "md0  vnode  64M  /path". */
async function freebsdFileUses(host: Host, path: string): Promise<readonly string[]> {
  if (host.which("mdconfig") === undefined) return [];
  const listed = await host.run({ argv: ["mdconfig", "-lv"], doing: `looking at ${path}`, okStatuses: [0, 1] });
  return listed
    .text()
    .split("\n")
    .flatMap((line) => {
      const [device = "", kind, , file] = line.trim().split(/\s+/);
      return kind === "vnode" && file === path ? [`/dev/${device} is made of it`] : [];
    });
}
