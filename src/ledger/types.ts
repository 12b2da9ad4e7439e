/**
 * The SQLite door. Rooms hand in their migrations and their statements; nobody else opens a database.
 *
 * One file, `garth.db`, in WAL mode with `synchronous=FULL`: a transaction that returned is on disk. Several processes share
 * it; a writer waits up to `busyMs` for another.
 */
export type SqlValue = null | number | string | Uint8Array;
export type Row = Readonly<Record<string, SqlValue>>;

export interface Statement {
  all(...parameters: readonly SqlValue[]): Row[];
  get(...parameters: readonly SqlValue[]): Row | undefined;
  /** Rows changed. */
  run(...parameters: readonly SqlValue[]): number;
}

/** Each room owns its tables; steps are applied once, in order, and never edited after they were released. */
export interface Migration {
  readonly room: string;
  readonly steps: readonly string[];
}

export interface Ledger {
  /** Tables of a room that few commands need, made or brought up to date when it is opened. @throws Problem as `openLedger` */
  apply(migration: Migration): void;
  /** Prepared once per text and kept. */
  statement(sql: string): Statement;
  /** BEGIN IMMEDIATE ... COMMIT; rolls back when `work` throws. Nested calls join the outer one. */
  transaction<T>(work: () => T): T;
  /**
   * The same without waiting for the disk: it survives the process, and a power failure may take it together with everything
   * since the last `transaction` that returned. For what only living processes need (leases) and what is only told (times).
   */
  quickTransaction<T>(work: () => T): T;
  /** Append-only log of what happened, for people and for recovery. */
  record(room: string, kind: string, subject: string, data: unknown, atMs: number): void;
  /**
   * Leases: "this living process holds this name". A lease of a dead process is taken over silently.
   * Returns the holder's process identity when somebody else who is alive has it, undefined when it is ours now.
   */
  acquire(name: string, owner: string, isAlive: (processIdentity: string) => boolean, atMs: number): string | undefined;
  release(name: string, owner: string): void;
  /** Undo registered at the doing: what a dead process left. `kind` names the room's way to undo, `data` is its argument (JSON). */
  registerUndo(owner: string, kind: string, data: string): number;
  forgetUndo(id: number): void;
  /** What is registered, newest first, by owners for whom `isAlive` is false. */
  abandoned(
    isAlive: (processIdentity: string) => boolean,
  ): readonly { readonly id: number; readonly owner: string; readonly kind: string; readonly data: string }[];
  /** PRAGMA quick_check; the lines it printed when it was not "ok". */
  damage(): readonly string[];
  close(): void;
}
