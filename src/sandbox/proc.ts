/** What the processes of a sandbox use, asked of /proc (proc(5)): for hosts without control groups. */
import { type Host, isErrno } from "../host/index.ts";

function readIfAny(host: Host, file: string): string {
  try {
    return host.files.readText(file);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH", "EACCES")) return "";
    throw error;
  }
}

function namesIfAny(host: Host, directory: string): string[] {
  const decoder = new TextDecoder();
  try {
    return host.files.list(directory).map((name) => decoder.decode(name));
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH", "EACCES")) return [];
    throw error;
  }
}

/** Whether it is there and not merely waiting for its parent to notice its end. The first process of a namespace ends last. */
export function isRunning(host: Host, pid: number): boolean {
  const stat = readIfAny(host, `/proc/${pid}/stat`);
  // The state follows the name, which is in parentheses and may hold any character.
  const state = stat.slice(stat.lastIndexOf(")") + 2)[0];
  return state !== undefined && state !== "Z" && state !== "X";
}

const PAGE_BYTES = 4096;

/** Of the process and all below it, up to `enough` processes. Resident memory; shared pages count in each. */
export function treeUsage(host: Host, top: number, enough: number): { readonly processes: number; readonly memoryBytes: number } {
  const pending = [top];
  let [processes, memoryBytes] = [0, 0];
  for (let pid = pending.pop(); pid !== undefined && processes <= enough; pid = pending.pop()) {
    const resident = readIfAny(host, `/proc/${pid}/statm`).split(" ")[1];
    if (resident === undefined) continue;
    processes += 1;
    memoryBytes += Number(resident) * PAGE_BYTES;
    for (const thread of namesIfAny(host, `/proc/${pid}/task`)) {
      const children = readIfAny(host, `/proc/${pid}/task/${thread}/children`);
      pending.push(
        ...children
          .split(" ")
          .filter((child) => child !== "")
          .map(Number),
      );
    }
  }
  return { processes, memoryBytes };
}

/** Processes of one user on the whole machine: what RLIMIT_NPROC counts before the sandbox starts. */
export function processesOfUser(host: Host, uid: number): number {
  return namesIfAny(host, "/proc").filter((name) => /^[0-9]+$/.test(name) && host.files.lstatIfAny(`/proc/${name}`)?.uid === uid)
    .length;
}
