set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

# Whoever listened may be gone: what has come whole is kept all the same.
trap '' PIPE
say() {
  event "$@" || :
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

work=$root/incoming/send-1

own_identity
trap 'cd / && rm -rf "$work"' EXIT
trap 'exit 3' HUP INT TERM
mkdir "$work" "$work/t" "$work/s" "$work/w" "$work/one"
echo "$owner" >"$work/owner"

free=$(df -kP "$work" | {
  read -r _ && read -r free
  # Before the first "%" are the name of the file system, three numbers and a share; the name may have blanks.
  # shellcheck disable=SC2086
  set -- ${free%%%*}
  while [ $# -gt 2 ]; do shift; done
  echo "${1-}"
})
# Below zero: what is kept for root is being used up.
case $free in -*) free=0 ;; esac
if [ -n "$free" ] && [ "$free" -lt 5 ]; then
  event full 5120 "$((free * 1024))"
  exit 3
fi

items() {
  "$1" aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-libc-1.0
  "$1" 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-what?-2=3+4_5.6' aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-libc-1.0
}

# Into $words what mtree is to read.
whole() {
  [ ! -f "w/$1" ] || words="$words s/$1"
}

# w/NAME is there as long as nothing is known against the item.
check() {
  name=$1
  [ -f "w/$name" ] || return 0
  mv "t/$name" one/
  if [ "$(tail -n 1 "s/$name")" = '#whole' ] &&
    said=$({ echo '. type=dir' && cat "s/$name"; } | mtree -p one 2>&1) && [ -z "$said" ]; then
    mv "one/$name" t/
  else
    printf '%s\n' "$said" | head -n 10 >&2 || :
    say refused "$name"
    rm -rf "one/$name" "w/$name"
  fi
}

place() {
  if there "$1"; then
    return 0
  fi
  [ -f "w/$1" ] || return 0
  name=$1
  shift
  for reference; do
    [ -f "w/$reference" ] || there "$reference" || {
      rm -f "w/$name"
      return 0
    }
  done
  words="$words t/$name"
}

tell() {
  if there "$1"; then say stored "$1"; fi
}

say ready
cd "$work"
# What tar says may end without a line's end.
said=$({ head -c 4096 | /usr/bin/tar -xpPf - --warning=no-unknown-keyword 2>&1 || echo "tar ended with status $?"; } | tail -n 10)
unpacked=true
if [ -n "$said" ]; then
  unpacked=false
  printf '%s\n' "$said" >&2 || :
  say unpacked
fi

for name in t/*; do
  [ -f "w/${name#t/}" ] || rm -rf "$name"
done
# No name of an item has a blank in it; some have what a shell takes for a pattern.
set -f
words=
items whole
if [ -n "$words" ]; then
  # All at once, and one by one only to find which it is.
  # shellcheck disable=SC2086 # Names, each a word.
  if $unpacked && said=$({ echo '. type=dir' && cat $words; } | mtree -p t 2>&1) && [ -z "$said" ]; then :; else items check; fi
  sync -f "$work"
fi
# What these refer to may still be on its way; the end of the input says that it came, or that it never will.
read -r _ || :
words=
items place
# shellcheck disable=SC2086 # Names, each a word.
if [ -n "$words" ]; then mv -n $words "$store/" || :; fi
items tell
