/**
 * What a built tree would be called: its references, its digest modulo references to itself, and the edits that turn the
 * builder's scratch hashes into final ones. Reads the tree and changes nothing in it.
 *
 * A tree that does not refer to itself is read once: its digest modulo itself is then the digest of its NAR. One that does is
 * read a second time, with the final hash in the place of the scratch one. A hash is replaced by one of the same length
 * wherever it stands: in contents, in the targets of links, in names (whose order in the archive may change by it).
 */
import { hashPart, Problem, storePath, type StorePath } from "../base/index.ts";
import { HASH_BYTES, type HashTable, hashTable } from "../formats/index.ts";
import { refuseSpecialBits } from "./canonical.ts";
import type { StoreContext } from "./context.ts";
import { emitTree } from "./emit.ts";
import { itemOfHash } from "./items.ts";
import { bufferFor, NarStream, type Occurrence } from "./stream.ts";
import { relativeName, type TreeEntry, walk, type WalkOptions } from "./tree.ts";

/** Stands for the item's own hash in the digest that its name is made from. */
export const ZERO_HASH = "0".repeat(HASH_BYTES);

/** More than the framing and the name of one entry take. */
const ENTRY_BYTES = 512;

/** Hash -> the hash to put in its place. */
export type Replacements = ReadonlyMap<string, string>;

export interface Subject {
  readonly physical: string;
  readonly name: string;
  /** Hash of the builder's own name for it, or of the item itself. */
  readonly self: string | undefined;
  /** Hash -> the store path it stands for. */
  readonly candidates: ReadonlyMap<string, StorePath>;
  /** Sibling outputs: scratch hash -> final path. */
  readonly siblings: ReadonlyMap<string, StorePath>;
}

export interface Analysis {
  readonly path: StorePath;
  readonly entries: readonly TreeEntry[];
  readonly narSha256: string;
  readonly narSizeBytes: number;
  /** Sorted; holds `path` when it refers to itself. */
  readonly references: readonly StorePath[];
  readonly edits: Edits;
}

export interface Edits {
  readonly replacements: Replacements;
  readonly files: readonly { readonly entry: TreeEntry; readonly offset: number; readonly hash: string }[];
}

export interface Pass {
  readonly entries: readonly TreeEntry[];
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly found: ReadonlySet<string>;
  readonly foreign: ReadonlyMap<string, TreeEntry>;
  readonly replaced: readonly { readonly hash: string; readonly offset: number }[];
  fileAt(offset: number): { readonly entry: TreeEntry; readonly offset: number } | undefined;
}

export interface PassOptions {
  readonly table: HashTable;
  readonly replacements: Replacements;
  readonly isForeign?: (hash: string) => boolean;
  readonly digest?: boolean;
  /** Whose occurrences are told by offset at the end of the digest. */
  readonly modulo?: string;
}

/** A text with every replaced hash in it; the same object when there is none. */
export function replaceIn(bytes: Uint8Array, replacements: Replacements): Uint8Array {
  if (bytes.byteLength < HASH_BYTES || replacements.size === 0) return bytes;
  let text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  const before = text;
  for (const [hash, instead] of replacements) text = text.replaceAll(hash, instead);
  return text === before ? bytes : Buffer.from(text, "latin1");
}

export function walkReplaced(
  context: StoreContext,
  physical: string,
  replacements: Replacements,
  options: WalkOptions,
): TreeEntry[] {
  return walk(context.files, physical, { ...options, rename: (name) => replaceIn(name, replacements) });
}

/** No less than the archive of the entries takes, unless it is of some megabytes. */
function archiveBytesOf(entries: readonly TreeEntry[]): number {
  return entries.reduce((sum, { stat }) => sum + stat.sizeBytes + ENTRY_BYTES, ENTRY_BYTES);
}

/** Reads the tree once. `entries` must have been walked with the same replacements. */
export async function pass(context: StoreContext, entries: readonly TreeEntry[], options: PassOptions): Promise<Pass> {
  const { table, replacements } = options;
  const index = new Map(table.hashes.map((hash, at) => [hash, at]));
  const replace = new Map<number, Uint8Array>();
  for (const [hash, instead] of replacements) {
    const at = index.get(hash);
    if (at !== undefined) replace.set(at, Buffer.from(instead, "latin1"));
  }
  const stream = new NarStream(
    {
      table,
      replace,
      digest: options.digest ?? true,
      ...(options.isForeign === undefined ? {} : { isForeign: options.isForeign }),
    },
    bufferFor(archiveBytesOf(entries)),
  );
  const starts: number[] = [];
  const files: TreeEntry[] = [];
  await emitTree(context.files, entries, stream, {
    onFile: (entry, offset) => {
      starts.push(offset);
      files.push(entry);
    },
    onRenamed: (entry, offset) => {
      const name = Buffer.from(entry.name).toString("latin1");
      for (const hash of replacements.keys()) {
        const at = index.get(hash);
        if (at === undefined) continue;
        for (let from = name.indexOf(hash); from >= 0; from = name.indexOf(hash, from + HASH_BYTES))
          stream.note(at, offset + from);
      }
    },
  });
  const own = options.modulo === undefined ? undefined : index.get(options.modulo);
  const { sha256, sizeBytes } = stream.end((replaced) => trailerOf(replaced, own));
  const fileAt: Pass["fileAt"] = (offset) => {
    const at = lastAtOrBefore(starts, offset);
    const entry = files[at];
    const start = starts[at];
    if (entry === undefined || start === undefined || offset >= start + entry.stat.sizeBytes) return undefined;
    return { entry, offset: offset - start };
  };
  const hashAt = (at: number): string => table.hashes[at] ?? "";
  const foreign = [...stream.foreign].map(([hash, offset]) => [hash, fileAt(offset)?.entry ?? holderOf(entries, hash)] as const);
  return {
    entries,
    sha256,
    sizeBytes,
    found: new Set([...stream.found.keys()].map(hashAt)),
    foreign: new Map(foreign.flatMap(([hash, entry]) => (entry === undefined ? [] : [[hash, entry] as const]))),
    replaced: stream.replaced.map(({ hash, offset }) => ({ hash: hashAt(hash), offset })),
    fileAt,
  };
}

/** `|offset` for each reference to itself, in the order of the archive: two trees that differ in them alone must not be one. */
function trailerOf(replaced: readonly Occurrence[], own: number | undefined): string {
  return replaced
    .filter(({ hash }) => hash === own)
    .map(({ offset }) => `|${offset}`)
    .join("");
}

function lastAtOrBefore(starts: readonly number[], offset: number): number {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((starts[middle] ?? 0) <= offset) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The entry that holds a hash in its name or its target. */
function holderOf(entries: readonly TreeEntry[], hash: string): TreeEntry | undefined {
  const holds = (bytes: Uint8Array | undefined): boolean => bytes !== undefined && Buffer.from(bytes).includes(hash, 0, "latin1");
  return entries.find((entry) => holds(entry.name) || holds(entry.target));
}

function outside(context: StoreContext, physical: string, found: ReadonlyMap<string, TreeEntry>): Problem {
  const details = [...found].map(([hash, entry]) => `${relativeName(entry)} holds ${itemOfHash(context.ledger, hash) ?? hash}`);
  return new Problem({
    code: "E_REFERENCE_OUTSIDE_CLOSURE",
    message: "the output refers to store items that are not among its inputs",
    details,
    where: physical,
    hint: "add the item to the recipe's inputs, or do not write its path into the output",
  });
}

/** @throws Problem E_REFERENCE_OUTSIDE_CLOSURE, E_BAD_FILE_TYPE, E_SETUID_OUTPUT */
export async function analyse(context: StoreContext, subject: Subject, options: WalkOptions): Promise<Analysis> {
  const { physical, self, candidates, siblings } = subject;
  const siblingHashes = new Map([...siblings].map(([scratch, final]) => [scratch, hashPart(final)]));
  const toZero: Replacements = self === undefined ? siblingHashes : new Map([...siblingHashes, [self, ZERO_HASH]]);
  const entries = walkReplaced(context, physical, toZero, options);
  refuseSpecialBits(entries);
  const table = hashTable([...candidates.keys(), ...siblings.keys(), ...(self === undefined ? [] : [self])]);
  const first = await pass(context, entries, {
    table,
    replacements: toZero,
    isForeign: (hash) => itemOfHash(context.ledger, hash) !== undefined,
    ...(self === undefined ? {} : { modulo: self }),
  });
  if (first.foreign.size > 0) throw outside(context, physical, first.foreign);

  const refersToItself = self !== undefined && first.found.has(self);
  const others = [...first.found].flatMap((hash) => (hash === self ? [] : [siblings.get(hash) ?? candidates.get(hash)]));
  const references = [...new Set(others.filter((path) => path !== undefined))].toSorted();
  const path = storePath({ kind: "output", modulo: first.sha256, self: refersToItself, references }, subject.name);
  if (!refersToItself) return { ...finished(first, toZero), path, references };

  const toFinal: Replacements = new Map([...siblingHashes, [self, hashPart(path)]]);
  const renamed = entries.some((entry) => entry.shown !== entry.name);
  const second = await pass(context, renamed ? walkReplaced(context, physical, toFinal, options) : entries, {
    table: hashTable(toFinal.keys()),
    replacements: toFinal,
  });
  return { ...finished(second, toFinal), path, references: [...references, path].toSorted() };
}

function finished(last: Pass, replacements: Replacements): Omit<Analysis, "path" | "references"> {
  const files = last.replaced.flatMap(({ hash, offset }) => {
    const place = last.fileAt(offset);
    return place === undefined ? [] : [{ ...place, hash }];
  });
  const used = new Set(last.replaced.map(({ hash }) => hash));
  return {
    entries: last.entries,
    narSha256: last.sha256,
    narSizeBytes: last.sizeBytes,
    edits: { replacements: new Map([...replacements].filter(([hash]) => used.has(hash))), files },
  };
}

/** Which of the hashes occur, without hashing anything. */
export async function scanFor(
  context: StoreContext,
  physical: string,
  hashes: Iterable<string>,
  options: WalkOptions,
): Promise<ReadonlySet<string>> {
  const entries = walk(context.files, physical, options);
  return (await pass(context, entries, { table: hashTable(hashes), replacements: new Map(), digest: false })).found;
}
