/**
 * A machine that outlives whoever started it, and is found again by its directory alone.
 *
 *     directory ──launch──► stopped ──cont──► running ──SIGSTOP──► frozen ──SIGCONT──► running ──end──► gone
 *                   └─ --incoming── state of another machine loaded ──► stopped
 *
 *     qmp.sock, qmp2.sock   its monitors, each of one client      console.raw   what its serial console printed
 *     channel.sock          its virtio port, if it has one        qemu.log      what QEMU itself had to say
 *     qemu.pid              the process, as QEMU wrote it         process       the same as a process identity
 *
 * Freezing stops the process as a whole: it takes no time of a processor, its guest's clock goes on, and the guest sees a moment pass.
 * A frozen machine answers no monitor, so all that is asked of it is asked of the process.
 *
 * Limits: under QEMU only. What it prints is kept to 1 MiB by `trimConsole`, which whoever watches over it calls.
 */
import { Problem } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import { chooseAccelerator } from "./accelerator.ts";
import { findUefi } from "./firmware.ts";
import type { Planner } from "./hypervisor.ts";
import { assertFaultless, lintSpec } from "./plan.ts";
import { qemuProgramOf } from "./programs.ts";
import { openQmp, type Qmp } from "./qmp.ts";
import { forwardOf, requireFiles, writeFiles } from "./run.ts";
import { CHANNEL_SOCKET, CONSOLE_FILE, SOCKETS } from "./sockets.ts";
import type { MachineSpec, PortForward } from "./types.ts";

const PROCESS_FILE = "process";
const PID_FILE = "qemu.pid";
const LOG_FILE = "qemu.log";
/** How long QEMU may take to open its monitor: a host short of memory takes seconds. */
const MONITOR_LIMIT_MS = 60_000;
const MONITOR_EVERY_MS = 2;
/** Loading the state of a machine whose memory comes as a file; one that comes as a stream takes a second for each 100 MiB. */
const INCOMING_LIMIT_MS = 120_000;
const MIGRATE_EVERY_MS = 2;
const CONNECTS_MAX = 100;
const CONNECT_EVERY_MS = 10;
const END_LIMIT_MS = 10_000;
const CONSOLE_BYTES = 1024 ** 2;
const CONSOLE_TAIL_BYTES = 16_384;

export interface ResidentOptions {
  /** Is there, and holds nothing of another machine. Its path stays under 90 bytes: sockets are made in it. */
  readonly directory: string;
  readonly acceleratorFile: string;
  /** Words before the command: `ip netns exec NAME`. */
  readonly through?: readonly string[];
  /** The state of another machine of the same spec: see `saveState`. `shared`: its memory is `spec.memoryFile` and not part of it. */
  readonly incoming?: { readonly stateFile: string; readonly shared: boolean };
  readonly signal?: AbortSignal;
  /** Told as soon as there is a process to end. */
  readonly onProcess?: (identity: string) => void;
}

/** Started and stopped: its first (or next) instruction comes with `cont`. */
export interface Resident {
  readonly identity: string;
  readonly pid: number;
  readonly forward: readonly PortForward[];
  readonly monitor: Qmp;
}

/** @throws Problem as `Machines.start`; whatever it throws, no process is left */
export async function startResident(
  host: Host,
  planner: Planner,
  spec: MachineSpec,
  options: ResidentOptions,
): Promise<Resident> {
  const { directory, incoming } = options;
  assertFaultless(spec.name, [...lintSpec(spec), ...planner.lint(spec)]);
  options.signal?.throwIfAborted();
  requireFiles(host, spec);
  const qemu = qemuProgramOf(host, spec.system);
  const firmware = spec.firmware.kind === "uefi" ? findUefi(host, spec.system, spec.firmware) : undefined;
  const accelerator = await chooseAccelerator(host, spec, { file: options.acceleratorFile, scratchBelow: directory });
  const plan = planner.plan(spec, {
    system: host.system,
    qemu,
    setpriv: undefined,
    firmware,
    directory,
    accelerator: accelerator.accelerator,
    resident: { incoming: incoming !== undefined },
  });
  writeFiles(host, plan);
  // Descriptor 3 there: QEMU is not allowed to open more than it has, nor to start a program that would.
  const state = incoming === undefined ? undefined : host.files.open(incoming.stateFile, "r");
  let identity: string;
  let pid: number;
  try {
    const [first, ...rest] = [...(options.through ?? []), ...plan.argv, "-pidfile", PID_FILE];
    if (first === undefined) throw new Error("a plan without a program");
    ({ identity, pid } = host.launch(
      {
        argv: [first, ...rest],
        env: plan.env,
        cwd: plan.cwd,
        doing: `starting the machine ${spec.name}`,
        ...(state === undefined ? {} : { passDescriptors: [state] }),
      },
      { outputFile: `${directory}/${LOG_FILE}` },
    ));
  } finally {
    if (state !== undefined) host.files.close(state);
  }
  let monitor: Qmp | undefined;
  try {
    options.onProcess?.(identity);
    host.files.writeFile(`${directory}/${PROCESS_FILE}`, identity, 0o600);
    monitor = await firstMonitor(host, spec.name, directory, identity, options.signal);
    for (const file of plan.files) if (file.kind === "secret") host.files.unlink(`${directory}/${file.name}`);
    if (incoming !== undefined) await loadState(monitor, spec.name, incoming.shared);
    return { identity, pid, forward: await forwardOf(spec, monitor), monitor };
  } catch (error) {
    monitor?.close();
    host.signal(identity, "SIGKILL");
    await untilGone(host, identity);
    throw error;
  }
}

async function firstMonitor(
  host: Host,
  name: string,
  directory: string,
  identity: string,
  signal: AbortSignal | undefined,
): Promise<Qmp> {
  const deadline = performance.now() + MONITOR_LIMIT_MS;
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await openQmp(host, `${directory}/${SOCKETS.supervisor}`, { name, timeoutMs: MONITOR_LIMIT_MS });
    } catch (error) {
      if (!isErrno(error, "ENOENT", "ECONNREFUSED") && !(error instanceof Problem)) throw error;
      if (!host.isAlive(identity) || performance.now() > deadline) throw notStarted(host, name, directory);
    }
    await pause(MONITOR_EVERY_MS);
  }
}

function notStarted(host: Host, name: string, directory: string): Problem {
  const said = host.files.readTextIfAny(`${directory}/${LOG_FILE}`)?.trim() ?? "";
  return new Problem({
    code: "E_MACHINE_NOT_STARTED",
    message: `starting the machine ${name}: QEMU ended before it opened its monitor`,
    details: said === "" ? [] : said.split("\n").slice(-10),
    exit: 3,
  });
}

async function loadState(monitor: Qmp, name: string, shared: boolean): Promise<void> {
  if (shared) await ignoreShared(monitor);
  await monitor.execute("migrate-incoming", { uri: "fd:3" });
  const deadline = performance.now() + INCOMING_LIMIT_MS;
  for (;;) {
    const status = await monitor.execute("query-status");
    const word = fieldOf(status, "status");
    if (word === "paused" || word === "running") return;
    if (word !== "inmigrate" || performance.now() > deadline) {
      throw new Problem({ code: "E_SNAPSHOT_LOAD", message: `starting the machine ${name} from a snapshot: it is ${word}` });
    }
    await pause(MIGRATE_EVERY_MS);
  }
}

async function ignoreShared(monitor: Qmp): Promise<void> {
  await monitor.execute("migrate-set-capabilities", { capabilities: [{ capability: "x-ignore-shared", state: true }] });
}

function fieldOf(value: unknown, name: string): string {
  const found: unknown = typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
  return typeof found === "string" ? found : "";
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Writes what a stopped machine is, beside its disks, into a file. `shared`: without its memory, which lies in a shared file and has to
 * stay as it is from now on. Without it the machine can go on afterwards.
 *
 * QEMU may not start programs, and 7.2 writes to sockets alone: socat(1) is the other end of one.
 * @throws Problem E_SNAPSHOT_SAVE, E_TOOL_MISSING
 */
export async function saveState(
  host: Host,
  monitor: Qmp,
  options: { readonly name: string; readonly directory: string; readonly stateFile: string; readonly shared: boolean },
): Promise<void> {
  const { name, directory, stateFile, shared } = options;
  const socket = `${directory}/migrate.sock`;
  let said = "";
  const receiver = host.spawn(
    {
      argv: ["socat", "-u", `UNIX-LISTEN:${socket},mode=600`, `OPEN:${stateFile},creat=1,excl=1,perm=0600`],
      doing: `saving the state of ${name}`,
    },
    { onOutput: (chunk) => (said += Buffer.from(chunk).toString()) },
  );
  const failed = (why: string): Problem =>
    new Problem({ code: "E_SNAPSHOT_SAVE", message: `saving the state of the machine ${name}: ${why}`, details: [said.trim()] });
  const ended = receiver.exited;
  try {
    await Promise.race([ended, untilThere(host, socket)]);
    await monitor.execute("migrate-set-capabilities", { capabilities: [{ capability: "x-ignore-shared", state: shared }] });
    const deadline = performance.now() + INCOMING_LIMIT_MS;
    for (let attempt = 1; ; attempt += 1) {
      await monitor.execute("migrate", { uri: `unix:${socket}` });
      const why = await migrated(monitor, deadline);
      if (why === undefined) break;
      // A socket is there before somebody listens at it: QEMU was refused, and may ask again.
      const isEarly = (host.files.lstatIfAny(stateFile)?.sizeBytes ?? 0) === 0 && attempt < CONNECTS_MAX;
      if (!isEarly) throw failed(why);
      await pause(CONNECT_EVERY_MS);
    }
    const exit = await ended;
    if (exit.status !== 0) throw failed("what QEMU sent could not be written");
    host.files.sync(stateFile);
  } catch (error) {
    receiver.kill("SIGKILL");
    await ended;
    if (host.files.exists(stateFile)) host.files.unlink(stateFile);
    throw error;
  } finally {
    if (host.files.exists(socket)) host.files.unlink(socket);
  }
}

/** undefined: it is done. */
async function migrated(monitor: Qmp, deadline: number): Promise<string | undefined> {
  for (;;) {
    const told = await monitor.execute("query-migrate");
    const status = fieldOf(told, "status");
    if (status === "completed") return undefined;
    if (status === "failed" || status === "cancelled") return `QEMU says ${status} ${fieldOf(told, "error-desc")}`.trim();
    if (performance.now() > deadline) return `QEMU says ${status}, for too long`;
    await pause(MIGRATE_EVERY_MS);
  }
}

async function untilThere(host: Host, path: string): Promise<void> {
  const deadline = performance.now() + MONITOR_LIMIT_MS;
  while (!host.files.exists(path) && performance.now() < deadline) await pause(MIGRATE_EVERY_MS);
}

/** Of a machine that is not frozen. @throws Problem E_QMP; Error with an errno name where nothing listens */
export function monitorOf(host: Host, name: string, directory: string): Promise<Qmp> {
  return openQmp(host, `${directory}/${SOCKETS.supervisor}`, { name });
}

/** Of the machine in the directory, whoever started it and however far that came; undefined where there never was one. */
export function residentProcess(host: Host, directory: string): string | undefined {
  const known = host.files.readTextIfAny(`${directory}/${PROCESS_FILE}`);
  if (known !== undefined && known !== "") return known;
  const written = host.files.readTextIfAny(`${directory}/${PID_FILE}`)?.trim();
  if (written === undefined || !/^\d+$/.test(written)) return undefined;
  return host.identityOf(Number(written));
}

/**
 * Hypervisors of a machine of this name that run in its directory, on Linux: a Garth that was killed between starting one and writing
 * that down has left it. Elsewhere what QEMU wrote itself has to do.
 */
export function residentsIn(host: Host, name: string, directory: string): readonly string[] {
  if (!host.files.exists("/proc/self/cwd")) return [];
  const place = host.files.exists(directory) ? host.files.realPath(directory) : directory;
  return host.files.list("/proc").flatMap((bytes) => {
    const pid = Buffer.from(bytes).toString();
    if (!/^\d+$/.test(pid)) return [];
    try {
      const words = host.files.readText(`/proc/${pid}/cmdline`).split("\0");
      if (!words.includes(`guest=${name}`)) return [];
      // A directory that was removed beneath it has a mark behind its name.
      const cwd = Buffer.from(host.files.readLink(`/proc/${pid}/cwd`))
        .toString()
        .replace(/ \(deleted\)$/, "");
      return cwd === place ? [host.identityOf(Number(pid))].filter((each) => each !== undefined) : [];
    } catch {
      // It ended, or is somebody else's.
      return [];
    }
  });
}

/** Ends the process at once. Settles when it is gone. */
export async function endResident(host: Host, identity: string): Promise<void> {
  if (host.signal(identity, "SIGKILL")) await untilGone(host, identity);
}

async function untilGone(host: Host, identity: string): Promise<void> {
  const deadline = performance.now() + END_LIMIT_MS;
  while (host.isAlive(identity)) {
    if (performance.now() > deadline) {
      throw new Problem({
        code: "E_MACHINE_STAYS",
        message: `the process ${identity} was killed ${END_LIMIT_MS / 1000} s ago and is still there`,
        hint: "it waits for a disk: `ps -o pid,stat,wchan -p PID` says for which",
        exit: 3,
      });
    }
    await pause(MONITOR_EVERY_MS);
  }
}

/** The last lines that the console printed. */
export function consoleTail(host: Host, directory: string, lines: number): readonly string[] {
  const file = `${directory}/${CONSOLE_FILE}`;
  const stat = host.files.lstatIfAny(file);
  if (stat === undefined) return [];
  const descriptor = host.files.open(file, "r");
  try {
    const from = Math.max(0, stat.sizeBytes - CONSOLE_TAIL_BYTES);
    const data = new Uint8Array(stat.sizeBytes - from);
    const count = host.files.read(descriptor, data, from);
    const text = Buffer.from(data.buffer, 0, count).toString("utf8");
    return Bun.stripANSI(text)
      .replaceAll("\r", "")
      .split("\n")
      .filter((line) => line.trim() !== "")
      .slice(-lines);
  } finally {
    host.files.close(descriptor);
  }
}

/** A guest that prints on and on does not fill the disk: QEMU adds to the file, wherever its end is. */
export function trimConsole(host: Host, directory: string): void {
  const file = `${directory}/${CONSOLE_FILE}`;
  if ((host.files.lstatIfAny(file)?.sizeBytes ?? 0) <= CONSOLE_BYTES) return;
  const descriptor = host.files.open(file, "r+");
  try {
    host.files.truncate(descriptor, 0);
  } finally {
    host.files.close(descriptor);
  }
}

export function channelSocket(directory: string): string {
  return `${directory}/${CHANNEL_SOCKET}`;
}
