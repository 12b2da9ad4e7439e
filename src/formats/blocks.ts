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

export interface BlockImage {
  readonly sizeBytes: number;
  /** In the order of `at`; none overlaps another or goes past the end. */
  readonly pieces: readonly Piece[];
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
