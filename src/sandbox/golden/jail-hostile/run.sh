#!/bin/sh
# The sandbox garth-it-s---HOME---id-----1-1a2b3c4d: a thin jail for one build.
#   run        makes it, runs the builder, undoes it
#   serve      the same; then waits for a line: "keep" leaves the scratch directory, everything else removes it
#   enter      makes it, opens a shell in it as the build user, undoes it
#   teardown   undoes what a run that was killed has left
# When standard input ends while the builder runs, all is undone. The builder prints on standard output, both its streams. Standard error
# has a line for each event, and what the tools had to say. Status 0: the builder ran, an event says how it ended. 3: it did not.
# shellcheck disable=SC2016,SC2089,SC2090 # Words of the plan are quoted, whatever is in them.
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf 'garth: %s\n' "$*" >&2
}

cd -P '/t/it'\''s "$HOME" `id` \ #1/1'
scratch=$PWD
cd /
jail=garth-1a2b3c4d-44ade75a
root=$scratch/jail-root
made='' ruled=''
tab='	'
newline='
'

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

taken='/t/it'\''s "$HOME" `id` \ #1/users'
user_link=''

# The number that this scratch had before, so that a kept sandbox is entered as who left it; else the lowest that nobody has.
take_user() {
  [ -d "$taken" ] || mkdir -p "$taken"
  if [ -f "$scratch/user" ] && read -r uid <"$scratch/user" && link_user; then return 0; fi
  uid=35001
  while [ "$uid" -lt 36001 ]; do
    refusal=
    if link_user; then return 0; fi
    if [ -n "$refusal" ]; then
      printf '%s\n' "$refusal" >&2
      return 1
    fi
    uid=$((uid + 1))
  done
  echo 'every build user from 35001 to 36000 is taken' >&2
  return 1
}

# Fails where the number is taken, and with $refusal where no link can be made at all.
link_user() {
  [ ! -L "$taken/$uid" ] && [ ! -e "$taken/$uid" ] || return 1
  if ! refusal=$(ln -sn "$owner" "$taken/$uid" 2>&1); then
    case $refusal in *exists*) refusal= ;; esac
    return 1
  fi
  user_link=$taken/$uid
  gid=$uid
  echo "$uid" >"$scratch/user"
  event user "$uid" "$gid"
}

let_user_go() {
  [ -L "$user_link" ] || return 0
  rm -f "$user_link"
}

# What a run that was killed has: $owner is what it called itself.
find_user() {
  [ -f "$scratch/user" ] && read -r uid <"$scratch/user" || return 0
  [ "$(readlink "$taken/$uid")" != "${owner-}" ] || user_link=$taken/$uid
}

# The leash. Whoever started this script holds its other end.
hold_leash() {
  wanted || exit 0
  while read -r _; do :; done
  kill -TERM "$$"
}

# Looks at the clock and at what was written. A limit that was reached is named in a file, which is read when the builder has ended.
watch_limits() {
  set +e
  nap=
  trap 'kill -KILL "$nap"; exit 0' TERM
  wanted || exit 0
  since=
  pause=3
  while :; do
    doze sleep "$pause"
    # A script that was killed: what it led ends, unless somebody has undone it already and begun anew.
    if ! kill -0 "$$"; then
      kill "$leash"
      line=$owner
      [ ! -f "$scratch/owner" ] || read -r line <"$scratch/owner"
      [ "$line" != "$owner" ] || take_down
      exit 0
    fi
    looked=$(date +%s)
    # It began one pause ago: asking then would have cost each builder a process.
    [ -n "$since" ] || since=$((looked - pause))
    [ $((looked - since)) -lt 91 ] || end_builder 'wallClockMs 90500'
    doze du -sk \
      '/t/it'\''s "$HOME" `id` \ #1/out' \
      '/t/it'\''s "$HOME" `id` \ #1/1/build' \
      '/t/it'\''s "$HOME" `id` \ #1/1/tmp' >"$scratch/written"
    total=0
    while read -r kib _; do total=$((total + kib)); done <"$scratch/written"
    [ "$total" -lt 1048576 ] || end_builder 'outputBytes 1073741824'
    # Walking takes a tenth of the time, at most.
    now=$(date +%s)
    pause=$((3 + 9 * (now - looked)))
    left=$((91 - (now - since)))
    [ "$pause" -le "$left" ] || pause=$left
    [ "$pause" -gt 0 ] || pause=1
  done
}

# A signal is lost that comes to a new process while it still has the traps of the script: whoever sends one says it in a file, too.
wanted() {
  read -r going <"$scratch/going" && [ "$going" = yes ]
}

# What takes its time is waited for in such a way that a signal ends it at once.
doze() {
  "$@" &
  nap=$!
  wait "$nap"
}

end_builder() {
  echo "$1" >"$scratch/limit"
  kill -TERM "$builder"
  doze sleep 5
  kill -KILL "$builder"
  exit 0
}

# Whether the jail of this name is this one, and not somebody else's; $at is its path, if there is one.
ours() {
  at=$(jls -j "$jail" path 2>/dev/null) || at=
  [ "$at" = "$root" ]
}

racct() {
  [ "$(sysctl -n kern.racct.enable 2>/dev/null)" = 1 ]
}

fault() {
  event "$@"
  exit 3
}

all_devices() {
  echo 'ruleset 4 of devfs(8) is not loaded: a builder would see every device. service devfs restart loads it' >&2
  exit 3
}

lacking() {
  echo 'the build root has no /usr/sbin/chroot, by which a builder stops being root' >&2
  exit 3
}

# Components of a path below a directory: a symlink among them would lead out of it.
reached() {
  on_way=$1
  rest=${2#/}
  while [ -n "$rest" ]; do
    on_way=$on_way/${rest%%/*}
    [ ! -L "$on_way" ] || return 1
    case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
  done
}

# A hard link shows the same file; its mode and owner keep the builder from writing to it. Of a file that may not be linked (chflags(1): schg) the copy
# must not have the flags, or nobody could remove it: cp -p would keep them.
place() {
  ln "$1" "$2" 2>/dev/null || { cp "$1" "$2" && touch -r "$1" "$2"; }
}

# Whatever there is of a jail, its root is there.
left_over() {
  [ -e "$root" ] || [ -L "$root" ]
}

# The jail with all its processes, then mounts, youngest first, then the root, and in the same breath the number that nobody uses any more.
take_down() {
  left_over || return 0
  if [ -n "$made" ] || ours; then
    jail -q -f "$scratch/jail.conf" -r "$jail" >&2 || jail -q -R "$jail" >&2 || ! ours || return 1
    if [ -n "$ruled" ] || { [ -z "$made" ] && racct; }; then rctl -r "jail:$jail" 2>/dev/null || :; fi
    made='' ruled=''
  fi
  unmount_below || return 1
  rm -rfx "$root" ${user_link:+"$user_link"}
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
    *) line=$line$before$(printf '%b' "\\0$code") ;;
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

set_up() {
  set --
  [ -d '/s/it'\''s "$HOME" `id` \ #1/in' ] || fault missing 0
  reached "$root" /frx/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-in || fault refused 0
  reached "$root" /frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 || fault refused 1
  reached "$root" /build || fault refused 2
  reached "$root" /tmp || fault refused 3
  reached "$root" /usr/sbin/chroot || lacking
  if [ -d /bin ]; then set -- "$@" "$root"/bin
  elif [ -f /bin ]; then set -- "$@" "$root"''
  else event absent 0; fi
  if [ -d /lib ]; then set -- "$@" "$root"/lib
  elif [ -f /lib ]; then set -- "$@" "$root"''
  else event absent 1; fi
  if [ -d /libexec ]; then set -- "$@" "$root"/libexec
  elif [ -f /libexec ]; then set -- "$@" "$root"''
  else event absent 2; fi
  if [ -d '/opt/it'\''s "$HOME" `id` \ #1' ]; then set -- "$@" "$root"'/opt/it'\''s "$HOME" `id` \ #1'
  elif [ -f '/opt/it'\''s "$HOME" `id` \ #1' ]; then set -- "$@" "$root"/opt
  else event absent 3; fi
  mkdir -p "$root" "$@" \
    "$root"/build \
    "$root"/dev \
    "$root"/frx/store \
    "$root"/frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 \
    "$root"/frx/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-in \
    "$root"/tmp \
    "$root"/usr/sbin
  # Before its mounts, so that nothing is mounted for one that cannot be made.
  if ! jail -q -f "$scratch/jail.conf" -c "$jail" >&2; then
    ours || [ -z "$at" ] || event taken "$jail"
    exit 3
  fi
  made=1
  install -d -o "$uid" -g "$gid" -m 0755 \
    '/t/it'\''s "$HOME" `id` \ #1/out' \
    '/t/it'\''s "$HOME" `id` \ #1/1/build'
  install -d -o "$uid" -g "$gid" -m 1777 '/t/it'\''s "$HOME" `id` \ #1/1/tmp'
  if [ -d "$root"/bin ]; then mount_nullfs -o ro /bin "$root"/bin; elif [ -f /bin ]; then place /bin "$root"/bin; fi
  if [ -d "$root"/lib ]; then mount_nullfs -o ro /lib "$root"/lib; elif [ -f /lib ]; then place /lib "$root"/lib; fi
  if [ -d "$root"/libexec ]; then mount_nullfs -o ro /libexec "$root"/libexec; elif [ -f /libexec ]; then place /libexec "$root"/libexec; fi
  if [ -d "$root"'/opt/it'\''s "$HOME" `id` \ #1' ]; then mount_nullfs -o ro '/opt/it'\''s "$HOME" `id` \ #1' "$root"'/opt/it'\''s "$HOME" `id` \ #1'; elif [ -f '/opt/it'\''s "$HOME" `id` \ #1' ]; then place '/opt/it'\''s "$HOME" `id` \ #1' "$root"'/opt/it'\''s "$HOME" `id` \ #1'; fi
  mount -t devfs -o ruleset=4 devfs "$root/dev"
  [ ! -c "$root/dev/mem" ] || all_devices
  mount_nullfs -o ro '/s/it'\''s "$HOME" `id` \ #1/in' "$root"/frx/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-in
  mount_nullfs '/t/it'\''s "$HOME" `id` \ #1/out' "$root"/frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0
  mount_nullfs '/t/it'\''s "$HOME" `id` \ #1/1/build' "$root"/build
  mount_nullfs '/t/it'\''s "$HOME" `id` \ #1/1/tmp' "$root"/tmp
  cp /usr/sbin/chroot "$root"/usr/sbin/chroot
  event created
  if racct; then
    ruled=1
    rctl -a "jail:$jail:memoryuse:sigkill=1073741824" "jail:$jail:maxproc:deny=200"
    event limits all
  else
    event limits each
  fi
}

# A shell starts what runs in the background with SIGINT and SIGQUIT ignored, and timeout(1) hands on what it was started with: FreeBSD's
# sh takes both back here; where another cannot, its timeout does. In the foreground it waits for the builder alone, not for all that the
# builder leaves.
# shellcheck disable=SC2016 # The dollars are for the shell in the jail.
builder() {
  trap - INT QUIT
  exec timeout --foreground -k 5 151 \
    limits -c 0 -n 1024 -u 200 -f 1048576k -v 1048576k \
    env -i HOME=/homeless \
      LC_ALL=C.UTF-8 \
      'LINES=a
b
' \
      PATH=/bin \
      SOURCE_DATE_EPOCH=1 \
      TMPDIR=/tmp \
      'WORDS=it'\''s "$HOME" `id` \ #1' \
      out=/frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 \
    /usr/sbin/jexec "$jail" /usr/sbin/chroot -u "$uid" -g "$gid" -G "$gid" / \
    /bin/sh -c 'cd "$1" && shift && exec "$@"' sh '/build/it'\''s "$HOME" `id` \ #1' /bin/sh -c 'printf '\''%s
'\'' "$@"' 'it'\''s "$HOME" `id` \ #1' 'a
b' '' -n '*'
}

# shellcheck disable=SC2016
inner_shell() {
  exec limits -c 0 -n 1024 -u 200 -f 1048576k -v 1048576k \
    env -i HOME=/homeless \
      LC_ALL=C.UTF-8 \
      'LINES=a
b
' \
      PATH=/bin \
      SOURCE_DATE_EPOCH=1 \
      TMPDIR=/tmp \
      'WORDS=it'\''s "$HOME" `id` \ #1' \
      out=/frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 \
      "TERM=${TERM-dumb}" \
    /usr/sbin/jexec "$jail" /usr/sbin/chroot -u "$uid" -g "$gid" -G "$gid" / \
    /bin/sh -c 'cd "$1" && exec /bin/sh -i' sh '/build/it'\''s "$HOME" `id` \ #1'
}

# Two at once in one directory would undo each other.
be_alone() {
  if [ -f "$scratch/owner" ] && read -r owner <"$scratch/owner" && [ "${owner%% *}" != "$$" ] && alive "$owner"; then
    echo "process ${owner%% *} has this sandbox" >&2
    exit 3
  fi
}

begin() {
  be_alone
  own_identity
  printf '%s\n' "$owner" >"$scratch/owner"
  trap finish EXIT
  trap 'leave 129' HUP
  trap 'leave 130' INT
  trap 'leave 141' PIPE
  trap 'leave 143' TERM
  if left_over; then
    event stale
    clear_away || exit 3
  fi
  take_user
  set_up
}

# Not between the start of a process and knowing its number.
leave() {
  [ -z "$starting" ] || {
    pending=$1
    return 0
  }
  exit "$1"
}

run_builder() {
  : >"$scratch/limit"
  echo yes >"$scratch/going"
  event started
  starting=1
  builder 3<&- </dev/null 2>&1 &
  builder=$!
  hold_leash <&3 >/dev/null 2>&1 &
  leash=$!
  watch_limits 3<&- </dev/null >/dev/null 2>&1 &
  watcher=$!
  starting=
  [ -z "$pending" ] || exit "$pending"
  status=0
  wait "$builder" || status=$?
  builder=
  end_watching
  if [ -s "$scratch/limit" ]; then
    read -r limit <"$scratch/limit"
    event limit "$limit"
  fi
  event exited "$status"
  ran=1
}

end_watching() {
  [ -z "$leash$watcher" ] || : >"$scratch/going"
  end_process TERM "$leash"
  end_process TERM "$watcher"
  leash='' watcher=''
}

end_process() {
  [ -n "$2" ] || return 0
  kill -s "$1" "$2" 2>/dev/null || :
  wait "$2" 2>/dev/null || :
}

clear_away() {
  take_down && return 0
  event stuck
  return 1
}

# A builder may have marked files of its own as not to be removed, root or not (chflags(1): uunlnk).
remove_tree() {
  rm -rfx "$1" 2>/dev/null || { chflags -Rx 0 "$1" && rm -rfx "$1"; } >&2
}

remove_scratch() {
  remove_tree "$scratch" && return 0
  event stuck
  exit 3
}

# However this script ends. A number that may still be in use is not let go.
finish() {
  trap - EXIT
  trap '' HUP INT PIPE TERM
  set +e
  end_watching
  end_process KILL "$builder"
  clear_away || exit 3
  let_user_go
  if [ "$verb" = serve ]; then
    [ -z "$ran" ] || hold
    [ -n "$keep" ] || remove_scratch
  fi
  [ -n "$ran" ] || exit 3
  exit 0
}

hold() {
  trap 'remove_scratch; exit 0' HUP INT TERM
  event hold
  answer=
  read -r answer <&3
  trap '' HUP INT TERM
  if [ "$answer" = keep ]; then
    keep=1
    : >"$scratch/kept"
  fi
}

builder='' leash='' watcher='' starting='' pending='' ran='' keep='' user_link=''
verb=${1-}
case $verb in
run | serve)
  exec 3<&0 </dev/null
  begin
  run_builder
  ;;
enter)
  begin
  chown -Rh "$uid:$gid" \
    '/t/it'\''s "$HOME" `id` \ #1/out' \
    '/t/it'\''s "$HOME" `id` \ #1/1/build' \
    '/t/it'\''s "$HOME" `id` \ #1/1/tmp'
  trap : INT QUIT
  (inner_shell) || :
  ran=1
  ;;
teardown)
  be_alone
  if left_over; then clear_away || exit 3; fi
  find_user
  let_user_go
  ;;
*)
  echo "usage: sh $0 run | serve | enter | teardown" >&2
  exit 2
  ;;
esac
