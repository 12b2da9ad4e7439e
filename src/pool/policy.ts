/** What a machine may reach, and what its kind of network can do about it. Pure. */
import { Problem } from "../base/index.ts";
import type { EgressPolicy } from "../network/index.ts";
import type { PoolSpec } from "./types.ts";

/** What a machine may reach when nobody said anything else: nothing. */
export const isolated: EgressPolicy = { allowInternetAccess: false, allowOut: [], denyOut: [] };

export function samePolicy(a: EgressPolicy, b: EgressPolicy): boolean {
  const text = ({ allowInternetAccess, allowOut, denyOut }: EgressPolicy): string =>
    JSON.stringify([allowInternetAccess, allowOut.toSorted(), denyOut.toSorted()]);
  return text(a) === text(b);
}

/**
 * slirp lets everything out or nothing: lists are a bridge's. What is denied where nothing is allowed is denied.
 * undefined: the network can do it.
 */
export function unenforceable(
  network: PoolSpec["network"],
  { allowInternetAccess, allowOut, denyOut }: EgressPolicy,
): string | undefined {
  if (network === "bridge") return undefined;
  if (allowOut.length > 0) return "a user network cannot let single addresses out";
  if (allowInternetAccess && denyOut.length > 0) return "a user network cannot keep single addresses out";
  return undefined;
}

/**
 * Whether somebody who takes a machine may have another policy than the pool's. On a user network nobody gets more than the pool's machines
 * have: slirp would show him this host's loopback addresses with the internet.
 *
 * @throws Problem E_NETWORK_FIXED
 */
export function checkWanted(pool: Pick<PoolSpec, "name" | "network" | "policy">, wanted: EgressPolicy): void {
  const isMore = pool.network === "user" && wanted.allowInternetAccess && !pool.policy.allowInternetAccess;
  const why = unenforceable(pool.network, wanted) ?? (isMore ? "machines of this pool do not reach the internet" : undefined);
  if (why === undefined) return;
  throw new Problem({
    code: "E_NETWORK_FIXED",
    message: `taking a machine of ${pool.name}: ${why}`,
    hint: "a pool with `--network bridge` can give each machine rules of its own; `--allow-internet` opens a pool as a whole",
  });
}
