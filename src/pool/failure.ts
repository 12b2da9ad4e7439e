/** A machine that did not come up: undone at once, its reason kept where nobody waited to hear it. */
import { Problem, renderProblem } from "../base/index.ts";
import type { PoolContext } from "./context.ts";
import { destroyEntry, undoMachine } from "./destroy.ts";
import type { EntryRow } from "./records.ts";
import type { EntryState } from "./types.ts";

const MAKING: readonly EntryState[] = ["preparing", "booting", "warming"];

/** `keep`: the row stays as "failed", and counts when the pool asks itself whether another try is worth it. */
export async function undoFailed(
  context: PoolContext,
  row: EntryRow,
  error: unknown,
  { keep }: { readonly keep: boolean },
): Promise<void> {
  const { records } = context;
  // Of a pool that was forgotten nobody asks why its machines did not come up.
  if (keep && error instanceof Problem && records.pool(row.pool) !== undefined) {
    const kept = records.move(row.id, MAKING, "failed", { failure: renderProblem(error), holder: undefined });
    if (kept !== undefined) {
      await undoMachine(context, kept);
      records.move(row.id, ["failed"], "failed", { process: undefined, ssh: undefined });
      return;
    }
  }
  records.move(row.id, MAKING, "retiring");
  // Also where somebody drains the pool: what was started a moment ago he may not have seen.
  await destroyEntry(context, records.entry(row.id) ?? row);
}
