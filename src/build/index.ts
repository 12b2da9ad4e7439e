/**
 * build: from a graph of recipes to valid outputs.
 *
 *     graph ─► alternatives chosen ─► plan ─┬─► sources fetched, worlds made ─┐
 *                                           │                                 ▼
 *                                           └─► step resolved ─► known and valid? ──yes──► cutoff
 *                                                                    │ no
 *                                              lease ─► berth ─► slot ─► sandbox ─► log ─► registered ─► recorded ─► probed
 *
 * A step's derivation is resolved against the content of its inputs. So when a rebuilt input came out the same, what stands above
 * it resolves to the same derivations as before, finds their outputs, and is not built. An input that was collected is not built
 * again as long as everything above it is there: what it came to is remembered.
 *
 * Order of steps: the derivation is on disk before its builder runs; the builder writes to scratch; the store registers outputs and
 * realisation in one transaction; run, lease and log follow. What a killed Garth leaves is scratch, a lease and perhaps a sandbox:
 * the next start ends and removes them, and takes the lease over.
 *
 * One derivation is built by one process at a time, and nobody who holds a lease waits for another one, so there is no circle of waiting.
 *
 * A berth is a place at a site: this machine, or a host over SSH. A host that goes away costs its steps a new beginning elsewhere
 * (roster.ts); what it sent does not count before it was checked, and what a builder itself ends with is final.
 *
 * Limits: `jobs` sandboxes on this machine and as many as each host is given, and four fetches at one time, as many builds again being
 * registered; a host that is the last one is waited for two minutes, once in a build; logs are held in frames of 128 KiB, the end of one in 16 KiB; a probe's output counts up to 64 KiB; two Garths that want the same build ask each other
 * once a second. FreeBSD: the same code over the jail.
 */
export type { BuilderContext } from "./context.ts";
export { openBuilder } from "./open.ts";
export { buildReceipt } from "./receipt.ts";
export { BUILD_MIGRATION } from "./records.ts";
export type * from "./types.ts";
