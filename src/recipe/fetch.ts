/**
 * Fetchers: how a source is obtained, as values.
 *
 * Everything but `localTree` becomes a fixed-output derivation that `build` carries out itself, by what stands in `builder.argv`:
 *
 *   builtin:fetchurl URL...                        mirrors in order of preference
 *   builtin:fetchGit URL COMMIT                    the tree of the commit, without .git
 *   builtin:debianSource PACKAGE VERSION [FILE]    the file of the Debian source package; without FILE its .orig.tar.*
 *   builtin:npmTarball PACKAGE VERSION             the package's .tgz as published
 *
 * VERSION of debianSource may be the upstream part alone ("2.10"): then any Debian revision of it will do, the sum decides.
 */
import { SCHEME, type System, storePath, type StorePath } from "../base/index.ts";
import { type Check, Fault, filledText, isRecord, list, matching, shape } from "./check.ts";
import { besideCaller, checked } from "./errors.ts";
import { here, type Site } from "./location.ts";
import { lastComponent } from "./paths.ts";
import { refuseSecrets } from "./secrets.ts";
import type { Derivation, Fetch, FixedOutput, ResourceLimits } from "./types.ts";

const STORE_NAME = /^[A-Za-z0-9+_?=][A-Za-z0-9+._?=-]{0,190}$/;
const storeName = matching(STORE_NAME, "a name of letters, digits and + - . _ ? =");
const digest = matching(
  /^[0-9a-f]{64}$/,
  "a SHA-256 as 64 lowercase hexadecimal digits",
  "`sha256sum FILE` prints it; a sum that ends in `=` is base64: `echo SUM | base64 -d | xxd -p -c 64` turns it",
);
const url = matching(/^(?:https?|file):\/\/\S+$/, "an http, https or file URL");
const gitUrl = matching(/^(?:(?:https?|git|ssh|file):\/\/\S+|\w[\w.-]*@\w[\w.-]*:\S+)$/, "a URL of a git repository");
const commit = matching(
  /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/,
  "a whole commit id of 40 or 64 lowercase hexadecimal digits",
  "a branch or a tag moves; `git rev-parse NAME^{commit}` prints the commit",
);
const integrity = matching(
  /^(?:sha512-[A-Za-z0-9+/]{86}==|sha256-[A-Za-z0-9+/]{43}=)$/,
  "npm's integrity: sha512- or sha256- and the sum in base64",
  "`npm view PACKAGE@VERSION dist.integrity` prints it",
);
const npmName = matching(/^(?:@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/, "the name of an npm package");
const npmVersion = matching(/^\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?$/, "a version of three numbers, not a range");
const debianPackage = matching(/^[a-z0-9][a-z0-9+.-]+$/, "the name of a Debian source package");
const debianVersion = matching(/^(?:\d+:)?\d[A-Za-z0-9.+~-]*$/, "a Debian version");
const fileName = matching(/^[A-Za-z0-9+_][A-Za-z0-9+._~-]*$/, "the name of a file, without a directory");

/** A source: what a fetcher returned. */
export const fetchValue: Check = (value) => {
  if (isRecord(value) && typeof value["fetcher"] === "string") return;
  const hint = typeof value === "string" ? `write fetchurl({ urls: [...], sha256 }), or localTree("./directory")` : undefined;
  throw new Fault("a source (fetchurl, fetchGit, localTree, debianSource, npmTarball)", value, hint);
};

export interface FetchurlOptions {
  /** Mirrors, tried in order. A file with the right sum in the directory `distfiles/` goes before all of them. */
  readonly urls: readonly string[];
  readonly sha256: string;
  /** Name in the store. Default: the last part of the first URL. */
  readonly name?: string;
}

const fetchurlShape = shape({ urls: list(url, 1), sha256: digest, name: storeName }, ["urls", "sha256"]);

/** One file, checked before use. @throws Problem E_RECIPE_INVALID */
export function fetchurl(options: FetchurlOptions): Fetch {
  const site = here();
  checkFetch("fetchurl", site, fetchurlShape, options);
  const name = options.name ?? nameFromUrl(options.urls[0] ?? "", site);
  return { fetcher: "fetchurl", name, urls: [...options.urls], sha256: options.sha256 };
}

export interface FetchGitOptions {
  readonly url: string;
  readonly commit: string;
  /** Of the tree's NAR. With it the source's path is known, and shared with every other way to get the same tree. */
  readonly sha256?: string;
  readonly name?: string;
}

const fetchGitShape = shape({ url: gitUrl, commit, sha256: digest, name: storeName }, ["url", "commit"]);

/** The files of one commit. @throws Problem E_RECIPE_INVALID */
export function fetchGit(options: FetchGitOptions): Fetch {
  const site = here();
  checkFetch("fetchGit", site, fetchGitShape, options);
  const name = options.name ?? `${lastComponent(options.url.replace(/\.git$/, ""))}-${options.commit.slice(0, 12)}`;
  checkFetch("fetchGit", site, shape({ name: storeName }), { name });
  return { fetcher: "fetchGit", name, url: options.url, commit: options.commit, sha256: options.sha256 };
}

export interface LocalTreeOptions {
  /**
   * A file or a directory; a relative path is relative to the file that calls localTree. (A function that only returns the call
   * does not count: the runtime has left it by then. Give it `${import.meta.dir}/...`.)
   */
  readonly path: string;
  /** Globs of names left out, matched against the path below the tree: ["*.o", "target", "docs/*.pdf"]. `.git` never goes along. */
  readonly exclude?: readonly string[];
  readonly name?: string;
}

const localTreeShape = shape({ path: filledText, exclude: list(filledText), name: storeName }, ["path"]);

/** Files beside the project, named by their content. @throws Problem E_RECIPE_INVALID */
export function localTree(options: string | LocalTreeOptions): Fetch {
  const site = here();
  const given = typeof options === "string" ? { path: options } : options;
  checkFetch("localTree", site, localTreeShape, given);
  const path = besideCaller("localTree", "path", site, given.path);
  const name = given.name ?? lastComponent(path);
  checkFetch("localTree", site, shape({ name: storeName }), { name });
  return { fetcher: "localTree", name, path, exclude: [".git", ...(given.exclude ?? [])] };
}

export interface DebianSourceOptions {
  readonly package: string;
  /** "2.10-3", or the upstream part "2.10" for any Debian revision of it. */
  readonly version: string;
  readonly sha256: string;
  /** Which file of the source package. Default: its .orig.tar.* */
  readonly file?: string;
  readonly name?: string;
}

const debianSourceShape = shape(
  { package: debianPackage, version: debianVersion, sha256: digest, file: fileName, name: storeName },
  ["package", "version", "sha256"],
);

/** One file of a Debian source package, from the mirrors apt is set up for. @throws Problem E_RECIPE_INVALID */
export function debianSource(options: DebianSourceOptions): Fetch {
  const site = here();
  checkFetch("debianSource", site, debianSourceShape, options);
  const { version, sha256, file } = options;
  const name = options.name ?? (file ?? `${options.package}_${version}.orig.tar`).replaceAll(/[~:]/g, "_");
  return { fetcher: "debianSource", name, package: options.package, version, sha256, file };
}

export interface NpmTarballOptions {
  readonly package: string;
  readonly version: string;
  readonly integrity: string;
  readonly name?: string;
}

const npmTarballShape = shape({ package: npmName, version: npmVersion, integrity, name: storeName }, [
  "package",
  "version",
  "integrity",
]);

/** A package as published on the npm registry, without its dependencies. @throws Problem E_RECIPE_INVALID */
export function npmTarball(options: NpmTarballOptions): Fetch {
  const site = here();
  checkFetch("npmTarball", site, npmTarballShape, options);
  const name =
    options.name ?? `${options.package.replace(/^@/, "").replace("/", "-").replaceAll("~", "_")}-${options.version}.tgz`;
  return { fetcher: "npmTarball", name, package: options.package, version: options.version, integrity: options.integrity };
}

function checkFetch(call: string, site: Site, check: Check, options: unknown): void {
  checked(call, call, site, () => check(options));
}

/** @throws Problem E_RECIPE_INVALID when the URL ends in nothing that can name a file */
function nameFromUrl(first: string, site: Site): string {
  const name = lastComponent(new URL(first).pathname);
  checked("fetchurl", "fetchurl", site, () => {
    if (!STORE_NAME.test(name)) throw new Fault("`name`, because the first URL does not end in a usable file name", first);
  });
  return name;
}

/** Fetches are limited by time and by size; the rest is for builders. */
const FETCH_LIMITS: ResourceLimits = {
  wallClockMs: 3_600_000,
  silenceMs: 300_000,
  memoryBytes: 2 * 2 ** 30,
  processes: 64,
  openFiles: 1024,
  outputBytes: 8 * 2 ** 30,
  logBytes: 16 * 2 ** 20,
};

export type RemoteFetch = Exclude<Fetch, { readonly fetcher: "localTree" }>;

/** @throws Problem E_SECRET_IN_DERIVATION for a URL with a password in it */
export function fixedOutputDerivation(fetch: RemoteFetch, system: System): Derivation {
  const derivation: Derivation = {
    scheme: SCHEME,
    name: fetch.name,
    version: "",
    system,
    builder: { argv: fetchCommand(fetch), env: {}, cwd: "/" },
    inputs: [],
    sources: [],
    outputs: ["out"],
    buildRoot: { kind: "host", paths: [] },
    network: true,
    fixedOutput: fixedOutputOf(fetch),
    limits: FETCH_LIMITS,
  };
  refuseSecrets(derivation);
  return derivation;
}

function fetchCommand(fetch: RemoteFetch): readonly string[] {
  switch (fetch.fetcher) {
    case "fetchurl":
      return ["builtin:fetchurl", ...fetch.urls];
    case "fetchGit":
      return ["builtin:fetchGit", fetch.url, fetch.commit];
    case "debianSource":
      return ["builtin:debianSource", fetch.package, fetch.version, ...(fetch.file === undefined ? [] : [fetch.file])];
    case "npmTarball":
      return ["builtin:npmTarball", fetch.package, fetch.version];
  }
}

function fixedOutputOf(fetch: RemoteFetch): FixedOutput {
  switch (fetch.fetcher) {
    case "fetchurl":
    case "debianSource":
      return { algorithm: "sha256", hash: fetch.sha256, recursive: false };
    case "fetchGit":
      return fetch.sha256 === undefined
        ? { algorithm: "git-commit", hash: fetch.commit, recursive: true }
        : { algorithm: "sha256", hash: fetch.sha256, recursive: true };
    case "npmTarball": {
      const [algorithm, base64 = ""] = fetch.integrity.split("-");
      const hash = Buffer.from(base64, "base64").toString("hex");
      return { algorithm: algorithm === "sha512" ? "sha512" : "sha256", hash, recursive: false };
    }
  }
}

/** Where a fixed output will lie, known before it is fetched. undefined where only another sum than SHA-256 is known. */
export function fixedOutputPath(derivation: Pick<Derivation, "name" | "fixedOutput">): StorePath | undefined {
  const { fixedOutput, name } = derivation;
  if (fixedOutput?.algorithm !== "sha256") return undefined;
  const { hash, recursive } = fixedOutput;
  if (recursive) return storePath({ kind: "tree", narSha256: hash, references: [] }, name);
  return storePath({ kind: "flat", sha256: hash, references: [] }, name);
}
