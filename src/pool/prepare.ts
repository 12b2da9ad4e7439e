/** Everything of a machine that lies in files, before it runs: its disk over another's, its seed, the host key to be expected of it. */
import type { BridgeNetwork } from "../network/index.ts";
import { gatewayAddress, prefixLength } from "../network/index.ts";
import type { Making } from "./context.ts";
import { makeSshKeyPair, type SshKeyPair } from "./hostkey.ts";
import { DISK_FILE, SEED_FILE, tapName } from "./machine.ts";
import { poolKey } from "./key.ts";
import { withNetwork } from "./network-lease.ts";
import { seedDisk } from "./seed.ts";

export const KNOWN_HOSTS_FILE = "known_hosts";

export interface Prepared {
  readonly hostKey: SshKeyPair;
  readonly bridge: BridgeNetwork | undefined;
}

/** `base` is what the disk is a layer over. */
export async function prepare(
  making: Making,
  base: { readonly file: string; readonly format: "raw" | "qcow2" },
): Promise<Prepared> {
  const { context, pool, template, row } = making;
  const { host } = context;
  const { directory } = row;
  host.files.makeDirectory(directory, { parents: true, mode: 0o700 });
  const hostKey = makeSshKeyPair(row.id);
  host.files.writeFile(`${directory}/${KNOWN_HOSTS_FILE}`, `${row.id} ${hostKey.publicKey}\n`, 0o600);
  const gateway = gatewayAddress(pool.subnet);
  const seed = seedDisk({
    instanceId: row.id,
    hostname: row.id,
    address: row.address,
    prefixLength: prefixLength(pool.subnet),
    gateway,
    nameServers: pool.network === "user" ? [nameServerOf(pool.subnet)] : context.bridgeDns,
    mac: row.mac,
    user: template.sidecar.sshUser,
    authorizedKey: poolKey(host, context.places.pools).publicKey,
    hostKey,
  });
  host.files.writeFile(`${directory}/${SEED_FILE}`, seed, 0o600);
  await host.run({
    argv: ["qemu-img", "create", "-q", "-f", "qcow2", "-b", base.file, "-F", base.format, `${directory}/${DISK_FILE}`],
    timeoutMs: 60_000,
    doing: `making the disk of ${row.id}`,
  });
  const bridge = pool.network === "bridge" ? context.bridgeOf(pool) : undefined;
  if (bridge !== undefined) {
    const port = { interface: tapName(row), mac: row.mac, address: row.address };
    await withNetwork(context, pool.name, async () => {
      await bridge.addPort(port);
      await bridge.setPolicy(port, row.policy);
    });
  }
  return { hostKey, bridge };
}

/** slirp answers for the host's resolver at the third address of its network (qemu(1), `dns=`). */
function nameServerOf(subnet: string): string {
  return gatewayAddress(subnet).replace(/\d+$/, "3");
}
