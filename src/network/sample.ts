/** The machine that stands for all of a pool's where a network is printed. Pure. */
import { machineAddresses } from "./address.ts";
import { interfaceName } from "./plan.ts";
import type { BridgeSpec, EgressPolicy, Port } from "./types.ts";

export const SAMPLE_POLICY: EgressPolicy = { allowInternetAccess: true, allowOut: ["203.0.113.0/24"], denyOut: ["198.51.100.7"] };

export function samplePort(spec: BridgeSpec): Port {
  return {
    interface: interfaceName(spec, `${spec.pool}-1`),
    mac: "02:00:00:00:00:01",
    address: machineAddresses(spec.subnet)[0] ?? "",
  };
}
