/** What is missing, what would be run to install it, and how a report reads. */
import { formatSize, type OperatingSystem, operatingSystemOf, type System } from "../base/index.ts";
import { type Need, type Processor, type Tool, TOOLS } from "./table.ts";

export interface ToolState {
  readonly tool: Tool;
  /** Where it was found. */
  readonly path: string | undefined;
}

/** One look at the machine itself. */
export interface Check {
  readonly name: string;
  /** fail: builds will not work. warn: something is worse than it could be. */
  readonly state: "ok" | "warn" | "fail";
  readonly detail: string;
  readonly hint: string | undefined;
}

export interface Install {
  readonly packages: readonly string[];
  /** In order; each is run as it stands. Empty when nothing is missing or nothing can be done. */
  readonly commands: readonly (readonly [string, ...string[]])[];
}

export interface DoctorReport {
  readonly tools: readonly ToolState[];
  readonly checks: readonly Check[];
  readonly install: Install;
  /** Nothing that is required is missing, and no check failed. */
  readonly healthy: boolean;
}

export function packageOf(tool: Tool, system: OperatingSystem): string | undefined {
  return system === "linux" ? tool.debian : tool.freebsd;
}

/** The tools that exist for this system and its processor, tests' ones only when asked for. */
export function toolsFor(system: System, withTests: boolean): readonly Tool[] {
  const processor: Processor = system.startsWith("x86_64-") ? "x86_64" : "aarch64";
  return TOOLS.filter(
    (tool) =>
      packageOf(tool, operatingSystemOf(system)) !== undefined &&
      (tool.processor ?? processor) === processor &&
      (withTests || tool.need !== "tests"),
  );
}

export function planInstall(system: OperatingSystem, states: readonly ToolState[]): Install {
  const missing = states.flatMap(({ tool, path }) => (path === undefined ? [packageOf(tool, system)] : []));
  const packages = [...new Set(missing)]
    .filter((name) => name !== undefined)
    .filter((name) => name !== "base")
    .toSorted();
  if (packages.length === 0) return { packages, commands: [] };
  const commands: Install["commands"] =
    system === "linux"
      ? [
          ["apt-get", "update", "--quiet"],
          ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", ...packages],
        ]
      : [["pkg", "install", "--yes", ...packages]];
  return { packages, commands };
}

export interface Observations {
  readonly system: OperatingSystem;
  readonly isRoot: boolean;
  /** What starting an empty sandbox said; undefined when it worked, or when there is no tool to start it with. */
  readonly sandboxFailure: string | undefined;
  /** Controllers that limit memory and processes of a build; undefined where there is no such thing. */
  readonly limiters: readonly string[];
  readonly stateDirectory: string;
  readonly freeBytes: number;
  readonly nowMs: number;
  /** The newest time this checkout's files know of: a clock before it is wrong. */
  readonly newestKnownMs: number;
}

const FREE_MIN_BYTES = 2 * 1024 ** 3;

export function judge(seen: Observations): readonly Check[] {
  return [sandboxCheck(seen), limitCheck(seen), spaceCheck(seen), clockCheck(seen)];
}

function sandboxCheck({ sandboxFailure, system, isRoot }: Observations): Check {
  if (sandboxFailure === undefined) return { name: "sandbox", state: "ok", detail: "starts", hint: undefined };
  const linux = isRoot
    ? "the container Garth runs in must allow mounts and namespaces (CAP_SYS_ADMIN)"
    : "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces > 0), or run as root";
  return {
    name: "sandbox",
    state: "fail",
    detail: sandboxFailure,
    hint: system === "linux" ? linux : "run as root, outside a jail (or in one with children.max and allow.mount.nullfs)",
  };
}

function limitCheck({ limiters, system }: Observations): Check {
  const lacking = ["memory", "processes"].filter((name) => !limiters.includes(name));
  if (lacking.length === 0) {
    return { name: "limits", state: "ok", detail: `${limiters.join(" and ")} of a build as a whole`, hint: undefined };
  }
  return {
    name: "limits",
    state: "warn",
    detail: `${lacking.join(" and ")} can be limited for each process only, not for a build as a whole`,
    hint:
      system === "linux" ? "mount the cgroup controllers writable" : "set kern.racct.enable=1 in /boot/loader.conf and reboot",
  };
}

function spaceCheck({ freeBytes, stateDirectory }: Observations): Check {
  const detail = `${formatSize(freeBytes)} free under ${stateDirectory}`;
  return freeBytes >= FREE_MIN_BYTES
    ? { name: "space", state: "ok", detail, hint: undefined }
    : { name: "space", state: "warn", detail, hint: "a world and a build want 2 GiB: free some, or choose another --root" };
}

function clockCheck({ nowMs, newestKnownMs }: Observations): Check {
  const detail = new Date(nowMs).toISOString();
  return nowMs >= newestKnownMs
    ? { name: "clock", state: "ok", detail, hint: undefined }
    : {
        name: "clock",
        state: "fail",
        detail: `${detail} is before this checkout was made`,
        hint: "set the clock: signatures carry times",
      };
}

export function isHealthy(states: readonly ToolState[], checks: readonly Check[]): boolean {
  const lacking = states.some((state) => state.path === undefined && state.tool.need === "required");
  return !lacking && checks.every((check) => check.state !== "fail");
}

const NEEDS: readonly { readonly need: Need; readonly title: string }[] = [
  { need: "required", title: "needed for every build" },
  { need: "fetching", title: "needed by some fetchers" },
  { need: "systems", title: "needed by images, machines and gates" },
  { need: "tests", title: "needed by the tests and benchmarks" },
];

/** Of the longest name: qemu-system-aarch64. */
const NAME_COLUMNS = 19;

/** For a person. */
export function renderReport(report: DoctorReport, system: OperatingSystem): string {
  const lines: string[] = [];
  for (const { need, title } of NEEDS) {
    const states = report.tools.filter((state) => state.tool.need === need);
    if (states.length > 0) lines.push(`${title}:`);
    for (const { tool, path } of states) {
      const name = tool.proof.slice(tool.proof.lastIndexOf("/") + 1).padEnd(NAME_COLUMNS);
      const from = packageOf(tool, system);
      const origin = from === "base" ? "part of the base system" : `package ${from}`;
      lines.push(path === undefined ? `  MISSING  ${name} ${tool.why} (${origin})` : `  ok       ${name} ${path}`);
    }
  }
  lines.push("this machine:");
  for (const check of report.checks) {
    const mark = { ok: "ok      ", warn: "WARNING ", fail: "BROKEN  " }[check.state];
    lines.push(`  ${mark} ${check.name.padEnd(NAME_COLUMNS)} ${check.detail}`);
    if (check.hint !== undefined) lines.push(`${" ".repeat(NAME_COLUMNS + 12)}${check.hint}`);
  }
  if (report.install.commands.length > 0) {
    lines.push("`garth doctor --install` would run:");
    for (const argv of report.install.commands) lines.push(`  ${argv.join(" ")}`);
  }
  return lines.join("\n");
}
