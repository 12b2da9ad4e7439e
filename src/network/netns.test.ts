/** Real namespaces, real packets: who reaches whom, by default, when a policy lets them, and after it changed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { problemOf, thrownProblem } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { bridgeNetwork, interfaceName } from "./index.ts";
import {
  ELSEWHERE,
  HOST_ADDRESS,
  INTERNET,
  kernelState,
  type Lab,
  NEIGHBOUR,
  openLab,
  type Peer,
  sampleSpec,
} from "./testing.ts";
import type { BridgeNetwork, BridgeSpec, EgressPolicy, Port } from "./types.ts";

const host = localHost();
const GATEWAY = "10.77.0.1";
const NOTHING: EgressPolicy = { allowInternetAccess: false, allowOut: [], denyOut: [] };
const EVERYTHING: EgressPolicy = { ...NOTHING, allowInternetAccess: true };

let lab: Lab;
let before: string;
let spec: BridgeSpec;
let network: BridgeNetwork;
let ports: readonly [Port, Port];
let guests: readonly [string, string];
let one: Peer;
let two: Peer;
let internet: Peer;
let gateway: Peer;
let router: Peer;

function portOf(number: number): Port {
  return {
    interface: interfaceName(spec, `net-test-${number}`),
    mac: `02:00:00:00:00:0${number}`,
    address: `10.77.0.5${number}`,
  };
}

let attempts = 0;
/** How a connection from a peer ends up: "open", or the errno. */
async function reach(peer: Peer, address: string): Promise<string> {
  attempts += 1;
  const event = await peer.ask(`connect t${attempts} ${address} 80`, new RegExp(`^(?:open|failed) t${attempts}\\b`));
  return event.startsWith("open") ? "open" : (event.split(" ")[2] ?? event);
}

beforeAll(async () => {
  lab = await openLab(host);
  spec = sampleSpec(lab, { dns: [ELSEWHERE], reachable: ["10.9.9.0/24"] });
  before = await kernelState(lab, spec);
  network = bridgeNetwork(host, spec);
  ports = [portOf(1), portOf(2)];
  guests = [await lab.guest(network, ports[0], GATEWAY), await lab.guest(network, ports[1], GATEWAY)];
  [one, two, internet, router] = [
    await lab.peer(guests[0]),
    await lab.peer(guests[1]),
    await lab.peer(lab.internet),
    await lab.peer(lab.outside),
  ];
  gateway = await lab.peer(network.through.at(-1) ?? "");
  for (const peer of [one, two, internet, gateway, router]) {
    await peer.ask("listen 0.0.0.0 80", "listening");
    await peer.ask("receive 0.0.0.0 53", "receiving");
    await peer.ask("receive 0.0.0.0 9", "receiving");
  }
});

afterAll(async () => {
  await network.remove();
  await lab.close();
});

async function counter(name: "spoofed" | "refused"): Promise<number> {
  const family = name === "spoofed" ? "bridge" : "inet";
  const text = await lab.shell(network.through.at(-1), `nft list counter ${family} gth ${name}`);
  return Number(/packets (\d+)/.exec(text)?.[1]);
}

test("a port is down until its machine is itself", async () => {
  expect((await network.ports()).toSorted()).toEqual(ports.map((port) => port.interface).toSorted());
  const state = async () => lab.shell(network.through.at(-1), `cat /sys/class/net/${ports[0].interface}/flags`);
  expect(Number(await state()) & 1).toBe(0);
  await network.up(ports[0]);
  await network.up(ports[1]);
  expect(Number(await state()) & 1).toBe(1);
});

test("the pool reaches its machines; they reach neither it nor each other nor anything else", async () => {
  expect(await reach(gateway, ports[0].address)).toBe("open");
  expect(await reach(gateway, ports[1].address)).toBe("open");
  expect(await reach(one, GATEWAY)).toBe("ECONNREFUSED");
  expect(gateway.heard("accepted")).toEqual([]);
  // No way out exists.
  expect(await reach(one, INTERNET)).not.toBe("open");
  expect(await reach(one, HOST_ADDRESS)).not.toBe("open");

  // Whom they know already they do not reach either: by the bridge, or through the gateway.
  await lab.shell(guests[0], `ip neigh replace ${ports[1].address} lladdr ${ports[1].mac} dev eth0 nud permanent`);
  await one.ask(`datagram ${ports[0].address} ${ports[1].address} 9 by-bridge`, "sent");
  await lab.shell(guests[0], `ip route add ${ports[1].address}/32 via ${GATEWAY}`);
  await one.ask(`datagram ${ports[0].address} ${ports[1].address} 9 by-gateway`, "sent");
  // Answered after the others were handled.
  expect(await reach(one, GATEWAY)).toBe("ECONNREFUSED");
  await lab.shell(guests[0], `ip route del ${ports[1].address}/32`);
  await gateway.ask(`datagram ${GATEWAY} ${ports[1].address} 9 last`, "sent");
  expect(await two.next("datagram")).toBe(`datagram ${GATEWAY} last`);
});

test("with a policy a machine reaches the internet, and still neither the host nor what is private", async () => {
  await network.setPolicy(ports[0], EVERYTHING);
  expect(await reach(one, INTERNET)).toBe("open");
  expect(await internet.next("accepted")).toBe("accepted 203.0.113.1");
  expect(await reach(one, HOST_ADDRESS)).not.toBe("open");
  expect(await reach(one, "203.0.113.1")).not.toBe("open");
  expect(await reach(one, NEIGHBOUR)).toBe("ECONNREFUSED");
  expect(router.heard("accepted")).toEqual([]);
  // Its neighbour was allowed nothing.
  expect(await reach(two, INTERNET)).not.toBe("open");
});

test("what is private is opened by name alone, where the pool lets it", async () => {
  await network.setPolicy(ports[0], { ...NOTHING, allowOut: [NEIGHBOUR] });
  expect(await reach(one, NEIGHBOUR)).toBe("open");
  expect(await reach(one, INTERNET)).toBe("ECONNREFUSED");
  await network.setPolicy(ports[0], { ...NOTHING, allowOut: ["192.168.0.0/16", "169.254.0.0/16", "0.0.0.0/0"] });
  expect(await reach(one, INTERNET)).toBe("open");
  expect(await reach(one, "192.168.1.1")).toBe("ECONNREFUSED");
  expect(await reach(one, "169.254.169.254")).toBe("ECONNREFUSED");
  expect(await reach(one, HOST_ADDRESS)).not.toBe("open");
});

test("deny takes from the internet, allow goes before deny", async () => {
  await network.setPolicy(ports[0], { ...EVERYTHING, denyOut: [ELSEWHERE] });
  expect(await reach(one, INTERNET)).toBe("open");
  expect(await reach(one, ELSEWHERE)).toBe("ECONNREFUSED");
  await network.setPolicy(ports[0], { ...EVERYTHING, denyOut: ["0.0.0.0/0"], allowOut: ["203.0.113.16/28", ELSEWHERE] });
  expect(await reach(one, INTERNET)).toBe("ECONNREFUSED");
  expect(await reach(one, ELSEWHERE)).toBe("open");
});

test("name servers of the pool are asked whatever the policy, others only by name", async () => {
  const asked = async (server: string, text: string): Promise<void> => {
    await one.ask(`datagram ${ports[0].address} ${server} 53 ${text}`, "sent");
  };
  await network.setPolicy(ports[0], NOTHING);
  await asked(INTERNET, "other-closed");
  await asked(ELSEWHERE, "ours-closed");
  expect(await internet.next("datagram")).toBe("datagram 203.0.113.1 ours-closed");
  await network.setPolicy(ports[0], EVERYTHING);
  await asked(INTERNET, "other-internet");
  await asked(ELSEWHERE, "ours-internet");
  expect(await internet.next("datagram")).toBe("datagram 203.0.113.1 ours-internet");
  await network.setPolicy(ports[0], { ...NOTHING, allowOut: [INTERNET] });
  await asked(INTERNET, "other-named");
  expect(await internet.next("datagram")).toBe("datagram 203.0.113.1 other-named");
});

test("a change cuts what it does not allow any more, and leaves the rest", async () => {
  await network.setPolicy(ports[0], EVERYTHING);
  await one.ask(`connect cut ${ELSEWHERE} 80`, "open cut");
  await one.ask(`connect kept ${INTERNET} 80`, "open kept");
  await one.ask("send cut one", "data cut echo one");
  await one.ask("send kept one", "data kept echo one");

  await network.setPolicy(ports[0], { ...EVERYTHING, denyOut: [ELSEWHERE] });
  expect(await one.ask("send cut two", "broken cut")).toBe("broken cut ECONNRESET");
  await one.ask("send kept two", "data kept echo two");

  // From the other side as well: whoever goes on sending is told.
  await network.setPolicy(ports[0], NOTHING);
  expect(await internet.ask("push three", "broken")).toBe("broken ECONNRESET");
  expect(one.heard("data kept")).toEqual(["data kept echo one", "data kept echo two"]);
  // And what was cut stays so for what comes later, though the kernel still knows the flow.
  await network.setPolicy(ports[0], EVERYTHING);
  expect(await reach(one, ELSEWHERE)).toBe("open");
});

test("nobody says he is somebody else: by address, by MAC, by ARP", async () => {
  await network.setPolicy(ports[0], EVERYTHING);
  await network.setPolicy(ports[1], EVERYTHING);
  const other = ports[1].address;
  const sent = async (from: string, text: string): Promise<void> => {
    await one.ask(`datagram ${from} ${INTERNET} 9 ${text}`, "sent");
  };
  const steps: readonly (readonly [string, string, string])[] = [
    [`ip addr add ${other}/32 dev eth0`, other, `ip addr del ${other}/32 dev eth0`],
    [`ip link set eth0 address ${ports[1].mac}`, ports[0].address, `ip link set eth0 address ${ports[0].mac}`],
    [`ip link set eth0 address 02:00:00:00:00:99`, ports[0].address, `ip link set eth0 address ${ports[0].mac}`],
  ];
  const neighbour =
    `ip neigh replace ${GATEWAY} lladdr ${await lab.shell(network.through.at(-1), "cat /sys/class/net/gthbr/address")}`.trim();
  for (const [doing, from, undoing] of steps) {
    const spoofed = await counter("spoofed");
    await lab.shell(guests[0], `${doing}; ${neighbour} dev eth0 nud permanent`);
    await sent(from, "spoofed");
    await lab.shell(guests[0], `${undoing}; ${neighbour} dev eth0 nud permanent`);
    await sent(ports[0].address, "honest");
    expect(await internet.next("datagram")).toBe("datagram 203.0.113.1 honest");
    expect(await counter("spoofed")).toBeGreaterThan(spoofed);
  }
  // A question in somebody else's name teaches the gateway nothing.
  await lab.shell(guests[0], `ip addr add ${other}/24 dev eth0; ip neigh del ${GATEWAY} dev eth0`);
  const spoofed = await counter("spoofed");
  await one.ask(`datagram ${other} ${GATEWAY} 9 spoofed`, "sent");
  expect(await counter("spoofed")).toBeGreaterThan(spoofed);
  await lab.shell(guests[0], `ip addr del ${other}/24 dev eth0; ${neighbour} dev eth0 nud permanent`);
  expect(await lab.shell(network.through.at(-1), `ip neigh show ${other}`)).toContain(ports[1].mac);
  expect(await reach(gateway, other)).toBe("open");
});

test("an address that changes hands brings nothing along", async () => {
  await network.setPolicy(ports[1], EVERYTHING);
  await two.ask(`connect old ${INTERNET} 80`, "open old");
  await two.ask("send old one", "data old echo one");
  const heir = ports[1];
  await network.removePort(ports[1]);
  expect(await network.ports()).toEqual([ports[0].interface]);
  const guest = await lab.guest(network, heir, GATEWAY);
  await network.up(heir);
  await network.setPolicy(heir, EVERYTHING);
  const refused = await counter("refused");
  // The other end of the old connection goes on, and hears that it is over.
  expect(await internet.ask("push secret", "broken")).toBe("broken ECONNRESET");
  expect(await counter("refused")).toBeGreaterThan(refused);
  expect(await reach(await lab.peer(guest), INTERNET)).toBe("open");
});

test("bad input is refused by name, and changes nothing", async () => {
  const policies: readonly (readonly [Partial<EgressPolicy>, string])[] = [
    [{ allowOut: ["example.org"] }, 'allowOut: "example.org" is no IPv4 address and no CIDR block'],
    [{ denyOut: ["1.2.3.4", "::/0"] }, 'denyOut: "::/0"'],
    [{ allowOut: ["1.2.3.4/33"] }, '"1.2.3.4/33"'],
    [{ denyOut: Array.from({ length: 1001 }, () => "1.2.3.4") }, "denyOut has 1001 entries"],
  ];
  for (const [policy, words] of policies) {
    const problem = await problemOf(network.setPolicy(ports[0], { ...EVERYTHING, ...policy }));
    expect([problem.code, problem.exit]).toEqual(["E_BAD_POLICY", 2]);
    expect(problem.message).toContain(words);
  }
  expect(await reach(one, INTERNET)).toBe("open");
  for (const [bad, words] of [
    [{ interface: "eth0" }, "no name that Garth gives"],
    [{ mac: "01:00:00:00:00:01" }, "a group's address"],
    [{ mac: "02:00:00:00:00:0A" }, "lower case"],
    [{ address: GATEWAY }, "not an address for a machine"],
    [{ address: "10.78.0.50" }, "not an address for a machine"],
  ] as const) {
    const problem = await problemOf(network.addPort({ ...ports[0], ...bad }));
    expect([problem.code, problem.exit]).toEqual(["E_BAD_PORT", 2]);
    expect(problem.message).toContain(words);
  }
  const stranger: Port = { interface: interfaceName(spec, "stranger"), mac: "02:00:00:00:00:77", address: "10.77.0.77" };
  expect((await problemOf(network.addPort({ ...stranger, address: ports[0].address }))).code).toBe("E_PORT_CLASH");
  expect((await problemOf(network.addPort({ ...stranger, mac: ports[0].mac }))).code).toBe("E_PORT_CLASH");
  expect((await problemOf(network.up(stranger))).code).toBe("E_NO_PORT");
  expect((await problemOf(network.setPolicy(stranger, EVERYTHING))).code).toBe("E_NO_PORT");
  for (const pool of ["", "a b", "-a", "a;reboot", "../x", "é", "x".repeat(51)]) {
    expect(thrownProblem(() => bridgeNetwork(host, { ...spec, pool })).code).toBe("E_BAD_NETWORK");
  }
  for (const change of [{ dns: ["dns.example"] }, { reachable: ["lan"] }, { uplink: { namespace: "a/../b" } }]) {
    expect(thrownProblem(() => bridgeNetwork(host, { ...spec, ...change })).code).toBe("E_BAD_NETWORK");
  }
  const changed = await problemOf(
    bridgeNetwork(host, { ...spec, subnet: "10.78.0.0/24" }).addPort({ ...stranger, address: "10.78.0.50" }),
  );
  expect(changed.code).toBe("E_NETWORK_CHANGED");
  const user = bridgeNetwork({ ...host, processIdentity: host.processIdentity, isRoot: false }, { ...spec, pool: "other" });
  const problem = await problemOf(user.addPort(ports[0]));
  expect([problem.code, problem.exit]).toEqual(["E_NEEDS_ROOT", 3]);
  expect(problem.hint).toContain("`user` network");
});

test("a host that does not forward is told, and nothing of a link stays", async () => {
  const other = bridgeNetwork(host, { ...spec, pool: "no-way-out" });
  const port = { ...ports[0], interface: interfaceName({ ...spec, pool: "no-way-out" }, "1") };
  await other.addPort(port);
  await lab.shell(lab.outside, "echo 0 >/proc/sys/net/ipv4/ip_forward");
  const problem = await problemOf(other.setPolicy(port, EVERYTHING));
  expect([problem.code, problem.exit]).toEqual(["E_NO_FORWARDING", 3]);
  await lab.shell(lab.outside, "echo 1 >/proc/sys/net/ipv4/ip_forward");
  await other.setPolicy(port, EVERYTHING);
  await other.remove();
});

test("nothing is left", async () => {
  await network.remove();
  await network.remove();
  expect(await kernelState(lab, spec)).toBe(before);
  expect(await network.ports()).toEqual([]);
});
