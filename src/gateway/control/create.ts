/** From what was asked for to a machine that somebody holds. Nothing is left of what was not finished. */
import { Problem } from "../../base/index.ts";
import type { EgressPolicy } from "../../network/index.ts";
import type { Control } from "./context.ts";
import { sandboxId, token, uuid } from "./identity.ts";
import { begin } from "./plan.ts";
import { Refusal } from "./refusal.ts";
import type { Live } from "./registry.ts";
import type { SnapshotRecord } from "./snapshots.ts";
import type { Caller, NetworkRequest, NewSandbox, Origin, SandboxRecord } from "./types.ts";

const MIB = 1024 * 1024;

/** What a client calls a template: an alias, a pool, a snapshot. @throws Refusal 404 */
export function originOf({ configuration, pools, snapshots }: Control, tenant: string, asked: string): Origin {
  const { aliases } = configuration;
  const named = Object.hasOwn(aliases, asked) ? aliases[asked] : undefined;
  const pool = pools.pools().find(({ name }) => name === (named ?? asked));
  if (pool !== undefined) {
    const alias = named === undefined || named === asked ? undefined : asked;
    return { template: pool.name, alias, pool: pool.name, build: pool.templateDigest, snapshot: undefined };
  }
  const snapshot = snapshots.find(tenant, asked);
  if (snapshot === undefined) throw new Refusal(404, `template ${JSON.stringify(asked.slice(0, 100))} was not found`);
  return snapshotOrigin(snapshot, asked === snapshot.id ? undefined : asked);
}

export function snapshotOrigin({ id, pool }: SnapshotRecord, alias: string | undefined): Origin {
  return { template: id, alias, pool, build: id, snapshot: id };
}

/** What was said, on top of what holds where nothing was. */
export function policyOf(network: NetworkRequest | undefined, otherwise: EgressPolicy): EgressPolicy | undefined {
  if (network === undefined) return undefined;
  return {
    allowInternetAccess: network.allowInternetAccess ?? otherwise.allowInternetAccess,
    allowOut: network.allowOut ?? [],
    denyOut: network.denyOut ?? [],
  };
}

/**
 * @throws Refusal 403 (quota: before any machine is touched), 429 (too many at once), 499 (the client went away), 503, 504; Problem
 */
export async function createSandbox(
  control: Control,
  { tenant, sandboxesMax }: Pick<Caller, "tenant" | "sandboxesMax">,
  origin: Origin,
  wanted: NewSandbox,
  signal: AbortSignal,
): Promise<Live> {
  const { registry, creating, configuration, random, snapshots } = control;
  if (creating.count >= configuration.creatingMax) {
    throw new Refusal(429, `${creating.count} sandboxes are being made`, { "Retry-After": "1" });
  }
  const id = sandboxId(random);
  registry.reserve(id, tenant, sandboxesMax ?? control.limitOf(tenant));
  creating.count += 1;
  const release = origin.snapshot === undefined ? undefined : snapshots.hold(origin.snapshot);
  try {
    return await checkOut(control, id, tenant, origin, wanted, signal);
  } catch (error) {
    await forgetSandbox(control, id);
    if (signal.aborted) throw new Refusal(499, "the client went away", {}, { cause: error });
    throw error;
  } finally {
    creating.count -= 1;
    release?.();
  }
}

async function checkOut(
  control: Control,
  id: string,
  tenant: string,
  origin: Origin,
  wanted: NewSandbox,
  signal: AbortSignal,
): Promise<Live> {
  const { registry, pools, configuration, metrics, events, now, random, closing } = control;
  const policy = policyOf(wanted.network, pools.pool(origin.pool).policy);
  const giveUp = AbortSignal.any([signal, closing, AbortSignal.timeout(configuration.createTimeoutMs)]);
  const checkout = await pools.checkout(origin.pool, {
    holder: id,
    ...(policy === undefined ? {} : { policy }),
    ...(origin.snapshot === undefined ? {} : { snapshot: origin.snapshot }),
    signal: giveUp,
  });
  const { entry } = checkout;
  metrics.checkedOut(origin.pool, checkout);
  if (giveUp.aborted) {
    await giveBack(control, entry.id);
    giveUp.throwIfAborted();
  }
  const atMs = Math.trunc(now());
  const record: SandboxRecord = {
    ...begin(atMs, wanted.timeoutMs, wanted.lifecycle),
    id,
    tenant,
    template: origin.template,
    alias: origin.alias,
    pool: origin.pool,
    entry: entry.id,
    build: origin.build,
    snapshot: origin.snapshot,
    metadata: wanted.metadata,
    environment: wanted.environment,
    envdAccessToken: token(random),
    trafficAccessToken: token(random),
    startedAtMs: atMs,
    execution: uuid(random),
    executionStartedAtMs: atMs,
    pausedAtMs: undefined,
    policy: policy ?? entry.policy,
    network: wanted.network,
    allowPublicTraffic: wanted.allowPublicTraffic,
    maskRequestHost: wanted.maskRequestHost,
    cpuCount: entry.cpus,
    memoryMiB: Math.round(entry.memoryBytes / MIB),
    diskMiB: control.diskMiB.get(origin.pool) ?? 0,
  };
  const live = registry.add(record);
  metrics.created(origin.pool);
  events.emit("sandbox.lifecycle.created", record, atMs);
  return live;
}

/** Whatever the pool still has for it goes back. Where that fails, the row stays, and the next start tries again. */
async function forgetSandbox(control: Control, id: string): Promise<void> {
  try {
    const entry = control.pools.held(id);
    if (entry !== undefined) await giveBack(control, entry.id);
    control.registry.forget(id);
  } catch (error) {
    control.onFault(`giving back the machine of ${id}, which was not finished`, error);
  }
}

/** Of a machine that its pool has lost meanwhile, there is nothing to give back. */
export async function giveBack({ pools }: Control, entry: string): Promise<void> {
  try {
    await pools.return(entry);
  } catch (error) {
    if (!(error instanceof Problem && error.code === "E_NO_ENTRY")) throw error;
  }
}
