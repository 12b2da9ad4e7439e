/**
 * What a machine is, before it runs (plain data, no choice left open but the accelerator), while it runs, and how it ended.
 *
 * Every path is absolute. A spec says nothing of the host it will run on: the plan of a hypervisor (`qemu.ts`, `bhyve.ts`) adds
 * the programs, the firmware and the places, and can be printed without running anything.
 */
import type { System } from "../base/index.ts";

export interface MachineSpec {
  /** Letters, digits, `.`, `_` and `-`, at most 63, beginning with a letter or digit. Names its directory and its process. */
  readonly name: string;
  /** Of the guest. Another processor than the host's is emulated. */
  readonly system: System;
  /** A whole number of MiB. */
  readonly memoryBytes: number;
  readonly cpus: number;
  readonly firmware: Firmware;
  /** In boot order. */
  readonly disks: readonly MachineDisk[];
  readonly network: MachineNetwork;
  /** A screen to take pictures of (standard VGA). Nobody can look at it from outside. */
  readonly display: boolean;
  /**
   * Name -> text for the guest's systemd (systemd.exec(5), SMBIOS type 11 strings `io.systemd.credential.binary:`). They lie in
   * files that only this user can read and stand in no command line; a record of the machine has their names alone.
   */
  readonly credentials: Readonly<Record<string, string>>;
  /**
   * "exit": a guest that reboots ends its machine: a boot gate looks at one boot, and a reboot is never a pass. "restart": it boots
   * again, as a machine that somebody works in does.
   */
  readonly onReboot: "exit" | "restart";
  readonly accelerator: AcceleratorWish;
  /**
   * The guest's memory lies in this file, of its size. "shared": what the guest writes is written there. "private": the file stays as it
   * is, and machines that have it so share what none of them has written to. Default: memory of the hypervisor's own.
   */
  readonly memoryFile?: { readonly file: string; readonly mode: "shared" | "private" };
  /** A virtio-serial port of this name in the guest; its other end is the socket `channel.sock` in the machine's directory. */
  readonly channel?: string;
  /** Under emulation: the cache of translated code. A whole number of MiB; default 128. */
  readonly translationCacheBytes?: number;
  /** Beside what the plan itself puts into the machine, as bhyve(8) has them. Default none. */
  readonly extraSlots?: readonly MachineSlot[];
  /** Guest memory is never paged out. A passed-through device implies it. Default false. */
  readonly wiredMemory?: boolean;
}

/** One `-s` of bhyve(8): "20:0,passthru,ppt0". `parseSlot` makes it from its text. */
export interface MachineSlot {
  /** As it was written. */
  readonly text: string;
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
  /** "passthru": a device of the host. */
  readonly emulation: string;
  readonly conf: string | undefined;
}

export type Firmware =
  /** Found on the host unless named. `variables` is a template: the machine writes to a copy of its own. */
  | { readonly kind: "uefi"; readonly code?: string; readonly variables?: string }
  /** The PC BIOS that the hypervisor brings (SeaBIOS). x86_64 and QEMU only. */
  | { readonly kind: "bios" }
  /**
   * Of a machine that begins from the state of one that booted "direct": the kernel is in its memory, and is not held a second time for
   * a reboot, which ends the machine. QEMU on x86_64 only.
   */
  | { readonly kind: "loaded" }
  /** No firmware to go through: the hypervisor loads the kernel. QEMU only. */
  | { readonly kind: "direct"; readonly kernel: string; readonly initrd?: string; readonly commandLine: string };

export interface MachineDisk {
  /** An image file or a block device. */
  readonly file: string;
  readonly format: "raw" | "qcow2";
  /** "cdrom": a drive with the file as its disc, which is read-only and raw. */
  readonly device: "virtio-blk" | "nvme" | "ahci-hd" | "cdrom";
  /**
   * "snapshot": the guest may write, the file is never changed, what was written is thrown away at the end. "scratch": it writes to the
   * file, which is not worth a wait for the disk: it goes with the machine.
   */
  readonly mode: "read-only" | "snapshot" | "persistent" | "scratch";
}

export type MachineNetwork =
  | { readonly kind: "none" }
  /** The hypervisor's own network (slirp): the guest is 10.0.2.15 by DHCP, and is reached by forwarded ports alone. */
  | {
      readonly kind: "user";
      /** Six pairs of hexadecimal digits with colons; `52:54:00:` begins those that QEMU uses. */
      readonly mac: string;
      readonly forward: readonly PortForward[];
      /** The guest reaches nothing: not the host, not what lies beyond. Forwarded ports still work. Default false. */
      readonly isolated?: boolean;
      /** Another network than 10.0.2.0/24: ports are forwarded to the address `guest`, which the machine gives itself. */
      readonly subnet?: { readonly cidr: string; readonly gateway: string; readonly guest: string };
      readonly device?: NetworkDevice;
    }
  /** An interface of the host that is there already: tap(4). */
  | { readonly kind: "tap"; readonly interface: string; readonly mac: string; readonly device?: NetworkDevice };

/** Default virtio-net. */
export type NetworkDevice = "virtio-net" | "e1000";

export interface PortForward {
  /** On 127.0.0.1. 0 is one that is free; `Machine.port` says which. */
  readonly hostPort: number;
  readonly guestPort: number;
}

export type AcceleratorName = "kvm" | "tcg";
/** "auto" is kvm where a guest was seen to run on it, else tcg. "kvm" where it does not run is E_KVM_UNUSABLE. */
export type AcceleratorWish = "auto" | AcceleratorName;

export interface Accelerator {
  readonly accelerator: AcceleratorName;
  /** For people: "/dev/kvm opens, but a guest did not run within 2 s". */
  readonly reason: string;
}

/** `status` is the hypervisor's own exit status, null when a signal ended it. `detail` is for people. */
export interface MachineEnd {
  readonly kind: EndKind;
  readonly status: number | null;
  readonly detail: string;
}

/**
 * powered-off: the guest switched itself off. rebooted: it reset itself, a triple fault included. panicked: it said so through
 * pvpanic. stopped: this host ended it, by `stop` or the signal of `StartOptions`. died: the hypervisor ended any other way.
 */
export type EndKind = "powered-off" | "rebooted" | "panicked" | "stopped" | "died";

export interface StartOptions {
  /** What the serial console printed, in chunks as they come; milliseconds since the guest's first instruction, monotonic. */
  readonly onConsole?: (chunk: Uint8Array, atMs: number) => void;
  /** Ends the machine as `stop` does; before it started, `start` fails with the signal's reason. */
  readonly signal?: AbortSignal;
  /**
   * Other processes find it by its name (`Machines.find`), and its directory keeps the console in files until the machine is
   * swept or a machine of the same name starts. Default false: the directory is gone when `exited` settles.
   */
  readonly registered?: boolean;
}

export interface Machine {
  readonly name: string;
  /** Of the hypervisor. */
  readonly pid: number;
  /** The hypervisor's command line. No secret stands in it. */
  readonly commandLine: readonly string[];
  readonly accelerator: Accelerator;
  /** The machine's own directory, absolute. */
  readonly directory: string;
  /** The port on 127.0.0.1 that reaches the guest's port. @throws Error for one that the spec does not forward */
  port(guestPort: number): number;
  /** Types on the serial console. Settles when the hypervisor has taken it; does nothing after the end. */
  write(text: string): Promise<void>;
  /** A command of QMP and what it returns. @throws Problem E_QMP */
  qmp(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** Writes a PNG of the screen. @throws Problem E_QMP, E_NO_DISPLAY (exit 2) */
  screenshot(file: string): Promise<void>;
  /** Ends the machine at once, as pulling the plug does. Settles when nothing of it is left; a second call waits for the first. */
  stop(): Promise<void>;
  /** Settles, never rejects, when the hypervisor is gone, all output was handed on, and its scratch files are removed. */
  readonly exited: Promise<MachineEnd>;
}

/** What is kept of a registered machine, as `machine.json` in its directory. */
export interface MachineRecord {
  readonly name: string;
  readonly directory: string;
  /** "dead": its supervisor was killed before it could say how the machine ended. */
  readonly state: "running" | "ended" | "dead";
  /** Without the values of its credentials: each is "". */
  readonly spec: MachineSpec;
  readonly pid: number;
  readonly commandLine: readonly string[];
  readonly accelerator: Accelerator;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
  /** With the ports that were chosen. */
  readonly forward: readonly PortForward[];
  /** Lines `HH:MM:SS.mmm text`, the time since the start. What is older than its last 16 MiB is in `<file>.old`, or gone. */
  readonly consoleLog: string;
  /** The same as the bytes that came. */
  readonly consoleRaw: string;
  readonly ended: MachineEnd | undefined;
}

export interface Machines {
  /**
   * Settles when the guest runs.
   * @throws Problem E_MACHINE_SPEC, E_DISK_MISSING, E_MACHINE_EXISTS (exit 2); E_QEMU_MISSING, E_FIRMWARE_MISSING,
   * E_KVM_UNUSABLE, E_PORT_IN_USE, E_MACHINE_NOT_STARTED (exit 3). Whatever it throws, nothing is left behind.
   */
  start(spec: MachineSpec, options?: StartOptions): Promise<Machine>;
  /** Which accelerator a machine of this system would get, and why. Asks the host once per boot. */
  accelerator(spec: Pick<MachineSpec, "system" | "accelerator">): Promise<Accelerator>;
  /** Registered machines by name. */
  list(): readonly MachineRecord[];
  find(name: string): MachineRecord | undefined;
  /** A PNG of the screen of a machine that any process started. @throws Problem E_NO_MACHINE (exit 2), E_NO_DISPLAY, E_QMP */
  screenshotOf(name: string, file: string): Promise<void>;
  /** Types on the serial console of a machine that any process started. @throws Problem E_NO_MACHINE (exit 2), E_TIMEOUT */
  writeTo(name: string, text: string): Promise<void>;
  /** Ends a machine that any process started. Settles when its hypervisor is gone. @throws Problem E_NO_MACHINE (exit 2) */
  stopOf(name: string): Promise<void>;
  /** Ends machines of Garths that were killed, and removes their directories and those of registered machines that ended. */
  sweep(): Promise<void>;
}
