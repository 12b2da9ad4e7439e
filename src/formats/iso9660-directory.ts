/** The directories of an ISO 9660 volume, one behind the other, and the two tables that number them. */
import { both16, both32, EXTENT_MAX_BYTES, FLAG, RECORD_BYTES, roundUp, SECTOR, shortTime, viewOf } from "./iso9660-format.ts";
import { isoNames } from "./iso9660-names.ts";
import {
  announcement,
  Continuations,
  nameEnd,
  renderSystemUse,
  rockRidge,
  type SystemUse,
  systemUseBytes,
} from "./iso9660-susp.ts";
import { concatenate } from "./tar-write.ts";
import type { Tree, TreeNode } from "./tree.ts";

interface RecordWish {
  readonly id: Uint8Array;
  readonly node: TreeNode;
  readonly use: SystemUse;
}

export interface Directory {
  readonly node: TreeNode;
  /** In the order of the path table, from 1 on: level by level. The root's parent is itself. */
  readonly number: number;
  readonly parent: number;
  readonly id: Uint8Array;
  readonly records: readonly RecordWish[];
  /** Of its records. */
  readonly sizeBytes: number;
  /**
   * What the records have no room for lies right behind them. A reader that cannot seek (libarchive) has to come by before it comes to the
   * directories that are named there.
   */
  readonly continuations: Continuations;
}

export interface Directories {
  readonly all: readonly Directory[];
  readonly pathTableBytes: number;
}

/** Where what a node contains lies. */
export interface Extent {
  readonly sector: number;
  readonly sizeBytes: number;
}

const encoder = new TextEncoder();
const SELF = Uint8Array.of(0);
const PARENT = Uint8Array.of(1);

/** @param sizeOf a file's content */
export function planDirectories(tree: Tree, sizeOf: (node: TreeNode) => number): Directories {
  const [root] = tree.nodes;
  if (root === undefined) throw new Error("a tree has a root");
  const nodes = new Map(tree.nodes.map((node) => [node.inode, node]));
  const of = (inode: number): TreeNode => {
    const node = nodes.get(inode);
    if (node === undefined) throw new Error(`there is no node ${inode}`);
    return node;
  };
  const waiting = [{ node: root, parent: 1, id: SELF }];
  const all: Directory[] = [];
  // Breadth first, each directory's names in their order: that is the order of a path table.
  for (let next = waiting[0]; next !== undefined; next = waiting[all.length]) {
    const { node, parent, id } = next;
    const number = all.length + 1;
    const continuations = new Continuations();
    const own =
      node === root
        ? [...announcement().slice(0, 1), ...rockRidge(node, undefined), ...announcement().slice(1)]
        : rockRidge(node, undefined);
    const records: RecordWish[] = [
      { id: SELF, node, use: continuations.split(own, SELF.length) },
      { id: PARENT, node: of(node.parent), use: continuations.split(rockRidge(of(node.parent), undefined), PARENT.length) },
    ];
    for (const { child, id: text } of isoNames(node.children, ({ inode }) => of(inode).entry.type === "directory")) {
      const below = of(child.inode);
      const name = encoder.encode(text);
      records.push({ id: name, node: below, use: continuations.split(rockRidge(below, child.name), name.length) });
      if (below.entry.type === "directory") waiting.push({ node: below, parent: number, id: name });
    }
    all.push({ node, number, parent, id, records, sizeBytes: sizeBytesOf(records, sizeOf), continuations });
  }
  return {
    all,
    pathTableBytes: all.reduce((sum, { id }) => sum + 8 + roundUp(id.length, 2), 0),
  };
}

function recordBytes({ id, use }: RecordWish): number {
  return roundUp(nameEnd(id.length) + systemUseBytes(use), 2);
}

/** Of a file: each but the last as large as one can be. */
function extentsOf(sizeBytes: number): readonly number[] {
  const count = Math.max(1, Math.ceil(sizeBytes / EXTENT_MAX_BYTES));
  return Array.from({ length: count }, (_, index) => Math.min(EXTENT_MAX_BYTES, sizeBytes - index * EXTENT_MAX_BYTES));
}

/** No record lies in two sectors. */
function placeAfter(end: number, sizeBytes: number): number {
  return (end % SECTOR) + sizeBytes > SECTOR ? roundUp(end, SECTOR) : end;
}

function sizeBytesOf(records: readonly RecordWish[], sizeOf: (node: TreeNode) => number): number {
  let end = 0;
  for (const record of records) {
    const length = recordBytes(record);
    const count = record.node.entry.type === "file" ? extentsOf(sizeOf(record.node)).length : 1;
    for (let each = 0; each < count; each += 1) end = placeAfter(end, length) + length;
  }
  return roundUp(end, SECTOR);
}

/** Of its records and what is behind them. */
export function directoryBytes({ sizeBytes, continuations }: Directory): number {
  return sizeBytes + continuations.sectors * SECTOR;
}

export function renderDirectory(directory: Directory, extentOf: (node: TreeNode) => Extent): Uint8Array {
  const bytes = new Uint8Array(directoryBytes(directory));
  const continuationsAt = extentOf(directory.node).sector + directory.sizeBytes / SECTOR;
  bytes.set(directory.continuations.render(continuationsAt), directory.sizeBytes);
  let end = 0;
  for (const record of directory.records) {
    const length = recordBytes(record);
    const { sector, sizeBytes } = extentOf(record.node);
    const isFile = record.node.entry.type === "file";
    const extents = isFile ? extentsOf(sizeBytes) : [sizeBytes];
    for (const [index, extentBytes] of extents.entries()) {
      const at = placeAfter(end, length);
      end = at + length;
      const target = bytes.subarray(at, end);
      const more = index < extents.length - 1 ? FLAG.moreExtents : 0;
      renderRecord(target, record.id, {
        sector: sector + index * (EXTENT_MAX_BYTES / SECTOR),
        sizeBytes: extentBytes,
        timeSeconds: record.node.entry.timeSeconds,
        flags: (record.node.entry.type === "directory" ? FLAG.directory : 0) | more,
      });
      renderSystemUse(target.subarray(nameEnd(record.id.length)), record.use, continuationsAt);
    }
  }
  return bytes;
}

/** 9.1. */
function renderRecord(
  target: Uint8Array,
  id: Uint8Array,
  fields: Extent & { readonly timeSeconds: number; readonly flags: number },
): void {
  const view = viewOf(target);
  view.setUint8(0, target.length);
  both32(view, 2, fields.sector);
  both32(view, 10, fields.sizeBytes);
  target.set(shortTime(fields.timeSeconds), 18);
  view.setUint8(25, fields.flags);
  both16(view, 28, 1);
  view.setUint8(32, id.length);
  target.set(id, RECORD_BYTES);
}

/** The one of the root that is in the volume's descriptor: without Rock Ridge. */
export function rootRecord(extent: Extent, timeSeconds: number): Uint8Array {
  const bytes = new Uint8Array(RECORD_BYTES + 1);
  renderRecord(bytes, SELF, { ...extent, timeSeconds, flags: FLAG.directory });
  return bytes;
}

/** 9.4. */
export function renderPathTable(
  { all }: Directories,
  sectorOf: (directory: Directory) => number,
  littleEndian: boolean,
): Uint8Array {
  return concatenate(
    all.map((directory) => {
      const { id, parent } = directory;
      const bytes = new Uint8Array(8 + roundUp(id.length, 2));
      const view = viewOf(bytes);
      view.setUint8(0, id.length);
      view.setUint32(2, sectorOf(directory), littleEndian);
      view.setUint16(6, parent, littleEndian);
      bytes.set(id, 8);
      return bytes;
    }),
  );
}
