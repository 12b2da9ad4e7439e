/**
 * A FreeBSD machine with an SSH server, from the sets of a release; no FreeBSD is needed to make it.
 *
 *     examples/freebsd/sets/    MANIFEST, base.txz, kernel.txz: as a release has them
 *     garth ship examples/freebsd                                      # its image, and the gate that boots it
 *     garth system iso examples/freebsd/garth.ts#beastie -o b.iso      # a medium that installs it
 *     garth system switch examples/freebsd/garth.ts#beastie ssh://root@host --reboot
 *
 * To be let in, the machine is told who may: `users: [{ name: "root", authorizedKeys: ["ssh-ed25519 ..."] }]`.
 */
import { gate, slices, system, world } from "garth";

/** Each set is held to the MANIFEST before anything is unpacked. Two releases with one label are two worlds all the same. */
export const release = world({
  name: "freebsd",
  sets: {
    manifest: "./sets/MANIFEST",
    archives: { "base.txz": "./sets/base.txz", "kernel.txz": "./sets/kernel.txz" },
  },
});

export const { kernel, boot, runtime, development } = slices(release, "freebsd");

/** rc(8) starts it; it is ready when its services answer. */
export const beastie = system({
  name: "beastie",
  family: "freebsd",
  kernel,
  bootloader: boot,
  base: [runtime],
  services: [{ name: "sshd", listens: 22 }],
  disk: { rootFree: "1G" },
});

/** It has booted when it says that it is ready, and nothing on its console says otherwise. Emulated it takes its time. */
export const boots = gate({ system: beastie, timeoutS: 900 });
