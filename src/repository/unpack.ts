/**
 * A package of a trusted catalogue, unpacked into an empty directory. It is fetched once into scratch, held against the catalogue and
 * against its own manifest, and only then unpacked, from the very bytes that were looked at.
 */
import { Problem, sha256Hasher } from "../base/index.ts";
import type { TarEntry, TarLimits } from "../formats/index.ts";
import type { Host } from "../host/index.ts";
import type { CatalogueEntry, Manifest } from "../pkg/index.ts";
import { fileChunks, openArchive } from "./archive.ts";
import { inspectPackage } from "./read-package.ts";
import type { RepositorySource } from "./source.ts";
import { sumCheck } from "./sums.ts";

const LIMITS: TarLimits = { members: 1_000_000, contentBytes: 64 * 2 ** 30 };

export interface UnpackRequest {
  readonly entry: CatalogueEntry;
  /** Where the package lies while it is looked at; removed by the caller. */
  readonly scratchFile: string;
  /** Empty. Modes are those of the manifest less set-id bits; the owner is whoever runs this. */
  readonly directory: string;
}

/** @throws Problem E_PACKAGE_MISSING, E_PACKAGE_SIZE, E_PACKAGE_SUM, and what `inspectPackage` throws */
export async function unpackPackage(host: Host, source: RepositorySource, request: UnpackRequest): Promise<Manifest> {
  const { entry, scratchFile, directory } = request;
  await fetchPackage(host, source, entry, scratchFile);
  const { manifest } = await inspectPackage(host, scratchFile);
  if (manifest.name !== entry.manifest.name || manifest.version !== entry.manifest.version)
    throw wrong(source, entry, "E_PACKAGE_SUM", `is ${manifest.name}-${manifest.version}, not what the catalogue says`);
  for await (const member of openArchive(host, fileChunks(host, scratchFile), scratchFile, LIMITS)) {
    if (!member.path.startsWith("+")) await put(host, directory, member);
  }
  return manifest;
}

async function fetchPackage(host: Host, source: RepositorySource, entry: CatalogueEntry, file: string): Promise<void> {
  const chunks = await source.stream(entry.path, entry.pkgsize + 1);
  if (chunks === undefined) throw wrong(source, entry, "E_PACKAGE_MISSING", "is not there, though the catalogue names it");
  const check = sumCheck(entry.sum, `${source.name}/${entry.path}`);
  const hash = sha256Hasher();
  let sizeBytes = 0;
  const descriptor = host.files.open(file, "w", 0o600);
  try {
    for await (const chunk of chunks) {
      sizeBytes += chunk.length;
      if (sizeBytes > entry.pkgsize)
        throw wrong(source, entry, "E_PACKAGE_SIZE", `is longer than the ${entry.pkgsize} bytes of the catalogue`);
      check.update(chunk);
      hash.update(chunk);
      for (let done = 0; done < chunk.length;) done += host.files.write(descriptor, chunk.subarray(done));
    }
  } finally {
    host.files.close(descriptor);
  }
  if (sizeBytes !== entry.pkgsize)
    throw wrong(source, entry, "E_PACKAGE_SIZE", `has ${sizeBytes} bytes instead of ${entry.pkgsize}`);
  if (!check.matches()) throw wrong(source, entry, "E_PACKAGE_SUM", "does not have the sum of the catalogue");
}

function wrong(source: RepositorySource, entry: CatalogueEntry, code: `E_${string}`, why: string): Problem {
  const message = `${source.name}/${entry.path} ${why}`;
  return new Problem({ code, message, hint: "it was changed or damaged after the catalogue was signed" });
}

/** `inspectPackage` has refused names and links that lead out of the directory. */
async function put(host: Host, directory: string, member: TarEntry): Promise<void> {
  const { files } = host;
  const path = `${directory}${member.path}`;
  if (member.type === "directory") return files.makeDirectory(path, { parents: true });
  files.makeDirectory(path.slice(0, path.lastIndexOf("/")), { parents: true });
  if (member.type === "symlink") return files.symlink(member.target ?? "", path);
  if (member.type === "hardlink") return files.hardLink(`${directory}${member.target ?? ""}`, path);
  const descriptor = files.open(path, "wx", (member.mode & 0o111) === 0 ? 0o644 : 0o755);
  try {
    for await (const chunk of member.content()) {
      for (let done = 0; done < chunk.length;) done += files.write(descriptor, chunk.subarray(done));
    }
  } finally {
    files.close(descriptor);
  }
}
