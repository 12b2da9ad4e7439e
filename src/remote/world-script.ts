/**
 * The script that hands over the tree of a running machine as one archive. Pure.
 *
 *     directory ──► file systems that belong to it ──► every path that is part of a system, listed ──► tar of that list to standard output
 *                                                                                     └──► what changed meanwhile, listed
 *
 * Events:
 *
 *     absent                     there is no such directory
 *     system NAME                uname(1) -s
 *     release TEXT               of the userland, when the directory is the root
 *     left TYPE PATH             what was not read: a local file system that is mounted below it, a `directory` that no base system has
 *     members COUNT              of the archive
 *     accounts PATH MODE UID GID a file with passwords is not in the archive; `line TEXT` for each of its lines without them
 *     read STATUS                of tar(1), whose words are on standard error
 *     changed PATH               a file that changed after the list was made
 *
 * Whoever waits is the script's leash. Nothing is written on the machine but a list in /tmp, which goes with the script.
 */
import { SCRIPT_HEAD, SCRIPT_LEASH, shellQuote } from "../host/index.ts";

export interface WorldReading {
  /** Absolute. */
  readonly directory: string;
  /** Paths below it, without slashes at the ends: each is left out with all that is in it. */
  readonly without: readonly string[];
}

/** Directories that stay, and whose contents are no part of a system: what runs, what it wrote, and what is its keeper's. */
export const WORLD_EMPTIED: readonly string[] = [
  "boot/efi",
  "dev",
  "efi",
  "frx",
  "home",
  "lost+found",
  "media",
  "mnt",
  "net",
  "proc",
  "run",
  "sys",
  "tmp",
  "usr/home",
  "usr/obj",
  "usr/ports",
  "usr/src",
  "var/account",
  "var/at/jobs",
  "var/audit",
  "var/backups",
  "var/cache",
  "var/crash",
  "var/cron/tabs",
  "var/db/entropy",
  "var/db/etcupdate",
  "var/db/freebsd-update",
  "var/db/ports",
  "var/db/portsnap",
  "var/heimdal",
  "var/lib/systemd/coredump",
  "var/mail",
  "var/tmp",
];

/** Directories that stay with those in them, without anything else. */
export const WORLD_WITHOUT_FILES: readonly string[] = ["var/log", "var/run", "var/spool"];

/** What is this one machine's: its secrets, its identity, and what is made of them. Patterns of find(1)'s -path, where `*` takes slashes. */
export const WORLD_LEFT_OUT: readonly string[] = [
  "*.keytab",
  "*/.ssh",
  "*/.snap",
  ".snap",
  ".sujournal",
  "boot/entropy",
  "boot/nextboot.conf",
  "entropy",
  "etc/hostid",
  "etc/ipsec.secrets",
  "etc/letsencrypt",
  "etc/machine-id",
  "etc/pwd.db",
  "etc/rndc.key",
  "etc/spwd.db",
  "etc/ssh/ssh_host_*",
  "etc/ssl/private/*",
  "etc/wireguard",
  "etc/wpa_supplicant.conf",
  "etc/*.keytab.*",
  "etc/group-",
  "etc/gshadow-",
  "etc/passwd-",
  "etc/shadow-",
  "firstboot",
  "quota.group",
  "quota.user",
  "root/?*",
  "swap.img",
  "swapfile",
  "usr/local/etc/letsencrypt",
  "usr/local/etc/wireguard",
  "var/db/dhclient.leases.*",
  "var/lib/NetworkManager",
  "var/lib/dbus/machine-id",
  "var/lib/dhcp/*",
  "var/lib/private",
  "var/lib/systemd/random-seed",
  "var/lib/urandom/random-seed",
];

/** Of the superuser's home, what a base system has there. */
export const WORLD_OF_ROOT: readonly string[] = [".bashrc", ".cshrc", ".k5login", ".login", ".profile", ".shrc"];

/** File with passwords -> its mode. */
const ACCOUNTS: readonly (readonly [path: string, mode: string])[] = [
  ["etc/gshadow", "0640"],
  ["etc/master.passwd", "0600"],
  ["etc/shadow", "0640"],
];

/** Directories that base systems have at the top. */
const TOPS =
  "bin boot compat dev etc home lib lib32 lib64 libexec libx32 media mnt net opt proc rescue root run sbin srv sys tmp usr var".split(
    " ",
  );

/** Where a base system may have a file system of its own (hier(7)). */
const HIERARCHY =
  "bin boot etc lib lib32 lib64 libexec opt rescue sbin srv usr usr/lib usr/lib32 usr/libdata usr/libexec usr/local usr/sbin usr/share var var/account " +
  "var/audit var/cache var/crash var/db var/empty var/lib var/log var/mail var/spool";

export function worldScript({ directory, without }: WorldReading): string {
  const pruned = [
    ...WORLD_EMPTIED.map((path) => `./${path}/*`),
    ...WORLD_LEFT_OUT.map((pattern) => (pattern.startsWith("*") ? pattern : `./${pattern}`)),
    ...ACCOUNTS.map(([path]) => `./${path}`),
    ...without.map((path) => `./${path.replaceAll(/[\\*?[\]]/g, String.raw`\$&`)}`),
  ];
  return `${SCRIPT_HEAD}
top=${shellQuote(directory)}
if [ ! -d "$top" ]; then
  event absent
  exit 3
fi
kernel=$(uname -s)
event system "$kernel"
work=$(mktemp -d /tmp/garth-world.XXXXXX)
packing=
leash=
undo() {
  trap '' HUP INT TERM
  for process in $packing $leash; do kill "$process" 2>/dev/null || :; done
  wait
  cd / && rm -rf "$work"
}
trap undo EXIT
trap 'exit 3' HUP INT TERM
cd "$top"
top=$(pwd -P)
release() {
  # shellcheck disable=SC1091 # It is the machine's own.
  case $kernel in
    FreeBSD) freebsd-version -u ;;
    *) . /etc/os-release && echo "\${ID:-linux}-\${VERSION_ID:-0}" ;;
  esac
}
if [ "$top" = / ]; then
  event release "$(release 2>/dev/null)"
  top=
fi

${SCRIPT_LEASH}
# mounts: TYPE PATH for each file system below the directory that lies on a disk of this machine.
mounts() {
  case $kernel in
    FreeBSD) mount -p | awk '$3 ~ /^(ufs|zfs|ext2fs)$/ { print $3, $2 }' ;;
    # What shows a part of another one is no file system of its own, but for btrfs.
    *) awk '{ for (i = 7; $i != "-"; i++); type = $(i + 1) }
        type ~ /^(ext[234]|xfs|btrfs|f2fs|zfs|jfs|reiserfs|overlay)$/ && ($4 == "/" || type == "btrfs") { gsub(/[\\\\]040/, " ", $5); print type, $5 }' /proc/self/mountinfo ;;
  esac
}

# Those at the places of a base system belong to it.
hierarchy=' ${HIERARCHY} '
mounts | while read -r type path; do
  case $path in
    "$top"/?*) path=\${path#"$top"/} ;;
    *) continue ;;
  esac
  case $path in ${WORLD_EMPTIED.map((path) => `${path} | ${path}/*`).join(" | ")}) continue ;; esac
  case $hierarchy in
    *" $path "*) echo "./$path" ;;
    *) event left "$type" "$path" ;;
  esac
done | sort -u >"$work/mounted"

# Nor do directories at the top that no base system has.
tops=' .snap .zfs frx lost+found ${TOPS.join(" ")} '
for path in * .[!.]*; do
  { [ -d "$path" ] && [ ! -L "$path" ]; } || continue
  case $tops in
    *" $path "*) ;;
    *) event left directory "$path" ;;
  esac
done

# Files that are swapped to.
{
  [ ! -r /proc/swaps ] || awk 'NR > 1 { print $1 }' /proc/swaps
  [ ! -r etc/fstab ] || awk '$3 == "swap" { print $1; n = split($4, o, ","); for (i = 1; i <= n; i++) if (o[i] ~ /^file=/) print substr(o[i], 6) }' etc/fstab |
    while IFS= read -r path; do echo "$top$path"; done
} | while IFS= read -r path; do
  [ ! -f "$path" ] || echo ".\${path#"$top"}"
done | sort -u | sed -e 's/[][*?\\]/\\&/g' >"$work/swap"

# A mounted directory itself is listed by the file system that it is in.
everything() {
  list . 0 "$@"
  while IFS= read -r mounted <&5; do list "$mounted" 1 "$@"; done 5<"$work/mounted"
}

# list WHERE DEPTH EXPRESSION...: what belongs to the world, of one file system.
list() {
  where=$1
  depth=$2
  shift 2
  while IFS= read -r path; do set -- ! -path "$path" "$@"; done <"$work/swap"
  find "$where" -xdev -mindepth "$depth" \\
    \\( -type d -path './*' ! -path './*/*' ${TOPS.map((name) => `! -name ${name}`).join(" ")} -prune \\) -o \\
    \\( \\( ${pruned.map((pattern) => `-path ${shellQuote(pattern)}`).join(" -o \\\n    ")} \\) \\
${WORLD_OF_ROOT.map((name) => `    ! -path ${shellQuote(`./root/${name}`)}`).join(" \\\n")} \\
    -prune \\) -o \\
    \\( -type d -o \\( -type f -o -type l \\) ${WORLD_WITHOUT_FILES.map((path) => `! -path ${shellQuote(`./${path}/*`)}`).join(" ")} \\) "$@" -print0 || :
}

# What is gone again is not missed; what cannot be read is.
everything >"$work/list" 2>"$work/unlisted"
: >"$work/stamp"
if grep -v 'No such file or directory' "$work/unlisted" | head -n 20 >"$work/said" && [ -s "$work/said" ]; then
  cat "$work/said" >&2
  exit 4
fi
event members "$(tr -dc '\\000' <"$work/list" | wc -c | tr -d ' ')"

# accounts FILE MODE: its lines, nobody's password in them.
accounts() {
  { [ -f "$1" ] && [ ! -L "$1" ]; } || return 0
  [ -r "$1" ] || {
    echo "$1: Permission denied" >&2
    exit 4
  }
  listed=$(ls -ldn "$1")
  # shellcheck disable=SC2086 # Into its fields: mode, links, owner, group.
  set -- "$1" "$2" $listed
  event accounts "$1" "$2" "$5" "$6"
  awk -F: -v OFS=: '/^[#+-]/ || NF < 2 { print; next } { $2 = "*"; print }' "$1" | while IFS= read -r line; do event line "$line"; done
}
${ACCOUNTS.map(([path, mode]) => `accounts ${path} ${mode}\n`).join("")}
# In the place of the shell that it is run by, so that it is what is ended.
archive() {
  case $kernel in
    FreeBSD) exec tar -cf - --format=pax --options=pax:hdrcharset=BINARY --no-read-sparse --no-xattrs --no-acls --no-recursion --null -T "$work/list" ;;
    *) exec /usr/bin/tar -cf - --format=gnu --numeric-owner --no-recursion --null -T "$work/list" ;;
  esac
}
archive </dev/null 2>"$work/said" &
packing=$!
exec >/dev/null
status=0
wait "$packing" || status=$?
packing=
head -n 20 "$work/said" >&2
event read "$status"
everything -type f -newercm "$work/stamp" 2>/dev/null | tr '\\000' '\\n' | head -n 1000 | while IFS= read -r path; do event changed "\${path#./}"; done
`;
}
