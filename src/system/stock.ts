/** What most systems have, ready to be declared. */
import type { ServiceOptions, SystemOptions } from "./declare.ts";
import { CLOUD_CONFIG, CLOUD_CONFIG_PATH } from "./seed-files.ts";

const HOST_KEY = "/etc/ssh/ssh_host_ed25519_key";

/**
 * OpenSSH's server on a Linux system, under either process 1. The host key is made at the first start, in the machine, where it was
 * not given one: an image holds none, and two machines of one image have two.
 */
export function sshd(options: { readonly port?: number } = {}): ServiceOptions {
  const { port = 22 } = options;
  return {
    name: "sshd",
    prepare: [
      ["/bin/mkdir", "-p", "-m", "0755", "/run/sshd"],
      ["/bin/sh", "-c", `[ -e ${HOST_KEY} ] || /usr/bin/ssh-keygen -q -t ed25519 -N "" -f ${HOST_KEY}`],
    ],
    command: ["/usr/sbin/sshd", "-D", "-e", "-p", String(port), "-h", HOST_KEY],
    listens: port,
  };
}

export interface PoolGuestOptions {
  /** Default "systemd". */
  readonly init?: "systemd" | "busybox";
  /** cloud-init reads the seed, and garth-seed where it does not. Only under systemd; the world has to bring the package. Default false. */
  readonly cloudInit?: boolean;
  /** The world's OpenSSH is 9.8 or later (Debian 13), which shuts out an address that asks often: the pool's. Default false. */
  readonly penalties?: boolean;
}

export type PoolGuest = Pick<
  SystemOptions,
  "coldplug" | "etc" | "init" | "kernelParameters" | "readiness" | "rootModules" | "seed" | "users"
> & { readonly services: readonly (string | ServiceOptions)[] };

/**
 * What makes a Linux system one that pools hand out: it takes name, address and keys from its seed disk, is reached over SSH as root by
 * key, many times at once, has a user `user` for those who want to be nobody in particular, and loads what the devices of a pool need
 * before its first program. To be spread into `system({ ... })`; `services`, `etc` and the others are added to by name.
 */
export function poolGuest({ init = "systemd", cloudInit = false, penalties = false }: PoolGuestOptions = {}): PoolGuest {
  return {
    init,
    seed: true,
    coldplug: false,
    services: [sshd(), ...(cloudInit ? CLOUD_INIT : [])],
    // cloud-init's last step waits for everything else.
    readiness: ["sshd"],
    users: [{ name: "user", uid: 1000, shell: "/bin/bash" }],
    rootModules: ROOT_MODULES,
    kernelParameters: ["quiet"],
    etc: {
      "ssh/sshd_config": sshdConfig(penalties),
      "modprobe.d/garth-pool.conf": NOT_FOR_GUESTS,
      ...(cloudInit
        ? { [CLOUD_CONFIG_PATH.slice("/etc/".length)]: CLOUD_CONFIG, "cloud/cloud.cfg.d/91_garth_modules.cfg": FEW_MODULES }
        : {}),
    },
  };
}

/** udev would load them for what a machine pretends to have: a megabyte of memory, half a second of an emulated start. */
const NOT_FOR_GUESTS = ["evdev", "kvm_amd", "kvm_intel", "parport_pc", "pcspkr", "powernow_k8", "psmouse", "serio_raw"]
  .map((module) => `blacklist ${module}\n`)
  .join("");

const CLOUD_INIT: readonly string[] = ["cloud-init-local", "cloud-init", "cloud-config", "cloud-final"];

/**
 * The root's disk, the network, entropy, a channel to the host, and one to say to the host that the kernel panicked; the file system of
 * the seed with the two character sets it asks for.
 */
const ROOT_MODULES: readonly string[] = [
  "virtio_pci",
  "virtio_blk",
  "ext4",
  "virtio_net",
  "virtio_rng",
  "virtio_console",
  "pvpanic_mmio",
  "vfat",
  "nls_cp437",
  "nls_ascii",
];

/** sshd_config(5). A pool has one connection to a machine, with a session for each command that runs. */
function sshdConfig(penalties: boolean): string {
  return `PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxSessions 64
MaxStartups 64:30:256
PrintMotd no
X11Forwarding no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
${penalties ? "PerSourcePenalties no\n" : ""}`;
}

/** Of cloud-init's modules those that a seed asks for. Each of the others takes its time at the first start of every machine. */
const FEW_MODULES = `cloud_init_modules: [bootcmd, write-files, set_hostname, update_hostname, update_etc_hosts, users-groups, ssh]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
`;
