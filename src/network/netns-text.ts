/**
 * What the tools of Linux are told, as text: batches of ip(8) and bridge(8), rulesets of nft(8). Pure.
 *
 *     namespace gth-POOL                                        the host, or `uplink.namespace`
 *     tap ─┐
 *     tap ─┼─ gthbr (gateway)    gthup ════════════════════════ gthXXXXXXXXXXXX     (only once a policy lets something out)
 *     tap ─┘  table bridge gth   table inet gth, masquerade     table inet gth-POOL, masquerade
 *
 * Who is who is decided before the bridge sees a frame: a port passes frames of its own MAC and address, IPv4 and ARP. Ports are
 * isolated, and nothing is forwarded between them by rule either. The bridge learns nothing and floods nothing: machines would
 * otherwise teach it, by frames that no rule sees (to 01:80:c2:00:00:0x), that somebody else's MAC is theirs.
 *
 * Every packet of a flow is judged in both directions by whom its machine may reach, from `ct original`: a set that changes cuts
 * what it does not allow any more, at the next packet, with a reset. A flow carries the mark of its port: what an earlier machine with
 * the same address began goes to nobody.
 */
import { sha256 } from "../base/index.ts";
import { formatAddress, formatBlock, gatewayAddress, prefixLength } from "./address.ts";
import { type Egress, type Fences, fencesOf, gatewayMac, type NetworkNames } from "./plan.ts";
import type { BridgeSpec, Port } from "./types.ts";

export const BRIDGE = "gthbr";
/** The inner end of the link to the uplink. */
export const UPLINK = "gthup";
/** Of the tables inside. */
export const TABLE = "gth";
/** 169.254.64.0/18, four addresses for each network: ours, theirs, and the two that a block loses. */
const LINKS_FIRST = 0xa9fe4000;
export const LINKS_MAX = 4096;

/** Written to /proc/sys/net inside. Forwarding is on before there is anything to forward to: the ruleset says what passes. */
const SETTINGS: readonly (readonly [string, string])[] = [
  ["ipv6/conf/all/disable_ipv6", "1"],
  ["ipv6/conf/default/disable_ipv6", "1"],
  ["ipv4/ip_forward", "1"],
  ["ipv4/conf/all/send_redirects", "0"],
  ["ipv4/conf/default/send_redirects", "0"],
  ["ipv4/conf/all/accept_redirects", "0"],
  ["ipv4/conf/all/rp_filter", "1"],
];

export function settingsScript(): string {
  // A kernel without IPv6 has no such file, and needs none.
  return SETTINGS.map(([name, value]) => `[ ! -e /proc/sys/net/${name} ] || echo ${value} >/proc/sys/net/${name}`).join("\n");
}

const lines = (...parts: readonly string[]): string => parts.map((part) => `${part}\n`).join("");
const elements = (list: readonly string[]): string => (list.length === 0 ? "" : ` elements = { ${list.join(", ")} };`);

/** Written on the bridge: what an existing network must have been made for. */
export function networkMark(spec: BridgeSpec): string {
  return sha256(JSON.stringify([spec.subnet, spec.dns ?? [], spec.reachable ?? [], spec.uplink?.namespace ?? ""])).slice(0, 16);
}

/** The bridge is up when all of the network stands. */
export function bridgeBatch(spec: BridgeSpec): string {
  return lines(
    "link set lo up",
    `link add ${BRIDGE} address ${gatewayMac(spec.pool)} type bridge stp_state 0 mcast_snooping 0`,
    `link set ${BRIDGE} alias ${networkMark(spec)}`,
    `addr add ${gatewayAddress(spec.subnet)}/${prefixLength(spec.subnet)} dev ${BRIDGE}`,
    `link set ${BRIDGE} up`,
  );
}

/** A table that replaces itself in one transaction. */
function freshTable(family: string, name: string, body: string): string {
  return `add table ${family} ${name}\ndelete table ${family} ${name}\ntable ${family} ${name} {\n${body}}\n`;
}

function blockList(name: string, blocks: Fences["never"]): string {
  return `  set ${name} { type ipv4_addr; flags interval;${elements(blocks.map(formatBlock))} }`;
}

export function networkRuleset(spec: BridgeSpec): string {
  const fences = fencesOf(spec);
  const bridge = freshTable(
    "bridge",
    TABLE,
    lines(
      "  set bound { type ifname . ether_addr . ipv4_addr; }",
      "  counter spoofed { }",
      "  chain from_ports {",
      "    type filter hook prerouting priority -300; policy drop;",
      "    iifname . ether saddr . ip saddr @bound accept",
      "    iifname . ether saddr . arp saddr ip @bound iifname . arp saddr ether . arp saddr ip @bound accept",
      "    counter name spoofed",
      "  }",
      "  chain between_ports {",
      "    type filter hook forward priority 0; policy drop;",
      "  }",
    ),
  );
  const inet = freshTable(
    "inet",
    TABLE,
    lines(
      blockList("reserved", fences.reserved),
      blockList("never", fences.never),
      `  set dns { type ipv4_addr;${elements([...new Set(spec.dns)])} }`,
      "  map machines { type ipv4_addr : verdict; }",
      "  counter refused { }",
      "  chain input {",
      "    type filter hook input priority filter; policy drop;",
      '    iifname "lo" accept',
      "    ct state established,related accept",
      "    goto refuse",
      "  }",
      "  chain forward {",
      "    type filter hook forward priority filter; policy drop;",
      `    iifname "${BRIDGE}" oifname "${UPLINK}" ip saddr vmap @machines`,
      `    iifname "${UPLINK}" oifname "${BRIDGE}" ct direction reply ip daddr vmap @machines`,
      "    goto refuse",
      "  }",
      "  chain everybody {",
      "    meta l4proto { tcp, udp } ct direction original th dport 53 ip daddr @dns accept",
      "    meta l4proto { tcp, udp } ct direction reply th sport 53 ip saddr @dns accept",
      "    ct original ip daddr @never goto refuse",
      "  }",
      "  chain internet {",
      "    meta l4proto { tcp, udp } ct direction original th dport { 53, 853 } goto refuse",
      "    ct original ip daddr @reserved goto refuse",
      "    accept",
      "  }",
      "  chain refuse {",
      "    counter name refused",
      "    meta l4proto tcp reject with tcp reset",
      "    reject with icmpx type admin-prohibited",
      "  }",
      "  chain nat {",
      "    type nat hook postrouting priority srcnat; policy accept;",
      `    oifname "${UPLINK}" masquerade`,
      "  }",
    ),
  );
  return bridge + inet;
}

/** A port that is there, or is being made. */
export interface MarkedPort extends Port {
  /** 8 hexadecimal digits, not zero, of this port alone for as long as it is there: what its machine's flows are marked with. */
  readonly mark: string;
}

/** What the alias of a tap says: whose it is, for what comes after a crash. */
export function portAlias({ address, mac, mark }: MarkedPort): string {
  return `${address} ${mac} ${mark}`;
}

export function readPortAlias(name: string, alias: string | undefined): MarkedPort | undefined {
  const [address, mac, mark, ...more] = alias?.split(" ") ?? [];
  if (address === undefined || mac === undefined || mark === undefined || more.length > 0) return undefined;
  return { interface: name, address, mac, mark };
}

/** `exists`: the tap is there, whatever state it is in. Its alias is written when the rest is done. */
export function portBatch(port: MarkedPort, exists: boolean): string {
  const name = port.interface;
  return lines(
    ...(exists ? [] : [`tuntap add dev ${name} mode tap`]),
    `link set ${name} down`,
    `link set ${name} master ${BRIDGE}`,
    `link set ${name} type bridge_slave isolated on learning off flood off mcast_flood off bcast_flood off`,
    `link set ${name} alias "${portAlias(port)}"`,
  );
}

export function portForwardingBatch({ interface: name, mac }: Port): string {
  return lines(`fdb replace ${mac} dev ${name} master static`);
}

/** The neighbour is written down: nobody is asked, and an address that changes hands is not looked for where it was. */
export function upBatch({ interface: name, mac, address }: Port): string {
  return lines(`link set ${name} up`, `neigh replace ${address} lladdr ${mac} dev ${BRIDGE} nud permanent`);
}

const element = ({ interface: name, mac, address }: Port): string => `{ ${name} . ${mac} . ${address} }`;
const machine = ({ interface: name, address }: Port): string => `{ ${address} : jump ${name} }`;
const chain = ({ interface: name }: Pick<Port, "interface">): string => `inet ${TABLE} ${name}`;
const list = ({ interface: name }: Pick<Port, "interface">, kind: "allow" | "deny"): string => `inet ${TABLE} ${name}-${kind}`;
const LIST_TYPE = "{ type ipv4_addr; flags interval; }";

/** The machine may say who it is; it reaches nothing before it has a policy. */
export function portRules(port: Port): string {
  return `add element bridge ${TABLE} bound ${element(port)}\n`;
}

export function policyRules(port: MarkedPort, { internet, allow, deny }: Egress): string {
  const mark = `0x${port.mark}`;
  const lists = (["allow", "deny"] as const).flatMap((kind) => {
    const blocks = (kind === "allow" ? allow : deny).map(formatBlock);
    return [
      `add set ${list(port, kind)} ${LIST_TYPE}`,
      `flush set ${list(port, kind)}`,
      ...(blocks.length === 0 ? [] : [`add element ${list(port, kind)} { ${blocks.join(", ")} }`]),
    ];
  });
  return lines(
    ...lists,
    `add chain ${chain(port)}`,
    `flush chain ${chain(port)}`,
    `add rule ${chain(port)} ct state new ct direction original ct mark set ${mark}`,
    `add rule ${chain(port)} ct mark != ${mark} goto refuse`,
    `add rule ${chain(port)} jump everybody`,
    `add rule ${chain(port)} ct original ip daddr @${port.interface}-allow accept`,
    `add rule ${chain(port)} ct original ip daddr @${port.interface}-deny goto refuse`,
    `add rule ${chain(port)} goto ${internet ? "internet" : "refuse"}`,
    `add element inet ${TABLE} machines ${machine(port)}`,
  );
}

/** The neighbour of a port that goes: written down first, so that there is one to forget. */
export function withoutPortBatch({ interface: name, mac, address }: Port): string {
  return lines(
    `neigh replace ${address} lladdr ${mac} dev ${BRIDGE} nud permanent`,
    `neigh del ${address} dev ${BRIDGE}`,
    `link del ${name}`,
  );
}

/** Adding first makes each removal one that finds what it removes. */
export function withoutPortRules(port: Port): string {
  return lines(
    `add element bridge ${TABLE} bound ${element(port)}`,
    `delete element bridge ${TABLE} bound ${element(port)}`,
    `add chain ${chain(port)}`,
    `add element inet ${TABLE} machines ${machine(port)}`,
    `delete element inet ${TABLE} machines { ${port.address} }`,
    `flush chain ${chain(port)}`,
    `delete chain ${chain(port)}`,
    ...(["allow", "deny"] as const).flatMap((kind) => [
      `add set ${list(port, kind)} ${LIST_TYPE}`,
      `delete set ${list(port, kind)}`,
    ]),
  );
}

/** The two ends of a link: a block of four of its own. */
export interface LinkAddresses {
  readonly outer: string;
  readonly inner: string;
}

export function linkAddresses(index: number): LinkAddresses {
  const first = LINKS_FIRST + (index % LINKS_MAX) * 4;
  return { outer: formatAddress(first + 1), inner: formatAddress(first + 2) };
}

/** Where a network looks first for a free link. */
export function firstLink(names: NetworkNames): number {
  return Number.parseInt(sha256(names.network).slice(0, 8), 16) % LINKS_MAX;
}

/** Told to the uplink's side, after its ruleset. */
export function outerBatch({ network, outerLink }: NetworkNames, { outer }: LinkAddresses): string {
  return lines(
    `link add ${outerLink} type veth peer name ${UPLINK} netns ${network}`,
    `link set ${outerLink} alias ${network}`,
    `addr add ${outer}/30 dev ${outerLink}`,
    `link set ${outerLink} up`,
  );
}

/** The default route stands when all of the uplink does. */
export function innerBatch({ outer, inner }: LinkAddresses): string {
  return lines(`addr add ${inner}/30 dev ${UPLINK}`, `link set ${UPLINK} up`, `route add default via ${outer}`);
}

/** What comes through the link passes on, and ends nowhere here; what goes into it was asked for. */
export function outerRuleset({ network, outerLink }: NetworkNames, { inner }: LinkAddresses): string {
  return freshTable(
    "inet",
    network,
    lines(
      "  chain input {",
      "    type filter hook input priority -10; policy accept;",
      `    iifname "${outerLink}" reject with icmpx type admin-prohibited`,
      "  }",
      "  chain forward {",
      "    type filter hook forward priority -10; policy accept;",
      `    iifname "${outerLink}" ip saddr != ${inner} drop`,
      `    oifname "${outerLink}" ct state != { established, related } drop`,
      // What lies behind may take smaller packets than the link does.
      `    iifname "${outerLink}" tcp flags syn tcp option maxseg size set rt mtu`,
      "  }",
      "  chain nat {",
      "    type nat hook postrouting priority srcnat; policy accept;",
      `    ip saddr ${inner} oifname != "${outerLink}" masquerade`,
      "  }",
    ),
  );
}

export function withoutTable(name: string): string {
  return lines(`add table inet ${name}`, `delete table inet ${name}`);
}
