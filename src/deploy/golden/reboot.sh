set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

sync
event rebooting
if [ "$(uname -s)" = FreeBSD ]; then
  shutdown -r now </dev/null >/dev/null 2>&1
elif [ -d /run/systemd/system ]; then
  systemctl reboot
else
  case $(readlink /proc/1/exe) in
    # Its init takes this for a reboot.
    */busybox) kill -TERM 1 ;;
    *)
      if command -v reboot >/dev/null; then reboot; else echo b >/proc/sysrq-trigger; fi
      ;;
  esac
fi
