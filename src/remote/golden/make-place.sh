set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

set -- \
  / \
  /frx \
  /frx/var \
  /frx/var/garth \
  /frx/var/garth/remote \
  /frx/var/garth/remote/store \
  /frx/var/garth/remote/incoming \
  /frx/var/garth/remote/tmp \
  /frx/var/garth/remote/users \
  /frx/var/garth/remote/used

# One ls(1) says that all of it is there and root's, as it is after the first time: each process costs.
all_well() {
  wanted=$#
  listed=$(ls -ldn "$@" 2>/dev/null) || return 1
  while read -r mode _ owner _; do
    wanted=$((wanted - 1))
    [ "$owner" = 0 ] || return 1
    case $mode in
      d????????[tT]*) ;;
      d????w* | d???????w* | [!d]*) return 1 ;;
    esac
  done <<END
$listed
END
  [ "$wanted" = 0 ]
}
if all_well "$@"; then exit 0; fi

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

for dir do
  look_at "$dir"
  if [ "$state" = absent ]; then
    # Somebody else may be making it, too.
    mkdir -m 755 "$dir" 2>/dev/null || :
    look_at "$dir"
  fi
  [ "$state" = ok ] || refuse "$dir"
done
