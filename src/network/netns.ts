/**
 * A pool's network on Linux: a network namespace with a bridge in it, carried out by ip(8), bridge(8) and nft(8).
 *
 *     nothing ──addPort──► standing ──setPolicy that lets something out──► with an uplink ──remove──► nothing
 *        ▲                                                                                   │
 *        └─────────────────────────── remove, from whatever a killed process left ───────────┘
 *
 * Each step looks at the kernel first and does what is missing: nothing is remembered that another process, or a crash, could have
 * made untrue, but that the network stands. What stands is marked last: the bridge goes up, the tap gets its alias, the default route
 * is added. One process at a time makes or removes a network: the pool's lease.
 */
import { randomBytes } from "node:crypto";
import { Problem } from "../base/index.ts";
import { type Command, type Completed, type Host } from "../host/index.ts";
import { readAddress, readBlock } from "./address.ts";
import {
  BRIDGE,
  bridgeBatch,
  firstLink,
  innerBatch,
  type LinkAddresses,
  linkAddresses,
  LINKS_MAX,
  networkMark,
  networkRuleset,
  outerBatch,
  outerRuleset,
  policyRules,
  type MarkedPort,
  portBatch,
  portForwardingBatch,
  portRules,
  readPortAlias,
  settingsScript,
  TABLE,
  upBatch,
  UPLINK,
  withoutPortBatch,
  withoutPortRules,
  withoutTable,
} from "./netns-text.ts";
import { checkInterface, checkPort, checkSpec, needsUplink, networkNames, poolOfName, PREFIX, readPolicy } from "./plan.ts";
import { addressesOf, boundPort, isDefaultRoute, type Link, linksOf, tablesOf } from "./netns-read.ts";
import { SAMPLE_POLICY, samplePort } from "./sample.ts";
import type { BridgeNetwork, BridgeSpec, Port } from "./types.ts";

const NAMESPACES = "/run/netns";
/** Of the interfaces of a network that is removed; within its namespace nobody else counts them. */
const GROUP = 7;
/** Nothing here waits for anybody but the kernel. */
const STEP_LIMIT_MS = 30_000;

export function requireRoot(host: Host, pool: string): void {
  if (host.isRoot) return;
  throw new Problem({
    code: "E_NEEDS_ROOT",
    message: `the network of the pool ${pool} is a bridge, and making one needs root`,
    hint: "run Garth as root, or give the pool a `user` network, which needs no rights",
    exit: 3,
  });
}

export function netnsNetwork(host: Host, spec: BridgeSpec): BridgeNetwork {
  checkSpec(spec);
  const names = networkNames(spec);
  const outside = spec.uplink?.namespace;
  const exists = (namespace: string): boolean => host.files.exists(`${NAMESPACES}/${namespace}`);

  const run = (doing: string, argv: Command["argv"], options: Pick<Command, "stdin" | "okStatuses"> = {}): Promise<Completed> =>
    host.run({ argv, timeoutMs: STEP_LIMIT_MS, doing: `${doing} (network of the pool ${spec.pool})`, ...options });
  const inside = (words: Command["argv"]): Command["argv"] => ["ip", "netns", "exec", names.network, ...words];
  const outsideIp: Command["argv"] = outside === undefined ? ["ip"] : ["ip", "-n", outside];
  const outsideRun = (words: Command["argv"]): Command["argv"] =>
    outside === undefined ? words : ["ip", "netns", "exec", outside, ...words];
  const ip = (doing: string, batch: string) => run(doing, ["ip", "-n", names.network, "-batch", "-"], { stdin: batch });
  const nft = (doing: string, rules: string) => run(doing, inside(["nft", "-f", "-"]), { stdin: rules });

  /** undefined: there is no such namespace, or only its name. */
  const look = async (): Promise<readonly Link[] | undefined> => {
    if (!exists(names.network)) return undefined;
    const done = await run("looking at its interfaces", ["ip", "-n", names.network, "-j", "link", "show"], {
      okStatuses: [0, 1, 255],
    });
    return done.status === 0 ? linksOf(done.text()) : undefined;
  };
  const portsOf = (links: readonly Link[]): readonly Link[] => links.filter(({ name }) => isPortName(name));

  const remove = async (): Promise<void> => {
    requireRoot(host, spec.pool);
    [standing, uplink] = [undefined, undefined];
    const made = (await look())?.filter(({ name }) => name.startsWith(PREFIX)) ?? [];
    if (made.length > 0) {
      // Before the namespace: a process that still lives in it would keep them, unseen. As one group: each alone waits for the kernel.
      const batch = `${made.map(({ name }) => `link set ${name} group ${GROUP}\n`).join("")}link del group ${GROUP}\n`;
      await run("removing its interfaces", ["ip", "-n", names.network, "-force", "-batch", "-"], {
        stdin: batch,
        okStatuses: [0, 1],
      });
    }
    if (exists(names.network)) await run("removing its namespace", ["ip", "netns", "del", names.network]);
    if (outside !== undefined && !exists(outside)) return;
    await run("removing its link", [...outsideIp, "link", "del", names.outerLink], { okStatuses: [0, 1] });
    await run("removing its rules", outsideRun(["nft", "-f", "-"]), { stdin: withoutTable(names.network) });
  };

  const make = async (): Promise<void> => {
    requireRoot(host, spec.pool);
    const links = await look();
    const bridge = links?.find(({ name }) => name === BRIDGE);
    if (links !== undefined && bridge?.up === true) {
      if (bridge.alias === networkMark(spec)) return;
      if (portsOf(links).length > 0) {
        throw new Problem({
          code: "E_NETWORK_CHANGED",
          message: `the network of the pool ${spec.pool} was made for another subnet, other name servers or another uplink, and has machines`,
          details: portsOf(links).map(({ name, alias }) => `${name} ${alias ?? ""}`),
          hint: `drain the pool first: garth pool drain ${spec.pool}`,
        });
      }
    }
    await remove();
    try {
      await run("making its namespace", ["ip", "netns", "add", names.network]);
      await run("setting it up", inside(["sh", "-euc", settingsScript()]));
      await nft("loading its rules", networkRuleset(spec));
      await ip("making its bridge", bridgeBatch(spec));
    } catch (error) {
      await remove();
      throw error;
    }
  };

  const requireForwarding = async (): Promise<void> => {
    const done = await run("looking whether packets are forwarded", outsideRun(["cat", "/proc/sys/net/ipv4/ip_forward"]));
    if (done.text().trim() === "1") return;
    throw new Problem({
      code: "E_NO_FORWARDING",
      message: `machines of the pool ${spec.pool} are to reach the internet, and ${outside ?? "this host"} does not forward packets`,
      hint: "sysctl -w net.ipv4.ip_forward=1, and the same in a file of /etc/sysctl.d for the next start",
      exit: 3,
    });
  };

  const freeLink = async (): Promise<LinkAddresses> => {
    const done = await run("looking for free addresses", [...outsideIp, "-j", "addr", "show"]);
    const taken = addressesOf(done.text()).flatMap((address) => readAddress(address) ?? []);
    const first = firstLink(names);
    for (let index = first; index < first + LINKS_MAX; index += 1) {
      const addresses = linkAddresses(index);
      const block = readBlock(`${addresses.outer}/30`);
      if (!taken.some((one) => block !== undefined && block.first <= one && one <= block.last)) return addresses;
    }
    throw new Problem({
      code: "E_ADDRESSES_EXHAUSTED",
      message: `there is no address left for the link of the pool ${spec.pool}`,
    });
  };

  const makeUplink = async (): Promise<void> => {
    const routes = await run("looking at its routes", ["ip", "-n", names.network, "-j", "route", "show", "default"]);
    if (isDefaultRoute(routes.text(), UPLINK)) return;
    await requireForwarding();
    await run("removing what is left of its link", [...outsideIp, "link", "del", names.outerLink], { okStatuses: [0, 1] });
    const addresses = await freeLink();
    // The rules first: there is no moment at which this side could be reached.
    await run("loading the rules of its link", outsideRun(["nft", "-f", "-"]), { stdin: outerRuleset(names, addresses) });
    await run("making its link", [...outsideIp, "-batch", "-"], { stdin: outerBatch(names, addresses) });
    await ip("setting up its link", innerBatch(addresses));
  };

  let standing: Promise<void> | undefined;
  let uplink: Promise<void> | undefined;
  const stand = (): Promise<void> =>
    (standing ??= make().catch((error: unknown) => {
      standing = undefined;
      throw error;
    }));
  const reachOut = (): Promise<void> =>
    (uplink ??= makeUplink().catch((error: unknown) => {
      uplink = undefined;
      throw error;
    }));

  const requirePort = async (port: Port): Promise<MarkedPort> => {
    checkPort(spec, port);
    const found = (await look())?.find(({ name }) => name === port.interface);
    const marked = readPortAlias(port.interface, found?.alias);
    if (marked?.address === port.address && marked.mac === port.mac) return marked;
    throw new Problem({
      code: "E_NO_PORT",
      message: `the network of the pool ${spec.pool} has no port ${port.interface} of ${port.address} and ${port.mac}`,
      ...(found === undefined ? {} : { details: [`there is one of ${found.alias ?? "nobody"}`] }),
    });
  };

  return {
    through: ["ip", "netns", "exec", names.network],

    addPort: async (port) => {
      checkPort(spec, port);
      await stand();
      const links = (await look()) ?? [];
      for (const { name, alias } of portsOf(links)) {
        const other = readPortAlias(name, alias);
        if (other === undefined || name === port.interface) continue;
        if (other.address !== port.address && other.mac !== port.mac) continue;
        throw new Problem({
          code: "E_PORT_CLASH",
          message: `${port.interface} would have the address ${port.address} and the MAC ${port.mac}; ${name} has ${alias}`,
        });
      }
      const found = links.find(({ name }) => name === port.interface);
      const former = readPortAlias(port.interface, found?.alias);
      const complete = former?.address === port.address && former.mac === port.mac;
      if (former !== undefined && !complete) await nft("forgetting a port's former rules", withoutPortRules(former));
      if (!complete) await ip("adding a port", portBatch({ ...port, mark: freshMark() }, found !== undefined));
      await run("writing down where a MAC is", ["bridge", "-n", names.network, "-batch", "-"], {
        stdin: portForwardingBatch(port),
      });
      await nft("loading a port's rules", portRules(port));
    },

    up: async (port) => {
      await requirePort(port);
      await ip("raising a port", upBatch(port));
    },

    setPolicy: async (port, policy) => {
      const egress = readPolicy(policy);
      const marked = await requirePort(port);
      if (needsUplink(spec, egress)) await reachOut();
      await nft("changing what a machine may reach", policyRules(marked, egress));
    },

    removePort: async ({ interface: name }) => {
      requireRoot(host, spec.pool);
      checkInterface(spec, { interface: name });
      const links = await look();
      if (links === undefined) return;
      const found = links.find((link) => link.name === name);
      const bound = async (): Promise<Port | undefined> => {
        const done = await run("looking for a port's rules", inside(["nft", "-j", "list", "set", "bridge", TABLE, "bound"]), {
          okStatuses: [0, 1],
        });
        return done.status === 0 ? boundPort(done.text(), name) : undefined;
      };
      const port = readPortAlias(name, found?.alias) ?? (await bound());
      if (port !== undefined) await nft("forgetting a port's rules", withoutPortRules(port));
      if (found === undefined) return;
      await ip("removing a port", port === undefined ? `link del ${name}\n` : withoutPortBatch(port));
    },

    ports: async () => portsOf((await look()) ?? []).map(({ name }) => name),
    remove,
  };
}

function isPortName(name: string): boolean {
  return name.startsWith(PREFIX) && name !== BRIDGE && name !== UPLINK;
}

/** The first digit is never zero, and so neither is the mark. */
function freshMark(): string {
  return `8${randomBytes(4).toString("hex").slice(1)}`;
}

/** The pools of a realm that have a namespace, or a table on the host. */
export async function netnsPools(host: Host, realm: string | undefined): Promise<readonly string[]> {
  requireRoot(host, "*");
  const namespaces = host.files.exists(NAMESPACES) ? host.files.list(NAMESPACES).map((name) => Buffer.from(name).toString()) : [];
  const listed = await host.run({
    argv: ["nft", "-j", "list", "tables"],
    doing: "looking for networks",
    timeoutMs: STEP_LIMIT_MS,
  });
  const pools = [...namespaces, ...tablesOf(listed.text())].flatMap((name) => poolOfName(name, realm) ?? []);
  return [...new Set(pools)].toSorted();
}

/** What `renderBridge` shows. */
export function renderNetns(spec: BridgeSpec): Readonly<Record<string, string>> {
  checkSpec(spec);
  const names = networkNames(spec);
  const port = { ...samplePort(spec), mark: "80000001" };
  const link = linkAddresses(firstLink(names));
  return {
    "network.nft": networkRuleset(spec),
    "network.ip": bridgeBatch(spec),
    "settings.sh": `${settingsScript()}\n`,
    "port.ip": portBatch(port, false) + upBatch(port),
    "port.bridge": portForwardingBatch(port),
    "port.nft": portRules(port) + policyRules(port, readPolicy(SAMPLE_POLICY)),
    "uplink.nft": outerRuleset(names, link),
    "uplink-outside.ip": outerBatch(names, link),
    "uplink-inside.ip": innerBatch(link),
  };
}
