/**
 * guest: a machine's commands, files, terminals and watches over the system's OpenSSH, with nothing of ours installed inside.
 *
 *     openGuest ──connect──► one master (ssh -N -f) for each machine, which outlives this process and any frost of the guest
 *                               └── its control socket ──proxy──► channels: run, spawn, SFTP, watch; ports (over one of their own)
 *
 * The first process that needs it starts the master, the next finds it (`mastersOf`); `close` leaves it, `disconnect` and `endMasters` end it
 * with its process and its socket. ssh(1), scp(1) and sftp(1) use it with `sshWords` and `sshOptions`. Through the master's proxy this room
 * speaks the connection protocol itself: a command starts no process here, and in the guest none but its own. More sessions than one
 * connection has (MaxSessions) are had by more connections beside the first.
 *
 * A command leads a session of its own and carries a mark in its environment (GARTH_COMMAND), by which a signal finds everything that it
 * started. It goes on when nobody listens any more to whoever asked for it, but not when its connection goes: that is told as `lost`, and the
 * guest's kernel tells the command by a closed pipe or a hang-up.
 *
 * `connectTo` has the guest's server open a port of its loopback (direct-tcpip): nothing runs in the guest for it, and it takes no session.
 *
 * What a guest must have: sshd with a key for the user, a login shell that takes `-c` (sh and its kin as they are; csh and fish through
 * /bin/sh), grep(1) and tr(1) for signals, `Subsystem sftp` for files. Linux and FreeBSD: on FreeBSD other users are reached by chroot(8),
 * processes by ps(1); directories are watched by looking once a second, as everywhere without python3 and inotify.
 *
 * Limits: 20 connections of one process to one guest, which are 160 sessions where its sshd allows ten for each. A command line with its variables has less than 128 KiB. `run` holds 256 MiB of output;
 * `spawn` any amount, as fast as it is taken. Times of files are whole seconds. The server's own end (a guest that is gone without a word) is noticed
 * when something is sent, and by nobody before: nothing is sent to ask. A file of the guest whose opening or reading waits for ever (a pipe,
 * which is refused; /proc/kmsg, which is not) holds up this object's other files. A process that was killed while it opened a session may take the
 * master with it (an OpenSSH of 9.2 does so); the next to need it starts another.
 */
export { openGuest } from "./open.ts";
export { endMasters, type Master, mastersOf, sshOptions, sshWords } from "./ssh.ts";
export type * from "./types.ts";
