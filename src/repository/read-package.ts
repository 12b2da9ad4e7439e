/**
 * Reading a `.pkg` with suspicion. `readManifest` stops after the manifests, which come first; `inspectPackage` goes through the
 * whole archive and holds it against its manifest, without ever writing a byte of it anywhere.
 *
 * Refused: an archive that is cut off or damaged, a member the manifest does not know or knows otherwise, a file whose content
 * has another sum, a name that leaves its directory, a member reached through a symlink of the same package, a symlink that
 * climbs above the root, and anything that unpacks to more than its manifest says.
 */
import { Problem, sha256Hasher } from "../base/index.ts";
import type { TarEntry, TarLimits } from "../formats/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import { type CompactManifest, type Manifest, type PackageFile, parseManifest } from "../pkg/index.ts";
import { fileChunks, memberBytes, openArchive } from "./archive.ts";
import { type SumCheck, sumCheck } from "./sums.ts";

const MAXIMUM_MANIFEST_BYTES = 64 << 20;
const LIMITS: TarLimits = { members: 1_000_000, contentBytes: 64 * 2 ** 30 };

export interface InspectedPackage {
  readonly manifest: Manifest;
  /** SHA-256 of the whole `.pkg`, lowercase hex. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** @throws Problem E_ARCHIVE_*, E_BAD_MANIFEST, E_NOT_A_PACKAGE */
export async function readManifest(host: Host, path: string): Promise<Manifest> {
  for await (const entry of openArchive(host, existingFile(host, path), path, LIMITS)) {
    if (entry.path === "+MANIFEST") return parseManifest(await manifestText(entry, path), path);
    if (!entry.path.startsWith("+")) break;
  }
  throw notAPackage(path, "it does not begin with a manifest");
}

/** @throws Problem E_ARCHIVE_*, E_BAD_MANIFEST, E_NOT_A_PACKAGE, E_PACKAGE_CONTENT, E_PACKAGE_ESCAPES, E_SUM_TYPE */
export function inspectPackage(host: Host, path: string): Promise<InspectedPackage> {
  return inspectStream(host, existingFile(host, path), path);
}

/** The same for bytes that come from somewhere else; `path` is what they are called in an error. */
export async function inspectStream(host: Host, source: AsyncGenerator<Uint8Array>, path: string): Promise<InspectedPackage> {
  const hash = sha256Hasher();
  let sizeBytes = 0;
  const counted = (async function* () {
    for await (const chunk of source) {
      hash.update(chunk);
      sizeBytes += chunk.length;
      yield chunk;
    }
  })();
  let contents: Contents | undefined;
  const metadata = new Set<string>();
  for await (const entry of openArchive(host, keepOpen(counted), path, LIMITS)) {
    if (entry.path.startsWith("+")) {
      if (metadata.has(entry.path)) throw notAPackage(path, `it has two members named ${entry.path}`);
      metadata.add(entry.path);
      if (entry.path === "+MANIFEST") contents = new Contents(parseManifest(await manifestText(entry, path), path), path);
      continue;
    }
    if (contents === undefined) throw notAPackage(path, "it does not begin with a manifest");
    await contents.check(entry);
  }
  if (contents === undefined) throw notAPackage(path, "it has no manifest");
  contents.finish();
  // Whatever a decompressor left unread still belongs to the sum.
  for await (const _ of counted);
  return { manifest: contents.manifest, sha256: hash.digest("hex"), sizeBytes };
}

async function* existingFile(host: Host, path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* fileChunks(host, path);
  } catch (cause) {
    if (!isErrno(cause, "ENOENT", "ENOTDIR", "EISDIR", "EACCES")) throw cause;
    throw new Problem({ code: "E_NO_SUCH_FILE", message: `the package ${path} cannot be opened`, where: path, exit: 2, cause });
  }
}

/** The part of a manifest that a catalogue carries. */
export function compactManifest(manifest: Manifest): CompactManifest {
  const { files: _files, config: _config, directories: _directories, scripts: _scripts, ...compact } = manifest;
  return compact;
}

/** Lets the rest be read after an inner reader is done with it. */
async function* keepOpen(source: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  for (;;) {
    const next = await source.next();
    if (next.done === true) return;
    yield next.value;
  }
}

async function manifestText(entry: TarEntry, path: string): Promise<string> {
  const bytes = await memberBytes(entry, MAXIMUM_MANIFEST_BYTES, path);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new Problem({ code: "E_BAD_MANIFEST", message: `the manifest of ${path} is not UTF-8`, cause });
  }
}

/** The payload of one package, held against its manifest member by member. */
class Contents {
  readonly manifest: Manifest;
  readonly #archive: string;
  readonly #files: ReadonlyMap<string, PackageFile>;
  readonly #directories: ReadonlySet<string>;
  /** What was there so far. */
  readonly #seen = new Map<string, TarEntry["type"]>();

  constructor(manifest: Manifest, archive: string) {
    this.manifest = manifest;
    this.#archive = archive;
    this.#files = new Map(manifest.files.map((file) => [file.path, file]));
    this.#directories = new Set(manifest.directories.map(({ path }) => path));
  }

  async check(entry: TarEntry): Promise<void> {
    const { path } = entry;
    if (!path.startsWith("/")) throw this.#wrong(path, "does not have an absolute name");
    if (this.#seen.has(path)) throw this.#wrong(path, "is there twice");
    this.#refuseEscape(entry);
    this.#seen.set(path, entry.type);
    if (entry.type === "directory") {
      if (!this.#directories.has(path)) throw this.#wrong(path, "is a directory the manifest does not know");
      return;
    }
    const file = this.#files.get(path);
    if (file === undefined) throw this.#wrong(path, "is not in the manifest");
    if (entry.type === "hardlink") return this.#checkHardLink(entry, file);
    const check = sumCheck(file.sum, path);
    if (entry.type === "symlink") {
      check.update(new TextEncoder().encode(entry.target ?? ""));
      if (file.type === "symlink" && file.target !== entry.target)
        throw this.#wrong(path, "links to something else than the manifest says");
    } else {
      if (file.type === "symlink") throw this.#wrong(path, "is a file where the manifest says a symlink");
      for await (const chunk of entry.content()) check.update(chunk);
    }
    this.#expect(check, path);
  }

  finish(): void {
    for (const path of this.#files.keys()) if (!this.#seen.has(path)) throw this.#wrong(path, "is missing");
  }

  #checkHardLink(entry: TarEntry, file: PackageFile): void {
    const first = entry.target === undefined ? undefined : this.#files.get(entry.target);
    if (first === undefined || this.#seen.get(first.path) !== "file") {
      throw this.#wrong(entry.path, "is a hard link to something that is not an earlier file of the package");
    }
    if (first.sum !== file.sum) throw this.#wrong(entry.path, "is a hard link to a file with another sum");
  }

  /** Whoever unpacks must not be led out of the root, nor write through a link the package has just made. */
  #refuseEscape(entry: TarEntry): void {
    const parts = entry.path.split("/");
    for (let depth = parts.length - 1; depth > 1; depth--) {
      const parent = parts.slice(0, depth).join("/");
      const type = this.#seen.get(parent);
      if (type !== undefined && type !== "directory") throw this.#escapes(entry.path, `lies below ${parent}, which is a ${type}`);
    }
    if (entry.type !== "symlink" || entry.target === undefined || entry.target.startsWith("/")) return;
    let depth = parts.length - 2;
    for (const part of entry.target.split("/")) {
      if (part === "..") depth -= 1;
      else if (part !== "" && part !== ".") depth += 1;
      if (depth < 0) throw this.#escapes(entry.path, `links to ${entry.target}, above the root`);
    }
  }

  #expect(check: SumCheck, path: string): void {
    if (!check.matches()) throw this.#wrong(path, "does not have the sum the manifest says");
  }

  #wrong(path: string, why: string): Problem {
    return new Problem({
      code: "E_PACKAGE_CONTENT",
      message: `in the package ${this.#archive}, ${path} ${why}`,
      hint: "the package was damaged or changed after it was made; make or fetch it again",
    });
  }

  #escapes(path: string, why: string): Problem {
    return new Problem({
      code: "E_PACKAGE_ESCAPES",
      message: `in the package ${this.#archive}, ${path} ${why}`,
      hint: "no honest packager writes this; find out where the package comes from",
    });
  }
}

function notAPackage(path: string, why: string): Problem {
  return new Problem({ code: "E_NOT_A_PACKAGE", message: `${path} is not a package: ${why}`, exit: 2 });
}
