/**
 * world: a build root as a value. A world is a named tree of a whole system, here of Debian packages pinned by a lock file.
 *
 * Pure: this room knows what a lock says, how two of them differ, and which derivation follows from one. Making the tree (apt,
 * mmdebstrap) is the build room's.
 *
 *     WorldSource (recipe) ── lock file ──► WorldLock ── worldIdentity ──► Derivation ── (build) ──► store item
 *
 * Limits: one world per lock file; one architecture per world (and `all`); packages from one suite with its updates.
 */
export { diffLocks } from "./diff.ts";
export { debianArchitecture, lockAnswers, worldIdentity, worldItemName } from "./identity.ts";
export { parseLock, worldLock, writeLock } from "./lock.ts";
export type { LockedPackage, WorldLock } from "./types.ts";
