/**
 * A signal for a command and everything that it started. Pure.
 *
 * Who belongs to it: the leader, children of whoever belongs to it, members of sessions that one of them leads, and every process that has
 * the command's mark in its environment, which a daemon that left its parents, its session and its group still has. All are found before
 * the first is signalled: a child of a dead parent is nobody's. SIGKILL stops them all first, and looks again until nobody is new, so that
 * none can start another while the others die.
 *
 * Linux says it in /proc, read by the shell itself; elsewhere ps(1) does. A daemon that also emptied its environment is not found.
 */
import { MARK_VARIABLE } from "./plan.ts";

export interface TreeFacts {
  readonly signal: "SIGTERM" | "SIGKILL" | "SIGINT" | "SIGHUP";
  readonly pid: number;
  readonly mark: string;
  /** It has ended: its number may be another's by now, unless a session still has it. */
  readonly leaderGone: boolean;
}

/** Looking again at a tree that grows while it is stopped. */
const ROUNDS_MAX = 20;

/** For /bin/sh; prints how many it was sent to. Needs grep(1), and ps(1) where there is no /proc. */
export function treeScript({ signal, pid, mark, leaderGone }: TreeFacts): string {
  const name = signal.slice("SIG".length);
  const half = mark.length / 2;
  return `leader=${pid}
mark='${MARK_VARIABLE}=${mark.slice(0, half)}''${mark.slice(half)}' # in two: this script is not to find itself
gone=${leaderGone ? "yes" : ""}
found=' '
table() {
  if [ -r /proc/self/stat ]; then
    for entry in /proc/[0-9]*; do
      { read -r line <"$entry/stat"; } 2>/dev/null || continue
      # shellcheck disable=SC2086
      set -- \${line##*) }
      [ "$1" = Z ] || echo "\${entry#/proc/}:$2:$4"
    done
  else
    ps -axww -o pid= -o ppid= -o sid= | while read -r id parent session; do echo "$id:$parent:$session"; done
  fi
}
marked() {
  if [ -r /proc/self/stat ]; then
    grep -l -F "$mark" /proc/[0-9]*/environ 2>/dev/null
  else
    ps -axeww -o pid= -o command= | grep -F "$mark" | grep -v -F 'grep -F'
  fi | while read -r id _; do
    id=\${id#/proc/}
    echo "\${id%/environ}"
  done
}
look() {
  all=$(table)
  reused=
  if [ "$gone" ]; then
    case "
$all" in *"
$leader:"*) reused=yes ;; esac
  fi
  for id in $(marked); do
    case "
$all" in *"
$id:"*) add "$id" ;; esac
  done
  more=yes
  while [ "$more" ]; do
    more=
    for entry in $all; do
      id=\${entry%%:*}
      session=\${entry##*:}
      parent=\${entry#*:}
      parent=\${parent%%:*}
      if [ "$id" = "$leader" ] && [ -z "$gone" ]; then add "$id"; fi
      if [ "$session" = "$leader" ] && [ -z "$reused" ]; then add "$id"; fi
      case "$found" in *" $parent "* | *" $session "*) add "$id" ;; esac
    done
  done
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
send() {
  # shellcheck disable=SC2086
  kill -s "$1" $found 2>/dev/null
}
look
if [ ${name} = KILL ]; then
  round=0
  while [ "$round" -lt ${ROUNDS_MAX} ]; do
    send STOP
    fresh=
    look
    [ "$fresh" ] || break
    round=$((round + 1))
  done
fi
[ "$found" = ' ' ] || send ${name}
# shellcheck disable=SC2086
set -- $found
echo $#
`;
}
