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

# In ticks since the boot: what ps(1) prints is computed anew each time, and jitters.
began() {
  began=
  { read -r began <"/proc/$1/stat"; } 2>/dev/null || :
  # Field 2 is a name in parentheses, which may hold blanks and more of them.
  # shellcheck disable=SC2086 # Into its fields.
  set -- ${began##*) }
  began=
  case ${1-Z} in Z | X) return 1 ;; esac
  began=${20-}
  [ -n "$began" ]
}

alive() {
  case ${1%% *} in '' | *[!0-9]*) return 1 ;; esac
  began "${1%% *}" && [ "$began" = "${1#* }" ]
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
  cat /proc/[0-9]*/mountinfo 2>/dev/null || :
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
(cd "$work" && exec /usr/bin/flock -w 60 -E 75 "$root/lock" sh "$work/inner" "$root" "$work") || status=$?
if [ "$status" = 75 ]; then event busy; fi
[ "$status" = 0 ] || exit 3
count=0
while read -r _; do
  count=$((count + 1))
done <"$work/went"
kib=0
if [ "$count" != 0 ]; then kib=$(du -sk "$work/gone"); fi
event removed "$count" "${kib%%[!0-9]*}"
