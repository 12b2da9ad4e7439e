/**
 * Watches a running sandbox: time, silence, what it printed, what it wrote, and the counters of its control group.
 *
 * What it wrote is measured exactly, by a walk, but only when the file system has lost as much free space since the last walk
 * as the sandbox had left; and every half minute, in case others freed space meanwhile. Between two looks a builder can go over
 * by what it writes in 100 ms; no single file can (RLIMIT_FSIZE).
 */
import { type Host, isErrno } from "../host/index.ts";
import { type CgroupPlan, cgroupBreach } from "./cgroup.ts";
import { diskNearlyFull, limitReached } from "./limits.ts";
import type { SandboxPlan, SandboxResult } from "./types.ts";

type Breach = SandboxResult & { readonly kind: "limit" };

const TICK_MS = 100;
const WALK_EVERY_MS = 30_000;
/** Free space below which a builder that writes is stopped: the ledger and the log of the others need some. */
const DISK_RESERVE_BYTES = 32 * 1024 ** 2;
const ENTRIES_PER_SLICE = 4_000;

export interface Written {
  /** Blocks on disk, of all files together; hard links count once. */
  readonly bytes: number;
  /** Apparent size of the largest file: what RLIMIT_FSIZE looks at. */
  readonly largestBytes: number;
}

/** Stops counting once `enough` is reached. Files that vanish while it walks are not counted. */
export async function measureWritten(host: Host, directories: readonly string[], enough: number): Promise<Written> {
  const seen = new Set<string>();
  const encoder = new TextEncoder();
  const pending: Uint8Array[] = directories.map((directory) => encoder.encode(directory));
  let [bytes, largestBytes, entries] = [0, 0, 0];
  for (let path = pending.pop(); path !== undefined && bytes < enough; path = pending.pop()) {
    entries += 1;
    if (entries % ENTRIES_PER_SLICE === 0) await new Promise((resolve) => setImmediate(resolve));
    const stat = host.files.lstatIfAny(path);
    if (stat === undefined) continue;
    if (stat.links > 1 && stat.type === "file") {
      const inode = `${stat.device}:${stat.inode}`;
      if (seen.has(inode)) continue;
      seen.add(inode);
    }
    bytes += stat.blocks * 512;
    if (stat.type === "file") largestBytes = Math.max(largestBytes, stat.sizeBytes);
    if (stat.type !== "directory") continue;
    for (const name of listIfAny(host, path)) {
      const child = new Uint8Array(path.length + 1 + name.length);
      child.set(path);
      child[path.length] = 0x2f;
      child.set(name, path.length + 1);
      pending.push(child);
    }
  }
  return { bytes, largestBytes };
}

function listIfAny(host: Host, path: Uint8Array): Uint8Array[] {
  try {
    return host.files.list(path);
  } catch (error) {
    // A builder may remove a directory, or shut it (as an ordinary user we then cannot look in either), while we walk.
    if (isErrno(error, "ENOENT", "ENOTDIR", "EACCES")) return [];
    throw error;
  }
}

/** Directories whose content counts as written by the sandbox. */
export function writableDirectories(plan: SandboxPlan): readonly string[] {
  return plan.mounts.filter((mount) => mount.kind === "writable").map((mount) => mount.source);
}

export interface Watch {
  /** Takes note of what was printed and says how much of it is within the limit. */
  printed(bytes: number): number;
  /**
   * The first limit that was reached.
   * @throws what kept the watch from looking; the sandbox was ended then too
   */
  readonly breach: Breach | undefined;
  stop(): void;
}

export interface WatchedSandbox {
  readonly cgroup: CgroupPlan | undefined;
  /** Without a control group: what the processes use now, asked of /proc. */
  readonly usage: (() => { readonly processes: number; readonly memoryBytes: number }) | undefined;
  readonly onBreach: () => void;
  /** At every look that finds nothing. */
  readonly onLook: () => void;
}

export function watchSandbox(host: Host, plan: SandboxPlan, sandbox: WatchedSandbox): Watch {
  const { limits } = plan;
  const started = performance.now();
  const freeAtStart = host.files.space(plan.scratch).freeBytes;
  let breach: Breach | undefined;
  let failure: { readonly error: unknown } | undefined;
  let lastPrintMs = started;
  let printedBytes = 0;
  let walking = false;
  let lastWalkMs = started;
  let walkAtLostBytes = limits.outputBytes;

  const found = (what: Breach): void => {
    if (breach !== undefined) return;
    breach = what;
    clearInterval(timer);
    sandbox.onBreach();
  };

  const fail = (error: unknown): void => {
    failure ??= { error };
    clearInterval(timer);
    sandbox.onBreach();
  };

  const lookAtDisk = async (now: number): Promise<void> => {
    const { freeBytes } = host.files.space(plan.scratch);
    const lostBytes = freeAtStart - freeBytes;
    const nearlyFull = freeBytes < DISK_RESERVE_BYTES && lostBytes > 0;
    if (walking || (lostBytes < walkAtLostBytes && !nearlyFull && now - lastWalkMs < WALK_EVERY_MS)) return;
    walking = true;
    const { bytes } = await measureWritten(host, writableDirectories(plan), limits.outputBytes);
    walking = false;
    lastWalkMs = performance.now();
    walkAtLostBytes = lostBytes + limits.outputBytes - bytes;
    if (bytes >= limits.outputBytes) found(limitReached("outputBytes", limits.outputBytes));
    else if (nearlyFull && bytes >= DISK_RESERVE_BYTES / 8) found(diskNearlyFull(bytes));
  };

  const look = (): void => {
    const now = performance.now();
    const counted = sandbox.cgroup === undefined ? undefined : cgroupBreach(host, sandbox.cgroup);
    if (counted !== undefined) return found(limitReached(counted, limits[counted]));
    if (sandbox.usage !== undefined) {
      const usage = sandbox.usage();
      if (usage.processes > limits.processes) return found(limitReached("processes", limits.processes));
      if (usage.memoryBytes > limits.memoryBytes) return found(limitReached("memoryBytes", limits.memoryBytes));
    }
    if (now - started >= limits.wallClockMs) return found(limitReached("wallClockMs", limits.wallClockMs));
    if (now - lastPrintMs >= limits.silenceMs) return found(limitReached("silenceMs", limits.silenceMs));
    sandbox.onLook();
    lookAtDisk(now).catch(fail);
  };
  const timer = setInterval(() => {
    try {
      look();
    } catch (error) {
      fail(error);
    }
  }, TICK_MS);

  return {
    printed: (bytes) => {
      lastPrintMs = performance.now();
      const room = Math.max(0, limits.logBytes - printedBytes);
      printedBytes += bytes;
      if (printedBytes > limits.logBytes) found(limitReached("logBytes", limits.logBytes));
      return Math.min(bytes, room);
    },
    get breach() {
      if (failure !== undefined) throw failure.error;
      return breach;
    },
    stop: () => clearInterval(timer),
  };
}
