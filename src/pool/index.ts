/**
 * pool: machines of one template, kept warm and handed out; each to one holder, and never again.
 *
 *     template ──init──► pool ──warm──► snapshot ──clone──► available ──checkout──► in use ──return──► gone
 *                                   (a guest booted once)     frozen               running
 *
 * The states of an entry are drawn in types.ts; plan.ts says, from what is wanted and what is seen, what has to be done; reconcile.ts
 * does it. All state is in the ledger, and rows are there before what they stand for: several processes may work on one pool, and each
 * may be killed at any moment. Machines outlive all of them.
 *
 * A machine that somebody had is destroyed when it comes back. Who a clone is (address, name, keys, clock, randomness) is settled while
 * it is warmed, so that a checkout is a signal to its process.
 *
 * Limits: QEMU on Linux runs here. What bhyve, ZFS and pf do on a FreeBSD host is planned (`planBhyvePool`, `planBhyveEntry`: scripts and
 * steps), and nothing here carries it out. A pool's snapshot outlives a reboot of the host, machines do not. `user` networks take no other
 * policy while a machine runs, and one that allows the internet allows the host's loopback addresses too (slirp); `bridge` networks do
 * neither.
 */
import { operatingSystemOf, Problem } from "../base/index.ts";
import { openPools as openHere, type PoolsOptions } from "./open.ts";
import type { Pools } from "./types.ts";

export {
  type BhyveEntryPlan,
  type BhyvePoolPlan,
  type BhyveStep,
  planBhyveEntry,
  planBhyvePool,
  type PlannedFile,
} from "./freebsd.ts";
export { type BhyveEntry, type BhyveIdentity, type BhyvePool, type BhyvePoolFacts, lintBhyvePool } from "./freebsd-facts.ts";
export { type BhyvePoolEvent, readBhyvePoolEvent } from "./freebsd-shell.ts";
export { type PlannedWarming, planWarming } from "./dryrun.ts";
export type { PoolsOptions } from "./open.ts";
export { isolated } from "./policy.ts";
export { POOL_MIGRATION } from "./schema.ts";
export type { PoolPlaces } from "./context.ts";
export type * from "./types.ts";

/** Makes nothing yet. @throws Problem E_POOL_PLANNED (exit 3) */
export function openPools(options: PoolsOptions): Pools {
  if (operatingSystemOf(options.host.system) === "linux") return openHere(options);
  throw new Problem({
    code: "E_POOL_PLANNED",
    message: "opening the pools: machines under bhyve are planned, and not carried out by Garth",
    details: ["what a FreeBSD host has to do can be printed: the scripts of planBhyvePool and planBhyveEntry (src/pool)"],
    hint: "carry those out, or keep pools on a Linux host",
    exit: 3,
  });
}
