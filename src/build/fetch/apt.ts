/**
 * A private apt: the host's mirrors, proxies and keyring; its own lists, cache and (empty) package status. The host's
 * configuration is read and never written, nothing is installed, and none of the host's hooks run.
 *
 *     distfiles/apt-<name>/   apt.conf  debian.sources  status  lists/  cache/  lock
 *
 * The lists stay, so that the next question is quick; two processes take turns by flock(1).
 */
import { Problem } from "../../base/index.ts";
import type { Host } from "../../host/index.ts";
import { type AptSource, debianSourcesText, parseDeb822Sources, parseOneLineSources } from "./aptsources.ts";
import { requireTool } from "./problems.ts";
import { networkEnvironment, runTool, tail, type ToolResult } from "./tool.ts";
import type { FetchContext } from "./types.ts";

export const DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
/** How long another Garth may hold the same lists. */
const LOCK_WAIT_S = 600;

/** What is taken over from the host's configuration: the way to the mirrors, and how far its clock is to be trusted. */
const TAKEN_OVER =
  /^Acquire::(?:(?:https?|ftp|tor|Proxy|ForceIPv[46]|Retries|Queue-Mode|Check-Valid-Until|Check-Date|Max-FutureTime|Min-ValidTime|Max-ValidTime)\b)/;

export interface AptRequest {
  /** Names the directory: one per set of lists. */
  readonly name: string;
  readonly types: readonly ("deb" | "deb-src")[];
  /** undefined: the host's own suites. */
  readonly suite: string | undefined;
  /** Debian's name for the machine. */
  readonly architecture: string;
}

export interface Apt {
  /** Whether there are lists from an earlier time. */
  hasLists(): boolean;
  /** Fetches the lists that changed. @throws Problem E_APT_UPDATE with apt's words */
  update(): Promise<void>;
  /** Runs apt-get or apt-cache. Statuses 0 and 100 are the caller's to judge. */
  run(argv: readonly ["apt-get" | "apt-cache", ...string[]], doing: string, cwd?: string): Promise<ToolResult>;
}

type Context = Pick<FetchContext, "host" | "distfiles" | "signal" | "environment">;

/** @throws Problem E_TOOL_MISSING (exit 3), E_NO_DEBIAN_SOURCES (exit 3) */
export async function openApt(context: Context, request: AptRequest): Promise<Apt> {
  const { host } = context;
  const doing = "asking apt";
  for (const program of ["apt-get", "apt-cache", "apt-config"]) requireTool(host, program, { doing, packageName: "apt" });
  requireTool(host, "flock", { doing, packageName: "util-linux" });
  if (!host.files.exists(DEBIAN_KEYRING)) {
    throw new Problem({
      code: "E_TOOL_MISSING",
      message: "asking apt: Debian's archive keyring is not on this machine, and without it no package list can be checked",
      where: DEBIAN_KEYRING,
      hint: "apt-get install debian-archive-keyring",
      exit: 3,
    });
  }
  const sources = debianSourcesText(hostSources(host), { types: request.types, suite: request.suite, keyring: DEBIAN_KEYRING });
  if (sources === undefined) {
    throw new Problem({
      code: "E_NO_DEBIAN_SOURCES",
      message: "asking apt: this machine's package sources name no mirror of Debian",
      where: "/etc/apt/sources.list.d",
      hint: "add Debian's archive to the sources (sources.list(5)); nothing of the machine itself is changed by Garth",
      exit: 3,
    });
  }
  const directory = `${context.distfiles}/apt-${request.name}`;
  const settings = await hostSettings(context);
  layOut(host, directory, sources, settings, request.architecture);
  const env = {
    ...networkEnvironment(context.environment),
    APT_CONFIG: `${directory}/apt.conf`,
    DEBIAN_FRONTEND: "noninteractive",
  };
  const run: Apt["run"] = (argv, what, cwd) =>
    runTool(host, {
      argv: ["flock", "--exclusive", "--wait", String(LOCK_WAIT_S), `${directory}/lock`, ...argv],
      doing: what,
      env,
      ...(cwd === undefined ? {} : { cwd }),
      signal: context.signal,
      okStatuses: [0, 100],
    });
  return {
    hasLists: () =>
      host.files.list(`${directory}/lists`).some((name) => /_(?:Packages|Sources)(?:\.|$)/.test(Buffer.from(name).toString())),
    run,
    async update() {
      const result = await run(["apt-get", "update", "--error-on=any"], "fetching Debian's package lists");
      if (result.status !== 0) throw updateFailed(result);
    },
  };
}

function updateFailed(result: ToolResult): Problem {
  const words = aptWords(result.stderr);
  return new Problem({
    code: "E_APT_UPDATE",
    message: "fetching Debian's package lists failed",
    details: words.length > 0 ? words : tail(result.stderr),
    hint: "check the network and the mirrors in /etc/apt/sources.list.d; without a network, what is in distfiles is still used",
  });
}

/** apt's errors and warnings, without what it says about itself. */
export function aptWords(stderr: string): readonly string[] {
  return [...new Set(stderr.split("\n").filter((line) => /^[EW]: /.test(line) && !line.includes("unsandboxed")))];
}

function layOut(host: Host, directory: string, sources: string, settings: readonly string[], architecture: string): void {
  for (const each of ["lists/partial", "cache/archives/partial", "log"]) {
    host.files.makeDirectory(`${directory}/${each}`, { parents: true });
  }
  const conf = [
    ...settings,
    `Dir::Etc::main "/dev/null";`,
    `Dir::Etc::parts "/dev/null";`,
    `Dir::Etc::sourcelist "${directory}/debian.sources";`,
    `Dir::Etc::sourceparts "/dev/null";`,
    `Dir::Etc::preferences "/dev/null";`,
    `Dir::Etc::preferencesparts "/dev/null";`,
    `Dir::State "${directory}";`,
    `Dir::State::lists "${directory}/lists";`,
    `Dir::State::status "${directory}/status";`,
    `Dir::State::extended_states "${directory}/extended_states";`,
    `Dir::Cache "${directory}/cache";`,
    `Dir::Log "${directory}/log";`,
    `APT::Architecture "${architecture}";`,
    `APT::Architectures { "${architecture}"; };`,
    `APT::Install-Recommends "false";`,
    `APT::Install-Suggests "false";`,
    `APT::Get::Assume-Yes "true";`,
    `Acquire::Languages "none";`,
    `Acquire::ForceHash "SHA256";`,
    // Wherever the host was told to trust more than the keyring says, this apt was not.
    `Acquire::AllowInsecureRepositories "false";`,
    `Acquire::AllowWeakRepositories "false";`,
    `Acquire::AllowDowngradeToInsecureRepositories "false";`,
    `APT::Get::AllowUnauthenticated "false";`,
    "",
  ].join("\n");
  writeIfOther(host, `${directory}/status`, "");
  writeIfOther(host, `${directory}/debian.sources`, sources);
  writeIfOther(host, `${directory}/apt.conf`, conf);
}

/** Left alone when it is right: another process may be reading it. */
function writeIfOther(host: Host, path: string, text: string): void {
  if (host.files.readTextIfAny(path) !== text) host.files.writeFile(path, text);
}

/** Lines of apt.conf(5). */
async function hostSettings(context: Context): Promise<readonly string[]> {
  const dump = await runTool(context.host, {
    argv: ["apt-config", "dump"],
    doing: "reading apt's settings",
    signal: context.signal,
  });
  return dump.stdout.split("\n").filter((line) => TAKEN_OVER.test(line) && !line.endsWith(' "";'));
}

function hostSources(host: Host): readonly AptSource[] {
  const directory = "/etc/apt/sources.list.d";
  const names = host.files.exists(directory)
    ? host.files
        .list(directory)
        .map((name) => Buffer.from(name).toString())
        .toSorted()
    : [];
  return [
    ...parseOneLineSources(host.files.readTextIfAny("/etc/apt/sources.list") ?? ""),
    ...names.flatMap((name) => {
      const text = host.files.readTextIfAny(`${directory}/${name}`) ?? "";
      return name.endsWith(".sources") ? parseDeb822Sources(text) : name.endsWith(".list") ? parseOneLineSources(text) : [];
    }),
  ];
}
