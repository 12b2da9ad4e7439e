/**
 * Manifests as pkg writes them: one line of JSON, keys in pkg's order, empty ones left out. Reading is in manifest-read.ts.
 */
import type { JsonValue } from "../base/index.ts";
import { percentEncode } from "./encoding.ts";
import type { CatalogueEntry, CompactManifest, Manifest } from "./types.ts";

type Members = Record<string, JsonValue>;

/** +MANIFEST */
export function renderManifest(manifest: Manifest): string {
  return JSON.stringify(ordered(manifest, {}, manifest));
}

/** +COMPACT_MANIFEST */
export function renderCompactManifest(manifest: CompactManifest): string {
  return JSON.stringify(ordered(manifest, {}));
}

/** A line of packagesite.yaml, and an element of the array in `data`. */
export function renderCatalogueEntry(entry: CatalogueEntry): string {
  return JSON.stringify(ordered(entry.manifest, { sum: entry.sum, path: entry.path, pkgsize: entry.pkgsize }));
}

function ordered(
  manifest: CompactManifest,
  catalogue: { readonly sum?: string; readonly path?: string; readonly pkgsize?: number },
  full?: Manifest,
): Members {
  const { sum, path, pkgsize } = catalogue;
  return {
    name: manifest.name,
    origin: manifest.origin,
    version: manifest.version,
    comment: manifest.comment,
    maintainer: manifest.maintainer,
    www: manifest.www,
    abi: manifest.abi,
    arch: manifest.arch,
    prefix: manifest.prefix,
    ...(manifest.vital === true ? { vital: true } : {}),
    ...(sum === undefined ? {} : { sum }),
    flatsize: manifest.flatsize,
    ...(path === undefined ? {} : { path, repopath: path }),
    ...(manifest.licenses.length === 0 ? {} : { licenselogic: manifest.licenselogic, licenses: manifest.licenses }),
    ...(pkgsize === undefined ? {} : { pkgsize }),
    desc: percentEncode(manifest.desc),
    ...table(
      "deps",
      mapped(manifest.deps, ({ origin, version }) => ({ origin, version })),
    ),
    ...list("categories", manifest.categories),
    ...list("users", manifest.users),
    ...list("groups", manifest.groups),
    ...list("shlibs_required", manifest.shlibsRequired),
    ...list("shlibs_provided", manifest.shlibsProvided),
    ...list("provides", manifest.provides ?? []),
    ...list("requires", manifest.requires ?? []),
    ...list("conflicts", manifest.conflicts ?? []),
    ...table("options", manifest.options),
    ...table("annotations", manifest.annotations),
    ...(full === undefined ? {} : payload(full)),
    ...(manifest.messages.length === 0 ? {} : { messages: manifest.messages.map(message) }),
    ...manifest.others,
  };
}

function payload(manifest: Manifest): Members {
  const files: Members = Object.create(null);
  for (const file of manifest.files) {
    files[percentEncode(file.path)] = {
      sum: file.sum,
      uname: file.uname,
      gname: file.gname,
      perm: permissions(file.mode),
      ...(file.type === "symlink" && file.target !== undefined ? { symlink_target: file.target } : {}),
      ...(file.mtimeSeconds === undefined ? {} : { mtime: file.mtimeSeconds }),
    };
  }
  const directories: Members = Object.create(null);
  for (const directory of manifest.directories) {
    const { uname, gname } = directory;
    directories[percentEncode(directory.path)] = { uname, gname, perm: permissions(directory.mode) };
  }
  return {
    ...table("files", files),
    ...list("config", manifest.config.map(percentEncode)),
    ...table("directories", directories),
    ...table(
      "scripts",
      mapped(manifest.scripts, (script) => percentEncode(script ?? "")),
    ),
  };
}

function message(from: Manifest["messages"][number]): JsonValue {
  return {
    message: from.message,
    ...(from.type === undefined ? {} : { type: from.type }),
    ...(from.minimumVersion === undefined ? {} : { minimum_version: from.minimumVersion }),
    ...(from.maximumVersion === undefined ? {} : { maximum_version: from.maximumVersion }),
  };
}

function permissions(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

function list(key: string, values: readonly string[]): Members {
  return values.length === 0 ? {} : { [key]: values };
}

function table(key: string, values: Readonly<Record<string, JsonValue>>): Members {
  return Object.keys(values).length === 0 ? {} : { [key]: values };
}

/** Keys in the order of their bytes, so that the order a person wrote them in does not matter. */
function mapped<V>(values: Readonly<Record<string, V>>, of: (value: V) => JsonValue): Readonly<Record<string, JsonValue>> {
  const result: Members = Object.create(null);
  for (const [key, value] of Object.entries(values).toSorted(([a], [b]) => (a < b ? -1 : 1))) result[key] = of(value);
  return result;
}
