/** Opening archives of any compression, as streams that are bounded and pulled. */
import { Problem } from "../base/index.ts";
import { type Compression, decompress, readTar, sniffCompression, type TarEntry, type TarLimits } from "../formats/index.ts";
import type { Host } from "../host/index.ts";

const CHUNK_BYTES = 1 << 20;
/** Headers, padding and end marks that come on top of the contents. */
const OVERHEAD_BYTES_PER_MEMBER = 4096;
/** xz and bzip2 are only met in small, old catalogues and packages; they are held in memory for the tool. */
const MAXIMUM_FOREIGN_BYTES = 256 << 20;

/** The bytes of a file, read as they are asked for. */
export async function* fileChunks(host: Host, path: string): AsyncGenerator<Uint8Array> {
  const descriptor = host.files.open(path, "r");
  try {
    for (let offset = 0; ;) {
      const chunk = new Uint8Array(CHUNK_BYTES);
      const count = host.files.read(descriptor, chunk, offset);
      if (count === 0) return;
      offset += count;
      yield chunk.subarray(0, count);
    }
  } finally {
    host.files.close(descriptor);
  }
}

export async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** @throws Problem E_ARCHIVE_* */
export async function* openArchive(
  host: Host,
  source: AsyncGenerator<Uint8Array>,
  name: string,
  limits: TarLimits,
): AsyncGenerator<TarEntry, void, undefined> {
  const most = limits.contentBytes + (limits.members + 16) * OVERHEAD_BYTES_PER_MEMBER;
  yield* readTar(bounded(await plain(host, source, name, most), most, name), name, limits);
}

/** The whole content of a member that is known to be small. */
export async function memberBytes(entry: TarEntry, mostBytes: number, archive: string): Promise<Uint8Array> {
  if (entry.sizeBytes > mostBytes) throw tooLarge(archive, `the member ${entry.path}`, mostBytes);
  const bytes = new Uint8Array(entry.sizeBytes);
  let offset = 0;
  for await (const chunk of entry.content()) {
    if (chunk.length === entry.sizeBytes) return chunk;
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

async function plain(
  host: Host,
  source: AsyncGenerator<Uint8Array>,
  name: string,
  most: number,
): Promise<AsyncGenerator<Uint8Array>> {
  const first = await source.next();
  const head = first.done === true ? new Uint8Array(0) : first.value;
  const whole = (async function* () {
    yield head;
    yield* source;
  })();
  const compression = sniffCompression(head);
  switch (compression) {
    case "none":
      return whole;
    case "zstd":
    case "gzip":
      return decompress(whole, compression, name);
    case "xz":
    case "bzip2":
      return throughTool(host, whole, compression, name, most);
  }
}

async function* throughTool(
  host: Host,
  source: AsyncGenerator<Uint8Array>,
  compression: Exclude<Compression, "none" | "zstd" | "gzip">,
  name: string,
  most: number,
): AsyncGenerator<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of bounded(source, MAXIMUM_FOREIGN_BYTES, name)) parts.push(part);
  const output: Uint8Array[] = [];
  let size = 0;
  const running = host.spawn(
    { argv: [compression, "--decompress", "--stdout"], stdin: Buffer.concat(parts), doing: `decompressing ${name}` },
    {
      onOutput: (chunk, stream) => {
        if (stream !== "stdout" || size > most) return;
        output.push(chunk.slice());
        size += chunk.length;
        if (size > most) running.kill("SIGKILL");
      },
    },
  );
  const exit = await running.exited;
  if (size > most) throw tooLarge(name, "its decompressed size", most);
  if (exit.status !== 0) {
    throw new Problem({
      code: "E_ARCHIVE_DAMAGED",
      message: `${name} is damaged: ${compression} cannot decompress it (status ${exit.status ?? exit.signal})`,
    });
  }
  yield* output;
}

async function* bounded(source: AsyncGenerator<Uint8Array>, most: number, name: string): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of source) {
    size += chunk.length;
    if (size > most) throw tooLarge(name, "its decompressed size", most);
    yield chunk;
  }
}

function tooLarge(name: string, what: string, most: number): Problem {
  return new Problem({ code: "E_ARCHIVE_LIMIT", message: `${name} goes over the limit for ${what} (${most} bytes)` });
}
