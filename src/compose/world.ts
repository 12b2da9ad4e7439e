/** Worlds as items: from Debian packages, from a directory of this machine, from an archive, from FreeBSD's sets or packages, from a recipe. */
import { Problem, type StorePath } from "../base/index.ts";
import { fileDigests, type Host, isErrno } from "../host/index.ts";
import {
  ABOUT,
  type Attributes,
  ATTRIBUTES_FILE,
  type ListedEntry,
  loggedAttributes,
  METALOG,
  parseMetalog,
  parseSetManifest,
  parseTarList,
  renderAttributes,
  type Source,
  usualMode,
  type WorldDeclaration,
  type WorldOrigin,
} from "../world/index.ts";
import type { Buildable } from "../recipe/index.ts";
import { unpackBase } from "./base-packages.ts";
import type { ComposeContext } from "./context.ts";
import { copyFile, linkOrCopy } from "./copy.ts";
import { makeItem } from "./item.ts";
import { nameOf } from "./listing.ts";
import { accountsIn, EMPTY, type Imported, settle } from "./world-tree.ts";

/** Of a world that a recipe makes. Raised when the same output gives something else. */
const RECIPE_RULE = "world-1";

/** @throws Problem of the world or the fetcher, E_WORLD_IMPORT, E_BAD_NAME */
export async function importWorld(context: ComposeContext, world: WorldDeclaration): Promise<StorePath> {
  const { origin } = world;
  switch (origin.kind) {
    case "debian":
      return context.makeWorld(origin.source);
    case "directory":
      return stored(context, world, (tree) => directoryIn(context, world, origin.path, tree));
    case "item":
      return alreadyHere(context, world, origin.path);
    case "archive": {
      const file = await fileOf(context, origin.source);
      return stored(context, world, (tree) => extract(context, [file], tree));
    }
    case "sets": {
      const files = await checkedSets(context, world, origin);
      return stored(context, world, (tree) => extract(context, files, tree));
    }
    case "packages":
      return stored(context, world, (tree) => unpackBase(context, world, origin, tree));
    case "recipe":
      return madeByRecipe(context, world, origin.recipe);
  }
}

/** What an import has taken in, kept for the caller. */
function alreadyHere({ store }: ComposeContext, { name }: WorldDeclaration, path: StorePath): StorePath {
  if (store.query(path) !== undefined) {
    store.pin([path]);
    return path;
  }
  throw new Problem({
    code: "E_WORLD_IMPORT",
    message: `the world ${name} is declared as ${path}, which is not in this store`,
    hint: "`garth world import` of the same machine or archive makes it again, when nothing has changed; `garth world ls` lists what there is",
    exit: 2,
  });
}

async function fileOf({ store, fetch }: ComposeContext, source: Source): Promise<string> {
  return "path" in source && !("fetcher" in source) ? source.path : store.physical(await fetch(source));
}

/** Files of the sets, each the one that the manifest names. @throws Problem E_SET_MANIFEST, E_SET_UNKNOWN, E_SET_DAMAGED */
async function checkedSets(
  context: ComposeContext,
  { name: worldName }: WorldDeclaration,
  { manifest, archives }: WorldOrigin & { readonly kind: "sets" },
): Promise<readonly string[]> {
  const { host } = context;
  const list = await fileOf(context, manifest);
  assertThere(context, list);
  const digests = parseSetManifest(host.files.readText(list), list);
  const files: string[] = [];
  for (const { name, source } of archives) {
    const expected = digests.get(name);
    if (expected === undefined) {
      throw new Problem({
        code: "E_SET_UNKNOWN",
        message: `the world ${worldName}: its MANIFEST has no set ${name}`,
        details: [`it has ${[...digests.keys()].join(", ")}`],
        where: list,
        exit: 2,
      });
    }
    const file = await fileOf(context, source);
    assertThere(context, file);
    const found = fileDigests(host, file).sha256;
    if (found !== expected) {
      throw new Problem({
        code: "E_SET_DAMAGED",
        message: `the world ${worldName}: the set ${name} is not the one that its MANIFEST names`,
        details: [`expected ${expected}`, `found    ${found}`],
        where: file,
        hint: "it was cut off or changed on its way, or is of another release than the MANIFEST; get both again",
      });
    }
    files.push(file);
  }
  return files;
}

function assertThere({ host }: ComposeContext, file: string): void {
  if (host.files.exists(file)) return;
  throw new Problem({
    code: "E_WORLD_IMPORT",
    message: `a world is to be made of ${file}, and there is no such file`,
    where: file,
    hint: "a name in a declaration is beside its project file; fetchurl({ urls, sha256 }) in its place gets it",
    exit: 2,
  });
}

function itemName({ name, label }: WorldDeclaration): string {
  return `world-${name}-${label}`;
}

function describeTree({ files }: Host, tree: string, { listing, attributes }: Imported): void {
  files.makeDirectory(`${tree}/${ABOUT}`);
  files.writeFile(`${tree}/${ATTRIBUTES_FILE}`, renderAttributes(attributes, listing));
}

async function stored(
  { host, store }: ComposeContext,
  world: WorldDeclaration,
  make: (tree: string) => Imported | Promise<Imported>,
): Promise<StorePath> {
  const scratch = host.files.makeTemporaryDirectory(`${store.temporaryDirectory}/world-`);
  try {
    const tree = `${scratch}/tree`;
    host.files.makeDirectory(tree);
    describeTree(host, tree, await make(tree));
    return (await store.add(tree, itemName(world), { form: "tree" })).path;
  } finally {
    host.files.removeTree(scratch);
  }
}

/** Owners and modes are those of the directory, or of the METALOG in it: then whoever installed there was not root. */
function directoryIn({ host }: ComposeContext, { name }: WorldDeclaration, source: string, tree: string): Imported {
  const copied = copyIn(host, source, tree);
  return logged(host, name, tree, copied.listing) ?? copied;
}

/**
 * The output in another item, so that what is known of it lies beside it; it refers to what the output refers to. Files of the output are
 * root's. @throws Problem E_WORLD_IMPORT where it is no directory, E_WORLD_OWNER, and those of building
 */
async function madeByRecipe(context: ComposeContext, world: WorldDeclaration, recipe: Buildable): Promise<StorePath> {
  const { host, store } = context;
  const output = await context.outputOf(recipe);
  store.pin([output]);
  const from = store.physical(output);
  if (host.files.lstat(from).type !== "directory") {
    throw new Problem({
      code: "E_WORLD_IMPORT",
      message: `the world ${world.name}: the recipe ${recipe.name} makes a file, and a world is a tree`,
      where: from,
      hint: "install below $out, as below a DESTDIR",
      exit: 2,
    });
  }
  const { path } = await makeItem(context, {
    rule: RECIPE_RULE,
    name: itemName(world),
    arguments: [],
    inputs: [output],
    make: (tree) => {
      const { listing } = copyIn(host, from, tree, linkOrCopy);
      const { attributes } = logged(host, world.name, tree, listing) ?? { attributes: new Map() };
      describeTree(host, tree, { listing, attributes });
    },
  });
  return path;
}

/** What a METALOG at the top says, which is gone afterwards; undefined where there is none. @throws Problem E_BAD_MTREE, E_WORLD_OWNER */
function logged(host: Host, world: string, tree: string, listing: readonly ListedEntry[]): Imported | undefined {
  const { files } = host;
  const file = `${tree}/${METALOG}`;
  if (files.lstatIfAny(file)?.type !== "file") return undefined;
  const log = parseMetalog(files.readText(file), `${METALOG} of the world ${world}`);
  files.unlink(file);
  const left = listing.filter(({ path }) => path !== METALOG);
  const attributes = loggedAttributes(log, {
    world,
    listing: left,
    accounts: accountsIn(host, tree),
    digestOf: (path) => fileDigests(host, `${tree}/${path}`).sha256,
  });
  const settled = left.map((entry) => {
    const executable = ((attributes.get(entry.path)?.mode ?? usualMode(entry)) & 0o111) !== 0;
    if (entry.type !== "file" || executable === entry.executable) return entry;
    // It may be another name of an item's file.
    const [path, part] = [`${tree}/${entry.path}`, `${tree}.part`];
    copyFile(host, path, part);
    files.chmod(part, executable ? 0o755 : 0o644);
    files.rename(part, path);
    return { ...entry, executable };
  });
  return { listing: settled, attributes };
}

type CopyFile = (host: Host, from: string, to: string) => void;

function copyIn(host: Host, source: string, tree: string, copy: CopyFile = copyFile): Imported {
  const { files } = host;
  const listing: ListedEntry[] = [];
  const attributes = new Map<string, Attributes>();
  const walk = (relative: string): void => {
    for (const bytes of files.list(relative === "" ? source : `${source}/${relative}`)) {
      const name = nameOf(bytes, `${source}/${relative}`);
      const path = relative === "" ? name : `${relative}/${name}`;
      const [from, to] = [`${source}/${path}`, `${tree}/${path}`];
      const { type, mode, uid, gid, sizeBytes } = files.lstat(from);
      if (path === ABOUT || (type !== "file" && type !== "directory" && type !== "symlink")) continue;
      listing.push({ path, type, executable: (mode & 0o111) !== 0, sizeBytes });
      attributes.set(path, { mode, uid, gid });
      if (type === "symlink") files.symlink(files.readLink(from), to);
      else if (type === "file") copy(host, from, to);
      else {
        files.makeDirectory(to);
        if (!EMPTY.has(path)) walk(path);
      }
    }
  };
  try {
    walk("");
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOTDIR", "EACCES", "EPERM")) throw error;
    throw new Problem({
      code: "E_WORLD_IMPORT",
      message: `${source} cannot be read whole: ${error instanceof Error ? error.message : String(error)}`,
      where: source,
      hint: "a whole system is read as root; a path that is missing is misspelt",
      exit: isErrno(error, "EACCES", "EPERM") ? 3 : 2,
      cause: error,
    });
  }
  return { listing, attributes };
}

/**
 * One archive over the other. tar(1) knows every compression; owners and set-id bits are read from its listing and never given to a file
 * here.
 */
async function extract(context: ComposeContext, archives: readonly string[], tree: string): Promise<Imported> {
  const { host } = context;
  const without = [...EMPTY].flatMap((name) => [`--exclude=./${name}/*`, `--exclude=${name}/*`]);
  const said = new Map<string, Attributes>();
  for (const archive of archives) {
    assertThere(context, archive);
    const doing = `reading the archive ${archive}`;
    const common = ["--file", archive, "--anchored", ...without];
    const list = await host.run({
      argv: ["tar", "--list", "--verbose", "--numeric-owner", "--quoting-style=c", ...common],
      doing,
    });
    await host.run({
      argv: ["tar", "--extract", "--directory", tree, "--no-same-owner", "--no-same-permissions", ...common],
      doing,
    });
    for (const [path, attributes] of parseTarList(list.text())) said.set(path, attributes);
  }
  return settle(host, tree, said);
}
