/** Reads a disk, or a file that is one, at any offset by asking for whole sectors alone: a raw device of FreeBSD gives nothing else. */
import type { ReadAt } from "../formats/index.ts";
import type { Host } from "../host/index.ts";

/** The largest there are. */
const SECTOR_BYTES = 4096;

/** Less than was asked for is read at the end. */
export function readAtOfDisk({ files }: Host, descriptor: number, sizeBytes: number): ReadAt {
  return (offset, length) => {
    const from = offset - (offset % SECTOR_BYTES);
    const end = Math.min(sizeBytes, Math.ceil((offset + length) / SECTOR_BYTES) * SECTOR_BYTES);
    const bytes = new Uint8Array(Math.max(0, end - from));
    let done = 0;
    while (done < bytes.length) {
      const count = files.read(descriptor, bytes.subarray(done), from + done);
      if (count === 0) break;
      done += count;
    }
    return bytes.subarray(0, done).subarray(offset - from, offset - from + length);
  };
}
