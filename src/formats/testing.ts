/** For the tests of every room that makes disks: an image carried out to a file. */
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import type { BlockImage } from "./blocks.ts";
import type { ReadAt } from "./elf.ts";

export { busyboxInitrd, consoleOf, genericKernel } from "./kernel.testing.ts";
export { ufsFaults } from "./ufs.testing.ts";

const CHUNK_BYTES = 1 << 20;

/**
 * Writes an image to a new sparse file at `path`. Names of files in it are paths of the machine, unless `files` says where
 * they are.
 *
 * @throws Error for pieces that are out of order, overlap, or go past the end, and for a file that is shorter than said
 */
export function writeImage(path: string, image: BlockImage, files: Readonly<Record<string, string>> = {}): void {
  const target = openSync(path, "w");
  try {
    ftruncateSync(target, image.sizeBytes);
    let end = 0;
    for (const piece of image.pieces) {
      const sizeBytes = piece.kind === "bytes" ? piece.bytes.length : piece.sizeBytes;
      if (piece.at < end) throw new Error(`a piece at ${piece.at} comes after one that ends at ${end}`);
      end = piece.at + sizeBytes;
      if (end > image.sizeBytes) throw new Error(`a piece at ${piece.at} ends at ${end}, the image at ${image.sizeBytes}`);
      if (piece.kind === "bytes") write(target, piece.bytes, piece.at);
      else copy(files[piece.file] ?? piece.file, piece.offset, target, piece.at, sizeBytes);
    }
  } finally {
    closeSync(target);
  }
}

/** Reads a file of the machine at offsets. Opened for each read: nothing has to be closed. */
export function readAtFile(path: string): ReadAt {
  return (offset, length) => {
    const source = openSync(path, "r");
    try {
      const bytes = new Uint8Array(length);
      let filled = 0;
      while (filled < length) {
        const read = readSync(source, bytes, filled, length - filled, offset + filled);
        if (read === 0) break;
        filled += read;
      }
      return bytes.subarray(0, filled);
    } finally {
      closeSync(source);
    }
  };
}

function write(target: number, bytes: Uint8Array, at: number): void {
  let written = 0;
  while (written < bytes.length) written += writeSync(target, bytes, written, bytes.length - written, at + written);
}

function copy(path: string, offset: number, target: number, at: number, sizeBytes: number): void {
  const read = readAtFile(path);
  for (let done = 0; done < sizeBytes; done += CHUNK_BYTES) {
    const wanted = Math.min(CHUNK_BYTES, sizeBytes - done);
    const bytes = read(offset + done, wanted);
    if (bytes.length < wanted) throw new Error(`${path} ends before ${offset + sizeBytes}`);
    write(target, bytes, at + done);
  }
}
