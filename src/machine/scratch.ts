/**
 * Directories that belong to one process, and are the next one's to remove when it was killed.
 *
 * Each has the identity of its owner in a file. One that has none yet was made a moment ago, or its owner died in that moment:
 * its age decides.
 */
import { type Host, isErrno } from "../host/index.ts";

const OWNER_FILE = "owner";
/** Longer than any process takes from making a directory to writing its name into it. */
const UNOWNED_MS = 60_000;

/** A new directory for this user alone, named `.<prefix>-` and six letters, below one that is made if need be. */
export function makeOwned(host: Host, below: string, prefix: string): string {
  host.files.makeDirectory(below, { parents: true, mode: 0o700 });
  const directory = host.files.makeTemporaryDirectory(`${below}/.${prefix}-`);
  host.files.writeFile(`${directory}/${OWNER_FILE}`, host.processIdentity, 0o600);
  return directory;
}

/** Whether the process that made the directory lives. */
export function ownerLives(host: Host, directory: string): boolean {
  const owner = host.files.readTextIfAny(`${directory}/${OWNER_FILE}`);
  if (owner !== undefined && owner !== "") return host.isAlive(owner);
  const stat = host.files.lstatIfAny(directory);
  return stat !== undefined && Date.now() - stat.mtimeMs < UNOWNED_MS;
}

/** Names of the directories below; none when it is not there. */
export function namesBelow(host: Host, below: string): readonly string[] {
  try {
    return host.files
      .list(below)
      .map((name) => Buffer.from(name).toString())
      .toSorted();
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
}

/** Somebody else may remove it at the same time. */
export function removeIfAny(host: Host, directory: string): void {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    try {
      return host.files.removeTree(directory);
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
  }
}
