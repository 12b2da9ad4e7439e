/**
 * A machine as QEMU runs it: the command line and the small files beside it (qemu(1), QEMU 7.2 and later). Pure.
 *
 *     stdin, stdout   the serial console            qmp.sock    the supervisor's monitor (QMP)
 *     stderr          what QEMU itself has to say   qmp2.sock   the monitor for other processes: each takes one client
 *
 * It starts stopped (-S): the supervisor connects before the guest's first instruction, so that no event is missed. Sockets and
 * files of the machine are named relative to its directory, where QEMU runs: a Unix socket's path has room for 104 bytes.
 * Everything is -nodefaults: nothing is in the machine that is not in this list.
 */
import { operatingSystemOf } from "../base/index.ts";
import { CLEAN_ENVIRONMENT } from "../host/index.ts";
import type { PlannedFile, QemuFacts, QemuPlan } from "./hypervisor.ts";
import { MIB, type Report, type SpecFault } from "./plan.ts";
import { lintQemuSlots, qemuSlotWords } from "./slots.ts";
import { CHANNEL_SOCKET, CONSOLE_FILE, SOCKETS } from "./sockets.ts";
import type { MachineDisk, MachineNetwork, MachineSpec, NetworkDevice } from "./types.ts";

const VARIABLES_FILE = "variables.fd";
/** A cache of translated code. QEMU would reserve up to 1 GiB; guests that boot fill little of it. */
const TRANSLATION_CACHE_MIB = 128;

/** A value in an option list, where a comma begins the next option. */
export function optionValue(text: string): string {
  return text.replaceAll(",", ",,");
}

/** What QEMU cannot do with a spec that is sound otherwise. */
export function lintQemu(spec: MachineSpec): readonly SpecFault[] {
  const found: SpecFault[] = [];
  const report: Report = (field, message) => {
    found.push({ field, message });
  };
  lintQemuSlots(spec, report);
  if (spec.system.startsWith("x86_64-")) return found;
  for (const [index, disk] of spec.disks.entries()) {
    if (disk.device === "ahci-hd") report(`disks[${index}].device`, `an ${spec.system} machine has no AHCI controller`);
  }
  return found;
}

const MEMORY_ID = "memory0";

/** Memory with a name: the state of a machine says by its name which memory it goes with, wherever that one comes from. */
function memoryWords({ memoryFile, memoryBytes }: MachineSpec, facts: QemuFacts): readonly string[] {
  const head = `id=${MEMORY_ID},size=${memoryBytes / MIB}M`;
  if (memoryFile !== undefined) {
    const share = memoryFile.mode === "shared" ? "on" : "off";
    return ["-object", `memory-backend-file,${head},share=${share},mem-path=${optionValue(memoryFile.file)}`];
  }
  return facts.resident === undefined ? [] : ["-object", `memory-backend-ram,${head}`];
}

function processorWords(spec: MachineSpec, facts: QemuFacts): readonly string[] {
  const isX86 = spec.system.startsWith("x86_64-");
  const threads = spec.cpus === 1 ? "single" : "multi";
  const cacheBytes = spec.translationCacheBytes ?? TRANSLATION_CACHE_MIB * MIB;
  const memory = memoryWords(spec, facts);
  return [
    "-machine",
    `${isX86 ? "q35,vmport=off" : "virt"}${memory.length === 0 ? "" : `,memory-backend=${MEMORY_ID}`}`,
    ...memory,
    // Under emulation the plainest processor is the fastest: each feature is code to translate.
    "-cpu",
    facts.accelerator === "kvm" ? "host" : isX86 ? "qemu64" : "cortex-a72",
    "-accel",
    facts.accelerator === "kvm" ? "kvm" : `tcg,thread=${threads},tb-size=${cacheBytes / MIB}`,
    "-smp",
    String(spec.cpus),
    "-m",
    `${spec.memoryBytes / MIB}M`,
  ];
}

function firmwareWords(spec: MachineSpec, facts: QemuFacts): readonly string[] {
  const { firmware } = spec;
  switch (firmware.kind) {
    case "bios":
      return [];
    case "loaded":
      // The program by which firmware asks for a kernel is a part of the state.
      return ["-option-rom", "linuxboot_dma.bin"];
    case "direct":
      return [
        "-kernel",
        firmware.kernel,
        ...(firmware.initrd === undefined ? [] : ["-initrd", firmware.initrd]),
        "-append",
        firmware.commandLine,
      ];
    case "uefi": {
      if (facts.firmware === undefined) throw new Error(`no firmware was found for ${spec.name}`);
      return [
        "-drive",
        `if=pflash,unit=0,format=raw,readonly=on,file=${optionValue(facts.firmware.code)}`,
        "-drive",
        `if=pflash,unit=1,format=raw,file=${VARIABLES_FILE}`,
      ];
    }
  }
}

const DISK_MODES = {
  "read-only": "read-only=on",
  // What a power failure of the host would lose is thrown away anyway.
  snapshot: "snapshot=on,cache=unsafe",
  persistent: "cache=writeback,discard=unmap",
  scratch: "cache=unsafe,discard=unmap",
} as const;
const DISK_DEVICES = { "virtio-blk": "virtio-blk-pci", nvme: "nvme", "ahci-hd": "ide-hd", cdrom: "scsi-cd" } as const;

/** A kernel that QEMU loads is itself the first thing to boot from. */
function diskWords(disk: MachineDisk, index: number, boots: boolean): readonly string[] {
  const id = `disk${index}`;
  return [
    "-drive",
    `if=none,id=${id},format=${disk.format},${DISK_MODES[disk.mode]},file=${optionValue(disk.file)}`,
    // On a bus of its own that every machine has and every guest of ours knows; kernels for virtual machines have no AHCI.
    ...(disk.device === "cdrom" ? ["-device", `virtio-scsi-pci,id=scsi${index}`] : []),
    "-device",
    `${DISK_DEVICES[disk.device]},${disk.device === "cdrom" ? `bus=scsi${index}.0,` : ""}drive=${id},serial=${id}${boots ? `,bootindex=${index}` : ""}`,
  ];
}

const NETWORK_DEVICES: Readonly<Record<NetworkDevice, string>> = { "virtio-net": "virtio-net-pci", e1000: "e1000" };

function networkWords(network: MachineNetwork): readonly string[] {
  if (network.kind === "none") return [];
  return [
    "-netdev",
    network.kind === "user" ? userNetwork(network) : `tap,id=net0,ifname=${network.interface},script=no,downscript=no`,
    "-device",
    // No option ROM: nothing boots from the network.
    `${NETWORK_DEVICES[network.device ?? "virtio-net"]},netdev=net0,mac=${network.mac},romfile=`,
  ];
}

function userNetwork({ isolated, forward, subnet }: Extract<MachineNetwork, { kind: "user" }>): string {
  const rules = forward.map(
    ({ hostPort, guestPort }) => `,hostfwd=tcp:127.0.0.1:${hostPort}-${subnet?.guest ?? ""}:${guestPort}`,
  );
  // The guest has its address already; what asks by DHCP all the same is given that one.
  const own = subnet === undefined ? "" : `,net=${subnet.cidr},host=${subnet.gateway},dhcpstart=${subnet.guest}`;
  return `user,id=net0,ipv6=off,restrict=${isolated === true ? "on" : "off"}${own}${rules.join("")}`;
}

function channelWords(channel: string | undefined): readonly string[] {
  if (channel === undefined) return [];
  return [
    "-device",
    "virtio-serial-pci",
    "-chardev",
    `socket,id=channel,path=${CHANNEL_SOCKET},server=on,wait=off`,
    "-device",
    `virtserialport,chardev=channel,name=${channel}`,
  ];
}

/** SMBIOS type 11 strings as systemd.exec(5) has them. QEMU reads each from a file: a command line can be read by everybody. */
function credentialFiles(credentials: MachineSpec["credentials"]): readonly PlannedFile[] {
  return Object.entries(credentials)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => ({
      name: `credential-${name}`,
      kind: "secret",
      text: `io.systemd.credential.binary:${name}=${Buffer.from(value).toString("base64")}`,
    }));
}

export function planQemu(spec: MachineSpec, facts: QemuFacts): QemuPlan {
  const isX86 = spec.system.startsWith("x86_64-");
  const credentials = credentialFiles(spec.credentials);
  const variables: readonly PlannedFile[] =
    spec.firmware.kind === "uefi" && facts.firmware !== undefined
      ? [{ name: VARIABLES_FILE, kind: "copy", of: facts.firmware.variables }]
      : [];
  const socket = (id: string, name: string): readonly string[] => [
    "-chardev",
    `socket,id=${id},path=${name},server=on,wait=off`,
    "-mon",
    `chardev=${id},mode=control`,
  ];
  const words = [
    "-name",
    `guest=${spec.name}`,
    "-nodefaults",
    "-no-user-config",
    // A reset ends QEMU, as a power-off does; the event SHUTDOWN tells them apart.
    ...(spec.onReboot === "exit" ? ["-no-reboot"] : []),
    "-S",
    ...(operatingSystemOf(facts.system) === "linux"
      ? ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
      : []),
    ...processorWords(spec, facts),
    "-rtc",
    "base=utc",
    "-boot",
    "strict=on",
    ...firmwareWords(spec, facts),
    ...qemuSlotWords(spec),
    "-display",
    "none",
    ...(spec.display ? ["-device", isX86 ? "VGA" : "virtio-gpu-pci"] : []),
    "-chardev",
    facts.resident === undefined ? "stdio,id=console,signal=off" : `file,id=console,path=${CONSOLE_FILE},append=on`,
    "-serial",
    "chardev:console",
    ...socket("qmp", SOCKETS.supervisor),
    ...socket("qmp2", SOCKETS.others),
    "-device",
    isX86 ? "pvpanic" : "pvpanic-pci",
    "-device",
    "virtio-rng-pci",
    ...spec.disks.flatMap((disk, index) =>
      diskWords(disk, index, spec.firmware.kind === "uefi" || spec.firmware.kind === "bios"),
    ),
    ...channelWords(spec.channel),
    ...networkWords(spec.network),
    ...credentials.flatMap(({ name }) => ["-smbios", `type=11,path=${name}`]),
    ...(facts.resident?.incoming === true ? ["-incoming", "defer"] : []),
  ];
  return {
    argv:
      facts.setpriv === undefined || facts.resident !== undefined
        ? [facts.qemu, ...words]
        : [facts.setpriv, "--pdeathsig", "KILL", facts.qemu, ...words],
    // TMPDIR: what a guest writes to a snapshot lies there, in a file without a name.
    env: { ...CLEAN_ENVIRONMENT, TMPDIR: facts.directory },
    cwd: facts.directory,
    files: [...variables, ...credentials],
    sockets: SOCKETS,
  };
}
