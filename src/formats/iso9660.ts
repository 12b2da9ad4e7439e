/**
 * An ISO 9660 volume from a list of entries, which UEFI firmware starts from a CD and from a USB stick: without root, without a staged tree, the
 * same bytes from the same list. Names, modes, owners, times and links are those of Rock Ridge; beneath are names of level 3.
 *
 *     0          the system area: with `disk` a protective MBR and a GPT, else zeros
 *     32 KiB     volume descriptors, the catalogue of El Torito
 *     1 MiB      EFI system partition, FAT
 *     ...        path tables, directories
 *     ...        contents of files, each from a sector of 2048 bytes on
 *     end        with `disk` the GPT again
 *
 * As a disk it has two partitions: the ESP, and what is behind it. None of them is the volume itself: GPT knows no partition that holds the
 * table, FreeBSD takes no table whose partitions overlap, and every system finds the volume on the whole disk by its label.
 */
import { Problem } from "../base/index.ts";
import { type BlockImage, contentBytes, type FileSystemEntry, type Piece, shifted } from "./blocks.ts";
import { type Disk, PARTITION_TYPE, planGpt } from "./gpt.ts";
import {
  type Directories,
  directoryBytes,
  type Extent,
  planDirectories,
  renderDirectory,
  renderPathTable,
  rootRecord,
} from "./iso9660-directory.ts";
import {
  DESCRIPTOR,
  EARLIEST_SECONDS,
  EMPTY_SECTOR,
  EXTENT_MAX_BYTES,
  LATEST_SECONDS,
  roundUp,
  SECTOR,
} from "./iso9660-format.ts";
import { bootCatalogue, bootDescriptor, endDescriptor, primaryDescriptor } from "./iso9660-volume.ts";
import { mergedPieces } from "./pieces.ts";
import { planEntries, type Tree, type TreeNode, type TreeRules } from "./tree.ts";

/** A file that consists of pieces of another image, one right behind the other: where they lay there makes no difference here. */
export interface PackedFile {
  readonly path: string;
  readonly pieces: readonly Piece[];
  /** Default 0644. Its owner is root, its time that of the volume. */
  readonly mode?: number;
}

export interface IsoOptions {
  /** 1 to 32 capitals, digits and `_`: /dev/iso9660/LABEL, LABEL=... */
  readonly label: string;
  /** When it was made, the time of directories that nobody listed, and of packed files. */
  readonly timeSeconds: number;
  /** The FAT file system that UEFI firmware starts: `planFat`. It comes to lie at `ISO_ESP_AT`. */
  readonly esp: BlockImage;
  readonly packed?: readonly PackedFile[];
  /** Makes it a disk too. GUIDs: of the disk, of the ESP, and of the partition that keeps the rest from being written over. */
  readonly disk?: { readonly diskGuid: string; readonly espGuid: string; readonly contentGuid: string };
}

export interface IsoPlan {
  readonly image: BlockImage;
  readonly esp: { readonly firstByte: number; readonly sizeBytes: number };
  /** With the option of that name. */
  readonly disk: Disk | undefined;
  readonly usage: {
    readonly sizeBytes: number;
    /** Of files, without what fills their last sectors. */
    readonly contentBytes: number;
    readonly directories: number;
  };
}

/** Where the ESP begins: what its FAT is to say in `partitionOffsetBytes`. */
export const ISO_ESP_AT = 2 ** 20;

const DISK_SECTOR = 512;
const GPT_TAIL_BYTES = 33 * DISK_SECTOR;
const LABEL = /^[A-Z0-9_]{1,32}$/;
/** Numbers of directories have 16 bits. */
const DIRECTORIES_MAX = 0xffff;
const SECTORS_MAX = 2 ** 32 - 1;
/** Linux follows a hundred. */
const EXTENTS_MAX = 99;

const RULES: TreeRules = {
  what: "an ISO 9660 volume",
  rootInode: 1,
  firstInode: 2,
  kindOf: () => 0,
  // Linux takes 253 bytes of a longer one, and has other names by that.
  nameMaxBytes: 253,
  // FreeBSD's kernel and libisofs take no more; Linux takes 4095.
  targetMaxBytes: 1_023,
  fileMaxBytes: EXTENTS_MAX * EXTENT_MAX_BYTES,
  linksMax: 2 ** 31,
  secondsMin: EARLIEST_SECONDS,
  secondsMax: LATEST_SECONDS,
  // Linux takes a device's number apart after its eighth bit.
  majorMax: 0xfff,
  minorMax: 0xff,
};

/** @throws Problem E_BAD_TREE for entries that no ISO 9660 can hold, E_ISO_TOO_LARGE, E_ISO_OPTIONS */
export function planIso(entries: readonly FileSystemEntry[], options: IsoOptions): IsoPlan {
  checkOptions(options);
  const packed = new Map<FileSystemEntry, readonly Piece[]>(
    (options.packed ?? []).map(({ path, pieces, mode = 0o644 }) => {
      const content = { kind: "file", file: path, sizeBytes: pieces.reduce((sum, piece) => sum + pieceBytes(piece), 0) } as const;
      return [{ type: "file", path, mode, uid: 0, gid: 0, timeSeconds: options.timeSeconds, content }, pieces];
    }),
  );
  const tree = planEntries([...entries, ...packed.keys()], options.timeSeconds, RULES);
  const directories = planDirectories(tree, fileBytes);
  if (directories.all.length > DIRECTORIES_MAX) {
    throw tooLarge(options, `it has ${directories.all.length} directories, and ${DIRECTORIES_MAX} can be numbered`);
  }
  return rendered(tree, directories, packed, options);
}

function fileBytes({ entry }: TreeNode): number {
  return entry.type === "file" ? contentBytes(entry.content) : 0;
}

function pieceBytes(piece: Piece): number {
  return piece.kind === "bytes" ? piece.bytes.length : piece.sizeBytes;
}

function rendered(
  tree: Tree,
  directories: Directories,
  packed: ReadonlyMap<FileSystemEntry, readonly Piece[]>,
  options: IsoOptions,
): IsoPlan {
  const { esp, timeSeconds, label } = options;
  let end = (ISO_ESP_AT + roundUp(esp.sizeBytes, SECTOR)) / SECTOR;
  const take = (sizeBytes: number): number => {
    const at = end;
    end += Math.ceil(sizeBytes / SECTOR);
    return at;
  };
  const pathTable = {
    sizeBytes: directories.pathTableBytes,
    little: take(directories.pathTableBytes),
    big: take(directories.pathTableBytes),
  };
  const extents = new Map<TreeNode, Extent>();
  for (const directory of directories.all) {
    extents.set(directory.node, { sector: take(directoryBytes(directory)), sizeBytes: directory.sizeBytes });
  }
  for (const node of tree.nodes) {
    const sizeBytes = fileBytes(node);
    if (sizeBytes > 0) extents.set(node, { sector: take(sizeBytes), sizeBytes });
  }
  const extentOf = (node: TreeNode): Extent => extents.get(node) ?? { sector: EMPTY_SECTOR, sizeBytes: 0 };

  const contentEnd = end * SECTOR;
  const sizeBytes = options.disk === undefined ? contentEnd : roundUp(contentEnd + GPT_TAIL_BYTES, SECTOR);
  if (sizeBytes / SECTOR > SECTORS_MAX) throw tooLarge(options, `it has ${sizeBytes} bytes, and 8 TiB can be told`);
  const disk = diskOf(options, sizeBytes);

  const [root] = directories.all;
  if (root === undefined) throw new Error("there is no root");
  const pieces: Piece[] = [...(disk === undefined ? [] : planGpt(disk)), ...shifted(esp, ISO_ESP_AT)];
  const put = (sector: number, bytes: Uint8Array): void => void pieces.push({ at: sector * SECTOR, kind: "bytes", bytes });
  const sectors = sizeBytes / SECTOR;
  const record = rootRecord(extentOf(root.node), root.node.entry.timeSeconds);
  put(DESCRIPTOR.primary, primaryDescriptor({ label, timeSeconds, sectors, pathTable, root: record }));
  put(DESCRIPTOR.boot, bootDescriptor());
  put(DESCRIPTOR.end, endDescriptor());
  put(DESCRIPTOR.catalogue, bootCatalogue({ sector: ISO_ESP_AT / SECTOR, sizeBytes: esp.sizeBytes }));
  for (const [littleEndian, sector] of [
    [true, pathTable.little],
    [false, pathTable.big],
  ] as const) {
    put(
      sector,
      renderPathTable(directories, ({ node }) => extentOf(node).sector, littleEndian),
    );
  }
  for (const directory of directories.all) {
    put(extentOf(directory.node).sector, renderDirectory(directory, extentOf));
  }
  for (const node of tree.nodes) pieces.push(...contentPieces(node, extentOf(node).sector * SECTOR, packed.get(node.entry)));

  return {
    image: { sizeBytes, pieces: mergedPieces(pieces) },
    esp: { firstByte: ISO_ESP_AT, sizeBytes: esp.sizeBytes },
    disk,
    usage: {
      sizeBytes,
      contentBytes: tree.nodes.reduce((sum, node) => sum + fileBytes(node), 0),
      directories: directories.all.length,
    },
  };
}

/** A file's extents lie one behind the other, so it is in one piece; holes are none. */
function contentPieces({ entry }: TreeNode, at: number, packed: readonly Piece[] | undefined): readonly Piece[] {
  if (packed !== undefined) {
    let end = at;
    return packed.map((piece) => {
      const placed = { ...piece, at: end };
      end += pieceBytes(piece);
      return placed;
    });
  }
  if (entry.type !== "file" || contentBytes(entry.content) === 0) return [];
  const { content } = entry;
  if (content.kind === "bytes") return [{ at, kind: "bytes", bytes: content.bytes }];
  const { file, sizeBytes, data = [{ from: 0, to: sizeBytes }] } = content;
  return data.map(({ from, to }) => ({ at: at + from, kind: "file", file, offset: from, sizeBytes: to - from }));
}

function diskOf({ disk, esp, label }: IsoOptions, sizeBytes: number): Disk | undefined {
  if (disk === undefined) return undefined;
  const espBytes = roundUp(esp.sizeBytes, SECTOR);
  const firstByte = ISO_ESP_AT + espBytes;
  return {
    sizeBytes,
    diskGuid: disk.diskGuid,
    partitions: [
      { name: "EFI system", typeGuid: PARTITION_TYPE.esp, guid: disk.espGuid, firstByte: ISO_ESP_AT, sizeBytes: espBytes },
      {
        name: label,
        typeGuid: PARTITION_TYPE.linuxData,
        guid: disk.contentGuid,
        firstByte,
        sizeBytes: Math.floor((sizeBytes - GPT_TAIL_BYTES - firstByte) / DISK_SECTOR) * DISK_SECTOR,
      },
    ],
  };
}

function checkOptions(options: IsoOptions): void {
  const { label, timeSeconds, esp } = options;
  if (!LABEL.test(label)) throw refused(options, "a label has 1 to 32 characters: A to Z, 0 to 9 and _");
  if (!Number.isSafeInteger(timeSeconds) || timeSeconds < EARLIEST_SECONDS || timeSeconds > LATEST_SECONDS)
    throw refused(options, `timeSeconds is of the years 1900 to 2155, not ${timeSeconds}`);
  if (esp.sizeBytes <= 0 || esp.sizeBytes % DISK_SECTOR !== 0)
    throw refused(options, `its EFI system partition has whole sectors of ${DISK_SECTOR} bytes, not ${esp.sizeBytes}`);
}

function refused(options: IsoOptions, what: string): Problem {
  return new Problem({
    code: "E_ISO_OPTIONS",
    message: `planning the ISO 9660 volume ${JSON.stringify(options.label)}: ${what}`,
    exit: 2,
  });
}

function tooLarge(options: IsoOptions, what: string): Problem {
  return new Problem({
    code: "E_ISO_TOO_LARGE",
    message: `planning the ISO 9660 volume ${JSON.stringify(options.label)}: ${what}`,
    hint: "leave something out",
  });
}
