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

for left in "$root"/incoming/*; do
  [ -f "$left/owner" ] || continue
  read -r whose <"$left/owner" || continue
  alive "$whose" || rm -rf "$left"
done
cd "$used"
ask aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-libc-1.0 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-what?-2=3+4_5.6'
