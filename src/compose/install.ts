/**
 * Packages out of a signed repository, with all they need, as items.
 *
 *     catalogue (signature, age) ──► names and what they need ──► each package: size, sum, manifest ──► unpacked
 *                                                                        ├─ /frx/store/...: adopted when its content gives its name
 *                                                                        └─ the rest: an item `package-<name>-<version>`
 *
 * Nothing is run: a package's scripts are for a running FreeBSD, and one that has any is told.
 */
import { closest, compareVersions, isStorePath, Problem, type StorePath } from "../base/index.ts";
import type { CatalogueEntry } from "../pkg/index.ts";
import { readRepository, type RepositorySource, sourceOf, type Trust, unpackPackage } from "../repository/index.ts";
import type { ComposeContext } from "./context.ts";
import { makeItem } from "./item.ts";

const RULE = "package-1";

export interface InstallRequest {
  /** A directory or a URL. */
  readonly location: string;
  readonly trust: Trust;
  /** Names of packages. */
  readonly packages: readonly string[];
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
  for (const entry of wanted) {
    const installed = await install(context, source, entry);
    if (installed !== undefined) packages.push(installed);
  }
  return { packages, catalogueSha256: catalogue.catalogueSha256 };
}

/** The newest of each name, what is needed before what needs it. */
function withNeeds(entries: readonly CatalogueEntry[], { packages, location }: InstallRequest): readonly CatalogueEntry[] {
  const byName = new Map<string, CatalogueEntry>();
  for (const entry of entries) {
    const { name, version } = entry.manifest;
    const known = byName.get(name);
    if (known === undefined || compareVersions(known.manifest.version, version) < 0) byName.set(name, entry);
  }
  const order = new Set<CatalogueEntry>();
  /** Packages may need each other in a circle. */
  const open = new Set<string>();
  const visit = (name: string, by: string | undefined): void => {
    const entry = byName.get(name);
    if (entry === undefined) throw by === undefined ? notFound(name, [...byName.keys()], location) : needs(by, name, location);
    if (order.has(entry) || open.has(name)) return;
    open.add(name);
    for (const need of Object.keys(entry.manifest.deps)) visit(need, name);
    order.add(entry);
  };
  for (const name of packages) visit(name, undefined);
  return [...order];
}

function notFound(name: string, known: readonly string[], where: string): Problem {
  const meant = closest(name, known);
  return new Problem({
    code: "E_PACKAGE_NOT_FOUND",
    message: `the repository has no package ${name}`,
    details:
      known.length === 0 ? ["it is empty"] : [`it has ${known.slice(0, 20).join(", ")}${known.length > 20 ? ", ..." : ""}`],
    where,
    hint: meant === undefined ? "publish it there first" : `did you mean ${meant}?`,
    exit: 2,
  });
}

function needs(by: string, name: string, where: string): Problem {
  return new Problem({
    code: "E_PACKAGE_NEEDS",
    message: `the package ${by} needs ${name}, which the repository does not have`,
    where,
    hint: "publish what it needs into the same repository",
  });
}

/** undefined for a package that holds store items alone: they are valid now, and there is nothing else of it. */
async function install(
  context: ComposeContext,
  source: RepositorySource,
  entry: CatalogueEntry,
): Promise<InstalledPackage | undefined> {
  const { host, store } = context;
  const { name, version } = entry.manifest;
  const scratch = host.files.makeTemporaryDirectory(`${store.temporaryDirectory}/package-`);
  try {
    const directory = `${scratch}/root`;
    host.files.makeDirectory(directory);
    const manifest = await unpackPackage(host, source, { entry, scratchFile: `${scratch}/package`, directory });
    const items = manifest.files.flatMap(({ path }) => itemOf(path) ?? []);
    const brought = [...new Set(items)].map((path) => ({ path, physical: `${directory}${path}` }));
    await store.adopt(brought);
    host.files.removeTree(`${directory}/frx`);
    if (host.files.list(directory).length === 0) return undefined;
    const links = linkedItems(manifest.files.flatMap(({ target }) => target ?? []));
    const { path } = await makeItem(context, {
      rule: RULE,
      name: `package-${name}-${version}`.replaceAll(/[^A-Za-z0-9+._?=-]/g, "_"),
      arguments: [entry.sum],
      inputs: links.filter((each) => store.isValid(each)),
      make: (to) => {
        host.files.removeDirectory(to);
        host.files.rename(directory, to);
      },
    });
    return { path, name, version, hasScripts: Object.keys(manifest.scripts).length > 0 };
  } finally {
    host.files.removeTree(scratch);
  }
}

function itemOf(path: string): StorePath | undefined {
  const match = /^\/frx\/store\/[^/]+/.exec(path)?.[0];
  return match !== undefined && isStorePath(match) ? match : undefined;
}

function linkedItems(targets: readonly string[]): readonly StorePath[] {
  return [...new Set(targets.flatMap((target) => itemOf(target) ?? []))].toSorted();
}
