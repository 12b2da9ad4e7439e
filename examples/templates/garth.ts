/**
 * Machines for pools, made of Debian's packages.
 *
 *     garth ship examples/templates --only micro      make the system, its image, and boot it
 *
 * `micro` has a tiny process 1 and is up in a third of the time of `debian-12`, which is Debian as cloud images are.
 */
import { gate, slices, sshd, system, world } from "garth";

/** What every one of them has. */
const base = [
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
  debian: { suite: "bookworm", packages: base, lock: "./micro.lock", policy: "refresh" },
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
