/**
 * compose: from declared worlds, slices, recipes and repositories to the items of a system.
 *
 *     world ──importWorld──► item ──makeSlice──► item ─┐
 *     recipe ──(build)──► item ────────────────────────┤
 *     repository ──installPackages──► items ───────────┴─composeSystem──► profile, system, RootPlan ──(image)
 *
 * Each item is made once for the same input and found again (item.ts); what a killed process left is scratch of the store, which the
 * next start removes. Files of slices are further names of their world's files, so a slice takes no room of its own.
 *
 * Limits: a world's device nodes, file capabilities and extended attributes are left out; scripts of packages are not run; names are
 * UTF-8.
 */
export { type ComposedSystem, composeSystem, type PartPaths } from "./closure.ts";
export { compareSystems } from "./compare.ts";
export type { ComposeContext } from "./context.ts";
export { type Installed, type InstalledPackage, installPackages, type InstallRequest } from "./install.ts";
export { Listings, listTree } from "./listing.ts";
export {
  type RealisedWorlds,
  realiseParts,
  realiseSlices,
  reportSlices,
  type Resolvers,
  slicesOf,
  type SystemParts,
} from "./realise.ts";
export { rootText, type WrittenRoot, writeRoot } from "./rootfs.ts";
export { makeSlice } from "./slice.ts";
export { initrd as renderInitrd } from "./tree.ts";
export { importWorld } from "./world.ts";
