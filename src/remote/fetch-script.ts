/**
 * The script that hands over one tree. Pure.
 *
 *     listed ──► nothing in it that no output may hold ──► archive to standard output, beside it its NAR digested ──► nar HEX SIZE
 *
 * Events: `unsafe PATH` (directories()), `absent` (there is no such directory), `bad KIND PATH` (a file that no output may hold: its kind, and
 * its name in three octal digits for each byte), `nar HEX SIZE`. Whoever waits is the script's leash.
 */
import { operatingSystemOf, type System } from "../base/index.ts";
import { SCRIPT_HEAD, SCRIPT_LEASH, shellQuote } from "../host/index.ts";
import { narFunctions } from "./nar-script.ts";
import { directories, tarProgram, workDirectory } from "./send-script.ts";

export interface Fetching {
  readonly root: string;
  readonly system: System;
  /** Names the directory in incoming/. */
  readonly id: string;
  /** Absolute. */
  readonly from: string;
}

export function fetchScript({ root, system, id, from }: Fetching): string {
  const options =
    operatingSystemOf(system) === "freebsd"
      ? "--format=pax --options=pax:hdrcharset=BINARY --no-read-sparse --no-xattrs --no-acls --no-fflags"
      : "--format=pax";
  return `${SCRIPT_HEAD}
from=${shellQuote(from)}

${directories(root)}
${workDirectory(system, id, ["f"])}
${narFunctions(system)}
if [ -L "$from" ] || [ ! -d "$from" ]; then
  event absent
  exit 3
fi
cd "$work"
list "$from" | sort | frame >frames
if [ -s odd ]; then
  while read -r kind path; do event bad "$kind" "$path"; done <odd
  exit 3
fi

packing=
digesting=
leash=
undo() {
  trap '' HUP INT TERM
  for process in $packing $digesting $leash; do kill "$process" 2>/dev/null || :; done
  # Nobody writes into it any more when it is removed.
  wait
  cd / && rm -rf "$work"
}
trap undo EXIT

${SCRIPT_LEASH}{
  digest "$from"
  echo "$digest $size" >sum
} </dev/null >/dev/null &
digesting=$!
${tarProgram(system)} -cf - ${options} -C "$from" . </dev/null 2>said &
packing=$!
exec >/dev/null
wait "$packing" || {
  printf '%s\\n' "$(head -n 20 said)" >&2
  exit 3
}
packing=
wait "$digesting"
digesting=
read -r digest size <sum
event nar "$digest" "$size"
`;
}
