/** Raw disks in other containers: qcow2, fixed and dynamic VHD; and back to raw by qemu-img, which knows every other one. */
import { Problem } from "../base/index.ts";
import { planDynamicVhd, planFixedVhd, planQcow2, QCOW2_CLUSTER_BYTES, VHD_BLOCK_BYTES } from "../formats/index.ts";
import type { Host } from "../host/index.ts";
import { derivedUuid } from "./plan.ts";
import { writeBlocks } from "./write.ts";

export const CONTAINERS = ["raw", "qcow2", "vhd-fixed", "vhd-dynamic"] as const;
export type Container = (typeof CONTAINERS)[number];

export interface ConvertRequest {
  /** A raw disk. */
  readonly from: string;
  readonly to: string;
  readonly container: Container;
  /** What a VHD's number is derived from: the disk's digest, or its name. */
  readonly seed: string;
  readonly signal?: AbortSignal;
}

export interface Converted {
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** `to` must not be there. @throws Problem E_NO_SUCH_FILE, E_FILE_EXISTS, E_VHD_SIZE, E_NO_SPACE */
export async function convertImage(host: Host, request: ConvertRequest): Promise<Converted> {
  const { from, to, signal } = request;
  if (host.files.exists(to)) {
    throw new Problem({
      code: "E_FILE_EXISTS",
      message: `converting ${from}: ${to} is there already`,
      where: to,
      hint: "name another file, or remove it",
      exit: 2,
    });
  }
  if (!host.files.exists(from))
    throw new Problem({ code: "E_NO_SUCH_FILE", message: `there is no image ${from}`, where: from, exit: 2 });
  const { sizeBytes } = host.files.lstat(host.files.realPath(from));
  const plan = planContainer(host, request, sizeBytes);
  const { digests } = await writeBlocks(host, plan, to, { locate: () => from, ...(signal && { signal }) });
  return { sizeBytes: plan.sizeBytes, sha256: digests[0] ?? "" };
}

function planContainer(host: Host, { from, container, seed }: ConvertRequest, sizeBytes: number) {
  const uuid = derivedUuid(`vhd ${seed}`);
  switch (container) {
    case "raw":
      return { sizeBytes, pieces: usedPieces(host, from, sizeBytes) };
    case "qcow2":
      return planQcow2({ sizeBytes, file: from, isUsed: usedBlocks(host, from, sizeBytes, QCOW2_CLUSTER_BYTES) });
    case "vhd-fixed":
      return planFixedVhd({ sizeBytes, uuid, timeSeconds: 0, file: from });
    case "vhd-dynamic":
      return planDynamicVhd({
        sizeBytes,
        uuid,
        timeSeconds: 0,
        file: from,
        isUsed: usedBlocks(host, from, sizeBytes, VHD_BLOCK_BYTES),
      });
  }
}

function usedPieces(host: Host, file: string, sizeBytes: number) {
  const isUsed = usedBlocks(host, file, sizeBytes, QCOW2_CLUSTER_BYTES);
  return Array.from({ length: Math.ceil(sizeBytes / QCOW2_CLUSTER_BYTES) }, (_, block) => block)
    .filter(isUsed)
    .map((block) => {
      const at = block * QCOW2_CLUSTER_BYTES;
      return { at, kind: "file", file, offset: at, sizeBytes: Math.min(QCOW2_CLUSTER_BYTES, sizeBytes - at) } as const;
    });
}

/** Reads the disk once and remembers which blocks hold something. */
function usedBlocks(host: Host, file: string, sizeBytes: number, blockBytes: number): (block: number) => boolean {
  const used = new Uint8Array(Math.ceil(sizeBytes / blockBytes));
  const buffer = new Uint8Array(Math.max(blockBytes, 2 << 20));
  const zeros = Buffer.alloc(blockBytes);
  const descriptor = host.files.open(file, "r");
  try {
    for (let at = 0; at < sizeBytes;) {
      const count = host.files.read(descriptor, buffer, at);
      if (count === 0) break;
      for (let offset = 0; offset < count;) {
        const block = Math.floor((at + offset) / blockBytes);
        const end = Math.min(count, (block + 1) * blockBytes - at);
        const part = buffer.subarray(offset, end);
        if (used[block] === 0 && Buffer.compare(part, zeros.subarray(0, part.length)) !== 0) used[block] = 1;
        offset = end;
      }
      at += count;
    }
  } finally {
    host.files.close(descriptor);
  }
  return (block) => used[block] === 1;
}
