/**
 * network: networks of pools, as bridges. A machine reaches nothing but what its policy lets it reach: not its neighbours, not the host.
 *
 *     addPort ──► up ──► setPolicy, any number of times ──► removePort          a machine
 *     addPort, the first one ──► standing ──► remove                           the network
 *
 * Linux: `netns.ts`. A namespace of Garth's own, a bridge and taps in it; hypervisors are started there (`through`). Nothing leads out of
 * it until a policy lets something out. Needs root and a kernel with nftables, its bridge family, veth and tap; for a way out, a host that
 * forwards (`net.ipv4.ip_forward=1`) and whose own forwarding rules, if it has any, let the link pass. Nothing else of the host is touched:
 * one veth, one table.
 * FreeBSD: `pf.ts`, planned: a script, and rules for pf, printed by `renderBridge`; nothing here carries them out.
 *
 * Limits: IPv4 alone, everything else is dropped at the port. Policies name addresses, not hosts. "The internet" is what is not reserved
 * (RFC 6890); private blocks are opened by the pool and by name. Names are asked of the pool's servers: port 53 elsewhere, and 853, pass
 * only to what `allowOut` names. One process makes or removes a network at a time.
 */
import { operatingSystemOf, Problem, type System } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { netnsNetwork, netnsPools, renderNetns } from "./netns.ts";
import { renderPf } from "./pf.ts";
import type { BridgeNetwork, BridgeSpec } from "./types.ts";

export { contains, gatewayAddress, machineAddresses, prefixLength } from "./address.ts";
export { pfScript, type PfStep, pfSteps } from "./pf.ts";
export { checkPolicy, interfaceName } from "./plan.ts";
export type * from "./types.ts";

/** Makes nothing yet. @throws Problem E_BAD_NETWORK, E_BAD_SUBNET (exit 2), E_NETWORK_PLANNED (exit 3) */
export function bridgeNetwork(host: Host, spec: BridgeSpec): BridgeNetwork {
  if (operatingSystemOf(host.system) === "linux") return netnsNetwork(host, spec);
  throw new Problem({
    code: "E_NETWORK_PLANNED",
    message: `the network of the pool ${spec.pool}: bridges on FreeBSD are planned, and not carried out by Garth`,
    hint: "give the pool a `user` network",
    exit: 3,
  });
}

/** Pools that have something of a network left, by its name: what `remove` of a network of that pool and realm undoes. */
export function networksLeft(host: Host, realm: string | undefined): Promise<readonly string[]> {
  return netnsPools(host, realm);
}

/**
 * What a network would be made with, by name: the texts for the tools, with one machine that may reach the internet. Pure.
 * @throws Problem E_BAD_NETWORK, E_BAD_SUBNET (exit 2)
 */
export function renderBridge(system: System, spec: BridgeSpec): Readonly<Record<string, string>> {
  return operatingSystemOf(system) === "linux" ? renderNetns(spec) : renderPf(spec);
}
