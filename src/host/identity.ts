/**
 * Names for processes that outlive the process: "<boot id>:<pid>:<start time>".
 *
 * A pid alone is reused; with the boot and the start time it names one process for good, so that what a dead one left can be
 * told from what a living one holds. Linux reads /proc (proc(5)); FreeBSD has no /proc by default and asks sysctl(8) and ps(1).
 */
import { readFileSync } from "node:fs";
import { isErrno } from "./errno.ts";

function linuxStartTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The command name, field 2, is in parentheses and may hold spaces and parentheses itself; field 22 counts from there.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function askSystem(argv: string[]): string | undefined {
  const done = Bun.spawnSync(argv, {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    env: { LC_ALL: "C", PATH: "/bin:/sbin:/usr/bin:/usr/sbin" },
  });
  const text = done.stdout.toString().trim().replaceAll(/\s+/g, "_");
  return done.exitCode === 0 && text !== "" ? text : undefined;
}

function startTime(pid: number): string | undefined {
  if (process.platform === "linux") return linuxStartTime(pid);
  return askSystem(["ps", "-o", "lstart=", "-p", String(pid)]);
}

let boot: string | undefined;

function bootIdentity(): string {
  boot ??=
    process.platform === "linux"
      ? readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim()
      : (askSystem(["sysctl", "-n", "kern.boottime"]) ?? "unknown-boot").replaceAll(":", "_");
  return boot;
}

export function identityOf(pid: number): string | undefined {
  const started = startTime(pid);
  return started === undefined ? undefined : `${bootIdentity()}:${pid}:${started.replaceAll(":", "_")}`;
}

export function identityOfThisProcess(): string {
  return identityOf(process.pid) ?? `${bootIdentity()}:${process.pid}:0`;
}

export function isAlive(identity: string): boolean {
  const [bootId, pidText, started] = identity.split(":");
  const pid = Number(pidText);
  if (bootId !== bootIdentity() || !Number.isInteger(pid) || pid <= 0) return false;
  return startTime(pid)?.replaceAll(":", "_") === started;
}

/** Between the look and the signal a process may end and its number be given away: the kernel gives numbers out in turn, so not at once. */
export function signalProcess(identity: string, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(Number(identity.split(":")[1]), signal);
    return true;
  } catch (error) {
    if (isErrno(error, "ESRCH")) return false;
    throw error;
  }
}
