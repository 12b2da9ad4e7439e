#!/bin/sh
# The machine web.example under bhyve: one boot, its serial console on standard input and output.
#   run       boots it; ends with bhyve's status: 0 rebooted, 1 powered off, 2 halted, 3 triple fault, 4 error.
#             71: bhyve was not started. The last line of standard error says the same.
#   destroy   undoes what a run that was killed has left
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
umask 077

vm=garth-web_example

# Any end of bhyve leaves the machine in the kernel, with its memory.
bhyve=
undo() {
  [ -z "$bhyve" ] || kill -KILL "$bhyve" 2>/dev/null || :
  if [ -e "/dev/vmm/$vm" ]; then
    bhyvectl --vm="$vm" --destroy >&2 || :
  fi
  rm -f '/tank/my machines/web/disk0.img' '/tank/my machines/web/variables.fd'
}

status=71
finish() {
  trap - EXIT
  trap '' HUP INT TERM
  undo
  printf 'garth-machine: exited %s\n' "$status" >&2
  exit "$status"
}

case "${1-}" in
run)
  trap finish EXIT
  trap 'status=129; exit' HUP
  trap 'status=130; exit' INT
  trap 'status=143; exit' TERM
  undo
  kldload -n vmm >&2
  cp '/images/it'\''s web.img' '/tank/my machines/web/disk0.img'
  cp /usr/local/share/uefi-firmware/BHYVE_UEFI_VARS.fd '/tank/my machines/web/variables.fd'
  # In the background, so that a signal to this script is answered at once; a command there would read from /dev/null.
  exec 3<&0
  bhyve -A -H -P -w -u -c 2 -m 1024M \
    -s 0,hostbridge \
    -s 1,virtio-rnd \
    -s '2,virtio-net,slirp,open,hostfwd=tcp:127.0.0.1:2222-10.0.2.15:22;tcp:127.0.0.1:8080-10.0.2.15:80,mac=58:9c:fc:00:00:01' \
    -s '3,virtio-blk,/tank/my machines/web/disk0.img' \
    -s 4,nvme,/dev/zvol/tank/data \
    -s 5,virtio-blk,/images/seed.img,ro \
    -s 31,lpc \
    -l com1,stdio \
    -l 'bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd,/tank/my machines/web/variables.fd' garth-web_example <&3 &
  bhyve=$!
  exec 3<&-
  ended=0
  wait "$bhyve" || ended=$?
  bhyve=
  status=$ended
  ;;
destroy)
  undo
  ;;
*)
  echo "usage: sh $0 run | destroy" >&2
  exit 2
  ;;
esac
