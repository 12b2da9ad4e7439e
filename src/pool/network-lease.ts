/**
 * One process at a time makes or removes the network of a pool: whoever is about to has the lease of its name. In this process several may,
 * who share it.
 */
import { formatDuration, Problem } from "../base/index.ts";
import type { PoolContext } from "./context.ts";

/** Making a network takes a twentieth of a second; removing a large one a second. */
const LIMIT_MS = 60_000;
const LOOK_EVERY_MS = 20;

const held = new Map<string, number>();

export async function withNetwork<Value>(
  { ledger, host, now }: Pick<PoolContext, "ledger" | "host" | "now">,
  pool: string,
  work: () => Promise<Value>,
): Promise<Value> {
  const lease = `pool-network:${pool}`;
  const begun = now();
  for (;;) {
    const other = ledger.acquire(lease, host.processIdentity, host.isAlive, now());
    if (other === undefined) break;
    if (now() - begun > LIMIT_MS) {
      throw new Problem({
        code: "E_NETWORK_BUSY",
        message: `the network of the pool ${pool}: the process ${other.split(":")[1] ?? other} has been at it for ${formatDuration(LIMIT_MS)}`,
      });
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  held.set(lease, (held.get(lease) ?? 0) + 1);
  try {
    return await work();
  } finally {
    const others = (held.get(lease) ?? 1) - 1;
    held.set(lease, others);
    if (others === 0) ledger.release(lease, host.processIdentity);
  }
}
