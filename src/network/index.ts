/** network: networks of pools. */
import type { Host } from "../host/index.ts";
import { netnsNetwork, netnsPools } from "./netns.ts";
import type { BridgeNetwork, BridgeSpec } from "./types.ts";

export { contains, gatewayAddress, machineAddresses, prefixLength } from "./address.ts";
export { checkPolicy, gatewayMac, interfaceName } from "./plan.ts";
export type * from "./types.ts";

/** @throws Problem E_BAD_NETWORK, E_BAD_SUBNET (exit 2) */
export function bridgeNetwork(host: Host, spec: BridgeSpec): BridgeNetwork {
  return netnsNetwork(host, spec);
}

/** Pools that have something of a network left, by its name: what `remove` of a network of that pool and realm undoes. */
export function networksLeft(host: Host, realm: string | undefined): Promise<readonly string[]> {
  return netnsPools(host, realm);
}
