/**
 * Starts a machine under QEMU and stays with it to its end: this process is its supervisor.
 *
 *     spec ──faults, files, programs, firmware, accelerator──► directory ──► QEMU, stopped ──monitor──► cont ──► Machine
 *                                                                 └─ whatever fails: QEMU killed, directory removed ─┘
 *
 *     running ──SHUTDOWN guest-shutdown──► powered-off       ──quit, by any process──► stopped
 *        ├──SHUTDOWN guest-reset──► rebooted                 └──anything else──► died
 *        └──GUEST_PANICKED──► panicked
 *
 * QEMU has the supervisor's death as its own (setpriv --pdeathsig); where there is no setpriv, the next `sweep` ends it.
 */
import { Problem } from "../base/index.ts";
import { type Host, isErrno, type Running } from "../host/index.ts";
import { chooseAccelerator } from "./accelerator.ts";
import { claimDirectory } from "./claim.ts";
import { describeEnd, notStarted } from "./ending.ts";
import { findUefi } from "./firmware.ts";
import type { Planner, QemuPlan } from "./hypervisor.ts";
import { openInput } from "./input.ts";
import { assertFaultless, lintSpec } from "./plan.ts";
import { qemuProgramOf } from "./programs.ts";
import { openQmp, type Qmp, type QmpEvent } from "./qmp.ts";
import { consoleFiles, writeRecord } from "./record.ts";
import { takePicture } from "./screen.ts";
import type { Accelerator, Machine, MachineEnd, MachineSpec, PortForward, StartOptions } from "./types.ts";

export interface MachinesOptions {
  /** Holds a directory for each machine, and what their guests write to snapshots. Absolute; made when it is not there. */
  readonly directory: string;
  /** Remembers until the next boot whether KVM runs guests. */
  readonly acceleratorFile: string;
}

/** How long QEMU may take to open its monitor: a host short of memory takes seconds. */
const MONITOR_LIMIT_MS = 30_000;
const MONITOR_EVERY_MS = 5;
/** How long QEMU may take to end when it was asked to. */
const QUIT_LIMIT_MS = 5_000;
const STDERR_TAIL = 8_192;

export function requireFiles(host: Host, spec: MachineSpec): void {
  const kernel = spec.firmware.kind === "direct" ? spec.firmware : undefined;
  const needed = [
    ...spec.disks.map(({ file }) => file),
    ...[kernel?.kernel, kernel?.initrd].filter((file) => file !== undefined),
  ];
  const missing = needed.filter((file) => !host.files.exists(file));
  if (missing.length === 0) return;
  throw new Problem({
    code: "E_DISK_MISSING",
    message: `starting the machine ${spec.name}: ${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} not there`,
    exit: 2,
  });
}

/** QEMU, from its start to its end, with what it said. */
interface Hypervisor {
  readonly running: Running;
  readonly plan: QemuPlan;
  /** The tail of standard error. */
  said(): string;
}

export function writeFiles(host: Host, plan: QemuPlan): void {
  for (const file of plan.files) {
    const data = file.kind === "copy" ? host.files.readFile(file.of) : file.text;
    host.files.writeFile(`${plan.cwd}/${file.name}`, data, 0o600);
  }
}

function spawnQemu(host: Host, spec: MachineSpec, plan: QemuPlan, onConsole: (chunk: Uint8Array) => void): Hypervisor {
  let said = "";
  const running = host.spawn(
    { argv: plan.argv, env: plan.env, cwd: plan.cwd, doing: `starting the machine ${spec.name}` },
    {
      stdin: "pipe",
      onOutput: (chunk, stream) => {
        if (stream === "stdout") return onConsole(chunk);
        said = (said + Buffer.from(chunk).toString()).slice(-STDERR_TAIL);
      },
    },
  );
  return { running, plan, said: () => said };
}

/** The supervisor's monitor, once QEMU has opened it. @throws Problem, when QEMU ended first; the signal's reason */
async function connectMonitor(
  host: Host,
  spec: MachineSpec,
  { running, plan, said }: Hypervisor,
  { onEvent, signal }: { readonly onEvent: (event: QmpEvent) => void; readonly signal: AbortSignal | undefined },
): Promise<Qmp> {
  let over = false;
  const ended = running.exited.then((exit) => {
    over = true;
    throw notStarted(spec, exit, said());
  });
  const deadline = performance.now() + MONITOR_LIMIT_MS;
  const path = `${plan.cwd}/${plan.sockets.supervisor}`;
  const connect = async (): Promise<Qmp> => {
    for (;;) {
      signal?.throwIfAborted();
      try {
        return await openQmp(host, path, { name: spec.name, onEvent, timeoutMs: MONITOR_LIMIT_MS });
      } catch (error) {
        // QEMU makes the socket, then listens. An end in between is told by `ended`, with what QEMU said.
        const early = isErrno(error, "ENOENT", "ECONNREFUSED") || (error instanceof Problem && !over);
        if (!early || performance.now() > deadline) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, MONITOR_EVERY_MS));
      if (over) await ended;
    }
  };
  return await Promise.race([connect(), ended]);
}

/** With the ports that the kernel chose in place of 0: `info usernet` has a line for each. */
export async function forwardOf(spec: MachineSpec, monitor: Qmp): Promise<readonly PortForward[]> {
  if (spec.network.kind !== "user") return [];
  const { forward } = spec.network;
  if (forward.every(({ hostPort }) => hostPort !== 0)) return forward;
  const text = String(await monitor.execute("human-monitor-command", { "command-line": "info usernet" }));
  const chosen = new Map<number, number>();
  for (const line of text.matchAll(/TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)/g)) {
    chosen.set(Number(line[2]), Number(line[1]));
  }
  return forward.map(({ hostPort, guestPort }) => {
    const found = hostPort === 0 ? chosen.get(guestPort) : hostPort;
    if (found !== undefined) return { hostPort: found, guestPort };
    throw new Problem({
      code: "E_MACHINE_NOT_STARTED",
      message: `starting the machine ${spec.name}: QEMU does not say which port reaches its port ${guestPort}`,
      details: [text],
      exit: 3,
    });
  });
}

/** A callback that fails is somebody's bug: it is shown as one, and the machine goes on. */
function guarded(callback: StartOptions["onConsole"]): NonNullable<StartOptions["onConsole"]> {
  return (chunk, atMs) => {
    try {
      callback?.(chunk, atMs);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  };
}

async function launch(
  host: Host,
  spec: MachineSpec,
  plan: QemuPlan,
  accelerator: Accelerator,
  options: StartOptions,
): Promise<Machine> {
  const directory = plan.cwd;
  const onConsole = guarded(options.onConsole);
  const files = options.registered === true ? consoleFiles(host, directory) : undefined;
  const events: QmpEvent[] = [];
  let startedMs = performance.now();
  writeFiles(host, plan);
  const hypervisor = spawnQemu(host, spec, plan, (chunk) => {
    const atMs = performance.now() - startedMs;
    files?.add(chunk, atMs);
    onConsole(chunk, atMs);
  });
  const { running } = hypervisor;
  let input: Running | undefined;
  try {
    const monitor = await connectMonitor(host, spec, hypervisor, {
      onEvent: (event) => void events.push(event),
      signal: options.signal,
    });
    for (const file of plan.files) if (file.kind === "secret") host.files.unlink(`${directory}/${file.name}`);
    const forward = await forwardOf(spec, monitor);
    if (options.registered === true) input = await openInput(host, directory, (data) => running.write(data));
    options.signal?.throwIfAborted();

    const facts = { spec, startedAtMs: Date.now(), forward };
    const parts = { name: spec.name, directory, pid: running.pid, commandLine: plan.argv, accelerator };
    if (options.registered === true) writeRecord(host, parts, facts);
    startedMs = performance.now();
    // A guest can be at its end before the answer is read.
    await monitor.execute("cont").catch((error: unknown) => {
      if (events.length === 0) throw error;
    });

    let stopping = false;
    const end = async (): Promise<MachineEnd> => {
      const exit = await running.exited;
      await monitor.closed;
      options.signal?.removeEventListener("abort", abort);
      input?.kill("SIGKILL");
      const ended = describeEnd({ exit, events, stopping, said: hypervisor.said() });
      try {
        files?.end();
        await input?.exited;
        if (options.registered !== true) host.files.removeTree(directory);
        else {
          for (const name of [...plan.files.map(({ name }) => name), ...Object.values(plan.sockets)]) {
            if (host.files.lstatIfAny(`${directory}/${name}`) !== undefined) host.files.unlink(`${directory}/${name}`);
          }
          writeRecord(host, parts, facts, ended);
        }
      } catch (error) {
        return { ...ended, detail: `${ended.detail}; its directory ${directory} could not be tidied: ${String(error)}` };
      }
      return ended;
    };
    let stopped: Promise<void> | undefined;
    const stop = (): Promise<void> => {
      stopping = true;
      stopped ??= (async () => {
        const timer = setTimeout(() => running.kill("SIGKILL"), QUIT_LIMIT_MS);
        // Its end is the answer.
        await monitor.execute("quit", {}, { timeoutMs: QUIT_LIMIT_MS }).catch(() => undefined);
        await exited;
        clearTimeout(timer);
      })();
      return stopped;
    };
    const abort = (): void => void stop();
    const exited = end();
    options.signal?.addEventListener("abort", abort, { once: true });
    if (options.signal?.aborted === true) abort();
    return {
      ...parts,
      port: (guestPort) => {
        const found = forward.find((one) => one.guestPort === guestPort);
        if (found === undefined) throw new Error(`the port ${guestPort} of ${spec.name} is not forwarded`);
        return found.hostPort;
      },
      write: (text) => running.write(text),
      qmp: (command, args) => monitor.execute(command, args),
      screenshot: (file) => takePicture(monitor, spec, file),
      stop,
      exited,
    };
  } catch (error) {
    running.kill("SIGKILL");
    input?.kill("SIGKILL");
    await Promise.all([running.exited, input?.exited]);
    throw error;
  }
}

/** @throws Problem as `Machines.start` does */
export async function startMachine(
  host: Host,
  { directory: below, acceleratorFile }: MachinesOptions,
  planner: Planner,
  spec: MachineSpec,
  options: StartOptions,
): Promise<Machine> {
  assertFaultless(spec.name, [...lintSpec(spec), ...planner.lint(spec)]);
  options.signal?.throwIfAborted();
  requireFiles(host, spec);
  const qemu = qemuProgramOf(host, spec.system);
  const firmware = spec.firmware.kind === "uefi" ? findUefi(host, spec.system, spec.firmware) : undefined;
  const accelerator = await chooseAccelerator(host, spec, { file: acceleratorFile, scratchBelow: below });
  const directory = await claimDirectory(host, below, options.registered === true ? spec.name : undefined);
  try {
    const facts = { system: host.system, qemu, setpriv: host.which("setpriv"), firmware, directory };
    const plan = planner.plan(spec, { ...facts, accelerator: accelerator.accelerator });
    return await launch(host, spec, plan, accelerator, options);
  } catch (error) {
    host.files.removeTree(directory);
    throw error;
  }
}
