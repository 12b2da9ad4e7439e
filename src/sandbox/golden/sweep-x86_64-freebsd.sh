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
lockf -k -s -t 120 "$top/lock" sh -c 'set -eu
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

# In seconds since the first process began: what ps(1) prints moves when somebody sets the clock, but for both alike.
began() {
  began='\'''\'' first=0
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
  case ${1%% *} in '\'''\'' | *[!0-9]*) return 1 ;; esac
  case ${1#* } in '\'''\'' | *[!0-9-]*) return 1 ;; esac
  began "${1%% *}" || return 1
  apart=$((began - ${1#* }))
  [ "$apart" -ge -1 ] && [ "$apart" -le 1 ]
}

# A builder may have marked files of its own as not to be removed, root or not (chflags(1): uunlnk).
remove_tree() {
  rm -rfx "$1" 2>/dev/null || { chflags -Rx 0 "$1" && rm -rfx "$1"; } >&2
}

# The mounts on $root and below it, youngest first, in $below, a line for each: as mount(8) lists them, whoever made them. A short name has tabs behind
# it, a long one has a blank; in some releases blanks in a name are written as vis(3) does.
list_below() {
  below=
  table=$(mount -p) || return 1
  IFS=$newline
  set -f
  for line in $table; do
    plain "$line"
    case $line in
    *"$tab$root$tab"* | *"$tab$root "* | *"$tab$root/"*) line=$root${line#*"$tab$root"} ;;
    *" $root$tab"* | *" $root "* | *" $root/"*) line=$root${line#*" $root"} ;;
    *) continue ;;
    esac
    line=${line%%"$tab"*}
    case ${line##* } in nullfs | devfs | tmpfs | fdescfs | procfs | unionfs | ufs | zfs) line=${line% *} ;; esac
    below=$line$newline$below
  done
  set +f
  unset IFS
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

# What a process that was just killed has not yet let go is tried again; then it is forced.
unmount_below() {
  tries=0
  while :; do
    list_below || return 1
    [ -n "$below" ] || return 0
    tries=$((tries + 1))
    IFS=$newline
    set -f
    # shellcheck disable=SC2086 # A word for each line.
    set -- $below
    set +f
    unset IFS
    if [ "$tries" -eq 1 ]; then
      # Without a sync(2) of all file systems before it.
      umount -n "$@" 2>/dev/null && return 0
    elif [ "$tries" -le 8 ]; then
      umount "$@" 2>/dev/null && return 0
      sleep 0.25
    else
      umount -f "$@" >&2 && return 0
      [ "$tries" -lt 10 ] || return 1
      sleep 0.5
    fi
  done
}

# Jails whose path is $root or below it, then the mounts there.
clear_below() {
  jails=$(jls jid path) || return 1
  IFS=$newline
  set -f
  for line in $jails; do
    jid=${line%% *}
    case ${line#* } in "$root" | "$root"/*) jail -q -R "$jid" >&2 || : ;; esac
  done
  set +f
  unset IFS
  unmount_below
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
