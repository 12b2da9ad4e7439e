/**
 * A UFS2 file system from a list of entries, as FreeBSD makes them: without FreeBSD, without root, and without a staged tree; the same image
 * from the same list. Its superblock lies at 64 KiB, and every field is as the kernel's checks, fsck_ffs(8) and the loader want it.
 *
 * Blocks of 32 KiB, fragments of 4 KiB, no soft updates, no journal, no check hashes, no extended attributes: tunefs(8) turns on what
 * somebody wants, growfs(8) makes it larger. No devices: FreeBSD has its own in devfs(4).
 */
import { Problem } from "../base/index.ts";
import {
  type ByteRange,
  type Content,
  contentBytes,
  type DataRun,
  type FileSystemEntry,
  type FileSystemPlan,
  type Piece,
} from "./blocks.ts";
import { contentPieces, mergedPieces, type Placed } from "./pieces.ts";
import { planEntries, type Tree, type TreeNode, type TreeRules } from "./tree.ts";
import { directoryBytes, renderDirectory } from "./ufs-directory.ts";
import {
  BLOCK,
  FIRST_INODE,
  FRAGMENT,
  FRAGMENTS,
  INODE,
  INODE_BYTES,
  KINDS,
  LABEL_BYTES,
  POINTERS,
  ROOT_INODE,
  roundUp,
  SECTOR,
  SUPERBLOCK_AT,
  TARGET_IN_INODE,
  viewOf,
} from "./ufs-format.ts";
import { type Geometry, geometryOf, GROUP_FRAGMENT, INODES_FRAGMENT, SUPERBLOCK_FRAGMENT } from "./ufs-geometry.ts";
import { renderGroup, renderSummary, renderSuper, type Totals } from "./ufs-group.ts";
import { contentFragments, NOTHING, placeAll, type Placement, type Places, type Want } from "./ufs-place.ts";

export interface UfsOptions {
  /** A whole number of fragments of 4096. Without it the size is what the contents and `freeBytes` need, in whole MiB. */
  readonly sizeBytes?: number;
  /** For `/dev/ufs/LABEL`: letters, digits, `-` and `_`, at most 31. */
  readonly label: string;
  /** Two words of 32 bits that tell it from others (fs_id), also from which each inode's generation is made. */
  readonly identity: readonly [number, number];
  /** When it was made, and the time of directories that nobody listed. */
  readonly timeSeconds: number;
  /** Room to leave when the size is chosen: without it 64 MiB, or 15 % of the contents where that is more. */
  readonly freeBytes?: number;
  /** Inodes in all. Without it one for each 16 KiB, but 1024 more than are used, or 15 %. */
  readonly inodes?: number;
  /** Of the blocks, for root alone (fs_minfree). Default 8, below which the kernel looks for space and not for speed. */
  readonly minimumFreePercent?: number;
}

const MEBIBYTE = 2 ** 20;
const LEAST_FREE_BYTES = 64 * MEBIBYTE;
const FREE_PART = 0.15;
const LEAST_FREE_INODES = 1024;
const BYTES_PER_INODE = 16_384;
/** Sums of all groups lie in one group, and its maps in one block: far beyond what anybody makes an image of. */
const SIZE_MAX_BYTES = 2 ** 44;
const LABEL = /^[A-Za-z0-9_-]{1,31}$/;

const RULES: TreeRules = {
  what: "a UFS2 file system",
  rootInode: ROOT_INODE,
  firstInode: FIRST_INODE,
  kindOf: (type) => KINDS[type].entry,
  // MAXPATHLEN, with its NUL.
  targetMaxBytes: 1_023,
  fileMaxBytes: 2 ** 43,
  // UFS_LINK_MAX.
  linksMax: 65_500,
  secondsMin: -(2 ** 40),
  secondsMax: 2 ** 40,
  majorMax: 0,
  minorMax: 0,
  noDevices: "FreeBSD has its devices in devfs, and nodes in UFS are of no use",
};

const encoder = new TextEncoder();

/**
 * @throws Problem E_BAD_TREE for entries that no UFS2 can hold, E_UFS_TOO_SMALL when `sizeBytes` is not enough, with what is large,
 * E_UFS_OPTIONS
 */
export function planUfs(entries: readonly FileSystemEntry[], options: UfsOptions): FileSystemPlan {
  checkOptions(options);
  const tree = planEntries(entries, options.timeSeconds, RULES);
  const wants = tree.nodes.map(wantOf);
  return rendered(tree, placed(tree, wants, options), options);
}

function wantOf({ entry, children }: TreeNode): Want {
  switch (entry.type) {
    case "directory":
      return { sizeBytes: directoryBytes(children) };
    case "file":
      return { sizeBytes: contentBytes(entry.content), ...holesOf(entry.content) };
    case "symlink": {
      const { length } = encoder.encode(entry.target);
      return { sizeBytes: length < TARGET_IN_INODE ? 0 : length };
    }
    case "character":
    case "block":
    case "fifo":
      return { sizeBytes: 0 };
  }
}

/** Blocks of which no byte is data. */
function holesOf(content: Content): Pick<Want, "isHole"> {
  if (content.kind === "bytes") {
    if (content.bytes.length <= BLOCK) return {};
    return { isHole: (block) => content.bytes.subarray(block * BLOCK, (block + 1) * BLOCK).every((byte) => byte === 0) };
  }
  const { data } = content;
  if (data === undefined) return {};
  const blocks = new Set<number>();
  for (const { from, to } of data) {
    for (let block = Math.floor(from / BLOCK); block * BLOCK < to; block += 1) blocks.add(block);
  }
  return { isHole: (block) => !blocks.has(block) };
}

function placed(tree: Tree, wants: readonly Want[], options: UfsOptions): Places {
  const used = tree.lastInode + 1;
  const spare = Math.max(LEAST_FREE_INODES, Math.ceil(used * FREE_PART));
  const inodesFor = (sizeBytes: number): number =>
    options.inodes ?? Math.max(used + spare, Math.floor(sizeBytes / BYTES_PER_INODE));
  if (options.inodes !== undefined && options.inodes < used) {
    throw new Problem({
      code: "E_UFS_TOO_SMALL",
      message: `planning the UFS2 file system ${JSON.stringify(options.label)}: it has more entries than inodes`,
      details: [`needed: ${used} inodes`, `there:  ${options.inodes} inodes`],
      hint: "ask for more inodes, or leave their number to be chosen",
    });
  }
  const tryIn = (sizeBytes: number): Places | undefined => {
    const geometry = geometryOf(Math.floor(sizeBytes / FRAGMENT), inodesFor(sizeBytes));
    return geometry === undefined ? undefined : placeAll(geometry, wants);
  };
  const contents = wants.reduce((sum, want) => sum + contentFragments(want), 0) * FRAGMENT;
  const smallest = (least: number, freeBytes: number): number => {
    for (let sizeBytes = least; sizeBytes <= SIZE_MAX_BYTES;) {
      const found = tryIn(sizeBytes);
      const lacking = found === undefined ? MEBIBYTE : freeBytes - found.freeFragments * FRAGMENT;
      if (lacking <= 0) return sizeBytes;
      sizeBytes += roundUp(Math.max(lacking, MEBIBYTE), MEBIBYTE);
    }
    throw refused(options, "its contents are more than 16 TiB");
  };
  if (options.sizeBytes === undefined) {
    const free = options.freeBytes ?? Math.max(LEAST_FREE_BYTES, Math.ceil(contents * FREE_PART));
    const found = tryIn(smallest(roundUp(contents + free + MEBIBYTE, MEBIBYTE), free));
    if (found === undefined) throw new Error("a size that was found is none");
    return found;
  }
  const found = tryIn(options.sizeBytes);
  if (found !== undefined) return found;
  const needed = smallest(roundUp(Math.max(contents, options.sizeBytes), MEBIBYTE), 0);
  throw new Problem({
    code: "E_UFS_TOO_SMALL",
    message: `planning the UFS2 file system ${JSON.stringify(options.label)}: its contents do not fit into its size`,
    details: [
      `needed:  ${needed} bytes, of which ${contents} are contents`,
      `there:   ${options.sizeBytes} bytes`,
      `missing: ${needed - options.sizeBytes} bytes`,
      ...largest(tree, wants).map(({ path, sizeBytes }) => `large:   ${sizeBytes} bytes ${JSON.stringify(path)}`),
    ],
    hint: "make it larger, leave something out, or leave the size to be chosen",
  });
}

const LARGEST_SHOWN = 5;

function largest(tree: Tree, wants: readonly Want[]): readonly { readonly path: string; readonly sizeBytes: number }[] {
  return tree.nodes
    .flatMap(({ entry }, index) => (entry.type === "file" ? [{ path: entry.path, sizeBytes: wants[index]?.sizeBytes ?? 0 }] : []))
    .toSorted((a, b) => b.sizeBytes - a.sizeBytes)
    .slice(0, LARGEST_SHOWN);
}

function rendered(tree: Tree, places: Places, options: UfsOptions): FileSystemPlan {
  const { geometry } = places;
  const metadata: Placed[] = [];
  const contents: Piece[] = [];
  const dataRuns: DataRun[] = [];
  const tables = inodeTables(geometry, tree.lastInode);
  const directories = new Map<number, number>();

  for (const [index, node] of tree.nodes.entries()) {
    const placement = places.placements[index] ?? NOTHING;
    renderInode(tables.of(node.inode), node, placement, options.identity[1]);
    for (const { at, addresses } of placement.indirect) metadata.push({ at: at * FRAGMENT, bytes: addressBlock(addresses) });
    if (node.entry.type === "directory") {
      const group = Math.floor(node.inode / geometry.inodesPerGroup);
      directories.set(group, (directories.get(group) ?? 0) + 1);
    }
    for (const piece of piecesOf(node, placement)) {
      contents.push(piece);
      if (piece.kind === "file") dataRuns.push({ file: piece.file, at: piece.at, sizeBytes: piece.sizeBytes });
    }
  }

  const groups = Array.from({ length: geometry.groups }, (_, number) =>
    renderGroup(geometry, {
      number,
      directories: directories.get(number) ?? 0,
      usedInodes: Math.min(geometry.inodesPerGroup, Math.max(0, tree.lastInode + 1 - number * geometry.inodesPerGroup)),
      free: places.free[number] ?? new Uint8Array(),
      timeSeconds: options.timeSeconds,
    }),
  );
  const superblock = renderSuper(geometry, {
    label: encoder.encode(options.label),
    identity: options.identity,
    timeSeconds: options.timeSeconds,
    totals: sumOf(groups.map(({ totals }) => totals)),
    minimumFreePercent: options.minimumFreePercent ?? 8,
  });
  metadata.push({ at: SUPERBLOCK_AT, bytes: superblock });
  metadata.push({ at: geometry.dataAt * FRAGMENT, bytes: renderSummary(geometry, groups) });
  for (const [number, { bytes }] of groups.entries()) {
    const from = number * geometry.fragmentsPerGroup;
    metadata.push({ at: (from + SUPERBLOCK_FRAGMENT) * FRAGMENT, bytes: superblock });
    metadata.push({ at: (from + GROUP_FRAGMENT) * FRAGMENT, bytes });
  }
  metadata.push(...tables.blocks());

  const sizeBytes = options.sizeBytes ?? geometry.fragments * FRAGMENT;
  const freeBytes = places.freeFragments * FRAGMENT;
  const inodes = geometry.inodesPerGroup * geometry.groups;
  return {
    image: {
      sizeBytes,
      pieces: mergedPieces([...contents, ...metadata.map((each) => ({ ...each, kind: "bytes" as const }))]),
      free: freeRanges(places),
    },
    usage: {
      sizeBytes,
      usedBytes: geometry.fragments * FRAGMENT - freeBytes,
      freeBytes,
      inodes,
      freeInodes: inodes - tree.lastInode - 1,
    },
    dataRuns,
  };
}

function freeRanges({ geometry, free }: Places): readonly ByteRange[] {
  const found: { readonly at: number; sizeBytes: number }[] = [];
  for (const [group, map] of free.entries()) {
    for (const { from, to } of runsOf(map)) {
      const at = (group * geometry.fragmentsPerGroup + from) * FRAGMENT;
      const sizeBytes = (to - from) * FRAGMENT;
      const last = found.at(-1);
      // The end of one group and the beginning of the next.
      if (last !== undefined && last.at + last.sizeBytes === at) last.sizeBytes += sizeBytes;
      else found.push({ at, sizeBytes });
    }
  }
  return found;
}

/** Runs of set bits, whole bytes at a time where they are all set or all clear. */
function* runsOf(map: Uint8Array): Generator<{ readonly from: number; readonly to: number }> {
  let from = -1;
  for (let bit = 0; bit < map.length * 8;) {
    const byte = map[bit >> 3] ?? 0;
    const isWhole = bit % 8 === 0 && (byte === 0 || byte === 0xff);
    const isFree = (byte & (1 << (bit & 7))) !== 0;
    if (isFree && from < 0) from = bit;
    else if (!isFree && from >= 0) {
      yield { from, to: bit };
      from = -1;
    }
    bit += isWhole ? 8 : 1;
  }
  if (from >= 0) yield { from, to: map.length * 8 };
}

function sumOf(all: readonly Totals[]): Totals {
  let sum: Totals = { directories: 0, freeBlocks: 0, freeInodes: 0, freeFragments: 0 };
  for (const each of all) {
    sum = {
      directories: sum.directories + each.directories,
      freeBlocks: sum.freeBlocks + each.freeBlocks,
      freeInodes: sum.freeInodes + each.freeInodes,
      freeFragments: sum.freeFragments + each.freeFragments,
    };
  }
  return sum;
}

function piecesOf(node: TreeNode, placement: Placement): readonly Piece[] {
  if (placement.runs.length === 0) return [];
  const stretches = placement.runs.map(({ block, at, fragments }) => ({
    logical: block * FRAGMENTS,
    start: at,
    count: fragments,
  }));
  const { entry } = node;
  if (entry.type === "file") return contentPieces(entry.content, stretches);
  if (entry.type === "symlink") return contentPieces({ kind: "bytes", bytes: encoder.encode(entry.target) }, stretches);
  const bytes = new Uint8Array(directoryBytes(node.children));
  renderDirectory(bytes, node);
  return contentPieces({ kind: "bytes", bytes }, stretches);
}

function addressBlock(addresses: Float64Array): Uint8Array {
  const bytes = new Uint8Array(POINTERS * 8);
  const view = viewOf(bytes);
  for (const [index, address] of addresses.entries()) if (address !== 0) view.setBigInt64(8 * index, BigInt(address), true);
  return bytes;
}

/** The part of each group's inodes that is used. */
function inodeTables(geometry: Geometry, lastInode: number): { of(inode: number): Uint8Array; blocks(): readonly Placed[] } {
  const { inodesPerGroup, fragmentsPerGroup } = geometry;
  const tables = Array.from({ length: Math.ceil((lastInode + 1) / inodesPerGroup) }, (_, group) => {
    const used = Math.min(inodesPerGroup, lastInode + 1 - group * inodesPerGroup);
    return new Uint8Array(roundUp(used * INODE_BYTES, FRAGMENT));
  });
  return {
    of: (inode) => {
      const table = tables[Math.floor(inode / inodesPerGroup)];
      if (table === undefined) throw new RangeError(`there is no inode ${inode}`);
      const at = (inode % inodesPerGroup) * INODE_BYTES;
      return table.subarray(at, at + INODE_BYTES);
    },
    blocks: () => tables.map((bytes, group) => ({ at: (group * fragmentsPerGroup + INODES_FRAGMENT) * FRAGMENT, bytes })),
  };
}

function renderInode(bytes: Uint8Array, node: TreeNode, placement: Placement, seed: number): void {
  const view = viewOf(bytes);
  const { entry } = node;
  const wide = (at: number, value: number): void => view.setBigInt64(at, BigInt(value), true);
  view.setUint16(INODE.mode, KINDS[entry.type].mode | entry.mode, true);
  view.setUint16(INODE.links, node.links, true);
  view.setUint32(INODE.uid, entry.uid, true);
  view.setUint32(INODE.gid, entry.gid, true);
  wide(INODE.sectors, placement.fragments * (FRAGMENT / SECTOR));
  for (const at of [INODE.accessed, INODE.modified, INODE.changed, INODE.born]) wide(at, entry.timeSeconds);
  // Of no meaning but that it differs from file system to file system (NFS handles have it), and is not 0.
  view.setUint32(INODE.generation, (Math.imul(node.inode, 0x9e3779b1) ^ seed) >>> 1 || 1, true);
  view.setUint32(INODE.flags, entry.flags ?? 0, true);
  if (entry.type === "symlink" && placement.pointers.length === 0) {
    const target = encoder.encode(entry.target);
    bytes.set(target, INODE.direct);
    wide(INODE.size, target.length);
    return;
  }
  wide(INODE.size, sizeOf(node));
  for (const [index, address] of placement.pointers.entries()) wide(INODE.direct + 8 * index, address);
}

function sizeOf({ entry, children }: TreeNode): number {
  if (entry.type === "file") return contentBytes(entry.content);
  if (entry.type === "symlink") return encoder.encode(entry.target).length;
  return entry.type === "directory" ? directoryBytes(children) : 0;
}

function checkOptions(options: UfsOptions): void {
  if (!LABEL.test(options.label) || options.label.length >= LABEL_BYTES)
    throw refused(options, "a label has 1 to 31 letters, digits, - and _");
  for (const option of ["timeSeconds", "freeBytes", "inodes", "sizeBytes", "minimumFreePercent"] as const) {
    const value = options[option] ?? 0;
    if (!Number.isSafeInteger(value) || value < 0) throw refused(options, `${option} is a whole number, not ${value}`);
  }
  const { sizeBytes = 0, minimumFreePercent = 0 } = options;
  if (sizeBytes % FRAGMENT !== 0) throw refused(options, `its size is a whole number of ${FRAGMENT} bytes, not ${sizeBytes}`);
  if (sizeBytes > SIZE_MAX_BYTES) throw refused(options, "its size is at most 16 TiB");
  if (minimumFreePercent > 99) throw refused(options, "minimumFreePercent is at most 99");
  for (const word of options.identity) {
    if (!Number.isInteger(word) || word < 0 || word > 0xffff_ffff) throw refused(options, "its identity is two words of 32 bits");
  }
}

function refused(options: UfsOptions, what: string): Problem {
  return new Problem({
    code: "E_UFS_OPTIONS",
    message: `planning the UFS2 file system ${JSON.stringify(options.label)}: ${what}`,
    exit: 2,
  });
}
