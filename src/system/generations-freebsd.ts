/**
 * What the program `generations` does on FreeBSD (generations-freebsd.sh): loader.conf and nextboot.conf. Pure.
 *
 *     /boot/garth/N         -> boot of the system item: kernel, modules, pid1
 *     /boot/loader.conf     loader.conf of the current one's item, and what a generation adds to it (freebsd-conf.ts); replaced whole
 *     /boot/nextboot.conf   the next one's, on top of that: what only the current one has is undone first
 *     /boot/garth/next-N    the same file: whether it was used is known when rc(8) has taken the other name away
 *
 * Settings of loader.conf.local and loader.conf.d, which the loader reads between the two, are left to them.
 *
 * Sources: stand/lua/config.lua (readConf, checkNextboot, loadModule), stand/libsa/ufs.c (buf_write_file), libsa/zfs/zfs.c (nvstore),
 * sbin/reboot/reboot.c, rc.d/root, zfsbootcfg(8), lockf(1), fsync(1), mv(1).
 *
 * Limits: NAME_type of a module cannot be undone, so a system that loads the module without one is refused; /boot is in the root. Until its
 * activation a start runs the userland of the system before on the kernel of the one that is started.
 */
import functions from "./generations-freebsd.sh" with { type: "text" };
import type { FamilyPart } from "./generations-program.ts";

export function freebsdGenerations(): FamilyPart {
  return { shebang: "/bin/sh", functions };
}
