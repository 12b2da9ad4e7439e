{
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

# shellcheck disable=SC2016 # Whatever is in its name.
top='/tank/it'\''s my $(root)'
[ -d "$top/tmp" ] || exit 0
status=0
# shellcheck disable=SC2016 # The dollars are for the script under the lock.
/usr/bin/flock -w 120 -E 75 "$top/lock" sh -c 'set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf '\''garth: %s\n'\'' "$*" >&2
}

# Whoever asked may be gone: what is begun is ended all the same.
trap '\'''\'' HUP PIPE
cd -P "$1"
top=$PWD
cd /
tab='\''	'\''
newline='\''
'\''
status=0 spared=$newline

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
  case ${1%% *} in '\'''\'' | *[!0-9]*) return 1 ;; esac
  began "${1%% *}" && [ "$began" = "${1#* }" ]
}

# Who is not root cannot empty a directory without the right to write into it.
remove_tree() {
  rm -rf "$1" 2>/dev/null || { chmod -R u+rwX "$1" && rm -rf "$1"; } >&2
}

# What is mounted below $root, youngest first; what a sandbox mounts is in a namespace of its own and gone with it.
clear_below() {
  set --
  while read -r _ point _; do
    plain "$point"
    case $line in "$root" | "$root"/*) set -- "$line" "$@" ;; esac
  done </proc/self/mounts
  [ $# -eq 0 ] || umount "$@" 2>/dev/null || umount -l "$@" >&2
}

# $line, with what vis(3) wrote in octal as it is.
plain() {
  line=
  rest=$1
  while :; do
    case $rest in *\\[0-3][0-7][0-7]*) ;; *) break ;; esac
    before=${rest%%\\[0-3][0-7][0-7]*}
    rest=${rest#"$before"\\}
    after=${rest#???}
    code=${rest%"$after"}
    rest=$after
    case $code in
    040) line="$line$before " ;;
    011) line=$line$before$tab ;;
    *) line=$line$before$(printf '\''%b'\'' "\\0$code") ;;
    esac
  done
  line=$line$rest
}

say() {
  event "$@" || :
}

# Whether nobody answers for a directory any more.
abandoned() {
  [ -d "$1" ] && [ ! -L "$1" ] || return 1
  case $1 in *"$newline"*) return 1 ;; esac
  owner=
  if [ -f "$1/owner" ]; then read -r owner <"$1/owner" || :; fi
  if [ -n "$owner" ]; then
    if alive "$owner"; then return 1; fi
  else
    [ -n "$(find "$1" -prune -mmin +60)" ]
  fi
}

# By the script that made it, which knows most; then by what can be seen of it.
undo() {
  if [ -f "$1/run.sh" ]; then sh "$1/run.sh" teardown >&2 || :; fi
  root=$1
  clear_below
}

for scratch in "$top"/tmp/*; do
  abandoned "$scratch" || continue
  name=${scratch##*/}
  whose=$owner
  if undo "$scratch" && { [ -f "$scratch/kept" ] || remove_tree "$scratch"; }; then
    [ -f "$scratch/kept" ] || say swept scratch "$name"
  else
    # Its processes may live on: nobody else becomes their user.
    spared=$spared$whose$newline
    status=1
    say stuck "$name"
  fi
done

for left in "$top"/incoming/*; do
  abandoned "$left" || continue
  name=${left##*/}
  if remove_tree "$left"; then
    say swept incoming "$name"
  else
    status=1
    say stuck "$name"
  fi
done

for link in "$top"/users/*; do
  [ -L "$link" ] || continue
  whose=$(readlink "$link") || continue
  case $spared in *"$newline$whose$newline"*) continue ;; esac
  if ! alive "$whose"; then
    rm -f "$link"
    say swept user "${link##*/}"
  fi
done
exit "$status"
' sweep "$top" </dev/null || status=$?
if [ "$status" -eq 75 ]; then
  event locked
  exit 0
fi
exit "$status"
}
