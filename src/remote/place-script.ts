/**
 * Scripts for the directory that is Garth's on a host: made, and taken away. Pure.
 *
 * A directory on the way to it that somebody else could change, or that is a symlink, would lead our work elsewhere: it is refused.
 */
import { SCRIPT_HEAD, shellQuote } from "../host/index.ts";

/** What lies directly in it (remote/types.ts). */
export const ROOT_DIRECTORIES = ["store", "incoming", "tmp", "users", "used"] as const;

/** Each directory from the top to the path: "/frx/var" is "/", "/frx", "/frx/var". */
function stepsTo(path: string): readonly string[] {
  const names = path.split("/").filter((name) => name !== "");
  return ["/", ...names.map((_, index) => `/${names.slice(0, index + 1).join("/")}`)];
}

/**
 * `look_at DIR` sets $state to "ok", "absent", "symlink", "other" (no directory), "foreign" (its owner is neither root nor who asks) or "open" (others may
 * put other things in its place). ls(1) says the same everywhere; stat(1) does not.
 */
const LOOK_AT = `me=$(id -u)

look_at() {
  state=ok
  if [ -L "$1" ]; then
    state=symlink
  elif [ ! -e "$1" ]; then
    state=absent
  elif [ ! -d "$1" ]; then
    state=other
  else
    listed=$(ls -ldn "$1")
    # shellcheck disable=SC2086 # Into its fields: mode, links, owner.
    set -- $listed
    case $3 in 0 | "$me") ;; *) state=foreign ;; esac
    case $1 in
      ?????????[tT]*) ;;
      ?????w* | ????????w*) state=open ;;
    esac
  fi
}
`;

/** Says \`place STATE PATH\` for the first directory on the way that will not do, and \`place ok DIR\` with the last one that is there. */
export function lookAtPlace(root: string): string {
  return `${LOOK_AT}
look_at_place() {
  last=/
  for dir do
    look_at "$dir"
    case $state in
      ok) last=$dir ;;
      absent) break ;;
      *)
        event place "$state" "$dir"
        return 0
        ;;
    esac
  done
  event place ok "$last"
}

look_at_place \\
${stepsTo(root)
  .map((step) => `  ${shellQuote(step)}`)
  .join(" \\\n")}
`;
}

/** Ends the script with a word about the directory that will not do. */
const REFUSE = `refuse() {
  case $state in
    absent) echo "$1 cannot be made" >&2 ;;
    symlink) echo "$1 is a symlink" >&2 ;;
    other) echo "$1 is no directory" >&2 ;;
    foreign) echo "$1 is somebody else's" >&2 ;;
    open) echo "$1 can be written to by others" >&2 ;;
  esac
  exit 1
}
`;

/** Makes what is missing of the root and of what lies in it. Says why not and ends with status 1 where it must not. */
export function makePlaceScript(root: string): string {
  const steps = [...stepsTo(root), ...ROOT_DIRECTORIES.map((name) => `${root}/${name}`)];
  return `${SCRIPT_HEAD}
set -- \\
${steps.map((step) => `  ${shellQuote(step)}`).join(" \\\n")}

# One ls(1) says that all of it is there and root's, as it is after the first time: each process costs.
all_well() {
  wanted=$#
  listed=$(ls -ldn "$@" 2>/dev/null) || return 1
  while read -r mode _ owner _; do
    wanted=$((wanted - 1))
    [ "$owner" = 0 ] || return 1
    case $mode in
      d????????[tT]*) ;;
      d????w* | d???????w* | [!d]*) return 1 ;;
    esac
  done <<END
$listed
END
  [ "$wanted" = 0 ]
}
if all_well "$@"; then exit 0; fi

${LOOK_AT}
${REFUSE}
for dir do
  look_at "$dir"
  if [ "$state" = absent ]; then
    # Somebody else may be making it, too.
    mkdir -m 755 "$dir" 2>/dev/null || :
    look_at "$dir"
  fi
  [ "$state" = ok ] || refuse "$dir"
done
`;
}

/** As mount tables write a path: blanks and backslashes in octal. */
function tableField(path: string): string {
  return path.replaceAll(/[ \t\n\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}`);
}

/**
 * Takes away what lies in the root, and the root when nothing else is in it. Says \`mounted PATH\` for each mount below it, \`busy NAME\` for
 * each script that lives and owns something, and does nothing then. \`alive\`: sandbox/job-script.ts.
 */
export function purgeScript(root: string, processFunctions: string): string {
  const isBelow = [...new Set([root, tableField(root)])].map((form) => `below "$line" ${shellQuote(form)}`).join(" || ");
  return `${SCRIPT_HEAD}
${LOOK_AT}
${REFUSE}
${processFunctions.trimEnd()}

root=${shellQuote(root)}
look_at "$root"
[ "$state" != absent ] || exit 0
[ "$state" = ok ] || refuse "$root"
free=1

tab=$(printf '\\t')
newline='
'

# $point, when the mount of the line $1 is on $2 or below it. FreeBSD's mount -p writes blanks as they are, and has tabs behind a short name, but a
# blank behind one of 24 characters or more; Linux has one blank everywhere, and writes blanks in octal.
below() {
  case $1 in
    *"$tab$2$tab"* | *"$tab$2 "* | *"$tab$2/"*) point=$2\${1#*"$tab$2"} ;;
    *" $2$tab"* | *" $2 "* | *" $2/"*) point=$2\${1#*" $2"} ;;
    *) return 1 ;;
  esac
  point=\${point%%"$tab"*}
  case \${point##* } in nullfs | devfs | tmpfs | fdescfs | procfs | unionfs | ufs | zfs) point=\${point% *} ;; esac
}

remove() {
  rm -rf "$1"
}
if [ "$(uname -s)" = FreeBSD ]; then
  # Not into what is mounted, if it was not seen. A builder may have marked files as not to be removed (chflags(1)).
  remove() {
    rm -rfx "$1" 2>/dev/null || { chflags -Rx 0 "$1" && rm -rfx "$1"; }
  }
  mounts=$(mount -p)
else
  mounts=$(tr ' ' "$tab" </proc/self/mounts)
fi
IFS=$newline
set -f
# shellcheck disable=SC2086 # A word for each line.
set -- $mounts
set +f
unset IFS
for line do
  if ${isBelow}; then
    event mounted "$point"
    free=
  fi
done

for file in "$root"/tmp/*/owner; do
  [ -f "$file" ] || continue
  if read -r owner <"$file" && alive "$owner"; then
    event busy "\${owner%% *}"
    free=
  fi
done
[ -n "$free" ] || exit 1

for name in ${ROOT_DIRECTORIES.join(" ")} lock; do
  [ -e "$root/$name" ] || continue
  # A directory without the right to write into it cannot be emptied by who is not root.
  [ "$me" = 0 ] || chmod -R u+w "$root/$name"
  remove "\${root:?}/$name"
done
rmdir "$root" 2>/dev/null || :
`;
}
