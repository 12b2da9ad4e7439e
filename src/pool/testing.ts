/** Pools and entries for tests, and a pool of machines that a test may have. */
import type { Observed } from "./plan.ts";
import type { EntryState, PoolEntry, PoolRecord, PoolSpec } from "./types.ts";

export function poolSpec(fields: Partial<PoolSpec> = {}): PoolSpec {
  return {
    name: "micro",
    template: "micro",
    tier: "hot",
    size: 2,
    memoryBytes: undefined,
    cpus: undefined,
    network: "user",
    subnet: "10.77.0.0/24",
    policy: { allowInternetAccess: false, allowOut: [], denyOut: [] },
    density: "roomy",
    bootTimeoutMs: 180_000,
    ...fields,
  };
}

export function poolRecord(fields: Partial<PoolRecord> = {}): PoolRecord {
  return { ...poolSpec(), generation: 1, templateDigest: "0".repeat(64), createdAtMs: 0, ...fields };
}

export function poolEntry(number: number, state: EntryState, fields: Partial<PoolEntry> = {}): PoolEntry {
  const isHeld = state === "in-use" || state === "paused";
  return {
    id: `micro-${number}`,
    pool: "micro",
    template: "micro",
    generation: 1,
    state,
    sinceMs: 0,
    createdAtMs: 0,
    address: `10.77.${number >> 8}.${number & 255}`,
    mac: "52:54:0a:4d:00:32",
    ssh: undefined,
    pid: undefined,
    directory: `/nowhere/micro-${number}`,
    holder: isHeld ? `holder-${number}` : undefined,
    from: "snapshot",
    memoryBytes: 256 * 1024 ** 2,
    cpus: 1,
    policy: poolSpec().policy,
    failure: undefined,
    ...fields,
  };
}

export function observed(entry: PoolEntry, fields: Partial<Observed> = {}): Observed {
  return { entry, lives: true, ownerLives: true, ...fields };
}
