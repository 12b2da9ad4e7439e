/**
 * What a sandbox as a script is made of on either system (job.ts says how it is spoken to): whose it is, the build user, the leash, the
 * watch over time and over what is written, and the order in which all of it is undone. Pure.
 *
 *     claim ──► user ──► set_up ──► builder + leash + watch ──► all three ended ──► take_down ──► user let go ──► hold
 *       └─ whatever fails, and HUP, INT, TERM, a reader that is gone: from there to `finish`, which undoes what there is
 *
 * A process that waits in the background has nothing of the session's but what it is for, so that no pipe of a session stays open for it.
 * Every fork costs 5 to 10 ms on a host that is emulated: what the shell can do itself, it does.
 */
import { SCRIPT_HEAD, shellQuote } from "../host/index.ts";
import { KEPT_FILE, OWNER_FILE, processFunctions, removeFunction, userFunctions } from "./job-owner.ts";
import type { SandboxPlan } from "./types.ts";

export const JOB_SCRIPT_NAME = "run.sh";
/** What the two systems do each in their own way. */
export interface JobParts {
  /** "a thin jail for one build" */
  readonly what: string;
  /** Assignments; $scratch is set before them, and is the real path of the directory. */
  readonly variables: string;
  /**
   * Functions, with $scratch, $uid and $gid set:
   *
   *     left_over    whether a dead run has left anything here; true at little cost
   *     set_up       makes the sandbox and says \`created\`; when it fails, \`take_down\` follows
   *     builder      becomes the builder by exec: called in a process of its own, its input empty, its output in place
   *     inner_shell  the same with an interactive shell on this terminal
   *     take_down    undoes what \`set_up\` made, whole or in part, with everything that runs in it; also after another run; fails when
   *                  something is left, without a word of its own
   */
  readonly functions: string;
  /**
   * The function \`judge\`: between the builder's end, as $status says, and what is said of it. It may say that a limit was reached, and fails
   * when there was no builder.
   */
  readonly judge?: string;
}

/** How often a builder is looked at, and how long one that is told to end may take. */
const LOOK_EVERY_SECONDS = 3;
const GRACE_SECONDS = 5;

/** Directories whose content counts as written by the builder. */
const written = ({ mounts }: SandboxPlan): readonly string[] =>
  mounts.filter(({ kind }) => kind === "writable").map(({ source }) => source);

/** In the background, with the numbers of the plan. */
function watchFunctions(plan: SandboxPlan): string {
  const { limits } = plan;
  const seconds = Math.ceil(limits.wallClockMs / 1000);
  const first = Math.min(LOOK_EVERY_SECONDS, seconds);
  return `# The leash. Whoever started this script holds its other end.
hold_leash() {
  wanted || exit 0
  while read -r _; do :; done
  kill -TERM "$$"
}

# Looks at the clock and at what was written. A limit that was reached is named in a file, which is read when the builder has ended.
watch_limits() {
  set +e
  nap=
  trap 'kill -KILL "$nap"; exit 0' TERM
  wanted || exit 0
  since=
  pause=${first}
  while :; do
    doze sleep "$pause"
    # A script that was killed: what it led ends, unless somebody has undone it already and begun anew.
    if ! kill -0 "$$"; then
      kill "$leash"
      line=$owner
      [ ! -f "$scratch/${OWNER_FILE}" ] || read -r line <"$scratch/${OWNER_FILE}"
      [ "$line" != "$owner" ] || take_down
      exit 0
    fi
    looked=$(date +%s)
    # It began one pause ago: asking then would have cost each builder a process.
    [ -n "$since" ] || since=$((looked - pause))
    [ $((looked - since)) -lt ${seconds} ] || end_builder 'wallClockMs ${limits.wallClockMs}'
    doze du -sk \\
      ${written(plan).map(shellQuote).join(" \\\n      ")} >"$scratch/written"
    total=0
    while read -r kib _; do total=$((total + kib)); done <"$scratch/written"
    [ "$total" -lt ${Math.ceil(limits.outputBytes / 1024)} ] || end_builder 'outputBytes ${limits.outputBytes}'
    # Walking takes a tenth of the time, at most.
    now=$(date +%s)
    pause=$((${LOOK_EVERY_SECONDS} + 9 * (now - looked)))
    left=$((${seconds} - (now - since)))
    [ "$pause" -le "$left" ] || pause=$left
    [ "$pause" -gt 0 ] || pause=1
  done
}

# A signal is lost that comes to a new process while it still has the traps of the script: whoever sends one says it in a file, too.
wanted() {
  read -r going <"$scratch/going" && [ "$going" = yes ]
}

# What takes its time is waited for in such a way that a signal ends it at once.
doze() {
  "$@" &
  nap=$!
  wait "$nap"
}

end_builder() {
  echo "$1" >"$scratch/limit"
  kill -TERM "$builder"
  doze sleep ${GRACE_SECONDS}
  kill -KILL "$builder"
  exit 0
}`;
}

/** What another number left is given to this one. Links are changed themselves: their targets are the host's. */
function enterLines(plan: SandboxPlan): string {
  return plan.identity.kind === "choose"
    ? `  chown -Rh "$uid:$gid" \\\n    ${written(plan).map(shellQuote).join(" \\\n    ")}\n`
    : "";
}

/** The whole of run.sh. */
export function jobScript(plan: SandboxPlan, parts: JobParts): string {
  return `#!/bin/sh
# The sandbox ${plan.hostname}: ${parts.what}.
#   run        makes it, runs the builder, undoes it
#   serve      the same; then waits for a line: "keep" leaves the scratch directory, everything else removes it
#   enter      makes it, opens a shell in it as the build user, undoes it
#   teardown   undoes what a run that was killed has left
# When standard input ends while the builder runs, all is undone. The builder prints on standard output, both its streams. Standard error
# has a line for each event, and what the tools had to say. Status 0: the builder ran, an event says how it ended. 3: it did not.
# shellcheck disable=SC2016,SC2089,SC2090 # Words of the plan are quoted, whatever is in them.
${SCRIPT_HEAD}
cd -P ${shellQuote(plan.scratch)}
scratch=$PWD
cd /
${parts.variables.trimEnd()}

${processFunctions(plan.system)}
${userFunctions(plan)}

${watchFunctions(plan)}

${[parts.functions, parts.judge ?? ""].join("\n").trim()}

# Two at once in one directory would undo each other.
be_alone() {
  if [ -f "$scratch/${OWNER_FILE}" ] && read -r owner <"$scratch/${OWNER_FILE}" && [ "\${owner%% *}" != "$$" ] && alive "$owner"; then
    echo "process \${owner%% *} has this sandbox" >&2
    exit 3
  fi
}

begin() {
  be_alone
  own_identity
  printf '%s\\n' "$owner" >"$scratch/${OWNER_FILE}"
  trap finish EXIT
  trap 'leave 129' HUP
  trap 'leave 130' INT
  trap 'leave 141' PIPE
  trap 'leave 143' TERM
  if left_over; then
    event stale
    clear_away || exit 3
  fi
  take_user
  set_up
}

# Not between the start of a process and knowing its number.
leave() {
  [ -z "$starting" ] || {
    pending=$1
    return 0
  }
  exit "$1"
}

run_builder() {
  : >"$scratch/limit"
  echo yes >"$scratch/going"
  event started
  starting=1
  builder 3<&- </dev/null 2>&1 &
  builder=$!
  hold_leash <&3 >/dev/null 2>&1 &
  leash=$!
  watch_limits 3<&- </dev/null >/dev/null 2>&1 &
  watcher=$!
  starting=
  [ -z "$pending" ] || exit "$pending"
  status=0
  wait "$builder" || status=$?
  builder=
  end_watching
${parts.judge === undefined ? "" : "  judge\n"}  if [ -s "$scratch/limit" ]; then
    read -r limit <"$scratch/limit"
    event limit "$limit"
  fi
  event exited "$status"
  ran=1
}

end_watching() {
  [ -z "$leash$watcher" ] || : >"$scratch/going"
  end_process TERM "$leash"
  end_process TERM "$watcher"
  leash='' watcher=''
}

end_process() {
  [ -n "$2" ] || return 0
  kill -s "$1" "$2" 2>/dev/null || :
  wait "$2" 2>/dev/null || :
}

clear_away() {
  take_down && return 0
  event stuck
  return 1
}

${removeFunction(plan.system)}

remove_scratch() {
  remove_tree "$scratch" && return 0
  event stuck
  exit 3
}

# However this script ends. A number that may still be in use is not let go.
finish() {
  trap - EXIT
  trap '' HUP INT PIPE TERM
  set +e
  end_watching
  end_process KILL "$builder"
  clear_away || exit 3
  let_user_go
  if [ "$verb" = serve ]; then
    [ -z "$ran" ] || hold
    [ -n "$keep" ] || remove_scratch
  fi
  [ -n "$ran" ] || exit 3
  exit 0
}

hold() {
  trap 'remove_scratch; exit 0' HUP INT TERM
  event hold
  answer=
  read -r answer <&3
  trap '' HUP INT TERM
  if [ "$answer" = keep ]; then
    keep=1
    : >"$scratch/${KEPT_FILE}"
  fi
}

builder='' leash='' watcher='' starting='' pending='' ran='' keep='' user_link=''
verb=\${1-}
case $verb in
run | serve)
  exec 3<&0 </dev/null
  begin
  run_builder
  ;;
enter)
  begin
${enterLines(plan)}  trap : INT QUIT
  (inner_shell) || :
  ran=1
  ;;
teardown)
  be_alone
  if left_over; then clear_away || exit 3; fi
  find_user
  let_user_go
  ;;
*)
  echo "usage: sh $0 run | serve | enter | teardown" >&2
  exit 2
  ;;
esac
`;
}
