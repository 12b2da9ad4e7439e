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
  /** false: nobody asks for the digest of what is written, which takes longer than writing it. Default true. */
  readonly digest?: boolean;
  readonly signal?: AbortSignal;
}

export interface Converted {
  readonly sizeBytes: number;
  /** "" where it was not wanted. */
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
  const { sha256 } = await writeBlocks(host, plan, to, {
    locate: () => from,
    digest: request.digest !== false,
    ...(signal && { signal }),
  });
  return { sizeBytes: plan.sizeBytes, sha256 };
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

/** So much of a block is looked at first: most that are used show it there. */
const GLANCE_BYTES = 4096;

/** Remembers which blocks of the disk hold something. Holes are not read; what is zeros is no hole, and not used either. */
function usedBlocks({ files }: Host, file: string, sizeBytes: number, blockBytes: number): (block: number) => boolean {
  const used = new Uint8Array(Math.ceil(sizeBytes / blockBytes));
  const buffer = new Uint8Array(blockBytes);
  const zeros = Buffer.alloc(blockBytes);
  const descriptor = files.open(file, "r");
  const isZero = (from: number, to: number): boolean => {
    for (let at = from; at < to;) {
      const count = files.read(descriptor, buffer.subarray(0, to - at), at);
      if (count === 0) return true;
      if (Buffer.compare(buffer.subarray(0, count), zeros.subarray(0, count)) !== 0) return false;
      at += count;
    }
    return true;
  };
  try {
    for (
      let run = files.nextData(descriptor, 0, sizeBytes);
      run !== undefined;
      run = files.nextData(descriptor, run.to, sizeBytes)
    ) {
      for (let block = Math.floor(run.from / blockBytes); block * blockBytes < run.to; block += 1) {
        if (used[block] === 1) continue;
        const from = Math.max(run.from, block * blockBytes);
        const to = Math.min(run.to, (block + 1) * blockBytes);
        const glance = Math.min(to, from + GLANCE_BYTES);
        if (!isZero(from, glance) || !isZero(glance, to)) used[block] = 1;
      }
    }
  } finally {
    files.close(descriptor);
  }
  return (block) => used[block] === 1;
}
