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

directory=/frx/var/garth/pools/debian-12
lock=/frx/var/garth/pools/.init.lock
image=/frx/var/garth/templates/debian-12.img
template=zroot/garth/templates/debian-12
mount=/frx/var/garth/pools/.templates/debian-12
snapshot=zroot/garth/templates/debian-12@4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f
machines=zroot/garth/pools/debian-12

has() {
  zfs list -H -o name "$1" >/dev/null 2>&1
}

made=
remove_made() {
  failed=0
  for each in $made; do ! has "$each" || zfs destroy "$each" || failed=1; done
  return "$failed"
}

remove_copy() {
  rm -f "$mount/disk.img.new"
}

# DATASET MOUNTPOINT CANMOUNT
create() {
  if ! has "$1"; then
    made="$1 $made"
    zfs create -o mountpoint="$2" -o canmount="$3" "$1" >&2
  fi
}

make_datasets() {
  undo_by remove_made
  create zroot/garth/templates none off
  create zroot/garth/pools none off
  create "$machines" none off
  if has "$snapshot"; then
    tell template there
    return
  fi
  create "$template" "$mount" on
  [ "$(zfs get -H -o value mounted "$template")" = yes ] || zfs mount "$template" >&2
  undo_by remove_copy
  cp "$image" "$mount/disk.img.new"
  [ "$(sha256 -q "$mount/disk.img.new")" = 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a ] || fail "$image is not the template's image"
  mv "$mount/disk.img.new" "$mount/disk.img"
  zfs snapshot "$snapshot" >&2
  made="$snapshot $made"
  tell template made
}

# Those of what the template was before; where machines stand on one, it is refused.
forget_snapshots() {
  for each in $(zfs list -H -t snapshot -d 1 -o name "$template"); do
    case ${each#*@} in
    *[!0-9a-f]*) continue ;;
    esac
    if [ "$each" != "$snapshot" ] && [ "${#each}" -eq "${#snapshot}" ]; then
      zfs destroy "$each" 2>/dev/null || :
    fi
  done
}

require() {
  command -v bhyve >/dev/null || cannot "there is no bhyve(8)"
  for file in /usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd /usr/local/share/uefi-firmware/BHYVE_UEFI_VARS.fd; do
    [ -r "$file" ] || cannot "there is no $file: pkg install edk2-bhyve"
  done
  kldload -n vmm >&2 || cannot "the kernel module vmm does not load: this processor, or its firmware, has no virtualization"
  [ -r "$image" ] || fail "the template's image is gone: $image"
  case $(pciconf -l ppt0 2>/dev/null) in
  ppt*) ;;
  *) cannot "ppt0 is not reserved for guests: pptdevs in /boot/loader.conf, see vmm(4)" ;;
  esac
  case $(pciconf -l pci0:1:0:0 2>/dev/null) in
  ppt*) ;;
  *) cannot "pci0:1:0:0 is not reserved for guests: pptdevs in /boot/loader.conf, see vmm(4)" ;;
  esac
}

init() {
  require
  make_datasets
  sh "$directory/network.sh" make >&2
  tell network made
  forget_snapshots
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
  ! has "$machines" || zfs destroy "$machines"
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
