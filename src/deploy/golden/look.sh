set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

kernel=$(uname -s)
event system "$kernel" "$(uname -m)"
if [ ! -e /run/current-system ]; then
  event foreign "there is no /run/current-system"
  exit 0
fi
if [ ! -f /run/current-system/generations ]; then
  event foreign "the system that runs there keeps no generations"
  exit 0
fi
event uid "$(id -u)"
[ "$(id -u)" = 0 ] || exit 0
case $kernel in
  FreeBSD) boot=$(sysctl -nx kern.boot_id) ;;
  *) read -r boot </proc/sys/kernel/random/boot_id ;;
esac
event boot "$boot"
if command -v mtree >/dev/null; then event mtree yes; else event mtree no; fi
/run/current-system/generations status
