/** What a machine takes of the host: proc(5). Elsewhere than on Linux ps(1) has fewer words for it. */
import type { Host } from "../host/index.ts";
import { DISK_FILE } from "./machine.ts";
import type { EntryRow } from "./records.ts";
import type { Usage } from "./types.ts";

/** Of utime and stime in /proc/PID/stat, on every Linux that Garth runs on. */
const TICKS_PER_S = 100;

export interface Sample {
  readonly atMs: number;
  readonly cpuMs: number;
}

export function cpuSample(host: Host, pid: number, atMs: number): Sample {
  const stat = host.files.readTextIfAny(`/proc/${pid}/stat`) ?? "";
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  return { atMs, cpuMs: (ticks * 1000) / TICKS_PER_S };
}

function memoryBytes(host: Host, pid: number): number {
  const text = host.files.readTextIfAny(`/proc/${pid}/smaps_rollup`) ?? "";
  return Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024;
}

export function usageOf(host: Host, row: EntryRow, before: Sample | undefined, after: Sample): Usage {
  const pid = row.pid ?? 0;
  const passedMs = before === undefined ? 0 : after.atMs - before.atMs;
  const disk = `${row.directory}/${DISK_FILE}`;
  const stat = host.files.lstatIfAny(disk);
  return {
    atMs: after.atMs,
    cpuCount: row.cpus,
    cpuUsedPct: before === undefined || passedMs <= 0 ? 0 : (Math.max(0, after.cpuMs - before.cpuMs) / passedMs) * 100,
    memoryTotalBytes: row.memoryBytes,
    memoryUsedBytes: memoryBytes(host, pid),
    diskTotalBytes: diskSize(host, disk),
    diskUsedBytes: (stat?.blocks ?? 0) * 512,
  };
}

/** As the guest sees it: the field `size` of a qcow2's header. */
function diskSize(host: Host, file: string): number {
  if (!host.files.exists(file)) return 0;
  const head = new Uint8Array(32);
  const descriptor = host.files.open(file, "r");
  try {
    host.files.read(descriptor, head, 0);
  } finally {
    host.files.close(descriptor);
  }
  return Number(new DataView(head.buffer).getBigUint64(24));
}
