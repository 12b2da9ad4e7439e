/**
 * Where the files of a snapshot lie, and what has to be known of it.
 *
 *     memory       of a pool's own snapshot: mapped copy-on-write by every clone      state       the devices, and without `memory` the memory
 *     disk.qcow2   what the disk was, over the template's image                       facts.json  whose it was
 */
export const DISK = "disk.qcow2";
const FACTS = "facts.json";

export interface SnapshotPlace {
  readonly directory: string;
  /** Its memory is a file that clones share; otherwise it is part of the state. */
  readonly shared: boolean;
  /** The machine it was taken of. */
  readonly source: { readonly hostname: string; readonly address: string; readonly mac: string };
}

export function memoryFileOf({ directory }: Pick<SnapshotPlace, "directory">): string {
  return `${directory}/memory`;
}

export function stateFileOf({ directory }: Pick<SnapshotPlace, "directory">): string {
  return `${directory}/state`;
}

export function factsFileOf({ directory }: Pick<SnapshotPlace, "directory">): string {
  return `${directory}/${FACTS}`;
}
