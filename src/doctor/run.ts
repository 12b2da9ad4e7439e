/** Looks at the machine, and installs what the plan says. */
import { operatingSystemOf, Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import {
  type DoctorReport,
  type Install,
  isHealthy,
  judge,
  type Observations,
  planInstall,
  type ToolState,
  toolsFor,
} from "./plan.ts";

export interface Examination {
  readonly host: Host;
  readonly stateDirectory: string;
  /** The checkout: its package.json dates it. */
  readonly home: string;
  readonly withTests: boolean;
  readonly nowMs: number;
}

export async function examine(request: Examination): Promise<DoctorReport> {
  const { host } = request;
  const system = operatingSystemOf(host.system);
  const tools: readonly ToolState[] = toolsFor(host.system, request.withTests).map((tool) => ({
    tool,
    path: tool.proof.startsWith("/") ? (host.files.exists(tool.proof) ? tool.proof : undefined) : host.which(tool.proof),
  }));
  const checks = judge(await observe(request));
  return { tools, checks, install: planInstall(system, tools), healthy: isHealthy(tools, checks) };
}

async function observe({ host, stateDirectory, home, nowMs }: Examination): Promise<Observations> {
  const nearest = nearestExisting(host, stateDirectory);
  return {
    system: operatingSystemOf(host.system),
    isRoot: host.isRoot,
    sandboxFailure: await trySandbox(host),
    limiters: await limiters(host),
    stateDirectory,
    freeBytes: host.files.space(nearest).freeBytes,
    nowMs,
    newestKnownMs: host.files.lstatIfAny(`${home}/package.json`)?.mtimeMs ?? 0,
  };
}

function nearestExisting(host: Host, directory: string): string {
  let nearest = directory;
  while (nearest !== "" && !host.files.exists(nearest)) nearest = nearest.slice(0, nearest.lastIndexOf("/"));
  return nearest === "" ? "/" : nearest;
}

async function trySandbox(host: Host): Promise<string | undefined> {
  const argv = sandboxTrial(host);
  if (argv === undefined) return undefined;
  try {
    await host.run({ argv, doing: "starting an empty sandbox", timeoutMs: 10_000 });
    return undefined;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return error.details.find((line) => line.trim() !== "") ?? error.message;
  }
}

function sandboxTrial(host: Host): readonly [string, ...string[]] | undefined {
  if (operatingSystemOf(host.system) === "freebsd") {
    return ["jail", "-c", "path=/", "name=garth-doctor", "ip4=disable", "ip6=disable", "command=/usr/bin/true"];
  }
  if (host.which("bwrap") === undefined) return undefined;
  return ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"];
}

async function limiters(host: Host): Promise<readonly string[]> {
  if (operatingSystemOf(host.system) === "freebsd") {
    const racct = await host.run({ argv: ["sysctl", "-n", "kern.racct.enable"], okStatuses: [0, 1] });
    return racct.text().trim() === "1" ? ["memory", "processes"] : [];
  }
  const unified = "/sys/fs/cgroup/cgroup.controllers";
  if (host.files.exists(unified)) {
    const controllers = host.files.readText(unified).trim().split(" ");
    return [...(controllers.includes("memory") ? ["memory"] : []), ...(controllers.includes("pids") ? ["processes"] : [])];
  }
  const mounted = (controller: string) => host.files.exists(`/sys/fs/cgroup/${controller}/cgroup.procs`);
  return [...(mounted("memory") ? ["memory"] : []), ...(mounted("pids") ? ["processes"] : [])];
}

/**
 * Runs the plan's commands, telling each before it is run.
 * @throws Problem E_NOT_ROOT (3) without root's rights, E_TOOL_MISSING (3) where there is no package manager, E_COMMAND_FAILED
 */
export async function install(host: Host, plan: Install, announce: (line: string) => void): Promise<void> {
  if (plan.commands.length === 0) return;
  if (!host.isRoot) {
    throw new Problem({
      code: "E_NOT_ROOT",
      message: "installing packages needs root's rights",
      hint: plan.commands.map((argv) => `sudo ${argv.join(" ")}`).join(" && "),
      exit: 3,
    });
  }
  for (const argv of plan.commands) {
    announce(`$ ${argv.join(" ")}`);
    await host.run({
      argv,
      env: {
        PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        LC_ALL: "C.UTF-8",
        DEBIAN_FRONTEND: "noninteractive",
      },
      doing: `installing ${plan.packages.join(", ")}`,
      timeoutMs: 30 * 60_000,
    });
  }
}
