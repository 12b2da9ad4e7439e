/**
 * Garbage collection.
 *
 *     lock    mark from roots, pins of living processes and recently used items; delete the rows of what is dead      commit
 *     lock    directories without a row -> trash, by rename                                                           unlock
 *             empty the trash
 *
 * Rows go first and durably, so a crash leaves orphans and never an item without content. Directories move under the lock, so
 * nobody registers the same path in between; emptying needs no lock. An item being registered moves into the store under the
 * same lock and gets its row there, so a directory without a row belongs to nobody, unless a package manager put it there and a mark
 * beside it (pkg/compose.ts), or a generation of this machine names it (system/generations.ts): Garth itself may be such a one.
 */
import type { StorePath } from "../base/index.ts";
import { GENERATIONS_DIRECTORY, isStorePath, PACKAGED_DIRECTORY, STORE_DIRECTORY } from "../base/index.ts";
import { moveItem } from "./commit.ts";
import type { StoreContext } from "./context.ts";
import { deleteItems } from "./items.ts";
import { dropDeadPins } from "./pins.ts";
import { type GcNode, planGc } from "./plan-gc.ts";
import { pruneRoots, roots } from "./roots.ts";
import type { GcOptions, GcReport } from "./types.ts";

function loadGraph(context: StoreContext): GcNode[] {
  const { ledger } = context;
  const rows = ledger.statement("SELECT id, path, nar_size, used_at_ms FROM item").all();
  const nodes = new Map(
    rows.map((row) => [
      Number(row["id"]),
      {
        path: pathText(row["path"]),
        sizeBytes: Number(row["nar_size"]),
        usedAtMs: Number(row["used_at_ms"]),
        references: [] as StorePath[],
      },
    ]),
  );
  for (const row of ledger.statement("SELECT referrer, target FROM reference").all()) {
    const target = nodes.get(Number(row["target"]));
    if (target !== undefined) nodes.get(Number(row["referrer"]))?.references.push(target.path);
  }
  return [...nodes.values()];
}

function pathText(value: unknown): StorePath {
  const text = String(value);
  if (!isStorePath(text)) throw new Error(`the database names ${text} as a store path`);
  return text;
}

export async function collect(context: StoreContext, options: GcOptions): Promise<GcReport> {
  const { ledger, files } = context;
  const dryRun = options.dryRun ?? false;
  const removed: { path: StorePath; freedBytes: number }[] = [];
  let kept = 0;
  const orphans: string[] = [];
  if (!dryRun) {
    dropDeadPins(context);
    pruneRoots(context);
  }
  // Bytes freed are known only once they are; a goal in free bytes may take another round.
  for (;;) {
    const free = files.space(context.directory).freeBytes;
    const missing = options.keepFreeBytes === undefined ? undefined : Math.max(0, options.keepFreeBytes - free);
    const left = options.maxFreedBytes === undefined ? undefined : options.maxFreedBytes - sumOf(removed);
    const plan = (): ReturnType<typeof planGc> =>
      planGc(loadGraph(context), {
        roots: roots(context).map((root) => root.target),
        keepUsedSinceMs: options.olderThanMs === undefined ? undefined : context.now() - options.olderThanMs,
        enoughBytes: missing,
        mostBytes: left,
      });
    const decided = dryRun
      ? plan()
      : ledger.transaction(() => {
          const made = plan();
          deleteItems(
            ledger,
            made.remove.map(({ path }) => path),
          );
          return made;
        });
    removed.push(...decided.remove.map(({ path, sizeBytes }) => ({ path, freedBytes: sizeBytes })));
    kept = decided.kept;
    const swept = sweep(context, dryRun);
    const gone = new Set(decided.remove.map(({ path }) => `${context.directory}/${path.slice(STORE_DIRECTORY.length + 1)}`));
    orphans.push(...swept.filter((path) => !gone.has(path)));
    if (dryRun || missing === undefined || decided.remove.length === 0) break;
  }
  if (!dryRun && removed.length > 0) {
    ledger.record("store", "gc", context.directory, { removed: removed.length, freedBytes: sumOf(removed) }, context.now());
  }
  return { removed, freedBytes: sumOf(removed), orphans, kept, dryRun };
}

function sumOf(removed: readonly { readonly freedBytes: number }[]): number {
  return removed.reduce((sum, { freedBytes }) => sum + freedBytes, 0);
}

/** Items that a package manager brought: without a row, and not ours to take. */
function packagedNames({ files, directory }: StoreContext): ReadonlySet<string> {
  const marks = `${directory}/${PACKAGED_DIRECTORY}`;
  if (!files.exists(marks)) return new Set();
  return new Set(files.list(marks).map((name) => Buffer.from(name).toString("utf8")));
}

/** Items of the systems that this machine has been given, from somewhere else: they stay until their generation is removed. */
function generationNames({ files, directory }: StoreContext): ReadonlySet<string> {
  const generations = `${directory.slice(0, -STORE_DIRECTORY.length)}/${GENERATIONS_DIRECTORY}`;
  if (!directory.endsWith(STORE_DIRECTORY) || !files.exists(generations)) return new Set();
  const names = files.list(generations).map((name) => Buffer.from(name).toString("utf8"));
  return new Set(names.flatMap((name) => (files.readTextIfAny(`${generations}/${name}/items`) ?? "").split("\n")));
}

/** Directories of the store without a row, into the trash and away; those of a package manager and of generations stay. Returns what they were. */
export function sweep(context: StoreContext, dryRun: boolean): readonly string[] {
  const { files, ledger } = context;
  const look = (): string[] => {
    const names = files.list(context.directory).map((name) => Buffer.from(name).toString("utf8"));
    const valid = new Set(
      ledger
        .statement("SELECT path FROM item")
        .all()
        .map((row) => String(row["path"])),
    );
    const held = new Set([...packagedNames(context), ...generationNames(context)]);
    return names.filter((name) => !name.startsWith(".") && !held.has(name) && !valid.has(`${STORE_DIRECTORY}/${name}`));
  };
  if (dryRun) return look().map((name) => `${context.directory}/${name}`);
  const trash = context.fresh("trash");
  const moved = ledger.transaction(() => {
    const names = look();
    if (names.length > 0) files.makeDirectory(trash);
    for (const name of names) moveItem(context, `${context.directory}/${name}`, `${trash}/${name}`);
    return names;
  });
  files.removeTree(trash);
  dropUnusedLinks(context);
  return moved.map((name) => `${context.directory}/${name}`);
}

/** Names under `.links` that no item shares any more. */
function dropUnusedLinks(context: StoreContext): void {
  const { files } = context;
  if (!files.exists(context.linksDirectory)) return;
  for (const name of files.list(context.linksDirectory)) {
    const path = `${context.linksDirectory}/${Buffer.from(name).toString("utf8")}`;
    if (files.lstat(path).links === 1) files.unlink(path);
  }
}
