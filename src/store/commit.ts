/** Carries out the plan of plan.ts. Registrations that come while one is being committed wait and share the next. */
import type { StoreContext } from "./context.ts";
import { physicalOf } from "./context.ts";
import { DIRECTORY_MODE } from "./canonical.ts";
import { idOf, insertItem, insertRealisation, insertReferences } from "./items.ts";
import { insertPins } from "./pins.ts";
import { type CommitStep, type Prepared, type Realised, stepsBeforeLock, stepsUnderLock } from "./plan.ts";

export interface Work {
  readonly items: readonly Prepared[];
  readonly realised: readonly Realised[];
}

/**
 * Synchronously, for work that cannot wait for company. Items are pinned for this process in the same transaction. When it
 * throws, nothing is registered and the content is back in scratch.
 */
export function commitNow(context: StoreContext, work: Work): void {
  const scratch = context.scratch();
  const run = (step: CommitStep): void => {
    context.onStep(step, "before");
    carryOut(context, step);
    context.onStep(step, "after");
  };
  const [sync, begin] = stepsBeforeLock(scratch);
  run(sync);
  let after: readonly CommitStep[] = [];
  context.onStep(begin, "before");
  context.ledger.transaction(() => {
    context.onStep(begin, "after");
    const steps = stepsUnderLock(work.items, work.realised, {
      directory: context.directory,
      physical: (path) => physicalOf(context, path),
      isRegistered: (path) => idOf(context.ledger, path) !== undefined,
      isThere: (path) => context.files.lstatIfAny(physicalOf(context, path)) !== undefined,
      fresh: () => context.fresh("aside"),
    });
    const end = steps.findIndex((step) => step.step === "commit");
    after = steps.slice(end);
    runOrTakeBack(context, steps.slice(0, end), run);
    insertPins(
      context,
      work.items.map((item) => item.path),
    );
    context.onStep(COMMIT, "before");
  });
  for (const step of after) {
    if (step.step === "commit") context.onStep(step, "after");
    else run(step);
  }
}

const COMMIT: CommitStep = { step: "commit" };

/** Still under the lock: once it is released, a name without a row may be somebody else's. */
function runOrTakeBack(context: StoreContext, steps: readonly CommitStep[], run: (step: CommitStep) => void): void {
  const moved: { readonly from: string; readonly to: string }[] = [];
  try {
    for (const step of steps) {
      run(step);
      if (step.step === "move") moved.push(step);
    }
  } catch (error) {
    for (const { from, to } of moved.toReversed()) moveItem(context, to, from);
    throw error;
  }
}

function carryOut(context: StoreContext, step: CommitStep): void {
  const { files, ledger } = context;
  switch (step.step) {
    case "sync-file-system":
      return files.syncFileSystem(step.path);
    case "set-aside":
    case "move":
      return moveItem(context, step.from, step.to);
    case "sync-directory":
      return files.sync(step.path);
    case "insert":
      return insertItem(ledger, step.item, context.now());
    case "refer":
      return insertReferences(ledger, step.item);
    case "realise":
      return insertRealisation(ledger, step.realised);
    case "discard":
      return files.removeTree(step.path);
    case "begin":
    case "commit":
      throw new Error("the ledger's transaction does this step");
  }
}

/** A directory that changes its parent must be writable to its owner; root is not asked. */
export function moveItem(context: StoreContext, from: string, to: string): void {
  const { files, host } = context;
  if (host.isRoot || files.lstat(from).type !== "directory") return files.rename(from, to);
  files.chmod(from, 0o755);
  files.rename(from, to);
  files.chmod(to, DIRECTORY_MODE);
  files.sync(to);
}

export interface Committer {
  commit(work: Work): Promise<void>;
}

export function committer(context: StoreContext): Committer {
  interface Waiting {
    readonly work: Work;
    readonly resolve: () => void;
    readonly reject: (reason: unknown) => void;
  }
  let waiting: Waiting[] = [];
  let scheduled = false;
  const settle = (batch: readonly Waiting[]): void => {
    try {
      commitNow(context, {
        items: batch.flatMap(({ work }) => work.items),
        realised: batch.flatMap(({ work }) => work.realised),
      });
    } catch (error) {
      // One bad registration must not take the others with it.
      if (batch.length > 1) for (const one of batch) settle([one]);
      else batch[0]?.reject(error);
      return;
    }
    for (const one of batch) one.resolve();
  };
  const flush = (): void => {
    scheduled = false;
    const batch = waiting;
    waiting = [];
    settle(batch);
  };
  return {
    commit: (work) =>
      new Promise((resolve, reject) => {
        waiting.push({ work, resolve, reject });
        if (scheduled) return;
        scheduled = true;
        // Everything that became ready in this turn of the event loop goes together.
        setImmediate(flush);
      }),
  };
}
