/**
 * The bytes of a file over SFTP, many requests under way at once, and no more of them in memory than that.
 */
import { Refusal, type Sftp } from "./sftp.ts";
import { REQUEST } from "./sftp-wire.ts";
import { string, u32, u64 } from "./wire.ts";

/** Asked for or sent, not yet answered. */
const UNDER_WAY_BYTES = 4 * 1024 ** 2;

/** From `from` up to `to` or the end of the file, whichever comes first. */
export async function* readRange(sftp: Sftp, handle: Uint8Array, from: number, to: number): AsyncGenerator<Uint8Array> {
  const pending: { readonly at: number; readonly size: number; readonly data: Promise<Uint8Array | undefined> }[] = [];
  const ask = (at: number, size: number): Promise<Uint8Array | undefined> => {
    const data = sftp.data(REQUEST.read, string(handle), u64(at), u32(size));
    // Told when it is its turn; a reader that leaves early hears nothing of it.
    data.catch(() => undefined);
    return data;
  };
  let next = from;
  // One request until something came: most files are small.
  let depth = 1;
  for (;;) {
    while (next < to && pending.length < depth) {
      const size = Math.min(sftp.readBytes, to - next);
      pending.push({ at: next, size, data: ask(next, size) });
      next += size;
    }
    const first = pending.shift();
    if (first === undefined) return;
    let { at, size } = first;
    let data = await first.data;
    // A server may answer with less than was asked for, before the end as well.
    while (data !== undefined && data.byteLength > 0) {
      yield data;
      at += data.byteLength;
      size -= data.byteLength;
      if (size <= 0) break;
      data = await ask(at, size);
    }
    if (size > 0) return;
    depth = Math.max(1, Math.floor(UNDER_WAY_BYTES / sftp.readBytes));
  }
}

/** Settles when the server has written all of it. What the source throws comes through. @throws Refusal */
export async function writeAll(
  sftp: Sftp,
  handle: Uint8Array,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  onRefused: (sizeBytes: number) => void,
): Promise<number> {
  const most = Math.max(1, Math.floor(UNDER_WAY_BYTES / sftp.writeBytes));
  const pending = new Set<Promise<void>>();
  const refusals: unknown[] = [];
  let at = 0;
  /** Copies the data before it gives way. */
  const send = (data: Uint8Array): void => {
    const written = sftp.done(REQUEST.write, string(handle), u64(at), string(data)).then(
      () => void pending.delete(written),
      (error: unknown) => {
        pending.delete(written);
        if (refusals.length === 0 && error instanceof Refusal) onRefused(data.byteLength);
        refusals.push(error);
      },
    );
    pending.add(written);
    at += data.byteLength;
  };
  const room = async (): Promise<void> => {
    while (refusals.length === 0 && pending.size >= most) await Promise.race(pending);
    if (refusals.length > 0) throw refusals[0];
  };
  const block = new Uint8Array(sftp.writeBytes);
  let filled = 0;
  try {
    for await (const chunk of chunks) {
      let rest = chunk;
      while (rest.byteLength > 0) {
        const part = rest.subarray(0, block.byteLength - filled);
        rest = rest.subarray(part.byteLength);
        if (part.byteLength < block.byteLength) {
          block.set(part, filled);
          filled += part.byteLength;
          if (filled < block.byteLength) continue;
        }
        await room();
        send(filled === 0 ? part : block);
        filled = 0;
      }
    }
    if (filled > 0) {
      await room();
      send(block.subarray(0, filled));
    }
  } finally {
    while (pending.size > 0) await Promise.race(pending);
  }
  if (refusals.length > 0) throw refusals[0];
  return at;
}
