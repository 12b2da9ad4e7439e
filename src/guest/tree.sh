# Sends a signal to a command and everything that it started, and prints to how many processes.
#
#   sh -c TEXT tree SIGNAL LEADER gone|there HALF HALF       the mark in two: in one piece this script would find itself
#
# All are found before the first is signalled: the child of a dead parent is nobody's. KILL stops them first and looks again until nobody
# is new, so that none starts another while the others die. Linux says it in /proc, which the shell reads itself; elsewhere ps(1) does.
signal=$1
leader=$2
gone=$3
mark=GARTH_COMMAND=$4$5
found=' '
rounds=20

# pid:parent:session of everything that lives
table() {
  if [ -r /proc/self/stat ]; then
    for entry in /proc/[0-9]*; do
      { read -r line <"$entry/stat"; } 2>/dev/null || continue
      # The name of the program is in parentheses and may hold anything.
      # shellcheck disable=SC2086
      set -- ${line##*) }
      [ "$1" = Z ] || echo "${entry#/proc/}:$2:$4"
    done
  else
    ps -axww -o pid= -o ppid= -o sid= -o state= | while read -r id parent session state; do
      case $state in Z*) ;; *) echo "$id:$parent:$session" ;; esac
    done
  fi
}

# Who has the mark in his environment, between zero bytes. The grep of busybox does not look behind the first of them.
marked() {
  if ! [ -r /proc/self/stat ]; then
    # shellcheck disable=SC2009
    ps -axeww -o pid= -o command= | grep -F "$mark" | grep -v -F 'grep -F' | while read -r id _; do echo "$id"; done
  elif printf 'a\000b' | grep -q -F b; then
    grep -l -F "$mark" /proc/[0-9]*/environ 2>/dev/null | while IFS=/ read -r _ _ id _; do echo "$id"; done
  else
    for entry in /proc/[0-9]*; do
      if tr '\000' '\n' 2>/dev/null <"$entry/environ" | grep -q -F "$mark"; then echo "${entry#/proc/}"; fi
    done 2>/dev/null
  fi
}

add() {
  case "$found" in
    *" $1 "*) ;;
    *)
      found="$found$1 "
      fresh=yes
      more=yes
      ;;
  esac
}

look() {
  all=" $(table | tr '\n' ' ')"
  for id in $(marked); do
    case "$all" in *" $id:"*) add "$id" ;; esac
  done
  # A leader that has ended: somebody with its number is another, and then no session is named by it either.
  reused=
  if [ "$gone" = gone ]; then
    case "$all" in *" $leader:"*) reused=yes ;; esac
  fi
  more=yes
  while [ "$more" ]; do
    more=
    for entry in $all; do
      id=${entry%%:*}
      session=${entry##*:}
      parent=${entry#*:}
      parent=${parent%%:*}
      if [ "$id" = "$leader" ] && [ "$gone" != gone ]; then add "$id"; fi
      if [ "$session" = "$leader" ] && [ -z "$reused" ]; then add "$id"; fi
      case "$found" in *" $parent "* | *" $session "*) add "$id" ;; esac
    done
  done
}

send() {
  # shellcheck disable=SC2086
  [ "$found" = ' ' ] || kill -s "$1" $found 2>/dev/null
}

look
if [ "$signal" = KILL ]; then
  fresh=yes
  while [ "$fresh" ] && [ "$rounds" -gt 0 ]; do
    send STOP
    fresh=
    look
    rounds=$((rounds - 1))
  done
fi
send "$signal"
# shellcheck disable=SC2086
set -- $found
echo $#
