/**
 * The machine of an entry, as a value: from its template, its pool and its row. Pure.
 *
 *     disk 0   qcow2 over the template's image, or over a snapshot's disk        port   garth.0, to the guest's resident
 *     disk 1   the seed                                                          NIC    slirp of its own, or a tap
 */
import type { System } from "../base/index.ts";
import type { MachineDisk, MachineNetwork, MachineSpec } from "../machine/index.ts";
import { gatewayAddress, interfaceName } from "../network/index.ts";
import type { Template } from "../template/index.ts";
import { CHANNEL_NAME } from "./channel.ts";
import type { PoolEntry, PoolRecord } from "./types.ts";

const MIB = 1024 ** 2;
/** Guests that run one command at a time fill little of it, and each clone has its own. */
const TRANSLATION_CACHE_BYTES = { roomy: 32 * MIB, dense: 8 * MIB } as const;
export const SSH_PORT = 22;
export const DISK_FILE = "disk.qcow2";
export const SEED_FILE = "seed.img";

export interface MachineFacts {
  readonly system: System;
  readonly isClone?: boolean;
  readonly memoryFile?: { readonly file: string; readonly mode: "shared" | "private" };
}

export function machineOf(
  entry: Pick<PoolEntry, "id" | "pool" | "directory" | "address" | "mac" | "memoryBytes" | "cpus" | "policy">,
  pool: Pick<PoolRecord, "network" | "subnet" | "density">,
  template: Pick<Template, "sidecar" | "direct">,
  facts: MachineFacts,
): MachineSpec {
  const { sidecar, direct } = template;
  const holdsNoKernel =
    direct !== undefined && facts.isClone === true && pool.density === "dense" && facts.system.startsWith("x86_64-");
  const disks: readonly MachineDisk[] = [
    { file: `${entry.directory}/${DISK_FILE}`, format: "qcow2", device: sidecar.diskDevice, mode: "scratch" },
    { file: `${entry.directory}/${SEED_FILE}`, format: "raw", device: "virtio-blk", mode: "read-only" },
  ];
  return {
    name: entry.id,
    system: facts.system,
    memoryBytes: entry.memoryBytes,
    cpus: entry.cpus,
    firmware: holdsNoKernel ? { kind: "loaded" } : firmwareOf(direct),
    disks,
    network: networkOf(entry, pool, sidecar.netDevice),
    display: false,
    credentials: {},
    onReboot: holdsNoKernel ? "exit" : "restart",
    accelerator: "auto",
    channel: CHANNEL_NAME,
    // One that is booted to be snapshotted is gone when it is; in a small cache its boot would take four times as long.
    translationCacheBytes: TRANSLATION_CACHE_BYTES[facts.memoryFile?.mode === "shared" ? "roomy" : pool.density],
    ...(facts.memoryFile === undefined ? {} : { memoryFile: facts.memoryFile }),
    ...(sidecar.extraSlots.length === 0 ? {} : { extraSlots: sidecar.extraSlots }),
    ...(sidecar.wiredMemory ? { wiredMemory: true } : {}),
  };
}

function firmwareOf(direct: Template["direct"]): MachineSpec["firmware"] {
  if (direct === undefined) return { kind: "uefi" };
  const { kernel, initrd, commandLine } = direct;
  return { kind: "direct", kernel, commandLine, ...(initrd === undefined ? {} : { initrd }) };
}

function networkOf(
  entry: Pick<PoolEntry, "id" | "pool" | "directory" | "address" | "mac" | "policy">,
  pool: Pick<PoolRecord, "network" | "subnet">,
  device: "virtio-net" | "e1000",
): MachineNetwork {
  if (pool.network === "bridge") return { kind: "tap", interface: tapName(entry), mac: entry.mac, device };
  return {
    kind: "user",
    mac: entry.mac,
    forward: [{ hostPort: 0, guestPort: SSH_PORT }],
    isolated: !entry.policy.allowInternetAccess,
    subnet: { cidr: pool.subnet, gateway: gatewayAddress(pool.subnet), guest: entry.address },
    device,
  };
}

/** The interface of a machine on its pool's bridge. Its directory is `<realm>/<pool>/<id>`. */
export function tapName({ pool, id, directory }: Pick<PoolEntry, "pool" | "id" | "directory">): string {
  return interfaceName({ pool, realm: directory.slice(0, -`/${pool}/${id}`.length) }, id);
}
