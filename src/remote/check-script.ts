/**
 * The script that looks at a host and says what it finds; check.ts judges it. It leaves the host as it was: the jail and the sandbox that it
 * tries are gone before it ends. Pure.
 *
 *     system OS MACHINE        uname(1): "FreeBSD amd64"
 *     release TEXT             of the userland
 *     kernel TEXT              of the kernel
 *     osversion USER KERNEL    FreeBSD
 *     processors N, memory BYTES, uid N
 *     jailed VALUE CHILDREN    FreeBSD: whether it is a jail itself, and how many jails it may have
 *     absent TOOL              one of `TOOLS` is not there
 *     jail ok | failed TEXT    FreeBSD, as root: one was made, something ran in it, and it was removed
 *     sandbox ok | failed TEXT Linux: the same with bubblewrap
 *     nullfs | zfs | vmm STATE loaded, loadable, absent
 *     zpool NAME               each pool
 *     racct VALUE              kern.racct.enable, "absent"
 *     securelevel N            kern.securelevel
 *     virtual yes | no         what the processor can
 *     kvm yes | no             Linux
 *     place STATE PATH         the way to its directory (place-script.ts)
 *     space FREE TOTAL         bytes, where the directory is or will be
 *     ask                      waits for a line
 *     clock SECONDS            since the epoch, as the line came
 */
import { SCRIPT_HEAD } from "../host/index.ts";
import { lookAtPlace } from "./place-script.ts";

/** What our scripts call, of the base system. */
const EVERYWHERE =
  "awk cat chmod chown cp date df du env find grep head id ln ls mkdir mkfifo mount mtree mv od readlink rm rmdir sed sh sleep sort sync tail tar " +
  "timeout touch tr umount uname xargs";
const TOOLS = {
  FreeBSD: `${EVERYWHERE} chflags chroot devfs install jail jexec jls limits lockf mount_nullfs ps sha256 sysctl`,
  Linux: `${EVERYWHERE} bwrap flock install prlimit setpriv sha256sum unshare`,
} as const;

export function checkScript(root: string): string {
  return `${SCRIPT_HEAD}
newline='
'

# The first line of what a tool said, or nothing.
first_of() {
  said=$("$@" 2>/dev/null) || said=
  said=\${said%%"$newline"*}
}

absent() {
  for tool do
    command -v "$tool" >/dev/null 2>&1 || event absent "$tool"
  done
}

# What somebody sees who tries it: its last line is why.
try() {
  what=$1
  shift
  if said=$("$@" 2>&1); then
    event "$what" ok
  else
    event "$what" failed "\${said##*"$newline"}"
  fi
}

module() {
  if kldstat -q -m "$1" 2>/dev/null; then
    event "$1" loaded
  elif [ -f "/boot/kernel/$1.ko" ] || [ -f "/boot/modules/$1.ko" ]; then
    event "$1" loadable
  else
    event "$1" absent
  fi
}

jail_name=garth-check-$$
made=
end_jail() {
  [ -z "$made" ] || jail -R "$jail_name" >/dev/null 2>&1 || :
  made=
}
trap end_jail EXIT
trap 'exit 1' HUP INT PIPE TERM

try_jail() {
  jail -qc name="$jail_name" path=/ persist && jexec "$jail_name" /bin/sh -c :
}

look_at_freebsd() {
  first_of freebsd-version -u
  event release "\${said:-$(uname -r)}"
  event kernel "$(uname -r)"
  event osversion "$(uname -U)" "$(uname -K)"
  event processors "$(sysctl -n hw.ncpu)"
  event memory "$(sysctl -n hw.physmem)"
  first_of sysctl -n security.jail.children.max
  event jailed "$(sysctl -n security.jail.jailed)" "\${said:-0}"
  absent ${TOOLS.FreeBSD}
  if [ "$(id -u)" = 0 ]; then
    made=1
    try jail try_jail
    end_jail
  fi
  module nullfs
  module zfs
  module vmm
  if kldstat -q -m zfs 2>/dev/null; then
    zpool list -H -o name 2>/dev/null | while read -r pool; do event zpool "$pool"; done
  fi
  first_of sysctl -n kern.racct.enable
  event racct "\${said:-absent}"
  first_of sysctl -n kern.securelevel
  event securelevel "\${said:--1}"
  if grep -Eq '^ *(VT-x: |SVM: )' /var/run/dmesg.boot 2>/dev/null; then event virtual yes; else event virtual no; fi
}

look_at_linux() {
  event release "$(uname -r)"
  event kernel "$(uname -r)"
  event processors "$(grep -c '^processor' /proc/cpuinfo)"
  event memory "$(awk '$1 == "MemTotal:" { printf "%.0f", $2 * 1024 }' /proc/meminfo)"
  absent ${TOOLS.Linux}
  if command -v bwrap >/dev/null 2>&1; then
    try sandbox bwrap --unshare-all --die-with-parent --ro-bind / / --proc /proc --dev /dev /bin/sh -c :
  fi
  if [ -c /dev/kvm ]; then event kvm yes; else event kvm no; fi
}

event system "$(uname -s)" "$(uname -m)"
event uid "$(id -u)"
case $(uname -s) in
  FreeBSD) look_at_freebsd ;;
  Linux) look_at_linux ;;
  *) exit 0 ;;
esac
${lookAtPlace(root)}
# KiB, one line, however long the name of the device is.
df -Pk "$last" | while read -r _ total _ free _; do
  case $total in
    *[!0-9]*) ;;
    *) event space "$((free * 1024))" "$((total * 1024))" ;;
  esac
done

event ask
IFS= read -r _ || exit 0
event clock "$(date +%s)"
`;
}
