/**
 * Writing while the caller goes on: on the runtime's threads.
 *
 * A large file is written past the page cache (O_DIRECT) where the file system lets us: filling the cache with pages that
 * nobody will read soon, and writing them out afterwards, costs more than hashing them. What is not a whole number of blocks, in
 * length, place or memory, goes the ordinary way through a second descriptor of the same file.
 */
import * as fs from "node:fs";
import { isErrno } from "./errno.ts";
import type { BesideFile } from "./types.ts";

/** At least the logical block of any disk. */
const BLOCK_BYTES = 4096;

function writeAt(descriptor: number, data: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(descriptor, data, 0, data.byteLength, position, (error, count) => (error === null ? resolve(count) : reject(error)));
  });
}

export async function writeAllAt(descriptor: number, data: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < data.byteLength;) {
    written += await writeAt(descriptor, data.subarray(written), position + written);
  }
}

function openDirect(path: string | Buffer): number | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    return fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_DIRECT);
  } catch (error) {
    // EINVAL: a file system without it, such as tmpfs. EACCES: a mode that does not let its own user write a second time.
    if (isErrno(error, "EINVAL", "EACCES", "EPERM", "ENOTSUP")) return undefined;
    throw error;
  }
}

export function createBeside(path: string | Buffer, mode: number): BesideFile {
  const ordinary = fs.openSync(path, "wx", mode);
  const direct = openDirect(path);
  // Not closed where it is of no use: another write may be on its way through it.
  let isDirect = direct !== undefined;
  const writeDirect = async (descriptor: number, data: Uint8Array, position: number): Promise<number> => {
    const whole = data.byteLength - (data.byteLength % BLOCK_BYTES);
    if (whole === 0 || position % BLOCK_BYTES !== 0) return 0;
    try {
      const count = await writeAt(descriptor, data.subarray(0, whole), position);
      return count - (count % BLOCK_BYTES);
    } catch (error) {
      if (!isErrno(error, "EINVAL")) throw error;
      isDirect = false;
      return 0;
    }
  };
  return {
    write: async (data, position) => {
      const done = direct === undefined || !isDirect ? 0 : await writeDirect(direct, data, position);
      await writeAllAt(ordinary, data.subarray(done), position + done);
    },
    close: () => {
      if (direct !== undefined) fs.closeSync(direct);
      fs.closeSync(ordinary);
    },
  };
}
