/**
 * Rebuilds the list of items from the store itself, after the database was lost.
 *
 * An item's name is made from its content, so each directory can prove itself: its digests and references must give its own
 * name again. What proves itself is registered. What is lost with the database, for good: which derivation made which output
 * (so builds run once more, and come out at the same paths), and the times of registration and use.
 */
import {
  hashPart,
  isStorePath,
  namePart,
  Problem,
  sha256Hasher,
  STORE_DIRECTORY,
  storePath,
  type StorePath,
} from "../base/index.ts";
import { type HashTable, hashTable } from "../formats/index.ts";
import { pass, walkReplaced, ZERO_HASH } from "./analyse.ts";
import { canonicalise } from "./canonical.ts";
import type { Committer } from "./commit.ts";
import { physicalOf, type StoreContext } from "./context.ts";
import { emitTree } from "./emit.ts";
import { allItems, idOf, insertItem, insertReferences } from "./items.ts";
import { pin } from "./pins.ts";
import type { Prepared } from "./plan.ts";
import { NarStream } from "./stream.ts";
import { isExecutable, type TreeEntry, walk } from "./tree.ts";

/** Of the contents of a plain file; undefined for everything else. */
export async function flatDigest(context: StoreContext, entries: readonly TreeEntry[]): Promise<string | undefined> {
  const [root] = entries;
  if (root?.type !== "file" || isExecutable(root)) return undefined;
  const flat = sha256Hasher();
  await emitTree(context.files, entries, new NarStream({ flat, digest: false }));
  return flat.digest("hex");
}

/** The item as it would have been registered, when its content gives its name. */
async function prove(
  context: StoreContext,
  path: StorePath,
  physical: string,
  table: HashTable,
  paths: ReadonlyMap<string, StorePath>,
): Promise<Prepared | undefined> {
  const entries = walk(context.files, physical);
  const own = hashPart(path);
  const name = namePart(path);
  const read = await pass(context, entries, { table, replacements: new Map() });
  const scanned = [...read.found].flatMap((hash) => (hash === own ? [] : [paths.get(hash)])).filter((one) => one !== undefined);
  const item = (references: readonly StorePath[]): Prepared => ({
    path,
    from: physical,
    narSha256: read.sha256,
    narSizeBytes: read.sizeBytes,
    references: references.toSorted(),
    deriver: undefined,
  });
  const flat = await flatDigest(context, entries);
  for (const references of [[], scanned]) {
    if (flat !== undefined && storePath({ kind: "flat", sha256: flat, references }, name) === path) return item(references);
    if (storePath({ kind: "tree", narSha256: read.sha256, references }, name) === path) return item(references);
  }
  const self = read.found.has(own);
  const zeroed = new Map([[own, ZERO_HASH]]);
  const modulo = self
    ? await pass(context, walkReplaced(context, physical, zeroed, {}), {
        table: hashTable([own]),
        replacements: zeroed,
        modulo: own,
      })
    : read;
  const proven = storePath({ kind: "output", modulo: modulo.sha256, self, references: scanned }, name) === path;
  return proven ? item(self ? [...scanned, path] : scanned) : undefined;
}

/** Those of the candidates whose references are all valid or among them. */
function closed(context: StoreContext, items: readonly Prepared[]): readonly Prepared[] {
  let left = items;
  for (;;) {
    const known = new Set(left.map(({ path }) => path));
    const next = left.filter(({ references }) =>
      references.every((path) => known.has(path) || idOf(context.ledger, path) !== undefined),
    );
    if (next.length === left.length) return next;
    left = next;
  }
}

/** Registers every unregistered directory that proves itself. The rest is left for the sweep. */
export async function adoptAll(context: StoreContext): Promise<readonly StorePath[]> {
  const { files, ledger, host } = context;
  const present = files
    .list(context.directory)
    .map((name) => `${STORE_DIRECTORY}/${Buffer.from(name).toString("utf8")}`)
    .filter((path) => isStorePath(path));
  const paths = new Map(present.map((path) => [hashPart(path), path]));
  const table = hashTable(paths.keys());
  const proven: Prepared[] = [];
  for (const path of present) {
    if (idOf(ledger, path) !== undefined) continue;
    const item = await prove(context, path, physicalOf(context, path), table, paths);
    if (item !== undefined) proven.push(item);
  }
  const items = closed(context, proven);
  for (const { from } of items) canonicalise(host, walk(files, from), !host.isRoot);
  files.syncFileSystem(context.directory);
  ledger.transaction(() => {
    const missing = items.filter(({ path }) => idOf(ledger, path) === undefined);
    for (const item of missing) insertItem(ledger, item, context.now());
    for (const item of missing) insertReferences(ledger, item);
  });
  return items.map(({ path }) => path);
}

export interface BroughtTree {
  readonly path: StorePath;
  /** On the store's file system; moved. */
  readonly physical: string;
}

/** @throws Problem E_ITEM_FORGED, and then none of them is registered */
export async function adoptTrees(context: StoreContext, committer: Committer, trees: readonly BroughtTree[]): Promise<void> {
  const valid = new Set(
    pin(
      context,
      trees.map(({ path }) => path),
    ),
  );
  const missing = trees.filter(({ path }) => !valid.has(path));
  if (missing.length === 0) return;
  const known = [...allItems(context.ledger).map(({ path }) => path), ...missing.map(({ path }) => path)];
  const paths = new Map(known.map((path) => [hashPart(path), path]));
  const table = hashTable(paths.keys());
  const proven: Prepared[] = [];
  for (const { path, physical } of missing) {
    const item = await prove(context, path, physical, table, paths);
    // References are looked for among what is valid and what came along: one that is neither is missing from the name.
    if (item === undefined) throw forged(path);
    proven.push(item);
  }
  for (const { from } of proven) canonicalise(context.host, walk(context.files, from), !context.host.isRoot);
  await committer.commit({ items: proven, realised: [] });
}

function forged(path: StorePath): Problem {
  return new Problem({
    code: "E_ITEM_FORGED",
    message: `what was brought as ${path} is something else: its content does not give its name`,
    hint: "it was damaged or changed on its way, or items that it refers to did not come along; get it again from where it was made",
  });
}
