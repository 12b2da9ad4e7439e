/**
 * The sandbox on Linux: bubblewrap, with a control group beside it.
 *
 *     prepare ──► start ──► watch ──► all gone ──► result
 *        │          │         └─ limit, cancel: kill ─┘
 *        └──────────┴─ refused: E_SANDBOX_*, nothing left
 *
 * As root the chain is sh, (setpriv where this process has supplementary groups,) bwrap: the shell joins the control group and
 * sets limits, bwrap enters the shared user namespace, takes on the build user's ids and builds the root. One process replaces
 * the other, so the process that was started is bwrap's monitor, which dies with Garth and takes the sandbox along.
 */
import { Problem } from "../base/index.ts";
import { type Host, shellQuote } from "../host/index.ts";
import { execute, setupProblem, untilGone } from "./bubblewrap-run.ts";
import { type BubblewrapFacts, bubblewrapScript, etcFiles, SCRIPT_NAME } from "./bubblewrap-script.ts";
import {
  abandonedCgroups,
  type CgroupLayout,
  cgroupName,
  cgroupOwner,
  cgroupParents,
  cgroupProcesses,
  detectCgroups,
  makeCgroup,
  planCgroup,
  removeCgroup,
} from "./cgroup.ts";
import { makeUserNamespace } from "./namespace.ts";
import { assertSound, covers } from "./plan.ts";
import { processesOfUser } from "./proc.ts";
import { rootEntries } from "./root.ts";
import type { RenderedSandbox, RunOptions, Sandbox, SandboxPlan, SandboxResult, SandboxUse } from "./types.ts";
import { makeWarden, type Warden } from "./warden.ts";
import { writableDirectories } from "./watch.ts";

export function bubblewrapSandbox(host: Host): Sandbox {
  let layout: CgroupLayout | undefined;
  let namespace: Promise<number> | undefined;
  let warden: Warden | undefined;
  let found: boolean | undefined;

  const requireBubblewrap = (): void => {
    found ??= host.which("bwrap") !== undefined;
    if (found) return;
    throw new Problem({
      code: "E_SANDBOX_UNAVAILABLE",
      message: "builds run in bubblewrap, and there is no program bwrap on this machine",
      hint: "apt-get install bubblewrap, or `garth doctor --install`",
      exit: 3,
    });
  };

  const owner = (): string => cgroupOwner(host.processIdentity);

  const facts = (plan: SandboxPlan): BubblewrapFacts => {
    layout ??= detectCgroups(host);
    const cgroup = planCgroup(layout, cgroupName(owner(), plan), plan.limits);
    const root = rootEntries(host, plan);
    return {
      root,
      etc: Object.keys(etcFiles(plan)).flatMap((name) => placeInEtc(host, plan, name) ?? []),
      cgroup,
      clearGroups: host.isRoot && ownIds(host).hasGroups,
      processCeiling: cgroup === undefined ? processCeiling(host, plan) : undefined,
    };
  };

  const render = (plan: SandboxPlan): RenderedSandbox => ({
    enter: `sh ${shellQuote(`${plan.scratch}/${SCRIPT_NAME}`)} enter`,
    files: { [SCRIPT_NAME]: bubblewrapScript(plan, facts(plan)) },
  });

  const run = async (
    plan: SandboxPlan,
    options: RunOptions,
  ): Promise<{ readonly result: SandboxResult; readonly use: SandboxUse }> => {
    assertSound(plan, host.system);
    requireBubblewrap();
    if (host.isRoot !== (plan.identity.kind === "drop")) {
      throw new Problem({
        code: "E_SANDBOX_PLAN",
        message: host.isRoot
          ? `the plan of ${plan.hostname} has a user namespace of one user, which for root would be root outside`
          : `the plan of ${plan.hostname} drops to user ${plan.identity.uid}, which needs root`,
        exit: 3,
      });
    }
    const known = facts(plan);
    prepareScratch(host, plan);
    const release = await standBy();
    try {
      const shared = plan.identity.kind === "drop" ? [await (namespace ??= makeUserNamespace(host))] : [];
      const refused = known.cgroup === undefined ? undefined : makeCgroup(host, known.cgroup);
      if (refused !== undefined) throw setupProblem(plan, [`control group: ${refused}`]);
      return await execute(host, plan, { cgroup: known.cgroup, shared, script: bubblewrapScript(plan, known) }, options);
    } finally {
      release();
    }
  };

  const standBy = async (): Promise<() => void> => {
    layout ??= detectCgroups(host);
    if (layout.kind === "none") return () => undefined;
    const garth = host.processIdentity.split(":")[1] ?? "";
    const prefixes = cgroupParents(layout).map((parent) => `${parent}/${owner()}`);
    warden ??= makeWarden(host, garth, prefixes);
    // Both take some milliseconds, once: the namespace is made meanwhile.
    namespace ??= makeUserNamespace(host);
    namespace.catch(() => undefined);
    return warden.hold();
  };

  return {
    mode: "linux-bubblewrap",
    render,
    run,
    prepare: async () => {
      requireBubblewrap();
      if (!host.isRoot) return;
      const release = await standBy();
      await (namespace ??= makeUserNamespace(host)).finally(release);
    },
    sweep: async () => {
      if (!host.isRoot) return;
      layout ??= detectCgroups(host);
      for (const directory of abandonedCgroups(host, layout)) {
        const left = { directories: [directory], procs: [`${directory}/cgroup.procs`] };
        await untilGone(
          host,
          () => removeCgroup(host, left),
          () => cgroupProcesses(host, left),
        );
      }
    },
    close: async () => {
      const descriptor = await namespace?.catch(() => undefined);
      namespace = undefined;
      if (descriptor !== undefined) host.files.close(descriptor);
      await warden?.close();
    },
  };
}

/** How far a builder may get between two looks at how many processes it has. */
const PROCESS_SLACK = 1_000;

/** RLIMIT_NPROC counts all processes of a user; a build user has no others. The exact limit is kept by looking. */
function processCeiling(host: Host, plan: SandboxPlan): number {
  return plan.limits.processes + PROCESS_SLACK + (host.isRoot ? 0 : processesOfUser(host, ownIds(host).uid));
}

/** Of this process, from proc(5). */
function ownIds(host: Host): { readonly uid: number; readonly hasGroups: boolean } {
  const status = host.files.readText("/proc/self/status");
  const field = (name: string): string => new RegExp(`^${name}:[ \\t]*(.*)$`, "m").exec(status)?.[1]?.trim() ?? "";
  return { uid: Number(field("Uid").split("\t")[0]), hasGroups: field("Groups") !== "" };
}

/** A file can be laid over one of a world, or be made where /etc is the sandbox's own. */
function placeInEtc(host: Host, plan: SandboxPlan, name: string): BubblewrapFacts["etc"][number] | undefined {
  const { root } = plan;
  if (root.kind === "host") return root.paths.some((path) => covers(path, `/etc/${name}`)) ? undefined : { name, over: false };
  if (host.files.lstatIfAny(`${root.physical}/etc`) === undefined) return { name, over: false };
  return host.files.lstatIfAny(`${root.physical}/etc/${name}`)?.type === "file" ? { name, over: true } : undefined;
}

function prepareScratch(host: Host, plan: SandboxPlan): void {
  const { files } = host;
  const { identity, scratch } = plan;
  if (files.lstatIfAny(scratch) === undefined) files.makeDirectory(scratch, { parents: true, mode: 0o700 });
  for (const directory of writableDirectories(plan)) {
    if (files.lstatIfAny(directory) === undefined) files.makeDirectory(directory, { parents: true, mode: 0o755 });
    if (identity.kind === "drop") files.chown(directory, identity.uid, identity.gid);
  }
}
