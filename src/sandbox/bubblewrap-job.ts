/**
 * The sandbox on a Linux host over SSH, as one script (job.ts says how it is spoken to): bubblewrap, with what is needed around it done by
 * sh, coreutils and util-linux. Pure.
 *
 *     sources and places looked at ──► directories ──► (root) user namespace ──► control groups ──► bwrap ──► all ended ──► undone
 *
 * What only the host knows is found by the script: the user's number, which paths of the host view are symlinks there, where control groups
 * can be made. Without control groups each process is limited for itself.
 *
 * Two files in the scratch directory say what there is to undo: bwrap's own account of the process it started, and the names of the control
 * groups. What is mounted is mounted in a namespace that ends with its processes.
 *
 * util-linux and env(1) of coreutils are called by their whole names: busybox sh would take smaller ones of its own.
 */
import { shellQuote } from "../host/index.ts";
import { asRoot, ENDING_FUNCTIONS, groupFunctions, judgeFunction, NAMESPACE_FUNCTIONS } from "./bubblewrap-job-control.ts";
import {
  directoryOptions,
  etcFiles,
  etcOption,
  fileSizeBlocks,
  FIRST_ETC_DESCRIPTOR,
  isolationOptions,
  namespaceOption,
  placeOptions,
  STATUS_DESCRIPTOR,
} from "./bubblewrap-script.ts";
import { JOB_SCRIPT_NAME, jobScript } from "./job-script.ts";
import { covers } from "./plan.ts";
import { MADE_BY_SANDBOX, type RootEntry } from "./root.ts";
import type { RenderedSandbox, SandboxPlan } from "./types.ts";
import { writableDirectories } from "./watch.ts";

/** The files for a plan; `root` is what stands at the top of its build root: of a host view presumed, and looked at there. Pure. */
export function bubblewrapJob(plan: SandboxPlan, root: readonly RootEntry[]): RenderedSandbox {
  return {
    enter: `sh ${shellQuote(`${plan.scratch}/${JOB_SCRIPT_NAME}`)} enter`,
    files: {
      [JOB_SCRIPT_NAME]: jobScript(plan, {
        what: "bubblewrap for one build",
        variables: variables(plan),
        functions: [
          asRoot(plan) ? NAMESPACE_FUNCTIONS : "",
          asRoot(plan) ? groupFunctions(plan) : "",
          linkFunctions(plan, root),
          setUpFunctions(plan, root),
          sandboxFunctions(plan, root),
          ENDING_FUNCTIONS,
        ].join("\n"),
        judge: judgeFunction(plan),
      }),
    },
  };
}

function variables(plan: SandboxPlan): string {
  return `# In the scratch directory: what bwrap says of the processes that it started; the control groups; the builder's output on its way.
inside_file=$scratch/bwrap.json
groups_file=$scratch/bwrap.groups
output_pipe=$scratch/bwrap.output
memory_group='' pids_group='' relay='' holder=''
${asRoot(plan) ? "cgroups=/sys/fs/cgroup\n" : ""}${plan.root.kind === "host" ? "newline='\n'\n" : ""}`;
}

/** Directories on the way to a mount's place, and the place, as far as the build root has them: where a symlink would lead elsewhere. */
function placesInRoot(plan: SandboxPlan, root: readonly RootEntry[], target: string): readonly string[] {
  const parts = target.split("/").slice(1);
  const prefixes = parts.map((_, index) => `/${parts.slice(0, index + 1).join("/")}`);
  if (plan.root.kind === "host") return prefixes.filter((prefix) => root.some((entry) => covers(entry.target, prefix)));
  const { physical } = plan.root;
  return MADE_BY_SANDBOX.has(parts[0] ?? "") ? [] : prefixes.map((prefix) => `${physical}${prefix}`);
}

function setUpFunctions(plan: SandboxPlan, root: readonly RootEntry[]): string {
  const writable = writableDirectories(plan).map(shellQuote).join(" \\\n    ");
  return `
left_over() {
  [ -s "$inside_file" ] || [ -s "$groups_file" ]
}

# Mount N has no source.
lacking() {
  event missing "$1"
  sound=
}

# N and paths of the build root, none of which may be a symlink: the place of mount N.
keep_out() {
  index=$1
  shift
  for path; do
    [ ! -L "$path" ] || {
      event refused "$index"
      sound=
      return 0
    }
  done
}

set_up() {
${
  asRoot(plan)
    ? ""
    : `  [ "$(id -u)" != 0 ] || {
    echo 'a user namespace of one user, which for root would be root outside' >&2
    exit 3
  }
`
}  command -v bwrap >/dev/null || {
    echo 'there is no bwrap' >&2
    exit 3
  }
  sound=1
${lookLines(plan, root).join("\n")}
  [ -n "$sound" ] || exit 3
${plan.root.kind === "host" ? "  find_links\n" : ""}${
    asRoot(plan)
      ? `  begin_namespace
  install -d -o "$uid" -g "$gid" -m 0755 \\\n    ${writable}
  if find_groups 2>/dev/null && make_groups 2>/dev/null; then
    event limits all
  else
    end_inside 2>/dev/null
    : >"$groups_file"
    memory_group='' pids_group=''
    event limits each
  fi`
      : `  install -d -m 0755 \\\n    ${writable}
  event limits each`
  }
  # Open to all who have it open: a builder may open its output again by name. The way to it is open to nobody.
  [ -p "$output_pipe" ] || mkfifo -m 0666 "$output_pipe"
${asRoot(plan) ? "  open_namespace\n" : ""}  if [ "$verb" != enter ]; then
    cat "$output_pipe" 3<&- </dev/null 2>/dev/null &
    relay=$!
  fi
  event created
}
`;
}

function lookLines(plan: SandboxPlan, root: readonly RootEntry[]): readonly string[] {
  const absent =
    plan.root.kind === "world"
      ? [`  [ -d ${shellQuote(plan.root.physical)} ] || {`, "    echo 'the world is not there' >&2", "    exit 3", "  }"]
      : plan.root.paths.flatMap((path, index) =>
          root.some(({ target }) => target === path)
            ? [`  [ -e ${shellQuote(path)} ] || [ -L ${shellQuote(path)} ] || event absent ${index}`]
            : [],
        );
  const needs = plan.mounts.flatMap((mount, index) =>
    mount.kind === "read-only"
      ? [`  [ ${mount.type === "directory" ? "-d" : "-e"} ${shellQuote(mount.source)} ] || lacking ${index}`]
      : [],
  );
  const places = plan.mounts.flatMap(({ target }, index) => {
    const paths = placesInRoot(plan, root, target);
    return paths.length === 0 ? [] : [`  keep_out ${index} ${paths.map(shellQuote).join(" ")}`];
  });
  return [...absent, ...needs, ...places];
}

const optionLines = (options: readonly (readonly string[])[], indent: string): string =>
  options.map((option) => `${indent}${option.map(shellQuote).join(" ")} \\\n`).join("");

/** All at once: each by itself would cost a process. Only a link is answered for, with a line. */
function linkFunctions(plan: SandboxPlan, root: readonly RootEntry[]): string {
  if (plan.root.kind === "world") return "";
  return `
# Where those of the host view lead that are symlinks there.
find_links() {
  links=$(/usr/bin/readlink ${root.map(({ target }) => shellQuote(target)).join(" ")}) || :
}

next_link() {
  link=\${links%%"$newline"*}
  links=\${links#*"$newline"}
}
`;
}

/** Each puts one option before those that are there; what stands at the top of the root does not overlap, so its order says nothing. */
function rootLines(plan: SandboxPlan, root: readonly RootEntry[]): string {
  const { root: buildRoot } = plan;
  if (buildRoot.kind === "world") {
    return `  set -- \\\n${optionLines(
      root.map((entry) =>
        entry.kind === "symlink"
          ? ["--symlink", entry.to, entry.target]
          : ["--ro-bind", `${buildRoot.physical}${entry.target}`, entry.target],
      ),
      "    ",
    )}    "$@"`;
  }
  return root
    .map(({ target }) => {
      const path = shellQuote(target);
      return `  if [ -L ${path} ]; then
    next_link
    set -- --symlink "$link" ${path} "$@"
  elif [ -e ${path} ]; then
    set -- --ro-bind ${path} ${path} "$@"
  fi`;
    })
    .join("\n");
}

/** Files of /etc, made where it is the sandbox's own; else a file is laid over one of the world's, which the script looks for. */
function etcLines(plan: SandboxPlan, root: readonly RootEntry[]): string {
  const { root: buildRoot } = plan;
  const top = root.find(({ target }) => target === "/etc");
  return Object.entries(etcFiles(plan, { uid: "$uid", gid: "$gid" }))
    .flatMap(([name, text], index) => {
      const descriptor = FIRST_ETC_DESCRIPTOR + index;
      const put = (over: boolean, indent: string): string =>
        `${indent}set -- ${etcOption({ name, over }, descriptor).join(" ")} "$@"\n${indent}exec ${descriptor}<<EOF\n${text}EOF`;
      if (buildRoot.kind === "host")
        return buildRoot.paths.some((path) => covers(path, `/etc/${name}`)) ? [] : [put(false, "  ")];
      if (top === undefined) return [put(false, "  ")];
      if (top.kind === "symlink") return [];
      const file = shellQuote(`${buildRoot.physical}/etc/${name}`);
      return [`  if [ -f ${file} ] && [ ! -L ${file} ]; then\n${put(true, "    ")}\n  fi`];
    })
    .join("\n");
}

/** What becomes bwrap, with rights and limits of its own. */
function beforeBubblewrap(plan: SandboxPlan): string {
  const { limits } = plan;
  const count = asRoot(plan)
    ? // Its init inside is one more.
      `    processes=${limits.processes + 1}`
    : // The kernel counts all that this user has.
      `    processes=${limits.processes + 1_000}
    for process in /proc/[0-9]*; do
      # shellcheck disable=SC3067 # Not of POSIX, but of every sh of Linux.
      [ ! -O "$process" ] || processes=$((processes + 1))
    done`;
  return `  if [ -z "$memory_group" ]; then
    # What it may write to, not what it has set aside: that costs nothing.
    ulimit -d ${Math.ceil(limits.memoryBytes / 1024)}
${count}
    set -- /usr/bin/prlimit --nproc="$processes" "$@"
  fi
  # A shell has what it starts in the background ignore two signals: the builder has none of its ways.
  set -- /usr/bin/env --default-signal "$@"
${asRoot(plan) ? `  set -- /usr/bin/setpriv --clear-groups "$@"\n` : ""}  exec "$@"`;
}

function sandboxFunctions(plan: SandboxPlan, root: readonly RootEntry[]): string {
  const { limits } = plan;
  const targets = root.map(({ target }) => target);
  return `
# With more options, and behind -- what runs in it.
# shellcheck disable=SC3045 # Not of POSIX, but every sh of Linux has these options of ulimit.
sandbox() {
  set -- \\
${optionLines(placeOptions(plan), "    ")}    --json-status-fd ${STATUS_DESCRIPTOR} \\
    "$@"
${etcLines(plan, root)}
${rootLines(plan, root)}
  set -- bwrap \\
    ${namespaceOption(plan).join(" ")} --uid "$uid" --gid "$gid" \\
${optionLines([...isolationOptions(plan), ...directoryOptions(targets)], "    ")}    "$@"
${asRoot(plan) ? "  join_groups\n" : ""}  ulimit -c 0
  ulimit -f ${fileSizeBlocks(limits.outputBytes)}
  # Without the right to raise it, the limit stays at what this process has.
  ulimit -n ${limits.openFiles} 2>/dev/null || :
${beforeBubblewrap(plan)}
}

builder() {
  exec >"$output_pipe" 2>&1 ${STATUS_DESCRIPTOR}>"$inside_file"
  echo open >&${STATUS_DESCRIPTOR}
  sandbox --new-session -- \\
    ${plan.argv.map(shellQuote).join(" ")}
}

inner_shell() {
  exec ${STATUS_DESCRIPTOR}>"$inside_file"
  sandbox -- /bin/sh -i
}
`;
}
