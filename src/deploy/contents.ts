/**
 * What is on a disk, in words for somebody who is about to lose it: its partition table, and what tells file systems, swap, volumes of LVM,
 * RAID and ZFS, and what is encrypted, by the bytes that libblkid and GEOM know them by. Pure.
 */
import { formatSize, Problem } from "../base/index.ts";
import { type ReadAt, readExt4, readFat, readGpt, readMbr, readUfs } from "../formats/index.ts";

const MIB = 1 << 20;
const PROTECTIVE = 0xee;
const NAMES_SHOWN = 8;

/** `at` below zero counts from the end. */
const SIGNATURES: readonly { readonly what: string; readonly at: number; readonly bytes: string }[] = [
  { what: "swap", at: 4086, bytes: "SWAPSPACE2" },
  { what: "a LUKS volume, encrypted", at: 0, bytes: "LUKS\u00ba\u00be" },
  { what: "a physical volume of LVM", at: 512, bytes: "LABELONE" },
  { what: "a member of a Linux RAID", at: 0, bytes: "\u00fc\u004e\u002b\u00a9" },
  { what: "a member of a Linux RAID", at: 4096, bytes: "\u00fc\u004e\u002b\u00a9" },
  { what: "an XFS file system", at: 0, bytes: "XFSB" },
  { what: "a Btrfs file system", at: 65_600, bytes: "_BHRfS_M" },
  { what: "an NTFS file system", at: 3, bytes: "NTFS    " },
  { what: "a file system of a CD (ISO 9660)", at: 32_769, bytes: "CD001" },
  { what: "a Squashfs file system", at: 0, bytes: "hsqs" },
  { what: "a qcow2 disk", at: 0, bytes: "QFI\u00fb" },
  { what: "a member of a GEOM class", at: -512, bytes: "GEOM::" },
];
/** The ring of uberblocks in the first label of ZFS, each at least this long, and how one begins on either kind of machine. */
const UBERBLOCKS = { at: 128 << 10, sizeBytes: 128 << 10, eachBytes: 1024, magics: [0x00bab10cn, 0x0cb1ba0000000000n] } as const;

/** Nothing, for a disk that is empty as far as anybody can tell. */
export function contentsOf(readAt: ReadAt, sizeBytes: number): readonly string[] {
  const found = [...tableOf(readAt, sizeBytes), ...fileSystemOf(readAt), ...signaturesOf(readAt, sizeBytes)];
  if (found.length > 0) return [...new Set(found)];
  for (const [where, at] of [
    ["first", 0],
    ["last", Math.max(0, sizeBytes - MIB)],
  ] as const) {
    const bytes = readAt(at, Math.min(MIB, sizeBytes));
    const index = bytes.findIndex((byte) => byte !== 0);
    if (index >= 0) return [`something of no kind that is known here, in its ${where} MiB (at ${at + index})`];
  }
  return [];
}

function tableOf(readAt: ReadAt, sizeBytes: number): readonly string[] {
  const { diskGuid, partitions } = readGpt(readAt, sizeBytes);
  if (diskGuid !== undefined) {
    const shown = partitions.slice(0, NAMES_SHOWN).map((each) => `${each.name} ${formatSize(each.sizeBytes)}`.trim());
    const more = partitions.length > NAMES_SHOWN ? [`and ${partitions.length - NAMES_SHOWN} more`] : [];
    const names = partitions.length === 0 ? "" : `: ${[...shown, ...more].join(", ")}`;
    return [`a GUID partition table with ${counted(partitions.length)}${names}`];
  }
  const mbr = readMbr(readAt);
  // Boot sectors of FAT and NTFS end as such a table does.
  if (mbr === undefined || mbr.partitions.length === 0 || isBootSector(readAt)) return [];
  const [first] = mbr.partitions;
  if (first?.type === PROTECTIVE) return ["what is left of a GUID partition table"];
  return [
    `a partition table (MBR) with ${counted(mbr.partitions.length)}: ${mbr.partitions.map((each) => formatSize(each.sizeBytes)).join(", ")}`,
  ];
}

function counted(partitions: number): string {
  return partitions === 1 ? "1 partition" : `${partitions} partitions`;
}

function isBootSector(readAt: ReadAt): boolean {
  const [first] = readAt(0, 1);
  return first === 0xeb || first === 0xe9;
}

function fileSystemOf(readAt: ReadAt): readonly string[] {
  const readers: readonly (() => string)[] = [
    () => `an ext file system${labelled(readExt4(readAt).facts.label)}`,
    () => `a UFS2 file system${labelled(readUfs(readAt).facts.label)}`,
    () => `a FAT file system${labelled(readFat(readAt).label)}`,
  ];
  for (const read of readers) {
    try {
      return [read()];
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
    }
  }
  // One that is not read here.
  return Buffer.from(readAt(1080, 2)).toString("latin1") === "S\u00ef" ? ["an ext file system"] : [];
}

function labelled(label: string): string {
  return label === "" ? "" : ` labelled ${JSON.stringify(label)}`;
}

function signaturesOf(readAt: ReadAt, sizeBytes: number): readonly string[] {
  const found = SIGNATURES.flatMap(({ what, at, bytes }) => {
    const from = at < 0 ? sizeBytes + at : at;
    return from >= 0 && Buffer.from(readAt(from, bytes.length)).toString("latin1") === bytes ? [what] : [];
  });
  const ring = readAt(UBERBLOCKS.at, UBERBLOCKS.sizeBytes);
  const view = new DataView(ring.buffer, ring.byteOffset, ring.byteLength);
  for (let at = 0; at + 8 <= ring.length; at += UBERBLOCKS.eachBytes) {
    const word = view.getBigUint64(at, true);
    if (UBERBLOCKS.magics.some((magic) => magic === word)) return [...found, "a member of a ZFS pool"];
  }
  return found;
}
