/**
 * A disk image as a value: partition table, EFI system partition, root file system, every byte accounted for. Pure.
 *
 *     0         protective MBR, GPT
 *     1 MiB     EFI system partition, FAT        what firmware starts: loader, kernel, initial RAM disk
 *     ...       root, ext4 or UFS2               the root plan, entry by entry; of ZFS a file that was made before (zfs.ts)
 *     end       GPT again
 *
 * Every number that is random elsewhere (GUIDs, volume ids, the seed of directory hashes) is derived from what the image is of, so the
 * same system gives the same bytes. Raised when the layout changes: `LAYOUT`.
 */
import { formatSize, Problem, sha256, type StorePath, type System } from "../base/index.ts";
import {
  type BlockImage,
  type ByteRange,
  contentBytes,
  type Disk,
  type FileSystemEntry,
  type FileSystemPlan,
  layOutDisk,
  PARTITION_TYPE,
  type Piece,
  planExt4,
  planFat,
  planGpt,
  planUfs,
  shifted,
  shiftedFree,
} from "../formats/index.ts";
import type { MadeRoot } from "./zfs.ts";
import type { DiskSpec, Family, RootPlan, SystemSpec } from "../system/index.ts";

export const LAYOUT = "image-2";

export interface ImageWish {
  /** What the numbers are derived from: the store path of the system. */
  readonly system: StorePath;
  readonly root: RootPlan;
  readonly disk: DiskSpec;
  /** ext4 is what Linux is started from, UFS2 what FreeBSD is. */
  readonly family: Family;
  readonly architecture: "x86_64" | "aarch64";
  readonly timeSeconds: number;
  /** Of a ZFS root, which nobody plans: it was made from the same root plan. */
  readonly madeRoot?: MadeRoot;
}

/** Of a composed system. Every file has one time: it is no part of what a system is. */
export function imageWishOf(
  { system, root, spec }: Pick<ImageWish, "system" | "root"> & { readonly spec: Pick<SystemSpec, "disk" | "family"> },
  platform: System,
): ImageWish {
  const architecture = platform.startsWith("aarch64") ? "aarch64" : "x86_64";
  return { system, root, disk: spec.disk, family: spec.family, architecture, timeSeconds: 1 };
}

export interface ImagePlan {
  readonly image: BlockImage;
  readonly disk: Disk;
  readonly esp: { readonly sizeBytes: number; readonly files: number };
  readonly rootUsage: {
    readonly sizeBytes: number;
    readonly usedBytes: number;
    readonly freeBytes: number;
    readonly inodes: number;
  };
  readonly entries: number;
}

/** A UUID of version 8 (RFC 9562): ours to fill, here with a digest. */
export function derivedUuid(seed: string): string {
  const hex = sha256(seed);
  const variant = ((Number.parseInt(hex.slice(16, 17), 16) & 0x3) | 0x8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** @throws Problem E_IMAGE_TOO_SMALL, which says by how much and what takes the room, E_NO_ZFS (exit 3) for a ZFS root that was not made */
export function planImage(wish: ImageWish): ImagePlan {
  const { disk: spec, root, timeSeconds } = wish;
  const uuid = (what: string): string => derivedUuid(`${LAYOUT} ${wish.system} ${what}`);
  const rootBytes = spec.rootBytes ?? roomLeft(spec);
  const common = {
    ...(rootBytes === undefined ? {} : { sizeBytes: rootBytes }),
    ...(spec.rootFreeBytes === undefined ? {} : { freeBytes: spec.rootFreeBytes }),
    label: spec.rootLabel,
    timeSeconds,
  };
  const fileSystem = withReasons(root, () =>
    spec.pool !== undefined
      ? zfsRoot(wish, spec.pool)
      : wish.family === "freebsd"
        ? planUfs(root.entries, { ...common, identity: [word(uuid("root")), word(uuid("inodes"))] })
        : planExt4(root.entries, { ...common, uuid: uuid("root"), hashSeed: uuid("hash") }),
  );
  const disk = withReasons(root, () =>
    layOutDisk({
      diskGuid: uuid("disk"),
      ...(spec.sizeBytes === undefined ? {} : { sizeBytes: spec.sizeBytes }),
      partitions: [
        {
          name: spec.espLabel,
          typeGuid: PARTITION_TYPE.esp,
          guid: uuid("esp partition"),
          sizeBytes: spec.espBytes,
        },
        {
          name: spec.rootLabel,
          typeGuid: rootType(wish),
          guid: uuid("root partition"),
          sizeBytes: fileSystem.image.sizeBytes,
        },
      ],
    }),
  );
  const [first, second] = disk.partitions;
  if (first === undefined || second === undefined) throw new Error("a disk of two partitions has two partitions");
  const esp = withReasons(root, () =>
    planFat({
      sizeBytes: first.sizeBytes,
      label: fatLabel(spec.espLabel),
      volumeId: Number.parseInt(sha256(`${LAYOUT} ${wish.system} fat`).slice(0, 8), 16),
      entries: root.esp.map(({ path, content }) => ({ path, type: "file", content })),
      timeSeconds,
      partitionOffsetBytes: first.firstByte,
    }),
  );
  const pieces: Piece[] = [...planGpt(disk), ...shifted(esp, first.firstByte), ...shifted(fileSystem.image, second.firstByte)];
  const free = [...freeIn(esp, first.firstByte), ...freeIn(fileSystem.image, second.firstByte)];
  return {
    image: { sizeBytes: disk.sizeBytes, pieces: pieces.toSorted((left, right) => left.at - right.at), free },
    disk,
    esp: { sizeBytes: first.sizeBytes, files: root.esp.length },
    rootUsage: { ...fileSystem.usage, sizeBytes: second.sizeBytes },
    entries: root.entries.length,
  };
}

/**
 * Of a partition, but for its last MiB: there labels of ZFS, of RAID and their like would be found that a disk had before. Zeros
 * leave none.
 */
function freeIn(image: BlockImage, firstByte: number): readonly ByteRange[] {
  const end = firstByte + image.sizeBytes - MIB;
  return shiftedFree(image, firstByte).flatMap(({ at, sizeBytes }) =>
    at >= end ? [] : [{ at, sizeBytes: Math.min(sizeBytes, end - at) }],
  );
}

function zfsRoot({ root, madeRoot }: ImageWish, pool: string): Pick<FileSystemPlan, "image" | "usage"> {
  if (madeRoot === undefined) {
    throw new Problem({
      code: "E_NO_ZFS",
      message: `planning an image: the root in the pool ${pool} can only be made as an image, by makefs(8) of a FreeBSD host`,
      hint: "`garth system image` makes it there: write that image to the disk",
      exit: 3,
    });
  }
  const { file, sizeBytes, usedBytes } = madeRoot;
  const used = root.entries.length;
  return {
    image: { sizeBytes, pieces: [{ at: 0, kind: "file", file, offset: 0, sizeBytes }] },
    // ZFS has as many inodes as it has room for.
    usage: { sizeBytes, usedBytes, freeBytes: sizeBytes - usedBytes, inodes: used, freeInodes: 0 },
  };
}

function rootType({ family, architecture, disk }: ImageWish): string {
  if (disk.pool !== undefined) return PARTITION_TYPE.freebsdZfs;
  if (family === "freebsd") return PARTITION_TYPE.freebsdUfs;
  return architecture === "x86_64" ? PARTITION_TYPE.linuxRootX86_64 : PARTITION_TYPE.linuxRootAarch64;
}

/** 32 bits of a UUID. */
function word(uuid: string): number {
  return Number.parseInt(uuid.slice(0, 8), 16);
}

/** FAT's labels are 11 characters. */
function fatLabel(label: string): string {
  return label.slice(0, 11).toUpperCase();
}

const MIB = 1 << 20;

/** Where the disk has a size and the root has none, the root takes what the rest leaves. */
export function roomLeft({ sizeBytes, espBytes }: DiskSpec): number | undefined {
  if (sizeBytes === undefined) return undefined;
  const ends = 2 * MIB;
  return Math.max(0, Math.floor((sizeBytes - Math.ceil(espBytes / MIB) * MIB - ends) / MIB) * MIB);
}

const TOO_SMALL = new Set(["E_EXT4_TOO_SMALL", "E_UFS_TOO_SMALL", "E_ZFS_TOO_SMALL", "E_FAT_TOO_SMALL", "E_DISK_TOO_SMALL"]);
const SHOWN = 8;

function withReasons<Result>(root: RootPlan, plan: () => Result): Result {
  try {
    return plan();
  } catch (error) {
    throw explained(root, error);
  }
}

/** What lacks room says what takes it; anything else is as it was. */
export function explained(root: RootPlan, error: unknown): unknown {
  if (!(error instanceof Problem) || !TOO_SMALL.has(error.code)) return error;
  const consumers =
    error.code === "E_FAT_TOO_SMALL"
      ? root.esp.map(({ path, content }) => [path, contentBytes(content)] as const)
      : byItem(root.entries);
  const largest = consumers.toSorted(([, left], [, right]) => right - left).slice(0, SHOWN);
  return new Problem({
    code: "E_IMAGE_TOO_SMALL",
    message: `the image is too small: ${error.message}`,
    details: [
      ...error.details,
      "what takes the room:",
      ...largest.map(([name, bytes]) => `${formatSize(bytes).padStart(10)}  ${name}`),
    ],
    hint: "give it more: disk: { size, root, esp } of the system; without sizes it is as large as it has to be",
    exit: 2,
    cause: error,
  });
}

/** Bytes below each store item, and below each directory of the root for the rest. */
function byItem(entries: readonly FileSystemEntry[]): readonly (readonly [string, number])[] {
  const sums = new Map<string, number>();
  for (const entry of entries) {
    if (entry.type !== "file") continue;
    const name = /^frx\/store\/[0-9a-f]{64}-([^/]+)/.exec(entry.path)?.[1] ?? `/${entry.path.split("/", 1)[0] ?? ""}`;
    sums.set(name, (sums.get(name) ?? 0) + contentBytes(entry.content));
  }
  return [...sums];
}
