/**
 * What scripts that were killed, or whose host was switched off, have left below a host's directory (remote/types.ts), undone by the next who
 * comes. Pure.
 *
 *     lock ──► tmp/*: owner dead? ──► its own run.sh teardown ──► jails and mounts below it ──► removed
 *                └─ lives: not touched              └─ not all of it can be undone: left for the next sweep, with its build user
 *          ──► incoming/*: owner dead? removed
 *          ──► users/*: owner dead? let go
 *
 * Owners are "PID START" in a file `owner`, or in a link's target. A directory without an owner is one whose owner has just made it, or a very old
 * one. What somebody wants to look at is undone, and kept.
 *
 * Events: `swept scratch | incoming NAME`, `swept user NUMBER`, `stuck NAME`, `locked` (another sweep is at it and takes its time: nothing was done).
 */
import { operatingSystemOf, type System } from "../base/index.ts";
import { SCRIPT_HEAD, shellQuote } from "../host/index.ts";
import { PLAIN_FUNCTION, UNMOUNT_FUNCTIONS, UNMOUNT_VARIABLES } from "./jail-files.ts";
import { aliveFunctions, KEPT_FILE, OWNER_FILE, removeFunction } from "./job-owner.ts";
import { JOB_SCRIPT_NAME } from "./job-script.ts";

/** How long another sweep is waited for. */
const LOCK_SECONDS = 120;
/** sysexits(3) EX_TEMPFAIL: what lockf(1) ends with when the lock is held. */
const LOCKED = 75;
/** How old something is that has no owner and never will. */
const OWNERLESS_MINUTES = 60;

/** For wholeScript. `directory` is the host's own, whole path. Status 1 when something is stuck. */
export function sweepScript(directory: string, system: System): string {
  const lock =
    operatingSystemOf(system) === "freebsd" ? `lockf -k -s -t ${LOCK_SECONDS}` : `/usr/bin/flock -w ${LOCK_SECONDS} -E ${LOCKED}`;
  return `${SCRIPT_HEAD}
# shellcheck disable=SC2016 # Whatever is in its name.
top=${shellQuote(directory)}
[ -d "$top/tmp" ] || exit 0
status=0
# shellcheck disable=SC2016 # The dollars are for the script under the lock.
${lock} "$top/lock" sh -c ${shellQuote(sweepUnderLock(system))} sweep "$top" </dev/null || status=$?
if [ "$status" -eq ${LOCKED} ]; then
  event locked
  exit 0
fi
exit "$status"
`;
}

/** The part that is run alone: $1 is the directory. */
export function sweepUnderLock(system: System): string {
  return `${SCRIPT_HEAD}
# Whoever asked may be gone: what is begun is ended all the same.
trap '' HUP PIPE
cd -P "$1"
top=$PWD
cd /
${UNMOUNT_VARIABLES}
status=0 spared=$newline

${aliveFunctions(system)}
${removeFunction(system)}

${operatingSystemOf(system) === "freebsd" ? FREEBSD_CLEARING : LINUX_CLEARING}

say() {
  event "$@" || :
}

# Whether nobody answers for a directory any more.
abandoned() {
  [ -d "$1" ] && [ ! -L "$1" ] || return 1
  case $1 in *"$newline"*) return 1 ;; esac
  owner=
  if [ -f "$1/${OWNER_FILE}" ]; then read -r owner <"$1/${OWNER_FILE}" || :; fi
  if [ -n "$owner" ]; then
    if alive "$owner"; then return 1; fi
  else
    [ -n "$(find "$1" -prune -mmin +${OWNERLESS_MINUTES})" ]
  fi
}

# By the script that made it, which knows most; then by what can be seen of it.
undo() {
  if [ -f "$1/${JOB_SCRIPT_NAME}" ]; then sh "$1/${JOB_SCRIPT_NAME}" teardown >&2 || :; fi
  root=$1
  clear_below
}

for scratch in "$top"/tmp/*; do
  abandoned "$scratch" || continue
  name=\${scratch##*/}
  whose=$owner
  if undo "$scratch" && { [ -f "$scratch/${KEPT_FILE}" ] || remove_tree "$scratch"; }; then
    [ -f "$scratch/${KEPT_FILE}" ] || say swept scratch "$name"
  else
    # Its processes may live on: nobody else becomes their user.
    spared=$spared$whose$newline
    status=1
    say stuck "$name"
  fi
done

for left in "$top"/incoming/*; do
  abandoned "$left" || continue
  name=\${left##*/}
  if remove_tree "$left"; then
    say swept incoming "$name"
  else
    status=1
    say stuck "$name"
  fi
done

for link in "$top"/users/*; do
  [ -L "$link" ] || continue
  whose=$(readlink "$link") || continue
  case $spared in *"$newline$whose$newline"*) continue ;; esac
  if ! alive "$whose"; then
    rm -f "$link"
    say swept user "\${link##*/}"
  fi
done
exit "$status"
`;
}

const FREEBSD_CLEARING = `${UNMOUNT_FUNCTIONS}

# Jails whose path is $root or below it, then the mounts there.
clear_below() {
  jails=$(jls jid path) || return 1
  IFS=$newline
  set -f
  for line in $jails; do
    jid=\${line%% *}
    case \${line#* } in "$root" | "$root"/*) jail -q -R "$jid" >&2 || : ;; esac
  done
  set +f
  unset IFS
  unmount_below
}`;

const LINUX_CLEARING = `# What is mounted below $root, youngest first; what a sandbox mounts is in a namespace of its own and gone with it.
clear_below() {
  set --
  while read -r _ point _; do
    plain "$point"
    case $line in "$root" | "$root"/*) set -- "$line" "$@" ;; esac
  done </proc/self/mounts
  [ $# -eq 0 ] || umount "$@" 2>/dev/null || umount -l "$@" >&2
}

${PLAIN_FUNCTION}`;
