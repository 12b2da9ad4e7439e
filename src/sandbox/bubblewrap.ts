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
import type { Host, Running } from "../host/index.ts";
import { type BubblewrapFacts, bubblewrapScript, etcFiles, outermost, type RootEntry, SCRIPT_NAME } from "./bubblewrap-script.ts";
import {
  cgroupBreach,
  type CgroupLayout,
  cgroupName,
  cgroupPeakMemory,
  type CgroupPlan,
  cgroupProcesses,
  detectCgroups,
  makeCgroup,
  planCgroup,
  removeCgroup,
} from "./cgroup.ts";
import { limitReached } from "./limits.ts";
import { makeUserNamespace } from "./namespace.ts";
import { assertSound, covers } from "./plan.ts";
import { processesInGroup, processesOfUser, treeUsage } from "./proc.ts";
import { linuxSignal } from "./signals.ts";
import type { RenderedSandbox, RunOptions, Sandbox, SandboxPlan, SandboxResult, SandboxUse } from "./types.ts";
import { measureWritten, type Watch, watchSandbox, writableDirectories } from "./watch.ts";

/** Places in a world's root that the sandbox makes itself. */
const MADE_BY_SANDBOX = new Set(["dev", "proc", "sys", "tmp", "build", "frx", "homeless"]);
const GONE_WITHIN_MS = 10_000;
/** How much of the output is kept to recognise a builder that could not be started. */
const HEAD_BYTES = 4_096;

export function bubblewrapSandbox(host: Host): Sandbox {
  let layout: CgroupLayout | undefined;
  let namespace: Promise<number> | undefined;
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

  const facts = (plan: SandboxPlan): BubblewrapFacts => {
    layout ??= detectCgroups(host);
    const cgroup = planCgroup(layout, cgroupName(plan), plan.limits);
    const root = rootEntries(host, plan);
    return {
      root,
      etc: Object.keys(etcFiles(plan)).filter((name) => hasPlaceInEtc(host, plan, name)),
      cgroup,
      clearGroups: host.isRoot && ownIds(host).hasGroups,
      processCeiling:
        cgroup === undefined
          ? plan.limits.processes + 2 + (host.isRoot ? 0 : processesOfUser(host, ownIds(host).uid))
          : undefined,
    };
  };

  const render = (plan: SandboxPlan): RenderedSandbox => ({
    enter: `sh ${plan.scratch}/${SCRIPT_NAME} enter`,
    files: { [SCRIPT_NAME]: bubblewrapScript(plan, facts(plan)) },
  });

  const run = async (
    plan: SandboxPlan,
    options: RunOptions,
  ): Promise<{ readonly result: SandboxResult; readonly use: SandboxUse }> => {
    assertSound(plan);
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
    prepareScratch(host, plan, known);
    const shared = plan.identity.kind === "drop" ? [await (namespace ??= makeUserNamespace(host))] : [];
    const refused = known.cgroup === undefined ? undefined : makeCgroup(host, known.cgroup);
    if (refused !== undefined) throw setupProblem(plan, [`control group: ${refused}`]);
    return execute(host, plan, known.cgroup, shared, options);
  };

  return {
    mode: "linux-bubblewrap",
    render,
    run,
    prepare: async () => {
      requireBubblewrap();
      if (host.isRoot) await (namespace ??= makeUserNamespace(host));
    },
    sweep: async (left) => {
      if (!host.isRoot) return;
      layout ??= detectCgroups(host);
      const group = cgroupName(left);
      await killProcesses(host, processesInGroup(host, group));
      const cgroup = planCgroup(layout, group, { memoryBytes: 1, processes: 1 });
      if (cgroup !== undefined)
        await untilGone(
          host,
          () => removeCgroup(host, cgroup),
          () => cgroupProcesses(host, cgroup),
        );
    },
    close: async () => {
      const descriptor = await namespace?.catch(() => undefined);
      namespace = undefined;
      if (descriptor !== undefined) host.files.close(descriptor);
    },
  };
}

/** Of this process, from proc(5). */
function ownIds(host: Host): { readonly uid: number; readonly hasGroups: boolean } {
  const status = host.files.readText("/proc/self/status");
  const field = (name: string): string => new RegExp(`^${name}:[ \\t]*(.*)$`, "m").exec(status)?.[1]?.trim() ?? "";
  return { uid: Number(field("Uid").split("\t")[0]), hasGroups: field("Groups") !== "" };
}

function rootEntries(host: Host, plan: SandboxPlan): readonly RootEntry[] {
  const entry = (source: string, target: string): RootEntry => {
    const stat = host.files.lstatIfAny(source);
    if (stat === undefined) {
      throw new Problem({
        code: "E_SANDBOX_SETUP",
        message: `the build root of ${plan.hostname} names ${source}, which is not there`,
        exit: 3,
      });
    }
    if (stat.type !== "symlink") return { kind: "mount", source, target };
    return { kind: "symlink", target, to: new TextDecoder().decode(host.files.readLink(source)) };
  };
  const { root } = plan;
  if (root.kind === "host") return outermost(root.paths).map((path) => entry(path, path));
  const decoder = new TextDecoder("utf-8", { fatal: true });
  return host.files
    .list(root.physical)
    .map((name) => decoder.decode(name))
    .filter((name) => !MADE_BY_SANDBOX.has(name))
    .toSorted()
    .map((name) => entry(`${root.physical}/${name}`, `/${name}`));
}

/** A file can be mounted where one is, or where /etc is made by the sandbox. */
function hasPlaceInEtc(host: Host, plan: SandboxPlan, name: string): boolean {
  const { root } = plan;
  if (root.kind === "host") return !root.paths.some((path) => covers(path, `/etc/${name}`));
  if (host.files.lstatIfAny(`${root.physical}/etc`) === undefined) return true;
  return host.files.lstatIfAny(`${root.physical}/etc/${name}`)?.type === "file";
}

function prepareScratch(host: Host, plan: SandboxPlan, facts: BubblewrapFacts): void {
  const { files } = host;
  const { identity, scratch } = plan;
  files.makeDirectory(scratch, { parents: true, mode: 0o700 });
  for (const directory of writableDirectories(plan)) {
    if (files.lstatIfAny(directory) === undefined) files.makeDirectory(directory, { parents: true, mode: 0o755 });
    if (identity.kind === "drop") files.chown(directory, identity.uid, identity.gid);
  }
  const etc = etcFiles(plan);
  files.makeDirectory(`${scratch}/etc`, { parents: true });
  for (const name of facts.etc) files.writeFile(`${scratch}/etc/${name}`, etc[name] ?? "");
  files.writeFile(`${scratch}/${SCRIPT_NAME}`, bubblewrapScript(plan, facts));
}

function setupProblem(plan: SandboxPlan, details: readonly string[]): Problem {
  return new Problem({
    code: "E_SANDBOX_SETUP",
    message: `the sandbox ${plan.hostname} could not be set up; the builder was not started`,
    details,
    where: plan.scratch,
    exit: 3,
  });
}

/** bwrap's own account of what happened: documents in a file, complete once bwrap has ended. */
interface BubblewrapStatus {
  /** Of the first process inside, as the host sees it. */
  readonly childPid: number | undefined;
  readonly exitCode: number | undefined;
}

function readStatus(host: Host, file: string): BubblewrapStatus {
  const text = host.files.readText(file);
  const number = (key: string): number | undefined => {
    const digits = new RegExp(`"${key}": ([0-9]+)`).exec(text)?.[1];
    return digits === undefined ? undefined : Number(digits);
  };
  return { childPid: number("child-pid"), exitCode: number("exit-code") };
}

async function killProcesses(host: Host, ids: readonly number[]): Promise<void> {
  if (ids.length === 0) return;
  // One of them may be gone by the time the signal is sent.
  await host.run({ argv: ["sh", "-c", 'kill -KILL "$@" 2>/dev/null || :', "sh", ...ids.map(String)], doing: "ending a sandbox" });
}

/** Waits until nothing is left, and helps along with what has not ended by itself. */
async function untilGone(host: Host, gone: () => boolean, left: () => readonly number[]): Promise<void> {
  const started = performance.now();
  for (let pauseMs = 1; !gone(); pauseMs = Math.min(pauseMs * 2, 100)) {
    if (performance.now() - started > GONE_WITHIN_MS) {
      throw new Problem({
        code: "E_SANDBOX_STUCK",
        message: `processes of a sandbox did not end within ${GONE_WITHIN_MS / 1000} s of being killed`,
        details: left().map((id) => `process ${id}`),
        hint: "a process that waits for a dead disk or network file system cannot be killed",
      });
    }
    if (pauseMs >= 8) await killProcesses(host, left());
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

async function execute(
  host: Host,
  plan: SandboxPlan,
  cgroup: CgroupPlan | undefined,
  shared: readonly number[],
  options: RunOptions,
): Promise<{ readonly result: SandboxResult; readonly use: SandboxUse }> {
  const statusFile = `${plan.scratch}/status`;
  const statusDescriptor = host.files.open(statusFile, "w", 0o600);
  const started = performance.now();
  const head: Uint8Array[] = [];
  let headBytes = 0;
  let childPid: number | undefined;

  const inside = (): number | undefined => (childPid ??= readStatus(host, statusFile).childPid);
  const left = (): readonly number[] => {
    if (cgroup !== undefined) return cgroupProcesses(host, cgroup);
    const pid = inside();
    return pid !== undefined && host.files.exists(`/proc/${pid}`) ? [pid] : [];
  };
  const gone = (): boolean => left().length === 0;
  let ending: Promise<void> | undefined;
  const end = (): void => {
    running?.kill("SIGKILL");
    ending ??= untilGone(host, gone, left);
    // A refusal is thrown where it is awaited, below.
    ending.catch(() => undefined);
  };

  const watch = watchSandbox(host, plan, {
    cgroup,
    usage: cgroup === undefined ? () => treeUsage(host, inside() ?? 0, plan.limits.processes) : undefined,
    onBreach: end,
  });
  let running: Running | undefined;
  try {
    if (options.signal?.aborted !== true) {
      options.signal?.addEventListener("abort", end, { once: true });
      running = host.spawn(
        {
          argv: ["sh", `${plan.scratch}/${SCRIPT_NAME}`, "run"],
          passDescriptors: [statusDescriptor, ...shared],
          doing: `starting the sandbox ${plan.hostname}`,
        },
        {
          onOutput: (chunk) => {
            if (headBytes < HEAD_BYTES) head.push(chunk);
            headBytes += chunk.length;
            const within = watch.printed(chunk.length);
            if (within > 0) options.onOutput(chunk.subarray(0, within));
          },
        },
      );
      await running.exited;
    }
    watch.stop();
    await (ending ?? untilGone(host, gone, left));
    const peakMemoryBytes = cgroup === undefined ? undefined : cgroupPeakMemory(host, cgroup);
    const { uid, gid } = plan.identity;
    return {
      result: await judge(host, plan, {
        cgroup,
        watch,
        statusFile,
        head,
        headBytes,
        cancelled: options.signal?.aborted === true,
      }),
      use: {
        uid,
        gid,
        hostname: plan.hostname,
        mode: "linux-bubblewrap",
        durationMs: performance.now() - started,
        peakMemoryBytes,
      },
    };
  } finally {
    watch.stop();
    options.signal?.removeEventListener("abort", end);
    host.files.close(statusDescriptor);
    if (cgroup !== undefined) await untilGone(host, () => removeCgroup(host, cgroup), left);
  }
}

interface Ended {
  readonly cgroup: CgroupPlan | undefined;
  readonly watch: Watch;
  readonly statusFile: string;
  readonly head: readonly Uint8Array[];
  readonly headBytes: number;
  readonly cancelled: boolean;
}

/** What ended it, the strongest reason first. */
async function judge(host: Host, plan: SandboxPlan, ended: Ended): Promise<SandboxResult> {
  const { limits } = plan;
  if (ended.watch.breach !== undefined) return ended.watch.breach;
  const counted = ended.cgroup === undefined ? undefined : cgroupBreach(host, ended.cgroup);
  if (counted !== undefined) return limitReached(counted, limits[counted]);
  if (ended.cancelled) return { kind: "cancelled" };
  const { exitCode } = readStatus(host, ended.statusFile);
  const printed = new TextDecoder().decode(Buffer.concat(ended.head));
  if (exitCode === undefined) throw setupProblem(plan, printed.trimEnd().split("\n").slice(-20));
  if (exitCode === 0) return { kind: "exited", status: 0 };
  const refused = /^bwrap: execvp (.*)\n$/.exec(printed);
  if (exitCode === 1 && refused !== null && ended.headBytes <= HEAD_BYTES) {
    throw new Problem({
      code: "E_BUILDER_NOT_STARTED",
      message: `the builder of ${plan.hostname} could not be started: ${refused[1]}`,
      hint: "the program must be in the build root or in a declared input",
      where: plan.scratch,
    });
  }
  const written = await measureWritten(host, writableDirectories(plan), limits.outputBytes);
  if (Math.max(written.bytes, written.largestBytes) >= limits.outputBytes) return limitReached("outputBytes", limits.outputBytes);
  const signal = linuxSignal(exitCode - 128);
  return signal === undefined ? { kind: "exited", status: exitCode } : { kind: "signalled", signal };
}
