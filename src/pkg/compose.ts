/**
 * From store items to packages. Two kinds of package:
 *
 *   an *item* package   carries one store item, whole, under /frx/store, and depends on the packages of the items it refers to.
 *                       Its name holds the item's hash and it has one version for ever, so two of them never own one file.
 *   a *goal* package    is what people install: links from the prefix into the item, its configuration files, scripts and
 *                       messages, and a dependency on the item package. It owns nothing under /frx/store.
 *
 * A rebuilt goal depends on another item package, which is what makes `pkg upgrade` see a change even where the version is the
 * same; the old item stays until `pkg autoremove`. Items keep their absolute names, so nothing is relocated.
 */
import {
  baseName,
  hashPart,
  namePart,
  PACKAGED_DIRECTORY,
  Problem,
  sha256,
  STORE_DIRECTORY,
  type StorePath,
} from "../base/index.ts";
import type { ElfInfo } from "../formats/index.ts";
import { type Abi, abiString, legacyArch, shlibSuffix } from "./abi.ts";
import type { PackageDescription } from "./declaration.ts";
import type { Manifest, PackageDirectory, PackageFile } from "./types.ts";

/** One file, directory or symlink of a store item. */
export interface TreeEntry {
  /** Relative to the item; "" is the item itself. */
  readonly path: string;
  readonly type: "file" | "directory" | "symlink";
  readonly mode: number;
  /** Length of the content, or of a symlink's target. */
  readonly sizeBytes: number;
  /** SHA-256 of a file's content, lowercase hex. */
  readonly sha256?: string;
  readonly target?: string;
  readonly elf?: ElfInfo;
}

export interface ItemTree {
  readonly path: StorePath;
  /** Without the item itself. */
  readonly references: readonly StorePath[];
  readonly entries: readonly TreeEntry[];
}

/** A manifest, and where the bytes of its regular files come from. */
export interface ComposedPackage {
  readonly manifest: Manifest;
  /** Installed path -> the store item and the file in it. */
  readonly contents: ReadonlyMap<string, { readonly item: StorePath; readonly file: string }>;
}

const OWNER = { uname: "root", gname: "wheel" } as const;
/** Store items have this time; so has everything that comes from them. */
const MTIME_SECONDS = 1;

/**
 * Directories of an output that are shown under the prefix; of `etc`, what nobody edits. What is elsewhere is reached by its absolute name.
 */
const SHOWN = ["bin", "sbin", "include", "lib", "share", "etc/rc.d"];
const SHOWN_FILES = /^etc\/.*\.sample$/;

/** Of no use to anybody else, or made by every package under the same name. */
const NOT_SHOWN = [
  /^share\/garth(\/|$)/,
  /^share\/info\/dir$/,
  /^share\/glib-2\.0\/schemas\/gschemas\.compiled$/,
  /^share\/icons\/[^/]+\/icon-theme\.cache$/,
  /^share\/mime\/(?!packages\/)/,
  /^lib\/charset\.alias$/,
  /^share\/locale\/locale\.alias$/,
  /\.la$/,
  /(^|\/)(perllocal\.pod|\.packlist)$/,
];

/** `garth-item-<16 hex digits>-<name>`: one for each store item, for ever at version 1. */
export function itemPackageName(item: StorePath): string {
  return `garth-item-${hashPart(item).slice(0, 16)}-${namePart(item).replaceAll(/[?=]/g, "_")}`;
}

export function isItemPackage(name: string): boolean {
  return /^garth-item-[0-9a-f]{16}-/.test(name);
}

/** Says, as long as the package is there, that its item is the package manager's: a Garth whose store that is leaves the item alone. */
function packagedMark(item: StorePath): string {
  return `${STORE_DIRECTORY}/${PACKAGED_DIRECTORY}/${baseName(item)}`;
}

/** Of a file of a package: it is the mark of an item, and nothing of one. */
export function isPackagedMark({ path, target }: Pick<PackageFile, "path" | "target">): boolean {
  const [, name] = /^\.\.\/([^/]+)$/.exec(target ?? "") ?? [];
  return name !== undefined && path === `${STORE_DIRECTORY}/${PACKAGED_DIRECTORY}/${name}`;
}

export function itemDependency(item: StorePath): Manifest["deps"] {
  const name = itemPackageName(item);
  return { [name]: { origin: `garth/${name}`, version: "1" } };
}

/** `isCarried` says whether an absolute path is a file of the closure, and so comes with a dependency. */
export function composeItem(item: ItemTree, abi: Abi, isCarried: (path: string) => boolean): ComposedPackage {
  const name = itemPackageName(item.path);
  const abiText = abiString(abi);
  const contents = new Map<string, { readonly item: StorePath; readonly file: string }>();
  const files: PackageFile[] = [];
  const directories: PackageDirectory[] = [];
  for (const entry of item.entries) {
    const path = entry.path === "" ? item.path : `${item.path}/${entry.path}`;
    if (entry.type === "directory") directories.push({ path, ...OWNER, mode: entry.mode });
    else files.push(installedFile(path, entry));
    if (entry.type === "file") contents.set(path, { item: item.path, file: entry.path });
  }
  files.push(link(packagedMark(item.path), `../${baseName(item.path)}`));
  const manifest: Manifest = {
    name,
    origin: `garth/${name}`,
    version: "1",
    comment: `Store item ${namePart(item.path)}`,
    maintainer: "root@localhost",
    www: "",
    prefix: "/frx",
    flatsize: files.reduce((sum, file) => sum + file.sizeBytes, 0),
    licenselogic: "single",
    licenses: [],
    desc: `Carries ${baseName(item.path)}, which other packages refer to. It goes with the last of them (pkg autoremove).`,
    deps: Object.assign({}, ...item.references.map(itemDependency)),
    categories: ["garth"],
    users: [],
    groups: [],
    shlibsRequired: requiredLibraries(item, abiText, isCarried),
    shlibsProvided: [],
    options: {},
    ...systemFields(abi),
    files: byPath(files),
    config: [],
    directories: byPath(directories),
    scripts: {},
    messages: [],
  };
  return { manifest, contents };
}

/** @throws Problem E_BAD_PACKAGE for a configuration file that the output does not have */
export function composeGoal(description: PackageDescription, item: ItemTree, abi: Abi): ComposedPackage {
  const { name, version, prefix, about } = description;
  const contents = new Map<string, { readonly item: StorePath; readonly file: string }>();
  const files: PackageFile[] = [];
  for (const [path, from] of Object.entries(description.config)) {
    const entry = item.entries.find((candidate) => candidate.path === from && candidate.type === "file");
    if (entry === undefined) throw missingConfig(name, from, item.path);
    const installed = `${prefix}/${path}`;
    files.push({ ...installedFile(installed, entry), mode: 0o644 });
    contents.set(installed, { item: item.path, file: from });
  }
  const config = files.map(({ path }) => path);
  const taken = new Set(config);
  for (const entry of item.entries) {
    if (entry.type === "directory" || !isShown(entry.path) || taken.has(`${prefix}/${entry.path}`)) continue;
    files.push(link(`${prefix}/${entry.path}`, `${item.path}/${entry.path}`));
  }
  const system = systemFields(abi);
  const manifest: Manifest = {
    name,
    version,
    prefix,
    ...about,
    flatsize: files.reduce((sum, file) => sum + file.sizeBytes, 0),
    deps: { ...about.deps, ...itemDependency(item.path) },
    shlibsRequired: [],
    shlibsProvided: shownLibraries(item, abiString(abi)),
    ...(description.conflicts.length === 0 ? {} : { conflicts: description.conflicts }),
    ...system,
    annotations: { ...about.annotations, ...system.annotations },
    files: byPath(files),
    config: config.toSorted(),
    directories: [],
  };
  return { manifest, contents };
}

function systemFields(abi: Abi): Pick<Manifest, "abi" | "arch" | "annotations"> {
  const text = abiString(abi);
  const annotations = abi.osVersion === undefined ? {} : { FreeBSD_version: String(abi.osVersion) };
  return { abi: text, arch: legacyArch(text), annotations };
}

/** Hard links inside an item depend on whether the store was optimised, so every name is a file of its own here. */
function installedFile(path: string, entry: TreeEntry): PackageFile {
  if (entry.type === "symlink") return link(path, entry.target ?? "");
  const { mode, sizeBytes, sha256: digest = "" } = entry;
  return { path, type: "file", sum: `1$${digest}`, ...OWNER, mode, sizeBytes, mtimeSeconds: MTIME_SECONDS };
}

function link(path: string, target: string): PackageFile {
  const sizeBytes = new TextEncoder().encode(target).length;
  return {
    path,
    type: "symlink",
    sum: `1$${sha256(target)}`,
    ...OWNER,
    mode: 0o755,
    sizeBytes,
    target,
    mtimeSeconds: MTIME_SECONDS,
  };
}

function isShown(path: string): boolean {
  const isWanted = SHOWN.some((directory) => path.startsWith(`${directory}/`)) || SHOWN_FILES.test(path);
  return isWanted && !NOT_SHOWN.some((pattern) => pattern.test(path));
}

function byPath<T extends { readonly path: string }>(entries: readonly T[]): readonly T[] {
  return entries.toSorted((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

/**
 * What the programs and libraries of an item need from the system: DT_NEEDED, without what the item holds itself and without
 * what RPATH or RUNPATH finds in another item, which a dependency names more exactly than a library's name could.
 */
function requiredLibraries(item: ItemTree, abi: string, isCarried: (path: string) => boolean): readonly string[] {
  const own = new Set<string>();
  for (const { path, elf } of item.entries) {
    own.add(path.slice(path.lastIndexOf("/") + 1));
    if (elf?.soname !== undefined) own.add(elf.soname);
  }
  const required = new Set<string>();
  for (const { path, elf } of item.entries) {
    const suffix = elf === undefined ? undefined : shlibSuffix(elf, abi);
    if (elf === undefined || suffix === undefined) continue;
    const origin = `${item.path}/${path}`.replace(/\/[^/]*$/, "");
    const searched = [...elf.rpath, ...elf.runpath].map((entry) => entry.replace(/\$\{?ORIGIN\}?/, origin));
    for (const library of elf.needed) {
      if (!own.has(library) && !searched.some((directory) => isCarried(`${directory}/${library}`)))
        required.add(library + suffix);
    }
  }
  return [...required].toSorted();
}

/** Libraries that the loader finds under the prefix by the name programs ask for. */
function shownLibraries(item: ItemTree, abi: string): readonly string[] {
  const provided = new Set<string>();
  for (const { path, elf } of item.entries) {
    const suffix = elf === undefined ? undefined : shlibSuffix(elf, abi);
    const soname = elf?.soname;
    if (suffix === undefined || soname === undefined || !/^lib\/[^/]+$/.test(path)) continue;
    if (item.entries.some((entry) => entry.path === `lib/${soname}`)) provided.add(soname + suffix);
  }
  return [...provided].toSorted();
}

function missingConfig(name: string, file: string, item: StorePath): Problem {
  return new Problem({
    code: "E_BAD_PACKAGE",
    message: `the package ${name} wants ${file} as a configuration file, which ${item} does not have`,
    exit: 2,
  });
}
