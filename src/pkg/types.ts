/** What a FreeBSD package is, as values. Formats: ../formats (tar, ELF); sources: pkg-create(8), pkg-repository(5), and files that pkg(8) made (../repository/testdata). */
import type { JsonValue } from "../base/index.ts";

export interface PackageFile {
  /** Absolute installed path: "/usr/local/bin/hello". */
  readonly path: string;
  readonly type: "file" | "symlink" | "hardlink";
  /** "1$<sha256 hex>"; of the target string for a symlink. */
  readonly sum: string;
  readonly uname: string;
  readonly gname: string;
  /** Octal permission bits. */
  readonly mode: number;
  /** Of the content; the length of the target for a symlink. A manifest does not say it: 0 where it is all that is known. */
  readonly sizeBytes: number;
  /** Target of a symlink, or the first name of a hard link. */
  readonly target?: string;
  /** Whole seconds since 1970. */
  readonly mtimeSeconds?: number;
}

export interface PackageDirectory {
  readonly path: string;
  readonly uname: string;
  readonly gname: string;
  readonly mode: number;
}

export interface PackageMessage {
  readonly message: string;
  readonly type?: "install" | "upgrade" | "remove";
  readonly minimumVersion?: string;
  readonly maximumVersion?: string;
}

export type ScriptName = "pre-install" | "post-install" | "pre-deinstall" | "post-deinstall";

export interface Manifest {
  readonly name: string;
  readonly origin: string;
  readonly version: string;
  readonly comment: string;
  readonly maintainer: string;
  readonly www: string;
  /** "FreeBSD:15:amd64". */
  readonly abi: string;
  /** The legacy form, "freebsd:15:x86:64"; a catalogue entry without it crashes clients. */
  readonly arch: string;
  readonly prefix: string;
  readonly flatsize: number;
  readonly licenselogic: "single" | "and" | "or";
  readonly licenses: readonly string[];
  readonly desc: string;
  readonly deps: Readonly<Record<string, { readonly origin: string; readonly version: string }>>;
  readonly categories: readonly string[];
  readonly users: readonly string[];
  readonly groups: readonly string[];
  readonly shlibsRequired: readonly string[];
  readonly shlibsProvided: readonly string[];
  /** Names other than shared libraries that packages may ask each other for; package names that must not be there with it. */
  readonly provides?: readonly string[];
  readonly requires?: readonly string[];
  readonly conflicts?: readonly string[];
  readonly vital?: boolean;
  readonly options: Readonly<Record<string, "on" | "off">>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly files: readonly PackageFile[];
  readonly config: readonly string[];
  readonly directories: readonly PackageDirectory[];
  readonly scripts: Readonly<Partial<Record<ScriptName, string>>>;
  readonly messages: readonly PackageMessage[];
  /** Keys this version does not know (lua_scripts, dep_formula...), kept as they were found. */
  readonly others?: Readonly<Record<string, JsonValue>>;
}

/** What is left of a manifest in +COMPACT_MANIFEST and in a catalogue. */
export type CompactManifest = Omit<Manifest, "files" | "config" | "directories" | "scripts">;

/** `(name, version)` and where it lies, with what the catalogue adds. */
export interface CatalogueEntry {
  readonly manifest: CompactManifest;
  /** SHA-256 of the .pkg, lowercase hex (pkg <= 2.7) or "2$..." as found. */
  readonly sum: string;
  /** Relative to the repository's root: "All/hello-2.10.pkg". */
  readonly path: string;
  readonly pkgsize: number;
}
