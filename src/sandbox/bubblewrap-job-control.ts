/**
 * What stands around bubblewrap in the script for a Linux host: the user namespace that it enters, the control groups, and how all that ran in
 * it is ended. Functions of the shell, with $scratch, $uid, $gid and the variables of bubblewrap-job.ts. Pure.
 */
import { sha256 } from "../base/index.ts";
import { ID_MAP, NAMESPACE_DESCRIPTOR } from "./bubblewrap-script.ts";
import { type CgroupPlan, planCgroup } from "./cgroup.ts";
import type { SandboxPlan } from "./types.ts";

/** The builder is a user of the host's. */
export const asRoot = (plan: SandboxPlan): boolean => plan.identity.kind !== "user-namespace";

/** Not a name that Garths on that host give: their sweep leaves it alone. */
export function jobGroupName(plan: SandboxPlan): string {
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

export const NAMESPACE_FUNCTIONS = `
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

export function groupFunctions(plan: SandboxPlan): string {
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
    memory_group=$cgroups/garth/${jobGroupName(plan)}
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
  memory_group=$memory_parent/${jobGroupName(plan)}
  pids_group=$pids_parent/${jobGroupName(plan)}
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

export const ENDING_FUNCTIONS = `
# The first process inside, as bwrap said: when it ends, so do all in its namespace. Its number may be another's by now, its namespace's not as
# well.
inside_runs() {
  [ -n "$inside" ] && began "$inside" && [ "$(readlink "/proc/$inside/ns/pid")" = "pid:[$namespace]" ]
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
export function judgeFunction(plan: SandboxPlan): string {
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
