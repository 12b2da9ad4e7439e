/**
 * Does the store hold what the ledger says? And what to do when it does not.
 *
 * Repair never guesses: an item whose content is not what was registered is unregistered, together with what refers to it and
 * with the realisations that named it, so that the next build makes it again. Metadata are put right in place.
 */
import { namePart, Problem, storePath, type StorePath } from "../base/index.ts";
import { hashTable } from "../formats/index.ts";
import { adoptAll, flatDigest } from "./adopt.ts";
import { pass } from "./analyse.ts";
import { canonicalise, metadataFault } from "./canonical.ts";
import { itemOf, physicalOf, type StoreContext } from "./context.ts";
import { sweep } from "./gc.ts";
import { allItems, deleteItems, referrersOf, toStorePath } from "./items.ts";
import { relativeName, type TreeEntry, walk } from "./tree.ts";
import type { Damage, StoreItem, VerifyOptions, VerifyReport } from "./types.ts";

type Repaired = { readonly path: StorePath | string; readonly how: string };

async function inspect(context: StoreContext, item: StoreItem, contents: boolean): Promise<readonly Damage[]> {
  const physical = physicalOf(context, item.path);
  const expected = item.narSha256 ?? item.path;
  if (context.files.lstatIfAny(physical) === undefined) return [{ kind: "missing", path: item.path }];
  try {
    const entries = walk(context.files, physical);
    const damage: Damage[] = [];
    for (const entry of entries) {
      const fault = metadataFault(entry, context.host);
      if (fault === undefined) continue;
      damage.push({ kind: "metadata", path: item.path, detail: `${relativeName(entry)}: ${fault}` });
    }
    if (!contents) return damage;
    const found = item.narSha256 === undefined ? await nameFound(context, item, entries) : await archiveFound(context, entries);
    return found === expected ? damage : [...damage, { kind: "modified", path: item.path, expected, found }];
  } catch (error) {
    // A device node or an unreadable file inside an item: it is not what was registered.
    const found = error instanceof Problem || error instanceof Error ? error.message : String(error);
    return [{ kind: "modified", path: item.path, expected, found }];
  }
}

async function archiveFound(context: StoreContext, entries: readonly TreeEntry[]): Promise<string> {
  return (await pass(context, entries, { table: hashTable([]), replacements: new Map() })).sha256;
}

/** A flat item's name is made from the digest of its bytes: it is what they are held to when no other was taken. */
async function nameFound(context: StoreContext, item: StoreItem, entries: readonly TreeEntry[]): Promise<string> {
  const sha256 = await flatDigest(context, entries);
  if (sha256 === undefined) return "no plain file";
  return storePath({ kind: "flat", sha256, references: item.references }, namePart(item.path));
}

function missingReferences(context: StoreContext): readonly Damage[] {
  return context.ledger
    .statement(
      `SELECT item.path AS path, target FROM reference JOIN item ON item.id = referrer
       WHERE target NOT IN (SELECT id FROM item)`,
    )
    .all()
    .map((row) => ({
      kind: "database",
      detail: `${toStorePath(row["path"])} refers to row ${String(row["target"])}, which is not there`,
    }));
}

/** The paths and everything that refers to them, referrers first. */
function withReferrers(context: StoreContext, paths: readonly StorePath[]): readonly { path: StorePath; because: StorePath }[] {
  const because = new Map<StorePath, StorePath>();
  const visit = (path: StorePath, cause: StorePath): void => {
    if (because.has(path)) return;
    because.set(path, cause);
    for (const referrer of referrersOf(context.ledger, path)) visit(referrer, path);
  };
  for (const path of paths) visit(path, path);
  return [...because].map(([path, cause]) => ({ path, because: cause })).toReversed();
}

function unregister(context: StoreContext, broken: readonly StorePath[]): readonly Repaired[] {
  return context.ledger.transaction(() => {
    const all = withReferrers(context, broken);
    deleteItems(
      context.ledger,
      all.map(({ path }) => path),
    );
    context.ledger.record("store", "unregister", context.directory, { paths: all.map(({ path }) => path) }, context.now());
    return all.map(({ path, because }) => ({
      path,
      how: because === path ? "removed; the next build makes it again" : `removed; it refers to ${because}`,
    }));
  });
}

function straighten(context: StoreContext, path: StorePath): Repaired {
  canonicalise(context.host, walk(context.files, physicalOf(context, path)), !context.host.isRoot);
  return { path, how: "metadata put right" };
}

export async function verify(context: StoreContext, options: VerifyOptions): Promise<VerifyReport> {
  const repaired: Repaired[] = [];
  if (options.adopt === true) {
    const adopted = await adoptAll(context);
    repaired.push(...adopted.map((path) => ({ path, how: "registered again: its content is what its name says" })));
  }
  const damage: Damage[] = [
    ...context.ledger.damage().map((detail): Damage => ({ kind: "database", detail })),
    ...missingReferences(context),
  ];
  const items = allItems(context.ledger);
  for (const item of items) damage.push(...(await inspect(context, item, options.contents)));
  const orphans = sweep(context, true);
  damage.push(...orphans.map((physical): Damage => ({ kind: "unregistered", physical })));
  if (!options.repair) return { checked: items.length, damage, repaired };

  const broken = damage.flatMap((one) => (one.kind === "missing" || one.kind === "modified" ? [one.path] : []));
  if (broken.length > 0) repaired.push(...unregister(context, [...new Set(broken)]));
  const gone = new Set(repaired.map(({ path }) => path));
  const crooked = new Set(damage.flatMap((one) => (one.kind === "metadata" && !gone.has(one.path) ? [one.path] : [])));
  for (const path of crooked) repaired.push(straighten(context, path));
  for (const physical of sweep(context, false)) {
    const path = itemOf(context, physical);
    if (path === undefined || !gone.has(path)) repaired.push({ path: physical, how: "removed: nothing registered it" });
  }
  return { checked: items.length, damage, repaired };
}
