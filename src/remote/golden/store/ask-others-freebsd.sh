set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

root=/frx/var/garth/remote
store=/frx/store
used=$root/used

[ -d "$root" ] || mkdir -p "$root"
for directory in "$store" "$used" "$root/incoming"; do
  if [ -L "$directory" ]; then
    event unsafe "$directory"
    exit 3
  fi
  [ -d "$directory" ] || mkdir "$directory" 2>/dev/null || [ -d "$directory" ] || {
    event unsafe "$directory"
    exit 3
  }
done

# An item may be a symlink that leads nowhere here.
there() {
  [ -e "$store/$1" ] || [ -L "$store/$1" ]
}

ask() {
  for name; do
    there "$name" || event missing "$name"
  done
}

# In seconds since the first process began: what ps(1) prints moves when somebody sets the clock, but for both alike.
began() {
  began='' first=0
  # shellcheck disable=SC2046 # Into its fields.
  set -- "$1" $(TZ=UTC ps -o pid= -o state= -o lstart= -p "1,$1" 2>/dev/null)
  pid=$1
  shift
  # PID STATE Sun Nov 29 14:27:51 2026
  while [ $# -ge 7 ]; do
    case $2 in
    Z*) ;;
    *)
      seconds_of "$4" "$5" "$6" "$7"
      [ "$1" != 1 ] || first=$seconds
      [ "$1" != "$pid" ] || began=$seconds
      ;;
    esac
    shift 7
  done
  [ -n "$began" ] || return 1
  began=$((began - first))
}

# Since some day long ago. The year begins in March, so that a day too many is at its end.
seconds_of() {
  case $1 in
  Jan) month=13 ;; Feb) month=14 ;; Mar) month=3 ;; Apr) month=4 ;; May) month=5 ;; Jun) month=6 ;;
  Jul) month=7 ;; Aug) month=8 ;; Sep) month=9 ;; Oct) month=10 ;; Nov) month=11 ;; *) month=12 ;;
  esac
  year=$4
  [ "$month" -le 12 ] || year=$((year - 1))
  days=$((365 * year + year / 4 - year / 100 + year / 400 + (153 * month - 457) / 5 + $2))
  hour=${3%%:*} second=${3##*:} minute=${3#*:}
  minute=${minute%:*}
  seconds=$((days * 86400 + ${hour#0} * 3600 + ${minute#0} * 60 + ${second#0}))
}

# Two times that are cut to whole seconds may be one further apart, or nearer.
alive() {
  case ${1%% *} in '' | *[!0-9]*) return 1 ;; esac
  case ${1#* } in '' | *[!0-9-]*) return 1 ;; esac
  began "${1%% *}" || return 1
  apart=$((began - ${1#* }))
  [ "$apart" -ge -1 ] && [ "$apart" -le 1 ]
}

own_identity() {
  owner=${GARTH_OWNER-}
  if [ "${owner%% *}" != "$$" ]; then
    began "$$"
    owner="$$ $began"
  fi
}

for left in "$root"/incoming/*; do
  [ -f "$left/owner" ] || continue
  read -r whose <"$left/owner" || continue
  alive "$whose" || rm -rf "$left"
done
cd "$used"
ask aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-libc-1.0 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-what?-2=3+4_5.6'
