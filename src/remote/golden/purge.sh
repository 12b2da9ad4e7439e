set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

me=$(id -u)

look_at() {
  state=ok
  if [ -L "$1" ]; then
    state=symlink
  elif [ ! -e "$1" ]; then
    state=absent
  elif [ ! -d "$1" ]; then
    state=other
  else
    listed=$(ls -ldn "$1")
    # shellcheck disable=SC2086 # Into its fields: mode, links, owner.
    set -- $listed
    case $3 in 0 | "$me") ;; *) state=foreign ;; esac
    case $1 in
      ?????????[tT]*) ;;
      ?????w* | ????????w*) state=open ;;
    esac
  fi
}

refuse() {
  case $state in
    absent) echo "$1 cannot be made" >&2 ;;
    symlink) echo "$1 is a symlink" >&2 ;;
    other) echo "$1 is no directory" >&2 ;;
    foreign) echo "$1 is somebody else's" >&2 ;;
    open) echo "$1 can be written to by others" >&2 ;;
  esac
  exit 1
}

alive() {
  [ "$1" = living ]
}

root=/frx/var/garth/remote
look_at "$root"
[ "$state" != absent ] || exit 0
[ "$state" = ok ] || refuse "$root"
free=1

tab=$(printf '\t')
newline='
'

# $point, when the mount of the line $1 is on $2 or below it. FreeBSD's mount -p writes blanks as they are, and has tabs behind a short name, but a
# blank behind one of 24 characters or more; Linux has one blank everywhere, and writes blanks in octal.
below() {
  case $1 in
    *"$tab$2$tab"* | *"$tab$2 "* | *"$tab$2/"*) point=$2${1#*"$tab$2"} ;;
    *" $2$tab"* | *" $2 "* | *" $2/"*) point=$2${1#*" $2"} ;;
    *) return 1 ;;
  esac
  point=${point%%"$tab"*}
  case ${point##* } in nullfs | devfs | tmpfs | fdescfs | procfs | unionfs | ufs | zfs) point=${point% *} ;; esac
}

remove() {
  rm -rf "$1"
}
if [ "$(uname -s)" = FreeBSD ]; then
  # Not into what is mounted, if it was not seen. A builder may have marked files as not to be removed (chflags(1)).
  remove() {
    rm -rfx "$1" 2>/dev/null || { chflags -Rx 0 "$1" && rm -rfx "$1"; }
  }
  mounts=$(mount -p)
else
  mounts=$(tr ' ' "$tab" </proc/self/mounts)
fi
IFS=$newline
set -f
# shellcheck disable=SC2086 # A word for each line.
set -- $mounts
set +f
unset IFS
for line do
  if below "$line" /frx/var/garth/remote; then
    event mounted "$point"
    free=
  fi
done

for file in "$root"/tmp/*/owner; do
  [ -f "$file" ] || continue
  if read -r owner <"$file" && alive "$owner"; then
    event busy "${owner%% *}"
    free=
  fi
done
[ -n "$free" ] || exit 1

for name in store incoming tmp users used lock; do
  [ -e "$root/$name" ] || continue
  # A directory without the right to write into it cannot be emptied by who is not root.
  [ "$me" = 0 ] || chmod -R u+w "$root/$name"
  remove "${root:?}/$name"
done
rmdir "$root" 2>/dev/null || :
