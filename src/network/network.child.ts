/**
 * One step of a network, by a process of its own: to be run in another namespace than the tests'.
 *
 *     bun network.child.ts '{"spec": ..., "port": ..., "policy": ...}'     the policy set; without one, the network removed
 */
import { localHost } from "../host/index.ts";
import { bridgeNetwork } from "./index.ts";

const { spec, port, policy } = JSON.parse(process.argv[2] ?? "{}");
const network = bridgeNetwork(localHost(), spec);
if (policy === undefined) await network.remove();
else {
  await network.up(port);
  await network.setPolicy(port, policy);
}
