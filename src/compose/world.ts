/** Worlds as items: from Debian packages, from a directory of this machine, from an archive, from FreeBSD's sets or packages. */
import { Problem, type StorePath } from "../base/index.ts";
import { fileDigests, isErrno } from "../host/index.ts";
import {
  ABOUT,
  type Attributes,
  ATTRIBUTES_FILE,
  type ListedEntry,
  parseSetManifest,
  parseTarList,
  renderAttributes,
  type Source,
  type WorldDeclaration,
  type WorldOrigin,
} from "../world/index.ts";
import { unpackBase } from "./base-packages.ts";
import type { ComposeContext } from "./context.ts";
import { copyFile } from "./copy.ts";
import { nameOf } from "./listing.ts";
import { EMPTY, type Imported, settle } from "./world-tree.ts";

/** @throws Problem of the world or the fetcher, E_WORLD_IMPORT, E_BAD_NAME */
export async function importWorld(context: ComposeContext, world: WorldDeclaration): Promise<StorePath> {
  const { origin } = world;
  switch (origin.kind) {
    case "debian":
      return context.makeWorld(origin.source);
    case "directory":
      return stored(context, world, (tree) => copyIn(context, origin.path, tree));
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
  }
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
  throw new Problem({ code: "E_WORLD_IMPORT", message: `there is no archive ${file}`, where: file, exit: 2 });
}

async function stored(
  { host, store }: ComposeContext,
  { name, label }: WorldDeclaration,
  make: (tree: string) => Imported | Promise<Imported>,
): Promise<StorePath> {
  const scratch = host.files.makeTemporaryDirectory(`${store.temporaryDirectory}/world-`);
  try {
    const tree = `${scratch}/tree`;
    host.files.makeDirectory(tree);
    const { listing, attributes } = await make(tree);
    host.files.makeDirectory(`${tree}/${ABOUT}`);
    host.files.writeFile(`${tree}/${ATTRIBUTES_FILE}`, renderAttributes(attributes, listing));
    return (await store.add(tree, `world-${name}-${label}`, { form: "tree" })).path;
  } finally {
    host.files.removeTree(scratch);
  }
}

function copyIn({ host }: ComposeContext, source: string, tree: string): Imported {
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
      else if (type === "file") copyFile(host, from, to);
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
