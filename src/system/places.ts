/** What of a root file system is linked through the running system, what is copied, and what is made. Pure. */

/** Directories of the base that a system may write to: copied, not linked. */
export const COPIED: readonly string[] = ["var", "root", "home", "srv", "opt", "media", "mnt"];
/** Directories that every root has, with their modes. */
export const MADE: ReadonlyMap<string, number> = new Map([
  ["dev", 0o755],
  ["proc", 0o555],
  ["sys", 0o555],
  ["run", 0o755],
  ["tmp", 0o1777],
]);
/** Have no place in a profile: copied to the root, made there, or of the boot slice. */
const NOT_IN_PROFILE = new Set([
  ...COPIED,
  ...MADE.keys(),
  "boot",
  "build",
  "compat",
  "entropy",
  "etc",
  "frx",
  "lost+found",
  "net",
]);

/** "usr" of "usr/bin/sh". */
export function topOf(path: string): string {
  return path.split("/", 1)[0] ?? "";
}

/** For `planProfile`: what of a part is not below /usr and its like. */
export function isOutsideProfile(path: string): boolean {
  return NOT_IN_PROFILE.has(topOf(path));
}

/** What of a part of the base each root has for itself: all of /var and its like, and of /dev and its like what they are. */
export function isCopied(path: string): boolean {
  return COPIED.includes(topOf(path)) || MADE.has(path);
}

/** Users that are nobody in particular are given the root or a path that must not be there. */
export function hasHome(home: string): boolean {
  return home !== "/" && home !== "/nonexistent";
}
