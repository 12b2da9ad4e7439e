/**
 * One machine of a pool on a FreeBSD host, as one sh script with verbs. Pure.
 *
 *     prepare   disk ──► identity ──► variables of the firmware ──► port               undone in reverse where one of them fails
 *     boot      daemon(8) ──► supervise ──► bhyve, again after each reboot            until its SSH server lets us in
 *     freeze    SIGSTOP to bhyve        thaw   SIGCONT
 *     destroy   bhyve ──► port ──► identity ──► disk ──► files, this script the last
 *
 * bhyve is found by the title that it gives itself, "bhyve: NAME", whoever started it; its supervisor by a file that daemon(8) holds locked
 * while it lives. The console is standard output of bhyve, kept in two files of a bounded size; its input is a pipe, console.in.
 */
import { shellQuote } from "../host/index.ts";
import { bhyveExit } from "../machine/index.ts";
import { EVENT_PREFIX, HAS_DATASET, scriptHead, wrapped } from "./freebsd-shell.ts";

/** Of each of the two files, console.log and console.log.0. */
const CONSOLE_BYTES_MAX = 1024 ** 2;
/** In the life of one boot: a guest that reboots more often does nothing else. */
const REBOOTS_MAX = 100;
/** Tenths of a second that bhyve may take to end, to stop, to go on. */
const TRIES_MAX = 100;
/** One attempt at its SSH server, whatever that does. */
const ATTEMPT_LIMIT_S = 20;
const ENDS = [1, 2, 3, 4] as const;

/** Below the machine's directory. */
export const ENTRY_FILES = {
  script: "machine.sh",
  disk: "disk/disk.img",
  seed: "seed.img",
  policy: "policy.conf",
  knownHosts: "known_hosts",
  variables: "variables.fd",
} as const;
/** What is made there while it is used. */
const MADE_FILES = [
  "prepared",
  "events",
  "supervisor.pid",
  "ending",
  "console.in",
  "console.out",
  "console.log",
  "console.log.0",
];

export type EntryDisk =
  | { readonly kind: "clone"; readonly snapshot: string; readonly clone: string }
  /** cp(1), which clones blocks where the file system can. */
  | { readonly kind: "copy"; readonly image: string };

export interface EntryScriptFacts {
  readonly id: string;
  readonly pool: string;
  /** In the kernel: /dev/vmm/NAME. Letters, digits, `-` and `_`. */
  readonly machine: string;
  readonly directory: string;
  readonly disk: EntryDisk;
  /** instance: the script that writes into the disk. */
  readonly identity: { readonly kind: "seed-disk" } | { readonly kind: "instance-file"; readonly scriptName: string };
  readonly interface: string;
  readonly networkScript: string;
  /** Words behind the network's script. */
  readonly port: Readonly<Record<"add" | "up" | "policy" | "drop", readonly string[]>>;
  /** The firmware's, to be copied. */
  readonly variables: string;
  readonly bhyve: readonly string[];
  /** ends with 0 when its SSH server lets us in. */
  readonly ssh: readonly string[];
  readonly bootLimitS: number;
}

export function entryScript(facts: EntryScriptFacts): string {
  const { id, pool, machine, directory, identity, networkScript, port, disk } = facts;
  const comment = `The machine ${id} of the pool ${pool} under bhyve.
  prepare   makes its disk, who it is, its port
  boot      runs it until its SSH server lets us in
  freeze    stops bhyve; thaw has it go on
  destroy   undoes all of it, and removes this file
Each may be done again. Status 0: done, or there was nothing to do. 1: it failed, and what it did is undone. 3: this host cannot.`;
  const network = (words: readonly string[]): string => `sh "$network" ${words.map(shellQuote).join(" ")}`;
  const made = [...MADE_FILES, ENTRY_FILES.seed, ENTRY_FILES.policy, ENTRY_FILES.knownHosts];
  const files = [...made, ...(identity.kind === "instance-file" ? [identity.scriptName] : [])];
  return `${scriptHead(comment, id)}
machine=${shellQuote(machine)}
directory=${shellQuote(directory)}
network=${shellQuote(networkScript)}
disk="$directory/${ENTRY_FILES.disk}"
${diskParts(disk)}
# Undoes what an apply that was killed has left.
remove_identity() {
${identity.kind === "instance-file" ? `  [ ! -e "$directory/${identity.scriptName}" ] || sh "$directory/${identity.scriptName}" destroy` : "  :"}
}

remove_variables() {
  rm -f "$directory/${ENTRY_FILES.variables}"
}

remove_port() {
  [ ! -e "$network" ] || ${network(port.drop)}
}

prepare() {
  if [ -e "$directory/prepared" ]; then
    tell prepared
    return
  fi
  # What a run that was killed has left.
  remove_port
  remove_identity
  remove_variables
  remove_disk
  undo_by remove_disk
  make_disk
${identityStep(identity)}
  undo_by remove_variables
  cp ${shellQuote(facts.variables)} "$directory/${ENTRY_FILES.variables}"
  chmod 600 "$directory/${ENTRY_FILES.variables}"
  undo_by remove_port
  ${network(port.add)} >&2
  ${network(port.policy)} <"$directory/${ENTRY_FILES.policy}" >&2
  tell port ${facts.interface}
  : >"$directory/prepared"
  tell prepared
}

bhyve_pid() {
  pgrep -fx "bhyve: $machine" || :
}

# Nothing where daemon(8) does not hold the file.
supervisor() {
  pgrep -L -F "$directory/supervisor.pid" 2>/dev/null || :
}

# bhyve leaves the machine in the kernel after any end, with its memory.
destroy_machine() {
  if [ -e "/dev/vmm/$machine" ]; then
    bhyvectl --vm="$machine" --destroy >&2
  fi
}

end_machine() {
  : >"$directory/ending"
  tries=0
  while [ -n "$(supervisor)$(bhyve_pid)" ]; do
    if [ "$tries" -ge ${TRIES_MAX} ]; then
      echo "$subject: bhyve, or its supervisor, does not end" >&2
      return 1
    fi
    for pid in $(supervisor); do kill -TERM "$pid" 2>/dev/null || :; done
    # A process that is stopped takes no other signal.
    for pid in $(bhyve_pid); do kill -KILL "$pid" 2>/dev/null || :; done
    tries=$((tries + 1))
    sleep 0.1
  done
  destroy_machine || return
  rm -f "$directory/supervisor.pid" "$directory/console.in" "$directory/console.out" "$directory/ending"
}

answers() {
  ${wrapped(["timeout", String(ATTEMPT_LIMIT_S), ...facts.ssh], "    ")} </dev/null >/dev/null 2>&1
}

boot() {
  [ -e "$directory/prepared" ] || fail "it is not prepared"
  kldload -n vmm >&2
  pid=$(bhyve_pid)
  if [ -n "$pid" ] && [ -n "$(supervisor)" ]; then
    case $(ps -o state= -p "$pid") in
    T*)
      tell frozen "$pid"
      return
      ;;
    esac
    undo_by end_machine
  else
    # What a supervisor that was killed has left.
    end_machine
    undo_by end_machine
    ${network(port.up)} >&2
    rm -f "$directory/events"
    daemon -f -p "$directory/supervisor.pid" -t "garth-pool: $subject" sh "$directory/${ENTRY_FILES.script}" supervise >&2
  fi
  seen=
  deadline=$(($(date +%s) + ${facts.bootLimitS}))
  until answers; do
    # In this order: a supervisor tells how bhyve ended before it goes.
    alive=$(supervisor)
    last=$(tail -n 1 "$directory/events" 2>/dev/null || :)
    case $last in
    "${EVENT_PREFIX}$subject ended "*)
      cat "$directory/events"
      fail "bhyve ended before its SSH server answered; its console is $directory/console.log"
      ;;
    esac
    if [ -n "$alive" ]; then
      seen=yes
    elif [ -n "$seen" ]; then
      cat "$directory/events"
      fail "bhyve's supervisor is gone"
    fi
    [ "$(date +%s)" -lt "$deadline" ] || fail "its SSH server did not let us in within ${facts.bootLimitS} s; its console is $directory/console.log"
    sleep 0.25
  done
  cat "$directory/events"
  tell answered
}

# Until it shows in the process: between two boots of a guest there is none for a moment.
bring() {
  tries=0
  while :; do
    pid=$(bhyve_pid)
    if [ -n "$pid" ]; then
      kill -"$1" "$pid" 2>/dev/null || :
      case $(ps -o state= -p "$pid") in
      '') now=gone ;;
      T*) now=stopped ;;
      *) now=going ;;
      esac
      [ "$now" != "$2" ] || return 0
    elif [ -z "$(supervisor)" ]; then
      fail "bhyve does not run"
    fi
    tries=$((tries + 1))
    [ "$tries" -lt ${TRIES_MAX} ] || fail "bhyve is not $2"
    sleep 0.1
  done
}

go_on() {
  for pid in $(bhyve_pid); do kill -CONT "$pid" 2>/dev/null || :; done
}

freeze() {
  undo_by go_on
  bring STOP stopped
  tell frozen "$pid"
}

thaw() {
  bring CONT going
  tell thawed "$pid"
}

destroy() {
  end_machine
  remove_port
  remove_identity
  remove_variables
  remove_disk
  for name in ${files.join(" ")}; do
    rm -f "$directory/$name"
  done
  tell destroyed
  rm -f "$directory/${ENTRY_FILES.script}"
  rmdir "$directory"
}

# Never more than two files of ${CONSOLE_BYTES_MAX} bytes. A byte at a time, as bhyve writes them: dd(1) then takes none that it does not write.
keep() {
  while :; do
    [ ! -e "$directory/console.log" ] || mv -f "$directory/console.log" "$directory/console.log.0"
    dd bs=1 count=${CONSOLE_BYTES_MAX} >"$directory/console.log" 2>/dev/null
    [ "$(wc -c <"$directory/console.log")" -ge ${CONSOLE_BYTES_MAX} ] || return 0
  done
}

end_supervision() {
  trap - EXIT
  trap '' HUP INT TERM
  if [ -n "$bhyve" ]; then
    kill -KILL "$bhyve" 2>/dev/null || :
    wait "$bhyve" || :
  fi
  destroy_machine || :
  exec 4>&-
  [ -z "$keeper" ] || wait "$keeper" || :
  rm -f "$directory/console.in" "$directory/console.out"
  tell ended "$ended" "$word"
  exit 0
}

supervise() {
  exec >>"$directory/events" 2>&1
  bhyve=
  keeper=
  ended=-
  word=not-started
  trap end_supervision EXIT
  trap 'ended=129 word=stopped; exit' HUP
  trap 'ended=130 word=stopped; exit' INT
  trap 'ended=143 word=stopped; exit' TERM
  # A console that nobody keeps any more does not end bhyve.
  trap '' PIPE
  rm -f "$directory/console.in" "$directory/console.out"
  mkfifo "$directory/console.in" "$directory/console.out"
  keep <"$directory/console.out" &
  keeper=$!
  exec 4>"$directory/console.out"
  rm "$directory/console.out"
  reboots=0
  while [ ! -e "$directory/ending" ]; do
    destroy_machine
    ${wrapped(facts.bhyve, "      ")} <>"$directory/console.in" >&4 2>&4 4>&- &
    bhyve=$!
    tell started "$bhyve"
    ended=0
    wait "$bhyve" || ended=$?
    bhyve=
    case $ended in
    0)
      word=reboot-loop
      reboots=$((reboots + 1))
      [ "$reboots" -le ${REBOOTS_MAX} ] || exit
      tell rebooted "$reboots"
      continue
      ;;
${ENDS.map((status) => `    ${status}) word=${bhyveExit(status)} ;;\n`).join("")}    *) word=${bhyveExit(255)} ;;
    esac
    exit
  done
  word=stopped
  exit
}

verb=\${1-}
case $verb in
prepare | boot | freeze | thaw | destroy) begin ;;
supervise) ;;
*)
  echo "usage: sh $0 prepare | boot | freeze | thaw | destroy" >&2
  exit 2
  ;;
esac
case $verb in
prepare) prepare ;;
boot) boot ;;
freeze) freeze ;;
thaw) thaw ;;
destroy) destroy ;;
supervise) supervise ;;
esac
`;
}

function diskParts(disk: EntryDisk): string {
  const ending = `  [ ! -d "$directory/disk" ] || rmdir "$directory/disk"`;
  if (disk.kind === "copy")
    return `image=${shellQuote(disk.image)}

make_disk() {
  mkdir "$directory/disk"
  cp "$image" "$disk"
  chmod 600 "$disk"
  tell disk copied
}

remove_disk() {
  rm -f "$disk"
${ending}
}
`;
  return `snapshot=${shellQuote(disk.snapshot)}
clone=${shellQuote(disk.clone)}
${HAS_DATASET}
make_disk() {
  has "$snapshot" || cannot "there is no $snapshot: init of its pool makes it"
  mkdir "$directory/disk"
  zfs clone -o mountpoint="$directory/disk" "$snapshot" "$clone" >&2
  chmod 600 "$disk"
  tell disk cloned
}

remove_disk() {
  ! has "$clone" || zfs destroy -f "$clone"
${ending}
}
`;
}

function identityStep(identity: EntryScriptFacts["identity"]): string {
  if (identity.kind === "seed-disk")
    return `  [ -f "$directory/${ENTRY_FILES.seed}" ] || fail "its seed disk is missing"
  tell identity seed-disk`;
  return `  undo_by remove_identity
  sh "$directory/${identity.scriptName}" apply >&2
  tell identity instance-file`;
}
