/** An IMAGE of a command line: a disk in a file, a SYSTEM (shipped until its image), or an item of the store. */
import { isStorePath, namePart, Problem, type StorePath } from "../base/index.ts";
import type { Garth } from "../app/index.ts";
import type { DiskKind } from "../image/index.ts";
import type { ShippedSystem } from "../ship/index.ts";
import type { Context, Given } from "./command.ts";
import { oneItem } from "./commands/store.ts";
import { absolute } from "./paths.ts";
import { isSystemReference, shipSystem, systemReference } from "./system-of.ts";

export interface FoundImage {
  /** Physical, absolute. */
  readonly file: string;
  /** "web" of image-web.raw: for machines and verdicts. */
  readonly name: string;
  readonly kind: DiskKind;
  readonly storePath: StorePath | undefined;
  /** Where somebody digested it already. */
  readonly sha256: string | undefined;
  /** Of a SYSTEM. */
  readonly shipped: ShippedSystem | undefined;
}

/** @throws Problem E_NO_SUCH_IMAGE, E_NOT_AN_IMAGE, E_AMBIGUOUS_ITEM (exit 2), and those of shipping */
export async function imageOf(context: Context, given: Given, word: string): Promise<FoundImage> {
  const garth = await context.garth();
  const { diskKind } = await garth.image();
  const { files } = garth.host;
  const path = absolute(context, word);
  const found = (file: string, name: string, more: Partial<FoundImage> = {}): FoundImage => {
    if (files.lstat(files.realPath(file)).type === "directory") throw noDisk(word, file);
    const none = { storePath: undefined, sha256: undefined, shipped: undefined };
    return { file, name: plainName(name), kind: diskKind(garth.host, file), ...none, ...more };
  };
  // A store path comes first: without --root it is there as a file, too.
  if (!isStorePath(word)) {
    if (isSystemReference(garth, word, path)) {
      const { system } = await shipSystem(context, given, systemReference(word), { until: "image" });
      if (system.image === undefined) throw new Error(`no image of ${system.name}`);
      const { path: storePath, sha256 } = system.image;
      return found(garth.store.physical(storePath), system.name, { storePath, sha256, shipped: system });
    }
    if (files.exists(path)) return found(files.realPath(path), word);
  }
  if (!isStorePath(word) && (word.includes("/") || garth.store.find(word).length === 0)) throw noImage(word, path);
  const item = oneItem(garth.store, word);
  // While this process lives gc leaves it alone.
  garth.store.pin([item]);
  return found(garth.store.physical(item), namePart(item), { storePath: item });
}

/** ".../image-web.raw" -> "web"; of the characters that machines and items may both have in their names. */
function plainName(name: string): string {
  const base = name
    .slice(name.lastIndexOf("/") + 1)
    .replace(/^image-(?=.)/, "")
    .replace(/\.(?:raw|img|qcow2|vhd|vhdx)$/i, "");
  const plain = base.replaceAll(/[^A-Za-z0-9._-]/g, "-").replace(/^[^A-Za-z0-9]+/, "");
  return plain.slice(0, 40) || "disk";
}

/** @throws Problem E_NOT_AN_IMAGE (exit 2) for a disk in a container that only a person can want to look into */
export function requireRaw({ file, kind }: FoundImage, doing: string): void {
  if (kind.container === "raw") return;
  throw new Problem({
    code: "E_NOT_AN_IMAGE",
    message: `${doing} ${file}: it is ${kind.container}, and a raw disk is needed`,
    where: file,
    hint: `garth image convert ${file} FILE.raw`,
    exit: 2,
  });
}

/** Of a whole disk: where the line has it already, it is not read again. */
export async function digestOf(garth: Garth, { file, sha256 }: FoundImage, signal: AbortSignal): Promise<string> {
  if (sha256 !== undefined) return sha256;
  const { diskDigest } = await garth.image();
  return await diskDigest(garth.host, file, signal);
}

function noImage(word: string, path: string): Problem {
  return new Problem({
    code: "E_NO_SUCH_IMAGE",
    message: `there is no image ${JSON.stringify(word)}: no file, and nothing in the store that begins so`,
    where: path,
    hint: "an IMAGE is a disk in a file, a SYSTEM (FILE#NAME), or a store path; `garth store ls image-` lists those there are",
    exit: 2,
  });
}

function noDisk(word: string, where: string): Problem {
  return new Problem({
    code: "E_NOT_AN_IMAGE",
    message: `${word} is a directory, and no disk`,
    where,
    hint: "a project directory holds a garth.ts; `garth system image` makes a disk of a system",
    exit: 2,
  });
}
