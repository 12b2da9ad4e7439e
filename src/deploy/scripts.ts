/**
 * Scripts for a machine that runs a system of Garth's. Pure.
 *
 * What is done to generations the program `generations` of a system does (system/generations-program.ts): the running one's, and for a new
 * system its own, which knows how it is started. Its words on standard error are events here.
 *
 *     look     system KERNEL PROCESSOR | foreign WHY | uid N | boot ID | mtree yes|no, then the status on standard output
 *     items    names of a generation's items on standard output
 */
import { baseName, type StorePath } from "../base/index.ts";
import { SCRIPT_HEAD, shellQuote } from "../host/index.ts";

export const MACHINE_STORE = "/frx/store";
/** Where items are on their way, and what is ours there besides. */
export const MACHINE_ROOT = "/frx/var/garth/remote";
const RUNNING = "/run/current-system/generations";
const GENERATIONS = "/var/lib/garth/system/generations";

export function lookScript(): string {
  return `${SCRIPT_HEAD}
kernel=$(uname -s)
event system "$kernel" "$(uname -m)"
if [ ! -e /run/current-system ]; then
  event foreign "there is no /run/current-system"
  exit 0
fi
if [ ! -f ${RUNNING} ]; then
  event foreign "the system that runs there keeps no generations"
  exit 0
fi
event uid "$(id -u)"
[ "$(id -u)" = 0 ] || exit 0
case $kernel in
  FreeBSD) boot=$(sysctl -nx kern.boot_id) ;;
  *) read -r boot </proc/sys/kernel/random/boot_id ;;
esac
event boot "$boot"
if command -v mtree >/dev/null; then event mtree yes; else event mtree no; fi
${RUNNING} status
`;
}

export function itemsScript(generation: number): string {
  return `${SCRIPT_HEAD}
cat ${GENERATIONS}/${generation}/items
`;
}

/** The names stand in the script, which comes whole or does nothing: a list that broke off would let items be collected that are needed. */
export function addScript(system: StorePath, items: readonly StorePath[], trialSeconds: number): string {
  const program = shellQuote(`${MACHINE_STORE}/${baseName(system)}/generations`);
  return `${SCRIPT_HEAD}
${program} add ${shellQuote(system)} ${trialSeconds} <<'ITEMS'
${items
  .map(baseName)
  .toSorted()
  .map((name) => `${name}\n`)
  .join("")}ITEMS
`;
}

export function selectScript(generation: number, trialSeconds: number): string {
  return `${SCRIPT_HEAD}
${RUNNING} select ${generation} ${trialSeconds} </dev/null
`;
}

export function removeScript(generations: readonly number[]): string {
  return `${SCRIPT_HEAD}
${RUNNING} remove ${generations.join(" ")} </dev/null
`;
}

/** As its process 1 has it: services are stopped first. */
export function rebootScript(): string {
  return `${SCRIPT_HEAD}
sync
event rebooting
if [ "$(uname -s)" = FreeBSD ]; then
  # shutdown(8) asks init(8), which another process 1 is not.
  if [ "$(ps -o comm= -p 1)" = init ]; then shutdown -r now </dev/null >/dev/null 2>&1; else reboot; fi
elif [ -d /run/systemd/system ]; then
  systemctl reboot
else
  case $(readlink /proc/1/exe) in
    # Its init takes this for a reboot.
    */busybox) kill -TERM 1 ;;
    *)
      if command -v reboot >/dev/null; then reboot; else echo b >/proc/sysrq-trigger; fi
      ;;
  esac
fi
`;
}
