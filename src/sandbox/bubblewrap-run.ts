/** Runs a prepared sandbox to its end: start, watch, wait until nothing of it is left, and say what ended it. */
import { Problem } from "../base/index.ts";
import type { Exit, Host, Running } from "../host/index.ts";
import { SCRIPT_NAME } from "./bubblewrap-script.ts";
import {
  cgroupBreach,
  cgroupName,
  cgroupOwner,
  cgroupPeakMemory,
  type CgroupPlan,
  cgroupProcesses,
  removeCgroup,
} from "./cgroup.ts";
import { limitReached } from "./limits.ts";
import { isRunning, treeUsage } from "./proc.ts";
import { linuxSignal } from "./signals.ts";
import type { RunOptions, SandboxPlan, SandboxResult, SandboxUse } from "./types.ts";
import { measureWritten, type Watch, watchSandbox, writableDirectories } from "./watch.ts";

/** Linux takes no argument of 128 KiB or more (MAX_ARG_STRLEN, execve(2)); a longer script goes through a file. */
const ARGUMENT_MAX_BYTES = 120 * 1024;
const GONE_WITHIN_MS = 10_000;
const INTERRUPTIONS: ReadonlySet<string> = new Set(["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"]);
/** How much of the output is kept to recognise a builder that could not be started. */
const HEAD_BYTES = 4_096;

export function setupProblem(plan: SandboxPlan, details: readonly string[]): Problem {
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
export async function untilGone(host: Host, gone: () => boolean, left: () => readonly number[]): Promise<void> {
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

export interface Prepared {
  readonly cgroup: CgroupPlan | undefined;
  /** Descriptors from `NAMESPACE_DESCRIPTOR` on. */
  readonly shared: readonly number[];
  readonly script: string;
}

/** A file without a name, in memory: making one on a disk costs more than all other preparations together. */
function openStatus(host: Host, plan: SandboxPlan): number {
  const directory = host.files.exists("/dev/shm") ? "/dev/shm" : plan.scratch;
  const file = `${directory}/${cgroupName(cgroupOwner(host.processIdentity), plan)}.status`;
  const descriptor = host.files.open(file, "w", 0o600);
  host.files.unlink(file);
  return descriptor;
}

export async function execute(
  host: Host,
  plan: SandboxPlan,
  { cgroup, shared, script }: Prepared,
  options: RunOptions,
): Promise<{ readonly result: SandboxResult; readonly use: SandboxUse }> {
  const scriptFile = `${plan.scratch}/${SCRIPT_NAME}`;
  const asArgument = Buffer.byteLength(script) <= ARGUMENT_MAX_BYTES;
  if (!asArgument) host.files.writeFile(scriptFile, script);
  const statusDescriptor = openStatus(host, plan);
  const statusFile = `/proc/self/fd/${statusDescriptor}`;
  const started = performance.now();
  const head: Uint8Array[] = [];
  let headBytes = 0;
  let childPid: number | undefined;

  const inside = (): number | undefined => (childPid ??= readStatus(host, statusFile).childPid);
  const left = (): readonly number[] => {
    if (cgroup !== undefined) return cgroupProcesses(host, cgroup);
    const pid = inside();
    return pid !== undefined && isRunning(host, pid) ? [pid] : [];
  };
  const gone = (): boolean => left().length === 0;
  let ending: Promise<void> | undefined;
  const endLeft = (): void => {
    ending ??= untilGone(host, gone, left);
    // A refusal is thrown where it is awaited, below.
    ending.catch(() => undefined);
  };
  const end = (): void => {
    running?.kill("SIGKILL");
    endLeft();
  };
  // What the builder started and left behind holds its output open, so the end of the output is not waited for.
  const endLeftBehind = (): void => {
    if (running === undefined) return;
    if (readStatus(host, statusFile).exitCode !== undefined || !isRunning(host, running.pid)) endLeft();
  };

  const watch = watchSandbox(host, plan, {
    cgroup,
    usage: cgroup === undefined ? () => treeUsage(host, inside() ?? 0, plan.limits.processes) : undefined,
    onBreach: end,
    onLook: endLeftBehind,
  });
  let running: Running | undefined;
  let monitor: Exit | undefined;
  try {
    if (options.signal?.aborted !== true) {
      options.signal?.addEventListener("abort", end, { once: true });
      running = host.spawn(
        {
          argv: ["sh", ...(asArgument ? ["-c", script, SCRIPT_NAME] : [scriptFile]), "run"],
          passDescriptors: [statusDescriptor, ...shared],
          doing: `starting the sandbox ${plan.hostname}`,
        },
        {
          pipe: plan.identity.kind === "drop" ? plan.identity : "own",
          onOutput: (chunk) => {
            if (headBytes < HEAD_BYTES) head.push(chunk);
            headBytes += chunk.length;
            const within = watch.printed(chunk.length);
            if (within > 0) options.onOutput(chunk.subarray(0, within));
          },
        },
      );
      monitor = await running.exited;
    }
    watch.stop();
    await (ending ?? untilGone(host, gone, left));
    const peakMemoryBytes = cgroup === undefined ? undefined : cgroupPeakMemory(host, cgroup);
    const { uid, gid } = plan.identity;
    // A terminal sends its Ctrl-C to bwrap's monitor as well, and that may be seen here before Garth has acted on its own.
    const cancelled = options.signal?.aborted === true || (monitor !== undefined && INTERRUPTIONS.has(monitor.signal ?? ""));
    const result = await judge(host, plan, { cgroup, watch, statusFile, head, headBytes, cancelled });
    // For whoever keeps the sandbox of a failed builder and wants to enter it.
    if (asArgument && !(result.kind === "exited" && result.status === 0)) host.files.writeFile(scriptFile, script);
    return {
      result,
      use: {
        uid,
        gid,
        hostname: plan.hostname,
        mode: "linux-bubblewrap",
        durationMs: performance.now() - started,
        peakMemoryBytes,
        // Without control groups they are counted together, by looking.
        limits: "all",
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
  if (exitCode === 0) return { kind: "exited", status: 0 };
  const printed = new TextDecoder().decode(Buffer.concat(ended.head));
  // bwrap gives no status for a program that it could not execute; that line is all that was printed then.
  const refused = ended.headBytes <= HEAD_BYTES ? /^bwrap: execvp (.*)\n$/.exec(printed) : null;
  if (exitCode === undefined && refused === null) throw setupProblem(plan, printed.trimEnd().split("\n").slice(-20));
  if (exitCode === undefined || (exitCode === 1 && refused !== null)) {
    throw new Problem({
      code: "E_BUILDER_NOT_STARTED",
      message: `the builder of ${plan.hostname} could not be started: ${refused?.[1]}`,
      hint: "the program must be in the build root or in a declared input",
      where: plan.scratch,
    });
  }
  const written = await measureWritten(host, writableDirectories(plan), limits.outputBytes);
  if (Math.max(written.bytes, written.largestBytes) >= limits.outputBytes) return limitReached("outputBytes", limits.outputBytes);
  const signal = linuxSignal(exitCode - 128);
  return signal === undefined ? { kind: "exited", status: exitCode } : { kind: "signalled", signal };
}
