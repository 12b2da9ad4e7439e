/**
 * The files that are the sandbox on FreeBSD: jail.conf, and the script that makes the jail, runs the builder in it and undoes it. Pure.
 * Base-system tools only: jail(8), jexec(8), jls(8), mount(8), mount_nullfs(8), umount(8), chroot(8), limits(1), timeout(1), rctl(8).
 *
 *     links of the build root ──► places looked at ──► places made ──► jail ──► mounts ──► created
 *                                   └─ missing, refused         taken ─┘
 *
 * The jail's root is a plain directory that root alone may write to: mount points, links and single files. The script mounts itself: as
 * parameters of jail(8) each mount would cost two processes more, and each unmount a sync(2) of all file systems.
 */
import { sha256, STORE_DIRECTORY } from "../base/index.ts";
import { shellQuote } from "../host/index.ts";
import { JOB_SCRIPT_NAME, jobScript } from "./job-script.ts";
import { covers } from "./plan.ts";
import type { RootEntry } from "./root.ts";
import type { RenderedSandbox, SandboxPlan } from "./types.ts";

/** In the scratch directory: the jail's root. */
export const JAIL_ROOT = "jail-root";

/** One name for one scratch directory; jail(8) takes no dots in it. */
export function jailName(plan: Pick<SandboxPlan, "id" | "scratch">): string {
  return `garth-${plan.id}-${sha256(plan.scratch).slice(0, 8)}`;
}

/** A string of jail.conf(5): in double quotes, where `$` would begin a variable. */
export function jailConfString(text: string): string {
  return `"${text.replaceAll(/[\\"$]/g, "\\$&")}"`;
}

/** `root` is what stands at the top of its build root. */
export function renderJail(plan: SandboxPlan, root: readonly RootEntry[]): RenderedSandbox {
  return {
    enter: `sh ${shellQuote(`${plan.scratch}/${JOB_SCRIPT_NAME}`)} enter`,
    files: { "jail.conf": jailConf(plan), [JOB_SCRIPT_NAME]: jailScript(plan, root) },
  };
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
    "  devfs_ruleset = 4;",
    "  allow.noset_hostname;",
    "  allow.noraw_sockets;",
    "  allow.nomount;",
    "  # Whoever is still there when the builder has ended is killed at once.",
    "  stop.timeout = 0;",
    "}",
    "",
  ].join("\n");
}

type ShownEntry = RootEntry & { readonly kind: "mount" };

const shown = (root: readonly RootEntry[]): readonly ShownEntry[] => root.filter((entry) => entry.kind === "mount");

const above = (path: string): string => path.slice(0, path.lastIndexOf("/"));

/** Below the jail's root, in a word of the shell. */
const inRoot = (path: string): string => `"$root"${shellQuote(path)}`;

const lines = (all: readonly string[], indent: string): string => all.map((line) => `${indent}${line}\n`).join("");

/**
 * Where one looks for symlinks on the way to a place: in the root itself, or, where that will be below a directory of the build root, in
 * that directory.
 */
function wayTo(place: string, root: readonly RootEntry[]): string {
  const over = shown(root).find(({ target, type }) => type === "directory" && target !== place && covers(target, place));
  return over === undefined
    ? `"$root" ${shellQuote(place)}`
    : `${shellQuote(over.source)} ${shellQuote(place.slice(over.target === "/" ? 0 : over.target.length))}`;
}

const CHROOT = "/usr/sbin/chroot";

/** What drops root is run in the jail: the root's own, or a copy of the host's where it has none. */
function chrootLines(root: readonly RootEntry[]): { readonly check: readonly string[]; readonly copy: readonly string[] } {
  const over = shown(root).find(({ target }) => covers(target, CHROOT));
  if (over === undefined) {
    return {
      check: [`reached ${wayTo(CHROOT, root)} || lacking`],
      copy: [`cp ${CHROOT} ${inRoot(CHROOT)}`],
    };
  }
  return { check: [`[ -x ${shellQuote(`${over.source}${CHROOT.slice(over.target.length)}`)} ] || lacking`], copy: [] };
}

/** Of a host view, what is there; of a world, all. The positional parameters become the places that are to be made. */
function entryLines(plan: SandboxPlan, root: readonly RootEntry[]): readonly string[] {
  return shown(root).flatMap(({ source, target, type }) => {
    if (plan.root.kind === "world") return [`set -- "$@" ${inRoot(type === "directory" ? target : above(target))}`];
    const index = plan.root.paths.indexOf(target);
    return [
      `if [ -d ${shellQuote(source)} ]; then set -- "$@" ${inRoot(target)}`,
      `elif [ -f ${shellQuote(source)} ]; then set -- "$@" "$root"${shellQuote(above(target))}`,
      `else event absent ${index}; fi`,
    ];
  });
}

function checkLines(plan: SandboxPlan, root: readonly RootEntry[]): readonly string[] {
  return plan.mounts.flatMap((mount, index) => [
    ...(mount.kind === "writable"
      ? []
      : [`[ ${mount.type === "directory" ? "-d" : "-f"} ${shellQuote(mount.source)} ] || fault missing ${index}`]),
    `reached ${wayTo(mount.target, root)} || fault refused ${index}`,
  ]);
}

/** Directories that are always there: mount points, and those above single files. */
function places(plan: SandboxPlan, root: readonly RootEntry[]): readonly string[] {
  const { copy } = chrootLines(root);
  const named = [
    "/dev",
    STORE_DIRECTORY,
    ...(copy.length === 0 ? [] : [above(CHROOT)]),
    ...plan.mounts.map((mount) => (mount.kind === "read-only" && mount.type === "file" ? above(mount.target) : mount.target)),
  ];
  return [...new Set(named)].filter((path) => path !== "").toSorted();
}

/** In the order in which they are mounted: nothing before what it lies on. */
function mountLines(plan: SandboxPlan, root: readonly RootEntry[]): readonly string[] {
  const entries = shown(root).map(({ source, target, type }) => {
    const mount = `mount_nullfs -o ro ${shellQuote(source)} ${inRoot(target)}`;
    const place = `place ${shellQuote(source)} ${inRoot(target)}`;
    if (plan.root.kind === "world") return type === "directory" ? mount : place;
    return `if [ -d ${inRoot(target)} ]; then ${mount}; elif [ -f ${shellQuote(source)} ]; then ${place}; fi`;
  });
  const declared = plan.mounts.map((mount) => {
    if (mount.kind === "writable") return `mount_nullfs ${shellQuote(mount.source)} ${inRoot(mount.target)}`;
    return mount.type === "directory"
      ? `mount_nullfs -o ro ${shellQuote(mount.source)} ${inRoot(mount.target)}`
      : `place ${shellQuote(mount.source)} ${inRoot(mount.target)}`;
  });
  // A ruleset that is not loaded is made on the spot, and hides nothing.
  const devices = ['mount -t devfs -o ruleset=4 devfs "$root/dev"', '[ ! -c "$root/dev/mem" ] || all_devices'];
  return [...entries, ...devices, ...declared];
}

function setUp(plan: SandboxPlan, root: readonly RootEntry[]): string {
  const { limits } = plan;
  const links = root.flatMap((entry) => (entry.kind === "symlink" ? [entry] : []));
  const writable = plan.mounts.filter(({ kind }) => kind === "writable");
  const sources = (only: (target: string) => boolean): readonly string[] =>
    writable.filter(({ target }) => only(target)).map(({ source }) => shellQuote(source));
  const chroot = chrootLines(root);
  const linkPlaces = [...new Set(links.map(({ target }) => above(target)))].filter((path) => path !== "");
  // Made before anything else is looked at, so that what would be made through one is seen.
  const linked =
    links.length === 0
      ? []
      : [
          `mkdir -p "$root"${linkPlaces.map((path) => ` ${inRoot(path)}`).join("")}`,
          ...links.map(({ target, to }) => `ln -s ${shellQuote(to)} ${inRoot(target)}`),
        ];
  return `set_up() {
  set --
${lines([...linked, ...checkLines(plan, root), ...chroot.check, ...entryLines(plan, root)], "  ")}  mkdir -p "$root" "$@" \\
    ${places(plan, root).map(inRoot).join(" \\\n    ")}
  # Before its mounts, so that nothing is mounted for one that cannot be made.
  if ! jail -q -f "$scratch/jail.conf" -c "$jail" >&2; then
    ours || [ -z "$at" ] || event taken "$jail"
    exit 3
  fi
  made=1
  install -d -o "$uid" -g "$gid" -m 0755 \\
    ${sources((target) => target !== "/tmp").join(" \\\n    ")}
  install -d -o "$uid" -g "$gid" -m 1777 ${sources((target) => target === "/tmp").join(" ")}
${lines([...mountLines(plan, root), ...chroot.copy], "  ")}  event created
  if racct; then
    ruled=1
    rctl -a "jail:$jail:memoryuse:sigkill=${limits.memoryBytes}" "jail:$jail:maxproc:deny=${limits.processes}"
    event limits all
  else
    event limits each
  fi
}`;
}

/** Numeric ids, dropped inside: without -G the process would keep the groups of root (0 and 5). */
function insideWords(plan: SandboxPlan, environment: readonly string[]): string {
  const { limits } = plan;
  const kib = (bytes: number): string => `${Math.ceil(bytes / 1024)}k`;
  const variables = Object.entries(plan.env)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => shellQuote(`${name}=${value}`));
  return `limits -c 0 -n ${limits.openFiles} -u ${limits.processes} -f ${kib(limits.outputBytes)} -v ${kib(limits.memoryBytes)} \\
    env -i ${[...variables, ...environment].join(" \\\n      ")} \\
    /usr/sbin/jexec "$jail" ${CHROOT} -u "$uid" -g "$gid" -G "$gid" / \\`;
}

/** Added to the wall clock: it is the script that watches it, and timeout(1) if that is gone. */
const SPARE_SECONDS = 60;

function builder(plan: SandboxPlan): string {
  const seconds = Math.ceil(plan.limits.wallClockMs / 1000) + SPARE_SECONDS;
  const words = ["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", plan.cwd, ...plan.argv];
  const shell = ["/bin/sh", "-c", 'cd "$1" && exec /bin/sh -i', "sh", plan.cwd];
  return `# A shell starts what runs in the background with SIGINT and SIGQUIT ignored, and timeout(1) hands on what it was started with: FreeBSD's
# sh takes both back here; where another cannot, its timeout does. In the foreground it waits for the builder alone, not for all that the
# builder leaves.
# shellcheck disable=SC2016 # The dollars are for the shell in the jail.
builder() {
  trap - INT QUIT
  exec timeout --foreground -k 5 ${seconds} \\
    ${insideWords(plan, [])}
    ${words.map(shellQuote).join(" ")}
}

# shellcheck disable=SC2016
inner_shell() {
  exec ${insideWords(plan, ['"TERM=${TERM-dumb}"'])}
    ${shell.map(shellQuote).join(" ")}
}`;
}

/** How often what is busy is tried again, and how often it is then forced. */
const UNMOUNT_TRIES = 8;
const FORCED_TRIES = 2;

/** `plain TEXT` sets $line. Linux has the same in its table of mounts. */
export const PLAIN_FUNCTION = `# $line, with what vis(3) wrote in octal as it is.
plain() {
  line=
  rest=$1
  while :; do
    case $rest in *\\\\[0-3][0-7][0-7]*) ;; *) break ;; esac
    before=\${rest%%\\\\[0-3][0-7][0-7]*}
    rest=\${rest#"$before"\\\\}
    after=\${rest#???}
    code=\${rest%"$after"}
    rest=$after
    case $code in
    040) line="$line$before " ;;
    011) line=$line$before$tab ;;
    *) line=$line$before$(printf '%b' "\\\\0$code") ;;
    esac
  done
  line=$line$rest
}`;

/** Scripts that undo jails share it: $root is a real path, below which everything is unmounted. */
export const UNMOUNT_FUNCTIONS = `# The mounts on $root and below it, youngest first, in $below, a line for each: as mount(8) lists them, whoever made them. A short name has tabs behind
# it, a long one has a blank; in some releases blanks in a name are written as vis(3) does.
list_below() {
  below=
  table=$(mount -p) || return 1
  IFS=$newline
  set -f
  for line in $table; do
    plain "$line"
    case $line in
    *"$tab$root$tab"* | *"$tab$root "* | *"$tab$root/"*) line=$root\${line#*"$tab$root"} ;;
    *" $root$tab"* | *" $root "* | *" $root/"*) line=$root\${line#*" $root"} ;;
    *) continue ;;
    esac
    line=\${line%%"$tab"*}
    case \${line##* } in nullfs | devfs | tmpfs | fdescfs | procfs | unionfs | ufs | zfs) line=\${line% *} ;; esac
    below=$line$newline$below
  done
  set +f
  unset IFS
}

${PLAIN_FUNCTION}

# What a process that was just killed has not yet let go is tried again; then it is forced.
unmount_below() {
  tries=0
  while :; do
    list_below || return 1
    [ -n "$below" ] || return 0
    tries=$((tries + 1))
    IFS=$newline
    set -f
    # shellcheck disable=SC2086 # A word for each line.
    set -- $below
    set +f
    unset IFS
    if [ "$tries" -eq 1 ]; then
      # Without a sync(2) of all file systems before it.
      umount -n "$@" 2>/dev/null && return 0
    elif [ "$tries" -le ${UNMOUNT_TRIES} ]; then
      umount "$@" 2>/dev/null && return 0
      sleep 0.25
    else
      umount -f "$@" >&2 && return 0
      [ "$tries" -lt ${UNMOUNT_TRIES + FORCED_TRIES} ] || return 1
      sleep 0.5
    fi
  done
}`;

export const UNMOUNT_VARIABLES = `tab='	'
newline='
'`;

const TAKE_DOWN = `# Whether the jail of this name is this one, and not somebody else's; $at is its path, if there is one.
ours() {
  at=$(jls -j "$jail" path 2>/dev/null) || at=
  [ "$at" = "$root" ]
}

racct() {
  [ "$(sysctl -n kern.racct.enable 2>/dev/null)" = 1 ]
}

fault() {
  event "$@"
  exit 3
}

all_devices() {
  echo 'ruleset 4 of devfs(8) is not loaded: a builder would see every device. service devfs restart loads it' >&2
  exit 3
}

lacking() {
  echo 'the build root has no ${CHROOT}, by which a builder stops being root' >&2
  exit 3
}

# Components of a path below a directory: a symlink among them would lead out of it.
reached() {
  on_way=$1
  rest=\${2#/}
  while [ -n "$rest" ]; do
    on_way=$on_way/\${rest%%/*}
    [ ! -L "$on_way" ] || return 1
    case $rest in */*) rest=\${rest#*/} ;; *) rest= ;; esac
  done
}

# A hard link shows the same file; its mode and owner keep the builder from writing to it. Of a file that may not be linked (chflags(1): schg) the copy
# must not have the flags, or nobody could remove it: cp -p would keep them.
place() {
  ln "$1" "$2" 2>/dev/null || { cp "$1" "$2" && touch -r "$1" "$2"; }
}

# Whatever there is of a jail, its root is there.
left_over() {
  [ -e "$root" ] || [ -L "$root" ]
}

# The jail with all its processes, then mounts, youngest first, then the root, and in the same breath the number that nobody uses any more.
take_down() {
  left_over || return 0
  if [ -n "$made" ] || ours; then
    jail -q -f "$scratch/jail.conf" -r "$jail" >&2 || jail -q -R "$jail" >&2 || ! ours || return 1
    if [ -n "$ruled" ] || { [ -z "$made" ] && racct; }; then rctl -r "jail:$jail" 2>/dev/null || :; fi
    made='' ruled=''
  fi
  unmount_below || return 1
  rm -rfx "$root" \${user_link:+"$user_link"}
}`;

export function jailScript(plan: SandboxPlan, root: readonly RootEntry[]): string {
  return jobScript(plan, {
    what: "a thin jail for one build",
    variables: `jail=${shellQuote(jailName(plan))}
root=$scratch/${JAIL_ROOT}
made='' ruled=''
${UNMOUNT_VARIABLES}`,
    functions: `${TAKE_DOWN}

${UNMOUNT_FUNCTIONS}

${setUp(plan, root)}

${builder(plan)}`,
  });
}
