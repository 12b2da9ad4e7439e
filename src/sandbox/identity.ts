/**
 * Build users: bare numeric ids from 35001:35001 on, one pair for each build that runs. No passwd entry is needed anywhere.
 *
 * Which are taken is for the caller to know (the ledger holds a lease for each, and takes over those of dead processes), so
 * the pool is a pure choice and a loop over somebody else's `acquire`.
 */
import { Problem } from "../base/index.ts";
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

/**
 * Leases the first pair that nobody holds. `acquire` is given the name of a lease and answers whether it is now the caller's.
 * @throws Problem E_NO_BUILD_USER when all are held
 */
export async function leaseBuildUser(acquire: (lease: string) => boolean | Promise<boolean>): Promise<BuildUser> {
  const refused = new Set<number>();
  for (let user = nextBuildUser(refused); user !== undefined; user = nextBuildUser(refused)) {
    if (await acquire(buildUserLease(user))) return user;
    refused.add(user.uid);
  }
  throw new Problem({
    code: "E_NO_BUILD_USER",
    message: `all ${BUILD_ID_COUNT} build users from ${FIRST_BUILD_ID} on are held by running builds`,
    hint: "wait for a build to end, or run fewer at once",
    exit: 3,
  });
}
