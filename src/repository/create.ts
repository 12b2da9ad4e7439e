/**
 * Making `.pkg` files of a store item and its closure. Contents are streamed; a file appears under its name only when all of it
 * is on disk. The same items and description give the same bytes.
 */
import { Problem, sha256Hasher, STORE_DIRECTORY, type StorePath } from "../base/index.ts";
import { compressZstd, MAXIMUM_TABLE_BYTES, paddingOf, type ReadAt, readElf, tarEnd, tarHeader } from "../formats/index.ts";
import { fileDigests, type Host, isErrno } from "../host/index.ts";
import {
  ABI_FILES,
  type Abi,
  abiOfElf,
  type ComposedPackage,
  composeGoal,
  composeItem,
  type ItemTree,
  type Manifest,
  type PackageDescription,
  planArchive,
  type PlannedMember,
  type TreeEntry,
  validateManifest,
} from "../pkg/index.ts";
import type { Store } from "../store/index.ts";
import { fileChunks } from "./archive.ts";

/** What the packager needs of a store. */
export type ItemSource = Pick<Store, "closure" | "references" | "physical">;

export interface CreateRequest {
  readonly description: PackageDescription;
  /** The output to install. */
  readonly output: StorePath;
  readonly abi: Abi;
  /** Where the files go: `<name>-<version>.pkg`, one for the goal and one for each item of the output's closure. */
  readonly directory: string;
}

export interface CreatedPackage {
  readonly file: string;
  readonly manifest: Manifest;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** 19 is what pkg uses, at 3 MB/s; 9 gives 6 % more bytes at 60 MB/s, which matters more for what is large. */
const BEST_LEVEL = { level: 19, upToBytes: 16 << 20 };
const FAST_LEVEL = 9;
const CHUNK_BYTES = 1 << 20;

/**
 * Reads the ABI of a system from its own programs, as pkg does. `root` is "/" or where a world lies.
 *
 * @throws Problem E_ABI_UNKNOWN
 */
export function abiOfSystem(host: Host, root: string): Abi {
  const base = root.replace(/\/+$/, "");
  for (const file of ABI_FILES) {
    const real = insideRoot(host, base, `${base}/${file}`);
    if (real === undefined) continue;
    const elf = withReadAt(host, real, readElf);
    const abi = elf === undefined ? undefined : abiOfElf(elf);
    if (abi !== undefined) return abi;
  }
  throw new Problem({
    code: "E_ABI_UNKNOWN",
    message: `no program under ${root} says which system it is for`,
    hint: `looked at ${ABI_FILES.join(" and ")} for an ABI note, as pkg does`,
    where: root,
    exit: 2,
  });
}

/**
 * Writes the package of an output and those of all items it needs at run time, dependencies first, the goal last.
 *
 * @throws Problem E_BAD_PACKAGE, E_FILE_NAME, E_ITEM_CHANGED
 */
export async function createPackages(host: Host, store: ItemSource, request: CreateRequest): Promise<readonly CreatedPackage[]> {
  const trees = store.closure([request.output]).map((path) => readItem(host, store, path));
  const carried = new Set(trees.flatMap(({ path, entries }) => entries.map((entry) => `${path}/${entry.path}`)));
  const goal = trees.find(({ path }) => path === request.output);
  if (goal === undefined) throw new Error(`${request.output} is not in its own closure`);
  const composed = [
    ...trees.map((tree) => composeItem(tree, request.abi, (path) => carried.has(path))),
    composeGoal(request.description, goal, request.abi),
  ];
  host.files.makeDirectory(request.directory, { parents: true });
  const created: CreatedPackage[] = [];
  for (const each of composed) created.push(await createPackage(host, store, each, request.directory));
  return created;
}

/** @throws Problem E_BAD_PACKAGE, E_ITEM_CHANGED */
export async function createPackage(
  host: Host,
  store: Pick<Store, "physical">,
  composed: ComposedPackage,
  directory: string,
): Promise<CreatedPackage> {
  const { manifest, contents } = composed;
  const faults = validateManifest(manifest).filter(({ severity }) => severity === "error");
  if (faults.length > 0) {
    throw new Problem({
      code: "E_BAD_PACKAGE",
      message: `the package ${manifest.name}-${manifest.version} cannot be made`,
      details: faults.map(({ field, message }) => `${field}: ${message}`),
      exit: 2,
    });
  }
  const open = (path: string): AsyncGenerator<Uint8Array> => {
    const source = contents.get(path);
    if (source === undefined) throw new Error(`${path} of ${manifest.name} has no content`);
    const { item, file } = source;
    return fileChunks(host, file === "" ? store.physical(item) : `${store.physical(item)}/${file}`);
  };
  const { level, upToBytes } = BEST_LEVEL;
  const tar = evenly(archiveBytes(planArchive(manifest), open));
  const archive = compressZstd(tar, manifest.flatsize <= upToBytes ? level : FAST_LEVEL);
  const file = `${directory}/${manifest.name}-${manifest.version}.pkg`;
  return { file, manifest, ...(await writeDurably(host, archive, file)) };
}

/** Under a temporary name, then fsync, then rename; on failure nothing stays. */
async function writeDurably(
  host: Host,
  chunks: AsyncGenerator<Uint8Array>,
  file: string,
): Promise<{ readonly sha256: string; readonly sizeBytes: number }> {
  const { files } = host;
  const temporary = `${file}.new`;
  const hash = sha256Hasher();
  let sizeBytes = 0;
  try {
    const descriptor = files.open(temporary, "w", 0o644);
    try {
      for await (const chunk of chunks) {
        files.write(descriptor, chunk);
        hash.update(chunk);
        sizeBytes += chunk.length;
      }
    } finally {
      files.close(descriptor);
    }
    files.sync(temporary);
    files.rename(temporary, file);
  } catch (cause) {
    if (files.lstatIfAny(temporary) !== undefined) files.unlink(temporary);
    throw cause;
  }
  return { sha256: hash.digest("hex"), sizeBytes };
}

async function* archiveBytes(
  plan: readonly PlannedMember[],
  open: (path: string) => AsyncGenerator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for (const { member, content } of plan) {
    yield tarHeader(member);
    if (content.kind === "none") continue;
    if (content.kind === "text") yield content.bytes;
    else {
      let left = member.sizeBytes;
      for await (const chunk of open(content.path)) {
        left -= chunk.length;
        if (left < 0) throw changed(content.path);
        yield chunk;
      }
      if (left !== 0) throw changed(content.path);
    }
    yield new Uint8Array(paddingOf(member.sizeBytes));
  }
  yield tarEnd();
}

/** Chunks of one size, so that a compressor that looks at chunk boundaries sees the same ones each time. */
async function* evenly(source: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  let chunk = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  for await (let part of source) {
    while (part.length > 0) {
      const taken = part.subarray(0, CHUNK_BYTES - filled);
      chunk.set(taken, filled);
      filled += taken.length;
      part = part.subarray(taken.length);
      if (filled < CHUNK_BYTES) continue;
      yield chunk;
      chunk = new Uint8Array(CHUNK_BYTES);
      filled = 0;
    }
  }
  if (filled > 0) yield chunk.subarray(0, filled);
}

function readItem(host: Host, store: ItemSource, path: StorePath): ItemTree {
  const physical = store.physical(path);
  const references = store.references(path).filter((reference) => reference !== path);
  return { path, references, entries: [...walk(host, physical, "")] };
}

function* walk(host: Host, physical: string, relative: string): Generator<TreeEntry> {
  const { files } = host;
  const path = relative === "" ? physical : `${physical}/${relative}`;
  const { type, mode, sizeBytes } = files.lstat(path);
  if (type === "symlink") {
    const target = utf8(files.readLink(path), path);
    yield { path: relative, type, mode: 0o755, sizeBytes: Buffer.byteLength(target), target };
  } else if (type === "file") {
    yield { path: relative, type, mode, sizeBytes, ...fileFacts(host, path) };
  } else if (type === "directory") {
    yield { path: relative, type, mode, sizeBytes: 0 };
    const names = files.list(path).map((name) => utf8(name, path));
    for (const name of names.toSorted()) yield* walk(host, physical, relative === "" ? name : `${relative}/${name}`);
  } else {
    throw new Problem({ code: "E_BAD_PACKAGE", message: `${path} is a ${type}, which no store item can hold` });
  }
}

function fileFacts(host: Host, path: string): Pick<TreeEntry, "sha256" | "elf"> {
  const elf = withReadAt(host, path, readElf);
  return { sha256: fileDigests(host, path).sha256, ...(elf === undefined ? {} : { elf }) };
}

function withReadAt<T>(host: Host, path: string, use: (readAt: ReadAt) => T): T {
  const descriptor = host.files.open(path, "r");
  try {
    return use((offset, length) => {
      const bytes = new Uint8Array(Math.min(length, MAXIMUM_TABLE_BYTES));
      return bytes.subarray(0, host.files.read(descriptor, bytes, offset));
    });
  } finally {
    host.files.close(descriptor);
  }
}

/** The real file, unless it is not there or its links lead out of the root. */
function insideRoot(host: Host, base: string, path: string): string | undefined {
  try {
    const real = host.files.realPath(path);
    const realBase = base === "" ? "" : host.files.realPath(base);
    return real.startsWith(`${realBase}/`) && host.files.lstat(real).type === "file" ? real : undefined;
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
    throw error;
  }
}

function utf8(name: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(name);
  } catch (cause) {
    throw new Problem({
      code: "E_FILE_NAME",
      message: `a package cannot carry the name ${JSON.stringify(Buffer.from(name).toString("latin1"))}, which is not UTF-8`,
      where,
      cause,
    });
  }
}

function changed(path: string): Problem {
  return new Problem({
    code: "E_ITEM_CHANGED",
    message: `${path} changed while it was packaged`,
    hint: `something writes into ${STORE_DIRECTORY}; garth store verify --contents finds what else is affected`,
  });
}
