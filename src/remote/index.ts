/**
 * remote: machines over SSH that have sshd and the tools of their base system, and on which builds run. Nothing of ours is installed there.
 *
 *     wish ──add──► known host ──connection──► one multiplexed ssh(1)
 *                       │                          ├─ script: sent whole, led by its leash, undone by itself
 *                       │                          ├─ store: closures sent and checked by mtree(8), outputs fetched and checked by NAR
 *                       └──site──► where builds run, for the scheduler
 *     address ──visit──► key accepted ──► connection, and nothing is kept of it here
 *
 * Limits: 8 scripts at a time over one connection (a server gives it 10 sessions); another connection is opened when somebody has waited
 * for a session for a second, up to 8 of them; beyond that scripts wait in the order of their asking. A host that is silent for 45 s is
 * gone. A server that gives fewer sessions is taken at its word.
 */
export { type ConnectionOptions, openConnection } from "./connection.ts";
export { type HostsOptions, openHosts } from "./hosts.ts";
export { makePlaceScript } from "./place-script.ts";
export { HOST_MIGRATION } from "./records.ts";
export type { Sender, SendRecord } from "./send.ts";
export { openHostStore } from "./store.ts";
export type * from "./types.ts";
export { type ReadWorld, readWorld, type WorldWish } from "./world-tree.ts";
export { openVisit, type VisitOptions, type VisitWish } from "./visit.ts";
