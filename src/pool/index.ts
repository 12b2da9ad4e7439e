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
 * Limits: QEMU on Linux runs here; what bhyve and ZFS would do is planned in freebsd.ts. A pool's snapshot outlives a reboot of the host,
 * machines do not. `user` networks take no other policy while a machine runs, and one that allows the internet allows the host's
 * loopback addresses too (slirp); `bridge` networks do neither.
 */
export { openPools, type PoolsOptions } from "./open.ts";
export { isolated } from "./policy.ts";
export { POOL_MIGRATION } from "./schema.ts";
export type { PoolPlaces } from "./context.ts";
export type * from "./types.ts";
