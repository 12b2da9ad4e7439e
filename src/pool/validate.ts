/** What can be wrong with a pool before anything is made. Pure. */
import { Problem } from "../base/index.ts";
import { machineAddresses } from "../network/index.ts";
import type { Template } from "../template/index.ts";
import { unenforceable } from "./policy.ts";
import type { PoolSpec } from "./types.ts";

/** Its machines are hosts: a number of up to seven digits and a hyphen have to fit behind it (RFC 1123, 63 characters). */
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?$/;
const MIB = 1024 ** 2;
const MEMORY_MIN_BYTES = 64 * MIB;
const CPUS_MAX = 64;

/** What is wrong with it on every host. */
export function poolFaults(spec: PoolSpec): readonly string[] {
  const found: string[] = [];
  if (!NAME.test(spec.name))
    found.push(`name: ${JSON.stringify(spec.name)} is not 1 to 50 lowercase letters, digits and hyphens`);
  const addresses = machineAddresses(spec.subnet).length;
  if (!Number.isInteger(spec.size) || spec.size < 0) found.push(`size: ${spec.size} is not a number from 0`);
  else if (spec.size > addresses)
    found.push(`size: ${spec.size} machines, and ${spec.subnet} has ${addresses} addresses for them`);
  const { memoryBytes, cpus } = spec;
  if (
    memoryBytes !== undefined &&
    (!Number.isSafeInteger(memoryBytes) || memoryBytes < MEMORY_MIN_BYTES || memoryBytes % MIB !== 0)
  )
    found.push(`memory: ${memoryBytes} bytes are not a whole number of MiB from 64`);
  if (cpus !== undefined && (!Number.isInteger(cpus) || cpus < 1 || cpus > CPUS_MAX))
    found.push(`cpus: ${cpus} is not a number from 1 to ${CPUS_MAX}`);
  if (!Number.isFinite(spec.bootTimeoutMs) || spec.bootTimeoutMs < 1_000) found.push("boot timeout: less than a second");
  return found;
}

/** @throws Problem E_BAD_POOL (exit 2) with everything that is wrong */
export function checkPool(spec: PoolSpec, template: Template): void {
  const found = [...poolFaults(spec)];
  const open = unenforceable(spec.network, spec.policy);
  if (open !== undefined) found.push(`network: ${open}; a bridge can`);
  const { sidecar } = template;
  if (sidecar.gatewayMode !== "ssh")
    found.push(`template: ${template.name} is reached by ${sidecar.gatewayMode}, pools reach machines by ssh`);
  if (sidecar.patchMode !== "nocloud-seed")
    found.push(
      `template: ${template.name} takes no seed disk (TPL_PATCH_MODE=${sidecar.patchMode}), by which a machine learns who it is`,
    );
  if (sidecar.bootMode === "bhyveload") found.push(`template: ${template.name} boots by bhyveload, on a FreeBSD host`);
  if (sidecar.extraSlots.length > 0 && spec.tier === "snapshot")
    found.push(`tier: a machine with devices of the host has no snapshot; hot or cold will do`);
  if (found.length === 0) return;
  throw new Problem({
    code: "E_BAD_POOL",
    message: `the pool ${JSON.stringify(spec.name)} cannot be made as it is said`,
    details: found,
    exit: 2,
  });
}
