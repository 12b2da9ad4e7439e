/** From what a build needs to the sandbox that gives exactly that. Pure: the plan can be made, printed and checked anywhere. */
import { operatingSystemOf, type OperatingSystem, Problem, STORE_DIRECTORY, type StorePath, type System } from "../base/index.ts";
import type { BuildRoot, Limits, Mount, SandboxIdentity, SandboxPlan } from "./types.ts";

/** What a derivation asks for, with the physical places filled in. */
export interface SandboxRequest {
  /** The hash of the resolved derivation in hexadecimal; its first 8 digits name the sandbox. */
  readonly hash: string;
  /** Of the package; becomes part of the host name. */
  readonly name: string;
  readonly system: System;
  readonly root: BuildRoot;
  /** The declared closure: inputs and sources with everything they refer to. */
  readonly inputs: readonly { readonly path: StorePath; readonly physical: string; readonly type: "file" | "directory" }[];
  /** Output name -> where the builder sees it and where it lies. The variables of these names hold the paths. */
  readonly outputs: Readonly<Record<string, { readonly path: StorePath; readonly physical: string }>>;
  /** Physical directory for this run alone, absolute; made when it is not there. */
  readonly scratch: string;
  readonly identity: SandboxIdentity;
  readonly network: boolean;
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  /** Default "/build". */
  readonly cwd?: string;
  readonly limits: Limits;
  /** Seconds since 1970. Default 1, the time of every file in the store. */
  readonly sourceDateEpoch?: number;
}

export const defaultLimits: Limits = {
  wallClockMs: 4 * 3_600_000,
  silenceMs: 3_600_000,
  memoryBytes: 8 * 1024 ** 3,
  processes: 4_096,
  openFiles: 16_384,
  outputBytes: 32 * 1024 ** 3,
  logBytes: 256 * 1024 ** 2,
};

const BUILD_DIRECTORY = "/build";
const TEMPORARY_DIRECTORY = "/tmp";
const HOME_DIRECTORY = "/homeless";
/** Linux refuses a host name that is longer; FreeBSD takes 255. */
const HOSTNAME_MAX = 64;

const PROGRAM_DIRECTORIES: Readonly<Record<OperatingSystem, readonly string[]>> = {
  linux: ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"],
  freebsd: ["/sbin", "/bin", "/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"],
};

/** `garth-<name>-<short id>`, with what a host name cannot hold replaced by a dash and the name cut to fit. */
export function sandboxHostname(name: string, id: string): string {
  const room = HOSTNAME_MAX - "garth--".length - id.length;
  const label = name
    .replaceAll(/[^A-Za-z0-9-]/g, "-")
    .slice(0, room)
    .replace(/-+$/, "");
  return label === "" ? `garth-${id}` : `garth-${label}-${id}`;
}

/** Directories of programs inside the build root: all that may be there of a world, those that are in view of a host. */
export function programPath(system: System, root: BuildRoot): string {
  const all = PROGRAM_DIRECTORIES[operatingSystemOf(system)];
  if (root.kind === "world") return all.join(":");
  return all.filter((directory) => root.paths.some((path) => covers(path, directory))).join(":");
}

export function planSandbox(request: SandboxRequest): SandboxPlan {
  const id = request.hash.slice(0, 8);
  const outputs = Object.entries(request.outputs);
  const mounts: Mount[] = [
    ...request.inputs
      .toSorted((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
      .map(({ path, physical, type }): Mount => ({ kind: "read-only", source: physical, target: path, type })),
    ...outputs.map(([, { path, physical }]): Mount => ({ kind: "writable", source: physical, target: path })),
    { kind: "writable", source: `${request.scratch}${BUILD_DIRECTORY}`, target: BUILD_DIRECTORY },
    { kind: "writable", source: `${request.scratch}${TEMPORARY_DIRECTORY}`, target: TEMPORARY_DIRECTORY },
  ];
  return {
    id,
    system: request.system,
    hostname: sandboxHostname(request.name, id),
    root: request.root,
    mounts,
    scratch: request.scratch,
    identity: request.identity,
    network: request.network ? "host" : "none",
    argv: request.argv,
    env: {
      PATH: programPath(request.system, request.root),
      LC_ALL: "C.UTF-8",
      SOURCE_DATE_EPOCH: String(request.sourceDateEpoch ?? 1),
      HOME: HOME_DIRECTORY,
      TMPDIR: TEMPORARY_DIRECTORY,
      ...request.env,
      ...Object.fromEntries(outputs.map(([name, { path }]) => [name, path])),
    },
    cwd: request.cwd ?? BUILD_DIRECTORY,
    limits: request.limits,
  };
}

/** Whether `path` is `directory` or lies below it. Both normal and absolute. */
export function covers(directory: string, path: string): boolean {
  return path === directory || directory === "/" || path.startsWith(`${directory}/`);
}

interface PlanProblem {
  /** `mounts[3].target`, `env.CFLAGS`. */
  readonly field: string;
  readonly message: string;
}

/** Absolute, no empty, `.` or `..` component, no trailing slash, nothing that would break a line of a file. */
function isNormal(path: string): boolean {
  if (!path.startsWith("/") || /\p{Cc}/u.test(path)) return false;
  return (
    path === "/" ||
    path
      .slice(1)
      .split("/")
      .every((part) => part !== "" && part !== "." && part !== "..")
  );
}

/** Made by the sandbox itself: nothing may be mounted there or above. */
const OWN_PLACES = ["/dev", "/proc"];
/** What a host view may not name: it would show another build, the store as a whole, or a place that the sandbox makes. */
const NOT_OF_THE_HOST = ["/dev", "/proc", "/sys", "/run", "/tmp", "/build", "/frx", HOME_DIRECTORY];

function lintMounts(plan: SandboxPlan, report: (field: string, message: string) => void): void {
  const { mounts } = plan;
  for (const [index, mount] of mounts.entries()) {
    const field = `mounts[${index}]`;
    if (!isNormal(mount.source)) report(`${field}.source`, `${JSON.stringify(mount.source)} is not a normal absolute path`);
    if (!isNormal(mount.target)) {
      report(`${field}.target`, `${JSON.stringify(mount.target)} is not a normal absolute path`);
      continue;
    }
    for (const own of OWN_PLACES) {
      if (covers(own, mount.target) || covers(mount.target, own))
        report(`${field}.target`, `${mount.target} hides the sandbox's own ${own}`);
    }
    if (mount.kind === "writable" && covers(mount.target, STORE_DIRECTORY)) {
      report(`${field}.target`, `a writable ${mount.target} would open the whole store to the builder`);
    }
    if (covers(mount.source, plan.scratch))
      report(`${field}.source`, `${mount.source} holds the scratch directory ${plan.scratch}`);
    if (mount.kind === "read-only" && covers(plan.scratch, mount.source)) {
      report(`${field}.source`, `${mount.source} lies in the scratch directory, so it is not read-only`);
    }
    for (const [otherIndex, other] of mounts.entries()) {
      if (otherIndex === index) continue;
      if (otherIndex > index && other.target === mount.target) report(`${field}.target`, `${mount.target} is mounted twice`);
      else if (other.target !== mount.target && covers(other.target, mount.target)) {
        report(`${field}.target`, `${mount.target} lies below ${other.target}, which is mounted too`);
      }
      if (mount.kind !== "writable" || !(covers(mount.source, other.source) || covers(other.source, mount.source))) continue;
      if (other.kind === "read-only" || otherIndex > index) {
        report(`${field}.source`, `${mount.source} is writable and overlaps ${other.source} at ${other.target}`);
      }
    }
  }
  for (const needed of [BUILD_DIRECTORY, TEMPORARY_DIRECTORY]) {
    if (!mounts.some((mount) => mount.kind === "writable" && mount.target === needed)) report("mounts", `no writable ${needed}`);
  }
}

function lintRoot(root: BuildRoot, report: (field: string, message: string) => void): void {
  if (root.kind === "world") {
    if (!isNormal(root.physical) || root.physical === "/") {
      report("root.physical", `${JSON.stringify(root.physical)} cannot be a build root`);
    }
    return;
  }
  if (root.paths.length === 0) report("root.paths", "no directory of the host is named");
  for (const [index, path] of root.paths.entries()) {
    const field = `root.paths[${index}]`;
    if (!isNormal(path)) report(field, `${JSON.stringify(path)} is not a normal absolute path`);
    else if (path === "/" || NOT_OF_THE_HOST.some((place) => covers(place, path)))
      report(field, `${path} cannot be part of a host view`);
  }
}

/** (uid_t)-1 means "none". */
const ID_MAX = 0xfffffffe;

function lintIdentity(plan: SandboxPlan, report: (field: string, message: string) => void): void {
  const { identity } = plan;
  for (const name of ["uid", "gid"] as const) {
    const value = identity[name];
    if (!Number.isSafeInteger(value) || value < 0 || value > ID_MAX) report(`identity.${name}`, `${value} is not a numeric id`);
    else if (value === 0) report(`identity.${name}`, "a builder never runs as root");
  }
  if (identity.kind === "user-namespace" && operatingSystemOf(plan.system) === "freebsd") {
    report("identity.kind", "FreeBSD has no user namespaces: a jail needs root outside and a numeric build user inside");
  }
  if (identity.kind !== "choose") return;
  const { uid, gid, count, taken } = identity;
  if (gid !== uid) report("identity.gid", `${gid} is not ${uid}: the group of each has its number`);
  if (!Number.isSafeInteger(count) || count <= 0) report("identity.count", `${count} is not a positive whole number`);
  else if (uid + count - 1 > ID_MAX) report("identity.count", `${count} numbers from ${uid} on go beyond ${ID_MAX}`);
  if (!isNormal(taken) || taken === "/") {
    report("identity.taken", `${JSON.stringify(taken)} cannot be the directory of users that are taken`);
    return;
  }
  for (const [index, { kind, source }] of plan.mounts.entries()) {
    if (kind === "writable" && (covers(source, taken) || covers(taken, source)))
      report("identity.taken", `${taken} could be written to by the builder, through mounts[${index}]`);
  }
}

/** Everything that is wrong with a plan, in its order; empty for a sound one. */
export function lintPlan(plan: SandboxPlan): readonly PlanProblem[] {
  const found: PlanProblem[] = [];
  const report = (field: string, message: string): void => {
    found.push({ field, message });
  };
  if (!/^[0-9a-f]{8}$/.test(plan.id)) report("id", `${JSON.stringify(plan.id)} is not 8 hexadecimal digits`);
  if (!/^[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?$/.test(plan.hostname)) {
    report("hostname", `${JSON.stringify(plan.hostname)} is not a host name`);
  }
  lintRoot(plan.root, report);
  if (!isNormal(plan.scratch) || plan.scratch === "/")
    report("scratch", `${JSON.stringify(plan.scratch)} cannot be a scratch directory`);
  lintMounts(plan, report);
  lintIdentity(plan, report);
  if (plan.argv[0] === "") report("argv[0]", "no program is named");
  for (const [index, word] of plan.argv.entries()) if (word.includes("\0")) report(`argv[${index}]`, "holds a NUL byte");
  for (const [name, value] of Object.entries(plan.env)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) report(`env.${name}`, "is not the name of a variable");
    if (value.includes("\0")) report(`env.${name}`, "holds a NUL byte");
  }
  if (!isNormal(plan.cwd)) report("cwd", `${JSON.stringify(plan.cwd)} is not a normal absolute path`);
  for (const [name, value] of Object.entries(plan.limits)) {
    if (!Number.isSafeInteger(value) || value <= 0) report(`limits.${name}`, `${value} is not a positive whole number`);
  }
  return found;
}

/**
 * For a host of the given system.
 * @throws Problem E_SANDBOX_PLAN with every fault
 */
export function assertSound(plan: SandboxPlan, system: System): void {
  if (plan.system !== system) {
    throw new Problem({
      code: "E_SANDBOX_PLAN",
      message: `the sandbox ${plan.hostname} is for ${plan.system}, and this host is ${system}`,
      hint: "build it on a host of that system",
      exit: 3,
    });
  }
  const found = lintPlan(plan);
  if (found.length === 0) return;
  throw new Problem({
    code: "E_SANDBOX_PLAN",
    message: `the plan of the sandbox ${plan.hostname} has ${found.length === 1 ? "a fault" : `${found.length} faults`}`,
    details: found.map(({ field, message }) => `${field}: ${message}`),
    exit: 2,
  });
}
