/**
 * Compressed streams: told apart by their first bytes, as libarchive does, whatever the file is called. zstd and gzip are the
 * runtime's own, loaded at their first use because they cost every start 10 ms; for xz and bzip2 the caller has to ask the
 * system's tools.
 */
import type { Transform } from "node:stream";
import { Problem } from "../base/index.ts";

export type Compression = "zstd" | "gzip" | "xz" | "bzip2" | "none";

const MAGIC: readonly (readonly [Compression, readonly number[]])[] = [
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["gzip", [0x1f, 0x8b]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["bzip2", [0x42, 0x5a, 0x68]],
];

/** From the first 6 bytes of a stream, or fewer where it is shorter. */
export function sniffCompression(head: Uint8Array): Compression {
  for (const [compression, magic] of MAGIC) {
    if (head.length >= magic.length && magic.every((byte, index) => head[index] === byte)) return compression;
  }
  return "none";
}

/** @throws Problem E_ARCHIVE_DAMAGED for a stream that is cut off or broken; `name` is what it is called in the error */
export function decompress(
  source: AsyncIterable<Uint8Array>,
  compression: "zstd" | "gzip",
  name: string,
): AsyncGenerator<Uint8Array> {
  return through(
    source,
    ({ createGunzip, createZstdDecompress }) => (compression === "zstd" ? createZstdDecompress() : createGunzip()),
    name,
  );
}

/** One zstd frame without a content checksum. The same bytes in the same chunks at the same level give the same frame. */
export function compressZstd(source: AsyncIterable<Uint8Array>, level: number): AsyncGenerator<Uint8Array> {
  return through(
    source,
    ({ constants, createZstdCompress }) => createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: level } }),
    "a new archive",
  );
}

async function* through(
  source: AsyncIterable<Uint8Array>,
  make: (zlib: typeof import("node:zlib")) => Transform,
  name: string,
): AsyncGenerator<Uint8Array> {
  const [{ pipeline, Readable }, zlib] = await Promise.all([import("node:stream"), import("node:zlib")]);
  const transform = make(zlib);
  let ofSource: unknown;
  const input = Readable.from(
    (async function* () {
      try {
        yield* source;
      } catch (cause) {
        ofSource = cause;
        throw cause;
      }
    })(),
    { objectMode: false },
  );
  const ended = new Promise<void>((resolve) => {
    pipeline(input, transform, () => resolve());
  });
  try {
    for await (const chunk of transform) {
      if (chunk instanceof Uint8Array) yield chunk;
    }
  } catch (cause) {
    if (ofSource !== undefined) throw ofSource;
    throw new Problem({
      code: "E_ARCHIVE_DAMAGED",
      message: `${name} is damaged: its compressed data cannot be read`,
      hint: "fetch or make it again; nothing of it was used",
      cause,
    });
  } finally {
    transform.destroy();
    input.destroy();
    await ended;
  }
}
