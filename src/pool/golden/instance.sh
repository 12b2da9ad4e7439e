#!/bin/sh
# Tells the machine debian-12-17 who it is: writes /etc/coppice-instance into the root of its disk, which must not be in use.
#   apply     does it
#   destroy   undoes what an apply that was killed has left
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
umask 077

image='/frx/var/garth/pools/free bsd/free-1/disk.img'
root='/frx/var/garth/pools/free bsd/free-1/root'
lock=/var/run/garth/md.lock

# Disks that are attached at the same time get each other's partitions in devfs: one after the other.
case "${1-}" in
apply | destroy) exec lockf -k -t 300 "$lock" sh "$0" "locked-$1" ;;
locked-apply | locked-destroy) ;;
*)
  echo "usage: sh $0 apply | destroy" >&2
  exit 2
  ;;
esac

undo() {
  if mount -p | awk -v root="$root" '$2 == root { found = 1 } END { exit !found }'; then
    umount "$root" || umount -f "$root"
  fi
  for unit in $(mdconfig -l -f "$image"); do mdconfig -d -u "$unit" || mdconfig -d -u "$unit" -o force; done
  [ ! -d "$root" ] || rmdir "$root"
}

undo
[ "$1" = locked-apply ] || exit 0
trap undo EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

disk=$(mdconfig -a -t vnode -f "$image")
part=$(gpart show -p "$disk" | awk '$4 == "freebsd-ufs" { print $3; exit }')
if [ -z "$part" ]; then
  echo "$image has no partition of the type freebsd-ufs" >&2
  exit 1
fi
tries=0
until [ -e "/dev/$part" ]; do
  tries=$((tries + 1))
  if [ "$tries" -gt 50 ]; then
    echo "/dev/$part did not come" >&2
    exit 1
  fi
  sleep 0.1
done
# A disk that was cloned from a running machine has its file system to put in order.
fsck_ffs -p "/dev/$part" >&2
mkdir "$root"
mount -t ufs -o noatime "/dev/$part" "$root"
cat >"$root/etc/coppice-instance.new" <<'end-of-instance'
COPPICE_INSTANCE_ID='debian-12-17'
COPPICE_HOSTNAME='debian-12-17'
COPPICE_ADDRESS='10.77.0.50'
COPPICE_PREFIX_LENGTH='24'
COPPICE_GATEWAY='10.77.0.1'
COPPICE_NAME_SERVERS='10.77.0.3 9.9.9.9'
COPPICE_MAC='52:54:00:0a:4d:32'
COPPICE_USER='agent'
COPPICE_HOST_PUBLIC_KEY='ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIElXNIARoRyPCbOkgHwNSJdcJTR1kIlydvgvX4tAIz+y'
COPPICE_HOST_KEY_BASE64='LS0tLS1CRUdJTiBPUEVOU1NIIFBSSVZBVEUgS0VZLS0tLS0KYjNCbGJuTnphQzFyWlhrdGRqRUFBQUFBQkc1dmJtVUFBQUFFYm05dVpRQUFBQUFBQUFBQkFBQUFNd0FBQUF0emMyZ3RaVwpReU5UVXhPUUFBQUNCSlZ6U0FFYUVjandtenBJQjhEVWlYWENVMGRaQ0pjbmI0TDErTFFDTS9zZ0FBQUpEUXZicyswTDI3ClBnQUFBQXR6YzJndFpXUXlOVFV4T1FBQUFDQkpWelNBRWFFY2p3bXpwSUI4RFVpWFhDVTBkWkNKY25iNEwxK0xRQ00vc2cKQUFBRUJrckJMZXlUeGoxMFpjN2pvUnhsZTVaNmJJQ2hxZHJiWVp2OEl4UWhrYmowbFhOSUFSb1J5UENiT2tnSHdOU0pkYwpKVFIxa0lseWR2Z3ZYNHRBSXoreUFBQUFDV0VnYldGamFHbHVaUUVDQXdRPQotLS0tLUVORCBPUEVOU1NIIFBSSVZBVEUgS0VZLS0tLS0K'
COPPICE_AUTHORIZED_KEY='ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINrXAsCyIOb6FrkKlNPR5vNoRaahpA1TB8ypqRBYGFaF somebody'\''s pool'
end-of-instance
mv "$root/etc/coppice-instance.new" "$root/etc/coppice-instance"
