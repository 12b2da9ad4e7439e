/** Second names for files of valid items, or copies where the file system gives none. */
import { type Host, isErrno } from "../host/index.ts";

const CHUNK_BYTES = 1 << 20;

export function linkOrCopy(host: Host, from: string, to: string): void {
  try {
    host.files.hardLink(from, to);
  } catch (error) {
    if (!isErrno(error, "EXDEV", "EPERM", "EMLINK")) throw error;
    copyFile(host, from, to);
  }
}

export function copyFile({ files }: Host, from: string, to: string): void {
  const source = files.open(from, "r");
  try {
    const target = files.open(to, "wx", (files.lstat(from).mode & 0o111) === 0 ? 0o644 : 0o755);
    try {
      const buffer = new Uint8Array(CHUNK_BYTES);
      for (let offset = 0; ;) {
        const count = files.read(source, buffer, offset);
        if (count === 0) break;
        for (let done = 0; done < count;) done += files.write(target, buffer.subarray(done, count));
        offset += count;
      }
    } finally {
      files.close(target);
    }
  } finally {
    files.close(source);
  }
}
