/**
 * machine: virtual machines: planned as values, run under QEMU, watched through their serial console.
 *
 *     spec ──lint──► (faults)
 *      ├──planQemu──► command line and files ──start──► Machine ──► exited: powered-off | rebooted | panicked | stopped | died
 *      └──planBhyve──► command line and script, for a FreeBSD host
 *
 * The process that calls `start` is the machine's supervisor: QEMU dies with it. What it needs lies in one directory, which says
 * whose it is: it goes with the machine, or with the next `sweep` when the supervisor was killed. A registered machine is found
 * by its name from other processes and keeps its console in files.
 *
 * An image that a machine has as a snapshot is never changed. Whether KVM is used was tried, not assumed: see accelerator.ts.
 *
 * Limits: one serial port, which is standard input and output of QEMU; a guest that prints faster than it is read waits. A disk
 * that two machines write to is refused by QEMU's locks, where the file system has locks. Under bhyve machines are planned, not
 * run. Where setpriv(1) is missing (FreeBSD), QEMU outlives a supervisor that was killed until the next `sweep`.
 */
import type { Host } from "../host/index.ts";
import { chooseAccelerator } from "./accelerator.ts";
import { findUefi } from "./firmware.ts";
import type { QemuFacts, QemuPlan } from "./hypervisor.ts";
import { otherMachines } from "./others.ts";
import { assertFaultless, lintSpec } from "./plan.ts";
import { qemuProgramOf } from "./programs.ts";
import { type Resident, type ResidentOptions, startResident as startResidentBy } from "./resident.ts";
import { lintQemu, planQemu } from "./qemu.ts";
import { type MachinesOptions, startMachine } from "./run.ts";
import type { Machines, MachineSpec } from "./types.ts";

export {
  type BhyveExit,
  bhyveEndKind,
  bhyveExit,
  type BhyveFacts,
  bhyveName,
  type BhyvePlan,
  bhyveSlotsOf,
  lintBhyve,
  planBhyve,
} from "./bhyve.ts";
export { boundedLog, type BoundedLog, type ConsoleLine, consoleReader, type ConsoleReader, formatStamp } from "./console.ts";
export { lintSpec, type SpecFault } from "./plan.ts";
export type { QemuFacts, QemuPlan } from "./hypervisor.ts";
export { planQemu } from "./qemu.ts";
export type { Qmp } from "./qmp.ts";
export {
  channelSocket,
  consoleTail,
  endResident,
  monitorOf,
  type Resident,
  type ResidentOptions,
  residentProcess,
  residentsIn,
  saveState,
  trimConsole,
} from "./resident.ts";
export { qemuProgramOf } from "./programs.ts";
export type { MachinesOptions } from "./run.ts";
export { isPassedThrough, lintSlots, lintTakenSlots, parseSlot, type TakenSlots } from "./slots.ts";
export type * from "./types.ts";
export { type BannerOptions, waitForSshBanner } from "./waiting.ts";

/**
 * A machine that outlives this process; see resident.ts.
 * @throws Problem as `Machines.start`; whatever it throws, no process is left
 */
export function startResident(host: Host, spec: MachineSpec, options: ResidentOptions): Promise<Resident> {
  return startResidentBy(host, { plan: planQemu, lint: lintQemu }, spec, options);
}

export function openMachines(host: Host, options: MachinesOptions): Machines {
  const { directory, acceleratorFile } = options;
  return {
    ...otherMachines(host, directory),
    start: (spec, start = {}) => startMachine(host, options, { plan: planQemu, lint: lintQemu }, spec, start),
    accelerator: (spec) => chooseAccelerator(host, spec, { file: acceleratorFile, scratchBelow: directory }),
  };
}

/**
 * What `start` would run, and nothing is run: the command line and the files of a machine in `directory`.
 *
 * @throws Problem E_MACHINE_SPEC (exit 2), E_QEMU_MISSING, E_FIRMWARE_MISSING (exit 3)
 */
export function planMachine(
  host: Host,
  spec: MachineSpec,
  { directory, accelerator, resident }: Pick<QemuFacts, "directory" | "accelerator" | "resident">,
): QemuPlan {
  assertFaultless(spec.name, [...lintSpec(spec), ...lintQemu(spec)]);
  const firmware = spec.firmware.kind === "uefi" ? findUefi(host, spec.system, spec.firmware) : undefined;
  const qemu = qemuProgramOf(host, spec.system);
  return planQemu(spec, {
    system: host.system,
    qemu,
    setpriv: host.which("setpriv"),
    firmware,
    directory,
    accelerator,
    ...(resident && { resident }),
  });
}
