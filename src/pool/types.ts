/**
 * A pool: machines of one template, kept warm and handed out; each to one holder, and never again.
 *
 *     preparing ──► booting ──► warming ──► available ──checkout──► in-use ◄──► paused
 *         │            │           │            │                     │            │
 *         └────────────┴───────────┴──► failed  └───────► retiring ◄──┴────────────┘
 *                                          └─────────────────┘ └──► gone
 *
 *   preparing   its address, directory, disk and seed are being made
 *   booting     its hypervisor runs; it has not answered
 *   warming     it answered and is being given what is its own: identity, host key, connection; then it is stopped (hot)
 *   available   nobody's; stopped (hot)
 *   in-use      somebody's, running
 *   paused      somebody's, stopped
 *   retiring    everything of it is being undone
 *   failed      it did not come up; kept with its reason until the next reconciliation
 */
import type { EgressPolicy } from "../network/index.ts";
import type { Guest } from "../guest/index.ts";

/**
 * What is ready when somebody asks. cold: nothing, a machine is booted. snapshot: a guest that was booted once, its memory and devices in
 * files; a clone is started from them. hot: clones, started, made themselves and stopped.
 */
export type Tier = "cold" | "snapshot" | "hot";

export type EntryState = "preparing" | "booting" | "warming" | "available" | "in-use" | "paused" | "retiring" | "failed";

export interface PoolSpec {
  readonly name: string;
  readonly template: string;
  readonly tier: Tier;
  /** Machines that are kept available. Only hot pools keep any. */
  readonly size: number;
  /** undefined: the template's. */
  readonly memoryBytes: number | undefined;
  readonly cpus: number | undefined;
  readonly network: "user" | "bridge";
  /** "10.77.0.0/24": gateway .1, machines from .50 to the last but five. */
  readonly subnet: string;
  /** Of machines nobody said anything else about. */
  readonly policy: EgressPolicy;
  /**
   * dense: more machines in the same memory, each slower. Its SSH connection is opened at checkout, not while it is warmed; under emulation
   * it has a small cache of translated code; a clone of a guest that was booted without firmware ends when it reboots.
   */
  readonly density: "roomy" | "dense";
  readonly bootTimeoutMs: number;
}

export interface PoolRecord extends PoolSpec {
  /** Raised at each change of the spec or the template; entries of older generations are retired. */
  readonly generation: number;
  readonly templateDigest: string;
  readonly createdAtMs: number;
}

export interface PoolEntry {
  /** "debian-12-17": unique, never used again. Hostname of the machine. */
  readonly id: string;
  readonly pool: string;
  readonly template: string;
  readonly generation: number;
  readonly state: EntryState;
  readonly sinceMs: number;
  readonly createdAtMs: number;
  /** In the pool's subnet. */
  readonly address: string;
  readonly mac: string;
  /** Where its SSH server is reached from this host: 127.0.0.1 and a port (user), or its address and 22 (bridge). */
  readonly ssh: { readonly address: string; readonly port: number } | undefined;
  /** Of the hypervisor. */
  readonly pid: number | undefined;
  readonly directory: string;
  /** Who checked it out; undefined: nobody. */
  readonly holder: string | undefined;
  /** Where it began. */
  readonly from: "boot" | "snapshot";
  readonly memoryBytes: number;
  readonly cpus: number;
  readonly policy: EgressPolicy;
  /** Why it failed, with the last lines of its console. */
  readonly failure: string | undefined;
}

export interface CheckoutRequest {
  /** Whoever holds the machine from now on: a sandbox's id, a person's name. */
  readonly holder: string;
  /** undefined: the pool's. Another one than the pool's takes a machine of its own where it cannot be changed live. */
  readonly policy?: EgressPolicy;
  /** A snapshot of a machine instead of what the pool has. */
  readonly snapshot?: string;
  readonly signal?: AbortSignal;
}

export interface Checkout {
  readonly entry: PoolEntry;
  /** How it came about. */
  readonly how: Tier;
  /** Nothing of the pool's own tier was there. */
  readonly miss: boolean;
  readonly durationMs: number;
}

/** A machine's memory, devices and disk at one moment, from which others start. */
export interface MachineSnapshot {
  /** 12 hexadecimal digits and letters: "snap4f0c2e81a7d3". */
  readonly id: string;
  readonly name: string | undefined;
  readonly pool: string;
  /** Whose machine it was. */
  readonly holder: string;
  readonly source: string;
  readonly createdAtMs: number;
  readonly sizeBytes: number;
}

export interface Usage {
  readonly atMs: number;
  readonly cpuCount: number;
  /** Of the hypervisor's process since the last call, in per cent of one processor. */
  readonly cpuUsedPct: number;
  readonly memoryTotalBytes: number;
  /** What the hypervisor's process holds by itself (PSS). */
  readonly memoryUsedBytes: number;
  readonly diskTotalBytes: number;
  readonly diskUsedBytes: number;
}

export interface WarmReport {
  readonly pool: string;
  readonly available: number;
  readonly made: number;
  readonly failed: number;
  readonly durationMs: number;
}

export type PoolEvent =
  | { readonly kind: "entry"; readonly entry: PoolEntry }
  | { readonly kind: "note"; readonly pool: string; readonly text: string };

export interface Pools {
  /** Makes a pool or changes it. @throws Problem E_BAD_POOL, E_NO_TEMPLATE (exit 2), E_TEMPLATE_FORGED */
  init(spec: PoolSpec): Promise<PoolRecord>;
  pools(): readonly PoolRecord[];
  /** @throws Problem E_NO_POOL (exit 2) */
  pool(name: string): PoolRecord;
  /** Until `count` machines (default: the pool's size) are available. @throws Problem E_GUEST_SILENT, E_ADDRESSES_EXHAUSTED, ... */
  warm(pool: string, options?: { readonly count?: number; readonly signal?: AbortSignal }): Promise<WarmReport>;
  /** @throws Problem E_NO_POOL, E_ALREADY_HELD (exit 2), what making a machine throws */
  checkout(pool: string, request: CheckoutRequest): Promise<Checkout>;
  /** Destroys the machine; settles when nothing of it is left. A second call finds nothing to do. @throws Problem E_NO_ENTRY (exit 2) */
  return(id: string): Promise<void>;
  /** Destroys every machine of the pool, held ones too, its snapshot and its network; the pool itself goes with `forget`. */
  drain(pool: string, options?: { readonly forget?: boolean }): Promise<{ readonly destroyed: number }>;
  list(pool?: string): readonly PoolEntry[];
  /** @throws Problem E_NO_ENTRY (exit 2) */
  entry(id: string): PoolEntry;
  /** The machine of a holder, if it has one. */
  held(holder: string): PoolEntry | undefined;
  pause(id: string): Promise<void>;
  resume(id: string): Promise<void>;
  /** Of an entry that is in use. One object for each machine and process. */
  guest(id: string): Promise<Guest>;
  snapshot(id: string, options?: { readonly name?: string }): Promise<MachineSnapshot>;
  snapshots(): readonly MachineSnapshot[];
  /** false: there is none. */
  removeSnapshot(id: string): boolean;
  /** Live where the network can. @throws Problem E_NETWORK_FIXED (exit 1) */
  setPolicy(id: string, policy: EgressPolicy): Promise<void>;
  usage(id: string): Promise<Usage>;
  /** The last lines of its serial console. */
  console(id: string): string;
  /** One round: what died is retired, what a killed process left is undone or adopted, what is missing is made. */
  reconcile(options?: { readonly refill?: boolean; readonly signal?: AbortSignal }): Promise<void>;
  onEvent(listener: (event: PoolEvent) => void): () => void;
  /** Nothing is ended: machines outlive the process. Waits for what is under way. */
  close(): Promise<void>;
}
