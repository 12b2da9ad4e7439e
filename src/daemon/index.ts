/**
 * daemon: what stays. It listens, for the gateway and for whoever else brings a handler from requests to responses, keeps the pools filled,
 * and is the one process that serves a root's sandboxes.
 *
 *     openDaemon ──► listening ──reload──► listening ──close──► gone: streams ended, machines left for the next one
 *                        └──kill -9──► gone: the next one finds machines and sandboxes by the ledger
 *
 * Whoever comes by the Unix socket is the owner and needs no key; by TCP a key is asked for, or nobody but this machine is served (`open`).
 * A round of reconciliation follows each event of a pool that calls for one, and comes every 15 s without (rounds.ts).
 *
 * Limits: HTTP without TLS; put a server such as nginx in front where that is wanted (`garth repo nginx-conf`).
 */
export { type KeyRecord, openKeys } from "./keys.ts";
export { listen, type Listener, type ListenRequest } from "./listen.ts";
export { formatLine, type Log, type LogFormat } from "./log.ts";
export { openDaemon } from "./open.ts";
export { type Ending, untilTold } from "./signals.ts";
export { socketFile } from "./socket.ts";
