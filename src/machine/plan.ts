/** What is wrong with a machine before it runs, whatever would run it. Pure: files and ports are looked at when it starts. */
import { Problem } from "../base/index.ts";
import { lintSlots, SLOTS_MAX } from "./slots.ts";
import type { MachineDisk, MachineNetwork, MachineSpec } from "./types.ts";

export interface SpecFault {
  /** `disks[0].file`. */
  readonly field: string;
  readonly message: string;
}
export type Report = (field: string, message: string) => void;

export const MIB = 1024 ** 2;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const CPUS_MAX = 255;
const DISKS_MAX = 16;
const MAC = /^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/;
const INTERFACE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$/;
/** A name of a virtio port, as the guest shows it below /dev/virtio-ports. */
const CHANNEL = /^[A-Za-z0-9][A-Za-z0-9._-]{0,30}$/;
/** systemd.exec(5): what can be the name of a file; ours have no dot in front. */
const CREDENTIAL_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$/;
/** Of all values together. SMBIOS 2 tables have 64 KiB, and base64 makes four bytes of three. */
export const CREDENTIALS_MAX = 32 * 1024;

function lintPath(field: string, path: string, report: Report): void {
  if (!path.startsWith("/")) report(field, `${JSON.stringify(path)} is not an absolute path`);
  if (/\p{Cc}/u.test(path)) report(field, `${JSON.stringify(path)} holds a control character`);
}

function lintDisks(disks: readonly MachineDisk[], report: Report): void {
  if (disks.length > DISKS_MAX) report("disks", `${disks.length} are more than ${DISKS_MAX}`);
  for (const [index, disk] of disks.entries()) {
    const field = `disks[${index}]`;
    lintPath(`${field}.file`, disk.file, report);
    if (disk.device === "ahci-hd" && disk.mode === "read-only") {
      report(`${field}.mode`, `an ahci-hd cannot be read-only; "snapshot" leaves the file as it is too`);
    }
    if (disk.device === "cdrom" && disk.mode !== "read-only") report(`${field}.mode`, "a cdrom is read-only");
    if (disk.device === "cdrom" && disk.format !== "raw") report(`${field}.format`, `a disc is raw, not ${disk.format}`);
    const other = disks.findIndex((one) => one.file === disk.file);
    if (
      other < index &&
      (disk.mode === "persistent" || disks.some((one) => one.file === disk.file && one.mode === "persistent"))
    ) {
      report(`${field}.file`, `${disk.file} is disks[${other}] too, and one of the two writes to it`);
    }
  }
}

const isPort = (port: number, lowest: number): boolean => Number.isInteger(port) && port >= lowest && port <= 65_535;

function lintNetwork(network: MachineNetwork, report: Report): void {
  if (network.kind === "none") return;
  if (!MAC.test(network.mac)) report("network.mac", `${JSON.stringify(network.mac)} is not six pairs of digits with colons`);
  else if ((Number.parseInt(network.mac.slice(0, 2), 16) & 1) === 1) report("network.mac", `${network.mac} is a group's address`);
  if (network.kind === "tap") {
    // if_nametoindex(3): what is longer is cut off, and another interface's.
    if (!INTERFACE.test(network.interface))
      report("network.interface", `${JSON.stringify(network.interface)} is not the name of an interface`);
    return;
  }
  for (const [index, { hostPort, guestPort }] of network.forward.entries()) {
    const field = `network.forward[${index}]`;
    if (!isPort(hostPort, 0)) report(`${field}.hostPort`, `${hostPort} is not a port, nor 0 for a free one`);
    if (!isPort(guestPort, 1)) report(`${field}.guestPort`, `${guestPort} is not a port`);
    const before = network.forward.slice(0, index);
    if (hostPort !== 0 && before.some((one) => one.hostPort === hostPort))
      report(`${field}.hostPort`, `${hostPort} is taken twice`);
    if (before.some((one) => one.guestPort === guestPort)) report(`${field}.guestPort`, `${guestPort} is forwarded twice`);
  }
}

function lintFirmware(spec: MachineSpec, report: Report): void {
  const { firmware } = spec;
  switch (firmware.kind) {
    case "uefi":
      if (firmware.code !== undefined) lintPath("firmware.code", firmware.code, report);
      if (firmware.variables !== undefined) lintPath("firmware.variables", firmware.variables, report);
      if ((firmware.code === undefined) !== (firmware.variables === undefined)) {
        report("firmware", "code and variables belong together: name both or none");
      }
      return;
    case "loaded":
      if (spec.onReboot === "restart") report("onReboot", "a machine whose kernel is held nowhere cannot boot again");
      if (!spec.system.startsWith("x86_64-")) report("firmware.kind", `${spec.system} machines hold their kernel`);
      return;
    case "bios":
      if (!spec.system.startsWith("x86_64-")) report("firmware.kind", `${spec.system} has no PC BIOS`);
      return;
    case "direct":
      lintPath("firmware.kernel", firmware.kernel, report);
      if (firmware.initrd !== undefined) lintPath("firmware.initrd", firmware.initrd, report);
      if (/\p{Cc}/u.test(firmware.commandLine)) report("firmware.commandLine", "holds a control character");
  }
}

function lintCredentials(credentials: MachineSpec["credentials"], report: Report): void {
  let bytes = 0;
  for (const [name, value] of Object.entries(credentials)) {
    if (!CREDENTIAL_NAME.test(name)) report("credentials", `${JSON.stringify(name)} is not the name of a credential`);
    bytes += Buffer.byteLength(value);
  }
  if (bytes > CREDENTIALS_MAX)
    report("credentials", `${bytes} bytes are more than the ${CREDENTIALS_MAX} that firmware hands on`);
}

/** Everything that is wrong with a spec, in its order; empty for a sound one. */
export function lintSpec(spec: MachineSpec): readonly SpecFault[] {
  const found: SpecFault[] = [];
  const report: Report = (field, message) => {
    found.push({ field, message });
  };
  if (!NAME.test(spec.name)) {
    report(
      "name",
      `${JSON.stringify(spec.name)} is not 1 to 63 letters, digits, ".", "_", "-", beginning with a letter or digit`,
    );
  }
  if (!Number.isSafeInteger(spec.memoryBytes) || spec.memoryBytes < MIB || spec.memoryBytes % MIB !== 0) {
    report("memoryBytes", `${spec.memoryBytes} is not a whole number of MiB above 0`);
  }
  if (!Number.isInteger(spec.cpus) || spec.cpus < 1 || spec.cpus > CPUS_MAX) {
    report("cpus", `${spec.cpus} is not a number from 1 to ${CPUS_MAX}`);
  }
  lintFirmware(spec, report);
  lintDisks(spec.disks, report);
  if (spec.disks.length === 0 && spec.firmware.kind !== "direct" && spec.firmware.kind !== "loaded")
    report("disks", "there is nothing to boot from");
  lintNetwork(spec.network, report);
  lintCredentials(spec.credentials, report);
  if (spec.memoryFile !== undefined) lintPath("memoryFile.file", spec.memoryFile.file, report);
  if (spec.channel !== undefined && !CHANNEL.test(spec.channel))
    report("channel", `${JSON.stringify(spec.channel)} is not the name of a port`);
  const cacheBytes = spec.translationCacheBytes;
  if (cacheBytes !== undefined && (!Number.isSafeInteger(cacheBytes) || cacheBytes < MIB || cacheBytes % MIB !== 0))
    report("translationCacheBytes", `${cacheBytes} is not a whole number of MiB above 0`);
  const slots = spec.extraSlots ?? [];
  if (slots.length > SLOTS_MAX) report("extraSlots", `${slots.length} are more than ${SLOTS_MAX}`);
  lintSlots(slots, (index, message) => report(`extraSlots[${index}]`, message));
  return found;
}

/** @throws Problem E_MACHINE_SPEC (exit 2) with every fault */
export function assertFaultless(name: string, found: readonly SpecFault[]): void {
  if (found.length === 0) return;
  throw new Problem({
    code: "E_MACHINE_SPEC",
    message: `the machine ${JSON.stringify(name)} has ${found.length === 1 ? "a fault" : `${found.length} faults`}`,
    details: found.map(({ field, message }) => `${field}: ${message}`),
    exit: 2,
  });
}
