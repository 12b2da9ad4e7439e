/**
 * Whether guests run on the processor itself (KVM) or are emulated (TCG). A /dev/kvm that opens proves nothing: nested in some
 * other machine it may hang at the guest's first instruction. So a guest of eight instructions is run, once per boot of the
 * host, with a limit; only its own answer makes the accelerator kvm.
 *
 *     no device, other processor, not allowed ──► tcg, without running anything
 *     answered ──► kvm          no answer in time, another end ──► tcg          both remembered under the boot's id
 *
 * Limits: the guest is for x86_64; an aarch64 host emulates, and says why.
 */
import { formatDuration, operatingSystemOf, Problem, type System } from "../base/index.ts";
import { type Exit, type Host, isErrno } from "../host/index.ts";
import { processorOf } from "./firmware.ts";
import { dyingWithParent, qemuProgramOf } from "./programs.ts";
import { makeOwned } from "./scratch.ts";
import type { Accelerator, AcceleratorName, MachineSpec } from "./types.ts";

const KVM_DEVICE = "/dev/kvm";
const PROBE_LIMIT_MS = 2_000;

/**
 * A boot sector, loaded by the BIOS at 0x7c00 in real mode. isa-debug-exit(0xf4) ends QEMU with the status (value << 1) | 1.
 *
 *     ba f4 00    mov  dx, 0x00f4
 *     b8 2a 00    mov  ax, 0x002a
 *     ef          out  dx, ax
 *     fa          cli
 *     f4          hlt
 *     eb fd       jmp  -3
 */
const PROBE_CODE = [0xba, 0xf4, 0x00, 0xb8, 0x2a, 0x00, 0xef, 0xfa, 0xf4, 0xeb, 0xfd] as const;
const PROBE_STATUS = (0x2a << 1) | 1;
/** A BIOS reads no disk that is shorter than a track. */
const PROBE_DISK_BYTES = 1024 ** 2;

export type ProbeAnswer = { readonly kind: "ran" } | { readonly kind: "failed"; readonly why: string };

function probeDisk(): Uint8Array {
  const disk = new Uint8Array(PROBE_DISK_BYTES);
  disk.set(PROBE_CODE);
  disk.set([0x55, 0xaa], 510);
  return disk;
}

export interface Probe {
  /** Absolute path of the program. */
  readonly qemu: string;
  readonly accelerator: AcceleratorName;
  /** Its disk lies in a directory below this one for as long. */
  readonly scratchBelow: string;
  readonly limitMs?: number;
}

/** Runs the guest. Settles within the limit, whatever the kernel does: a process that cannot be killed is left behind. */
export async function probeAccelerator(host: Host, probe: Probe): Promise<ProbeAnswer> {
  const { qemu, accelerator, limitMs = PROBE_LIMIT_MS } = probe;
  const directory = makeOwned(host, probe.scratchBelow, "probe");
  const late = Promise.withResolvers<"late">();
  const timer = setTimeout(() => late.resolve("late"), limitMs);
  try {
    const disk = `${directory}/disk.img`;
    host.files.writeFile(disk, probeDisk(), 0o600);
    const words = [
      "-nodefaults -no-user-config -no-reboot -display none -machine q35 -m 16M -device isa-debug-exit,iobase=0xf4,iosize=0x04",
      `-accel ${accelerator} -cpu ${accelerator === "kvm" ? "host" : "qemu64"} -device virtio-blk-pci,drive=disk0 -drive`,
    ].flatMap((line) => line.split(" "));
    words.push(`if=none,id=disk0,format=raw,read-only=on,file=${disk.replaceAll(",", ",,")}`);
    let said = "";
    const running = host.spawn(
      {
        argv: dyingWithParent(host, [qemu, ...words]),
        doing: `trying a guest on ${accelerator}`,
      },
      { onOutput: (chunk) => (said += Buffer.from(chunk).toString()) },
    );
    const ended: Exit | "late" = await Promise.race([running.exited, late.promise]);
    if (ended === "late") {
      running.kill("SIGKILL");
      return { kind: "failed", why: `a guest did not run within ${formatDuration(limitMs)}` };
    }
    if (ended.status === PROBE_STATUS) return { kind: "ran" };
    const how = ended.status === null ? `was ended by ${ended.signal}` : `ended with status ${ended.status}`;
    const [line = ""] = said.trim().split("\n").slice(-1);
    return { kind: "failed", why: `QEMU ${how}${line === "" ? "" : `: ${line}`}` };
  } finally {
    clearTimeout(timer);
    host.files.removeTree(directory);
  }
}

/** Why kvm cannot even be tried; undefined when it can. */
function obstacle(host: Host, system: System): string | undefined {
  if (operatingSystemOf(host.system) !== "linux") return "KVM is of Linux";
  if (processorOf(system) !== processorOf(host.system)) return `a guest of ${system} is emulated on ${host.system}`;
  if (!host.files.exists(KVM_DEVICE)) return `there is no ${KVM_DEVICE}`;
  try {
    host.files.close(host.files.open(KVM_DEVICE, "r+"));
  } catch (error) {
    if (isErrno(error, "EACCES", "EPERM")) return `this user may not open ${KVM_DEVICE}; members of the group kvm may`;
    if (isErrno(error, "ENODEV", "ENXIO", "ENOENT")) return `${KVM_DEVICE} is there, but no KVM behind it`;
    throw error;
  }
  if (processorOf(host.system) !== "x86_64") return `${KVM_DEVICE} is there, but Garth tries it on x86_64 alone`;
  return undefined;
}

interface Remembered extends Accelerator {
  readonly boot: string;
  readonly qemu: string;
}

/** Of this boot and this QEMU; undefined for anything else, a file that somebody broke included. */
function recall(host: Host, file: string, boot: string, qemu: string): Accelerator | undefined {
  const text = host.files.readTextIfAny(file);
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    if (!("boot" in value && value.boot === boot && "qemu" in value && value.qemu === qemu)) return undefined;
    if (!("accelerator" in value && (value.accelerator === "kvm" || value.accelerator === "tcg"))) return undefined;
    if (!("reason" in value && typeof value.reason === "string")) return undefined;
    return { accelerator: value.accelerator, reason: value.reason };
  } catch {
    return undefined;
  }
}

function remember(host: Host, file: string, value: Remembered): void {
  const directory = file.slice(0, file.lastIndexOf("/"));
  host.files.makeDirectory(directory, { parents: true });
  const beside = host.files.makeTemporaryDirectory(`${file}-`);
  host.files.writeFile(`${beside}/new`, `${JSON.stringify(value)}\n`);
  host.files.rename(`${beside}/new`, file);
  host.files.removeDirectory(beside);
}

export interface AcceleratorPlaces {
  /** Where the answer is remembered. */
  readonly file: string;
  readonly scratchBelow: string;
}

async function kvmOrNot(host: Host, system: System, { file, scratchBelow }: AcceleratorPlaces): Promise<Accelerator> {
  const reason = obstacle(host, system);
  if (reason !== undefined) return { accelerator: "tcg", reason };
  const program = qemuProgramOf(host, system);
  const { mtimeMs } = host.files.lstat(host.files.realPath(program));
  const qemu = `${program}@${mtimeMs}`;
  const [boot = ""] = host.processIdentity.split(":");
  const known = recall(host, file, boot, qemu);
  if (known !== undefined) return known;
  const answer = await probeAccelerator(host, { qemu: program, accelerator: "kvm", scratchBelow });
  const found: Accelerator =
    answer.kind === "ran"
      ? { accelerator: "kvm", reason: `a guest ran on ${KVM_DEVICE}` }
      : { accelerator: "tcg", reason: `${KVM_DEVICE} opens, but ${answer.why}` };
  remember(host, file, { boot, qemu, ...found });
  return found;
}

/** @throws Problem E_QEMU_MISSING, E_KVM_UNUSABLE (exit 3) */
export async function chooseAccelerator(
  host: Host,
  spec: Pick<MachineSpec, "system" | "accelerator">,
  places: AcceleratorPlaces,
): Promise<Accelerator> {
  if (spec.accelerator === "tcg") return { accelerator: "tcg", reason: "it was asked for" };
  const found = await kvmOrNot(host, spec.system, places);
  if (spec.accelerator === "auto" || found.accelerator === "kvm") return found;
  throw new Problem({
    code: "E_KVM_UNUSABLE",
    message: `a machine for ${spec.system} was to run on KVM, and cannot: ${found.reason}`,
    hint: `the accelerator "auto" emulates where it has to; what was found is remembered in ${places.file} until the next boot`,
    exit: 3,
  });
}
