#!/bin/sh
# The machine debian-12-17 of the pool debian-12 under bhyve.
#   prepare   makes its disk, who it is, its port
#   boot      runs it until its SSH server lets us in
#   freeze    stops bhyve; thaw has it go on
#   destroy   undoes all of it, and removes this file
# Each may be done again. Status 0: done, or there was nothing to do. 1: it failed, and what it did is undone. 3: this host cannot.
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
umask 077

subject=debian-12-17

tell() {
  printf 'garth-pool: %s %s\n' "$subject" "$*"
}

fail() {
  printf '%s: %s\n' "$subject" "$*" >&2
  exit 1
}

cannot() {
  printf '%s: %s\n' "$subject" "$*" >&2
  exit 3
}

undos=
undo_by() {
  undos="$1 $undos"
}

finish() {
  status=$?
  trap - EXIT
  trap '' HUP INT TERM
  if [ "$status" -ne 0 ]; then
    for undo in $undos; do
      if ("$undo") >&2; then tell undone "$undo"; else tell left "$undo"; fi
    done
    tell failed "$verb" "$status"
  fi
  exit "$status"
}

begin() {
  [ "$(id -u)" -eq 0 ] || cannot "this needs root"
  trap finish EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

machine=garth-debian-12-17-gthzd9qhbci48ab
directory=/frx/var/garth/pools/debian-12/debian-12-17
network=/frx/var/garth/pools/debian-12/network.sh
disk="$directory/disk/disk.img"
snapshot=zroot/garth/templates/debian-12@4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f
clone=zroot/garth/pools/debian-12/debian-12-17

has() {
  zfs list -H -o name "$1" >/dev/null 2>&1
}

make_disk() {
  has "$snapshot" || cannot "there is no $snapshot: init of its pool makes it"
  mkdir "$directory/disk"
  zfs clone -o mountpoint="$directory/disk" "$snapshot" "$clone" >&2
  chmod 600 "$disk"
  tell disk cloned
}

remove_disk() {
  ! has "$clone" || zfs destroy -f "$clone"
  [ ! -d "$directory/disk" ] || rmdir "$directory/disk"
}

# Undoes what an apply that was killed has left.
remove_identity() {
  :
}

remove_variables() {
  rm -f "$directory/variables.fd"
}

remove_port() {
  [ ! -e "$network" ] || sh "$network" drop gthzd9qhbci48ab
}

prepare() {
  if [ -e "$directory/prepared" ]; then
    tell prepared
    return
  fi
  # What a run that was killed has left.
  remove_port
  remove_identity
  remove_variables
  remove_disk
  undo_by remove_disk
  make_disk
  [ -f "$directory/seed.img" ] || fail "its seed disk is missing"
  tell identity seed-disk
  undo_by remove_variables
  cp /usr/local/share/uefi-firmware/BHYVE_UEFI_VARS.fd "$directory/variables.fd"
  chmod 600 "$directory/variables.fd"
  undo_by remove_port
  sh "$network" add gthzd9qhbci48ab 52:54:0a:4d:00:32 10.77.0.50 >&2
  sh "$network" policy gthzd9qhbci48ab 10.77.0.50 <"$directory/policy.conf" >&2
  tell port gthzd9qhbci48ab
  : >"$directory/prepared"
  tell prepared
}

bhyve_pid() {
  pgrep -fx "bhyve: $machine" || :
}

# Nothing where daemon(8) does not hold the file.
supervisor() {
  pgrep -L -F "$directory/supervisor.pid" 2>/dev/null || :
}

# bhyve leaves the machine in the kernel after any end, with its memory.
destroy_machine() {
  if [ -e "/dev/vmm/$machine" ]; then
    bhyvectl --vm="$machine" --destroy >&2
  fi
}

end_machine() {
  : >"$directory/ending"
  tries=0
  while [ -n "$(supervisor)$(bhyve_pid)" ]; do
    if [ "$tries" -ge 100 ]; then
      echo "$subject: bhyve, or its supervisor, does not end" >&2
      return 1
    fi
    for pid in $(supervisor); do kill -TERM "$pid" 2>/dev/null || :; done
    # A process that is stopped takes no other signal.
    for pid in $(bhyve_pid); do kill -KILL "$pid" 2>/dev/null || :; done
    tries=$((tries + 1))
    sleep 0.1
  done
  destroy_machine || return
  rm -f "$directory/supervisor.pid" "$directory/console.in" "$directory/console.out" "$directory/ending"
}

answers() {
  timeout 20 ssh -F none \
    -o 'ControlPath="none"' \
    -o ControlMaster=no \
    -o HostKeyAlias=debian-12-17 \
    -o 'UserKnownHostsFile="/frx/var/garth/pools/debian-12/debian-12-17/known_hosts"' \
    -o GlobalKnownHostsFile=/dev/null \
    -o StrictHostKeyChecking=yes \
    -o UpdateHostKeys=no \
    -o 'IdentityFile="/frx/var/garth/pools/key"' \
    -o IdentitiesOnly=yes \
    -o IdentityAgent=none \
    -o PreferredAuthentications=publickey \
    -o 'KexAlgorithms=^curve25519-sha256' \
    -o BatchMode=yes \
    -o ForwardAgent=no \
    -o ForwardX11=no \
    -o ClearAllForwardings=yes \
    -o PermitLocalCommand=no \
    -o TCPKeepAlive=no \
    -o ServerAliveInterval=0 \
    -o LogLevel=ERROR \
    -o ConnectTimeout=5 \
    -l root 10.77.0.50 true </dev/null >/dev/null 2>&1
}

boot() {
  [ -e "$directory/prepared" ] || fail "it is not prepared"
  kldload -n vmm >&2
  pid=$(bhyve_pid)
  if [ -n "$pid" ] && [ -n "$(supervisor)" ]; then
    case $(ps -o state= -p "$pid") in
    T*)
      tell frozen "$pid"
      return
      ;;
    esac
    undo_by end_machine
  else
    # What a supervisor that was killed has left.
    end_machine
    undo_by end_machine
    sh "$network" up gthzd9qhbci48ab 52:54:0a:4d:00:32 10.77.0.50 >&2
    rm -f "$directory/events"
    daemon -f -p "$directory/supervisor.pid" -t "garth-pool: $subject" sh "$directory/machine.sh" supervise >&2
  fi
  seen=
  deadline=$(($(date +%s) + 120))
  until answers; do
    # In this order: a supervisor tells how bhyve ended before it goes.
    alive=$(supervisor)
    last=$(tail -n 1 "$directory/events" 2>/dev/null || :)
    case $last in
    "garth-pool: $subject ended "*)
      cat "$directory/events"
      fail "bhyve ended before its SSH server answered; its console is $directory/console.log"
      ;;
    esac
    if [ -n "$alive" ]; then
      seen=yes
    elif [ -n "$seen" ]; then
      cat "$directory/events"
      fail "bhyve's supervisor is gone"
    fi
    [ "$(date +%s)" -lt "$deadline" ] || fail "its SSH server did not let us in within 120 s; its console is $directory/console.log"
    sleep 0.25
  done
  cat "$directory/events"
  tell answered
}

# Until it shows in the process: between two boots of a guest there is none for a moment.
bring() {
  tries=0
  while :; do
    pid=$(bhyve_pid)
    if [ -n "$pid" ]; then
      kill -"$1" "$pid" 2>/dev/null || :
      case $(ps -o state= -p "$pid") in
      '') now=gone ;;
      T*) now=stopped ;;
      *) now=going ;;
      esac
      [ "$now" != "$2" ] || return 0
    elif [ -z "$(supervisor)" ]; then
      fail "bhyve does not run"
    fi
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || fail "bhyve is not $2"
    sleep 0.1
  done
}

go_on() {
  for pid in $(bhyve_pid); do kill -CONT "$pid" 2>/dev/null || :; done
}

freeze() {
  undo_by go_on
  bring STOP stopped
  tell frozen "$pid"
}

thaw() {
  bring CONT going
  tell thawed "$pid"
}

destroy() {
  end_machine
  remove_port
  remove_identity
  remove_variables
  remove_disk
  for name in prepared events supervisor.pid ending console.in console.out console.log console.log.0 seed.img policy.conf known_hosts; do
    rm -f "$directory/$name"
  done
  tell destroyed
  rm -f "$directory/machine.sh"
  rmdir "$directory"
}

# Never more than two files of 1048576 bytes. A byte at a time, as bhyve writes them: dd(1) then takes none that it does not write.
keep() {
  while :; do
    [ ! -e "$directory/console.log" ] || mv -f "$directory/console.log" "$directory/console.log.0"
    dd bs=1 count=1048576 >"$directory/console.log" 2>/dev/null
    [ "$(wc -c <"$directory/console.log")" -ge 1048576 ] || return 0
  done
}

end_supervision() {
  trap - EXIT
  trap '' HUP INT TERM
  if [ -n "$bhyve" ]; then
    kill -KILL "$bhyve" 2>/dev/null || :
    wait "$bhyve" || :
  fi
  destroy_machine || :
  exec 4>&-
  [ -z "$keeper" ] || wait "$keeper" || :
  rm -f "$directory/console.in" "$directory/console.out"
  tell ended "$ended" "$word"
  exit 0
}

supervise() {
  exec >>"$directory/events" 2>&1
  bhyve=
  keeper=
  ended=-
  word=not-started
  trap end_supervision EXIT
  trap 'ended=129 word=stopped; exit' HUP
  trap 'ended=130 word=stopped; exit' INT
  trap 'ended=143 word=stopped; exit' TERM
  # A console that nobody keeps any more does not end bhyve.
  trap '' PIPE
  rm -f "$directory/console.in" "$directory/console.out"
  mkfifo "$directory/console.in" "$directory/console.out"
  keep <"$directory/console.out" &
  keeper=$!
  exec 4>"$directory/console.out"
  rm "$directory/console.out"
  reboots=0
  while [ ! -e "$directory/ending" ]; do
    destroy_machine
    bhyve -A -H -P -w -u -c 1 -m 256M \
      -s 0,hostbridge \
      -s 1,virtio-rnd \
      -s 2,virtio-net,gthzd9qhbci48ab,type=tap,mac=52:54:0a:4d:00:32 \
      -s 3,virtio-blk,/frx/var/garth/pools/debian-12/debian-12-17/disk/disk.img \
      -s 4,virtio-blk,/frx/var/garth/pools/debian-12/debian-12-17/seed.img,ro \
      -s 31,lpc \
      -l com1,stdio \
      -l bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd,/frx/var/garth/pools/debian-12/debian-12-17/variables.fd garth-debian-12-17-gthzd9qhbci48ab <>"$directory/console.in" >&4 2>&4 4>&- &
    bhyve=$!
    tell started "$bhyve"
    ended=0
    wait "$bhyve" || ended=$?
    bhyve=
    case $ended in
    0)
      word=reboot-loop
      reboots=$((reboots + 1))
      [ "$reboots" -le 100 ] || exit
      tell rebooted "$reboots"
      continue
      ;;
    1) word=powered-off ;;
    2) word=halted ;;
    3) word=triple-fault ;;
    4) word=error ;;
    *) word=killed ;;
    esac
    exit
  done
  word=stopped
  exit
}

verb=${1-}
case $verb in
prepare | boot | freeze | thaw | destroy) begin ;;
supervise) ;;
*)
  echo "usage: sh $0 prepare | boot | freeze | thaw | destroy" >&2
  exit 2
  ;;
esac
case $verb in
prepare) prepare ;;
boot) boot ;;
freeze) freeze ;;
thaw) thaw ;;
destroy) destroy ;;
supervise) supervise ;;
esac
