/**
 * Whose something on a host is, in the words of the shell: scratch directories, copies on their way, build users belong to a script as long as it
 * lives. Pure.
 */
import { operatingSystemOf, type System } from "../base/index.ts";
import { shellQuote } from "../host/index.ts";
import type { SandboxPlan } from "./types.ts";

/** In a scratch directory: "PID START" of the script that owns it. */
export const OWNER_FILE = "owner";
/** In a scratch directory that somebody wants to look at: nobody removes it. */
export const KEPT_FILE = "kept";

/**
 * Functions of the shell. `began PID` sets $began to the time at which that process began, and fails when there is none. `alive TEXT`
 * says whether "PID START" is still the same living process.
 */
export function aliveFunctions(system: System): string {
  return operatingSystemOf(system) === "freebsd" ? FREEBSD_PROCESSES : LINUX_PROCESSES;
}

/**
 * The same, and `own_identity`, which sets $owner to that text for this shell; a script that it replaced by exec(2) may have said it
 * already, in GARTH_OWNER.
 */
export function processFunctions(system: System): string {
  return `${aliveFunctions(system)}
own_identity() {
  owner=\${GARTH_OWNER-}
  if [ "\${owner%% *}" != "$$" ]; then
    began "$$"
    owner="$$ $began"
  fi
}
`;
}

const LINUX_PROCESSES = `# In ticks since the boot: what ps(1) prints is computed anew each time, and jitters.
began() {
  began=
  { read -r began <"/proc/$1/stat"; } 2>/dev/null || :
  # Field 2 is a name in parentheses, which may hold blanks and more of them.
  # shellcheck disable=SC2086 # Into its fields.
  set -- \${began##*) }
  began=
  case \${1-Z} in Z | X) return 1 ;; esac
  began=\${20-}
  [ -n "$began" ]
}

alive() {
  case \${1%% *} in '' | *[!0-9]*) return 1 ;; esac
  began "\${1%% *}" && [ "$began" = "\${1#* }" ]
}
`;

const FREEBSD_PROCESSES = `# In seconds since the first process began: what ps(1) prints moves when somebody sets the clock, but for both alike.
began() {
  began='' first=0
  # shellcheck disable=SC2046 # Into its fields.
  set -- "$1" $(TZ=UTC ps -o pid= -o state= -o lstart= -p "1,$1" 2>/dev/null)
  pid=$1
  shift
  # PID STATE Sun Nov 29 14:27:51 2026
  while [ $# -ge 7 ]; do
    case $2 in
    Z*) ;;
    *)
      seconds_of "$4" "$5" "$6" "$7"
      [ "$1" != 1 ] || first=$seconds
      [ "$1" != "$pid" ] || began=$seconds
      ;;
    esac
    shift 7
  done
  [ -n "$began" ] || return 1
  began=$((began - first))
}

# Since some day long ago. The year begins in March, so that a day too many is at its end.
seconds_of() {
  case $1 in
  Jan) month=13 ;; Feb) month=14 ;; Mar) month=3 ;; Apr) month=4 ;; May) month=5 ;; Jun) month=6 ;;
  Jul) month=7 ;; Aug) month=8 ;; Sep) month=9 ;; Oct) month=10 ;; Nov) month=11 ;; *) month=12 ;;
  esac
  year=$4
  [ "$month" -le 12 ] || year=$((year - 1))
  days=$((365 * year + year / 4 - year / 100 + year / 400 + (153 * month - 457) / 5 + $2))
  hour=\${3%%:*} second=\${3##*:} minute=\${3#*:}
  minute=\${minute%:*}
  seconds=$((days * 86400 + \${hour#0} * 3600 + \${minute#0} * 60 + \${second#0}))
}

# Two times that are cut to whole seconds may be one further apart, or nearer.
alive() {
  case \${1%% *} in '' | *[!0-9]*) return 1 ;; esac
  case \${1#* } in '' | *[!0-9-]*) return 1 ;; esac
  began "\${1%% *}" || return 1
  apart=$((began - \${1#* }))
  [ "$apart" -ge -1 ] && [ "$apart" -le 1 ]
}
`;

/**
 * Numbers of build users on one host: a symlink for each that is taken, made whole or not at all. One that a dead script left is passed over
 * here; only the sweep removes it, under its lock.
 */
export function userFunctions({ identity }: SandboxPlan): string {
  if (identity.kind !== "choose") {
    return `take_user() {
  uid=${identity.uid}
  gid=${identity.gid}
  event user "$uid" "$gid"
}

let_user_go() {
  [ -z "\${user_link-}" ]
}

find_user() {
  :
}`;
  }
  return `taken=${shellQuote(identity.taken)}
user_link=''

# The number that this scratch had before, so that a kept sandbox is entered as who left it; else the lowest that nobody has.
take_user() {
  [ -d "$taken" ] || mkdir -p "$taken"
  if [ -f "$scratch/user" ] && read -r uid <"$scratch/user" && link_user; then return 0; fi
  uid=${identity.uid}
  while [ "$uid" -lt ${identity.uid + identity.count} ]; do
    refusal=
    if link_user; then return 0; fi
    if [ -n "$refusal" ]; then
      printf '%s\\n' "$refusal" >&2
      return 1
    fi
    uid=$((uid + 1))
  done
  echo 'every build user from ${identity.uid} to ${identity.uid + identity.count - 1} is taken' >&2
  return 1
}

# Fails where the number is taken, and with $refusal where no link can be made at all.
link_user() {
  [ ! -L "$taken/$uid" ] && [ ! -e "$taken/$uid" ] || return 1
  if ! refusal=$(ln -sn "$owner" "$taken/$uid" 2>&1); then
    case $refusal in *exists*) refusal= ;; esac
    return 1
  fi
  user_link=$taken/$uid
  gid=$uid
  echo "$uid" >"$scratch/user"
  event user "$uid" "$gid"
}

let_user_go() {
  [ -L "$user_link" ] || return 0
  rm -f "$user_link"
}

# What a run that was killed has: $owner is what it called itself.
find_user() {
  [ -f "$scratch/user" ] && read -r uid <"$scratch/user" || return 0
  [ "$(readlink "$taken/$uid")" != "\${owner-}" ] || user_link=$taken/$uid
}`;
}

/** `remove_tree DIR`, which stays on one file system where rm(1) can. */
export function removeFunction(system: System): string {
  return operatingSystemOf(system) === "freebsd"
    ? `# A builder may have marked files of its own as not to be removed, root or not (chflags(1): uunlnk).
remove_tree() {
  rm -rfx "$1" 2>/dev/null || { chflags -Rx 0 "$1" && rm -rfx "$1"; } >&2
}`
    : `# Who is not root cannot empty a directory without the right to write into it.
remove_tree() {
  rm -rf "$1" 2>/dev/null || { chmod -R u+rwX "$1" && rm -rf "$1"; } >&2
}`;
}
