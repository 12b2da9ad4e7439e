/**
 * How a FreeBSD guest learns who it is (TPL_PATCH_MODE=instance-file): a file in its own root, written before it starts, which an rc
 * script of the image reads. Planned, as one script for a FreeBSD host; see notes/0021-seeds.md for why it is so. Pure.
 *
 *     apply     what a dead run left undone ──► md(4) ──► its UFS ──► mounted ──► the file ──► undone
 *     destroy   undone
 *
 * Where nobody can mount the image, on a host that does not write UFS, the machine gets a seed disk: the same lines are in its
 * coppice-instance.env.
 */
import type { OperatingSystem } from "../base/index.ts";
import { shellQuote } from "../host/index.ts";
import { checkSeed, instanceEnvironment, type SeedFields, shellValue } from "./seed.ts";

export const INSTANCE_FILE = "/etc/coppice-instance";
export const INSTANCE_SCRIPT_NAME = "instance.sh";

export interface InstanceFacts {
  /** The host's. */
  readonly system: OperatingSystem;
  /** The machine's own disk, absolute. */
  readonly image: string;
  readonly format: "raw" | "qcow2";
  /** Of the machine, absolute: holds the script, and the mount point while it runs. */
  readonly directory: string;
  /** One for all machines of the host. */
  readonly lockFile: string;
}

export type InstancePlan =
  | {
      readonly kind: "instance-file";
      readonly path: string;
      readonly text: string;
      /** For sh(1), as root: `apply` or `destroy`. It holds the machine's private key. */
      readonly script: string;
      readonly scriptName: string;
    }
  | { readonly kind: "seed-disk"; readonly why: string };

/** For rc(8) scripts to execute: the lines of a seed disk, and whose key may log in. @throws Problem E_SEED_FIELD (exit 2) */
export function instanceFile(fields: SeedFields): string {
  checkSeed(fields);
  return `${instanceEnvironment(fields)}COPPICE_AUTHORIZED_KEY=${shellValue(fields.authorizedKey)}\n`;
}

/** @throws Problem E_SEED_FIELD (exit 2) */
export function planInstance(fields: SeedFields, facts: InstanceFacts): InstancePlan {
  const text = instanceFile(fields);
  if (facts.system !== "freebsd") return { kind: "seed-disk", why: `a ${facts.system} host does not write to UFS` };
  if (facts.format !== "raw") return { kind: "seed-disk", why: `md(4) attaches raw disks, not ${facts.format}` };
  return {
    kind: "instance-file",
    path: INSTANCE_FILE,
    text,
    script: script(fields, facts, text),
    scriptName: INSTANCE_SCRIPT_NAME,
  };
}

/** Ends the text in the script: none of its lines is one of these. */
const END = "end-of-instance";

function script(fields: SeedFields, { image, directory, lockFile }: InstanceFacts, text: string): string {
  return `#!/bin/sh
# Tells the machine ${fields.hostname} who it is: writes ${INSTANCE_FILE} into the root of its disk, which must not be in use.
#   apply     does it
#   destroy   undoes what an apply that was killed has left
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
umask 077

image=${shellQuote(image)}
root=${shellQuote(`${directory}/root`)}
lock=${shellQuote(lockFile)}

# Disks that are attached at the same time get each other's partitions in devfs: one after the other.
case "\${1-}" in
apply | destroy) exec lockf -k -t 300 "$lock" sh "$0" "locked-$1" ;;
locked-apply | locked-destroy) ;;
*)
  echo "usage: sh $0 apply | destroy" >&2
  exit 2
  ;;
esac

undo() {
  if mount -p | awk -v root="$root" '$2 == root { found = 1 } END { exit !found }'; then
    umount "$root" || umount -f "$root"
  fi
  for unit in $(mdconfig -l -f "$image"); do mdconfig -d -u "$unit" || mdconfig -d -u "$unit" -o force; done
  [ ! -d "$root" ] || rmdir "$root"
}

undo
[ "$1" = locked-apply ] || exit 0
trap undo EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

disk=$(mdconfig -a -t vnode -f "$image")
part=$(gpart show -p "$disk" | awk '$4 == "freebsd-ufs" { print $3; exit }')
if [ -z "$part" ]; then
  echo "$image has no partition of the type freebsd-ufs" >&2
  exit 1
fi
tries=0
until [ -e "/dev/$part" ]; do
  tries=$((tries + 1))
  if [ "$tries" -gt 50 ]; then
    echo "/dev/$part did not come" >&2
    exit 1
  fi
  sleep 0.1
done
# A disk that was cloned from a running machine has its file system to put in order.
fsck_ffs -p "/dev/$part" >&2
mkdir "$root"
mount -t ufs -o noatime "/dev/$part" "$root"
cat >"$root${INSTANCE_FILE}.new" <<'${END}'
${text}${END}
mv "$root${INSTANCE_FILE}.new" "$root${INSTANCE_FILE}"
`;
}
