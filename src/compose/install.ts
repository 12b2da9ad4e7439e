/**
 * Packages out of a signed repository, with all they need, as items.
 *
 *     catalogue (signature, age) ──► names and what they need ──► each package: size, sum, manifest ──► unpacked
 *                                                                        ├─ /frx/store/...: adopted when its content gives its name
 *                                                                        └─ the rest: an item `package-<name>-<version>`
 *
 * Nothing is run: a package's scripts are for a running FreeBSD, and one that has any is told.
 */
import { isStorePath, Problem, type StorePath } from "../base/index.ts";
import { type CatalogueEntry, isPackagedMark } from "../pkg/index.ts";
import { readRepository, type RepositorySource, sourceOf, type Trust, unpackPackage } from "../repository/index.ts";
import { type Wanted, withNeeds } from "./catalogue.ts";
import type { ComposeContext } from "./context.ts";
import { makeItem } from "./item.ts";

const RULE = "package-1";

export interface InstallRequest extends Wanted {
  readonly trust: Trust;
}

export interface InstalledPackage {
  readonly path: StorePath;
  readonly name: string;
  readonly version: string;
  readonly hasScripts: boolean;
}

export interface Installed {
  readonly packages: readonly InstalledPackage[];
  readonly catalogueSha256: string;
}

/** @throws Problem E_PACKAGE_NOT_FOUND, E_PACKAGE_NEEDS, E_ITEM_FORGED, and those of reading a repository and its packages */
export async function installPackages(context: ComposeContext, request: InstallRequest): Promise<Installed> {
  const source = sourceOf(context.host, request.location);
  const { catalogue } = await readRepository(context.host, source, { trust: request.trust, nowMs: context.now() });
  const wanted = withNeeds(catalogue.entries, request);
  const packages: InstalledPackage[] = [];
  /** Name of a package -> store items that it and what it needs bring. */
  const brought = new Map<string, readonly StorePath[]>();
  for (const entry of wanted) {
    const { name, deps } = entry.manifest;
    const { installed, items } = await install(
      context,
      source,
      entry,
      Object.keys(deps).flatMap((need) => brought.get(need) ?? []),
    );
    brought.set(name, items);
    if (installed !== undefined) packages.push(installed);
  }
  return { packages, catalogueSha256: catalogue.catalogueSha256 };
}

interface Unpacked {
  /** undefined for a package that holds store items alone: they are valid now, and there is nothing else of it. */
  readonly installed: InstalledPackage | undefined;
  /** Those of the package and of what it needs. */
  readonly items: readonly StorePath[];
}

async function install(
  context: ComposeContext,
  source: RepositorySource,
  entry: CatalogueEntry,
  needed: readonly StorePath[],
): Promise<Unpacked> {
  const { host, store } = context;
  const { name, version } = entry.manifest;
  const scratch = host.files.makeTemporaryDirectory(`${store.temporaryDirectory}/package-`);
  try {
    const directory = `${scratch}/root`;
    host.files.makeDirectory(directory);
    const manifest = await unpackPackage(host, source, { entry, scratchFile: `${scratch}/package`, directory });
    // Marks of items that a package manager brought: here they become this store's own.
    const files = manifest.files.filter((file) => !isPackagedMark(file));
    const paths = [...files, ...manifest.directories].map(({ path }) => path);
    const own = [...new Set(paths.flatMap((path) => (path.startsWith("/frx/") ? [itemOf(path, entry)] : [])))];
    await store.adopt(own.map((path) => ({ path, physical: `${directory}${path}` })));
    host.files.removeTree(`${directory}/frx`);
    const items = [...new Set([...needed, ...own])];
    const foreign = manifest.files.find(({ target }) => target?.startsWith("/frx/store/") === true && !leadsTo(items, target));
    if (foreign !== undefined) throw withoutItem(name, foreign.path, foreign.target ?? "");
    if (host.files.list(directory).length === 0) return { installed: undefined, items };
    const { path } = await makeItem(context, {
      rule: RULE,
      name: `package-${name}-${version}`.replaceAll(/[^A-Za-z0-9+._?=-]/g, "_"),
      arguments: [entry.sum],
      inputs: items,
      make: (to) => {
        host.files.removeDirectory(to);
        host.files.rename(directory, to);
      },
    });
    return { installed: { path, name, version, hasScripts: Object.keys(manifest.scripts).length > 0 }, items };
  } finally {
    host.files.removeTree(scratch);
  }
}

/** @throws Problem E_ITEM_FORGED for a path of the store that is no item's */
function itemOf(path: string, { manifest }: CatalogueEntry): StorePath {
  const match = /^\/frx\/store\/[^/]+/.exec(path)?.[0];
  if (match !== undefined && isStorePath(match)) return match;
  throw new Problem({
    code: "E_ITEM_FORGED",
    message: `the package ${manifest.name}-${manifest.version} has ${path}, which belongs to no item of a store`,
    hint: "no honest packager writes this; find out where the package comes from",
  });
}

function leadsTo(items: readonly StorePath[], target: string): boolean {
  return items.some((item) => target === item || target.startsWith(`${item}/`));
}

/** Whether the item is in this store by chance is no matter: the same packages give the same system everywhere. */
function withoutItem(name: string, path: string, target: string): Problem {
  return new Problem({
    code: "E_PACKAGE_NEEDS",
    message: `the package ${name} links ${path} to ${target}, which neither it nor what it needs brings`,
    hint: "make the package again, with what it refers to",
  });
}
