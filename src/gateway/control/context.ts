/** What every part of the control plane works with; put together in open.ts. */
import type { Pools } from "../../pool/index.ts";
import type { Audit } from "./audit.ts";
import type { GatewayConfiguration } from "./configuration.ts";
import type { Events } from "./events.ts";
import type { Random } from "./identity.ts";
import type { Metrics } from "./metrics.ts";
import type { Registry } from "./registry.ts";
import type { Snapshots } from "./snapshots.ts";
import type { Webhooks } from "./webhooks.ts";

export interface Control {
  readonly configuration: GatewayConfiguration;
  readonly pools: Pools;
  readonly registry: Registry;
  readonly snapshots: Snapshots;
  readonly events: Events;
  readonly webhooks: Webhooks;
  readonly audit: Audit;
  readonly metrics: Metrics;
  /** What is written within is on record together, or not at all. */
  readonly together: <T>(work: () => T) => T;
  readonly limitOf: (tenant: string) => number | undefined;
  readonly now: () => number;
  readonly random: Random;
  readonly onFault: (doing: string, error: unknown) => void;
  /** Machines being checked out for sandboxes right now. */
  readonly creating: { count: number };
  /** Of the disks of a pool's machines, as far as they were seen; asking takes longer than a checkout may. */
  readonly diskMiB: Map<string, number>;
  /** Work that writes to the ledger when it is done: the gateway closes after it. */
  readonly track: <T>(work: Promise<T>) => Promise<T>;
  /** Aborted when the gateway closes. */
  readonly closing: AbortSignal;
}
