/** Monitors of a machine, named in its directory. Each takes one client at a time. */
export const SOCKETS = { supervisor: "qmp.sock", others: "qmp2.sock" } as const;
/** The other end of a machine's virtio port. */
export const CHANNEL_SOCKET = "channel.sock";
/** What the serial console of a resident printed. */
export const CONSOLE_FILE = "console.raw";
