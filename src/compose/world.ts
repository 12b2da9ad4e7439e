/** Worlds as items: from Debian packages, from a directory of this machine, from an archive. */
import { Problem, type StorePath } from "../base/index.ts";
import { isErrno } from "../host/index.ts";
import {
  ABOUT,
  type Attributes,
  ATTRIBUTES_FILE,
  type ListedEntry,
  parseTarList,
  renderAttributes,
  type WorldDeclaration,
} from "../world/index.ts";
import type { ComposeContext } from "./context.ts";
import { copyFile } from "./copy.ts";
import { nameOf } from "./listing.ts";

/** @throws Problem of the world or the fetcher, E_WORLD_IMPORT, E_BAD_NAME */
export async function importWorld(context: ComposeContext, world: WorldDeclaration): Promise<StorePath> {
  const { origin } = world;
  switch (origin.kind) {
    case "debian":
      return context.makeWorld(origin.source);
    case "directory":
      return stored(context, world, (tree) => copyIn(context, origin.path, tree));
    case "archive": {
      const { source } = origin;
      const file = "path" in source && !("fetcher" in source) ? source.path : context.store.physical(await context.fetch(source));
      return stored(context, world, (tree) => extract(context, file, tree));
    }
  }
}

interface Imported {
  readonly listing: readonly ListedEntry[];
  readonly attributes: ReadonlyMap<string, Attributes>;
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

/** What a running system puts there is no part of a world. */
const EMPTY = new Set(["dev", "proc", "run", "sys", "tmp"]);

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

/** tar(1) knows every compression; owners and set-id bits are read from its listing and never given to a file here. */
async function extract({ host }: ComposeContext, archive: string, tree: string): Promise<Imported> {
  const doing = `reading the archive ${archive}`;
  if (!host.files.exists(archive))
    throw new Problem({ code: "E_WORLD_IMPORT", message: `there is no archive ${archive}`, where: archive, exit: 2 });
  const without = [...EMPTY].flatMap((name) => [`--exclude=./${name}/*`, `--exclude=${name}/*`]);
  const common = ["--file", archive, "--anchored", ...without];
  const list = await host.run({
    argv: ["tar", "--list", "--verbose", "--numeric-owner", "--quoting-style=c", ...common],
    doing,
  });
  await host.run({
    argv: ["tar", "--extract", "--directory", tree, "--no-same-owner", "--no-same-permissions", ...common],
    doing,
  });
  host.files.removeTree(`${tree}/${ABOUT}`);
  const said = parseTarList(list.text());
  const listing: ListedEntry[] = [];
  const walk = (relative: string): void => {
    for (const bytes of host.files.list(relative === "" ? tree : `${tree}/${relative}`)) {
      const name = nameOf(bytes, `${tree}/${relative}`);
      const path = relative === "" ? name : `${relative}/${name}`;
      const { type, mode, sizeBytes } = host.files.lstat(`${tree}/${path}`);
      if (type !== "file" && type !== "directory" && type !== "symlink") {
        host.files.unlink(`${tree}/${path}`);
        continue;
      }
      const executable = ((said.get(path)?.mode ?? mode) & 0o111) !== 0;
      if (type !== "symlink") host.files.chmod(`${tree}/${path}`, type === "directory" || executable ? 0o755 : 0o644);
      listing.push({ path, type, executable, sizeBytes });
      if (type === "directory") walk(path);
    }
  };
  walk("");
  return { listing, attributes: said };
}
