/**
 * A package of a trusted catalogue, unpacked into an empty directory. It is fetched once into scratch, held against the catalogue and
 * against its own manifest, and only then unpacked, from the very bytes that were looked at.
 */
import type { TarEntry, TarLimits } from "../formats/index.ts";
import type { Host } from "../host/index.ts";
import type { CatalogueEntry, Manifest } from "../pkg/index.ts";
import { fileChunks, openArchive } from "./archive.ts";
import { checkedPackage, expectNamed } from "./checked.ts";
import { inspectPackage } from "./read-package.ts";
import type { RepositorySource } from "./source.ts";

const LIMITS: TarLimits = { members: 1_000_000, contentBytes: 64 * 2 ** 30 };

export interface UnpackRequest {
  readonly entry: CatalogueEntry;
  /** Where the package lies while it is looked at; removed by the caller. */
  readonly scratchFile: string;
  /** Empty. Of a mode stays whether the file can be executed, as in a store item; the owner is whoever runs this. */
  readonly directory: string;
}

/** @throws Problem E_PACKAGE_MISSING, E_PACKAGE_SIZE, E_PACKAGE_SUM, and what `inspectPackage` throws */
export async function unpackPackage(host: Host, source: RepositorySource, request: UnpackRequest): Promise<Manifest> {
  const { entry, scratchFile, directory } = request;
  await fetchPackage(host, source, entry, scratchFile);
  const { manifest } = await inspectPackage(host, scratchFile);
  expectNamed(source, entry, manifest);
  for await (const member of openArchive(host, fileChunks(host, scratchFile), scratchFile, LIMITS)) {
    if (!member.path.startsWith("+")) await put(host, directory, member);
  }
  return manifest;
}

async function fetchPackage(host: Host, source: RepositorySource, entry: CatalogueEntry, file: string): Promise<void> {
  const descriptor = host.files.open(file, "w", 0o600);
  try {
    for await (const chunk of checkedPackage(source, entry)) writeAll(host, descriptor, chunk);
  } finally {
    host.files.close(descriptor);
  }
}

function writeAll(host: Host, descriptor: number, chunk: Uint8Array): void {
  for (let done = 0; done < chunk.length;) done += host.files.write(descriptor, chunk.subarray(done));
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
    for await (const chunk of member.content()) writeAll(host, descriptor, chunk);
  } finally {
    files.close(descriptor);
  }
}
