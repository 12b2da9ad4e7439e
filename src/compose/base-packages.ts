/**
 * FreeBSD's base system as packages, put together as one tree.
 *
 *     catalogue (signature, age) ──► names and what they need ──► each package: sum, manifest ──► its own directory ──► the tree
 *                                                                      └─ owners, modes ──► numbers out of the tree's own accounts
 *
 * Each package is unpacked alone and moved into the tree, through directories and never through a link: none can lead another out.
 * pkg(8) keeps owners as names, and means those of the tree that it installs into: etc/master.passwd and etc/group, which are files of a
 * package too. Scripts are not run: what they make of configuration, pwd_mkdb(8) and cap_mkdb(1) above all, is made at a system's start.
 */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { CatalogueEntry, Manifest } from "../pkg/index.ts";
import { readRepository, sourceOf, unpackPackage } from "../repository/index.ts";
import type { Accounts, Attributes, WorldDeclaration, WorldOrigin } from "../world/index.ts";
import { trustOf, withNeeds } from "./catalogue.ts";
import type { ComposeContext } from "./context.ts";
import { nameOf } from "./listing.ts";
import { accountsIn, EMPTY, type Imported, settle } from "./world-tree.ts";

/** @throws Problem E_PACKAGE_NOT_FOUND, E_PACKAGE_NEEDS, E_FILE_CONFLICT, E_WORLD_OWNER, and those of reading a repository */
export async function unpackBase(
  context: ComposeContext,
  world: WorldDeclaration,
  { repository, packages }: WorldOrigin & { readonly kind: "packages" },
  tree: string,
): Promise<Imported> {
  const { host } = context;
  const source = sourceOf(host, repository.url);
  const { catalogue } = await readRepository(host, source, { trust: trustOf(repository.trust), nowMs: context.now() });
  const manifests: Manifest[] = [];
  /** Every path of the tree -> the package that it came from. */
  const origins = new Map<string, string>();
  for (const entry of withNeeds(catalogue.entries, { location: repository.url, packages })) {
    const scratch = host.files.makeTemporaryDirectory(`${context.store.temporaryDirectory}/package-`);
    try {
      const directory = `${scratch}/root`;
      host.files.makeDirectory(directory);
      manifests.push(await unpackPackage(host, source, { entry, scratchFile: `${scratch}/package`, directory }));
      merge(host, { from: directory, to: tree, entry, origins });
    } finally {
      host.files.removeTree(scratch);
    }
  }
  return settle(host, tree, attributesOf(world, manifests, accountsIn(host, tree)));
}

interface Merge {
  readonly from: string;
  readonly to: string;
  readonly entry: CatalogueEntry;
  readonly origins: Map<string, string>;
}

function merge({ files }: Host, { from, to, entry, origins }: Merge): void {
  const { name } = entry.manifest;
  const walk = (relative: string): void => {
    for (const bytes of files.list(`${from}/${relative}`)) {
      const path = `${relative}${nameOf(bytes, `${from}/${relative}`)}`;
      const isDirectory = files.lstat(`${from}/${path}`).type === "directory";
      const other = origins.get(path);
      if (other === undefined) {
        if (isDirectory) files.makeDirectory(`${to}/${path}`);
        else files.rename(`${from}/${path}`, `${to}/${path}`);
        origins.set(path, name);
      } else if (!isDirectory || files.lstat(`${to}/${path}`).type !== "directory") {
        throw conflict(`/${path}`, other, name);
      }
      if (isDirectory && !EMPTY.has(path)) walk(`${path}/`);
    }
  };
  walk("");
}

function conflict(path: string, first: string, second: string): Problem {
  return new Problem({
    code: "E_FILE_CONFLICT",
    message: `the packages ${first} and ${second} both have ${path}`,
    hint: "pkg(8) does not install both either: leave one of them out",
    exit: 2,
  });
}

function attributesOf(
  world: WorldDeclaration,
  manifests: readonly Manifest[],
  { users, groups }: Accounts,
): ReadonlyMap<string, Attributes> {
  const attributes = new Map<string, Attributes>();
  for (const manifest of manifests) {
    for (const { path, uname, gname, mode } of [...manifest.files, ...manifest.directories]) {
      const [uid, gid] = [users.get(uname), groups.get(gname)];
      if (uid === undefined) throw unknownOwner(world, manifest, path, `user ${uname}`);
      if (gid === undefined) throw unknownOwner(world, manifest, path, `group ${gname}`);
      // Manifests of old say no mode; it is then what the file was unpacked with.
      if (mode !== 0) attributes.set(path.slice(1), { mode, uid, gid });
    }
  }
  return attributes;
}

function unknownOwner({ name }: WorldDeclaration, manifest: Manifest, path: string, who: string): Problem {
  return new Problem({
    code: "E_WORLD_OWNER",
    message: `the world ${name}: ${path} of the package ${manifest.name} belongs to the ${who}, which none of its packages knows`,
    hint: "accounts are in etc/master.passwd and etc/group of the world: take the package too that brings them (FreeBSD-runtime)",
    exit: 2,
  });
}
