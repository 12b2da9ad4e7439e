#!/bin/sh
# The sandbox garth-hello-1a2b3c4d: a thin jail for one build.
#   run        makes it, runs the builder, undoes it
#   enter      makes it, opens a shell in it as the build user, undoes it
#   teardown   undoes what a run that was killed has left
# The builder prints on standard output, both its streams. Standard error has a line for each event, beginning with
# "garth-sandbox:", and what the tools had to say. Status 0: the builder ran, an event says how it ended. 3: it did not.
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
umask 022

jail=garth-1a2b3c4d-504677ce
scratch='/tank/my store/tmp/1'
root=$scratch/jail-root
skeleton=$scratch/jail-skeleton

event() {
  printf 'garth-sandbox: %s\n' "$*" >&2
}

# nullfs mounts directories only. A hard link shows the same file; its mode and owner keep the builder from writing to it.
place() {
  ln "$1" "$2" 2>/dev/null || cp -p "$1" "$2"
}

exists() {
  jls -j "$jail" jid >/dev/null 2>&1
}

mounted_below_root() {
  mount -p | awk -v root='/tank/my\\040store/tmp/1/jail-root' '
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
    umount -f "$root"/tmp 2>/dev/null || :
    umount -f "$root"/build 2>/dev/null || :
    umount -f "$root"/frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 2>/dev/null || :
    umount -f "$root"/usr 2>/dev/null || :
    umount -f "$root"/bin 2>/dev/null || :
    umount -f "$root" 2>/dev/null || :
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
  mkdir -p \
    "$skeleton"/bin \
    "$skeleton"/build \
    "$skeleton"/dev \
    "$skeleton"/frx/store \
    "$skeleton"/frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 \
    "$skeleton"/tmp \
    "$skeleton"/usr
  ln -s usr/src/sys "$skeleton"/sys
  place '/tank/my store/c/COPYRIGHT' "$skeleton"/COPYRIGHT
  install -d -o 35001 -g 35001 -m 0755 '/tank/my store/out#1'
  install -d -o 35001 -g 35001 -m 0755 '/tank/my store/tmp/1/build'
  install -d -o 35001 -g 35001 -m 0755 '/tank/my store/tmp/1/tmp'
  jail -q -f "$scratch/jail.conf" -c "$jail" >&2
  event "created"
  if [ "$(sysctl -n kern.racct.enable 2>/dev/null || echo 0)" = 1 ]; then
    rctl -a "jail:$jail:memoryuse:sigkill=1073741824" "jail:$jail:maxproc:deny=200"
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

case "${1-}" in
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
  timeout -k 5 91 \
    limits -c 0 -n 1024 -u 200 -f 1048576k -v 1048576k \
    env -i HOME=/homeless LC_ALL=C.UTF-8 PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin SOURCE_DATE_EPOCH=1 TMPDIR=/tmp out=/frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 \
    /usr/sbin/jexec "$jail" /usr/sbin/chroot -u 35001 -g 35001 -G 35001 / \
    /bin/sh -c 'cd "$1" && shift && exec "$@"' sh /build /bin/sh -c 'make install' </dev/null 2>&1 &
  wait "$!" || status=$?
  if [ "$status" -eq 124 ] && [ $(($(date +%s) - began)) -ge 91 ]; then
    event "limit wallClockMs"
  fi
  event "exited $status"
  ran=1
  ;;
enter)
  trap finish EXIT
  set_up
  limits -c 0 -n 1024 -u 200 -f 1048576k -v 1048576k \
    env -i HOME=/homeless LC_ALL=C.UTF-8 PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin SOURCE_DATE_EPOCH=1 TMPDIR=/tmp out=/frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 \
    /usr/sbin/jexec "$jail" /usr/sbin/chroot -u 35001 -g 35001 -G 35001 / \
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
