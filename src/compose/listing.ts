/** What is in a tree: every path in the order in which directories come before what is in them, names by their bytes. */
import { Problem, type StorePath } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Store } from "../store/index.ts";
import { ATTRIBUTES_FILE, type AttributeTable, type ListedEntry, parseAttributes } from "../world/index.ts";

const decoder = new TextDecoder("utf-8", { fatal: true });

/** @throws Problem E_BAD_NAME for a name that is not UTF-8, E_BAD_FILE_TYPE for a device, a pipe or a socket */
export function listTree(host: Host, directory: string): readonly ListedEntry[] {
  const entries: ListedEntry[] = [];
  const walk = (relative: string): void => {
    const here = relative === "" ? directory : `${directory}/${relative}`;
    const names = host.files.list(here).map((bytes) => nameOf(bytes, here));
    for (const name of names.toSorted()) {
      const path = relative === "" ? name : `${relative}/${name}`;
      const stat = host.files.lstat(`${directory}/${path}`);
      const executable = (stat.mode & 0o111) !== 0;
      if (stat.type === "directory") {
        entries.push({ path, type: "directory", executable, sizeBytes: 0 });
        walk(path);
      } else if (stat.type === "symlink") {
        const target = nameOf(host.files.readLink(`${directory}/${path}`), here);
        entries.push({ path, type: "symlink", executable, sizeBytes: Buffer.byteLength(target), target });
      } else if (stat.type === "file") entries.push({ path, type: "file", executable, sizeBytes: stat.sizeBytes });
      else throw badType(`${directory}/${path}`, stat.type);
    }
  };
  walk("");
  return entries;
}

/** @throws Problem E_BAD_NAME for a name that is not UTF-8 */
export function nameOf(bytes: Uint8Array, where: string): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new Problem({
      code: "E_BAD_NAME",
      message: `the name ${JSON.stringify(Buffer.from(bytes).toString("latin1"))} in ${where} is not UTF-8`,
      hint: "leave it out of the world, or rename it",
      where,
      cause,
    });
  }
}

function badType(path: string, type: string): Problem {
  return new Problem({
    code: "E_BAD_FILE_TYPE",
    message: `${path} is a ${type}, and a tree holds files, directories and symlinks`,
  });
}

export interface KnownTree {
  readonly path: StorePath;
  /** An item that is one file: a source, a text. It has no listing. */
  readonly file: { readonly executable: boolean; readonly sizeBytes: number } | undefined;
  readonly listing: readonly ListedEntry[];
  readonly attributes: AttributeTable;
}

/** Items never change: each is walked once in a process. */
export class Listings {
  readonly #host: Host;
  readonly #store: Store;
  readonly #known = new Map<StorePath, KnownTree>();

  constructor(host: Host, store: Store) {
    this.#host = host;
    this.#store = store;
  }

  of(path: StorePath): KnownTree {
    const known = this.#known.get(path);
    if (known !== undefined) return known;
    const physical = this.#store.physical(path);
    const { type, mode, sizeBytes } = this.#host.files.lstat(physical);
    const tree =
      type === "directory" ? this.#tree(path, physical) : fileItem(path, { executable: (mode & 0o111) !== 0, sizeBytes });
    this.#known.set(path, tree);
    return tree;
  }

  #tree(path: StorePath, physical: string): KnownTree {
    const text = this.#host.files.readTextIfAny(`${physical}/${ATTRIBUTES_FILE}`);
    const attributes = text === undefined ? new Map() : parseAttributes(text, `${path}/${ATTRIBUTES_FILE}`);
    return { path, file: undefined, listing: listTree(this.#host, physical), attributes };
  }
}

function fileItem(path: StorePath, file: NonNullable<KnownTree["file"]>): KnownTree {
  return { path, file, listing: [], attributes: new Map() };
}
