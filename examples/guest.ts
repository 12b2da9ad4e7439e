/**
 * What the example's machine is made of: a kernel, a loader, and Debian's smallest system with an SSH server, cut into slices.
 *
 * `guest.lock`, beside this file, pins each package by version and SHA-256, as `debian.lock` does for the builds. `slices` cuts by the lists
 * that suit most; `slice(guest, { role, keep, prune })` takes lists of your own. `garth world slice examples/guest.ts#guest` shows what
 * lies in each, what in several, and what in none.
 */
import { slices, world } from "garth";

export const guest = world({
  name: "guest",
  debian: {
    suite: "bookworm",
    packages: [
      // The initial RAM disk, and process 1.
      "busybox-static",
      "linux-image-cloud-amd64",
      "openssh-server",
      "systemd-boot-efi",
      // A kernel's package wants something that makes initial RAM disks. This one is small; Garth makes its own.
      "tiny-initramfs",
    ],
    lock: "./guest.lock",
    policy: "refresh",
  },
});

export const { kernel, boot, runtime, development } = slices(guest);
