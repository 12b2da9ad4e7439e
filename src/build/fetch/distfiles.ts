/**
 * `distfiles/`: what was fetched, under the SHA-256 of its content, for as long as the user keeps it.
 *
 *     <sha256>               a file, mode 0444
 *     <name>                 a file that a person put there; taken when its content is what is asked for
 *     .part-<process>-<n>    being fetched; swept when its process is dead
 *     .known/<key>           the store path a fetch without a SHA-256 came to
 *     git/, apt-…/           clones and package lists
 *
 * A file becomes visible by a rename when all of it is there and its digest is right. It is checked again at every use: the
 * directory may lie on a share, and a person may have edited it.
 */
import { isSha256, isStorePath, Problem, type StorePath } from "../../base/index.ts";
import { fileDigests, type Host, isErrno } from "../../host/index.ts";
import type { FetchContext } from "./types.ts";

const PART = /^\.part-(?<owner>[^ ]+)-[0-9]+$/;

type Place = Pick<FetchContext, "host" | "distfiles">;

function isFile(host: Host, path: string): boolean {
  return host.files.lstatIfAny(path)?.type === "file";
}

export function distfilePath(place: Place, sha256: string): string {
  if (!isSha256(sha256)) throw new Error(`${sha256} is not a SHA-256`);
  return `${place.distfiles}/${sha256}`;
}

/**
 * A file with this content, by its digest or by the name people know it under.
 * `onDamaged` hears of one that lies under the digest and has another content.
 */
export function findDistfile(
  place: Place,
  sha256: string,
  name: string | undefined,
  onDamaged: (path: string, found: string) => void,
): string | undefined {
  const byDigest = distfilePath(place, sha256);
  if (isFile(place.host, byDigest)) {
    const found = fileDigests(place.host, byDigest).sha256;
    if (found === sha256) return byDigest;
    onDamaged(byDigest, found);
  }
  const byName = name === undefined || name.includes("/") || name.startsWith(".") ? undefined : `${place.distfiles}/${name}`;
  if (byName !== undefined && isFile(place.host, byName) && fileDigests(place.host, byName).sha256 === sha256) return byName;
  return undefined;
}

let parts = 0;

/** A name for something on its way into distfiles, on the same file system. */
export function newPart(place: Place): string {
  place.host.files.makeDirectory(place.distfiles, { parents: true });
  parts += 1;
  return `${place.distfiles}/.part-${place.host.processIdentity}-${parts}`;
}

/** The file at `part`, whose digest was checked, is there for all from now on. Returns its path. */
export function keepDistfile(place: Place, part: string, sha256: string): string {
  const path = distfilePath(place, sha256);
  place.host.files.chmod(part, 0o444);
  place.host.files.rename(part, path);
  return path;
}

/** Removes what processes that are dead left half fetched. */
export function sweepParts(place: Place): void {
  if (!place.host.files.exists(place.distfiles)) return;
  for (const entry of place.host.files.list(place.distfiles)) {
    const name = Buffer.from(entry).toString("utf8");
    const owner = PART.exec(name)?.groups?.["owner"];
    if (owner !== undefined && !place.host.isAlive(owner)) place.host.files.removeTree(`${place.distfiles}/${name}`);
  }
}

export interface Note {
  readonly path: StorePath;
  /** One word: under which circumstances it was that path. */
  readonly detail: string;
}

/** What a fetch without a SHA-256 came to, if it is written down. Whether it is still valid is the caller's question. */
export function rememberedNote(place: Place, key: string): (Note & { readonly writtenMs: number }) | undefined {
  const file = `${place.distfiles}/.known/${key}`;
  try {
    const writtenMs = place.host.files.lstat(file).mtimeMs;
    const [path = "", detail = ""] = place.host.files.readText(file).trim().split(" ");
    return isStorePath(path) ? { path, detail, writtenMs } : undefined;
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

/** Lost in a power failure, it costs a fetch; so it is not synced. */
export function rememberNote(place: Place, key: string, note: Note): void {
  const directory = `${place.distfiles}/.known`;
  place.host.files.makeDirectory(directory, { parents: true });
  const beside = newPart(place);
  place.host.files.writeFile(beside, `${note.path} ${note.detail}\n`);
  place.host.files.rename(beside, `${directory}/${key}`);
}

export function rememberedPath(place: Place, key: string): StorePath | undefined {
  return rememberedNote(place, key)?.path;
}

export function rememberPath(place: Place, key: string, path: StorePath): void {
  rememberNote(place, key, { path, detail: "-" });
}

let writes = 0;

/** A reader sees the old text or the new one, never a part of it. */
export function writeAtomically(host: Host, path: string, text: string): void {
  writes += 1;
  const beside = `${path}.new-${host.processIdentity.replaceAll("/", "_")}-${writes}`;
  try {
    host.files.writeFile(beside, text);
    host.files.sync(beside);
    host.files.rename(beside, path);
  } catch (error) {
    if (host.files.exists(beside)) host.files.unlink(beside);
    throw new Problem({ code: "E_CANNOT_WRITE", message: `cannot write ${path}`, where: path, cause: error, exit: 3 });
  }
}
