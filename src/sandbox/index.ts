/**
 * sandbox: runs one builder so that it sees what was declared and nothing else.
 *
 *     request ──planSandbox──► plan ──lintPlan──► (faults)
 *                               ├──render──► the files and the line to enter it
 *                               └──run──► exited | signalled | limit | cancelled, and what was used
 *
 * The plan is a value for either system; `openSandbox` picks what carries it out: bubblewrap on Linux, a thin jail on FreeBSD.
 * Inside, the root is read-only, `/build`, `/tmp` and the outputs can be written, nothing listens and nothing answers, and the
 * builder is an ordinary numeric user that cannot become another.
 *
 * Order of a run: lint, scratch directories, (Linux) user namespace and control group or (FreeBSD) jail, builder, watch; then
 * every process ended, counters read, control group or jail and mounts removed. A breach of a limit ends the whole sandbox and
 * is a result; a sandbox that could not be made is a `Problem`. Nothing of it outlives the process that runs it by more than a
 * moment; `sweep` ends what a killed one may have left, before its scratch directory is removed.
 *
 * A jail, and on a host over SSH bubblewrap too, is one script (job.ts): its input is a leash, at whose end it undoes everything by
 * itself; what a script that was killed left is undone by the next (`sweepScript`), which tells the dead from the living by `owner`.
 *
 * Limits: a builder that ends with a status over 128 counts as ended by that signal, as shells report it. A limit on memory or
 * processes that was reached counts even if the builder coped. Running out of open files is an error inside that only the
 * builder sees. What the builder prints goes into a socket: it can be written to and handed on, but not opened anew by name
 * (`/dev/stderr`). Without root there are no control groups: memory and processes are then looked at ten times a second. As root
 * on a machine that gives no control groups, a builder outlives a Garth that was killed until it ends by itself. How a builder
 * stops being root: notes/0005-dropping-root-under-bubblewrap.md.
 */
import { operatingSystemOf } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { bubblewrapSandbox } from "./bubblewrap.ts";
import { jailSandbox } from "./jail.ts";
import { renderJob } from "./job.ts";
import { presumedEntries } from "./root.ts";
import type { Sandbox } from "./types.ts";

export { BUILD_ID_COUNT, type BuildUser, buildUserLease, FIRST_BUILD_ID, nextBuildUser } from "./identity.ts";
export { type JobReport, readJobReport, renderJob } from "./job.ts";
export { OWNER_FILE, processFunctions } from "./job-owner.ts";
export { JOB_SCRIPT_NAME } from "./job-script.ts";
export { limitReached } from "./limits.ts";
export { assertSound, defaultLimits, planSandbox, sandboxHostname, type SandboxRequest } from "./plan.ts";
export { endOf, entriesElsewhere, localSite } from "./site.ts";
export { sweepScript } from "./sweep.ts";
export type * from "./types.ts";

/**
 * The sandbox of this host. `render` also shows plans for the other system, so that a line for FreeBSD can be read on Linux;
 * `run` refuses them.
 */
export function openSandbox(host: Host): Sandbox {
  const here = operatingSystemOf(host.system);
  if (here === "freebsd") return jailSandbox(host);
  const sandbox = bubblewrapSandbox(host);
  return {
    ...sandbox,
    render: (plan) =>
      operatingSystemOf(plan.system) === here ? sandbox.render(plan) : renderJob(plan, presumedEntries(host, plan)),
  };
}
