/**
 * Machines for pools, made of Debian's packages.
 *
 *     garth ship examples/templates --only micro      make the system, its image, and boot it
 *
 * `micro` has a tiny process 1 and is up in a third of the time of `debian-12`, which is Debian as cloud images are.
 */
import { gate, slices, sshd, system, world } from "garth";

/** What every one of them has. */
const common = [
  "bash",
  "busybox-static",
  "kmod",
  "linux-image-cloud-amd64",
  "openssh-server",
  "openssh-sftp-server",
  "procps",
  "python3",
  "systemd-boot-efi",
  "tiny-initramfs",
];

export const microWorld = world({
  name: "micro",
  debian: { suite: "bookworm", packages: common, lock: "./micro.lock", policy: "refresh" },
});
const { kernel, boot, runtime } = slices(microWorld);

export const micro = system({
  name: "micro",
  kernel,
  bootloader: boot,
  base: [runtime],
  init: "busybox",
  services: [sshd()],
  users: [{ name: "user", uid: 1000, shell: "/bin/bash" }],
  kernelParameters: ["quiet"],
});

export const microGate = gate({
  system: micro,
  timeoutS: 240,
  probes: [{ command: 'python3 -c "print(1+1)"', expect: "2" }],
});

export const debianWorld = world({
  name: "debian-12",
  debian: {
    suite: "bookworm",
    packages: [
      ...common,
      "cloud-guest-utils",
      "cloud-init",
      "iproute2",
      "qemu-guest-agent",
      "systemd",
      "systemd-sysv",
      "udev",
    ],
    lock: "./debian-12.lock",
    policy: "refresh",
  },
});
const full = slices(debianWorld);

export const debian12 = system({
  name: "debian-12",
  kernel: full.kernel,
  bootloader: full.boot,
  base: [full.runtime],
  services: [sshd(), "cloud-init-local", "cloud-init", "cloud-config", "cloud-final"],
  readiness: ["sshd"],
  users: [{ name: "user", uid: 1000, shell: "/bin/bash" }],
  kernelParameters: ["quiet"],
});

export const debian12Gate = gate({
  system: debian12,
  timeoutS: 400,
  probes: [{ command: 'python3 -c "print(1+1)"', expect: "2" }],
});
