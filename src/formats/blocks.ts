/**
 * Disks and file systems as values: what lies where, everything else zeros.
 *
 * A writer of a file system or a partition table takes entries and options and gives a `BlockImage`; whoever carries it out goes
 * through the pieces in order, once, and never has to seek back. Contents of files are named, not read: a writer is pure.
 */

/**
 * Bytes that are small enough to be in memory, or the first `sizeBytes` bytes of a file that the executor knows by `file`. `data` are the
 * parts of the file that are not holes, in order; without it all is data.
 */
export type Content =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | {
      readonly kind: "file";
      readonly file: string;
      readonly sizeBytes: number;
      readonly data?: readonly { readonly from: number; readonly to: number }[];
    };

/** `offset` counts in the content: a file that lies in several runs of blocks is several pieces. */
export type Piece =
  | { readonly at: number; readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly at: number; readonly kind: "file"; readonly file: string; readonly offset: number; readonly sizeBytes: number };

export interface ByteRange {
  readonly at: number;
  readonly sizeBytes: number;
}

export interface BlockImage {
  readonly sizeBytes: number;
  /** In the order of `at`; none overlaps another or goes past the end. */
  readonly pieces: readonly Piece[];
  /**
   * What nobody reads before somebody wrote it, in order, none touching another or a piece: it may hold anything. What is in neither
   * reads as zeros. Without it: nothing is free.
   */
  readonly free?: readonly ByteRange[];
}

/** A file system as it is going to be. */
export interface FileSystemPlan {
  readonly image: BlockImage;
  readonly usage: {
    readonly sizeBytes: number;
    readonly usedBytes: number;
    /** For root: a part of it may be kept from everybody else. */
    readonly freeBytes: number;
    readonly inodes: number;
    readonly freeInodes: number;
  };
  /** Where the bytes of each `file` content lie, in order. */
  readonly dataRuns: readonly DataRun[];
}

/** A stretch of the image that is a stretch of a file. */
export interface DataRun {
  readonly file: string;
  readonly at: number;
  readonly sizeBytes: number;
}

/** What a file system is made of. `path` has no slash at its ends; "" is the root, and may be left out. */
export type FileSystemEntry = {
  readonly path: string;
  /** Permission bits with setuid, setgid and sticky: 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Whole seconds since 1970: the entry's every time. */
  readonly timeSeconds: number;
  /** st_flags as chflags(2) of FreeBSD has them, for a file system that keeps them. */
  readonly flags?: number;
} & (
  | { readonly type: "directory" }
  | { readonly type: "file"; readonly content: Content }
  | { readonly type: "symlink"; readonly target: string }
  /** Another name for the file at `target`, a path like `path`. */
  | { readonly type: "hardlink"; readonly target: string }
  | { readonly type: "character" | "block"; readonly major: number; readonly minor: number }
  | { readonly type: "fifo" }
);

export function contentBytes(content: Content): number {
  return content.kind === "bytes" ? content.bytes.length : content.sizeBytes;
}

/** The same image behind `offset` bytes, as in a partition. */
export function shifted(image: BlockImage, offset: number): readonly Piece[] {
  return image.pieces.map((piece) => ({ ...piece, at: piece.at + offset }));
}

/** What is free of it, there. */
export function shiftedFree({ free = [] }: BlockImage, offset: number): readonly ByteRange[] {
  return free.map(({ at, sizeBytes }) => ({ at: at + offset, sizeBytes }));
}

/** What of `from` to `to` none of the ranges covers. They are in order, and may touch. */
export function between(ranges: Iterable<ByteRange>, from: number, to: number): readonly ByteRange[] {
  const found: ByteRange[] = [];
  let at = from;
  for (const range of ranges) {
    if (range.at >= to) break;
    if (range.at > at) found.push({ at, sizeBytes: range.at - at });
    at = Math.max(at, range.at + range.sizeBytes);
  }
  if (at < to) found.push({ at, sizeBytes: to - at });
  return found;
}
