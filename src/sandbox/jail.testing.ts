/**
 * A host for the jail's script, in small: programs in a directory that stand before the system's and write down what they were asked. Jails and
 * mounts are lines in files, so that what the script believes is what it did; a builder runs on this machine, as the numeric user that it was
 * given. It tells how the script goes about things, not how FreeBSD does (remote/standin.testing.ts knows more of that).
 */
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Host, localHost } from "../host/index.ts";

export const SHELLS = ["dash", "busybox"] as const;
export type Shell = (typeof SHELLS)[number];

const HEAD = `#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
state=\${0%/tools/*}/state
log() { printf '%s\\n' "$*" >>"$state/log"; }
`;

const TOOLS: Readonly<Record<string, string>> = {
  jail: `
case " $* " in
*" -c "*)
  log "jail -c"
  [ ! -e "$state/refuse" ] || { echo 'jail: no such module' >&2; exit 1; }
  for name; do :; done
  [ ! -e "$state/jails/$name" ] || { echo "jail: \\"$name\\" already exists" >&2; exit 1; }
  conf=$3
  sed -n 's/^  path = "\\(.*\\)";$/\\1/p' "$conf" | sed 's/\\\\\\(.\\)/\\1/g' >"$state/jails/$name" ;;
*)
  log "jail $(printf '%s' "$*" | sed 's/.*\\(-[rR]\\) .*/\\1/')"
  for name; do :; done
  [ ! -L "$state/jid-$name" ] || name=$(basename "$(readlink "$state/jid-$name")")
  rm "$state/jails/$name"
  for pid in "$state/inside/$name"/*; do [ ! -e "$pid" ] || { pkill -KILL -s "\${pid##*/}"; rm -f "$pid"; }; done ;;
esac
`,
  jls: `
if [ "$1" = -j ]; then
  [ -e "$state/jails/$2" ] || { echo "jls: jail \\"$2\\" not found" >&2; exit 1; }
  cat "$state/jails/$2"
else
  n=0
  for jail in "$state"/jails/*; do
    [ -e "$jail" ] || continue
    n=$((n + 1))
    echo "$n $(cat "$jail")"
    ln -sf "$jail" "$state/jid-$n"
  done
fi
`,
  mount: `
if [ "$1" = -p ]; then
  [ ! -e "$state/vis" ] || { sed 's/ /\\\\040/g' "$state/mounts"; exit; }
  # As FreeBSD does it: a name of 24 characters or more has one blank behind it.
  awk -F '\\t' '{ print $1 (length($1) < 24 ? "\\t" : " ") $2 (length($2) < 24 ? "\\t" : " ") $3 "\\trw\\t\\t0 0" }' "$state/mounts"
  exit
fi
for to; do :; done
log "mount -t devfs"
printf 'devfs\\t%s\\tdevfs\\n' "$to" >>"$state/mounts"
`,
  mount_nullfs: `
how=rw
[ "$1" != -o ] || { how=$2; shift 2; }
[ -d "$1" ] && [ -d "$2" ] || { echo "mount_nullfs: $2: No such file or directory" >&2; exit 1; }
log "mount $how $1 $2"
[ ! -e "$state/unmountable" ] || [ "$1" != "$(cat "$state/unmountable")" ] || { echo "mount_nullfs: $2: Resource deadlock avoided" >&2; exit 1; }
printf '%s\\t%s\\tnullfs\\n' "$1" "$2" >>"$state/mounts"
`,
  umount: `
force='' how=umount
case $1 in -*) how="umount $1"; [ "$1" != -f ] || force=1; shift ;; esac
log "$how $#"
failed=0
for at; do
  if [ -e "$state/stuck" ] || { [ -z "$force" ] && [ -s "$state/busy" ]; }; then
    echo "umount: unmount of $at failed: Device busy" >&2
    failed=1
    continue
  fi
  printf '%s\\n' "$at" >>"$state/unmounted"
  awk -F '\\t' -v at="$at" '$2 != at' "$state/mounts" >"$state/mounts.new"
  mv "$state/mounts.new" "$state/mounts"
done
[ ! -s "$state/busy" ] || sed -i 1d "$state/busy"
exit "$failed"
`,
  sysctl: `[ -e "$state/racct" ] && echo 1`,
  rctl: `log "rctl $*"`,
  rm: `
if [ "$1" = -rfx ]; then
  shift
  if [ -e "$state/flagged" ] && [ "$1" = "$(cat "$state/flagged")" ]; then
    echo "rm: $1: Operation not permitted" >&2
    exit 1
  fi
  for at; do ! grep -q "	$at\\(/[^	]*\\)\\{0,1\\}	" "$state/mounts" || { log "rm over a mount: $at"; exit 1; }; done
  exec rm -rf "$@"
fi
exec rm "$@"
`,
  chflags: `
log "chflags $1 $2"
rm -f "$state/flagged"
`,
  limits: `
log "limits"
while [ "$1" != env ]; do shift; done
exec "$@"
`,
  jexec: `
printf '%s\\0' "$@" >"$state/jexec"
mkdir -p "$state/inside/$1"
: >"$state/inside/$1/$$"
# Whoever removes the jail looks for processes afterwards.
[ -e "$state/jails/$1" ] || { echo "jexec: jail '$1' not found" >&2; exit 1; }
uid=$4
# Past JAIL chroot -u U -g G -G G /
shift 9
exec setsid setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
`,
  // PID STATE START, as FreeBSD's ps does it, with the ticks of /proc for seconds: they do not jitter.
  ps: `
for pids; do :; done
for pid in $(printf '%s' "$pids" | tr , ' '); do
  { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || continue
  set -- \${stat##*) }
  printf '%5d %-4s %s\\n' "$pid" "$1" "$(date -u -d "@$((1700000000 + \${20}))" '+%a %b %e %T %Y')    "
done
`,
  // A clock of the test's own, where there is one: it goes on when somebody sleeps.
  date: `
[ -e "$state/now" ] || exec date "$@"
cat "$state/now"
`,
  sleep: `
case $1 in 0.*) exit 0 ;; esac
# Five seconds are what a builder has to end: it takes less.
if [ -e "$state/now" ] && [ "$1" -lt 100 ] && [ "$1" != 5 ]; then echo $(($(cat "$state/now") + $1)) >"$state/now"; exit 0; fi
if [ "$1" = 3 ] && [ -p "$state/look" ]; then read -r _ <"$state/look"; exit 0; fi
exec sleep "$@"
`,
  lockf: `
log "lockf $*"
while :; do case $1 in -k | -s) shift ;; -t) shift 2 ;; *) break ;; esac; done
[ ! -e "$state/locked" ] || exit 75
shift
exec "$@"
`,
};

/** busybox's shell takes its own tools before those in PATH: they lose their names. */
function shellAlone(data: Buffer): Buffer {
  const begin = data.indexOf("[\0[[\0", 0, "latin1");
  if (begin < 0) throw new Error("no list of tools in this busybox");
  const out = Buffer.from(data);
  for (let at = begin; out[at] !== 0;) {
    const end = out.indexOf(0, at);
    const name = out.toString("latin1", at, end);
    if (name !== "sh" && name !== "ash" && end - at > 1) out[end - 1] = 1;
    at = end + 1;
  }
  return out;
}

export interface SmallHost {
  readonly directory: string;
  /** A file that the tools look at: `refuse`, `stuck`, `busy` (a line for each time), `vis`, `racct`, `flagged` (what rm(1) may not remove), ... */
  state(name: string, text?: string): void;
  read(name: string): string;
  /** What the tools were asked. */
  log(): readonly string[];
  /** "FROM\tON\tTYPE" */
  mounts(): readonly string[];
  addMount(on: string, from?: string): void;
  jails(): readonly string[];
  /** Words that run a script of the host: its tools are before the system's. */
  command(shell: Shell, script: string): readonly string[];
  /** The same script for this host. */
  adapted(script: string): string;
  remove(): void;
}

export function makeSmallHost(): SmallHost {
  const directory = fs.mkdtempSync(join(tmpdir(), "garth-jail-test-"));
  const at = (name: string): string => join(directory, "state", name);
  for (const name of ["tools", "state/jails", "state/inside"]) fs.mkdirSync(join(directory, name), { recursive: true });
  fs.chmodSync(directory, 0o755);
  for (const [name, text] of Object.entries(TOOLS))
    fs.writeFileSync(join(directory, "tools", name), `${HEAD}${text}`, { mode: 0o755 });
  fs.writeFileSync(at("mounts"), "");
  const busybox = Bun.which("busybox");
  if (busybox === null) throw new Error("this test needs busybox");
  fs.writeFileSync(join(directory, "busybox"), shellAlone(fs.readFileSync(busybox)), { mode: 0o755 });
  const read = (name: string): string => (fs.existsSync(at(name)) ? fs.readFileSync(at(name), "utf8") : "");
  const lines = (name: string): readonly string[] =>
    read(name)
      .split("\n")
      .filter((line) => line !== "");
  return {
    directory,
    state: (name, text = "") => fs.writeFileSync(at(name), text),
    read,
    log: () => lines("log"),
    mounts: () => lines("mounts"),
    addMount: (on, from = "/bin") => fs.appendFileSync(at("mounts"), `${from}\t${on}\tnullfs\n`),
    jails: () => fs.readdirSync(at("jails")),
    command: (shell, script) => (shell === "dash" ? ["dash", script] : [join(directory, "busybox"), "sh", script]),
    adapted: (script) => adapted(directory, script),
    remove: () => fs.rmSync(directory, { recursive: true, force: true }),
  };
}

/** A script with the tools of a small host before the system's. */
function adapted(directory: string, script: string): string {
  return script
    .replaceAll("PATH=/sbin:", `PATH=${directory}/tools:/sbin:`)
    .replaceAll("/usr/sbin/jexec", `${directory}/tools/jexec`);
}

/** This machine as a FreeBSD host, whose scripts find the tools of the small host in `directory`. */
export function smallFreebsd(directory: string): Host {
  const host = localHost();
  return {
    ...host,
    system: "x86_64-freebsd",
    files: {
      ...host.files,
      writeFile: (path, data, mode) =>
        host.files.writeFile(path, typeof data === "string" ? adapted(directory, data) : data, mode),
    },
    run: (command) => {
      const [tool, ...rest] = command.argv;
      const own = `${directory}/tools/${tool}`;
      return host.run(fs.existsSync(own) ? { ...command, argv: [own, ...rest] } : command);
    },
  };
}
