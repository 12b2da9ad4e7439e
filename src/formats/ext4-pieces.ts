/** The inode tables of an ext4 file system. */
import { BLOCK, INODE_BYTES } from "./ext4-format.ts";
import type { Geometry } from "./ext4-geometry.ts";
import { type InodeFields, renderInode } from "./ext4-inode.ts";
import type { Placed } from "./pieces.ts";

/** The inode tables of the groups that have inodes, as far as they are used. */
export class InodeTables {
  readonly #geometry: Geometry;
  readonly #tables: readonly Uint8Array<ArrayBuffer>[];

  constructor(geometry: Geometry, lastInode: number) {
    const { inodesPerGroup } = geometry;
    this.#geometry = geometry;
    this.#tables = Array.from({ length: Math.ceil(lastInode / inodesPerGroup) }, (_, group) => {
      const used = Math.min(lastInode - group * inodesPerGroup, inodesPerGroup);
      return new Uint8Array(new ArrayBuffer(Math.ceil((used * INODE_BYTES) / BLOCK) * BLOCK));
    });
  }

  set(number: number, fields: InodeFields, seed: number): void {
    const { inodesPerGroup } = this.#geometry;
    const table = this.#tables[Math.floor((number - 1) / inodesPerGroup)];
    if (table === undefined) throw new RangeError(`there is no inode ${number}`);
    const at = ((number - 1) % inodesPerGroup) * INODE_BYTES;
    renderInode(table.subarray(at, at + INODE_BYTES), fields, seed);
  }

  blocks(): readonly Placed[] {
    return this.#tables.map((bytes, group) => ({ at: (this.#geometry.groups[group]?.inodeTable ?? 0) * BLOCK, bytes }));
  }
}
