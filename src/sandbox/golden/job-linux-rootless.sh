#!/bin/sh
# The sandbox garth-hello-1a2b3c4d: bubblewrap for one build.
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

cd -P /r/frx/var/garth/tmp/1/sandbox
scratch=$PWD
cd /
# In the scratch directory: what bwrap says of the processes that it started; the control groups; the builder's output on its way.
inside_file=$scratch/bwrap.json
groups_file=$scratch/bwrap.groups
output_pipe=$scratch/bwrap.output
memory_group='' pids_group='' relay='' holder=''
newline='
'

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

take_user() {
  uid=35001
  gid=35001
  event user "$uid" "$gid"
}

let_user_go() {
  [ -z "${user_link-}" ]
}

find_user() {
  :
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
    [ $((looked - since)) -lt 14400 ] || end_builder 'wallClockMs 14400000'
    doze du -sk \
      /r/frx/var/garth/tmp/1/out \
      /r/frx/var/garth/tmp/1/sandbox/build \
      /r/frx/var/garth/tmp/1/sandbox/tmp >"$scratch/written"
    total=0
    while read -r kib _; do total=$((total + kib)); done <"$scratch/written"
    [ "$total" -lt 33554432 ] || end_builder 'outputBytes 34359738368'
    # Walking takes a tenth of the time, at most.
    now=$(date +%s)
    pause=$((3 + 9 * (now - looked)))
    left=$((14400 - (now - since)))
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

# Where those of the host view lead that are symlinks there.
find_links() {
  links=$(/usr/bin/readlink /usr /bin /lib /lib64 /sbin /etc/alternatives) || :
}

next_link() {
  link=${links%%"$newline"*}
  links=${links#*"$newline"}
}


left_over() {
  [ -s "$inside_file" ] || [ -s "$groups_file" ]
}

# Mount N has no source.
lacking() {
  event missing "$1"
  sound=
}

# N and paths of the build root, none of which may be a symlink: the place of mount N.
keep_out() {
  index=$1
  shift
  for path; do
    [ ! -L "$path" ] || {
      event refused "$index"
      sound=
      return 0
    }
  done
}

set_up() {
  [ "$(id -u)" != 0 ] || {
    echo 'a user namespace of one user, which for root would be root outside' >&2
    exit 3
  }
  command -v bwrap >/dev/null || {
    echo 'there is no bwrap' >&2
    exit 3
  }
  sound=1
  [ -e /usr ] || [ -L /usr ] || event absent 0
  [ -e /bin ] || [ -L /bin ] || event absent 1
  [ -e /lib ] || [ -L /lib ] || event absent 2
  [ -e /lib64 ] || [ -L /lib64 ] || event absent 3
  [ -e /sbin ] || [ -L /sbin ] || event absent 4
  [ -e /etc/alternatives ] || [ -L /etc/alternatives ] || event absent 5
  [ -n "$sound" ] || exit 3
  find_links
  install -d -m 0755 \
    /r/frx/var/garth/tmp/1/out \
    /r/frx/var/garth/tmp/1/sandbox/build \
    /r/frx/var/garth/tmp/1/sandbox/tmp
  event limits each
  # Open to all who have it open: a builder may open its output again by name. The way to it is open to nobody.
  [ -p "$output_pipe" ] || mkfifo -m 0666 "$output_pipe"
  if [ "$verb" != enter ]; then
    cat "$output_pipe" 3<&- </dev/null 2>/dev/null &
    relay=$!
  fi
  event created
}


# With more options, and behind -- what runs in it.
# shellcheck disable=SC3045 # Not of POSIX, but every sh of Linux has these options of ulimit.
sandbox() {
  set -- \
    --proc /proc \
    --dev /dev \
    --perms 1777 --size 8589934592 --tmpfs /dev/shm \
    --remount-ro /dev \
    --bind /r/frx/var/garth/tmp/1/out /frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 \
    --bind /r/frx/var/garth/tmp/1/sandbox/build /build \
    --bind /r/frx/var/garth/tmp/1/sandbox/tmp /tmp \
    --remount-ro / \
    --chdir /build \
    --json-status-fd 3 \
    "$@"
  set -- --perms 0444 --file 5 /etc/passwd "$@"
  exec 5<<EOF
root:x:0:0:root:/root:/bin/sh
garth:x:$uid:$gid:build user:/homeless:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
EOF
  set -- --perms 0444 --file 6 /etc/group "$@"
  exec 6<<EOF
root:x:0:
garth:x:$gid:
nogroup:x:65534:
EOF
  set -- --perms 0444 --file 7 /etc/hosts "$@"
  exec 7<<EOF
127.0.0.1 localhost garth-hello-1a2b3c4d
::1 localhost
EOF
  set -- --perms 0444 --file 8 /etc/nsswitch.conf "$@"
  exec 8<<EOF
passwd: files
group: files
hosts: files dns
EOF
  if [ -L /usr ]; then
    next_link
    set -- --symlink "$link" /usr "$@"
  elif [ -e /usr ]; then
    set -- --ro-bind /usr /usr "$@"
  fi
  if [ -L /bin ]; then
    next_link
    set -- --symlink "$link" /bin "$@"
  elif [ -e /bin ]; then
    set -- --ro-bind /bin /bin "$@"
  fi
  if [ -L /lib ]; then
    next_link
    set -- --symlink "$link" /lib "$@"
  elif [ -e /lib ]; then
    set -- --ro-bind /lib /lib "$@"
  fi
  if [ -L /lib64 ]; then
    next_link
    set -- --symlink "$link" /lib64 "$@"
  elif [ -e /lib64 ]; then
    set -- --ro-bind /lib64 /lib64 "$@"
  fi
  if [ -L /sbin ]; then
    next_link
    set -- --symlink "$link" /sbin "$@"
  elif [ -e /sbin ]; then
    set -- --ro-bind /sbin /sbin "$@"
  fi
  if [ -L /etc/alternatives ]; then
    next_link
    set -- --symlink "$link" /etc/alternatives "$@"
  elif [ -e /etc/alternatives ]; then
    set -- --ro-bind /etc/alternatives /etc/alternatives "$@"
  fi
  set -- bwrap \
    --unshare-user --disable-userns --uid "$uid" --gid "$gid" \
    --cap-drop ALL \
    --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup \
    --hostname garth-hello-1a2b3c4d \
    --die-with-parent \
    --clearenv \
    --setenv HOME /homeless \
    --setenv LC_ALL C.UTF-8 \
    --setenv PATH /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --setenv SOURCE_DATE_EPOCH 1 \
    --setenv TMPDIR /tmp \
    --setenv out /frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 \
    --dir /etc \
    --dir /frx \
    --dir /frx/store \
    "$@"
  ulimit -c 0
  ulimit -f 67108864
  # Without the right to raise it, the limit stays at what this process has.
  ulimit -n 16384 2>/dev/null || :
  if [ -z "$memory_group" ]; then
    # What it may write to, not what it has set aside: that costs nothing.
    ulimit -d 8388608
    processes=5096
    for process in /proc/[0-9]*; do
      # shellcheck disable=SC3067 # Not of POSIX, but of every sh of Linux.
      [ ! -O "$process" ] || processes=$((processes + 1))
    done
    set -- /usr/bin/prlimit --nproc="$processes" "$@"
  fi
  # A shell has what it starts in the background ignore two signals: the builder has none of its ways.
  set -- /usr/bin/env --default-signal "$@"
  exec "$@"
}

builder() {
  exec >"$output_pipe" 2>&1 3>"$inside_file"
  echo open >&3
  sandbox --new-session -- \
    /bin/sh -c 'make install'
}

inner_shell() {
  exec 3>"$inside_file"
  sandbox -- /bin/sh -i
}


# The first process inside, as bwrap said: when it ends, so do all in its namespace. Its number may be another's by now, its namespace's not as
# well.
inside_runs() {
  [ -n "$inside" ] && began "$inside" && [ "$(readlink "/proc/$inside/ns/pid")" = "pid:[$namespace]" ]
}

# Every process of the sandbox, and the control groups, which prove it.
end_inside() {
  inside='' namespace=''
  if [ -s "$inside_file" ]; then
    while read -r line; do
      case $line in *'"child-pid": '*'"pid-namespace": '*)
        inside=${line##*'"child-pid": '}
        inside=${inside%%[!0-9]*}
        namespace=${line##*'"pid-namespace": '}
        namespace=${namespace%%[!0-9]*}
        ;;
      esac
    done <"$inside_file"
  fi
  if [ -s "$groups_file" ]; then
    { read -r memory_group && read -r pids_group; } <"$groups_file" || :
  fi
  round=0
  until ended; do
    round=$((round + 1))
    [ "$round" -lt 200 ] || return 1
    [ "$round" -lt 3 ] || sleep 0.05
  done
}

ended() {
  if [ -z "$memory_group" ]; then
    inside_runs || return 0
    kill -KILL "$inside"
    return 1
  fi
  set --
  [ ! -d "$memory_group" ] || set -- "$memory_group"
  [ ! -d "$pids_group" ] || [ "$pids_group" = "$memory_group" ] || set -- "$pids_group" "$@"
  if [ $# -eq 0 ] || rmdir "$@"; then return 0; fi
  for file in "$memory_group/cgroup.procs" "$pids_group/cgroup.procs"; do
    [ -f "$file" ] || continue
    # 0 is a process that cannot be seen from here, and would be this script's own.
    while read -r process; do
      [ "$process" = 0 ] || kill -KILL "$process"
    done <"$file"
  done
  return 1
}

# Emptied, and not removed: that costs a process. The pipe is used again.
take_down() {
  end_process KILL "$holder"
  end_inside 2>/dev/null || return 1
  end_process KILL "$relay"
  holder='' relay=''
  : >"$inside_file"
  : >"$groups_file"
}


# Fails when bwrap gave up before there was a builder.
judge() {
  end_inside 2>/dev/null || return 0
  if [ -s "$inside_file" ]; then
    # It ends with the last of those that can write to it.
    wait "$relay" || :
    while read -r line; do
      case $line in *'"exit-code": '*) return 0 ;; esac
    done <"$inside_file"
  fi
  # Ended from outside.
  [ "$status" -le 128 ] || return 0
  echo 'bwrap could not make the sandbox, or could not start the builder in it: the output says why' >&2
  return 1
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
  judge
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

# Who is not root cannot empty a directory without the right to write into it.
remove_tree() {
  rm -rf "$1" 2>/dev/null || { chmod -R u+rwX "$1" && rm -rf "$1"; } >&2
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
