/** A file from its beginning to its end, without ever holding all of it. */
import { sha256Hasher } from "../base/index.ts";
import type { Host } from "./types.ts";

const CHUNK_BYTES = 1_048_576;

/** Each chunk is good until the next one is read. Returns how many bytes there were. */
export function eachChunk({ files }: Pick<Host, "files">, path: string, use: (chunk: Uint8Array) => void): number {
  const buffer = new Uint8Array(CHUNK_BYTES);
  const descriptor = files.open(path, "r");
  let total = 0;
  try {
    for (;;) {
      const count = files.read(descriptor, buffer, total);
      if (count === 0) return total;
      use(buffer.subarray(0, count));
      total += count;
    }
  } finally {
    files.close(descriptor);
  }
}

/** SHA-256 in lowercase hex, and the size. */
export function fileDigests(host: Pick<Host, "files">, path: string): { readonly sha256: string; readonly sizeBytes: number } {
  const hasher = sha256Hasher();
  const sizeBytes = eachChunk(host, path, (chunk) => hasher.update(chunk));
  return { sha256: hasher.digest("hex"), sizeBytes };
}
