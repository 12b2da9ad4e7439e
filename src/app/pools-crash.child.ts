/**
 * Works in a pool until it is killed: warms it, takes machines and gives them back. Says each step on a line of its own, so that whoever
 * kills it can choose one. Arguments: the root, the pool, its network.
 */
import { isolated } from "../pool/index.ts";
import { openGarth } from "./index.ts";

const [, , root = "", name = "", network = "user"] = process.argv;
const garth = openGarth({ root, env: process.env, workingDirectory: "/" });
const pools = await garth.pools();
const say = (text: string): void => void process.stdout.write(`${text}\n`);
pools.onEvent((event) => {
  if (event.kind === "entry") say(`${event.entry.id} ${event.entry.state}`);
});
await pools.init({
  name,
  template: "micro",
  tier: "hot",
  size: 2,
  memoryBytes: undefined,
  cpus: undefined,
  network: network === "bridge" ? "bridge" : "user",
  subnet: "10.77.0.0/24",
  policy: isolated,
  density: "roomy",
  bootTimeoutMs: 120_000,
});
for (let round = 0; ; round += 1) {
  await pools.reconcile({ refill: false });
  await pools.warm(name);
  const { entry } = await pools.checkout(name, { holder: `${process.pid}-${round}` });
  const guest = await pools.guest(entry.id);
  const { stdout } = await guest.run({ argv: ["hostname"] });
  say(`answered ${Buffer.from(stdout).toString().trim()}`);
  await pools.return(entry.id);
  say(`returned ${entry.id}`);
}
