/**
 * ledger: the one door to SQLite. Transactions, migrations, an event log, leases, and undo registered at the doing.
 *
 *     openLedger ── fresh ──────► migrate ──► open ── close ──► closed
 *         │        known, current ────────────►┤
 *         │        known, behind ──► migrate ──►┘
 *         └── not a database, torn, from a newer Garth, unreachable ──► Problem, nothing changed
 *
 * One file in WAL mode with `synchronous=FULL`: a transaction that returned is on disk. Several processes may share it; a
 * writer waits up to `busyMs` for another and then says who is in the way (E_LEDGER_BUSY). Calls are synchronous.
 *
 * Opening an up-to-date file reads one tiny table and nothing else. `damage()` reads the whole file and is for `verify` only;
 * damage that SQLite meets in passing becomes E_LEDGER_DAMAGED.
 *
 * Limits: integers are JavaScript numbers (exact to 2^53). A statement's text is kept with its compiled form for good, so texts
 * must come from a fixed set: values are parameters, never spliced in.
 */
export { ledgerFiles, openLedger, type OpenLedgerOptions } from "./open.ts";
export type * from "./types.ts";
