/**
 * world: the tree of a whole system as a value, and its slices.
 *
 *     WorldSource (recipe) ── lock file ──► WorldLock ── worldIdentity ──► Derivation ── (build) ──► store item
 *     WorldDeclaration ── origin: Debian packages, directory, archive, item, sets, packages, recipe ── (compose) ──► store item with attributes
 *     SliceDeclaration ── keep, prune ── selectEntries ──► part of the item, again an item
 *
 * Pure: this room knows what a lock says, how two of them differ, which derivation follows from one, what lies in a slice, and how
 * slices overlap. Making trees is the rooms' build and compose.
 *
 * Limits: one world per lock file; one architecture per world (and `all`); packages from one suite with its updates. Paths are UTF-8;
 * device nodes, file capabilities and extended attributes are not carried.
 */
export {
  ABOUT,
  type Attributes,
  ATTRIBUTES_FILE,
  attributesOf,
  type AttributeTable,
  parseAttributes,
  parseTarList,
  renderAttributes,
  usualMode,
} from "./attributes.ts";
export { isSlice, isWorldDeclaration, slice, type SliceOptions, slices, world, type WorldOptions } from "./declare.ts";
export { diffLocks } from "./diff.ts";
export { BUILTIN_LIMITS, debianArchitecture, lockAnswers, worldIdentity, worldItemName } from "./identity.ts";
export { type Accounts, loggedAttributes, type LoggedTree, METALOG, parseMetalog } from "./metalog.ts";
export { parseLock, worldLock, writeLock } from "./lock.ts";
export { locatedRepository, remoteRepository } from "./remote.ts";
export { compareSlices, matcher, selectEntries, type SliceReport } from "./select.ts";
export { parseSetManifest } from "./sets.ts";
export type {
  ListedEntry,
  LockedPackage,
  RemoteRepository,
  Role,
  SliceDeclaration,
  Source,
  WorldDeclaration,
  WorldLock,
  WorldOrigin,
} from "./types.ts";
