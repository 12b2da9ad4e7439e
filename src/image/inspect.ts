/** What is on a disk image: partitions, file systems, the system it is of. And whether the readers of the system agree. */
import { Problem } from "../base/index.ts";
import { type GptReading, readExt4, readFat, readGpt, readUfs } from "../formats/index.ts";
import type { Host } from "../host/index.ts";
import { readAtOfDisk } from "./sectors.ts";

export interface InspectedPartition {
  readonly number: number;
  readonly name: string;
  readonly typeGuid: string;
  readonly guid: string;
  readonly firstByte: number;
  readonly sizeBytes: number;
  readonly fileSystem: "fat" | "ext4" | "ufs" | "unknown";
  readonly label: string;
  /** Used and free bytes, where the file system says them. */
  readonly freeBytes?: number;
  readonly files: number;
}

export interface InspectedImage {
  readonly file: string;
  readonly sizeBytes: number;
  readonly diskGuid: string | undefined;
  readonly findings: readonly string[];
  readonly partitions: readonly InspectedPartition[];
  /** Of the root: where /run/current-system points, and the store items there. */
  readonly system: string | undefined;
  readonly storeItems: readonly string[];
  /** Of the EFI system partition. */
  readonly esp: readonly { readonly path: string; readonly sizeBytes: number }[];
}

type ReadAt = (offset: number, length: number) => Uint8Array;

/** A raw disk. @throws Problem E_NO_SUCH_FILE, E_NOT_AN_IMAGE */
export function inspectImage(host: Host, file: string): InspectedImage {
  if (!host.files.exists(file))
    throw new Problem({ code: "E_NO_SUCH_FILE", message: `there is no image ${file}`, where: file, exit: 2 });
  const descriptor = host.files.open(file, "r");
  try {
    // Of a disk, too.
    const sizeBytes = host.files.endOf(descriptor);
    return inspect(file, sizeBytes, readAtOfDisk(host, descriptor, sizeBytes));
  } finally {
    host.files.close(descriptor);
  }
}

function inspect(file: string, sizeBytes: number, readAt: ReadAt): InspectedImage {
  const table: GptReading = readGpt(readAt, sizeBytes);
  if (table.diskGuid === undefined) {
    throw new Problem({
      code: "E_NOT_AN_IMAGE",
      message: `${file} is not a disk with a GUID partition table`,
      details: table.findings,
      where: file,
      hint: "a qcow2 or VHD disk is made raw first: qemu-img convert -O raw",
      exit: 2,
    });
  }
  let system: string | undefined;
  let storeItems: readonly string[] = [];
  let esp: InspectedImage["esp"] = [];
  const findings = [...table.findings];
  const partitions = table.partitions.map(({ number, name, typeGuid, guid, firstByte, sizeBytes: size }): InspectedPartition => {
    const about = { number, name, typeGuid, guid, firstByte, sizeBytes: size };
    const inside: ReadAt = (offset, length) => readAt(firstByte + offset, Math.min(length, size - offset));
    const root = rootIn(inside);
    if (root !== undefined) {
      const { fileSystem, label, list: read, ...free } = root;
      const list = attempt(read, (why) => findings.push(`partition ${number}, ${name}: ${why}`));
      if (list === undefined) return { ...about, fileSystem, label, files: 0 };
      system = list.find(({ path }) => path === "run/current-system")?.target ?? system;
      storeItems = list.flatMap(({ path }) => (/^frx\/store\/[^/]+$/.test(path) ? [`/${path}`] : []));
      return { ...about, fileSystem, label, ...free, files: list.length };
    }
    const fat = attempt(() => readFat(inside));
    if (fat !== undefined) {
      const files = fat.entries.filter(({ type }) => type === "file");
      esp = files.map(({ path, sizeBytes: bytes }) => ({ path, sizeBytes: bytes }));
      return { ...about, fileSystem: "fat", label: fat.label, files: files.length };
    }
    return { ...about, fileSystem: "unknown", label: "", files: 0 };
  });
  return { file, sizeBytes, diskGuid: table.diskGuid, findings, partitions, system, storeItems, esp };
}

interface RootFileSystem {
  readonly fileSystem: "ext4" | "ufs";
  readonly label: string;
  readonly freeBytes?: number;
  readonly list: () => readonly { readonly path: string; readonly target?: string }[];
}

function rootIn(readAt: ReadAt): RootFileSystem | undefined {
  const ext4 = attempt(() => readExt4(readAt));
  if (ext4 !== undefined) {
    const { label, freeBytes } = ext4.facts;
    return { fileSystem: "ext4", label, freeBytes, list: ext4.list };
  }
  const ufs = attempt(() => readUfs(readAt));
  return ufs && { fileSystem: "ufs", label: ufs.facts.label, list: ufs.list };
}

/** A partition may hold anything: what is not this file system is another one. A disk is told of, however it is broken. */
function attempt<Result>(read: () => Result, failed: (why: string) => void = () => undefined): Result | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    failed(error.message);
    return undefined;
  }
}
