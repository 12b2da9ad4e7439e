/**
 * Canonical metadata: what an item looks like on disk is a function of its NAR alone.
 *
 * Files 0444 or 0555, directories 0555, everything root's (or the store owner's, without root), modified one second after the
 * epoch. Refused: setuid and setgid files, and whatever is no file, directory or symlink (walk does that).
 */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { isExecutable, relativeName, shownPath, type TreeEntry } from "./tree.ts";

export const CANONICAL_TIME_MS = 1000;
export const DIRECTORY_MODE = 0o555;
const SPECIAL_BITS = 0o6000;

export function canonicalMode(entry: TreeEntry): number {
  if (entry.type === "directory") return DIRECTORY_MODE;
  return isExecutable(entry) ? 0o555 : 0o444;
}

/** @throws Problem E_SETUID_OUTPUT, naming the file */
export function refuseSpecialBits(entries: readonly TreeEntry[]): void {
  const special = entries.filter((entry) => entry.type === "file" && (entry.stat.mode & SPECIAL_BITS) !== 0);
  const first = special[0];
  if (first === undefined) return;
  throw new Problem({
    code: "E_SETUID_OUTPUT",
    message: `${relativeName(first)} has the setuid or setgid bit; everybody can read and run what is in the store`,
    details: special.map((entry) => `${entry.stat.mode.toString(8).padStart(4, "0")} ${relativeName(entry)}`),
    where: shownPath(first.path),
    hint: "clear the bit in the install phase (chmod u-s,g-s); grant it where the package is installed",
  });
}

/** What differs from the canonical form, in words; undefined when nothing does. */
export function metadataFault(entry: TreeEntry, host: Host): string | undefined {
  const { stat } = entry;
  if (entry.type !== "symlink" && stat.mode !== canonicalMode(entry)) return `mode ${stat.mode.toString(8)}`;
  if (Math.trunc(stat.mtimeMs) !== CANONICAL_TIME_MS) return `modified at ${stat.mtimeMs} ms`;
  if (host.isRoot && (stat.uid !== 0 || stat.gid !== 0)) return `owned by ${stat.uid}:${stat.gid}`;
  return undefined;
}

/**
 * Gives every entry its canonical mode, owner and time, children before their directory. `unlocked` says that modes may
 * have been opened since the entries were walked.
 */
export function canonicalise(host: Host, entries: readonly TreeEntry[], unlocked: boolean): void {
  const { files } = host;
  for (let index = entries.length - 1; index >= 0; index -= 1) {
    const entry = entries[index];
    if (entry === undefined) continue;
    const { stat, path } = entry;
    const mode = canonicalMode(entry);
    // Changing the owner clears bits of the mode on some systems: owner first.
    if (host.isRoot && (stat.uid !== 0 || stat.gid !== 0)) files.chown(path, 0, 0);
    if (entry.type !== "symlink" && (unlocked || stat.mode !== mode)) files.chmod(path, mode);
    if (unlocked || stat.mtimeMs !== CANONICAL_TIME_MS) files.setTimes(path, CANONICAL_TIME_MS);
  }
}
