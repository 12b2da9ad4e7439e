/** Death at every step: between any two commands, and in the middle of each batch. What comes after finds its way, or leaves nothing. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { problemOf } from "../base/testing.ts";
import { type Host, localHost } from "../host/index.ts";
import { bridgeNetwork, interfaceName, networksLeft } from "./index.ts";
import { INTERNET, kernelState, type Lab, openLab, sampleSpec } from "./testing.ts";
import type { BridgeNetwork, BridgeSpec, Port } from "./types.ts";

const host = localHost();
const EVERYTHING = { allowInternetAccess: true, allowOut: ["10.1.2.3"], denyOut: ["203.0.113.128/28"] };

let lab: Lab;
let spec: BridgeSpec;
let nothing: string;
let ports: readonly [Port, Port];

beforeAll(async () => {
  lab = await openLab(host);
  spec = sampleSpec(lab, { pool: "net-death", dns: ["203.0.113.20"] });
  nothing = await kernelState(lab, spec);
  const port = (number: number): Port => ({
    interface: interfaceName(spec, `${number}`),
    mac: `02:00:00:00:01:0${number}`,
    address: `10.77.0.6${number}`,
  });
  ports = [port(1), port(2)];
});
afterAll(() => lab.close());

/**
 * A host whose process is killed when it is about to run command number `last`; with `half`, in the middle of batch number `last`.
 */
function dyingHost(last: number, half: boolean): { readonly host: Host; died(): boolean } {
  let count = 0;
  let dead = false;
  const run: Host["run"] = async (command) => {
    const batch = command.argv.includes("-batch") ? command.stdin : undefined;
    if (!half || batch !== undefined) count += 1;
    dead ||= count >= last;
    if (!dead) return host.run(command);
    if (count === last && half && typeof batch === "string") {
      count += 1;
      const lines = batch.split("\n").filter((line) => line !== "");
      await host.run({ ...command, stdin: lines.slice(0, Math.ceil(lines.length / 2)).join("\n") });
    }
    throw new Error("killed");
  };
  return { host: { ...host, processIdentity: host.processIdentity, run }, died: () => dead };
}

async function live(network: BridgeNetwork): Promise<void> {
  const [first, second] = ports;
  await network.addPort(first);
  await network.up(first);
  await network.setPolicy(first, EVERYTHING);
  await network.addPort(second);
  await network.setPolicy(second, { ...EVERYTHING, allowInternetAccess: false });
  expect((await network.ports()).toSorted()).toEqual(ports.map((port) => port.interface).toSorted());
  await network.removePort(first);
  expect(await network.ports()).toEqual([second.interface]);
}

async function dieAt(step: number, half: boolean): Promise<boolean> {
  const dying = dyingHost(step, half);
  const network = bridgeNetwork(dying.host, spec);
  try {
    await live(network);
    await network.remove();
  } catch (error) {
    if (!dying.died()) throw error;
  }
  return dying.died();
}

test.each([
  ["between any two steps", false, 25],
  ["in the middle of any batch", true, 10],
] as const)(
  "killed %s",
  async (_, half, stepsMin) => {
    let step = 1;
    while (await dieAt(step, half)) {
      await bridgeNetwork(host, {
        pool: spec.pool,
        realm: spec.realm ?? "",
        subnet: "10.1.0.0/24",
        uplink: { namespace: lab.outside },
      }).remove();
      expect({ step, state: await kernelState(lab, spec) }).toEqual({ step, state: nothing });

      // The same, and whoever comes next goes on from there.
      await dieAt(step, half);
      const next = bridgeNetwork(host, spec);
      await live(next);
      await next.remove();
      expect({ step, state: await kernelState(lab, spec) }).toEqual({ step, state: nothing });
      step += 1;
    }
    expect(step).toBeGreaterThan(stepsMin);
  },
  300_000,
);

test("what is left is found by its pool's name", async () => {
  expect(await networksLeft(host, spec.realm)).toEqual([]);
  const network = bridgeNetwork(host, spec);
  await network.addPort(ports[0]);
  expect(await networksLeft(host, spec.realm)).toEqual([spec.pool]);
  expect(await networksLeft(host, "/another/root")).toEqual([]);
  await network.remove();
  expect(await networksLeft(host, spec.realm)).toEqual([]);
});

test("a namespace that is a name alone, and one that nobody finished", async () => {
  const network = bridgeNetwork(host, spec);
  const name = network.through.at(-1) ?? "";
  await lab.shell(undefined, `: >/run/netns/${name}`);
  await network.addPort(ports[0]);
  expect(await network.ports()).toEqual([ports[0].interface]);
  await network.remove();
  await lab.shell(undefined, `: >/run/netns/${name}`);
  await network.remove();
  expect(await kernelState(lab, spec)).toBe(nothing);
});

test("a tap that went away by itself leaves rules, and they go with the port", async () => {
  const network = bridgeNetwork(host, spec);
  const [first, second] = ports;
  await network.addPort(first);
  await network.setPolicy(first, { ...EVERYTHING, allowInternetAccess: false });
  await lab.shell(network.through.at(-1), `ip link del ${first.interface}`);
  await network.removePort(first);
  await network.addPort({ ...second, address: first.address });
  await network.setPolicy({ ...second, address: first.address }, EVERYTHING);
  await network.remove();
});

test("without another namespace being named, machines leave by the one that the process is in", async () => {
  const { pool, subnet, realm = "", dns = [] } = spec;
  const here: BridgeSpec = { pool, subnet, realm, dns };
  const [port] = ports;
  const child = async (work: object): Promise<void> => {
    const program = join(import.meta.dir, "network.child.ts");
    const argv = ["ip", "netns", "exec", lab.outside, process.execPath, program, JSON.stringify({ spec: here, ...work })];
    const done = Bun.spawnSync(argv, { env: { PATH: process.env["PATH"] ?? "" } });
    expect([done.exitCode, done.stderr.toString()]).toEqual([0, ""]);
  };
  const guest = await lab.peer(await lab.guest(bridgeNetwork(host, here), port, "10.77.0.1"));
  const internet = await lab.peer(lab.internet);
  await internet.ask(`listen ${INTERNET} 80`, "listening");
  await child({ port, policy: EVERYTHING });
  expect(await kernelState(lab, spec)).not.toBe(nothing);
  await guest.ask(`connect one ${INTERNET} 80`, "open one");
  await child({});
  expect(await kernelState(lab, spec)).toBe(nothing);
});

test("interfaces go although a process still lives among them", async () => {
  const network = bridgeNetwork(host, spec);
  await network.addPort(ports[0]);
  await network.setPolicy(ports[0], EVERYTHING);
  const entered = Promise.withResolvers<void>();
  const child = host.spawn(
    { argv: ["env", ...network.through, "sh", "-c", "echo; exec sleep 1000"] },
    { onOutput: () => entered.resolve() },
  );
  await entered.promise;
  await network.remove();
  expect(await kernelState(lab, spec)).toBe(nothing);
  expect(host.files.exists(`/proc/${child.pid}`)).toBe(true);
  child.kill("SIGKILL");
  expect((await child.exited).signal).toBe("SIGKILL");
});

test("a failure halfway undoes what was made", async () => {
  const run: Host["run"] = (command) =>
    command.argv.includes("nft") && command.doing?.startsWith("loading its rules") === true
      ? host.run({ ...command, stdin: "nonsense" })
      : host.run(command);
  const network = bridgeNetwork({ ...host, processIdentity: host.processIdentity, run }, spec);
  expect((await problemOf(network.addPort(ports[0]))).code).toBe("E_COMMAND_FAILED");
  expect(await kernelState(lab, spec)).toBe(nothing);
});
