/**
 * gateway: sandboxes over HTTP, as E2B's SDKs speak it: the control plane (sandboxes, keys, timeouts, events: `control/`) in front of
 * the pools, and the data plane (commands, files, code: `envd/`) in front of the guests. One listener for both.
 *
 *     create ──► running ──pause, or the end of its time (onTimeout pause)──► paused
 *       │         ▲  │  └── where that fails it goes on, tried again later     │  │
 *       │         └──┼───── connect, resume, or a request (autoResume) ◄───────┘  │
 *       │            └────► ended ◄── killed, or its machine was lost ────────────┘
 *       │                     ▲────── of running ones also at the end of their time (onTimeout kill)
 *       └── quota, no template, no machine, the client went away: nothing is left
 *
 * A request is for a sandbox when headers (`E2b-Sandbox-Id`, `-Port`), the host name (`<port>-<id>.<domain>`) or the signature of a
 * file's URL name one, and for the control plane otherwise. Sandboxes survive this process: the next one finds their machines by
 * their holder, which is the sandbox's id, or ends them and says why.
 *
 * Decisions that the API leaves open: deadlines are fixed, and requests move only those of sandboxes that they would wake
 * (control/plan.ts); another tenant's sandbox is 404; admin includes exec, and exec includes read; a key of the scope admin sees the
 * audit log of all tenants and sandboxes of its own alone; what is not offered (volumes, secrets, template builds, network rules, pausing
 * without memory) is 501 and never silently ignored.
 *
 * Limits: every number is in control/configuration.ts. No TLS. One process serves a root's sandboxes. Keeping
 * strangers' webhooks out of the inner network takes a firewall (control/webhooks.ts).
 */
export { type GatewayConfiguration, isLoopback } from "./control/configuration.ts";
export { addKey, type KeyRecord, listKeys, type NewKey, removeKey } from "./control/keys.ts";
export { answerOrUpgrade, webSockets } from "./control/listener.ts";
export { openGateway } from "./control/open.ts";
export { GATEWAY_MIGRATION } from "./control/schema.ts";
export type { Gateway, GatewayOptions, Peer, Scope, SocketHandlers } from "./control/types.ts";
export { type EnvdLimits, type EnvdOptions, openEnvd } from "./envd/index.ts";
export type * from "./types.ts";
