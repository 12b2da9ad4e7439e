/**
 * A sandbox as one script, `run.sh`, for a host where nobody of ours watches: started by sh, led by a leash, undone by itself.
 *
 *     sh run.sh run        makes the sandbox, runs the builder, undoes the sandbox; the scratch stays, whoever made it keeps it
 *     sh run.sh serve      as run; then says `hold` and waits for a line: "keep" leaves the scratch, any other and the end of input remove it
 *     sh run.sh enter      makes it, opens a shell in it as the build user on this terminal, undoes it
 *     sh run.sh teardown   undoes what a run that was killed has left; again it does nothing
 *
 * `run` and `serve` have their standard input as leash: when it ends while the builder runs, the builder and all that it started are ended,
 * everything is undone, and with `serve` the scratch is removed. The same on HUP, INT and TERM. Standard output is what the builder prints,
 * both its streams. Standard error has the events (host/script.ts):
 *
 *     absent N             the host view's path N is not there: the builder will not see it
 *     missing N            mount N of the plan has no source: nothing was made
 *     refused N            the place of mount N would be reached through a symlink: nothing was mounted
 *     taken NAME           a jail of this name is there and is somebody else's: nothing was made
 *     stale                what a dead run left here was undone first
 *     user UID GID         the builder's numbers
 *     created              the sandbox is there
 *     limits all | each    memory and processes are limited for the whole sandbox, or for each process and user alone
 *     started              the builder begins
 *     limit NAME VALUE     a limit of the plan was reached and the builder ended for it: wallClockMs, outputBytes (VALUE in the limit's unit);
 *                          where control groups count them, memoryBytes and processes, also when the builder coped
 *     exited STATUS        as `$?` of a shell: over 128 for a signal
 *     hold                 all is undone but the scratch, which waits for a line
 *     stuck                something could not be undone; `teardown` tries again
 *
 * Status 0: the builder ran, `exited` says how it ended, and nothing is left but the scratch. 3: it did not, or something is left.
 * Silence and what is printed are watched by whoever reads the output; time and what is written by the script.
 *
 * The script owns its scratch as long as it lives: `owner` in it is "PID START", by which `sweepScript` tells the dead from the living.
 */
import { operatingSystemOf } from "../base/index.ts";
import type { ScriptEvent } from "../host/index.ts";
import { bubblewrapJob } from "./bubblewrap-job.ts";
import { renderJail } from "./jail-files.ts";
import type { RootEntry } from "./root.ts";
import type { RenderedSandbox, SandboxPlan } from "./types.ts";

/** The files of a plan for either system; `root` is what stands at the top of its build root, as far as it is known here. Pure. */
export function renderJob(plan: SandboxPlan, root: readonly RootEntry[]): RenderedSandbox {
  return operatingSystemOf(plan.system) === "freebsd" ? renderJail(plan, root) : bubblewrapJob(plan, root);
}

/** Limits that a script looks after itself. */
const JOB_LIMITS = ["wallClockMs", "outputBytes", "memoryBytes", "processes"] as const;
type JobLimit = (typeof JOB_LIMITS)[number];

/** What the events said. */
export interface JobReport {
  readonly created: boolean;
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
  /** As `$?` of a shell. */
  readonly status: number | undefined;
  readonly limit: { readonly name: JobLimit; readonly value: number } | undefined;
  readonly stuck: boolean;
  /** Indices into the plan's mounts. */
  readonly missing: readonly number[];
  readonly refused: readonly number[];
  /** Paths of the host view that are not there, by their index. */
  readonly absent: readonly number[];
  readonly taken: string | undefined;
  /** Memory and processes: of the whole sandbox, or of each process and user alone. */
  readonly limits: "all" | "each" | undefined;
}

export function readJobReport(events: readonly ScriptEvent[]): JobReport {
  const numbers = (name: string): readonly number[] =>
    events.filter((event) => event.name === name).map(({ fields }) => Number(fields[0]));
  const first = (name: string): ScriptEvent | undefined => events.find((event) => event.name === name);
  const [user, exited, limit] = [first("user"), first("exited"), first("limit")];
  const limitName = JOB_LIMITS.find((name) => name === limit?.fields[0]);
  const limits = first("limits")?.rest;
  return {
    created: first("created") !== undefined,
    user: user === undefined ? undefined : { uid: Number(user.fields[0]), gid: Number(user.fields[1]) },
    status: exited === undefined ? undefined : Number(exited.fields[0]),
    limit: limitName === undefined ? undefined : { name: limitName, value: Number(limit?.fields[1]) },
    stuck: first("stuck") !== undefined,
    missing: numbers("missing"),
    refused: numbers("refused"),
    absent: numbers("absent"),
    taken: first("taken")?.rest,
    limits: limits === "all" || limits === "each" ? limits : undefined,
  };
}
