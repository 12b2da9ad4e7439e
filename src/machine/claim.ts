/** A directory for a machine: nameless, or under a name that no other living machine has. */
import { Problem } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import { endOrphan } from "./orphan.ts";
import { readRecord } from "./record.ts";
import { makeOwned, ownerLives, removeIfAny } from "./scratch.ts";

/** Each round removes one that ended; another process may take the name in between. */
const ROUNDS_MAX = 5;

/** @throws Problem E_MACHINE_EXISTS (exit 2) */
export async function claimDirectory(host: Host, below: string, name: string | undefined): Promise<string> {
  const made = makeOwned(host, below, "machine");
  if (name === undefined) return made;
  try {
    return await takeName(host, made, `${below}/${name}`, name);
  } catch (error) {
    removeIfAny(host, made);
    throw error;
  }
}

async function takeName(host: Host, made: string, directory: string, name: string): Promise<string> {
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    try {
      // Fails on any directory that is not empty: a claimed one never is.
      host.files.rename(made, directory);
      return directory;
    } catch (error) {
      if (!isErrno(error, "ENOTEMPTY", "EEXIST")) throw error;
    }
    if (ownerLives(host, directory) && readRecord(host, directory)?.state !== "ended") break;
    await endOrphan(host, directory);
    removeIfAny(host, directory);
  }
  throw new Problem({
    code: "E_MACHINE_EXISTS",
    message: `starting the machine ${name}: there is one of this name already`,
    where: directory,
    hint: `\`garth machine stop ${name}\` ends it`,
    exit: 2,
  });
}
