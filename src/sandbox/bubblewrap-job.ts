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
import { sha256 } from "../base/index.ts";
import { shellQuote } from "../host/index.ts";
import {
  directoryOptions,
  etcFiles,
  etcOption,
  fileSizeBlocks,
  FIRST_ETC_DESCRIPTOR,
  ID_MAP,
  isolationOptions,
  NAMESPACE_DESCRIPTOR,
  namespaceOption,
  placeOptions,
  STATUS_DESCRIPTOR,
} from "./bubblewrap-script.ts";
import { type CgroupPlan, planCgroup } from "./cgroup.ts";
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

const asRoot = (plan: SandboxPlan): boolean => plan.identity.kind !== "user-namespace";

/** Not a name that Garths on that host give: their sweep leaves it alone. */
function groupName(plan: SandboxPlan): string {
  return `garth-job-${plan.id}-${sha256(plan.scratch).slice(0, 12)}`;
}

/** The files lie in directories that the script finds, and has in these variables. */
function groupPlans({ limits }: SandboxPlan): Readonly<Record<"v1" | "v2", CgroupPlan | undefined>> {
  return {
    v1: planCgroup({ kind: "v1", memory: "memory", pids: "pids" }, "group", limits),
    v2: planCgroup({ kind: "v2", mount: "memory" }, "group", limits),
  };
}

const inGroup = (file: string): string => `"${file.replace(/^(memory|pids)(\/garth)?\/group/, "$$$1_group")}"`;

function variables(plan: SandboxPlan): string {
  return `# In the scratch directory: what bwrap says of the processes that it started; the control groups; the builder's output on its way.
inside_file=$scratch/bwrap.json
groups_file=$scratch/bwrap.groups
output_pipe=$scratch/bwrap.output
memory_group='' pids_group='' relay='' holder=''
${asRoot(plan) ? "cgroups=/sys/fs/cgroup\n" : ""}${plan.root.kind === "host" ? "newline='\n'\n" : ""}`;
}

const NAMESPACE_FUNCTIONS = `
# A user namespace in which every id is itself but root's, and which allows none below. bwrap enters it, takes on the user's numbers and
# keeps its rights until all is mounted. It is made while other things are; a process holds it until it is held by a descriptor.
begin_namespace() {
  /usr/bin/unshare --user --keep-caps sh -c \\
    'echo 0 >/proc/sys/user/max_user_namespaces && exec /bin/sleep 10' 3<&- </dev/null >/dev/null &
  holder=$!
}

open_namespace() {
  until read -r name <"/proc/$holder/comm" && [ "$name" = sleep ]; do
    began "$holder" || return 1
  done
  # In one piece, as the kernel asks.
  for map in uid_map gid_map; do
    printf '${ID_MAP.replaceAll("\n", "\\n")}' >"/proc/$holder/$map"
  done
  exec ${NAMESPACE_DESCRIPTOR}<"/proc/$holder/ns/user"
  end_process KILL "$holder"
  holder=
}
`;

/** One line of shell for each setting. */
function settingLines(cgroup: CgroupPlan | undefined): string {
  return (cgroup?.settings ?? [])
    .map(({ file, value, optional }) => {
      const write = `echo ${value} >${inGroup(file)} || return 1`;
      return `    ${optional ? `[ ! -e ${inGroup(file)} ] || ` : ""}${write}`;
    })
    .join("\n");
}

function groupFunctions(plan: SandboxPlan): string {
  const groups = groupPlans(plan);
  return `
# Version 2 allows no processes beside child groups but at its top, so groups lie in one of Garth's there. Version 1: below the group that
# this script is in, whose limits go on counting; in a container the path may be that of the host.
find_groups() {
  if [ -f "$cgroups/cgroup.controllers" ]; then
    read -r controllers <"$cgroups/cgroup.controllers" || return 1
    case " $controllers " in *' memory '*) ;; *) return 1 ;; esac
    case " $controllers " in *' pids '*) ;; *) return 1 ;; esac
    echo '+memory +pids' >"$cgroups/cgroup.subtree_control" || return 1
    [ -d "$cgroups/garth" ] || mkdir "$cgroups/garth" || return 1
    echo '+memory +pids' >"$cgroups/garth/cgroup.subtree_control" || return 1
    memory_group=$cgroups/garth/${groupName(plan)}
    pids_group=$memory_group
    return 0
  fi
  memory_parent='' pids_parent=''
  while IFS=: read -r _ names path; do
    case ,$names, in *,memory,*) memory_parent=$cgroups/memory\${path%/} ;; esac
    case ,$names, in *,pids,*) pids_parent=$cgroups/pids\${path%/} ;; esac
  done </proc/self/cgroup
  [ -d "$memory_parent" ] || memory_parent=$cgroups/memory
  [ -d "$pids_parent" ] || pids_parent=$cgroups/pids
  [ -w "$memory_parent/tasks" ] && [ -w "$pids_parent/tasks" ] || return 1
  memory_group=$memory_parent/${groupName(plan)}
  pids_group=$pids_parent/${groupName(plan)}
}

# Written down before they are made. What has their names is of a scratch directory that was here before.
make_groups() {
  printf '%s\\n' "$memory_group" "$pids_group" >"$groups_file"
  end_inside || return 1
  if [ "$memory_group" = "$pids_group" ]; then
    mkdir "$memory_group" || return 1
${settingLines(groups.v2)}
  else
    mkdir "$memory_group" "$pids_group" || return 1
${settingLines(groups.v1)}
  fi
}

# A process of one thread writes 0 for itself. In version 1 into \`tasks\`: the whole process would be moved under a lock that waits long.
join_groups() {
  [ -n "$memory_group" ] || return 0
  if [ "$memory_group" = "$pids_group" ]; then
    echo 0 >"$memory_group/cgroup.procs"
  else
    echo 0 >"$memory_group/tasks"
    echo 0 >"$pids_group/tasks"
  fi
}
`;
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

/** A file is laid over one of a world, or made where /etc is the sandbox's own; which of them, the script sees. */
function etcLines(plan: SandboxPlan): string {
  const { root } = plan;
  const files = Object.entries(etcFiles(plan, { uid: "$uid", gid: "$gid" }));
  const lines = files.flatMap(([name, text], index) => {
    const descriptor = FIRST_ETC_DESCRIPTOR + index;
    const held = `exec ${descriptor}<<EOF\n${text}EOF`;
    const put = (over: boolean): string => `set -- ${etcOption({ name, over }, descriptor).join(" ")} "$@"`;
    if (root.kind === "host") {
      return root.paths.some((path) => covers(path, `/etc/${name}`)) ? [] : [`  ${held}\n  ${put(false)}`];
    }
    const file = shellQuote(`${root.physical}/etc/${name}`);
    return [
      `  if [ -n "$own_etc" ]; then
    ${put(false)}
    ${held}
  elif [ -f ${file} ] && [ ! -L ${file} ] && [ ! -L ${shellQuote(`${root.physical}/etc`)} ]; then
    ${put(true)}
    ${held}
  fi`,
    ];
  });
  const etc = shellQuote(root.kind === "world" ? `${root.physical}/etc` : "/etc");
  const own = root.kind === "world" ? [`  own_etc=\n  [ -e ${etc} ] || [ -L ${etc} ] || own_etc=1`] : [];
  return [...own, ...lines].join("\n");
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
${etcLines(plan)}
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

const ENDING_FUNCTIONS = `
# The first process inside, as bwrap said: when it ends, so do all in its namespace. Its number may be another's by now, its namespace's not as
# well.
inside_runs() {
  [ -n "$inside" ] && [ "$(readlink "/proc/$inside/ns/pid")" = "pid:[$namespace]" ]
}

# Every process of the sandbox, and the control groups, which prove it.
end_inside() {
  inside='' namespace=''
  if [ -s "$inside_file" ]; then
    while read -r line; do
      case $line in *'"child-pid": '*'"pid-namespace": '*)
        inside=\${line##*'"child-pid": '}
        inside=\${inside%%[!0-9]*}
        namespace=\${line##*'"pid-namespace": '}
        namespace=\${namespace%%[!0-9]*}
        ;;
      esac
    done <"$inside_file"
  fi
  if [ -s "$groups_file" ]; then
    { read -r memory_group && read -r pids_group; } <"$groups_file" || :
  fi
  round=0
  until ended; do
    round=$((round + 1))
    [ "$round" -lt 200 ] || return 1
    [ "$round" -lt 3 ] || sleep 0.05
  done
}

ended() {
  if [ -z "$memory_group" ]; then
    inside_runs || return 0
    kill -KILL "$inside"
    return 1
  fi
  set --
  [ ! -d "$memory_group" ] || set -- "$memory_group"
  [ ! -d "$pids_group" ] || [ "$pids_group" = "$memory_group" ] || set -- "$pids_group" "$@"
  if [ $# -eq 0 ] || rmdir "$@"; then return 0; fi
  for file in "$memory_group/cgroup.procs" "$pids_group/cgroup.procs"; do
    [ -f "$file" ] || continue
    # 0 is a process that cannot be seen from here, and would be this script's own.
    while read -r process; do
      [ "$process" = 0 ] || kill -KILL "$process"
    done <"$file"
  done
  return 1
}

# Emptied, and not removed: that costs a process. The pipe is used again.
take_down() {
  end_process KILL "$holder"
  end_inside 2>/dev/null || return 1
  end_process KILL "$relay"
  holder='' relay=''
  : >"$inside_file"
  : >"$groups_file"
}
`;

/** The builder has ended, and what it printed has been handed on, before anything is said of it. */
function judgeFunction(plan: SandboxPlan): string {
  const counters = (cgroup: CgroupPlan | undefined): string =>
    (cgroup?.counters ?? [])
      .map(
        ({ limit, file, key }) => `    if counted ${key} ${inGroup(file)}; then event limit ${limit} ${plan.limits[limit]}; fi`,
      )
      .join("\n");
  const { v1, v2 } = groupPlans(plan);
  return `
# Fails when bwrap gave up before there was a builder.
judge() {
${
  asRoot(plan)
    ? `  if [ -z "$memory_group" ] || [ -s "$scratch/limit" ]; then
    :
  elif [ "$memory_group" = "$pids_group" ]; then
${counters(v2)}
  else
${counters(v1)}
  fi
`
    : ""
}  end_inside 2>/dev/null || return 0
  if [ -s "$inside_file" ]; then
    # It ends with the last of those that can write to it.
    wait "$relay" || :
    while read -r line; do
      case $line in *'"exit-code": '*) return 0 ;; esac
    done <"$inside_file"
  fi
  # Ended from outside.
  [ "$status" -le 128 ] || return 0
  echo 'bwrap could not make the sandbox, or could not start the builder in it: the output says why' >&2
  return 1
}
${
  asRoot(plan)
    ? `
# KEY, FILE: whether the number behind the key is more than 0.
counted() {
  while read -r key number; do
    [ "$key" != "$1" ] || [ "$number" = 0 ] || return 0
  done <"$2"
  return 1
}
`
    : ""
}`;
}
