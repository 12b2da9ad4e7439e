/** network: networks of pools. */
export { contains, gatewayAddress, machineAddresses, prefixLength } from "./address.ts";
export type * from "./types.ts";
