/** Names, and what is wrong with a network, a port or a policy before anything is done. Pure. */
import { Problem, sha256 } from "../base/index.ts";
import { type Block, contains, gatewayAddress, machineAddresses, mergeBlocks, readAddress, readBlock } from "./address.ts";
import type { BridgeSpec, EgressPolicy, Port } from "./types.ts";

/** Begins the name of everything that a network makes. */
export const PREFIX = "gth";
/** IFNAMSIZ less its zero; FreeBSD has the same. */
export const INTERFACE_NAME_MAX = 15;

/** With the realm behind it, a name of at most 63 characters: that of an anchor of pf. */
const POOL = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,48}[A-Za-z0-9])?$/;
const REALM_DIGITS = 8;
const INTERFACE = /^gth(?!br$|up$)[a-z0-9]{1,12}$/;
const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/;
/** Of each list of a policy. */
export const POLICY_ENTRIES_MAX = 1000;
const NAMESPACE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * What never is "the internet" (RFC 6890): this host and its neighbours, private networks, groups. Documentation blocks are left out:
 * nothing answers there but what somebody put there on purpose.
 */
export const RESERVED = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "224.0.0.0/3",
] as const;

export interface NetworkNames {
  /** "gth-debian-12", and in a realm "gth-debian-12.1f2e3d4c": of the namespace, and of the table outside it. */
  readonly network: string;
  /** Of the outer end of the link to the uplink. */
  readonly outerLink: string;
}

/** 12 digits of base 36, 62 bits. */
function shortName(...parts: readonly string[]): string {
  const digits = BigInt(`0x${sha256(parts.join("\0"))}`).toString(36);
  return `${PREFIX}${digits.slice(-(INTERFACE_NAME_MAX - PREFIX.length))}`;
}

/** The tap of a machine: 15 characters, unique to pool and machine in every realm. */
export function interfaceName(spec: Pick<BridgeSpec, "pool" | "realm">, machine: string): string {
  return shortName("tap", spec.realm ?? "", spec.pool, machine);
}

export function realmSuffix(realm: string | undefined): string {
  return realm === undefined || realm === "" ? "" : `.${sha256(realm).slice(0, REALM_DIGITS)}`;
}

/** @throws Problem E_BAD_NETWORK (exit 2) */
export function networkNames({ pool, realm }: Pick<BridgeSpec, "pool" | "realm">): NetworkNames {
  if (!POOL.test(pool)) throw badNetwork(pool, "its name is not 1 to 50 letters, digits and `-`, with no `-` at its ends");
  return { network: `${PREFIX}-${pool}${realmSuffix(realm)}`, outerLink: shortName("uplink", realm ?? "", pool) };
}

/** The pool of a name that `networkNames` made for this realm; undefined for another's. */
export function poolOfName(name: string, realm: string | undefined): string | undefined {
  const suffix = realmSuffix(realm);
  if (!name.startsWith(`${PREFIX}-`) || !name.endsWith(suffix)) return undefined;
  const pool = name.slice(PREFIX.length + 1, name.length - suffix.length);
  return POOL.test(pool) ? pool : undefined;
}

/** Locally administered, the same for ever: clones of a snapshot have it in their tables. */
export function gatewayMac(pool: string): string {
  const digits = sha256(`gateway\0${pool}`).slice(0, 10);
  return `02:${digits.match(/../g)?.join(":")}`;
}

function badNetwork(pool: string, why: string): Problem {
  return new Problem({ code: "E_BAD_NETWORK", message: `the network of the pool ${JSON.stringify(pool)}: ${why}`, exit: 2 });
}

/** @throws Problem E_BAD_NETWORK, E_BAD_SUBNET (exit 2) */
export function checkSpec(spec: BridgeSpec): void {
  networkNames(spec);
  machineAddresses(spec.subnet);
  for (const server of spec.dns ?? []) {
    if (readAddress(server) === undefined)
      throw badNetwork(spec.pool, `${JSON.stringify(server)} is not the address of a server`);
  }
  for (const block of spec.reachable ?? []) {
    if (readBlock(block) === undefined) throw badNetwork(spec.pool, `${JSON.stringify(block)} is no address and no CIDR block`);
  }
  const namespace = spec.uplink?.namespace;
  if (namespace !== undefined && !NAMESPACE.test(namespace)) {
    throw badNetwork(spec.pool, `${JSON.stringify(namespace)} is not the name of a network namespace`);
  }
}

/** @throws Problem E_BAD_PORT (exit 2) */
export function checkPort(spec: BridgeSpec, port: Port): void {
  const refuse = (why: string): never => {
    throw new Problem({ code: "E_BAD_PORT", message: `a port of the pool ${spec.pool}: ${why}`, exit: 2 });
  };
  checkInterface(spec, port);
  if (!MAC.test(port.mac)) refuse(`${JSON.stringify(port.mac)} is not a MAC address in lower case`);
  if ((Number.parseInt(port.mac.slice(0, 2), 16) & 1) === 1) refuse(`${port.mac} is a group's address`);
  if (!contains(spec.subnet, port.address) || port.address === gatewayAddress(spec.subnet)) {
    refuse(`${JSON.stringify(port.address)} is not an address for a machine in ${spec.subnet}`);
  }
}

/** @throws Problem E_BAD_PORT (exit 2) */
export function checkInterface(spec: Pick<BridgeSpec, "pool">, port: Pick<Port, "interface">): void {
  if (INTERFACE.test(port.interface)) return;
  throw new Problem({
    code: "E_BAD_PORT",
    message: `a port of the pool ${spec.pool}: ${JSON.stringify(port.interface)} is no name that Garth gives an interface`,
    exit: 2,
  });
}

export interface Egress {
  readonly internet: boolean;
  readonly allow: readonly Block[];
  readonly deny: readonly Block[];
}

function readList(name: string, list: readonly string[]): readonly Block[] {
  const refuse = (message: string, hint: string): never => {
    throw new Problem({ code: "E_BAD_POLICY", message, hint, exit: 2 });
  };
  if (list.length > POLICY_ENTRIES_MAX) {
    refuse(`${name} has ${list.length} entries, more than ${POLICY_ENTRIES_MAX}`, "larger blocks make a list shorter");
  }
  return list.map(
    (entry) =>
      readBlock(entry) ??
      refuse(
        `${name}: ${JSON.stringify(entry)} is no IPv4 address and no CIDR block`,
        'names are not looked up, for they change; write addresses, blocks such as "203.0.113.0/24", or "0.0.0.0/0" for everything',
      ),
  );
}

/** @throws Problem E_BAD_POLICY (exit 2) */
export function readPolicy(policy: EgressPolicy): Egress {
  return {
    internet: policy.allowInternetAccess,
    allow: mergeBlocks(readList("allowOut", policy.allowOut)),
    deny: mergeBlocks(readList("denyOut", policy.denyOut)),
  };
}

/** @throws Problem E_BAD_POLICY (exit 2) */
export function checkPolicy(policy: EgressPolicy): void {
  readPolicy(policy);
}

/** Whether anything outside is to be reached: without it a network has no way out at all. */
export function needsUplink(spec: BridgeSpec, { internet, allow }: Egress): boolean {
  return internet || allow.length > 0 || (spec.dns ?? []).length > 0;
}

export interface Fences {
  readonly reserved: readonly Block[];
  /** What no policy opens. */
  readonly never: readonly Block[];
}

export function fencesOf(spec: BridgeSpec): Fences {
  const blocks = (texts: readonly string[]): readonly Block[] => texts.flatMap((text) => readBlock(text) ?? []);
  const reserved = mergeBlocks(blocks([...RESERVED, spec.subnet]));
  return { reserved, never: withoutBlocks(reserved, mergeBlocks(blocks(spec.reachable ?? []))) };
}

function withoutBlocks(from: readonly Block[], holes: readonly Block[]): readonly Block[] {
  return mergeBlocks(
    holes.reduce<readonly Block[]>(
      (rest, hole) =>
        rest.flatMap(({ first, last, prefix }) => {
          if (hole.last < first || last < hole.first) return [{ first, last, prefix }];
          const before = { first, last: hole.first - 1, prefix: undefined };
          const after = { first: hole.last + 1, last, prefix: undefined };
          return [before, after].filter((part) => part.first <= part.last);
        }),
      from,
    ),
  );
}
