/**
 * What publishing would do, as a value: which packages come, stay and go, the lines of the new catalogue, and what the linter
 * thinks of it. Pure.
 */
import { compareVersions, isSha256, type JsonValue } from "../base/index.ts";
import {
  type CatalogueEntry,
  type CompactManifest,
  isItemPackage,
  parseCatalogueEntry,
  renderCatalogueEntry,
  validateCompactManifest,
} from "../pkg/index.ts";
import { hashedPath, plainPath } from "./layout.ts";
import type { Lint } from "./types.ts";

/** One entry of a catalogue, and what is asked of it most. */
export interface CatalogueLine {
  readonly name: string;
  readonly version: string;
  readonly abi: string;
  readonly sum: string;
  readonly path: string;
  readonly deps: readonly string[];
}

/** A package somebody wants to publish, read and checked. */
export interface Incoming {
  readonly file: string;
  readonly manifest: CompactManifest;
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface PublishPlan {
  /** The new catalogue: rendered entries in the order of their text, which is that of the names. */
  readonly lines: readonly string[];
  /** Files to bring in, before the catalogue names them. */
  readonly copies: readonly { readonly from: string; readonly to: string; readonly sha256: string; readonly sizeBytes: number }[];
  /** Links for people: path -> target relative to All/. undefined: the link goes. */
  readonly links: ReadonlyMap<string, string | undefined>;
  /** `name-version`. */
  readonly added: readonly string[];
  readonly unchanged: readonly string[];
  readonly removed: readonly string[];
  /** Files the new catalogue no longer names. */
  readonly retired: readonly string[];
  readonly lint: readonly Lint[];
  readonly changed: boolean;
  /** "FreeBSD:15:amd64"; "" for a repository of nothing. */
  readonly abi: string;
}

export interface PublishWish {
  readonly add: readonly Incoming[];
  readonly remove: readonly { readonly name: string; readonly version: string }[];
  /** Put a package in place of another one of the same name and version with other content. */
  readonly replace: boolean;
}

/**
 * `present` are rendered entries, sorted. Only those that have the name of something in the wish are looked into: the others were
 * when they came, and a repository of 20,000 is not to be parsed for one package. `isThere` says whether a path of the catalogue
 * is a file of the repository.
 */
export function planPublication(present: readonly string[], wish: PublishWish, isThere: (path: string) => boolean): PublishPlan {
  const names = new Set([...wish.remove.map(({ name }) => name), ...wish.add.map(({ manifest }) => manifest.name)]);
  const untouched = present.filter((text) => !names.has(nameOf(text)));
  const touched = present.filter((text) => names.has(nameOf(text)));
  const lines = new Map(touched.map((text) => [key(lineOfText(text)), text]));
  const links = new Map<string, string | undefined>();
  const copies: PublishPlan["copies"][number][] = [];
  const fresh: CatalogueLine[] = [];
  const unchanged: string[] = [];
  const removed: string[] = [];
  const retired: string[] = [];
  const lint: Lint[] = [];
  const error = (of: string, field: string, message: string): void =>
    void lint.push({ severity: "error", package: of, field, message });

  for (const gone of wish.remove) {
    const text = lines.get(key(gone));
    if (text === undefined) {
      error(key(gone), "name", "is to be removed, but is not in the repository");
      continue;
    }
    lines.delete(key(gone));
    removed.push(key(gone));
    retired.push(lineOfText(text).path);
    links.set(plainPath(gone.name, gone.version), undefined);
  }
  const incoming = new Map<string, Incoming>();
  for (const each of wish.add) {
    const { manifest, sha256: sum, sizeBytes } = each;
    const id = key(manifest);
    const twin = incoming.get(id);
    if (twin !== undefined && twin.sha256 !== sum)
      error(id, "sum", `comes twice with different content: ${twin.file} and ${each.file}`);
    if (twin !== undefined) continue;
    incoming.set(id, each);
    const text = lines.get(id);
    const old = text === undefined ? undefined : lineOfText(text);
    const path = hashedPath(manifest.name, manifest.version, sum);
    const same = old?.sum === sum && old.path === path;
    if (same && isThere(path)) {
      unchanged.push(id);
      continue;
    }
    if (old !== undefined && !same) {
      if (!wish.replace) error(id, "sum", "is published already with other content: raise the revision, or say --replace");
      retired.push(old.path);
    }
    const entry = { manifest, sum, path, pkgsize: sizeBytes };
    lint.push(...lintEntry(entry));
    lines.set(id, renderCatalogueEntry(entry));
    fresh.push(lineOf(entry));
    copies.push({ from: each.file, to: path, sha256: sum, sizeBytes });
    links.set(plainPath(manifest.name, manifest.version), path.slice("All/".length));
  }
  const all = [...untouched, ...lines.values()].toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const abi = abiOfAll(all);
  const others = abi === "" ? [] : [{ name: "*", version: "", abi, sum: "", path: "", deps: [] }];
  lint.push(...lintAbis([...others, ...fresh]), ...lintDependencies(fresh, (name) => hasName(all, name)));
  const added = fresh.map(key);
  const changed = added.length > 0 || removed.length > 0;
  return { lines: all, copies, links, added, unchanged, removed, retired, lint, changed, abi };
}

export function lineOf(entry: CatalogueEntry): CatalogueLine {
  const { name, version, abi, deps } = entry.manifest;
  return { name, version, abi, sum: entry.sum, path: entry.path, deps: Object.keys(deps) };
}

/** A rendered entry, read again. */
export function lineOfText(text: string): CatalogueLine {
  const entry: JsonValue = JSON.parse(text);
  return lineOf(parseCatalogueEntry(entry, "the catalogue"));
}

/** Of a rendered entry: the name comes first, and no name needs escaping. */
function nameOf(text: string): string {
  const start = '{"name":"'.length;
  return text.slice(start, text.indexOf('"', start));
}

/** The entries are sorted by name. */
function hasName(texts: readonly string[], name: string): boolean {
  const prefix = `{"name":"${name}",`;
  let low = 0;
  let high = texts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((texts[middle] ?? "") < prefix) low = middle + 1;
    else high = middle;
  }
  return texts[low]?.startsWith(prefix) ?? false;
}

function abiOfAll(texts: readonly string[]): string {
  for (const text of texts) {
    const { abi } = lineOfText(text);
    if (!abi.includes("*")) return abi;
  }
  const [first] = texts;
  return first === undefined ? "" : lineOfText(first).abi;
}

/**
 * Faults of one entry that would crash a client, or make it refuse the whole catalogue or this package. `sum` is wanted as bare
 * SHA-256, which every client takes.
 */
export function lintEntry(entry: CatalogueEntry): readonly Lint[] {
  const { manifest, sum, path, pkgsize } = entry;
  const name = `${manifest.name || "?"}-${manifest.version || "?"}`;
  const findings: Lint[] = [];
  for (const { severity, field, message } of validateCompactManifest(manifest))
    findings.push({ severity, package: name, field, message });
  const error = (field: string, message: string): void =>
    void findings.push({ severity: "error", package: name, field, message });
  if (sum === "") error("sum", "is missing: clients refuse the whole catalogue");
  else if (!isSha256(sum) && !/^[0-9]\$.+/.test(sum)) error("sum", "is not a sum pkg knows");
  if (!Number.isSafeInteger(pkgsize) || pkgsize <= 0) error("pkgsize", "is missing: clients cannot fetch the package");
  if (path === "") error("path", "is missing: clients cannot fetch the package");
  else if (path.startsWith("/") || path.split("/").includes("..")) error("path", "leads out of the repository");
  return findings;
}

/** Faults between all the entries of a catalogue. */
export function lintCatalogue(lines: readonly CatalogueLine[]): readonly Lint[] {
  const lint: Lint[] = [];
  const ids = new Set<string>();
  for (const line of lines) {
    const id = key(line);
    if (ids.has(id)) lint.push({ severity: "error", package: id, field: "version", message: "is in the catalogue twice" });
    ids.add(id);
  }
  const names = new Set(lines.map(({ name }) => name));
  return [...lint, ...lintAbis(lines), ...lintDependencies(lines, (name) => names.has(name))];
}

function lintAbis(lines: readonly CatalogueLine[]): readonly Lint[] {
  const abis = new Map<string, string>();
  for (const line of lines) {
    const abi = line.abi.toLowerCase();
    if (!abis.has(abi) && !abi.includes("*")) abis.set(abi, line.name);
  }
  if (abis.size < 2) return [];
  const examples = [...abis].map(([abi, of]) => `${abi} (${of === "*" ? "what is there" : of})`).join(", ");
  return [
    { severity: "error", package: "*", field: "abi", message: `clients refuse a catalogue with several ABIs: ${examples}` },
  ];
}

/** Store items come with those who refer to them; other packages may come from another repository. */
function lintDependencies(lines: readonly CatalogueLine[], isThere: (name: string) => boolean): readonly Lint[] {
  return lines.flatMap((line) =>
    line.deps
      .filter((dependency) => !isThere(dependency))
      .map((dependency): Lint => {
        const severity = isItemPackage(dependency) ? "error" : "warning";
        return { severity, package: key(line), field: `deps.${dependency}`, message: "is not in this repository" };
      }),
  );
}

/**
 * What `prune` drops: of each package all but the newest `keepVersions`, and of the item packages those that no package which
 * stays depends on.
 */
export function planPrune(
  lines: readonly CatalogueLine[],
  keepVersions: number,
): readonly { readonly name: string; readonly version: string }[] {
  const byName = Map.groupBy(
    lines.filter(({ name }) => !isItemPackage(name)),
    ({ name }) => name,
  );
  const keep = new Set<CatalogueLine>();
  for (const versions of byName.values()) {
    const newestFirst = versions.toSorted((a, b) => compareVersions(b.version, a.version));
    for (const line of newestFirst.slice(0, keepVersions)) keep.add(line);
  }
  const items = Map.groupBy(
    lines.filter(({ name }) => isItemPackage(name)),
    ({ name }) => name,
  );
  const wanted = [...keep];
  for (let line = wanted.pop(); line !== undefined; line = wanted.pop()) {
    for (const item of line.deps.flatMap((name) => items.get(name) ?? [])) {
      if (keep.has(item)) continue;
      keep.add(item);
      wanted.push(item);
    }
  }
  return lines.filter((line) => !keep.has(line)).map(({ name, version }) => ({ name, version }));
}

/** A version has no dash, so this names one package. */
export function key({ name, version }: { readonly name: string; readonly version: string }): string {
  return `${name}-${version}`;
}
