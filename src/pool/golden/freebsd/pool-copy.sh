#!/bin/sh
# The pool debian-12 under bhyve.
#   init    makes what its machines stand on
#   drain   destroys every machine, and all that init made but the template's snapshot; removes this file
# Each may be done again. Status 0: done, or there was nothing to do. 1: it failed, and what it did is undone. 3: this host cannot.
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
umask 077

subject=debian-12

tell() {
  printf 'garth-pool: %s %s\n' "$subject" "$*"
}

fail() {
  printf '%s: %s\n' "$subject" "$*" >&2
  exit 1
}

cannot() {
  printf '%s: %s\n' "$subject" "$*" >&2
  exit 3
}

undos=
undo_by() {
  undos="$1 $undos"
}

finish() {
  status=$?
  trap - EXIT
  trap '' HUP INT TERM
  if [ "$status" -ne 0 ]; then
    for undo in $undos; do
      if ("$undo") >&2; then tell undone "$undo"; else tell left "$undo"; fi
    done
    tell failed "$verb" "$status"
  fi
  exit "$status"
}

begin() {
  [ "$(id -u)" -eq 0 ] || cannot "this needs root"
  trap finish EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

directory='/var/lib/my garth'\''s/pools/debian-12'
lock='/var/lib/my garth'\''s/pools/.init.lock'
image=/frx/var/garth/templates/debian-12.img

require() {
  command -v bhyve >/dev/null || cannot "there is no bhyve(8)"
  for file in /usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd /usr/local/share/uefi-firmware/BHYVE_UEFI_VARS.fd; do
    [ -r "$file" ] || cannot "there is no $file: pkg install edk2-bhyve"
  done
  kldload -n vmm >&2 || cannot "the kernel module vmm does not load: this processor, or its firmware, has no virtualization"
  [ -r "$image" ] || fail "the template's image is gone: $image"
}

init() {
  require
  sh "$directory/network.sh" make >&2
  tell network made
  tell ready
}

drain() {
  left=
  for each in "$directory"/*/machine.sh; do
    [ -e "$each" ] || continue
    sh "$each" destroy || left="$left ${each%/*}"
  done
  [ -z "$left" ] || fail "not all of it could be undone:$left"
  # Of a machine that was destroyed but for its directory.
  for each in "$directory"/*/; do
    [ ! -d "$each" ] || rmdir "$each"
  done
  [ ! -e "$directory/network.sh" ] || sh "$directory/network.sh" remove >&2
  rm -f "$directory/network.sh"
  tell drained
  rm -f "$directory/pool.sh"
  rmdir "$directory"
}

verb=${1-}
case $verb in
init) exec lockf -k -t 3600 "$lock" sh "$0" locked-init ;;
locked-init)
  verb=init
  begin
  init
  ;;
drain)
  begin
  drain
  ;;
*)
  echo "usage: sh $0 init | drain" >&2
  exit 2
  ;;
esac
