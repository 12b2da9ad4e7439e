/**
 * Slots that somebody else put into a machine: devices of the host handed to the guest, and whatever else bhyve(8) can put
 * behind `-s`. Written as bhyve has them, "20:0,passthru,ppt0"; on QEMU a device of the host becomes vfio-pci. Pure.
 *
 * A device of the host reads and writes guest memory by itself, so that all of that memory stays where it is: wired.
 */
import type { Report } from "./plan.ts";
import type { MachineSlot, MachineSpec } from "./types.ts";

const SLOT = /^(?:(?:(\d{1,3}):)?(\d{1,2}):(\d)|(\d{1,2})),([a-z][a-z0-9-]*)(?:,(.+))?$/;
const BUS_MAX = 255;
const SLOT_MAX = 31;
const FUNCTION_MAX = 7;
export const SLOTS_MAX = 32;
/** bhyve(8): `bus/slot/function` or `pci0:bus:slot:function`, in decimal; what follows a comma are options of bhyve's own. */
const HOST_ADDRESS = /^(?:(\d{1,3})\/(\d{1,2})\/(\d)|pci0:(\d{1,3}):(\d{1,2}):(\d))(?=,|$)/;
const PPT = /^ppt\d+(?=,|$)/;

/** What is the plan's own on bus 0, by its slot. */
export type TakenSlots = ReadonlyMap<number, string>;

/** `[[bus:]slot:function | slot],emulation[,conf]`; undefined for a text that is none. What it says is not yet checked. */
export function parseSlot(text: string): MachineSlot | undefined {
  const found = /\p{Cc}/u.test(text) ? undefined : (SLOT.exec(text) ?? undefined);
  const [, bus, slot, of, alone, emulation] = found ?? [];
  if (found === undefined || emulation === undefined) return undefined;
  return { text, bus: Number(bus ?? 0), slot: Number(slot ?? alone), function: Number(of ?? 0), emulation, conf: found[6] };
}

export function isPassedThrough(slot: MachineSlot): boolean {
  return slot.emulation === "passthru";
}

/** Asked for, or needed by a device of the host. */
export function needsWiredMemory(spec: Pick<MachineSpec, "extraSlots" | "wiredMemory">): boolean {
  return spec.wiredMemory === true || (spec.extraSlots ?? []).some(isPassedThrough);
}

/** The device of the host that a slot names: all that comes before an option of its emulation. */
function deviceOf({ conf }: MachineSlot): string {
  return (conf ?? "").replace(/,.*$/, "");
}

type ReportSlot = (index: number, message: string) => void;

/** Which of the slots the plan needs for itself. `report` is given the slot's index. */
export function lintTakenSlots(slots: readonly MachineSlot[], taken: TakenSlots, report: ReportSlot): void {
  for (const [index, one] of slots.entries()) {
    const owner = one.bus === 0 ? taken.get(one.slot) : undefined;
    if (owner !== undefined) report(index, `slot ${one.slot} is taken by ${owner}`);
  }
}

/** What is wrong with slots whatever else is in the machine. */
export function lintSlots(slots: readonly MachineSlot[], report: ReportSlot): void {
  for (const [index, one] of slots.entries()) {
    const place = `${one.slot}:${one.function}`;
    if (one.bus > BUS_MAX) report(index, `there is no bus ${one.bus}: they go up to ${BUS_MAX}`);
    if (one.slot > SLOT_MAX) report(index, `there is no slot ${one.slot}: they go up to ${SLOT_MAX}`);
    if (one.function > FUNCTION_MAX) report(index, `there is no function ${one.function}: they go up to ${FUNCTION_MAX}`);
    const at = (other: MachineSlot): boolean => other.bus === one.bus && other.slot === one.slot;
    const before = slots.slice(0, index);
    const twin = before.find((other) => at(other) && other.function === one.function);
    if (twin !== undefined) report(index, `slot ${place} is taken by ${twin.text}`);
    // A guest that finds no function 0 looks no further.
    if (!slots.some((other) => at(other) && other.function === 0)) report(index, `slot ${one.slot} has no function 0`);
    if (!isPassedThrough(one)) continue;
    const device = deviceOf(one);
    if (!PPT.test(device) && !HOST_ADDRESS.test(device))
      report(index, `${JSON.stringify(device)} names no device of the host: ppt0, 1/0/0 or pci0:1:0:0 do`);
    else if (before.some((other) => isPassedThrough(other) && deviceOf(other) === device))
      report(index, `the device ${device} is passed through twice`);
  }
}

/** As QEMU and sysfs write it, "0000:01:00.0"; undefined for a device that is named by FreeBSD's driver. */
function hostAddress({ conf }: MachineSlot): string | undefined {
  const found = HOST_ADDRESS.exec(conf ?? "");
  if (found === null) return undefined;
  const [bus, slot, of] = found.slice(1).filter((part) => part !== undefined);
  const hex = (text: string | undefined): string => Number(text).toString(16).padStart(2, "0");
  return `0000:${hex(bus)}:${hex(slot)}.${of}`;
}

/** What QEMU cannot do with slots that are sound otherwise. */
export function lintQemuSlots(spec: MachineSpec, report: Report): void {
  const isX86 = spec.system.startsWith("x86_64-");
  for (const [index, slot] of (spec.extraSlots ?? []).entries()) {
    const field = `extraSlots[${index}]`;
    if (!isPassedThrough(slot)) report(field, `QEMU has no ${slot.emulation} of bhyve: ${slot.text}`);
    else if (hostAddress(slot) === undefined)
      report(field, `${slot.text}: ${deviceOf(slot)} is a name of FreeBSD's; QEMU wants the device's address, as in 1/0/0`);
    if (slot.bus !== 0) report(field, `${slot.text}: the machine has bus 0 alone`);
    if (slot.slot === 0) report(field, `${slot.text}: slot 0 is taken by the host bridge`);
    if (isX86 && slot.slot === SLOT_MAX) report(field, `${slot.text}: slot ${SLOT_MAX} is taken by the chipset`);
  }
}

/**
 * To stand before every other device: those without a place of their own then take what is left. vfio locks guest memory by
 * itself; without a device of the host it has to be said.
 */
export function qemuSlotWords(spec: MachineSpec): readonly string[] {
  const slots = (spec.extraSlots ?? []).toSorted((a, b) => a.slot - b.slot || a.function - b.function);
  return [
    ...(needsWiredMemory(spec) ? ["-overcommit", "mem-lock=on"] : []),
    ...slots.flatMap((slot) => {
      const shared = slots.some((other) => other.slot === slot.slot && other.function !== 0);
      const several = slot.function === 0 && shared ? ",multifunction=on" : "";
      const place = `addr=0x${slot.slot.toString(16)}.0x${slot.function}`;
      return ["-device", `vfio-pci,host=${hostAddress(slot) ?? ""},${place}${several}`];
    }),
  ];
}
