/** Monitors of a machine, named in its directory. Each takes one client at a time. */
export const SOCKETS = { supervisor: "qmp.sock", others: "qmp2.sock" } as const;
