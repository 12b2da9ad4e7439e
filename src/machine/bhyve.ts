/**
 * A machine as bhyve(8) runs it, on a FreeBSD host: the command line, and one script for a machine with nothing but sh. Pure.
 *
 *     run       what a dead run left undone ──► copies made ──► bhyve ──► undone ──► its exit status
 *     destroy   undone
 *
 * The serial console is the script's standard input and output; the last line of its standard error says how bhyve ended.
 * bhyve leaves the machine in the kernel after any end, so bhyvectl(8) destroys it before and after. Status 0 is a guest that
 * rebooted: never a pass.
 *
 * Limits: amd64 only. Forwarded ports need the port net/libslirp, and numbers: bhyve chooses none. A snapshot is a
 * copy, cheap where cp(1) clones blocks. There are no SMBIOS strings for credentials and no picture of the screen.
 */
import { shellQuote } from "../host/index.ts";
import type { UefiFiles } from "./firmware.ts";
import { MIB, type Report, type SpecFault } from "./plan.ts";
import { lintTakenSlots, needsWiredMemory, type TakenSlots } from "./slots.ts";
import type { EndKind, MachineDisk, MachineNetwork, MachineSpec } from "./types.ts";

export interface BhyveFacts {
  /** BHYVE_UEFI_CODE.fd and BHYVE_UEFI_VARS.fd of edk2-bhyve. */
  readonly firmware: UefiFiles;
  /** The machine's own directory, absolute: holds the script and what is thrown away. */
  readonly directory: string;
  /** A tap(4) interface that is there already, in place of slirp. */
  readonly tap?: string;
  /** Guest memory is wired, whatever the spec says. */
  readonly wired: boolean;
}

export interface BhyvePlan {
  readonly argv: readonly [string, ...string[]];
  /** For sh(1): `run` or `destroy`. */
  readonly script: string;
  readonly scriptName: string;
}

export const BHYVE_SCRIPT_NAME = "bhyve.sh";
/** Begins the line that says how bhyve ended. */
export const BHYVE_EVENT_PREFIX = "garth-machine: ";
/** sysexits(3), EX_OSERR: bhyve was not started. None of bhyve's own. */
export const BHYVE_SETUP_STATUS = 71;
const FIRST_DISK_SLOT = 3;
const LAST_DISK_SLOT = 28;

/** Each way in which bhyve(8) says that it ends, and those it does not know. */
export type BhyveExit = "rebooted" | "powered-off" | "halted" | "triple-fault" | "error" | "not-started" | "killed";

const EXITS: Readonly<Record<number, BhyveExit>> = {
  0: "rebooted",
  1: "powered-off",
  2: "halted",
  3: "triple-fault",
  4: "error",
  [BHYVE_SETUP_STATUS]: "not-started",
};

/** Of a status as a shell reports it: what is not in bhyve(8) was a signal, or timeout(1). */
export function bhyveExit(status: number): BhyveExit {
  return EXITS[status] ?? "killed";
}

/** The same in the words of every machine. A guest that halts its processors has ended in order; a triple fault is a reset. */
export function bhyveEndKind(exit: BhyveExit): EndKind {
  switch (exit) {
    case "powered-off":
    case "halted":
      return "powered-off";
    case "rebooted":
    case "triple-fault":
      return "rebooted";
    case "error":
    case "not-started":
    case "killed":
      return "died";
  }
}

/** What bhyve cannot do with a spec that is sound otherwise. */
export function lintBhyve(spec: MachineSpec, facts: Pick<BhyveFacts, "tap">): readonly SpecFault[] {
  const found: SpecFault[] = [];
  const report: Report = (field, message) => {
    found.push({ field, message });
  };
  if (!spec.system.startsWith("x86_64-")) report("system", `${spec.system} is not planned for bhyve`);
  if (spec.firmware.kind !== "uefi") report("firmware.kind", `bhyve boots by UEFI, not by ${spec.firmware.kind}`);
  if (spec.disks.length > LAST_DISK_SLOT - FIRST_DISK_SLOT)
    report("disks", `${spec.disks.length} are more than bhyve has slots for`);
  for (const [index, disk] of spec.disks.entries()) {
    if (disk.format !== "raw") report(`disks[${index}].format`, `bhyve reads raw images, not ${disk.format}`);
    // A comma begins the next option, and nothing quotes it.
    if (disk.file.includes(",")) report(`disks[${index}].file`, `bhyve cannot open ${disk.file}: it has a comma in its name`);
  }
  if (spec.network.kind === "user" && facts.tap === undefined) {
    for (const [index, { hostPort }] of spec.network.forward.entries()) {
      if (hostPort === 0) report(`network.forward[${index}].hostPort`, "bhyve chooses no port: name one");
    }
  }
  lintTakenSlots(spec.extraSlots ?? [], bhyveSlotsOf(spec), (index, message) => report(`extraSlots[${index}]`, message));
  if (spec.memoryFile !== undefined) report("memoryFile", "bhyve maps no file as a guest's memory");
  if (spec.channel !== undefined) report("channel", "bhyve machines are reached by SSH alone");
  if (spec.onReboot === "restart") report("onReboot", "bhyve ends when its guest reboots, and its supervisor starts it again");
  if (spec.display) report("display", "bhyve takes no picture of the screen");
  if (Object.keys(spec.credentials).length > 0) report("credentials", "bhyve hands no credentials to a guest");
  if (spec.accelerator === "kvm" || spec.accelerator === "tcg") report("accelerator", `bhyve is not ${spec.accelerator}`);
  return found;
}

/** The slots of the plan itself. */
export function bhyveSlotsOf(spec: {
  readonly disks: readonly unknown[];
  readonly network: { readonly kind: string };
}): TakenSlots {
  return new Map([
    [0, "the host bridge"],
    [1, "the source of randomness"],
    ...(spec.network.kind === "none" ? [] : [[2, "the network"] as const]),
    ...spec.disks.map((_, index) => [FIRST_DISK_SLOT + index, `disk ${index}`] as const),
    [31, "the chipset"],
  ]);
}

/** bhyve takes letters, digits and few others in the name of a machine. */
export function bhyveName(spec: Pick<MachineSpec, "name">): string {
  return `garth-${spec.name.replaceAll(/[^A-Za-z0-9-]/g, "_")}`;
}

function diskDevice({ device }: MachineDisk): string {
  return device === "cdrom" ? "ahci-cd" : device;
}

/** A disc is read-only without a word. */
function isSaidReadOnly({ device, mode }: MachineDisk): boolean {
  return mode === "read-only" && device !== "cdrom";
}

function diskFile(disk: MachineDisk, index: number, facts: BhyveFacts): string {
  return disk.mode === "snapshot" ? `${facts.directory}/disk${index}.img` : disk.file;
}

function networkWords(network: MachineNetwork, facts: BhyveFacts): readonly string[] {
  if (network.kind === "none") return [];
  const device = network.device ?? "virtio-net";
  const tap = network.kind === "tap" ? network.interface : facts.tap;
  if (tap !== undefined) {
    // bhyve goes by the first letters of the name, where nothing else says what it is.
    const type = /^(?:tap|vmnet)/.test(tap) ? "" : ",type=tap";
    return ["-s", `2,${device},${tap}${type},mac=${network.mac}`];
  }
  if (network.kind === "tap") return [];
  const rules = network.forward.map(({ hostPort, guestPort }) => `tcp:127.0.0.1:${hostPort}-10.0.2.15:${guestPort}`);
  // Without "open" the guest reaches nothing.
  const open = network.isolated === true ? "" : ",open";
  const forward = rules.length === 0 ? "" : `,hostfwd=${rules.join(";")}`;
  return ["-s", `2,${device},slirp${open}${forward},mac=${network.mac}`];
}

export function planBhyve(spec: MachineSpec, facts: BhyveFacts): BhyvePlan {
  const variables = `${facts.directory}/variables.fd`;
  const argv = [
    "bhyve",
    // ACPI tables (always there since FreeBSD 15, which ignores -A), yield on HLT, leave on PAUSE, no fault for unknown MSRs, RTC in UTC.
    "-A",
    "-H",
    "-P",
    "-w",
    "-u",
    ...(facts.wired || needsWiredMemory(spec) ? ["-S"] : []),
    "-c",
    String(spec.cpus),
    "-m",
    `${spec.memoryBytes / MIB}M`,
    "-s",
    "0,hostbridge",
    "-s",
    "1,virtio-rnd",
    ...networkWords(spec.network, facts),
    ...spec.disks.flatMap((disk, index) => [
      "-s",
      `${FIRST_DISK_SLOT + index},${diskDevice(disk)},${diskFile(disk, index, facts)}${isSaidReadOnly(disk) ? ",ro" : ""}`,
    ]),
    ...(spec.extraSlots ?? []).flatMap(({ text }) => ["-s", text]),
    "-s",
    "31,lpc",
    "-l",
    "com1,stdio",
    "-l",
    `bootrom,${facts.firmware.code},${variables}`,
    bhyveName(spec),
  ] as const;
  return { argv, script: script(spec, facts, argv, variables), scriptName: BHYVE_SCRIPT_NAME };
}

function script(spec: MachineSpec, facts: BhyveFacts, argv: readonly string[], variables: string): string {
  const copies = spec.disks.flatMap((disk, index) =>
    disk.mode === "snapshot" ? [{ from: disk.file, to: diskFile(disk, index, facts) }] : [],
  );
  const thrownAway = [...copies.map(({ to }) => to), variables].map(shellQuote).join(" ");
  return `#!/bin/sh
# The machine ${spec.name} under bhyve: one boot, its serial console on standard input and output.
#   run       boots it; ends with bhyve's status: 0 rebooted, 1 powered off, 2 halted, 3 triple fault, 4 error.
#             ${BHYVE_SETUP_STATUS}: bhyve was not started. The last line of standard error says the same.
#   destroy   undoes what a run that was killed has left
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
umask 077

vm=${shellQuote(bhyveName(spec))}

# Any end of bhyve leaves the machine in the kernel, with its memory.
bhyve=
undo() {
  [ -z "$bhyve" ] || kill -KILL "$bhyve" 2>/dev/null || :
  if [ -e "/dev/vmm/$vm" ]; then
    bhyvectl --vm="$vm" --destroy >&2 || :
  fi
  rm -f ${thrownAway}
}

status=${BHYVE_SETUP_STATUS}
finish() {
  trap - EXIT
  trap '' HUP INT TERM
  undo
  printf '${BHYVE_EVENT_PREFIX}exited %s\\n' "$status" >&2
  exit "$status"
}

case "\${1-}" in
run)
  trap finish EXIT
  trap 'status=129; exit' HUP
  trap 'status=130; exit' INT
  trap 'status=143; exit' TERM
  undo
  kldload -n vmm >&2
${copies.map(({ from, to }) => `  cp ${shellQuote(from)} ${shellQuote(to)}\n`).join("")}  cp ${shellQuote(facts.firmware.variables)} ${shellQuote(variables)}
  # In the background, so that a signal to this script is answered at once; a command there would read from /dev/null.
  exec 3<&0
  ${wrapped(argv)} <&3 &
  bhyve=$!
  exec 3<&-
  ended=0
  wait "$bhyve" || ended=$?
  bhyve=
  status=$ended
  ;;
destroy)
  undo
  ;;
*)
  echo "usage: sh $0 run | destroy" >&2
  exit 2
  ;;
esac
`;
}

/** One option to a line. */
function wrapped(argv: readonly string[]): string {
  return argv.map((word, index) => (index > 0 && /^-[sl]$/.test(word) ? `\\\n    ${word}` : shellQuote(word))).join(" ");
}
