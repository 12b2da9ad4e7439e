/**
 * The files that are the sandbox on FreeBSD: jail.conf, an fstab of nullfs mounts, and one script that makes the jail, runs the
 * builder in it and undoes it. Pure. Base-system tools only: jail(8), jexec(8), jls(8), chroot(8), limits(1), timeout(1), rctl(8).
 *
 * The jail's root is a skeleton of mount points, mounted read-only over itself, with every declared directory mounted into it.
 * nullfs mounts directories; a single file is hard-linked into the skeleton, or copied where the store is on another file system.
 */
import { sha256, STORE_DIRECTORY } from "../base/index.ts";
import { shellQuote } from "../host/index.ts";
import type { RootEntry } from "./root.ts";
import type { SandboxPlan } from "./types.ts";

export const JAIL_SCRIPT_NAME = "run.sh";
/** In the scratch directory: the jail's root, and what it is mounted from. */
export const JAIL_ROOT = "jail-root";
const JAIL_SKELETON = "jail-skeleton";
/** In the scratch directory: the identity of the Garth that answers for the jail. */
export const OWNER_FILE = "owner";

/** Begins each line that the script itself prints on its standard error. */
export const EVENT_PREFIX = "garth-sandbox: ";

/** One name for one scratch directory; jail(8) takes no dots in it. */
export function jailName(plan: Pick<SandboxPlan, "id" | "scratch">): string {
  return `garth-${plan.id}-${sha256(plan.scratch).slice(0, 8)}`;
}

/** A field of fstab(5): white space, `#` and backslash as vis(3) writes them. */
export function fstabField(text: string): string {
  return [...text]
    .map((character) => (/[\s#\\]/.test(character) ? `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}` : character))
    .join("");
}

/** A string of jail.conf(5): in double quotes, where `$` would begin a variable. */
export function jailConfString(text: string): string {
  return `"${text.replaceAll(/[\\"$]/g, "\\$&")}"`;
}

interface NullMount {
  readonly source: string;
  /** Inside the jail. */
  readonly target: string;
  readonly options: "ro" | "rw";
}

/** In the order in which they are mounted: the skeleton first, nothing before what it lies on. */
function nullMounts(plan: SandboxPlan, root: readonly RootEntry[]): readonly NullMount[] {
  return [
    { source: `${plan.scratch}/${JAIL_SKELETON}`, target: "", options: "ro" },
    ...root.flatMap((entry): NullMount[] =>
      entry.kind === "mount" && entry.type === "directory" ? [{ source: entry.source, target: entry.target, options: "ro" }] : [],
    ),
    ...plan.mounts.flatMap((mount): NullMount[] => {
      if (mount.kind === "writable") return [{ source: mount.source, target: mount.target, options: "rw" }];
      return mount.type === "directory" ? [{ source: mount.source, target: mount.target, options: "ro" }] : [];
    }),
  ];
}

/** Single files that the skeleton holds itself. */
function singleFiles(
  plan: SandboxPlan,
  root: readonly RootEntry[],
): readonly { readonly source: string; readonly target: string }[] {
  return [
    ...root.filter((entry) => entry.kind === "mount" && entry.type === "file"),
    ...plan.mounts.filter((mount) => mount.kind === "read-only" && mount.type === "file"),
  ].flatMap((entry) => ("source" in entry ? [{ source: entry.source, target: entry.target }] : []));
}

export function jailFstab(plan: SandboxPlan, root: readonly RootEntry[]): string {
  return nullMounts(plan, root)
    .map(
      ({ source, target, options }) =>
        `${fstabField(source)} ${fstabField(`${plan.scratch}/${JAIL_ROOT}${target}`)} nullfs ${options} 0 0\n`,
    )
    .join("");
}

export function jailConf(plan: SandboxPlan): string {
  const addresses = plan.network === "none" ? "disable" : "inherit";
  return [
    `${jailConfString(jailName(plan))} {`,
    `  path = ${jailConfString(`${plan.scratch}/${JAIL_ROOT}`)};`,
    `  host.hostname = ${jailConfString(plan.hostname)};`,
    "  persist;",
    "  enforce_statfs = 2;",
    `  ip4 = ${addresses};`,
    `  ip6 = ${addresses};`,
    "  children.max = 0;",
    "  allow.noset_hostname;",
    "  allow.noraw_sockets;",
    "  allow.nomount;",
    "  mount.devfs;",
    "  devfs_ruleset = 4;",
    `  mount.fstab = ${jailConfString(`${plan.scratch}/fstab`)};`,
    "}",
    "",
  ].join("\n");
}

const quoted = (words: readonly string[]): string => words.map(shellQuote).join(" ");

/** Directories that the skeleton must hold: mount points, and those above single files and links. */
function skeletonDirectories(plan: SandboxPlan, root: readonly RootEntry[]): readonly string[] {
  const above = (path: string): string => path.slice(0, path.lastIndexOf("/"));
  const named = [
    "/dev",
    STORE_DIRECTORY,
    ...nullMounts(plan, root).map(({ target }) => target),
    ...singleFiles(plan, root).map(({ target }) => above(target)),
    ...root.filter((entry) => entry.kind === "symlink").map(({ target }) => above(target)),
  ];
  return [...new Set(named)].filter((path) => path !== "").toSorted();
}

function setUpLines(plan: SandboxPlan, root: readonly RootEntry[]): readonly string[] {
  const { uid, gid } = plan.identity;
  const writable = plan.mounts.filter((mount) => mount.kind === "writable").map(({ source }) => source);
  return [
    "  mkdir -p \\",
    skeletonDirectories(plan, root)
      .map((path) => `    "$skeleton"${shellQuote(path)}`)
      .join(" \\\n"),
    ...root.flatMap((entry) =>
      entry.kind === "symlink" ? [`  ln -s ${shellQuote(entry.to)} "$skeleton"${shellQuote(entry.target)}`] : [],
    ),
    ...singleFiles(plan, root).map(({ source, target }) => `  place ${shellQuote(source)} "$skeleton"${shellQuote(target)}`),
    ...writable.map((path) => `  install -d -o ${uid} -g ${gid} -m 0755 ${shellQuote(path)}`),
  ];
}

/** The builder's words after the ids were dropped: jexec and chroot both start at the root. */
function builderWords(plan: SandboxPlan): string {
  return quoted(["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", plan.cwd, ...plan.argv]);
}

export function jailScript(plan: SandboxPlan, root: readonly RootEntry[]): string {
  const { uid, gid } = plan.identity;
  const { limits } = plan;
  const kib = (bytes: number): string => `${Math.ceil(bytes / 1024)}k`;
  const seconds = Math.ceil(limits.wallClockMs / 1000);
  const environment = Object.entries(plan.env)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => shellQuote(`${name}=${value}`));
  const mountPoints = nullMounts(plan, root)
    .map(({ target }) => target)
    .toReversed();
  // Numeric ids, dropped inside: without -G the process would keep the groups of root (0 and 5).
  const inside = [
    `    limits -c 0 -n ${limits.openFiles} -u ${limits.processes} -f ${kib(limits.outputBytes)} -v ${kib(limits.memoryBytes)} \\`,
    `    env -i ${environment.join(" ")} \\`,
    `    /usr/sbin/jexec "$jail" /usr/sbin/chroot -u ${uid} -g ${gid} -G ${gid} /`,
  ].join("\n");
  return `#!/bin/sh
# The sandbox ${plan.hostname}: a thin jail for one build.
#   run        makes it, runs the builder, undoes it
#   enter      makes it, opens a shell in it as the build user, undoes it
#   teardown   undoes what a run that was killed has left
# The builder prints on standard output, both its streams. Standard error has a line for each event, beginning with
# "${EVENT_PREFIX.trim()}", and what the tools had to say. Status 0: the builder ran, an event says how it ended. 3: it did not.
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
umask 022

jail=${shellQuote(jailName(plan))}
scratch=${shellQuote(plan.scratch)}
root=$scratch/${JAIL_ROOT}
skeleton=$scratch/${JAIL_SKELETON}

event() {
  printf '${EVENT_PREFIX}%s\\n' "$*" >&2
}

# nullfs mounts directories only. A hard link shows the same file; its mode and owner keep the builder from writing to it.
place() {
  ln "$1" "$2" 2>/dev/null || cp -p "$1" "$2"
}

exists() {
  jls -j "$jail" jid >/dev/null 2>&1
}

mounted_below_root() {
  mount -p | awk -v root=${shellQuote(fstabField(`${plan.scratch}/${JAIL_ROOT}`).replaceAll("\\", "\\\\"))} '
    $2 == root || index($2, root "/") == 1 { found = 1 }
    END { exit !found }'
}

# The jail with all its processes, then mounts, deepest first, then directories: never a directory that something is mounted on.
undo() {
  if exists; then
    jail -f "$scratch/jail.conf" -r "$jail" >&2 || jail -R "$jail" >&2 || :
  fi
  if mounted_below_root; then
    umount -f "$root/dev" 2>/dev/null || :
${mountPoints.map((target) => `    umount -f "$root"${target === "" ? "" : shellQuote(target)} 2>/dev/null || :`).join("\n")}
  fi
  if exists || mounted_below_root; then
    event "stuck"
    return 1
  fi
  rm -rfx "$skeleton"
  [ ! -d "$root" ] || rmdir "$root"
}

set_up() {
  if exists || mounted_below_root || [ -d "$root" ]; then
    event "stale"
    undo
  fi
  mkdir -p "$root" "$skeleton"
${setUpLines(plan, root).join("\n")}
  jail -q -f "$scratch/jail.conf" -c "$jail" >&2
  event "created"
  if [ "$(sysctl -n kern.racct.enable 2>/dev/null || echo 0)" = 1 ]; then
    rctl -a "jail:$jail:memoryuse:sigkill=${limits.memoryBytes}" "jail:$jail:maxproc:deny=${limits.processes}"
    event "racct on"
  else
    event "racct off: memory is limited for each process, not for all; kern.racct.enable=1 in loader.conf and a reboot change that"
  fi
}

# However this script ends: undone, and status 3 unless the builder ran and nothing is left.
ran=
finish() {
  trap - EXIT
  trap '' HUP INT TERM
  undo || ran=
  [ -n "$ran" ] || exit 3
  exit 0
}

case "\${1-}" in
run)
  trap finish EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  set_up
  event "started"
  began=$(date +%s)
  status=0
  # In the background, so that a signal to this script is answered at once.
  # shellcheck disable=SC2016 # The dollars are for the shell in the jail.
  timeout -k 5 ${seconds} \\
${inside} \\
    ${builderWords(plan)} </dev/null 2>&1 &
  wait "$!" || status=$?
  if [ "$status" -eq 124 ] && [ $(($(date +%s) - began)) -ge ${seconds} ]; then
    event "limit wallClockMs"
  fi
  event "exited $status"
  ran=1
  ;;
enter)
  trap finish EXIT
  set_up
${inside.trimStart().replace(/^/, "  ")} \\
    /bin/sh -i || :
  ran=1
  ;;
teardown)
  undo || exit 3
  event "gone"
  ;;
*)
  echo "usage: sh $0 run | enter | teardown" >&2
  exit 2
  ;;
esac
`;
}
