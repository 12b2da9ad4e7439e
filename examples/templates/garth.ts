/**
 * Machines for pools, out of Debian's packages. Each takes its name, address and keys from a seed disk where it has one, and answers
 * over SSH to root with a key alone.
 *
 *     garth ship examples/templates                       make each of them, and boot it
 *     garth machine run 'examples/templates#micro'        one of them as a machine, its console in the terminal
 *
 * `debian-12` is Debian as cloud images have it: systemd, cloud-init, udev, the agent of QEMU. `micro` has the same kernel and the same
 * Python, a tiny process 1 and one daemon, and is up in a third of the time. `interpreter` is `micro` with what draws a plot.
 */
import { gate, poolGuest, slice, slices, system, template, world } from "garth";

/** What each of them has. */
const common = [
  "bash",
  "busybox-static",
  "ca-certificates",
  "kmod",
  "linux-image-cloud-amd64",
  "openssh-server",
  "procps",
  "python3",
  "systemd-boot-efi",
  "tiny-initramfs",
];

/** Python at work, asked for as a user of a pool would. */
const probes = [{ command: 'python3 -c "print(1+1)"', expect: "2" }];

/** Room for what is written in a machine: it takes none in the image's file. */
const disk = { rootFree: "2G" };

const debian = slices(
  world({
    name: "debian-12",
    debian: {
      suite: "bookworm",
      packages: [...common, "cloud-guest-utils", "cloud-init", "iproute2", "qemu-guest-agent", "systemd", "systemd-sysv", "udev"],
      lock: "./debian-12.lock",
      policy: "refresh",
    },
  }),
);

export const debian12 = system({
  ...poolGuest({ cloudInit: true }),
  name: "debian-12",
  kernel: debian.kernel,
  bootloader: debian.boot,
  base: [debian.runtime],
  disk,
});

export const debian12Gate = gate({ system: debian12, timeoutS: 400, probes });

export const debian12Template = template({
  system: debian12,
  sidecar: {
    gatewayMode: "ssh",
    bootMode: "uefi",
    patchMode: "nocloud-seed",
    diskDevice: "virtio-blk",
    netDevice: "virtio-net",
    sshUser: "root",
    shell: "/bin/bash",
    shellArgs: ["-i"],
  },
  description: "Debian 12 with systemd and cloud-init, as cloud images have it.",
});

const small = slices(
  world({ name: "micro", debian: { suite: "bookworm", packages: common, lock: "./micro.lock", policy: "refresh" } }),
);

export const micro = system({
  ...poolGuest({ init: "busybox" }),
  name: "micro",
  kernel: small.kernel,
  bootloader: small.boot,
  base: [small.runtime],
  disk,
});

export const microGate = gate({ system: micro, timeoutS: 240, probes });

/** Its kernel is loaded without firmware, which saves a third of its start. */
export const microTemplate = template({
  system: micro,
  sidecar: { bootMode: "direct" },
  description: "A kernel, a shell, Python and an SSH server.",
});

const plots = slices(
  world({
    name: "interpreter",
    debian: {
      suite: "bookworm",
      // OpenBLAS takes the emulated processor for one with more instructions than it has.
      packages: [...common, "libblas-dev", "libblas3", "liblapack3", "python3-matplotlib"],
      lock: "./interpreter.lock",
      policy: "refresh",
    },
  }),
);

/** What numpy's and scipy's packages bring to compile with, and nobody draws with. */
const drawing = slice(plots.runtime.world, {
  role: "runtime",
  name: "interpreter-drawing",
  prune: [
    ...plots.runtime.prune,
    "usr/lib/gcc",
    "usr/lib/python3/dist-packages/**/tests",
    "usr/lib/python3/dist-packages/pythran",
    "usr/lib/x86_64-linux-gnu/**/*.a",
    "usr/lib/x86_64-linux-gnu/lib?san.so*",
    "usr/lib/x86_64-linux-gnu/libubsan.so*",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/share/locale",
    "usr/share/perl",
    "usr/share/unicode",
  ],
});

export const interpreter = system({
  ...poolGuest({ init: "busybox" }),
  name: "interpreter",
  kernel: plots.kernel,
  bootloader: plots.boot,
  base: [drawing],
  disk,
});

export const interpreterGate = gate({
  system: interpreter,
  timeoutS: 300,
  probes: [
    ...probes,
    {
      name: "plot",
      command:
        "python3 -c 'import matplotlib.pyplot as p; p.plot([1, 2]); p.savefig(\"/tmp/plot.png\")' && head -c 4 /tmp/plot.png | tail -c 3",
      expect: "PNG",
      timeoutS: 120,
    },
  ],
});

export const interpreterTemplate = template({
  system: interpreter,
  sidecar: { bootMode: "direct", memory: "512M" },
  description: "Python with matplotlib, for code interpreters.",
});
