/**
 * Build users: bare numeric ids from 35001:35001 on, one pair for each build that runs. No passwd entry is needed anywhere.
 *
 * Which are taken is for the caller to know: the ledger holds a lease for each, and takes over those of dead processes. So the
 * pool is a pure choice.
 */
import type { SandboxIdentity } from "./types.ts";

export const FIRST_BUILD_ID = 35_001;
/** How many builds one machine runs at once, at most. */
export const BUILD_ID_COUNT = 1_000;

export type BuildUser = SandboxIdentity & { readonly kind: "drop" };

/** The lowest pair that is not in use, or undefined when all are. */
export function nextBuildUser(inUse: ReadonlySet<number>): BuildUser | undefined {
  for (let id = FIRST_BUILD_ID; id < FIRST_BUILD_ID + BUILD_ID_COUNT; id += 1) {
    if (!inUse.has(id)) return { kind: "drop", uid: id, gid: id };
  }
  return undefined;
}

/** The name under which a build user is leased. */
export function buildUserLease(user: BuildUser): string {
  return `build-uid/${user.uid}`;
}
