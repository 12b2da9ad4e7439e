/**
 * What init(8) of FreeBSD executes in its own place where a declaration says `init: { exec: PATH }`: it makes of the machine what rc(8) would
 * have made until the activation, and then executes PATH. Pure.
 *
 * It starts with the console as its input, output and controlling terminal, the devices, a root that is read-only, no environment, and
 * SIGHUP and SIGTSTP ignored; PATH starts with the same, the root as fstab has it, its file systems mounted, and $PATH. Nobody runs the
 * scripts of rc(8): network, host name and services are PATH's, and so is the word that the machine is ready:
 *
 *     /run/current-system/generations confirm
 *
 * Without it a generation on trial counts as one that did not come up: its watch restarts the machine. When PATH ends, the kernel panics,
 * and starts the machine again.
 *
 * Sources: sbin/init/init.c (replace_init, execute_script, open_console), rc.d/fsck, rc.d/root, rc.d/mountcritlocal, fsck(8).
 */
import { shellWord } from "./sh.ts";

export function freebsdPid1(program: string): string {
  return `#!/bin/sh
# Process 1 of this system, until it executes another.
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
umask 022

say() {
	echo "garth: $*"
}

# What is on trial goes back at once; anything else is better started half than not.
failed() {
	say "$*"
	[ -z "$trial" ] || reboot -q
}

trial=$(kenv -q garth.trial 2>/dev/null)
system=$(kenv -q garth.system 2>/dev/null) || {
	system=$(realpath "$0")
	system=\${system%/boot/pid1}
}

fsck -F -p
case $? in
0) ;;
4)
	say "the root was repaired and has to be read again"
	reboot -q
	;;
*) fsck -F -y || say "fsck failed with status $?" ;;
esac
case $(awk '$1 !~ /^#/ && $2 == "/" { print "," $4 "," }' /etc/fstab) in
*,ro,*) ;;
*) mount -uw / || failed "the root is read-only" ;;
esac
mount -a -t nonfs || say "not every file system of fstab is mounted"
rm -f /var/lib/garth/ready
[ -z "$trial" ] || daemon -f -o /dev/console -t garth_watch "$system/generations" watch "$trial"
"$system/activate" "$system" || failed "the activation failed"
# Of the table that is in force now.
mount -a -t nonfs || failed "not every file system of fstab is mounted"
exec ${shellWord(program)}
`;
}
