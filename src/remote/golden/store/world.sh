set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

top='/it'\''s /here'
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
    *) . /etc/os-release && echo "${ID:-linux}-${VERSION_ID:-0}" ;;
  esac
}
if [ "$top" = / ]; then
  event release "$(release 2>/dev/null)"
  top=
fi

exec 4<&0
{
  read -r _ <&4 || :
  kill -TERM "$$"
} </dev/null >/dev/null 2>&1 &
leash=$!
exec 4<&-

# mounts: TYPE PATH for each file system below the directory that lies on a disk of this machine.
mounts() {
  case $kernel in
    FreeBSD) mount -p | awk '$3 ~ /^(ufs|zfs|ext2fs)$/ { print $3, $2 }' ;;
    # What shows a part of another one is no file system of its own, but for btrfs.
    *) awk '{ for (i = 7; $i != "-"; i++); type = $(i + 1) }
        type ~ /^(ext[234]|xfs|btrfs|f2fs|zfs|jfs|reiserfs|overlay)$/ && ($4 == "/" || type == "btrfs") { gsub(/[\\]040/, " ", $5); print type, $5 }' /proc/self/mountinfo ;;
  esac
}

# Those at the places of a base system belong to it.
hierarchy=' bin boot etc lib lib32 lib64 libexec opt rescue sbin srv usr usr/lib usr/lib32 usr/libdata usr/libexec usr/local usr/sbin usr/share var var/account var/audit var/cache var/crash var/db var/empty var/lib var/log var/mail var/spool '
mounts | while read -r type path; do
  case $path in
    "$top"/?*) path=${path#"$top"/} ;;
    *) continue ;;
  esac
  case $path in boot/efi | boot/efi/* | dev | dev/* | efi | efi/* | frx | frx/* | home | home/* | lost+found | lost+found/* | media | media/* | mnt | mnt/* | net | net/* | proc | proc/* | run | run/* | sys | sys/* | tmp | tmp/* | usr/home | usr/home/* | usr/obj | usr/obj/* | usr/ports | usr/ports/* | usr/src | usr/src/* | var/account | var/account/* | var/at/jobs | var/at/jobs/* | var/audit | var/audit/* | var/backups | var/backups/* | var/cache | var/cache/* | var/crash | var/crash/* | var/cron/tabs | var/cron/tabs/* | var/db/entropy | var/db/entropy/* | var/db/etcupdate | var/db/etcupdate/* | var/db/freebsd-update | var/db/freebsd-update/* | var/db/ports | var/db/ports/* | var/db/portsnap | var/db/portsnap/* | var/heimdal | var/heimdal/* | var/lib/systemd/coredump | var/lib/systemd/coredump/* | var/mail | var/mail/* | var/tmp | var/tmp/*) continue ;; esac
  case $hierarchy in
    *" $path "*) echo "./$path" ;;
    *) event left "$type" "$path" ;;
  esac
done | sort -u >"$work/mounted"

# Nor do directories at the top that no base system has.
tops=' .snap .zfs frx lost+found bin boot compat dev etc home lib lib32 lib64 libexec libx32 media mnt net opt proc rescue root run sbin srv sys tmp usr var '
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
  [ ! -f "$path" ] || echo ".${path#"$top"}"
done | sort -u | sed -e 's/[][*?\]/\&/g' >"$work/swap"

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
  find "$where" -xdev -mindepth "$depth" \
    \( -type d -path './*' ! -path './*/*' ! -name bin ! -name boot ! -name compat ! -name dev ! -name etc ! -name home ! -name lib ! -name lib32 ! -name lib64 ! -name libexec ! -name libx32 ! -name media ! -name mnt ! -name net ! -name opt ! -name proc ! -name rescue ! -name root ! -name run ! -name sbin ! -name srv ! -name sys ! -name tmp ! -name usr ! -name var -prune \) -o \
    \( \( -path './boot/efi/*' -o \
    -path './dev/*' -o \
    -path './efi/*' -o \
    -path './frx/*' -o \
    -path './home/*' -o \
    -path './lost+found/*' -o \
    -path './media/*' -o \
    -path './mnt/*' -o \
    -path './net/*' -o \
    -path './proc/*' -o \
    -path './run/*' -o \
    -path './sys/*' -o \
    -path './tmp/*' -o \
    -path './usr/home/*' -o \
    -path './usr/obj/*' -o \
    -path './usr/ports/*' -o \
    -path './usr/src/*' -o \
    -path './var/account/*' -o \
    -path './var/at/jobs/*' -o \
    -path './var/audit/*' -o \
    -path './var/backups/*' -o \
    -path './var/cache/*' -o \
    -path './var/crash/*' -o \
    -path './var/cron/tabs/*' -o \
    -path './var/db/entropy/*' -o \
    -path './var/db/etcupdate/*' -o \
    -path './var/db/freebsd-update/*' -o \
    -path './var/db/ports/*' -o \
    -path './var/db/portsnap/*' -o \
    -path './var/heimdal/*' -o \
    -path './var/lib/systemd/coredump/*' -o \
    -path './var/mail/*' -o \
    -path './var/tmp/*' -o \
    -path '*.keytab' -o \
    -path '*/.ssh' -o \
    -path '*/.snap' -o \
    -path ./.snap -o \
    -path ./.sujournal -o \
    -path ./boot/entropy -o \
    -path ./boot/nextboot.conf -o \
    -path ./entropy -o \
    -path ./etc/hostid -o \
    -path ./etc/ipsec.secrets -o \
    -path ./etc/letsencrypt -o \
    -path ./etc/machine-id -o \
    -path ./etc/pwd.db -o \
    -path ./etc/rndc.key -o \
    -path ./etc/spwd.db -o \
    -path './etc/ssh/ssh_host_*' -o \
    -path './etc/ssl/private/*' -o \
    -path ./etc/wireguard -o \
    -path ./etc/wpa_supplicant.conf -o \
    -path './etc/*.keytab.*' -o \
    -path ./etc/group- -o \
    -path ./etc/gshadow- -o \
    -path ./etc/passwd- -o \
    -path ./etc/shadow- -o \
    -path ./firstboot -o \
    -path ./quota.group -o \
    -path ./quota.user -o \
    -path './root/?*' -o \
    -path ./swap.img -o \
    -path ./swapfile -o \
    -path ./usr/local/etc/letsencrypt -o \
    -path ./usr/local/etc/wireguard -o \
    -path './var/db/dhclient.leases.*' -o \
    -path ./var/lib/NetworkManager -o \
    -path ./var/lib/dbus/machine-id -o \
    -path './var/lib/dhcp/*' -o \
    -path ./var/lib/private -o \
    -path ./var/lib/systemd/random-seed -o \
    -path ./var/lib/urandom/random-seed -o \
    -path ./etc/gshadow -o \
    -path ./etc/master.passwd -o \
    -path ./etc/shadow -o \
    -path ./usr/share/doc -o \
    -path './a\*\[b\]\?\\c' \) \
    ! -path ./root/.bashrc \
    ! -path ./root/.cshrc \
    ! -path ./root/.k5login \
    ! -path ./root/.login \
    ! -path ./root/.profile \
    ! -path ./root/.shrc \
    -prune \) -o \
    \( -type d -o \( -type f -o -type l \) ! -path './var/log/*' ! -path './var/run/*' ! -path './var/spool/*' \) "$@" -print0 || :
}

# What is gone again is not missed; what cannot be read is.
everything >"$work/list" 2>"$work/unlisted"
: >"$work/stamp"
if grep -v 'No such file or directory' "$work/unlisted" | head -n 20 >"$work/said" && [ -s "$work/said" ]; then
  cat "$work/said" >&2
  exit 4
fi
event members "$(tr -dc '\000' <"$work/list" | wc -c | tr -d ' ')"

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
accounts etc/gshadow 0640
accounts etc/master.passwd 0600
accounts etc/shadow 0640

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
everything -type f -newercm "$work/stamp" 2>/dev/null | tr '\000' '\n' | head -n 1000 | while IFS= read -r path; do event changed "${path#./}"; done
