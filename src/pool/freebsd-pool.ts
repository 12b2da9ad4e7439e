/**
 * A pool on a FreeBSD host, as one sh script with verbs. Pure.
 *
 *     init    what the host must have ──► DATASET/templates/TEMPLATE@DIGEST ──► DATASET/pools/POOL ──► the network
 *     drain   every machine ──► the network ──► DATASET/pools/POOL ──► files, this script the last
 *
 * A template's dataset is no pool's: it stays, and the next init finds its snapshot. Snapshots of what the template was before go when no
 * machine stands on them.
 */
import { shellQuote } from "../host/index.ts";
import { ENTRY_FILES } from "./freebsd-entry.ts";
import { HAS_DATASET, scriptHead } from "./freebsd-shell.ts";

export const POOL_SCRIPT_NAME = "pool.sh";
export const NETWORK_SCRIPT_NAME = "network.sh";
/** Another init may be copying an image. */
const LOCK_LIMIT_S = 3600;

export interface PoolScriptFacts {
  readonly pool: string;
  readonly directory: string;
  readonly firmware: { readonly code: string; readonly variables: string };
  /** Devices of the host, as pciconf(8) selects them. */
  readonly devices: readonly string[];
  readonly image: string;
  readonly imageSha256: string;
  /** undefined: machines have copies of the image itself. */
  readonly datasets: PoolDatasets | undefined;
  /** One for all pools of the host. */
  readonly lockFile: string;
}

export interface PoolDatasets {
  /** "zroot/garth/templates/debian-12" */
  readonly template: string;
  /** Where it is mounted. */
  readonly mount: string;
  readonly snapshot: string;
  /** "zroot/garth/pools/debian-12": machines are below it. */
  readonly machines: string;
}

const parentOf = (dataset: string): string => dataset.slice(0, dataset.lastIndexOf("/"));

export function poolScript(facts: PoolScriptFacts): string {
  const { pool, directory, datasets, firmware, devices } = facts;
  const comment = `The pool ${pool} under bhyve.
  init    makes what its machines stand on
  drain   destroys every machine, and all that init made but the template's snapshot; removes this file
Each may be done again. Status 0: done, or there was nothing to do. 1: it failed, and what it did is undone. 3: this host cannot.`;
  return `${scriptHead(comment, pool)}
directory=${shellQuote(directory)}
lock=${shellQuote(facts.lockFile)}
image=${shellQuote(facts.image)}
${datasets === undefined ? "" : datasetParts(datasets, facts.imageSha256)}
require() {
  command -v bhyve >/dev/null || cannot "there is no bhyve(8)"
  for file in ${shellQuote(firmware.code)} ${shellQuote(firmware.variables)}; do
    [ -r "$file" ] || cannot "there is no $file: pkg install edk2-bhyve"
  done
  kldload -n vmm >&2 || cannot "the kernel module vmm does not load: this processor, or its firmware, has no virtualization"
  [ -r "$image" ] || fail "the template's image is gone: $image"
${devices.map(deviceCheck).join("")}}

init() {
  require
${datasets === undefined ? "" : "  make_datasets\n"}  sh "$directory/${NETWORK_SCRIPT_NAME}" make >&2
  tell network made
${datasets === undefined ? "" : "  forget_snapshots\n"}  tell ready
}

drain() {
  left=
  for each in "$directory"/*/${ENTRY_FILES.script}; do
    [ -e "$each" ] || continue
    sh "$each" destroy || left="$left \${each%/*}"
  done
  [ -z "$left" ] || fail "not all of it could be undone:$left"
  # Of a machine that was destroyed but for its directory.
  for each in "$directory"/*/; do
    [ ! -d "$each" ] || rmdir "$each"
  done
  [ ! -e "$directory/${NETWORK_SCRIPT_NAME}" ] || sh "$directory/${NETWORK_SCRIPT_NAME}" remove >&2
${datasets === undefined ? "" : '  ! has "$machines" || zfs destroy "$machines"\n'}  rm -f "$directory/${NETWORK_SCRIPT_NAME}"
  tell drained
  rm -f "$directory/${POOL_SCRIPT_NAME}"
  rmdir "$directory"
}

verb=\${1-}
case $verb in
init) exec lockf -k -t ${LOCK_LIMIT_S} "$lock" sh "$0" locked-init ;;
locked-init)
  verb=init
  begin
  init
  ;;
drain)
  begin
  drain
  ;;
*)
  echo "usage: sh $0 init | drain" >&2
  exit 2
  ;;
esac
`;
}

function deviceCheck(device: string): string {
  return `  case $(pciconf -l ${device} 2>/dev/null) in
  ppt*) ;;
  *) cannot "${device} is not reserved for guests: pptdevs in /boot/loader.conf, see vmm(4)" ;;
  esac
`;
}

function datasetParts({ template, mount, snapshot, machines }: PoolDatasets, sha256: string): string {
  return `template=${shellQuote(template)}
mount=${shellQuote(mount)}
snapshot=${shellQuote(snapshot)}
machines=${shellQuote(machines)}
${HAS_DATASET}
made=
remove_made() {
  failed=0
  for each in $made; do ! has "$each" || zfs destroy "$each" || failed=1; done
  return "$failed"
}

remove_copy() {
  rm -f "$mount/disk.img.new"
}

# DATASET MOUNTPOINT CANMOUNT
create() {
  if ! has "$1"; then
    made="$1 $made"
    zfs create -o mountpoint="$2" -o canmount="$3" "$1" >&2
  fi
}

make_datasets() {
  undo_by remove_made
  create ${shellQuote(parentOf(template))} none off
  create ${shellQuote(parentOf(machines))} none off
  create "$machines" none off
  if has "$snapshot"; then
    tell template there
    return
  fi
  create "$template" "$mount" on
  [ "$(zfs get -H -o value mounted "$template")" = yes ] || zfs mount "$template" >&2
  undo_by remove_copy
  cp "$image" "$mount/disk.img.new"
  [ "$(sha256 -q "$mount/disk.img.new")" = ${sha256} ] || fail "$image is not the template's image"
  mv "$mount/disk.img.new" "$mount/disk.img"
  zfs snapshot "$snapshot" >&2
  made="$snapshot $made"
  tell template made
}

# Those of what the template was before; where machines stand on one, it is refused.
forget_snapshots() {
  for each in $(zfs list -H -t snapshot -d 1 -o name "$template"); do
    case \${each#*@} in
    *[!0-9a-f]*) continue ;;
    esac
    if [ "$each" != "$snapshot" ] && [ "\${#each}" -eq "\${#snapshot}" ]; then
      zfs destroy "$each" 2>/dev/null || :
    fi
  done
}
`;
}
