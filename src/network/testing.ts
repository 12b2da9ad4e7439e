/**
 * A small world of network namespaces for tests, all of them made here and gone in the end:
 *
 *     guests ─ the pool's own namespace ═ "host", a router ─ "internet"
 *
 * The host has 192.0.2.1 of its own and 203.0.113.1 towards the internet, where 203.0.113.10, 203.0.113.20 and, as a neighbour that is
 * nobody's business, 10.9.9.9 answer. The internet knows no way back to a pool: only what the host sends in its own name is answered.
 */
import { join } from "node:path";
import type { Host } from "../host/index.ts";
import { realmSuffix } from "./plan.ts";
import type { BridgeNetwork, BridgeSpec, Port } from "./types.ts";

export const HOST_ADDRESS = "192.0.2.1";
export const INTERNET = "203.0.113.10";
export const ELSEWHERE = "203.0.113.20";
export const NEIGHBOUR = "10.9.9.9";

export interface Peer {
  /** Writes a command and waits for the event that begins with `event`; what came before it is passed over. */
  ask(command: string, event: string | RegExp): Promise<string>;
  /** The next event that begins so; one that came already and was not asked for yet counts. */
  next(event: string | RegExp): Promise<string>;
  /** Everything said so far that begins so. */
  heard(event: string): readonly string[];
  close(): Promise<void>;
}

export interface Lab {
  readonly outside: string;
  readonly internet: string;
  shell(namespace: string | undefined, script: string): Promise<string>;
  peer(namespace: string): Promise<Peer>;
  /** A namespace that is a machine behind a port: its end of a veth pair has the port's MAC and address. */
  guest(network: BridgeNetwork, port: Port, gateway: string): Promise<string>;
  close(): Promise<void>;
}

export async function openLab(host: Host): Promise<Lab> {
  const name = `gtt${process.pid}`;
  const [outside, internet] = [`${name}-host`, `${name}-internet`];
  const made: string[] = [];
  const peers: Peer[] = [];
  let guests = 0;

  const shell = async (namespace: string | undefined, script: string): Promise<string> => {
    const enter = namespace === undefined ? [] : ["ip", "netns", "exec", namespace];
    return (await host.run({ argv: ["sh", "-euc", script].toSpliced(0, 0, ...enter) as [string, ...string[]] })).text();
  };
  const add = async (namespace: string): Promise<void> => {
    made.push(namespace);
    await shell(undefined, `ip netns add ${namespace}; ip -n ${namespace} link set lo up`);
  };

  await add(outside);
  await add(internet);
  await shell(
    outside,
    `ip link add wan type veth peer name wan netns ${internet}
     ip addr add ${HOST_ADDRESS}/32 dev lo
     ip addr add 203.0.113.1/24 dev wan
     ip link set wan up
     ip route add 10.9.9.0/24 dev wan
     echo 1 >/proc/sys/net/ipv4/ip_forward`,
  );
  await shell(
    internet,
    `ip addr add ${INTERNET}/24 dev wan
     ip addr add ${ELSEWHERE}/24 dev wan
     ip addr add ${NEIGHBOUR}/32 dev wan
     ip link set wan up`,
  );

  const lab: Lab = {
    outside,
    internet,
    shell,
    peer: async (namespace) => {
      const peer = await startPeer(namespace);
      peers.push(peer);
      return peer;
    },
    guest: async (network, port, gateway) => {
      guests += 1;
      const guest = `${name}-guest${guests}`;
      await add(guest);
      await network.addPort(port);
      await network.removePort(port);
      const pool = network.through.at(-1) ?? "";
      await shell(
        undefined,
        `ip -n ${pool} link add ${port.interface} type veth peer name eth0 address ${port.mac} netns ${guest}
         ip -n ${guest} addr add ${port.address}/24 dev eth0
         ip -n ${guest} link set eth0 up
         ip -n ${guest} route add default via ${gateway}`,
      );
      await network.addPort(port);
      return guest;
    },
    close: async () => {
      for (const peer of peers) await peer.close();
      for (const namespace of made.toReversed()) await shell(undefined, `ip netns del ${namespace}`);
    },
  };
  return lab;
}

async function startPeer(namespace: string): Promise<Peer> {
  const program = join(import.meta.dir, "peer.child.ts");
  const child = Bun.spawn(["ip", "netns", "exec", namespace, process.execPath, program], { stdin: "pipe", stdout: "pipe" });
  const said: string[] = [];
  /** Of the events that were waited for: the next search begins behind. */
  let seen = 0;
  let waiting: { readonly event: string | RegExp; readonly found: (line: string) => void } | undefined;
  const look = (): void => {
    if (waiting === undefined) return;
    const { event, found } = waiting;
    const fits = (line: string) => (typeof event === "string" ? line.startsWith(event) : event.test(line));
    const index = said.findIndex((line, at) => at >= seen && fits(line));
    if (index === -1) return;
    seen = index + 1;
    waiting = undefined;
    found(said[index] ?? "");
  };
  void (async () => {
    let rest = "";
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      said.push(...lines);
      look();
    }
  })();
  const next = (event: string | RegExp): Promise<string> =>
    new Promise((found) => {
      waiting = { event, found };
      look();
    });
  await next("ready");
  return {
    next,
    ask: (command, event) => {
      child.stdin.write(`${command}\n`);
      child.stdin.flush();
      return next(event);
    },
    heard: (event) => said.filter((line) => line.startsWith(event)),
    close: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/** What the kernel has, by name: to be the same before and after. Namespaces of this realm alone: other tests have theirs. */
export async function kernelState(lab: Lab, spec: Pick<BridgeSpec, "realm">): Promise<string> {
  const namespaces = await lab.shell(undefined, `ip netns | cut -d' ' -f1 | grep -F '${realmSuffix(spec.realm)}' || :`);
  return namespaces + (await lab.shell(lab.outside, "ip -br link | cut -d' ' -f1 | sort; nft list tables"));
}

export function sampleSpec(lab: Pick<Lab, "outside">, overrides: Partial<BridgeSpec> = {}): BridgeSpec {
  return {
    pool: "net-test",
    subnet: "10.77.0.0/24",
    realm: `/test/${process.pid}`,
    uplink: { namespace: lab.outside },
    ...overrides,
  };
}
