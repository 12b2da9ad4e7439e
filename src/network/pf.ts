/**
 * A pool's network on FreeBSD, planned: one sh script for the network and a fragment of pf.conf(5) for each machine. Pure. Base-system
 * tools only: ifconfig(8), if_bridge(4), if_tuntap(4), pfctl(8), sysctl(8), route(8), arp(8).
 *
 *     tap ─┐
 *     tap ─┼─ bridge (gateway) ── the host, which forwards ── pf: NAT on the interface of the default route
 *     tap ─┘
 *     anchors:  garth/POOL             NAT, the host, what is common
 *               garth/POOL/INTERFACE   one machine: tables <allow> and <deny>, rules
 *
 * Traps, and where each is met: NAT matches on the bridge that has the address, never on a member of it (`outward`); members are filtered
 * by `net.link.bridge.pfil_member`, and what is for the bridge itself only with `pfil_local_phys`; states outlive the rules that made
 * them (`pfctl -k` at each change); 512 anchors are the default limit. pf sees a packet on the tap and again on the bridge: who sends is
 * judged on the tap, without a state, whom he may reach on the bridge, with one.
 */
import { shellQuote } from "../host/index.ts";
import { formatBlock, gatewayAddress, prefixLength } from "./address.ts";
import {
  checkInterface,
  checkPort,
  checkSpec,
  type Egress,
  fencesOf,
  gatewayMac,
  interfaceName,
  networkNames,
  readPolicy,
} from "./plan.ts";
import { SAMPLE_POLICY, samplePort } from "./sample.ts";
import type { BridgeSpec, EgressPolicy, Port } from "./types.ts";

const ROOT_ANCHOR = "garth";
/** One for each machine of 20 full pools; the kernel's own limit is 512. */
const ANCHORS_MAX = 4096;

const SYSCTLS: readonly (readonly [string, string])[] = [
  ["net.link.bridge.pfil_onlyip", "1"],
  ["net.link.bridge.pfil_member", "1"],
  ["net.link.bridge.pfil_bridge", "0"],
  ["net.link.bridge.pfil_local_phys", "1"],
];

const lines = (...parts: readonly string[]): string => parts.map((part) => `${part}\n`).join("");

/** "garth/debian-12": letters, digits, `-` and `.` alone, which no shell and no pf reads as anything else. */
export function pfAnchor(spec: Pick<BridgeSpec, "pool" | "realm">): string {
  return `${ROOT_ANCHOR}/${networkNames(spec).network.slice("gth-".length)}`;
}

function bridgeName(spec: BridgeSpec): string {
  return interfaceName(spec, "bridge");
}

function table(name: string, blocks: readonly string[]): string {
  return blocks.length === 0 ? `table <${name}> persist` : `table <${name}> persist { ${blocks.join(" ")} }`;
}

/** A table of pf takes CIDR blocks alone: what was merged to a range is cut again. */
function cidrs(blocks: Egress["allow"]): readonly string[] {
  return blocks.flatMap(({ first, last }) => {
    const parts: string[] = [];
    for (let from = first; from <= last;) {
      let size = 1;
      while (from % (size * 2) === 0 && from + size * 2 - 1 <= last) size *= 2;
      parts.push(formatBlock({ first: from, last: from + size - 1, prefix: 32 - Math.log2(size) }));
      from += size;
    }
    return parts;
  });
}

/** What is common to all machines; `$outward` is put in by the script. */
export function pfNetworkRules(spec: BridgeSpec, outward: string): string {
  const [bridge, gateway] = [bridgeName(spec), gatewayAddress(spec.subnet)];
  const tag = `"${pfAnchor(spec)}"`;
  return lines(
    `nat on ${outward} inet from ${spec.subnet} to any tag ${tag} -> (${outward})`,
    'anchor "*"',
    `pass out quick on ${bridge} inet from ${gateway} to ${spec.subnet} keep state`,
    `pass out quick on ${outward} inet all tagged ${tag} keep state`,
    `block return quick on ${bridge} inet all`,
    `block quick on ${bridge} all`,
  );
}

/**
 * One machine, in the order of an air gap: name servers, what may be reached, what may not, nothing else. Its lo0 is inside the machine.
 * @throws Problem E_BAD_POLICY, E_BAD_PORT (exit 2)
 */
export function pfMachineRules(spec: BridgeSpec, port: Port, policy: EgressPolicy): string {
  checkPort(spec, port);
  const { internet, allow, deny } = readPolicy(policy);
  const { reserved, never } = fencesOf(spec);
  const [tap, bridge, { address }] = [port.interface, bridgeName(spec), port];
  const ask = `on ${bridge} inet proto { tcp udp } from ${address}`;
  const from = `on ${bridge} inet from ${address}`;
  return lines(
    table("dns", spec.dns ?? []),
    table("never", cidrs(never)),
    ...(internet ? [table("reserved", cidrs(reserved))] : []),
    table("allow", cidrs(allow)),
    table("deny", cidrs(deny)),
    `pass in quick on ${tap} inet from ${address} to any no state`,
    `pass out quick on ${tap} inet from any to ${address} no state`,
    `block quick on ${tap} all`,
    `pass in quick ${ask} to <dns> port 53 keep state`,
    `block return in quick ${from} to self`,
    `block return in quick ${from} to <never>`,
    `pass in quick ${from} to <allow> keep state`,
    `block return in quick ${from} to <deny>`,
    ...(internet
      ? [
          `block return in quick ${ask} to any port { 53 853 }`,
          `block return in quick ${from} to <reserved>`,
          `pass in quick ${from} to any keep state`,
        ]
      : []),
    `block return in quick ${from} to any`,
  );
}

/** @throws Problem E_BAD_NETWORK, E_BAD_SUBNET (exit 2) */
export function pfScript(spec: BridgeSpec): string {
  checkSpec(spec);
  const rules = pfNetworkRules(spec, "$outward").trimEnd();
  return `#!/bin/sh
# The network of the pool ${spec.pool}.
#   make                              the bridge, its address, the rules
#   add INTERFACE MAC ADDRESS         a tap, down, with no rules: it reaches nothing
#   up INTERFACE MAC ADDRESS          its machine has its own address
#   policy INTERFACE ADDRESS          what the machine may reach, read from standard input; what it may not any more is cut
#   drop INTERFACE                    the tap, its rules and states
#   ports                             the taps there are
#   remove                            everything, whatever state it is in
# Status 0: done, or there was nothing to do. 3: this host cannot.
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH

bridge=${bridgeName(spec)}
anchor=${shellQuote(pfAnchor(spec))}
subnet=${spec.subnet}

cannot() {
  printf 'garth-network: %s\\n' "$*" >&2
  exit 3
}

exists() {
  ifconfig "$1" >/dev/null 2>&1
}

# Every interface of this pool has its name in its description: also one that never came to the bridge.
ours() {
  for interface in $(ifconfig -l); do
    case $interface in
    gth*)
      if [ "$interface" != "$bridge" ] && ifconfig "$interface" | grep -qxF "	description: $anchor"; then
        printf '%s\\n' "$interface"
      fi
      ;;
    esac
  done
}

# The interface of the default route. Where that is a member of a bridge, the bridge: pf never sees NAT on a member.
outward() {
  found=$(route -n get -inet default 2>/dev/null | awk '$1 == "interface:" { print $2 }')
  [ -n "$found" ] || cannot "there is no default route for machines to leave by"
  for candidate in $(ifconfig -g bridge 2>/dev/null); do
    if ifconfig "$candidate" | awk -v name="$found" '$1 == "member:" && $2 == name { found = 1 } END { exit !found }'; then
      found=$candidate
      break
    fi
  done
  printf '%s\\n' "$found"
}

require() {
  [ "$(id -u)" -eq 0 ] || cannot "this needs root"
  kldload -n if_bridge if_tuntap pf || cannot "a kernel module is missing"
  pfctl -si 2>/dev/null | grep -q '^Status: Enabled' || cannot "pf is not enabled: sysrc pf_enable=YES && service pf start"
  main=$(pfctl -sr 2>/dev/null; pfctl -sn 2>/dev/null)
  for wanted in 'nat-anchor "${ROOT_ANCHOR}/*"' 'anchor "${ROOT_ANCHOR}/*"'; do
    printf '%s\\n' "$main" | awk -v wanted="$wanted" 'index($0, wanted) == 1 { found = 1 } END { exit !found }' ||
      cannot "/etc/pf.conf has no line: $wanted all"
  done
  [ "$(sysctl -n net.inet.ip.forwarding)" = 1 ] || cannot "this host does not forward: sysrc gateway_enable=YES && sysctl net.inet.ip.forwarding=1"
}

# Of the whole host; what is right already is left alone.
settings() {
${SYSCTLS.map(([name, value]) => `  [ "$(sysctl -n ${name})" = ${value} ] || sysctl ${name}=${value} >/dev/null`).join("\n")}
  echo 'set limit anchors ${ANCHORS_MAX}' | pfctl -q -m -O -f -
}

load() {
  outward=$(outward)
  pfctl -q -a "$anchor" -f - <<RULES
${rules}
RULES
}

# Rules of a machine, then the states that they made: those outlive them.
forget() {
  pfctl -q -a "$anchor/$1" -F rules 2>/dev/null || :
  pfctl -q -a "$anchor/$1" -F Tables 2>/dev/null || :
}

cut() {
  pfctl -q -k "$1"
  pfctl -q -k 0.0.0.0/0 -k "$1"
}

drop() {
  forget "$1"
  ! exists "$1" || ifconfig "$1" destroy
}

remove() {
  for interface in $(ours); do
    drop "$interface"
  done
  for name in $(pfctl -a "$anchor" -s Anchors 2>/dev/null); do
    forget "\${name##*/}"
  done
  ! exists "$bridge" || ifconfig "$bridge" destroy
  pfctl -q -a "$anchor" -F nat 2>/dev/null || :
  pfctl -q -a "$anchor" -F rules 2>/dev/null || :
  cut "$subnet"
}

case "\${1-}" in
make)
  require
  if ! exists "$bridge"; then
    settings
    trap 'remove' EXIT
    load
    ifconfig bridge create name "$bridge" description "$anchor" ether ${gatewayMac(spec.pool)} >/dev/null
    ifconfig "$bridge" inet ${gatewayAddress(spec.subnet)}/${prefixLength(spec.subnet)} up
    trap - EXIT
  fi
  ;;
add)
  exists "$bridge" || cannot "the network is not made"
  exists "$2" || ifconfig tap create name "$2" description "$anchor" >/dev/null
  ifconfig "$2" down
  # A tap that is opened comes up by itself where net.link.tap.up_on_open is set.
  sysctl net.link.tap.up_on_open=0 >/dev/null
  ifconfig "$bridge" | awk -v name="$2" '$1 == "member:" && $2 == name { found = 1 } END { exit !found }' ||
    ifconfig "$bridge" addm "$2"
  # It reaches no other port, teaches the bridge nothing, and gets nothing that is not for it.
  ifconfig "$bridge" private "$2" -learn "$2" -discover "$2"
  ifconfig "$bridge" static "$2" "$3"
  ;;
up)
  arp -S "$4" "$3" >/dev/null
  ifconfig "$2" up
  ;;
policy)
  pfctl -q -a "$anchor/$2" -f -
  cut "$3"
  ;;
drop)
  drop "$2"
  ;;
ports)
  ours
  ;;
remove)
  remove
  ;;
*)
  echo "usage: sh $0 make | add INTERFACE MAC ADDRESS | up INTERFACE MAC ADDRESS | policy INTERFACE ADDRESS | drop INTERFACE | ports | remove" >&2
  exit 2
  ;;
esac
`;
}

export interface PfStep {
  /** Words behind `sh SCRIPT`. */
  readonly words: readonly string[];
  readonly stdin: string | undefined;
}

/** What carries out each thing that a network is asked for. @throws Problem as `bridgeNetwork` and its methods */
export function pfSteps(spec: BridgeSpec) {
  checkSpec(spec);
  const step = (words: readonly string[], stdin?: string): PfStep => ({ words, stdin });
  return {
    addPort: (port: Port): readonly PfStep[] => {
      checkPort(spec, port);
      return [step(["make"]), step(["add", port.interface, port.mac, port.address])];
    },
    up: (port: Port): readonly PfStep[] => {
      checkPort(spec, port);
      return [step(["up", port.interface, port.mac, port.address])];
    },
    setPolicy: (port: Port, policy: EgressPolicy): readonly PfStep[] => [
      step(["policy", port.interface, port.address], pfMachineRules(spec, port, policy)),
    ],
    removePort: (port: Pick<Port, "interface">): readonly PfStep[] => {
      checkInterface(spec, port);
      return [step(["drop", port.interface])];
    },
    ports: (): readonly PfStep[] => [step(["ports"])],
    remove: (): readonly PfStep[] => [step(["remove"])],
  };
}

/** What `renderBridge` shows. */
export function renderPf(spec: BridgeSpec): Readonly<Record<string, string>> {
  return { "network.sh": pfScript(spec), "machine.conf": pfMachineRules(spec, samplePort(spec), SAMPLE_POLICY) };
}
