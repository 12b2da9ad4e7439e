/**
 * Names for processes that outlive the process: "<boot id>:<pid>:<start time>".
 *
 * A pid alone is reused; with the boot and the start time it names one process for good, so that what a dead one left can be
 * told from what a living one holds. Linux reads /proc (proc(5)); FreeBSD has no /proc by default and asks sysctl(8) and ps(1).
 */
import { readFileSync } from "node:fs";
import { isErrno } from "./errno.ts";
import { bootOfFreebsd, isSameStart, startOfFreebsd } from "./identity-freebsd.ts";

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

/** undefined: it failed. The environment is clean, so that no TZ or LANG of the caller has a say in how times are printed. */
function askSystem(argv: string[]): Buffer | undefined {
  const done = Bun.spawnSync(argv, {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    env: { LC_ALL: "C", PATH: "/bin:/sbin:/usr/bin:/usr/sbin", TZ: "UTC" },
  });
  return done.exitCode === 0 ? done.stdout : undefined;
}

function startTime(pid: number): string | undefined {
  if (process.platform === "linux") return linuxStartTime(pid);
  const listed = askSystem(["ps", "-o", "state=", "-o", "lstart=", "-p", String(pid)]);
  if (listed === undefined) return undefined;
  return startOfFreebsd(listed.toString(), askSystem(["sysctl", "-n", "kern.boottime"])?.toString() ?? "");
}

let boot: string | undefined;

function bootIdentity(): string {
  boot ??=
    process.platform === "linux"
      ? readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim()
      : bootOfFreebsd(askSystem(["sysctl", "-b", "kern.boot_id"]));
  return boot;
}

export function identityOf(pid: number): string | undefined {
  const started = startTime(pid);
  return started === undefined ? undefined : `${bootIdentity()}:${pid}:${started}`;
}

export function identityOfThisProcess(): string {
  return identityOf(process.pid) ?? `${bootIdentity()}:${process.pid}:0`;
}

export function isAlive(identity: string): boolean {
  const [bootId, pidText, started = ""] = identity.split(":");
  const pid = Number(pidText);
  if (bootId !== bootIdentity() || !Number.isInteger(pid) || pid <= 0) return false;
  const now = startTime(pid);
  if (now === undefined) return false;
  return process.platform === "linux" ? now === started : isSameStart(now, started);
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
