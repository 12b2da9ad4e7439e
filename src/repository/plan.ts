/**
 * What publishing would do, as a value: which packages come, stay and go, the lines of the new catalogue, and what the linter
 * thinks of it. Pure.
 */
import { compareVersions, isSha256 } from "../base/index.ts";
import {
  type CatalogueEntry,
  type CompactManifest,
  isItemPackage,
  isPackageName,
  renderCatalogueEntry,
  validateCompactManifest,
} from "../pkg/index.ts";
import { hashedPath, plainPath } from "./layout.ts";
import type { Lint } from "./types.ts";

/** One entry of a catalogue, rendered; what sorting and comparing need is kept beside it. */
export interface CatalogueLine {
  readonly name: string;
  readonly version: string;
  readonly abi: string;
  readonly sum: string;
  readonly path: string;
  readonly deps: readonly string[];
  /** Canonical: what `renderCatalogueEntry` gives. */
  readonly text: string;
}

/** A package somebody wants to publish, read and checked. */
export interface Incoming {
  readonly file: string;
  readonly manifest: CompactManifest;
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface PublishPlan {
  /** The new catalogue, by path. */
  readonly lines: readonly CatalogueLine[];
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

/** `isThere` says whether a path of the catalogue is a file of the repository. */
export function planPublication(
  present: readonly CatalogueLine[],
  wish: PublishWish,
  isThere: (path: string) => boolean,
): PublishPlan {
  const lines = new Map(present.map((line) => [key(line), line]));
  const links = new Map<string, string | undefined>();
  const copies: PublishPlan["copies"][number][] = [];
  const added: string[] = [];
  const unchanged: string[] = [];
  const removed: string[] = [];
  const retired: string[] = [];
  const lint: Lint[] = [];
  const error = (of: string, field: string, message: string): void =>
    void lint.push({ severity: "error", package: of, field, message });

  for (const gone of wish.remove) {
    const line = lines.get(key(gone));
    if (line === undefined) {
      error(key(gone), "name", "is to be removed, but is not in the repository");
      continue;
    }
    lines.delete(key(gone));
    removed.push(key(gone));
    retired.push(line.path);
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
    const old = lines.get(id);
    if (old?.sum === sum && isThere(old.path)) {
      unchanged.push(id);
      continue;
    }
    if (old !== undefined && !wish.replace)
      error(id, "sum", "is published already with other content: raise the revision, or say --replace");
    if (old !== undefined && old.sum !== sum) retired.push(old.path);
    const path = hashedPath(manifest.name, manifest.version, sum);
    const line = lineOf({ manifest, sum, path, pkgsize: sizeBytes });
    lint.push(...lintEntry({ manifest, sum, path, pkgsize: sizeBytes }));
    lines.set(id, line);
    copies.push({ from: each.file, to: path, sha256: sum, sizeBytes });
    links.set(plainPath(manifest.name, manifest.version), path.slice("All/".length));
    added.push(id);
  }
  const sorted = [...lines.values()].toSorted((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  lint.push(...lintCatalogue(sorted, new Set(added)));
  const coming = new Set(copies.map(({ to }) => to));
  for (const line of sorted) {
    if (!coming.has(line.path) && !isThere(line.path)) {
      error(key(line), "path", `is ${line.path}, which is not on disk: publish it again, or remove it`);
    }
  }
  const abi = sorted.find((line) => !line.abi.includes("*"))?.abi ?? sorted[0]?.abi ?? "";
  const changed = added.length > 0 || removed.length > 0;
  return { lines: sorted, copies, links, added, unchanged, removed, retired, lint, changed, abi };
}

export function lineOf(entry: CatalogueEntry): CatalogueLine {
  const { name, version, abi, deps } = entry.manifest;
  return { name, version, abi, sum: entry.sum, path: entry.path, deps: Object.keys(deps), text: renderCatalogueEntry(entry) };
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

/** Faults between entries: ABIs that do not go together, dependencies nobody has. `fresh` are looked at for warnings. */
export function lintCatalogue(lines: readonly CatalogueLine[], fresh: ReadonlySet<string>): readonly Lint[] {
  const lint: Lint[] = [];
  const names = new Set<string>();
  const abis = new Map<string, string>();
  const ids = new Set<string>();
  for (const line of lines) {
    names.add(line.name);
    if (ids.has(key(line)))
      lint.push({ severity: "error", package: key(line), field: "version", message: "is in the catalogue twice" });
    ids.add(key(line));
    if (!line.abi.includes("*") && !abis.has(line.abi.toLowerCase())) abis.set(line.abi.toLowerCase(), key(line));
  }
  if (abis.size > 1) {
    const examples = [...abis].map(([abi, of]) => `${abi} (${of})`).join(", ");
    lint.push({
      severity: "error",
      package: "*",
      field: "abi",
      message: `clients refuse a catalogue with several ABIs: ${examples}`,
    });
  }
  for (const line of lines) {
    if (!fresh.has(key(line))) continue;
    for (const dependency of line.deps) {
      if (names.has(dependency)) continue;
      const severity = isItemPackage(dependency) ? "error" : "warning";
      lint.push({ severity, package: key(line), field: `deps.${dependency}`, message: "is not in this repository" });
    }
  }
  return lint;
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

export function key({ name, version }: { readonly name: string; readonly version: string }): string {
  return isPackageName(name) ? `${name}-${version}` : JSON.stringify([name, version]);
}
