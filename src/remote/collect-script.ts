/**
 * The script that makes room in a host's store. Pure.
 *
 *     listed ──► not asked for lately, not mounted, not referred to by what is kept ──► moved out of store/ ──► asked for meanwhile: moved back
 *                                                                                            └──► removed, when the lock is free again
 *
 * What refers to something goes before it, so that what is in store/ is always closed. `ask` of send-script.ts takes no lock: it touches
 * used/NAME before it looks, and that is looked at again here after the move. References are read from used/NAME, where `send` wrote them.
 *
 * Events: `unsafe PATH`, `busy` (somebody has held the lock for a minute), `removed COUNT KIB`.
 */
import { operatingSystemOf, type System } from "../base/index.ts";
import { SCRIPT_HEAD } from "../host/index.ts";
import { directories, workDirectory } from "./send-script.ts";

const LOCK_WAIT_SECONDS = 60;
const LOCK_BUSY_STATUS = 75;
const DAY_MINUTES = 1440;

export interface Collecting {
  readonly root: string;
  readonly system: System;
  /** Names the directory in incoming/. */
  readonly id: string;
  readonly olderThanMs: number;
}

/** Run under the lock with the host's own directory and the work directory, where it leaves what is to be removed in gone/. */
export function collectInner(system: System, olderThanMs: number): string {
  const freebsd = operatingSystemOf(system) === "freebsd";
  const minutes = Math.ceil(olderThanMs / 60_000);
  // find(1) of FreeBSD counts a minute that has begun, others do not: one more keeps what either would.
  const young = minutes === 0 ? ":" : `find "$used" -type f -mmin -${minutes + 1}`;
  const mounts = freebsd ? "mount -p" : "cat /proc/[0-9]*/mountinfo 2>/dev/null";
  return `${SCRIPT_HEAD}
root=$1
work=$2
store=$root/store
used=$root/used

young() {
  ${young}
}

# In every mount namespace.
mounts() {
  ${mounts} || :
}

# WORD NAME for each path that ends in the name of an item.
named() {
  sed -n "s,^.*/\\([0-9a-f]\\{64\\}-[^/]*\\)\\$,$1 \\1,p"
}

mkdir "$work/gone"
# Nobody knows when it was asked for: from now on somebody does.
for item in "$store"/*; do
  name=\${item##*/}
  [ "$name" = '*' ] || [ -f "$used/$name" ] || : >>"$used/$name"
done
{
  find "$store" -mindepth 1 -maxdepth 1 | named item
  find "$used" -mindepth 1 -maxdepth 1 -type f | named mark
  young | named keep
  mounts | grep -o '/store/[0-9a-f]\\{64\\}-[A-Za-z0-9+._?=-]*' | named keep
  find "$used" -type f -exec awk '{
    name = FILENAME
    sub(/.*\\//, "", name)
    if ($1 != "") print "refers", name, $1
  }' {} +
} | awk '
  function keep(name,  list, count, at) {
    if (name in kept) return
    kept[name] = 1
    count = split(references[name], list, " ")
    for (at = 1; at <= count; at++) keep(list[at])
  }
  function go(name,  list, count, at) {
    if (name in gone || name in kept || !(name in items)) return
    gone[name] = 1
    count = split(referrers[name], list, " ")
    for (at = 1; at <= count; at++) go(list[at])
    print name
  }
  $1 == "item" { items[$2] = 1 }
  $1 == "mark" { marks[$2] = 1 }
  $1 == "keep" { wanted[$2] = 1 }
  $1 == "refers" {
    references[$2] = references[$2] " " $3
    referrers[$3] = referrers[$3] " " $2
  }
  END {
    for (name in wanted) keep(name)
    for (name in items) go(name)
    for (name in marks) if (!(name in items) && !(name in kept)) print name >"stale"
  }' >"$work/going"

cd "$store"
# GNU's xargs would run it once for nothing, too.
# shellcheck disable=SC2016
[ ! -s "$work/going" ] || xargs sh -c 'mv "$@" "$0"/gone/' "$work" <"$work/going"
# Asked for since it was listed.
young | named back >"$work/young"
cd "$work/gone"
while read -r _ name; do
  if [ -e "$name" ] || [ -L "$name" ]; then mv -n "$name" "$store/"; fi
done <"$work/young"
while read -r name; do
  [ -e "$store/$name" ] || [ -L "$store/$name" ] || echo "$name"
done <"$work/going" >"$work/went"
cd "$used"
xargs rm -f <"$work/went"
if [ -f "$work/stale" ]; then xargs rm -f <"$work/stale"; fi
# Made by a script that was killed before it said whose it is.
find "$root/incoming" -mindepth 1 -maxdepth 1 -type d -empty -mmin +${DAY_MINUTES} -exec rmdir {} + 2>/dev/null || :
`;
}

const END = "GARTH_END";

export function collectScript({ root, system, id, olderThanMs }: Collecting): string {
  const lock =
    operatingSystemOf(system) === "freebsd"
      ? `lockf -k -s -t ${LOCK_WAIT_SECONDS}`
      : `/usr/bin/flock -w ${LOCK_WAIT_SECONDS} -E ${LOCK_BUSY_STATUS}`;
  return `${SCRIPT_HEAD}
${directories(root)}
${workDirectory(system, id)}
cat >"$work/inner" <<'${END}'
${collectInner(system, olderThanMs)}${END}
status=0
(cd "$work" && exec ${lock} "$root/lock" sh "$work/inner" "$root" "$work") || status=$?
if [ "$status" = ${LOCK_BUSY_STATUS} ]; then event busy; fi
[ "$status" = 0 ] || exit 3
count=0
while read -r _; do
  count=$((count + 1))
done <"$work/went"
kib=0
if [ "$count" != 0 ]; then kib=$(du -sk "$work/gone"); fi
event removed "$count" "\${kib%%[!0-9]*}"
`;
}
