/**
 * remote: machines over SSH that have sshd and the tools of their base system, and on which builds run. Nothing of ours is installed there.
 *
 *     wish ──add──► known host ──connection──► one multiplexed ssh(1)
 *                       │                          ├─ script: sent whole, led by its leash, undone by itself
 *                       │                          ├─ store: closures sent and checked by mtree(8), outputs fetched and checked by NAR
 *                       └──site──► where builds run, for the scheduler
 */
export type * from "./types.ts";
