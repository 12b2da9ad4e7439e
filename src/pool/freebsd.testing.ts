/** A pool on a FreeBSD host for tests: what its plans are made from. */
import type { Template } from "../template/index.ts";
import type { BhyveEntry, BhyveIdentity, BhyvePool, BhyvePoolFacts } from "./freebsd-facts.ts";
import { SEED } from "./seed.testing.ts";
import { poolSpec } from "./testing.ts";

export const DIGEST = "4f".repeat(32);
export const IMAGE_SHA256 = "5a".repeat(32);

export function bhyveTemplate(sidecar: Partial<Template["sidecar"]> = {}, fields: Partial<Template> = {}): Template {
  return {
    name: "debian-12",
    digest: DIGEST,
    manifest: {
      schema: 1,
      name: "debian-12",
      image: { sha256: IMAGE_SHA256, sizeBytes: 2 * 1024 ** 3 },
      sidecarSha256: DIGEST,
      descriptionSha256: DIGEST,
      origin: { kind: "import", source: "https://cloud.debian.org/debian-12.raw", sha256: IMAGE_SHA256, format: "raw" },
    },
    sidecar: {
      gatewayMode: "ssh",
      bootMode: "uefi",
      patchMode: "nocloud-seed",
      diskDevice: "virtio-blk",
      netDevice: "virtio-net",
      sshUser: "root",
      shell: "/bin/bash",
      shellArgs: ["-i"],
      memoryBytes: 256 * 1024 ** 2,
      cpus: 1,
      wiredMemory: false,
      extraSlots: [],
      ...sidecar,
    },
    description: "",
    imageFile: "/frx/var/garth/templates/debian-12.img",
    direct: undefined,
    publicKeySha256: DIGEST,
    ...fields,
  };
}

export function bhyvePool(fields: Partial<BhyvePool> = {}): BhyvePool {
  return {
    ...poolSpec({ name: "debian-12", template: "debian-12", network: "bridge", bootTimeoutMs: 120_000 }),
    templateDigest: DIGEST,
    ...fields,
  };
}

export function bhyveFacts(fields: Partial<BhyvePoolFacts> = {}): BhyvePoolFacts {
  return {
    system: "x86_64-freebsd",
    firmware: {
      code: "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd",
      variables: "/usr/local/share/uefi-firmware/BHYVE_UEFI_VARS.fd",
    },
    pools: "/frx/var/garth/pools",
    lockFile: "/var/run/garth/md.lock",
    storage: { kind: "zfs", dataset: "zroot/garth" },
    bridge: { dns: ["9.9.9.9"] },
    ...fields,
  };
}

export function bhyveEntry(facts: BhyvePoolFacts, fields: Partial<BhyveEntry> = {}): BhyveEntry {
  const id = fields.id ?? "debian-12-17";
  return {
    id,
    directory: `${facts.pools}/debian-12/${id}`,
    address: "10.77.0.50",
    mac: "52:54:0a:4d:00:32",
    memoryBytes: 256 * 1024 ** 2,
    cpus: 1,
    policy: { allowInternetAccess: true, allowOut: [], denyOut: ["198.51.100.7"] },
    ...fields,
  };
}

export const IDENTITY: BhyveIdentity = {
  authorizedKey: SEED.authorizedKey,
  hostKey: SEED.hostKey ?? { privateKey: "", publicKey: "" },
};
