/**
 * debianSource: one file of a Debian source package, by default the upstream tarball.
 *
 * The package index says which version holds a file with the recipe's SHA-256; apt fetches that version's files and checks them
 * against the signed index; then the digest is checked once more, against the recipe.
 */
import { Problem } from "../../base/index.ts";
import { type Apt, aptWords, openApt } from "./apt.ts";
import { parseStanzas } from "./aptsources.ts";
import { fileDigests } from "../../host/index.ts";
import { keepDistfile, newPart } from "./distfiles.ts";
import { type MirrorFailure, nobodyHasIt } from "./problems.ts";
import { tail } from "./tool.ts";
import type { FetchContext, Fetched, FetchOf } from "./types.ts";
import { finish, lookInDistfiles, mismatchAt } from "./url.ts";

const ARCHITECTURES = {
  "x86_64-linux": "amd64",
  "aarch64-linux": "arm64",
  "x86_64-freebsd": "amd64",
  "aarch64-freebsd": "arm64",
} as const;

/** A file of a source package, as the index lists it. */
export interface IndexedFile {
  /** Of the source package: `2.10-3`. */
  readonly version: string;
  readonly file: string;
  readonly sha256: string;
}

export async function debianSource(context: FetchContext, fetch: FetchOf<"debianSource">): Promise<Fetched> {
  const failures: MirrorFailure[] = [];
  const fail = (failure: MirrorFailure) => {
    failures.push(failure);
    context.emit({ kind: "fetch-failed", from: failure.from, reason: failure.reason });
  };
  const names = [fetch.name, ...(fetch.file === undefined ? [] : [fetch.file])];
  const there = lookInDistfiles(context, fetch.sha256, names, fail);
  const from = there === undefined ? `apt-get source ${fetch.package}` : "distfiles";
  const file = there ?? (await fromApt(context, fetch, from, fail));
  if (file === undefined) throw nobodyHasIt(`Debian's source of ${fetch.package} ${fetch.version}`, failures);
  return finish(context, { file, name: fetch.name, sha256: fetch.sha256, from });
}

async function fromApt(
  context: FetchContext,
  fetch: FetchOf<"debianSource">,
  from: string,
  fail: (failure: MirrorFailure) => void,
): Promise<string | undefined> {
  context.emit({ kind: "fetch-started", what: fetch.name, from });
  const apt = await openApt(context, {
    name: "source",
    types: ["deb-src"],
    suite: undefined,
    architecture: ARCHITECTURES[context.system],
  });
  const files = await lookUp(apt, fetch);
  if (files.length === 0) throw notInIndex(fetch);
  const chosen = choose(files, fetch);
  if (chosen === undefined) {
    const other = files.find((each) => isWanted(each, fetch));
    if (other === undefined) throw notInIndex(fetch, files);
    fail(mismatchAt(`${from}=${other.version} (${other.file})`, "sha256", fetch.sha256, other.sha256));
    return undefined;
  }
  return download(context, apt, fetch, chosen, { from, fail });
}

/** With yesterday's lists if they know it, else with today's. */
async function lookUp(apt: Apt, fetch: FetchOf<"debianSource">): Promise<readonly IndexedFile[]> {
  const ask = async () => {
    const result = await apt.run(
      ["apt-cache", "showsrc", "--only-source", fetch.package],
      `looking for the source of ${fetch.package}`,
    );
    return parseShowsrc(result.stdout, fetch.package).filter((each) => hasVersion(each.version, fetch.version));
  };
  const known = apt.hasLists() ? await ask() : [];
  if (choose(known, fetch) !== undefined) return known;
  await apt.update();
  return ask();
}

/** The files of each version in the output of `apt-cache showsrc`. */
export function parseShowsrc(text: string, name: string): readonly IndexedFile[] {
  return parseStanzas(text).flatMap((stanza) => {
    const version = stanza.get("version");
    if (stanza.get("package") !== name || version === undefined) return [];
    return (stanza.get("checksums-sha256") ?? "").split("\n").flatMap((line) => {
      const [sha256, , file] = line.trim().split(/\s+/);
      return sha256 === undefined || file === undefined ? [] : [{ version, file, sha256 }];
    });
  });
}

/** "2.10-3" itself, or "2.10" for every Debian revision of it. */
export function hasVersion(version: string, wanted: string): boolean {
  const withoutEpoch = version.replace(/^[0-9]+:/, "");
  return [version, withoutEpoch, withoutEpoch.replace(/-[^-]*$/, ""), version.replace(/-[^-]*$/, "")].includes(wanted);
}

function isWanted(each: IndexedFile, fetch: FetchOf<"debianSource">): boolean {
  if (fetch.file !== undefined) return each.file === fetch.file;
  return /\.orig\.tar\.[a-z0-9]+$/.test(each.file) || /^[^-]*\.tar\.[a-z0-9]+$/.test(each.file);
}

function choose(files: readonly IndexedFile[], fetch: FetchOf<"debianSource">): IndexedFile | undefined {
  return files.find((each) => isWanted(each, fetch) && each.sha256 === fetch.sha256);
}

async function download(
  context: FetchContext,
  apt: Apt,
  fetch: FetchOf<"debianSource">,
  chosen: IndexedFile,
  report: { readonly from: string; readonly fail: (failure: MirrorFailure) => void },
): Promise<string | undefined> {
  const { files } = context.host;
  const directory = newPart(context);
  files.makeDirectory(directory, { mode: 0o755 });
  try {
    const only = fetch.file === undefined ? ["--tar-only"] : [];
    const result = await apt.run(
      ["apt-get", "source", "--download-only", "--only-source", ...only, `${fetch.package}=${chosen.version}`],
      `fetching the source of ${fetch.package}`,
      directory,
    );
    const file = `${directory}/${chosen.file}`;
    if (!files.exists(file)) {
      report.fail({
        from: report.from,
        reason: aptWords(result.stderr).join("; ") || tail(result.stderr).join("; ") || "apt gave no such file",
      });
      return undefined;
    }
    const found = fileDigests(context.host, file).sha256;
    if (found !== fetch.sha256) {
      report.fail(mismatchAt(report.from, "sha256", fetch.sha256, found));
      return undefined;
    }
    return keepDistfile(context, file, fetch.sha256);
  } finally {
    files.removeTree(directory);
  }
}

function notInIndex(fetch: FetchOf<"debianSource">, others: readonly IndexedFile[] = []): Problem {
  const wanted = fetch.file === undefined ? "an upstream tarball" : fetch.file;
  return new Problem({
    code: "E_FETCH_FAILED",
    message: `fetching Debian's source of ${fetch.package}: the mirrors have no ${wanted} of version ${fetch.version}`,
    details: others.map((each) => `${each.version}: ${each.file} ${each.sha256}`),
    hint: `\`apt-cache showsrc ${fetch.package}\` with \`deb-src\` in the sources lists what there is; a mirror keeps one version per suite`,
  });
}
