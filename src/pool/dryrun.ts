/** What warming a pool would do, and nothing is done: the steps of its plan, and the command lines of a machine that is booted and of a clone. */
import { type AcceleratorName, planMachine } from "../machine/index.ts";
import { machineAddresses } from "../network/index.ts";
import { noPool } from "./errors.ts";
import { machineOf } from "./machine.ts";
import type { PoolsOptions } from "./open.ts";
import { planPool, type PoolStep } from "./plan.ts";
import { observe } from "./reconcile.ts";
import { macOf, Records } from "./records.ts";
import { shapeOf } from "./shape.ts";
import { DISK, memoryFileOf } from "./snapshot-place.ts";
import type { PoolRecord } from "./types.ts";

export interface PlannedWarming {
  readonly pool: PoolRecord;
  readonly steps: readonly PoolStep[];
  /** Of the first machine that would be made. `NAME` stands for the snapshot's, which is a digest of what goes into it. */
  readonly boot: readonly string[];
  readonly clone: readonly string[];
  /** What the clone's disk is a layer over. */
  readonly base: string;
}

/** @throws Problem E_NO_POOL, E_NO_TEMPLATE (exit 2), E_QEMU_MISSING, E_FIRMWARE_MISSING (exit 3) */
export function planWarming(
  { host, ledger, templates, places, now }: PoolsOptions,
  name: string,
  options: { readonly count?: number; readonly accelerator: AcceleratorName },
): PlannedWarming {
  const records = new Records(ledger, now, () => undefined);
  const known = records.pool(name);
  if (known === undefined) {
    throw noPool(
      name,
      records.pools().map((each) => each.name),
    );
  }
  const pool = { ...known, size: options.count ?? known.size };
  const template = templates.find(pool.template);
  const id = `${name}-N`;
  const [address = ""] = machineAddresses(pool.subnet);
  const directory = `${places.pools}/${name}/${id}`;
  const entry = { id, pool: name, directory, address, mac: macOf(address), policy: pool.policy };
  const snapshot = { directory: `${places.pools}/${name}/snapshots/NAME` };
  const facts = { system: host.system } as const;
  const words = (spec: ReturnType<typeof machineOf>, incoming: boolean): readonly string[] =>
    planMachine(host, spec, { directory, accelerator: options.accelerator, resident: { incoming } }).argv;
  const shaped = { ...entry, ...shapeOf(pool, template) };
  return {
    pool,
    steps: planPool(pool, observe({ host, records }, name), { refill: true, now: now() }),
    boot: words(machineOf(shaped, pool, template, facts), false),
    clone: words(
      machineOf(shaped, pool, template, {
        ...facts,
        isClone: true,
        memoryFile: { file: memoryFileOf(snapshot), mode: "private" },
      }),
      true,
    ),
    base: `${snapshot.directory}/${DISK}`,
  };
}
