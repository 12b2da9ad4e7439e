/** The shell script that is the sandbox on Linux: made from the plan and what was found on the host, and nothing else. Pure. */
import { STORE_DIRECTORY } from "../base/index.ts";
import { shellQuote } from "../host/index.ts";
import type { CgroupPlan } from "./cgroup.ts";
import type { RootEntry } from "./root.ts";
import type { SandboxPlan } from "./types.ts";

/** What the executor found on the host; the plan says the rest. */
export interface BubblewrapFacts {
  readonly root: readonly RootEntry[];
  /** Files in /etc that the sandbox makes: laid over the world's own, or put where the root has no /etc. */
  readonly etc: readonly { readonly name: string; readonly over: boolean }[];
  readonly cgroup: CgroupPlan | undefined;
  /** This process has supplementary groups that a builder must not get. */
  readonly clearGroups: boolean;
  /** Without control groups: RLIMIT_NPROC, which counts all processes of the user. */
  readonly processCeiling: number | undefined;
}

/**
 * Every id is itself but root's, which is shown as nobody's. bwrap enters this user namespace as root of the host and takes on
 * the build user's ids before it mounts. The kernel takes the capabilities away from a process that leaves user 0 *of its
 * namespace*; root is not number 0 here, so bwrap keeps them until it is done, and can reach sources below directories that
 * only their owner may enter. The builder gets none of them.
 */
export const ID_MAP = "1 1 65533\n65534 0 1\n65535 65535 4294901760\n";

/** Descriptors that the script is given. */
export const STATUS_DESCRIPTOR = 3;
export const NAMESPACE_DESCRIPTOR = 4;
export const FIRST_ETC_DESCRIPTOR = 5;

export const SCRIPT_NAME = "bwrap.sh";

/** The home directory as passwd(5) can say it, and a here-document. */
function homeOf(plan: SandboxPlan): string {
  const home = plan.env["HOME"] ?? "/";
  return /^\/[A-Za-z0-9/._+@ -]*$/.test(home) ? home : "/";
}

/** A minimal account database and resolver set-up: the build user by the name "garth", root and nobody. */
export function etcFiles(
  plan: SandboxPlan,
  { uid, gid }: { readonly uid: number | string; readonly gid: number | string } = plan.identity,
): Readonly<Record<string, string>> {
  return {
    passwd: [
      "root:x:0:0:root:/root:/bin/sh",
      `garth:x:${uid}:${gid}:build user:${homeOf(plan)}:/bin/sh`,
      "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
      "",
    ].join("\n"),
    group: ["root:x:0:", `garth:x:${gid}:`, "nogroup:x:65534:", ""].join("\n"),
    hosts: [`127.0.0.1 localhost ${plan.hostname}`, "::1 localhost", ""].join("\n"),
    "nsswitch.conf": ["passwd: files", "group: files", "hosts: files dns", ""].join("\n"),
  };
}

/** RLIMIT_FSIZE in the 512-byte blocks of POSIX `ulimit -f`. */
export function fileSizeBlocks(bytes: number): number {
  return Math.ceil(bytes / 512);
}

/** In which namespaces, under which name and with which variables. */
export function isolationOptions(plan: SandboxPlan): readonly (readonly string[])[] {
  return [
    ["--cap-drop", "ALL"],
    ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup"],
    ...(plan.network === "none" ? [["--unshare-net"]] : []),
    ["--hostname", plan.hostname],
    ["--die-with-parent"],
    ["--clearenv"],
    ...Object.entries(plan.env)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => ["--setenv", name, value]),
  ];
}

/** Whose user namespace. */
export function namespaceOption(plan: SandboxPlan): readonly string[] {
  return plan.identity.kind === "user-namespace"
    ? ["--unshare-user", "--disable-userns"]
    : // The second option has bwrap close the descriptor before the builder starts.
      ["--userns", String(NAMESPACE_DESCRIPTOR), "--sync-fd", String(NAMESPACE_DESCRIPTOR)];
}

/** Named, because what bwrap makes on the way to a mount is closed to all but its owner. */
export function directoryOptions(rootTargets: readonly string[]): readonly (readonly string[])[] {
  return ["/etc", "/frx", STORE_DIRECTORY]
    .filter((directory) => !rootTargets.includes(directory))
    .map((directory) => ["--dir", directory]);
}

/** What comes over the root: the kernel's own places, the plan's mounts; then nothing more. */
export function placeOptions(plan: SandboxPlan): readonly (readonly string[])[] {
  return [
    ["--proc", "/proc"],
    ["--dev", "/dev"],
    ["--perms", "1777", "--size", String(plan.limits.memoryBytes), "--tmpfs", "/dev/shm"],
    ["--remount-ro", "/dev"],
    ...plan.mounts.map((mount) => [mount.kind === "writable" ? "--bind" : "--ro-bind", mount.source, mount.target]),
    ["--remount-ro", "/"],
    ["--chdir", plan.cwd],
  ];
}

/** One file of /etc, read from a descriptor of its own. */
export function etcOption({ name, over }: BubblewrapFacts["etc"][number], descriptor: number): readonly string[] {
  return [...(over ? ["--ro-bind-data"] : ["--perms", "0444", "--file"]), String(descriptor), `/etc/${name}`];
}

/** The arguments of bwrap, one option with its operands in each line. */
export function bubblewrapOptions(plan: SandboxPlan, facts: BubblewrapFacts): readonly (readonly string[])[] {
  const { identity } = plan;
  return [
    namespaceOption(plan),
    ["--uid", String(identity.uid), "--gid", String(identity.gid)],
    ...isolationOptions(plan),
    ...directoryOptions(facts.root.map(({ target }) => target)),
    ...facts.root.map((entry) =>
      entry.kind === "symlink" ? ["--symlink", entry.to, entry.target] : ["--ro-bind", entry.source, entry.target],
    ),
    ...facts.etc.map((file, index) => etcOption(file, FIRST_ETC_DESCRIPTOR + index)),
    ...placeOptions(plan),
  ];
}

function enterLines(plan: SandboxPlan): readonly string[] {
  if (plan.identity.kind === "user-namespace") return [];
  // The same user namespace that Garth makes once for all its sandboxes; a here-document is written in one piece, as the
  // kernel asks of an id map.
  return [
    "  unshare --user --keep-caps sh -c 'echo 0 >/proc/sys/user/max_user_namespaces; exec sleep 10' &",
    "  holder=$!",
    '  until [ "$(cat "/proc/$holder/comm")" = sleep ]; do :; done',
    "  for map in uid_map gid_map; do",
    '    cat >"/proc/$holder/$map" <<MAP',
    ...ID_MAP.trimEnd().split("\n"),
    "MAP",
    "  done",
    `  exec ${NAMESPACE_DESCRIPTOR}<"/proc/$holder/ns/user"`,
    '  kill "$holder"',
  ];
}

/** Each file of /etc waits on a descriptor of its own; bwrap reads it from there. */
function etcLines(plan: SandboxPlan, facts: BubblewrapFacts): readonly string[] {
  const files = etcFiles(plan);
  return facts.etc.flatMap(({ name }, index) => [`exec ${FIRST_ETC_DESCRIPTOR + index}<<'EOF'`, `${files[name] ?? ""}EOF`]);
}

export function bubblewrapScript(plan: SandboxPlan, facts: BubblewrapFacts): string {
  const { limits } = plan;
  const joins = (facts.cgroup?.joins ?? []).map((file) => `  echo 0 >${shellQuote(file)}`);
  const command = [
    ...(facts.clearGroups ? ["setpriv", "--clear-groups"] : []),
    ...(facts.processCeiling === undefined ? [] : ["prlimit", `--nproc=${facts.processCeiling}`]),
    "bwrap",
  ];
  return [
    "#!/bin/sh",
    `# The sandbox ${plan.hostname}.`,
    "#   enter   opens a shell in it, as the build user, with the same mounts and limits on files",
    "#   run     what Garth does: the builder, with control groups, ended by Garth when a limit is reached;",
    plan.identity.kind === "drop"
      ? `#           descriptor ${NAMESPACE_DESCRIPTOR} is the user namespace, ${STATUS_DESCRIPTOR} takes bwrap's status documents`
      : `#           descriptor ${STATUS_DESCRIPTOR} takes bwrap's status documents`,
    "# shellcheck disable=SC3045 # Not of POSIX, but every sh of Linux has these options of ulimit.",
    "set -eu",
    "umask 022",
    'case "${1-}" in',
    "run)",
    "  exec 2>&1",
    ...joins,
    `  set -- --new-session --json-status-fd ${STATUS_DESCRIPTOR} -- \\`,
    `    ${plan.argv.map(shellQuote).join(" ")}`,
    "  ;;",
    "enter)",
    ...enterLines(plan),
    "  set -- -- /bin/sh -i",
    "  ;;",
    "*)",
    '  echo "usage: sh $0 enter" >&2',
    "  exit 2",
    "  ;;",
    "esac",
    ...etcLines(plan, facts),
    "ulimit -c 0",
    `ulimit -f ${fileSizeBlocks(limits.outputBytes)}`,
    "# Without the right to raise it, the limit stays at what this process has.",
    `ulimit -n ${limits.openFiles} 2>/dev/null || :`,
    `exec ${command.join(" ")} \\`,
    ...bubblewrapOptions(plan, facts).map((option) => `  ${option.map(shellQuote).join(" ")} \\`),
    '  "$@"',
    "",
  ].join("\n");
}
