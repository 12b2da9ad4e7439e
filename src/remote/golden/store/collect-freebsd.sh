set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

root=/frx/var/garth/remote
store=$root/store
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

work=$root/incoming/collect-1

own_identity
trap 'cd / && rm -rf "$work"' EXIT
trap 'exit 3' HUP INT TERM
mkdir "$work"
echo "$owner" >"$work/owner"

cat >"$work/inner" <<'GARTH_END'
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

root=$1
work=$2
store=$root/store
used=$root/used

young() {
  find "$used" -type f -mmin -3
}

# In every mount namespace.
mounts() {
  mount -p || :
}

# WORD NAME for each path that ends in the name of an item.
named() {
  sed -n "s,^.*/\([0-9a-f]\{64\}-[^/]*\)\$,$1 \1,p"
}

mkdir "$work/gone"
# Nobody knows when it was asked for: from now on somebody does.
for item in "$store"/*; do
  name=${item##*/}
  [ "$name" = '*' ] || [ -f "$used/$name" ] || : >>"$used/$name"
done
{
  find "$store" -mindepth 1 -maxdepth 1 | named item
  find "$used" -mindepth 1 -maxdepth 1 -type f | named mark
  young | named keep
  mounts | grep -o '/store/[0-9a-f]\{64\}-[A-Za-z0-9+._?=-]*' | named keep
  find "$used" -type f -exec awk '{
    name = FILENAME
    sub(/.*\//, "", name)
    if ($1 != "") print "refers", name, $1
  }' {} +
} | awk '
  function keep(name,  list, count, at) {
    if (name in kept) return
    kept[name] = 1
    count = split(references[name], list, " ")
    for (at = 1; at <= count; at++) keep(list[at])
  }
  function go(name,  list, count, at) {
    if (name in gone || name in kept || !(name in items)) return
    gone[name] = 1
    count = split(referrers[name], list, " ")
    for (at = 1; at <= count; at++) go(list[at])
    print name
  }
  $1 == "item" { items[$2] = 1 }
  $1 == "mark" { marks[$2] = 1 }
  $1 == "keep" { wanted[$2] = 1 }
  $1 == "refers" {
    references[$2] = references[$2] " " $3
    referrers[$3] = referrers[$3] " " $2
  }
  END {
    for (name in wanted) keep(name)
    for (name in items) go(name)
    for (name in marks) if (!(name in items) && !(name in kept)) print name >"stale"
  }' >"$work/going"

cd "$store"
# GNU's xargs would run it once for nothing, too.
# shellcheck disable=SC2016
[ ! -s "$work/going" ] || xargs sh -c 'mv "$@" "$0"/gone/' "$work" <"$work/going"
# Asked for since it was listed.
young | named back >"$work/young"
cd "$work/gone"
while read -r _ name; do
  if [ -e "$name" ] || [ -L "$name" ]; then mv -n "$name" "$store/"; fi
done <"$work/young"
while read -r name; do
  [ -e "$store/$name" ] || [ -L "$store/$name" ] || echo "$name"
done <"$work/going" >"$work/went"
cd "$used"
xargs rm -f <"$work/went"
if [ -f "$work/stale" ]; then xargs rm -f <"$work/stale"; fi
# Made by a script that was killed before it said whose it is.
find "$root/incoming" -mindepth 1 -maxdepth 1 -type d -empty -mmin +1440 -exec rmdir {} + 2>/dev/null || :
GARTH_END
status=0
(cd "$work" && exec lockf -k -s -t 60 "$root/lock" sh "$work/inner" "$root" "$work") || status=$?
if [ "$status" = 75 ]; then event busy; fi
[ "$status" = 0 ] || exit 3
count=0
while read -r _; do
  count=$((count + 1))
done <"$work/went"
kib=0
if [ "$count" != 0 ]; then kib=$(du -sk "$work/gone"); fi
event removed "$count" "${kib%%[!0-9]*}"
