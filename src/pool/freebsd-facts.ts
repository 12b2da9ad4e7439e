/** What a pool on a FreeBSD host is planned from, and what is wrong with it before anything is. Pure. */
import { operatingSystemOf, Problem, type System } from "../base/index.ts";
import { type BhyveFacts, isPassedThrough } from "../machine/index.ts";
import type { BridgeSpec } from "../network/index.ts";
import type { Template } from "../template/index.ts";
import type { SeedFields } from "./seed.ts";
import type { PoolEntry, PoolRecord } from "./types.ts";
import { poolFaults } from "./validate.ts";

export interface BhyvePoolFacts {
  /** The host's. */
  readonly system: System;
  /** BHYVE_UEFI_CODE.fd and BHYVE_UEFI_VARS.fd of edk2-bhyve. */
  readonly firmware: BhyveFacts["firmware"];
  /** `pools/` of the state directory, absolute; it is there. The key that logs in is `key` in it. */
  readonly pools: string;
  /** A file for lockf(1), one for all machines of the host. */
  readonly lockFile: string;
  /** What the directory lies on: the dataset that `zfs list -H -o name DIRECTORY` names, or another file system. */
  readonly storage: { readonly kind: "zfs"; readonly dataset: string } | { readonly kind: "copy" };
  /** Name servers of the machines, and what of the host's own network a policy may open. */
  readonly bridge?: Pick<BridgeSpec, "dns" | "reachable">;
}

/** Made for each machine, before it is. */
export interface BhyveIdentity {
  /** A line of authorized_keys. */
  readonly authorizedKey: string;
  readonly hostKey: NonNullable<SeedFields["hostKey"]>;
}

export type BhyvePool = Omit<PoolRecord, "createdAtMs" | "generation">;
export type BhyveEntry = Pick<PoolEntry, "id" | "directory" | "address" | "mac" | "memoryBytes" | "cpus" | "policy">;
export type BhyveTemplate = Pick<Template, "name" | "digest" | "sidecar" | "imageFile" | "manifest">;

const DATASET = /^[A-Za-z0-9][A-Za-z0-9_.:-]*(?:\/[A-Za-z0-9_][A-Za-z0-9_.:-]*)*$/;
/** ZFS_MAX_DATASET_NAME_LEN less its zero; a snapshot's name counts whole. */
const DATASET_CHARS_MAX = 255;
const TEMPLATE = /^[a-z0-9](?:[a-z0-9.-]{0,38}[a-z0-9])?$/;
const SHA256 = /^[0-9a-f]{64}$/;

function pathFault(field: string, path: string): readonly string[] {
  if (!path.startsWith("/") || path.endsWith("/")) return [`${field}: ${JSON.stringify(path)} is not an absolute path`];
  if (/\p{Cc}/u.test(path)) return [`${field}: ${JSON.stringify(path)} holds a control character`];
  // A comma begins bhyve's next option, a quotation mark ends the path in ssh's, and nothing quotes them.
  return /[,"]/.test(path) ? [`${field}: bhyve and ssh take no comma and no quotation mark in a path: ${path}`] : [];
}

/** What such a host cannot do for a pool, and what is wrong with it anywhere. */
export function lintBhyvePool(pool: BhyvePool, template: BhyveTemplate, facts: BhyvePoolFacts): readonly string[] {
  const { sidecar } = template;
  const found = [...poolFaults(pool)];
  if (operatingSystemOf(facts.system) !== "freebsd" || !facts.system.startsWith("x86_64-"))
    found.push(`host: bhyve pools are planned for x86_64-freebsd, not for ${facts.system}`);
  if (pool.tier === "snapshot")
    found.push(
      "tier: bhyve takes no snapshot of a machine (BHYVE_SNAPSHOT is not in FreeBSD's GENERIC kernel); hot or cold will do",
    );
  if (pool.network !== "bridge")
    found.push("network: bhyve's user network needs the port net/libslirp; a bridge needs nothing but the base system");
  if (!TEMPLATE.test(template.name)) found.push(`template: ${JSON.stringify(template.name)} is not the name of one`);
  if (!SHA256.test(template.digest) || !SHA256.test(template.manifest.image.sha256))
    found.push(`template: ${JSON.stringify(template.name)} has no digest`);
  if (pool.templateDigest !== template.digest) found.push(`template: ${template.name} is another than the pool was made with`);
  if (sidecar.gatewayMode !== "ssh") found.push(`template: it is reached by ${sidecar.gatewayMode}, pools reach machines by ssh`);
  if (sidecar.patchMode === "none") found.push("template: with TPL_PATCH_MODE=none a machine does not learn who it is");
  if (sidecar.bootMode !== "uefi") found.push(`template: bhyve boots by UEFI here, and TPL_BOOT_MODE is ${sidecar.bootMode}`);
  if (pool.size > 1 && sidecar.extraSlots.some(isPassedThrough))
    found.push(`size: a device of the host is one machine's, and ${pool.size} are to be kept`);
  found.push(
    ...pathFault("pools", facts.pools),
    ...pathFault("lock file", facts.lockFile),
    ...pathFault("image", template.imageFile),
    ...pathFault("firmware", facts.firmware.code),
    ...pathFault("firmware", facts.firmware.variables),
  );
  if (facts.storage.kind === "zfs") {
    const { dataset } = facts.storage;
    const longest = `${dataset}/templates/${template.name}@${template.digest}`.length;
    if (!DATASET.test(dataset)) found.push(`dataset: ${JSON.stringify(dataset)} is not the name of one`);
    else if (longest > DATASET_CHARS_MAX)
      found.push(`dataset: ${dataset} makes names of ${longest} characters, ZFS has ${DATASET_CHARS_MAX}`);
  }
  return found;
}

export const directoryOf = (pool: BhyvePool, facts: BhyvePoolFacts): string => `${facts.pools}/${pool.name}`;

/** What is wrong with a machine as one of this pool. */
export function lintBhyveEntry(pool: BhyvePool, { id, directory }: BhyveEntry, facts: BhyvePoolFacts): readonly string[] {
  const found: string[] = [];
  if (!id.startsWith(`${pool.name}-`) || !/^\d{1,7}$/.test(id.slice(pool.name.length + 1)))
    found.push(`machine: ${JSON.stringify(id)} is none of this pool`);
  // drain looks for machines there.
  if (directory !== `${directoryOf(pool, facts)}/${id}`) found.push(`machine ${id}: its directory is ${directory}`);
  return found;
}

/** @throws Problem E_BAD_POOL (exit 2) with everything that was found */
export function assertNone(name: string, found: readonly string[]): void {
  if (found.length === 0) return;
  throw new Problem({
    code: "E_BAD_POOL",
    message: `the pool ${JSON.stringify(name)} cannot be planned for bhyve as it is said`,
    details: found,
    exit: 2,
  });
}
