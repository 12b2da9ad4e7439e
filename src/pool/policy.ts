import type { EgressPolicy } from "../network/index.ts";

/** What a machine may reach when nobody said anything else: nothing. */
export const isolated: EgressPolicy = { allowInternetAccess: false, allowOut: [], denyOut: [] };

export function samePolicy(a: EgressPolicy, b: EgressPolicy): boolean {
  const text = ({ allowInternetAccess, allowOut, denyOut }: EgressPolicy): string =>
    JSON.stringify([allowInternetAccess, allowOut.toSorted(), denyOut.toSorted()]);
  return text(a) === text(b);
}
