/**
 * Control groups: memory and number of processes of one sandbox, version 1, 2 or both mounted side by side.
 *
 * A sandbox has a group of its own for its whole life. Making one costs 0.1 ms, its counters start at zero, and that it can be
 * removed proves that no process of the sandbox is left. Formats: cgroups(7), Documentation/admin-guide/cgroup-v1 and -v2.
 */
import { sha256 } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import type { Limits, SandboxPlan } from "./types.ts";

type Controller = "memory" | "pids";

/** Where groups for sandboxes can be made. */
export type CgroupLayout =
  | { readonly kind: "v1"; readonly memory: string | undefined; readonly pids: string | undefined }
  | { readonly kind: "v2"; readonly mount: string }
  | { readonly kind: "none"; readonly reason: string };

interface MountLine {
  readonly root: string;
  readonly point: string;
  readonly type: string;
  readonly options: readonly string[];
}

/** One line of /proc/PID/mountinfo, proc(5). */
function parseMountLine(line: string): MountLine | undefined {
  const [before, after] = line.split(" - ");
  const left = before?.split(" ") ?? [];
  const right = after?.split(" ") ?? [];
  const [root, point, type, options] = [left[3], left[4], right[0], right[2]];
  if (root === undefined || point === undefined || type === undefined || options === undefined) return undefined;
  return { root, point, type, options: options.split(",") };
}

/** Directory of this process's own group, seen through a mount that shows the hierarchy from `root` on. */
function ownGroup(mount: MountLine, path: string): string {
  const below =
    mount.root === "/" ? path : path === mount.root || path.startsWith(`${mount.root}/`) ? path.slice(mount.root.length) : "/";
  return below === "/" || below === "" ? mount.point : `${mount.point}${below}`;
}

/**
 * From /proc/self/mountinfo, /proc/self/cgroup and the `cgroup.controllers` of a version 2 mount. In version 1 the groups lie
 * below the one Garth runs in, so that limits of a container go on counting. Version 2 allows no processes beside child groups
 * except in its root, so there they lie in `garth` below the mount.
 */
export function cgroupLayout(mountinfo: string, own: string, controllersOf: (mount: string) => string): CgroupLayout {
  const mounts = mountinfo.split("\n").flatMap((line) => parseMountLine(line) ?? []);
  const unified = mounts.find((mount) => mount.type === "cgroup2");
  if (unified !== undefined) {
    const controllers = controllersOf(unified.point).trim().split(" ");
    if (controllers.includes("memory") && controllers.includes("pids")) return { kind: "v2", mount: unified.point };
  }
  const paths = new Map<string, string>();
  for (const line of own.split("\n")) {
    const [, names, ...path] = line.split(":");
    for (const name of names?.split(",") ?? []) paths.set(name, path.join(":"));
  }
  const find = (controller: Controller): string | undefined => {
    const mount = mounts.find(({ type, options }) => type === "cgroup" && options.includes(controller));
    return mount === undefined ? undefined : ownGroup(mount, paths.get(controller) ?? "/");
  };
  const [memory, pids] = [find("memory"), find("pids")];
  if (memory === undefined && pids === undefined) return { kind: "none", reason: "no memory or pids controller is mounted" };
  return { kind: "v1", memory, pids };
}

export interface CgroupPlan {
  readonly directories: readonly string[];
  /** Files to write, in order. `optional`: the kernel may have been built without it. */
  readonly settings: readonly { readonly file: string; readonly value: string; readonly optional: boolean }[];
  /** Who is in it: one id a line. */
  readonly procs: readonly string[];
  /**
   * Where a process of one thread writes 0, "the writer", to join. In version 1 that is `tasks`: the kernel moves
   * a whole process under a lock that waits for every processor to pass a quiet point, 5 to 25 ms after an idle moment, and
   * leaves the lock out for a thread that moves itself (cgroup_procs_write_start() in kernel/cgroup/cgroup.c).
   */
  readonly joins: readonly string[];
  /** Counts of breaches: the line `key N`. */
  readonly counters: readonly { readonly limit: "memoryBytes" | "processes"; readonly file: string; readonly key: string }[];
  readonly peakMemory: string | undefined;
}

/** Of the process that answers for a group: its id and when it started, from its identity. */
export function cgroupOwner(processIdentity: string): string {
  const [, pid, started] = processIdentity.split(":");
  return `garth-${pid}-${started}-`;
}

/** One name for one sandbox on all of the machine. */
export function cgroupName(owner: string, plan: Pick<SandboxPlan, "scratch" | "identity">): string {
  return `${owner}${plan.identity.uid}-${sha256(plan.scratch).slice(0, 12)}`;
}

/** The identity in a group's name, for processes of this boot; undefined for a name that is not ours. */
function identityOfOwner(group: string, boot: string): string | undefined {
  const parts = /^garth-([0-9]+)-([0-9]+)-[0-9]+-[0-9a-f]{12}$/.exec(group);
  return parts === null ? undefined : `${boot}:${parts[1]}:${parts[2]}`;
}

/** Directories in which groups are made. */
export function cgroupParents(layout: CgroupLayout): readonly string[] {
  if (layout.kind === "none") return [];
  if (layout.kind === "v2") return [`${layout.mount}/garth`];
  return [...new Set([layout.memory, layout.pids].filter((directory) => directory !== undefined))];
}

/** Groups whose Garth is dead. */
export function abandonedCgroups(host: Host, layout: CgroupLayout): readonly string[] {
  const boot = host.processIdentity.split(":")[0] ?? "";
  const decoder = new TextDecoder();
  return cgroupParents(layout).flatMap((parent) =>
    host.files
      .list(parent)
      .map((name) => decoder.decode(name))
      .filter((name) => {
        const owner = identityOfOwner(name, boot);
        return owner !== undefined && !host.isAlive(owner);
      })
      .map((name) => `${parent}/${name}`),
  );
}

export function planCgroup(
  layout: CgroupLayout,
  name: string,
  limits: Pick<Limits, "memoryBytes" | "processes">,
): CgroupPlan | undefined {
  if (layout.kind === "none") return undefined;
  const memory = String(limits.memoryBytes);
  // Two processes of the sandbox's own stand beside the builder: bwrap's monitor outside and its init inside.
  const processes = String(limits.processes + 2);
  if (layout.kind === "v2") {
    const directory = `${layout.mount}/garth/${name}`;
    return {
      directories: [directory],
      settings: [
        { file: `${directory}/memory.max`, value: memory, optional: false },
        { file: `${directory}/memory.swap.max`, value: "0", optional: true },
        { file: `${directory}/memory.oom.group`, value: "1", optional: true },
        { file: `${directory}/pids.max`, value: processes, optional: false },
      ],
      procs: [`${directory}/cgroup.procs`],
      joins: [`${directory}/cgroup.procs`],
      counters: [
        { limit: "memoryBytes", file: `${directory}/memory.events`, key: "oom_kill" },
        { limit: "processes", file: `${directory}/pids.events`, key: "max" },
      ],
      peakMemory: `${directory}/memory.peak`,
    };
  }
  const inMemory = layout.memory === undefined ? undefined : `${layout.memory}/${name}`;
  const inPids = layout.pids === undefined ? undefined : `${layout.pids}/${name}`;
  const directories = [...new Set([inMemory, inPids].filter((directory) => directory !== undefined))];
  return {
    directories,
    settings: [
      ...(inMemory === undefined
        ? []
        : [
            { file: `${inMemory}/memory.limit_in_bytes`, value: memory, optional: false },
            { file: `${inMemory}/memory.memsw.limit_in_bytes`, value: memory, optional: true },
          ]),
      ...(inPids === undefined ? [] : [{ file: `${inPids}/pids.max`, value: processes, optional: false }]),
    ],
    procs: directories.map((directory) => `${directory}/cgroup.procs`),
    joins: directories.map((directory) => `${directory}/tasks`),
    counters: [
      ...(inMemory === undefined
        ? []
        : [{ limit: "memoryBytes" as const, file: `${inMemory}/memory.oom_control`, key: "oom_kill" }]),
      ...(inPids === undefined ? [] : [{ limit: "processes" as const, file: `${inPids}/pids.events`, key: "max" }]),
    ],
    peakMemory: inMemory === undefined ? undefined : `${inMemory}/memory.max_usage_in_bytes`,
  };
}

/** Looked up once for each host; without root there is nothing to look up. */
export function detectCgroups(host: Host): CgroupLayout {
  if (!host.isRoot) return { kind: "none", reason: "control groups need root" };
  const { files } = host;
  const layout = cgroupLayout(files.readText("/proc/self/mountinfo"), files.readText("/proc/self/cgroup"), (mount) =>
    files.readText(`${mount}/cgroup.controllers`),
  );
  try {
    if (layout.kind === "v2") {
      files.writeFile(`${layout.mount}/cgroup.subtree_control`, "+memory +pids");
      files.makeDirectory(`${layout.mount}/garth`, { parents: true });
      files.writeFile(`${layout.mount}/garth/cgroup.subtree_control`, "+memory +pids");
    }
    return layout;
  } catch (error) {
    return {
      kind: "none",
      reason: `control groups are there but cannot be used: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
}

/** @returns why the kernel refused, when it did; nothing is left then */
export function makeCgroup(host: Host, plan: CgroupPlan): string | undefined {
  try {
    for (const directory of plan.directories) {
      host.files.makeDirectory(directory);
    }
    for (const { file, value, optional } of plan.settings) {
      if (optional && !host.files.exists(file)) continue;
      host.files.writeFile(file, value);
    }
    return undefined;
  } catch (error) {
    removeCgroup(host, plan);
    return error instanceof Error ? error.message : String(error);
  }
}

/** True when nothing is left of it; false while processes are in it. */
export function removeCgroup(host: Host, plan: Pick<CgroupPlan, "directories">): boolean {
  let gone = true;
  for (const directory of plan.directories) {
    try {
      host.files.removeDirectory(directory);
    } catch (error) {
      if (isErrno(error, "EBUSY")) gone = false;
      else if (!isErrno(error, "ENOENT")) throw error;
    }
  }
  return gone;
}

/** The limit that was reached, if one was. */
export function cgroupBreach(host: Host, plan: CgroupPlan): "memoryBytes" | "processes" | undefined {
  for (const { limit, file, key } of plan.counters) {
    const line = host.files
      .readText(file)
      .split("\n")
      .find((text) => text.startsWith(`${key} `));
    if (line !== undefined && Number(line.slice(key.length + 1)) > 0) return limit;
  }
  return undefined;
}

export function cgroupPeakMemory(host: Host, plan: CgroupPlan): number | undefined {
  if (plan.peakMemory === undefined || !host.files.exists(plan.peakMemory)) return undefined;
  const value = Number(host.files.readText(plan.peakMemory));
  return Number.isSafeInteger(value) ? value : undefined;
}

/** Processes still in the groups. */
export function cgroupProcesses(host: Host, plan: Pick<CgroupPlan, "procs">): readonly number[] {
  const ids = plan.procs.flatMap((file) => (host.files.exists(file) ? host.files.readText(file).split("\n") : []));
  return [...new Set(ids.filter((id) => id !== "").map(Number))];
}
