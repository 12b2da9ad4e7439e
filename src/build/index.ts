/**
 * build: from a graph of recipes to valid outputs.
 *
 *     graph ─► alternatives chosen ─► plan ─┬─► sources fetched, worlds made ─┐
 *                                           │                                 ▼
 *                                           └─► step resolved ─► known and valid? ──yes──► cutoff
 *                                                                    │ no
 *                                              lease ─► slot ─► sandbox ─► log ─► registered ─► recorded ─► probed
 *
 * A step's derivation is resolved against the content of its inputs. So when a rebuilt input came out the same, what stands above
 * it resolves to the same derivations as before, finds their outputs, and is not built. An input that was collected is not built
 * again as long as everything above it is there: what it came to is remembered.
 *
 * Order of steps: the derivation is on disk before its builder runs; the builder writes to scratch; the store registers outputs and
 * realisation in one transaction; run, lease and log follow. What a killed Garth leaves is scratch, a lease and perhaps a sandbox:
 * the next start ends and removes them, and takes the lease over.
 *
 * One derivation is built by one process at a time, and nobody waits while holding a lease, so there is no circle of waiting.
 *
 * Limits: `jobs` sandboxes and four fetches at one time, as many builds again being registered; logs are held in frames of
 * 128 KiB, the end of one in 16 KiB; a probe's output counts up to 64 KiB; two Garths that want the same build ask each other
 * once a second. FreeBSD: the same code over the jail.
 */
export type { BuilderContext } from "./context.ts";
export { openBuilder } from "./open.ts";
export { buildReceipt } from "./receipt.ts";
export { BUILD_MIGRATION } from "./records.ts";
export type * from "./types.ts";
