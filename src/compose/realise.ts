/** A declared system with everything it is made of: worlds imported, slices cut, packages installed, then composed. */
import type { StorePath } from "../base/index.ts";
import type { RepositoryDeclaration } from "../pkg/index.ts";
import type { Trust } from "../repository/index.ts";
import { isOfProject, type SystemDeclaration } from "../system/index.ts";
import { compareSlices, selectEntries, type SliceDeclaration, type SliceReport, type WorldDeclaration } from "../world/index.ts";
import { trustOf } from "./catalogue.ts";
import type { PartPaths } from "./closure.ts";
import type { ComposeContext } from "./context.ts";
import { installPackages } from "./install.ts";
import type { Listings } from "./listing.ts";
import { makeSlice } from "./slice.ts";
import { importWorld } from "./world.ts";

/** What other stages made. */
export interface Resolvers {
  readonly repositoryOf: (declaration: RepositoryDeclaration) => { readonly location: string; readonly trust: Trust };
}

export interface RealisedWorlds {
  readonly worlds: ReadonlyMap<WorldDeclaration, StorePath>;
  readonly slices: ReadonlyMap<SliceDeclaration, StorePath>;
}

export function slicesOf({ kernel, bootloader, base, development }: SystemDeclaration): readonly SliceDeclaration[] {
  return [...new Set([kernel, bootloader, ...base, ...development])];
}

/** Each world once, each slice once. @throws Problem of the worlds, E_EMPTY_SLICE */
export async function realiseSlices(
  context: ComposeContext,
  listings: Listings,
  wanted: readonly SliceDeclaration[],
): Promise<RealisedWorlds> {
  const worlds = new Map<WorldDeclaration, StorePath>();
  const slices = new Map<SliceDeclaration, StorePath>();
  for (const slice of wanted) {
    const world = worlds.get(slice.world) ?? (await importWorld(context, slice.world));
    context.store.pin([world]);
    worlds.set(slice.world, world);
    slices.set(slice, await makeSlice(context, listings, slice, world));
  }
  return { worlds, slices };
}

/** How slices of one world lie over each other, and what lies in none. Reads the whole world. */
export function reportSlices(listings: Listings, world: StorePath, slices: readonly SliceDeclaration[]): SliceReport {
  const { listing } = listings.of(world);
  const tree = listing.filter(({ path }) => path !== ".garth" && !path.startsWith(".garth/"));
  return compareSlices(
    tree,
    slices.map((slice) => ({ name: slice.name, entries: selectEntries(tree, slice) })),
  );
}

export interface SystemParts {
  readonly paths: PartPaths;
  /** Of the repositories that packages came from. */
  readonly catalogues: readonly string[];
}

/** @throws Problem of reading repositories and of their packages */
export async function realiseParts(
  context: ComposeContext,
  declaration: SystemDeclaration,
  slices: ReadonlyMap<SliceDeclaration, StorePath>,
  resolvers: Resolvers,
): Promise<SystemParts> {
  const pathOf = (slice: SliceDeclaration): StorePath => {
    const path = slices.get(slice);
    if (path === undefined) throw new Error(`the slice ${slice.name} was not made`);
    return path;
  };
  const installed: StorePath[] = [];
  const catalogues: string[] = [];
  for (const { repository, packages } of declaration.install) {
    const from = isOfProject(repository)
      ? resolvers.repositoryOf(repository)
      : { location: repository.url, trust: trustOf(repository.trust) };
    const done = await installPackages(context, { ...from, packages });
    catalogues.push(done.catalogueSha256);
    installed.push(...done.packages.map(({ path }) => path));
  }
  const all = slicesOf(declaration);
  return {
    catalogues,
    paths: {
      kernel: pathOf(declaration.kernel),
      bootloader: pathOf(declaration.bootloader),
      base: declaration.base.map(pathOf),
      packages: await Promise.all(declaration.packages.map(context.outputOf)),
      installed: [...new Set(installed)],
      development: declaration.development.map(pathOf),
      unpinned: new Set(all.filter(({ world }) => world.origin.kind === "directory").map(pathOf)),
    },
  };
}
