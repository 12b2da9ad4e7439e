/**
 * Roots: what must stay. Links in `roots/` of the state directory.
 *
 *     roots/NAME     -> item            permanent
 *     roots/auto-ID  -> /path/result    indirect: holds as long as that outer link is there and points at an item
 *     a pin                             temporary: of a living process
 */
import { Problem, sha256, type StorePath } from "../base/index.ts";
import { isErrno } from "../host/index.ts";
import { itemOf, notValid, physicalOf, type StoreContext } from "./context.ts";
import { livingPins, pin } from "./pins.ts";
import type { RootInfo } from "./types.ts";

function readLink(context: StoreContext, link: string): string | undefined {
  try {
    return Buffer.from(context.files.readLink(link)).toString("utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT", "EINVAL", "ENOTDIR")) return undefined;
    throw error;
  }
}

/** Replaces a link without a moment in which there is none. */
function putLink(context: StoreContext, link: string, target: string): void {
  const { files } = context;
  const existing = files.lstatIfAny(link);
  if (existing !== undefined && existing.type !== "symlink") {
    throw new Problem({
      code: "E_ROOT_IN_THE_WAY",
      message: `${link} exists and is not a symbolic link`,
      where: link,
      hint: "choose another name for the link, or move what is there",
      exit: 2,
    });
  }
  if (existing !== undefined && readLink(context, link) === target) return;
  const temporary = `${link}.${sha256(context.fresh("link")).slice(0, 8)}`;
  files.symlink(target, temporary);
  try {
    files.rename(temporary, link);
  } catch (error) {
    files.unlink(temporary);
    throw error;
  }
}

/** The outer link that stands behind a name given by a caller, or undefined for a root of the store's own directory. */
function outerOf(context: StoreContext, link: string): string | undefined {
  return link.includes("/") && !link.startsWith(`${context.rootsDirectory}/`) ? link : undefined;
}

function innerOf(context: StoreContext, link: string): string {
  if (link.startsWith(`${context.rootsDirectory}/`)) return link;
  return `${context.rootsDirectory}/${outerOf(context, link) === undefined ? link : `auto-${sha256(link).slice(0, 32)}`}`;
}

/** @throws Problem E_NOT_IN_STORE, E_ROOT_IN_THE_WAY */
export function addRoot(context: StoreContext, link: string, target: StorePath): void {
  // The pin bridges the time until the link is seen by another process's gc.
  if (pin(context, [target]).length === 0) throw notValid(target);
  const { files } = context;
  files.makeDirectory(context.rootsDirectory, { parents: true });
  const outer = outerOf(context, link);
  if (outer !== undefined) putLink(context, outer, physicalOf(context, target));
  putLink(context, innerOf(context, link), outer ?? physicalOf(context, target));
  files.sync(context.rootsDirectory);
}

export function removeRoot(context: StoreContext, link: string): void {
  for (const name of [outerOf(context, link), innerOf(context, link)]) {
    if (name !== undefined && readLink(context, name) !== undefined) context.files.unlink(name);
  }
}

function lasting(context: StoreContext, onStale: (link: string) => void): RootInfo[] {
  if (!context.files.exists(context.rootsDirectory)) return [];
  return context.files.list(context.rootsDirectory).flatMap((bytes): RootInfo[] => {
    const link = `${context.rootsDirectory}/${Buffer.from(bytes).toString("utf8")}`;
    const target = readLink(context, link);
    if (target === undefined) return [];
    const item = itemOf(context, target);
    if (item !== undefined) return [{ link, target: item, kind: "permanent" }];
    const outer = readLink(context, target);
    const through = outer === undefined ? undefined : itemOf(context, outer);
    if (through !== undefined) return [{ link: target, target: through, kind: "indirect" }];
    onStale(link);
    return [];
  });
}

export function roots(context: StoreContext): readonly RootInfo[] {
  const pins = livingPins(context).map(({ owner, path }): RootInfo => ({ link: owner, target: path, kind: "temporary" }));
  return [...lasting(context, () => {}), ...pins];
}

/** Removes links in `roots/` whose outer link is gone or points elsewhere. */
export function pruneRoots(context: StoreContext): void {
  lasting(context, (link) => context.files.unlink(link));
}
