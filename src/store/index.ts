/**
 * store: content-addressed items, what refers to what, what must stay, and how they come and go.
 *
 *     (nothing) ── written in scratch ──► prepared ── committed ──► valid ── gc, verify --repair ──► (nothing)
 *                        │                   │                        │
 *                        └── process dies ───┴──► scratch, removed by recover()
 *                                            └──► moved, not committed: an orphan, removed by gc
 *
 * An item is valid when it has a row; a directory without one is nothing. Content never changes once it is valid.
 *
 * Order of writes (plan.ts; notes/0009-store-durability.md): content and metadata in scratch; one syncfs; then under the ledger's
 * write lock the rename into the store, fsync of the store directory, rows, COMMIT with synchronous=FULL. Whatever is lost at a
 * power failure, an item that has a row is complete. Registrations that wait at the same time share these fsyncs.
 *
 * Several processes may use one store. Everything that adds or removes a name in the store directory does so under the ledger's
 * write lock. What a process adds, asks for by `pin` or registers is held against gc until it ends.
 *
 * References are found by their hashes: 64 hexadecimal digits, anywhere in contents, targets and names, among the candidates.
 * A whole path `/frx/store/<hash>` of a valid item that is no candidate is refused: the closure would be incomplete.
 *
 * Limits: a reference inside compressed data is not seen (`--check` finds those to oneself). `lastUsedAtMs` is exact to the
 * hour. Sizes in a gc report are those of the items' archives, not of disk blocks. The clock is an argument and only ever read:
 * nothing becomes invalid when it goes back.
 */
export { narOf } from "./nar.ts";
export { openStore, type OpenStoreOptions } from "./open.ts";
export { setAsideLedger } from "./salvage.ts";
export { STORE_MIGRATION } from "./schema.ts";
export type { CommitStep } from "./plan.ts";
export type * from "./types.ts";
