/** What is on the disk of a template, as far as a template asks: its partitions, how it boots, and which file system its root may be. */
import { Problem } from "../base/index.ts";
import { PARTITION_TYPE, readFat, readGpt, readMbr } from "../formats/index.ts";
import type { Host } from "../host/index.ts";

type ReadAt = (offset: number, length: number) => Uint8Array;

export interface DiskPartition {
  readonly number: number;
  readonly isEsp: boolean;
  readonly firstByte: number;
  readonly sizeBytes: number;
}

/** MBR: an EFI system partition, and "look at the GPT". */
const ESP_TYPE = 0xef;
const PROTECTIVE_TYPE = 0xee;
/** Where firmware without settings of its own looks (UEFI specification, 3.5.1.1). */
const LOADER = /^efi\/boot\/boot(?:x64|aa64)\.efi$/i;

/** A raw disk; what `work` reads behind its end is nothing. */
export function withDisk<Result>(host: Host, file: string, work: (readAt: ReadAt, sizeBytes: number) => Result): Result {
  const { sizeBytes } = host.files.lstat(host.files.realPath(file));
  const descriptor = host.files.open(file, "r");
  try {
    return work((offset, length) => {
      const bytes = new Uint8Array(Math.max(0, Math.min(length, sizeBytes - offset)));
      let done = 0;
      while (done < bytes.length) {
        const count = host.files.read(descriptor, bytes.subarray(done), offset + done);
        if (count === 0) break;
        done += count;
      }
      return bytes.subarray(0, done);
    }, sizeBytes);
  } finally {
    host.files.close(descriptor);
  }
}

/** Of a GPT, else of an MBR; none for a disk without either. */
export function partitionsOf(readAt: ReadAt, sizeBytes: number): readonly DiskPartition[] {
  const { diskGuid, partitions } = readGpt(readAt, sizeBytes);
  if (diskGuid !== undefined)
    return partitions.map(({ number, typeGuid, firstByte, sizeBytes: size }) => ({
      number,
      isEsp: typeGuid === PARTITION_TYPE.esp,
      firstByte,
      sizeBytes: size,
    }));
  const found = readMbr(readAt)?.partitions ?? [];
  return found
    .filter(({ type }) => type !== PROTECTIVE_TYPE)
    .map(({ number, type, firstByte, sizeBytes: size }) => ({ number, isEsp: type === ESP_TYPE, firstByte, sizeBytes: size }));
}

/** Whether firmware finds something to start. @throws Problem E_NO_UEFI (exit 2), which says what was found instead */
export function requireEsp(host: Host, file: string, what: string): void {
  const why = withDisk(host, file, (readAt, sizeBytes) => {
    const partitions = partitionsOf(readAt, sizeBytes);
    if (partitions.length === 0) return "it has no partitions";
    const systems = partitions.filter(({ isEsp }) => isEsp);
    if (systems.length === 0) return `none of its ${partitions.length} partitions is an EFI system partition`;
    for (const { firstByte, sizeBytes: size } of systems) {
      const inside: ReadAt = (offset, length) => readAt(firstByte + offset, Math.max(0, Math.min(length, size - offset)));
      try {
        if (readFat(inside).entries.some(({ path, type }) => type === "file" && LOADER.test(path))) return undefined;
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        return `its EFI system partition cannot be read: ${error.message}`;
      }
    }
    return "its EFI system partition has no EFI/BOOT/BOOTX64.EFI, nor another loader that firmware looks for";
  });
  if (why === undefined) return;
  throw new Problem({
    code: "E_NO_UEFI",
    message: `${what} is to boot by UEFI, and its image cannot: ${why}`,
    where: file,
    hint: "take an image that boots by UEFI (cloud images called generic do), or say another TPL_BOOT_MODE",
    exit: 2,
  });
}

export interface RootFileSystem {
  readonly kind: "ext" | "xfs" | "btrfs" | "ufs" | "zfs" | "lvm" | "fat" | "unknown";
  /** Of ext: its journal holds what is not yet in its place. */
  readonly needsRecovery: boolean;
}

const EXT_MAGIC = 0xef53;
const EXT_NEEDS_RECOVERY = 0x4;
const UFS2_MAGIC = 0x19540119;

/** By the marks that each leaves at its place. */
export function fileSystemOf(readAt: ReadAt, firstByte: number): RootFileSystem {
  const text = (at: number, length: number): string => Buffer.from(readAt(firstByte + at, length)).toString("latin1");
  const word = (at: number): number => {
    const bytes = Buffer.from(readAt(firstByte + at, 4));
    return bytes.length === 4 ? bytes.readUInt32LE() : 0;
  };
  if ((word(1024 + 56) & 0xffff) === EXT_MAGIC)
    return { kind: "ext", needsRecovery: (word(1024 + 96) & EXT_NEEDS_RECOVERY) !== 0 };
  const kind =
    text(0, 4) === "XFSB"
      ? "xfs"
      : text(65_600, 8) === "_BHRfS_M"
        ? "btrfs"
        : word(65_536 + 1372) === UFS2_MAGIC
          ? "ufs"
          : text(512, 8) === "LABELONE"
            ? "lvm"
            : text(54, 3) === "FAT" || text(82, 3) === "FAT"
              ? "fat"
              : "unknown";
  return { kind, needsRecovery: false };
}
