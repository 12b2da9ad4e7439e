/**
 * Scripts that put store items into a host's store. Pure.
 *
 *     ask      which of these are there? touches `used/NAME` of each first, so that a collection that runs meanwhile leaves it
 *     send     ready ──► unpacked in incoming/ID ──► as mtree(8) was told ──► on disk ──► end of input ──► references there ──► store/NAME
 *
 * Events: ask says `missing NAME`. send says
 *
 *     unsafe PATH             a directory of the host's own is a symlink, or no directory: nothing was made
 *     full NEEDED FREE        bytes
 *     ready                   the archive (send-archive.ts) may come
 *     unpacked                tar(1) had something to say, on standard error; what had come whole goes on all the same
 *     refused NAME            mtree(8) found something else; its words are on standard error
 *     stored NAME             it is in store/, by us or by somebody who was faster
 *
 * An archive that breaks off is worth what was whole of it: nothing here depends on anybody listening. A name is in store/ only when all that
 * it refers to is. Nothing in store/ is ever replaced. What a killed script left in incoming/ is removed by the next one.
 *
 * A store that is kept by others (`storeDirectory`: the one of a running system) has the names of items and nothing of ours: no `used/`. Where
 * there is no mtree(8) an item is held to the SHA-256 of its NAR, which our store knows: names, types, targets, contents, and what may be executed.
 */
import { baseName, operatingSystemOf, type StorePath, type System } from "../base/index.ts";
import { SCRIPT_HEAD, shellQuote } from "../host/index.ts";
import { SPEC_END } from "./send-archive.ts";
import { OWNER_FILE, processFunctions } from "../sandbox/index.ts";
import { narFunctions } from "./nar-script.ts";

/** Names in one command line: a tenth of what any system takes. */
const NAMES_MAX = 128;

/** $root and what is below it that scripts of the store use; a symlink there is refused, whoever put it there. */
export function directories(root: string, storeDirectory?: string): string {
  return `root=${shellQuote(root)}
store=${storeDirectory === undefined ? "$root/store" : shellQuote(storeDirectory)}
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
`;
}

/** $work, a directory of this script's own in incoming/, and directories in it; gone with it. */
export function workDirectory(system: System, id: string, inside: readonly string[] = []): string {
  return `${processFunctions(system)}
work=$root/incoming/${id}

own_identity
trap 'cd / && rm -rf "$work"' EXIT
trap 'exit 3' HUP INT TERM
mkdir "$work"${inside.map((name) => ` "$work/${name}"`).join("")}
echo "$owner" >"$work/${OWNER_FILE}"
`;
}

/** What takes the names of items once, and is called with what to do for each. */
function itemsFunction(items: readonly { readonly path: StorePath; readonly references: readonly StorePath[] }[]): string {
  const lines = items.map(({ path, references }) => {
    const others = references.filter((reference) => reference !== path);
    return `  "$1" ${[path, ...others].map((one) => shellQuote(baseName(one))).join(" ")}`;
  });
  return `items() {\n${lines.length === 0 ? "  :" : lines.join("\n")}\n}\n`;
}

/** Where items are, and where what is on its way to them. */
export interface Place {
  readonly root: string;
  readonly system: System;
  /** In place of `root`/store: one that others keep. On the file system of `root`. */
  readonly storeDirectory?: string | undefined;
}

const ASK = `# One whose references nobody wrote down counts as missing: whoever sends it writes them.
ask() {
  touch -c "$@"
  for name; do
    { there "$name" && [ -f "$name" ]; } || event missing "$name"
  done
}
`;

const ASK_OTHERS = `ask() {
  for name; do
    there "$name" || event missing "$name"
  done
}
`;

export function askScript({ root, system, storeDirectory }: Place, paths: readonly StorePath[]): string {
  const runs = Array.from({ length: Math.ceil(paths.length / NAMES_MAX) }, (_, index) =>
    paths.slice(index * NAMES_MAX, (index + 1) * NAMES_MAX).map((path) => shellQuote(baseName(path))),
  );
  return `${SCRIPT_HEAD}
${directories(root, storeDirectory)}
${storeDirectory === undefined ? ASK : ASK_OTHERS}
${processFunctions(system)}
for left in "$root"/incoming/*; do
  [ -f "$left/${OWNER_FILE}" ] || continue
  read -r whose <"$left/${OWNER_FILE}" || continue
  alive "$whose" || rm -rf "$left"
done
cd "$used"
${runs.map((names) => `ask ${names.join(" ")}\n`).join("")}`;
}

/** By its path on Linux, where a shell may have one of its own that lacks options. */
export function tarProgram(system: System): string {
  return operatingSystemOf(system) === "freebsd" ? "tar" : "/usr/bin/tar";
}

export interface Sending extends Place {
  /** Names the directory in incoming/. */
  readonly id: string;
  /** Each behind what it refers to. */
  readonly items: readonly {
    readonly path: StorePath;
    readonly references: readonly StorePath[];
    /** Of its NAR. Held to it when all of them have one, else to what mtree(8) says. */
    readonly narSha256?: string;
  }[];
  /** Of the archive. */
  readonly archiveBytes: number;
  /** On disk, of these and of what will be sent after them. */
  readonly neededBytes: number;
}

const CHECK_MTREE = `# Into $words what mtree is to read.
whole() {
  [ ! -f "w/$1" ] || words="$words s/$1"
}

# w/NAME is there as long as nothing is known against the item.
check() {
  name=$1
  [ -f "w/$name" ] || return 0
  mv "t/$name" one/
  if [ "$(tail -n 1 "s/$name")" = '${SPEC_END}' ] &&
    said=$({ echo '. type=dir' && cat "s/$name"; } | mtree -p one 2>&1) && [ -z "$said" ]; then
    mv "one/$name" t/
  else
    printf '%s\\n' "$said" | head -n 10 >&2 || :
    say refused "$name"
    rm -rf "one/$name" "w/$name"
  fi
}
`;

const ALL_MTREE = `  # All at once, and one by one only to find which it is.
  # shellcheck disable=SC2086 # Names, each a word.
  if $unpacked && said=$({ echo '. type=dir' && cat $words; } | mtree -p t 2>&1) && [ -z "$said" ]; then :; else items check; fi
`;

function checkNar(system: System, items: Sending["items"]): string {
  const sums = items.map(({ path, narSha256 = "" }) => `    ${shellQuote(baseName(path))}) wanted=${narSha256} ;;`);
  return `${narFunctions(system)}
whole() {
  [ ! -f "w/$1" ] || words="$words $1"
}

want() {
  case $1 in
${sums.join("\n")}
  esac
}

# In a directory of its own, which holds what stands between the contents.
sum() (
  rm -rf one
  mkdir one one/f
  cd one
  flat=
  { [ -d "$work/t/$1" ] && [ ! -L "$work/t/$1" ]; } || flat=$1
  list "$work/t/$1" | sort | frame >frames
  if [ -s odd ]; then
    echo "a file that no item may hold"
    exit 0
  fi
  digest "$work/t/$1"
  echo "$digest"
)

# w/NAME is there as long as nothing is known against the item.
check() {
  [ -f "w/$1" ] || return 0
  want "$1"
  found=$(sum "$1") || :
  if [ "$found" != "$wanted" ]; then
    printf '%s\\n' "$1: expected sha256 $wanted, found $found" >&2 || :
    say refused "$1"
    rm -rf "t/$1" "w/$1"
  fi
}
`;
}

/** Writes down what items refer to: who removes what nobody asks for any more reads it. */
const REFER = `refer() {
  name=$1
  shift
  # Empty where it refers to nothing, and yet there.
  if [ $# = 0 ]; then true >"$used/$name"; else printf '%s\\n' "$@" >"$used/$name"; fi
}

`;

const REFERRED = `  # A disk that is full may have no room for this: then the item is not there.
  if refer "$name" "$@"; then words="$words t/$name"; else rm -f "w/$name"; fi
`;

export function sendScript(sending: Sending): string {
  const { root, system, storeDirectory, id, items, archiveBytes, neededBytes } = sending;
  const byNar = items.every(({ narSha256 }) => narSha256 !== undefined);
  const own = storeDirectory === undefined;
  // sync(2) of FreeBSD begins to write and does not wait; the names of items are written after what was begun before them.
  const sync = operatingSystemOf(system) === "freebsd" ? "sync" : 'sync -f "$work"';
  // Without -P libarchive looks at every directory above every file, and GNU's puts symlinks there in the end; nothing here leads through one.
  // GNU's does not know libarchive's word for names that are bytes, which they are to it in any case.
  const words = operatingSystemOf(system) === "freebsd" ? "-xpPf -" : "-xpPf - --warning=no-unknown-keyword";
  const unpack = `${tarProgram(system)} ${words}`;
  const neededKb = Math.ceil(neededBytes / 1024);
  return `${SCRIPT_HEAD}
# Whoever listened may be gone: what has come whole is kept all the same.
trap '' PIPE
say() {
  event "$@" || :
}

${directories(root, storeDirectory)}
${workDirectory(system, id, ["t", "s", "w", "one"])}
free=$(df -kP "$work" | {
  read -r _ && read -r free
  # Before the first "%" are the name of the file system, three numbers and a share; the name may have blanks.
  # shellcheck disable=SC2086
  set -- \${free%%%*}
  while [ $# -gt 2 ]; do shift; done
  echo "\${1-}"
})
# Below zero: what is kept for root is being used up.
case $free in -*) free=0 ;; esac
if [ -n "$free" ] && [ "$free" -lt ${neededKb} ]; then
  event full ${neededKb * 1024} "$((free * 1024))"
  exit 3
fi

${itemsFunction(items)}
${byNar ? checkNar(system, items) : CHECK_MTREE}
${own ? REFER : ""}place() {
  if there "$1"; then
${own ? '    [ -f "$used/$1" ] || refer "$@" || :\n' : ""}    return 0
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
${own ? REFERRED : '  words="$words t/$name"\n'}}

tell() {
  if there "$1"; then say stored "$1"; fi
}

say ready
cd "$work"
# What tar says may end without a line's end.
said=$({ head -c ${archiveBytes} | ${unpack} 2>&1 || echo "tar ended with status $?"; } | tail -n 10)
${byNar ? "" : "unpacked=true\n"}if [ -n "$said" ]; then
${byNar ? "" : "  unpacked=false\n"}  printf '%s\\n' "$said" >&2 || :
  say unpacked
fi

for name in t/*; do
  [ -f "w/\${name#t/}" ] || rm -rf "$name"
done
# No name of an item has a blank in it; some have what a shell takes for a pattern.
set -f
words=
items whole
if [ -n "$words" ]; then
${byNar ? "  items check\n" : ALL_MTREE}  ${sync}
fi
# What these refer to may still be on its way; the end of the input says that it came, or that it never will.
read -r _ || :
words=
items place
# shellcheck disable=SC2086 # Names, each a word.
if [ -n "$words" ]; then mv -n $words "$store/" || :; fi
items tell
`;
}
