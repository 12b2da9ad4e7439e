/**
 * The root file system and the EFI system partition: every path with its owner, mode and content, before a byte is written. Pure.
 *
 *     /                 bin -> usr/bin ..., usr -> /run/current-system/profile/usr: what the profile has at its top
 *     /frx/store        the closure of the system, and of the development profile where there is one
 *     /etc              the files of the system item, each its own: a running system may change them
 *     /var /root ...    copied from the base
 *     /run/current-system, /run/current-development
 *     /var/lib/garth/system, /frx/var/garth/roots     its first generation (generations.ts)
 *
 * The order is that of an image: what changes least comes first, so that the next image differs near its end.
 */
import type { StorePath } from "../base/index.ts";
import type { Content, FileSystemEntry } from "../formats/index.ts";
import { attributesOf, type AttributeTable, type ListedEntry } from "../world/index.ts";
import type { Accounts } from "./accounts.ts";
import { freebsdBoot } from "./freebsd.ts";
import { bootDirectory, firstGeneration, linuxBootEntry, SORT_KEYS } from "./generations.ts";
import { STAMP } from "./linux-activate.ts";
import { COPIED, hasHome, isCopied, MADE } from "./places.ts";
import type { Part, RootPlan, SystemSpec } from "./types.ts";

/** A store item that goes into the image. */
export interface RootItem {
  readonly path: StorePath;
  /** Where the item is one file. */
  readonly file: { readonly executable: boolean; readonly sizeBytes: number } | undefined;
  readonly listing: readonly ListedEntry[];
  readonly attributes: AttributeTable;
}

export interface RootFacts {
  readonly spec: SystemSpec;
  readonly accounts: Accounts;
  /** Everything the system needs, in the order in which it goes into the image. */
  readonly items: readonly RootItem[];
  readonly system: RootItem;
  /** Of the running system: what its generation holds in the store. */
  readonly closure: readonly StorePath[];
  readonly profile: RootItem;
  readonly development: StorePath | undefined;
  readonly base: readonly Part[];
  readonly etcOwners: AttributeTable;
  readonly commandLine: readonly string[];
  readonly kernel: Part;
  readonly bootloader: Part;
  /** Whole seconds since 1970: of every file. */
  readonly timeSeconds: number;
  /** How the machine came by its first generation; default `by=image`. */
  readonly made?: Readonly<Record<string, string>>;
}

export function planRoot(facts: RootFacts): RootPlan {
  const { spec, items, system, development, timeSeconds } = facts;
  const entries = new Map<string, FileSystemEntry>();
  const put = (entry: FileSystemEntry): void => {
    const known = entries.get(entry.path);
    // What came first stays where it is; its owner and mode may be said better later.
    if (known !== undefined && known.type === "directory" && entry.type === "directory")
      entries.set(entry.path, { ...known, ...entry });
    else entries.set(entry.path, entry);
  };
  const directory = (path: string, mode = 0o755, uid = 0, gid = 0): void =>
    put({ type: "directory", path, mode, uid, gid, timeSeconds });
  const link = (path: string, target: string): void =>
    put({ type: "symlink", path, target, mode: 0o777, uid: 0, gid: 0, timeSeconds });
  const text = (path: string, content: string, mode: number, uid = 0, gid = 0): void =>
    put({
      type: "file",
      path,
      content: { kind: "bytes", bytes: new TextEncoder().encode(content) },
      mode,
      uid,
      gid,
      timeSeconds,
    });

  /** With the directories above; not where something else leads elsewhere on the way, which is there without us. */
  const place = (path: string, mode = 0o755, uid = 0, gid = 0): boolean => {
    for (let end = path.indexOf("/"); end > 0; end = path.indexOf("/", end + 1)) {
      const above = entries.get(path.slice(0, end));
      if (above === undefined) directory(path.slice(0, end));
      else if (above.type !== "directory") return false;
    }
    const known = entries.get(path);
    if (known === undefined) directory(path, mode, uid, gid);
    return known === undefined || known.type === "directory";
  };

  directory("");
  for (const [path, mode] of MADE) directory(path, mode);
  for (const name of COPIED) directory(name, name === "root" ? 0o700 : 0o755);
  topOfProfile(facts, link);
  for (const path of ["frx", "frx/store", "frx/var", "var/lib", "var/lib/garth", "etc"]) directory(path);
  for (const item of items) for (const entry of storeEntries(item, timeSeconds)) put(entry);
  for (const part of facts.base) for (const entry of copiedEntries(part, timeSeconds)) put(entry);
  for (const entry of etcEntries(facts)) put(entry);
  text(`etc/${STAMP}`, `${system.path}\n`, 0o644);
  const generation = firstGeneration(system.path, facts.closure, facts.made ?? { by: "image" });
  for (const entry of [...(spec.family === "freebsd" ? freebsdBoot(spec, system) : []), ...generation]) {
    if (entry.kind === "directory") directory(entry.path);
    else if (entry.kind === "link") link(entry.path, entry.target);
    else text(entry.path, entry.text, 0o644);
  }
  for (const { name, home, authorizedKeys } of spec.users) {
    const user = facts.accounts.users.find((each) => each.name === name);
    if (user === undefined || !hasHome(home)) continue;
    // What the base has there already stays the base's, as in the activation.
    const isThere = place(home.slice(1), name === "root" ? 0o700 : 0o755, user.uid, user.gid);
    if (!isThere || authorizedKeys.length === 0) continue;
    const keys = `${home.slice(1)}/.ssh`;
    directory(keys, 0o700, user.uid, user.gid);
    text(`${keys}/authorized_keys`, authorizedKeys.map((key) => `${key}\n`).join(""), 0o600, user.uid, user.gid);
  }
  for (const { mountPoint } of spec.fileSystems) if (mountPoint !== "/") place(mountPoint.slice(1));
  link("run/current-system", system.path);
  if (development !== undefined) link("run/current-development", development);
  return {
    entries: [...entries.values()],
    esp: spec.family === "linux" ? linuxEsp(facts) : freebsdEsp(facts),
    items: items.map(({ path }) => path),
  };
}

/** `bin -> usr/bin` stays what it is; a directory is reached through the running system, so that another system is another tree. */
function topOfProfile({ profile }: RootFacts, link: (path: string, target: string) => void): void {
  for (const { path, type, target = "" } of profile.listing) {
    if (path.includes("/")) continue;
    const isRelative = type === "symlink" && !target.startsWith("/");
    link(path, isRelative ? target : `/run/current-system/profile/${path}`);
  }
}

function* storeEntries({ path: item, file, listing, attributes }: RootItem, timeSeconds: number): Generator<FileSystemEntry> {
  const root = item.slice(1);
  if (file !== undefined) {
    const content = { kind: "file", file: item, sizeBytes: file.sizeBytes } as const;
    yield { type: "file", path: root, content, mode: file.executable ? 0o555 : 0o444, uid: 0, gid: 0, timeSeconds };
    return;
  }
  yield { type: "directory", path: root, mode: 0o555, uid: 0, gid: 0, timeSeconds };
  for (const entry of listing) {
    const special = attributes.get(entry.path);
    const mode =
      special?.mode ?? (entry.type === "symlink" ? 0o777 : entry.type === "directory" || entry.executable ? 0o555 : 0o444);
    yield asEntry(entry, `${root}/${entry.path}`, item, { mode, uid: special?.uid ?? 0, gid: special?.gid ?? 0, timeSeconds });
  }
}

function* copiedEntries(part: Part, timeSeconds: number): Generator<FileSystemEntry> {
  for (const entry of part.listing) {
    if (!isCopied(entry.path)) continue;
    // A link out of it (`home -> usr/home`) would lead into the store.
    if (entry.type === "symlink" && COPIED.includes(entry.path)) continue;
    yield asEntry(entry, entry.path, part.path, { ...attributesOf(part.attributes, entry.path, entry), timeSeconds });
  }
}

function* etcEntries({ system, etcOwners, timeSeconds }: RootFacts): Generator<FileSystemEntry> {
  for (const entry of system.listing) {
    if (!entry.path.startsWith("etc/")) continue;
    const owner = attributesOf(etcOwners, entry.path.slice("etc/".length), entry);
    yield asEntry(entry, entry.path, system.path, { ...owner, timeSeconds });
  }
}

interface About {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly timeSeconds: number;
}

function asEntry(entry: ListedEntry, path: string, item: StorePath, about: About): FileSystemEntry {
  if (entry.type === "directory") return { type: "directory", path, ...about };
  if (entry.type === "symlink") return { type: "symlink", path, target: entry.target ?? "", ...about, mode: 0o777 };
  return { type: "file", path, content: { kind: "file", file: `${item}/${entry.path}`, sizeBytes: entry.sizeBytes }, ...about };
}

function contentOf(item: { readonly path: StorePath; readonly listing: readonly ListedEntry[] }, path: string): Content {
  const found = item.listing.find((entry) => entry.path === path && entry.type === "file");
  if (found === undefined) throw new Error(`${item.path} has no file ${path}, which was looked for before`);
  return { kind: "file", file: `${item.path}/${path}`, sizeBytes: found.sizeBytes };
}

const bytes = (text: string): Content => ({ kind: "bytes", bytes: new TextEncoder().encode(text) });

/**
 * systemd-boot with the first generation: as the current one, and as one that is chosen at the menu. Kernel and initial RAM disk lie
 * below the digest of the system they are of, so that generations with one system have them once.
 */
function linuxEsp({ system, kernel, bootloader, commandLine }: RootFacts): RootPlan["esp"] {
  const kernelLink = system.listing.find(({ path }) => path === "boot/kernel")?.target ?? "";
  const loader = bootloader.listing.find(({ path }) =>
    /^usr\/lib\/systemd\/boot\/efi\/systemd-boot(?:x64|aa64)\.efi$/.test(path),
  );
  const name = bootDirectory(system.path);
  const esp: { path: string; content: Content }[] = [];
  if (loader !== undefined) {
    const machine = loader.path.endsWith("x64.efi") ? "X64" : "AA64";
    esp.push({ path: `EFI/BOOT/BOOT${machine}.EFI`, content: contentOf(bootloader, loader.path) });
  }
  const entry = (sortKey: string): Content => bytes(linuxBootEntry({ system: system.path, generation: 1, sortKey, commandLine }));
  return [
    ...esp,
    { path: `garth/${name}/kernel`, content: contentOf(kernel, kernelLink.slice(kernel.path.length + 1)) },
    { path: `garth/${name}/initrd`, content: contentOf(system, "boot/initrd") },
    { path: "loader/entries/garth-1.conf", content: entry(SORT_KEYS.menu) },
    { path: "loader/entries/garth-current.conf", content: entry(SORT_KEYS.current) },
    // No default: the first entry is, in the order of their sort keys, less those that have no try left.
    { path: "loader/loader.conf", content: bytes("timeout 0\neditor no\n") },
  ];
}

/** loader.efi alone: it finds the root by its type and reads /boot there. */
function freebsdEsp({ bootloader }: RootFacts): RootPlan["esp"] {
  return [{ path: "EFI/BOOT/BOOTX64.EFI", content: contentOf(bootloader, "boot/loader.efi") }];
}
