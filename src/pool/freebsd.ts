/**
 * A pool on a FreeBSD host, planned: bhyve, ZFS where there is any, tap and pf. One script for the pool and one for each of its machines,
 * for a host with nothing but its base system, sshd and bhyve's firmware. Pure; see notes/0025-pools-on-freebsd.md for why it is so.
 *
 *     init ──► warm: prepare ──► boot ──► freeze ──► available ──checkout: policy ──► thaw──► in use ──return: destroy──► gone
 *                                                                                            └─ pause: freeze ─ resume: thaw
 *     drain    every machine destroyed, and what init made
 *
 * Whoever carries it out writes the files, then runs the steps; a step that failed has undone what it did. What a step tells is read by
 * `readBhyvePoolEvent`. One process at a time works on a machine: the ledger sees to that.
 *
 * Limits: amd64, UEFI, bridges (slirp is a port). No snapshots of a running machine: BHYVE_SNAPSHOT is not in FreeBSD's GENERIC kernel. A
 * device of the host is one machine's. Nobody has run it.
 */
import { sshOptions } from "../guest/index.ts";
import {
  type BhyveFacts,
  bhyveName,
  isPassedThrough,
  lintBhyve,
  lintSpec,
  type MachineSpec,
  planBhyve,
} from "../machine/index.ts";
import {
  type BridgeSpec,
  gatewayAddress,
  interfaceName,
  pfScript,
  pfSteps,
  type PfStep,
  prefixLength,
} from "../network/index.ts";
import {
  assertNone,
  type BhyveEntry,
  type BhyveIdentity,
  type BhyvePool,
  type BhyvePoolFacts,
  type BhyveTemplate,
  directoryOf,
  lintBhyveEntry,
  lintBhyvePool,
} from "./freebsd-facts.ts";
import { ENTRY_FILES, type EntryDisk, entryScript } from "./freebsd-entry.ts";
import { NETWORK_SCRIPT_NAME, POOL_SCRIPT_NAME, type PoolDatasets, poolScript } from "./freebsd-pool.ts";
import { planInstance } from "./seed-freebsd.ts";
import { seedDisk, type SeedFields } from "./seed.ts";

export interface PlannedFile {
  /** Absolute. Its directory is there, or is made with 0700. */
  readonly path: string;
  readonly content: string | Uint8Array;
  readonly mode: number;
}

export interface BhyveStep {
  readonly argv: readonly [string, ...string[]];
  readonly stdin: string | undefined;
  readonly timeoutMs: number;
}

export interface BhyvePoolPlan {
  readonly script: string;
  readonly files: readonly PlannedFile[];
  readonly steps: Readonly<Record<"init" | "drain", BhyveStep>>;
}

export interface BhyveEntryPlan {
  /** In the kernel: /dev/vmm/MACHINE, and the title of its process is "bhyve: MACHINE". */
  readonly machine: string;
  readonly interface: string;
  /** Of bhyve. */
  readonly argv: readonly [string, ...string[]];
  readonly script: string;
  readonly files: readonly PlannedFile[];
  readonly steps: Readonly<Record<"prepare" | "boot" | "freeze" | "thaw" | "policy" | "destroy", BhyveStep>>;
  /** What is done to it by what a pool is asked for, in order. */
  readonly orders: Readonly<Record<"warm" | "checkout" | "pause" | "resume" | "return", readonly BhyveStep[]>>;
}

const INIT_LIMIT_MS = 2 * 3_600_000;
const PREPARE_LIMIT_MS = 30 * 60_000;
const SIGNAL_LIMIT_MS = 30_000;
/** The last attempt to log in, and what is undone after it. */
const BOOT_UNDO_LIMIT_MS = 60_000;
const DESTROY_LIMIT_MS = 5 * 60_000;
const DRAIN_LIMIT_MS = 3_600_000;
/** Of ssh(1), for a connection and the words before anybody logs in. */
const CONNECT_LIMIT_S = 5;
/** So much of a machine's id is in the name that the kernel has of it; what makes that one of its own is the name of its tap. */
const ID_SHOWN = 40;
const bridgeSpec = (pool: BhyvePool, facts: BhyvePoolFacts): BridgeSpec => ({
  ...facts.bridge,
  pool: pool.name,
  subnet: pool.subnet,
  realm: facts.pools,
});
function datasetsOf(pool: BhyvePool, template: BhyveTemplate, { pools, storage }: BhyvePoolFacts): PoolDatasets | undefined {
  if (storage.kind === "copy") return undefined;
  const dataset = `${storage.dataset}/templates/${template.name}`;
  return {
    template: dataset,
    mount: `${pools}/.templates/${template.name}`,
    snapshot: `${dataset}@${template.digest}`,
    machines: `${storage.dataset}/pools/${pool.name}`,
  };
}

/** A script that removes itself is not there the second time. */
function lastStep(script: string, verb: string, timeoutMs: number): BhyveStep {
  return { argv: ["sh", "-c", `[ ! -e "$1" ] || exec sh "$1" ${verb}`, verb, script], stdin: undefined, timeoutMs };
}

/** @throws Problem E_BAD_POOL, E_BAD_NETWORK, E_BAD_SUBNET (exit 2) */
export function planBhyvePool(pool: BhyvePool, template: BhyveTemplate, facts: BhyvePoolFacts): BhyvePoolPlan {
  assertNone(pool.name, lintBhyvePool(pool, template, facts));
  const directory = directoryOf(pool, facts);
  const script = poolScript({
    pool: pool.name,
    directory,
    firmware: facts.firmware,
    devices: template.sidecar.extraSlots.filter(isPassedThrough).map(({ conf }) => selectorOf(conf ?? "")),
    image: template.imageFile,
    imageSha256: template.manifest.image.sha256,
    datasets: datasetsOf(pool, template, facts),
    lockFile: `${facts.pools}/.init.lock`,
  });
  const path = `${directory}/${POOL_SCRIPT_NAME}`;
  return {
    script,
    files: [
      { path, content: script, mode: 0o700 },
      { path: `${directory}/${NETWORK_SCRIPT_NAME}`, content: pfScript(bridgeSpec(pool, facts)), mode: 0o700 },
    ],
    steps: {
      init: { argv: ["sh", path, "init"], stdin: undefined, timeoutMs: INIT_LIMIT_MS },
      drain: lastStep(path, "drain", DRAIN_LIMIT_MS),
    },
  };
}

/** For pciconf(8): "ppt0", or "pci0:1:0:0" for what bhyve has as 1/0/0. */
function selectorOf(conf: string): string {
  const device = conf.replace(/,.*$/, "");
  return /^\d/.test(device) ? `pci0:${device.replaceAll("/", ":")}` : device;
}

/** @throws Problem E_BAD_POOL, E_BAD_NETWORK, E_BAD_PORT, E_BAD_POLICY, E_SEED_FIELD (exit 2) */
export function planBhyveEntry(
  pool: BhyvePool,
  template: BhyveTemplate,
  entry: BhyveEntry,
  identity: BhyveIdentity,
  facts: BhyvePoolFacts,
): BhyveEntryPlan {
  assertNone(pool.name, [...lintBhyvePool(pool, template, facts), ...lintBhyveEntry(pool, entry, facts)]);
  const { directory, id } = entry;
  const file = (name: string): string => `${directory}/${name}`;
  const network = bridgeSpec(pool, facts);
  const port = { interface: interfaceName(network, id), mac: entry.mac, address: entry.address };
  const seed: SeedFields = {
    instanceId: id,
    hostname: id,
    address: entry.address,
    prefixLength: prefixLength(pool.subnet),
    gateway: gatewayAddress(pool.subnet),
    nameServers: facts.bridge?.dns ?? [],
    mac: entry.mac,
    user: template.sidecar.sshUser,
    ...identity,
  };
  const instance =
    template.sidecar.patchMode === "instance-file"
      ? planInstance(seed, {
          system: "freebsd",
          image: file(ENTRY_FILES.disk),
          format: "raw",
          directory,
          lockFile: facts.lockFile,
        })
      : undefined;
  const withInstance = instance?.kind === "instance-file" ? instance : undefined;
  const spec = specOf(template, entry, port.interface, withInstance === undefined, facts);
  const bhyveFacts: BhyveFacts = { firmware: facts.firmware, directory, wired: template.sidecar.wiredMemory };
  assertNone(
    pool.name,
    [...lintSpec(spec), ...lintBhyve(spec, bhyveFacts)].map(({ field, message }) => `machine ${id}: ${field}: ${message}`),
  );
  const { argv } = planBhyve(spec, bhyveFacts);
  const steps = pfSteps(network);
  const wordsOf = (all: readonly PfStep[], verb: string): readonly string[] =>
    all.find(({ words }) => words[0] === verb)?.words ?? [];
  const policy = steps.setPolicy(port, entry.policy);
  const networkScript = `${directoryOf(pool, facts)}/${NETWORK_SCRIPT_NAME}`;
  const script = entryScript({
    id,
    pool: pool.name,
    machine: bhyveName(spec),
    directory,
    disk: diskOf(pool, template, entry, facts),
    identity: withInstance === undefined ? { kind: "seed-disk" } : { kind: "instance-file", scriptName: withInstance.scriptName },
    interface: port.interface,
    networkScript,
    port: {
      add: wordsOf(steps.addPort(port), "add"),
      up: wordsOf(steps.up(port), "up"),
      policy: wordsOf(policy, "policy"),
      drop: wordsOf(steps.removePort(port), "drop"),
    },
    variables: facts.firmware.variables,
    bhyve: argv,
    ssh: sshWordsOf(template, entry, facts),
    bootLimitS: Math.ceil(pool.bootTimeoutMs / 1000),
  });
  const path = file(ENTRY_FILES.script);
  const rules = policy.map(({ stdin }) => stdin ?? "").join("");
  const step = (verb: string, timeoutMs: number): BhyveStep => ({ argv: ["sh", path, verb], stdin: undefined, timeoutMs });
  const made = {
    prepare: step("prepare", PREPARE_LIMIT_MS),
    boot: step("boot", pool.bootTimeoutMs + BOOT_UNDO_LIMIT_MS),
    freeze: step("freeze", SIGNAL_LIMIT_MS),
    thaw: step("thaw", SIGNAL_LIMIT_MS),
    policy: { argv: ["sh", networkScript, ...wordsOf(policy, "policy")], stdin: rules, timeoutMs: SIGNAL_LIMIT_MS },
    destroy: lastStep(path, "destroy", DESTROY_LIMIT_MS),
  } as const satisfies BhyveEntryPlan["steps"];
  const isHot = pool.tier === "hot";
  return {
    machine: bhyveName(spec),
    interface: port.interface,
    argv,
    script,
    files: [
      { path, content: script, mode: 0o700 },
      { path: file(ENTRY_FILES.policy), content: rules, mode: 0o600 },
      { path: file(ENTRY_FILES.knownHosts), content: `${id} ${identity.hostKey.publicKey}\n`, mode: 0o600 },
      withInstance === undefined
        ? { path: file(ENTRY_FILES.seed), content: seedDisk(seed), mode: 0o600 }
        : { path: file(withInstance.scriptName), content: withInstance.script, mode: 0o700 },
    ],
    steps: made,
    orders: {
      warm: isHot ? [made.prepare, made.boot, made.freeze] : [],
      // Whoever gets it may reach other things than the pool said.
      checkout: isHot ? [made.policy, made.thaw] : [made.prepare, made.boot],
      pause: [made.freeze],
      resume: [made.thaw],
      return: [made.destroy],
    },
  };
}

function diskOf(pool: BhyvePool, template: BhyveTemplate, { id }: BhyveEntry, facts: BhyvePoolFacts): EntryDisk {
  const datasets = datasetsOf(pool, template, facts);
  if (datasets === undefined) return { kind: "copy", image: template.imageFile };
  return { kind: "clone", snapshot: datasets.snapshot, clone: `${datasets.machines}/${id}` };
}

function specOf(
  { sidecar }: BhyveTemplate,
  entry: BhyveEntry,
  tap: string,
  hasSeed: boolean,
  facts: BhyvePoolFacts,
): MachineSpec {
  const { memoryBytes, cpus } = entry;
  return {
    // Two roots may each have a debian-12-1, the kernel has one /dev/vmm.
    name: `${entry.id.slice(0, ID_SHOWN)}-${tap}`,
    system: facts.system,
    memoryBytes,
    cpus,
    firmware: { kind: "uefi", ...facts.firmware },
    disks: [
      { file: `${entry.directory}/${ENTRY_FILES.disk}`, format: "raw", device: sidecar.diskDevice, mode: "scratch" },
      ...(hasSeed
        ? [{ file: `${entry.directory}/${ENTRY_FILES.seed}`, format: "raw", device: "virtio-blk", mode: "read-only" } as const]
        : []),
    ],
    network: { kind: "tap", interface: tap, mac: entry.mac, device: sidecar.netDevice },
    display: false,
    credentials: {},
    // The supervisor starts it again.
    onReboot: "exit",
    accelerator: "auto",
    extraSlots: sidecar.extraSlots,
    wiredMemory: sidecar.wiredMemory,
  };
}

/** Logs in once, with no connection left behind. */
function sshWordsOf({ sidecar }: BhyveTemplate, entry: BhyveEntry, facts: BhyvePoolFacts): readonly string[] {
  const options = sshOptions({
    name: entry.id,
    address: entry.address,
    port: 22,
    user: sidecar.sshUser,
    keyFile: `${facts.pools}/key`,
    knownHostsFile: `${entry.directory}/${ENTRY_FILES.knownHosts}`,
    // ssh_config(5): disables it.
    controlSocket: "none",
    through: [],
  });
  return ["ssh", ...options, "-o", `ConnectTimeout=${CONNECT_LIMIT_S}`, "-l", sidecar.sshUser, entry.address, "true"];
}
