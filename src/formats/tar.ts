/**
 * What a tar archive is made of: 512-byte headers as POSIX.1-1988 (ustar), with pax records (POSIX.1-2001) where a value does
 * not fit. The writer is in tar-write.ts, the reader in tar-read.ts.
 *
 * The writer is deterministic: the same members give the same bytes. The reader takes ustar, pax and GNU long names, wants
 * every checksum right and the end marked by two zero blocks, and refuses names that could climb out of a directory.
 */

export const BLOCK = 512;

/** Offsets and lengths of a ustar header. */
export const FIELD = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  linkname: [157, 100],
  magic: [257, 8],
  uname: [265, 32],
  gname: [297, 32],
  devmajor: [329, 8],
  devminor: [337, 8],
  prefix: [345, 155],
} as const satisfies Readonly<Record<string, readonly [number, number]>>;

export type FieldName = keyof typeof FIELD;

export type TarType = "file" | "directory" | "symlink" | "hardlink";

export const TYPE_FLAG: Readonly<Record<TarType, string>> = { file: "0", hardlink: "1", symlink: "2", directory: "5" };

/**
 * What a character of a path or a target is: of text, which is UTF-8 in the archive, or one byte ("latin1"), for names that need not be
 * text.
 */
export type TarNames = "text" | "bytes";

export interface TarMember {
  /** As it will stand in the archive, with or without a leading slash; no trailing one. */
  readonly path: string;
  readonly type: TarType;
  /** Permission bits. */
  readonly mode: number;
  readonly uname: string;
  readonly gname: string;
  /** Of the content that follows: 0 for anything but a file. */
  readonly sizeBytes: number;
  /** Whole seconds since 1970. */
  readonly mtimeSeconds: number;
  /** Target of a symlink, or the name of the earlier member that a hard link is another name of. */
  readonly target?: string;
}

/** Sum of the header's bytes with the checksum field read as spaces. */
export function headerChecksum(header: Uint8Array): number {
  const [start, length] = FIELD.checksum;
  let sum = 0;
  for (let index = 0; index < BLOCK; index++) {
    sum += index >= start && index < start + length ? 0x20 : (header[index] ?? 0);
  }
  return sum;
}

/** Zero bytes that fill the last block of a content of this size. */
export function paddingOf(sizeBytes: number): number {
  return (BLOCK - (sizeBytes % BLOCK)) % BLOCK;
}
