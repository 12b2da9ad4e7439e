/**
 * A system onto a disk, or into a file that is one: planned as a value, refused while nothing is touched, written so that what was
 * interrupted cannot be taken for whole, read back, recorded.
 *
 *     lookAtTarget ──► planInstallation ──► installationLines (--dry-run)
 *                             └──► install ──► writeDevice ──► receipt
 *
 * What is installed is the image of that size, byte for byte, but for its first generation, which says how the machine came by it.
 */
import { formatSize, Problem, type StorePath } from "../base/index.ts";
import type { FileSystemEntry } from "../formats/index.ts";
import type { Host } from "../host/index.ts";
import { type DeviceEvent, type ImagePlan, type ImageWish, planImage, writeDevice, type WrittenDevice } from "../image/index.ts";
import { firstGeneration, type RootPlan } from "../system/index.ts";
import type { TargetFacts } from "./target.ts";

export interface InstallWish {
  /** The system's own name. */
  readonly name: string;
  /** As for its image; its size is that of the target. */
  readonly image: ImageWish;
  /** Of a file; default: its own size where it is there, else what the contents need. */
  readonly sizeBytes: number | undefined;
  /** Whether what is on the target may go. */
  readonly force: boolean;
}

export interface Installation {
  readonly name: string;
  readonly system: StorePath;
  readonly target: { readonly path: string; readonly kind: "new" | "file" | "disk"; readonly sizeBytes: number };
  /** What is on it now and will be gone. */
  readonly overwrites: readonly string[];
  readonly partitions: readonly {
    readonly label: string;
    readonly fileSystem: "fat" | "ext4" | "ufs";
    readonly firstByte: number;
    readonly sizeBytes: number;
  }[];
  /** Record of the first generation. */
  readonly made: Readonly<Record<string, string>>;
  readonly root: { readonly usedBytes: number; readonly freeBytes: number; readonly entries: number };
  /** Every byte. */
  readonly image: ImagePlan;
}

/**
 * Pure.
 *
 * @throws Problem what `checkTarget` throws, E_NO_SPACE, and E_IMAGE_TOO_SMALL, which says by how much and what takes the room
 */
export function planInstallation(target: TargetFacts, wish: InstallWish): Installation {
  const kind = checkTarget(target, wish);
  const sizeBytes = sizeFor(target, wish);
  const { image: planned, made } = imageFor(wish, kind === "disk" ? "disk" : "file", sizeBytes);
  const { disk, esp, rootUsage, entries } = planned;
  const neededBytes = planned.image.pieces.reduce(
    (sum, piece) => sum + (piece.kind === "bytes" ? piece.bytes.length : piece.sizeBytes),
    0,
  );
  if (target.roomBytes !== undefined && target.roomBytes < neededBytes)
    throw refusal(target, "E_NO_SPACE", "there is no room for it", {
      details: [`needed: ${formatSize(neededBytes)} (${neededBytes} bytes)`, `free:   ${formatSize(target.roomBytes)}`],
      hint: "make room where the file is to lie, or name another place",
      exit: 3,
    });
  const fileSystems = ["fat", wish.image.family === "freebsd" ? "ufs" : "ext4"] as const;
  return {
    name: wish.name,
    system: wish.image.system,
    target: { path: target.path, kind, sizeBytes: disk.sizeBytes },
    overwrites: target.contents,
    partitions: disk.partitions.map(({ name, firstByte, sizeBytes: bytes }, index) => ({
      label: name,
      fileSystem: fileSystems[index] ?? "ext4",
      firstByte,
      sizeBytes: bytes,
    })),
    made,
    root: { usedBytes: rootUsage.usedBytes, freeBytes: rootUsage.freeBytes, entries },
    image: { ...planned, esp },
  };
}

/**
 * Everything that speaks against a target, whatever is to be installed. Pure.
 *
 * @throws Problem E_TARGET_KIND, E_TARGET_PARTITION, E_NO_SUCH_DIRECTORY, E_TARGET_NO_MEDIUM, E_TARGET_READ_ONLY,
 * E_TARGET_SECTORS, E_TARGET_IN_USE, E_TARGET_NOT_EMPTY, E_INSTALL_SIZE
 */
export function checkTarget(
  target: TargetFacts,
  { force, sizeBytes }: Pick<InstallWish, "force" | "sizeBytes">,
): Installation["target"]["kind"] {
  const { kind, uses, contents } = target;
  if (kind === "directory" || kind === "other")
    throw refusal(target, "E_TARGET_KIND", kind === "directory" ? "it is a directory" : "it is neither a file nor a disk", {
      hint: "name a file, which is made, or a disk: /dev/...",
    });
  if (kind === "partition")
    throw refusal(target, "E_TARGET_PARTITION", "it is a partition, and a system comes with partitions of its own", {
      hint: "name the whole disk",
    });
  if (!target.hasParent)
    throw refusal(target, "E_NO_SUCH_DIRECTORY", "there is no directory for it", { hint: "make it first: mkdir -p" });
  if (kind === "disk" && target.sizeBytes === 0)
    throw refusal(target, "E_TARGET_NO_MEDIUM", "there is no medium in it", {
      hint: "`lsblk` (Linux) or `geom disk list` (FreeBSD) shows disks and their sizes",
      exit: 3,
    });
  if (target.readOnly)
    throw refusal(target, "E_TARGET_READ_ONLY", "it cannot be written to", {
      hint: "look for a switch on the medium, at `blockdev --getro`, and at who you are",
      exit: 3,
    });
  if (target.sectorBytes !== undefined && target.sectorBytes !== SECTOR_BYTES)
    throw refusal(
      target,
      "E_TARGET_SECTORS",
      `its sectors are of ${target.sectorBytes} bytes, and the table is written for ${SECTOR_BYTES}`,
      {
        hint: "some disks can be told to have sectors of 512 bytes: nvme format, hdparm --set-sector-size",
        exit: 3,
      },
    );
  if (uses.length > 0)
    throw refusal(target, "E_TARGET_IN_USE", target.isRoot ? "what runs here has its root on it" : "it is in use", {
      details: uses,
      hint: target.isRoot
        ? "install onto another disk; a machine gets another system by `garth system switch`"
        : "unmount it, swapoff, or take it out of what holds it",
    });
  if (contents.length > 0 && !force)
    throw refusal(target, "E_TARGET_NOT_EMPTY", "it is not empty", {
      details: contents,
      hint: "--force writes over it: all that is on it is lost",
    });
  if (kind === "disk" && sizeBytes !== undefined)
    throw refusal(target, "E_INSTALL_SIZE", "a disk has its own size, and the root takes all of it", {
      hint: "leave out --size",
    });
  return kind;
}

const SECTOR_BYTES = 512;

/** undefined: as large as it has to be. */
function sizeFor(target: TargetFacts, { sizeBytes }: InstallWish): number | undefined {
  if (target.kind === "disk") return (target.sizeBytes ?? 0) - ((target.sizeBytes ?? 0) % SECTOR_BYTES);
  if (sizeBytes !== undefined) {
    if (sizeBytes > 0 && sizeBytes % SECTOR_BYTES === 0) return sizeBytes;
    throw refusal(target, "E_INSTALL_SIZE", `a disk of ${sizeBytes} bytes has no whole sectors of ${SECTOR_BYTES} bytes`, {
      hint: "say the size in whole MiB: 8G, 1536M",
    });
  }
  const own = target.sizeBytes ?? 0;
  return own >= SECTOR_BYTES ? own - (own % SECTOR_BYTES) : undefined;
}

function imageFor(
  { image }: InstallWish,
  kind: "disk" | "file",
  sizeBytes: number | undefined,
): { readonly image: ImagePlan; readonly made: Readonly<Record<string, string>> } {
  // The root takes what the size leaves, whatever it was declared to be.
  const disk = sizeBytes === undefined ? image.disk : { ...image.disk, sizeBytes, rootBytes: undefined };
  const madeWith = (bytes: number): Readonly<Record<string, string>> => ({
    by: "install",
    target: kind,
    disk_bytes: String(bytes),
    root: image.disk.rootLabel,
    esp: image.disk.espLabel,
  });
  const planned = (bytes: number) => {
    const made = madeWith(bytes);
    return { image: planImage({ ...image, disk, root: withRecord(image, made) }), made };
  };
  const given = disk.sizeBytes;
  if (given !== undefined) return planned(given);
  // A record has its block whatever number it has in it: the size is the same.
  const { sizeBytes: found } = planned(0).image.disk;
  return planned(found);
}

/** The root of an image, but that its first generation says how the machine came by it. */
function withRecord({ system, root }: ImageWish, made: Readonly<Record<string, string>>): RootPlan {
  const record = firstGeneration(system, [], made).find(({ path, kind }) => kind === "text" && path.endsWith("/made"));
  if (record?.kind !== "text") throw new Error("a generation has a record");
  const bytes = new TextEncoder().encode(record.text);
  const entries = root.entries.map((entry): FileSystemEntry =>
    entry.path === record.path && entry.type === "file" ? { ...entry, content: { kind: "bytes", bytes } } : entry,
  );
  return { ...root, entries };
}

function refusal(
  { path }: TargetFacts,
  code: `E_${string}`,
  what: string,
  more: { readonly details?: readonly string[]; readonly hint: string; readonly exit?: 2 | 3 },
): Problem {
  return new Problem({ code, message: `installing onto ${path}: ${what}`, where: path, exit: 2, ...more });
}

/** The plan for a person. */
export function installationLines({ name, system, target, overwrites, partitions, root }: Installation): readonly string[] {
  const kinds = { new: "a new file", file: "a file that is there", disk: "a disk" } as const;
  return [
    `installs ${name}: ${system}`,
    `onto     ${target.path}: ${kinds[target.kind]}, ${formatSize(target.sizeBytes)} (${target.sizeBytes} bytes)`,
    ...(overwrites.length === 0 ? ["lost     nothing: it is empty"] : overwrites.map((what) => `lost     ${what}`)),
    ...partitions.map(
      ({ label, fileSystem, firstByte, sizeBytes }, index) =>
        `${index + 1}        ${label}, ${fileSystem}, ${formatSize(sizeBytes)} from ${formatSize(firstByte)} on`,
    ),
    `root     ${root.entries} entries, ${formatSize(root.usedBytes)} used, ${formatSize(root.freeBytes)} free`,
  ];
}

export interface InstallOptions {
  /** Where a file of the store lies, by its logical path. */
  readonly locate: (file: string) => string;
  readonly verify: boolean;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: DeviceEvent) => void;
}

export interface Installed extends WrittenDevice {
  /** In the order of a receipt. */
  readonly fields: Readonly<Record<string, string>>;
}

/**
 * A file that was not there is gone again when this throws; a disk, or a file that was there, has no partition table then.
 *
 * @throws Problem E_IMAGE_SOURCE, E_NO_SPACE, E_DEVICE_OPEN, E_DEVICE_BUSY, E_DEVICE_WRITE, E_READ_BACK, E_INTERRUPTED
 */
export async function install(host: Host, plan: Installation, options: InstallOptions): Promise<Installed> {
  const written = await writeDevice(host, plan.image, plan.target.path, { ...options, target: plan.target.kind });
  return { ...written, fields: receiptFields(plan, written, options.verify) };
}

function receiptFields(
  { target, system, partitions, image, root, overwrites }: Installation,
  { writtenBytes, clearedBytes, writtenSha256, sha256 }: WrittenDevice,
  verified: boolean,
): Readonly<Record<string, string>> {
  const [esp, rootPartition] = partitions;
  return {
    target: target.path,
    target_kind: target.kind === "disk" ? "device" : "file",
    disk_capacity: String(target.sizeBytes),
    overwritten: overwrites.join("; "),
    written_bytes: String(writtenBytes),
    cleared_bytes: String(clearedBytes),
    written_sha256: writtenSha256,
    ...(sha256 !== undefined && { raw_sha256: sha256 }),
    read_back: verified ? "same" : "no",
    partition_scheme: "gpt",
    esp_size: String(image.esp.sizeBytes),
    esp_fstype: "fat",
    efi_partition_label: esp?.label ?? "",
    root_size: String(image.rootUsage.sizeBytes),
    root_free: String(root.freeBytes),
    root_fstype: rootPartition?.fileSystem ?? "",
    root_partition_label: rootPartition?.label ?? "",
    entry_count: String(root.entries),
    closure_path: system,
  };
}
