/**
 * The order in which prepared content becomes registered items. Pure: the executor (commit.ts) makes no choices.
 *
 *     content written under scratch
 *       sync-file-system        everything written so far is on disk                       } outside the lock
 *     begin                     the ledger's write lock: no other process is in here
 *       set-aside*              what lies at the final name without being registered
 *       move*                   scratch -> final name; one rename, so it is there whole or not at all
 *       sync-directory          the new names are on disk
 *       insert*, refer*         rows, then the references between them
 *       realise*                derivation -> outputs
 *     commit                    WAL with synchronous=FULL: rows are on disk when it returns
 *       discard*                what was set aside, and copies of what was valid already
 *
 * A row becomes durable only after the name it stands for, and a name only after the content below it. So whatever is lost at a
 * power failure, "registered" implies "complete and on disk"; the opposite (a directory without a row) is an orphan, which the
 * next registration of the same path sets aside and gc removes.
 */
import type { StorePath } from "../base/index.ts";

/** Content that waits in scratch under its final bytes and metadata. */
export interface Prepared {
  readonly path: StorePath;
  readonly from: string;
  /** undefined: of a flat item whose writer took one digest, that of its name. */
  readonly narSha256: string | undefined;
  readonly narSizeBytes: number;
  readonly references: readonly StorePath[];
  readonly deriver: StorePath | undefined;
}

export interface Realised {
  readonly drv: StorePath;
  readonly outputs: Readonly<Record<string, StorePath>>;
}

export type CommitStep =
  | { readonly step: "sync-file-system"; readonly path: string }
  | { readonly step: "begin" }
  | { readonly step: "set-aside"; readonly from: string; readonly to: string }
  | { readonly step: "move"; readonly from: string; readonly to: string }
  | { readonly step: "sync-directory"; readonly path: string }
  | { readonly step: "insert"; readonly item: Prepared }
  | { readonly step: "refer"; readonly item: Prepared }
  | { readonly step: "realise"; readonly realised: Realised }
  | { readonly step: "commit" }
  | { readonly step: "discard"; readonly path: string };

/** What is so while the lock is held. */
export interface Facts {
  readonly directory: string;
  physical(path: StorePath): string;
  /** Has a row. */
  isRegistered(path: StorePath): boolean;
  /** Something lies at its final name. */
  isThere(path: StorePath): boolean;
  /** A fresh name in scratch. */
  fresh(): string;
}

export function stepsBeforeLock(scratch: string): readonly [CommitStep, CommitStep] {
  return [{ step: "sync-file-system", path: scratch }, { step: "begin" }];
}

/** Everything from the lock on. Several registrations in one plan share its fsyncs. */
export function stepsUnderLock(items: readonly Prepared[], realised: readonly Realised[], facts: Facts): readonly CommitStep[] {
  const moves: CommitStep[] = [];
  const inserts: Prepared[] = [];
  const discards: CommitStep[] = [];
  const done = new Set<StorePath>();
  for (const item of items) {
    const to = facts.physical(item.path);
    const registered = facts.isRegistered(item.path);
    const there = facts.isThere(item.path);
    if (done.has(item.path) || (registered && there)) {
      discards.push({ step: "discard", path: item.from });
      continue;
    }
    done.add(item.path);
    if (there) {
      const aside = facts.fresh();
      moves.push({ step: "set-aside", from: to, to: aside });
      discards.push({ step: "discard", path: aside });
    }
    moves.push({ step: "move", from: item.from, to });
    if (!registered) inserts.push(item);
  }
  return [
    ...moves,
    ...(moves.length > 0 ? [{ step: "sync-directory", path: facts.directory } as const] : []),
    ...inserts.map((item) => ({ step: "insert", item }) as const),
    ...inserts.map((item) => ({ step: "refer", item }) as const),
    ...realised.map((entry) => ({ step: "realise", realised: entry }) as const),
    { step: "commit" },
    ...discards,
  ];
}
