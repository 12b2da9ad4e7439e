/**
 * A planned disk onto something that is there and has had other contents: a block device, or a file.
 *
 *     first and last MiB cleared, synced ──► all but the tables ──► synced ──► backup table, primary table ──► synced ──► read back
 *
 * Whoever looks in between finds a disk without a partition table. What no piece covers is made zeros, but for what is free: that is left
 * as it is, so the time is that of what is installed, not that of the disk's size. A new file has nothing to be cleared.
 *
 * Everything is written in whole grains, which every disk takes: a raw device of FreeBSD takes nothing else.
 */
import { Problem } from "../base/index.ts";
import type { BlockImage, ByteRange } from "../formats/index.ts";
import { type BesideHasher, type Host, isErrno } from "../host/index.ts";
import type { ImagePlan } from "./plan.ts";
import { diskDigest } from "./container.ts";
import { type Layout, layOut, windowed } from "./layout.ts";
import { PieceReader, WINDOW_BYTES } from "./write.ts";

const MIB = 1 << 20;
/** What the kernel is asked to clear at once: until it has, nobody else is heard. */
const CLEARED_BYTES = 64 << 20;
const TABLE_READ_MS = 30_000;

export type DeviceEvent = {
  readonly kind: "device";
  readonly stage: "clear" | "write" | "table" | "verify";
  readonly doneBytes: number;
  readonly totalBytes: number;
};

export interface DeviceOptions {
  /** Where the content that the pieces call `file` lies on this host. */
  readonly locate: (file: string) => string;
  /** "new": a file that is made here, and gone again when this throws. "file", "disk": what it is that is written over. */
  readonly target: "new" | "file" | "disk";
  /** Whether what was written is read back. */
  readonly verify: boolean;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: DeviceEvent) => void;
}

export interface WrittenDevice {
  readonly writtenBytes: number;
  readonly clearedBytes: number;
  /** SHA-256 of the bytes that were written, in the order of the disk. */
  readonly writtenSha256: string;
  /** Of the whole disk, where a new file was read back. */
  readonly sha256: string | undefined;
}

/** The kernel is asked on this thread: between two times others come to word, and so does who interrupts. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function total(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/**
 * The target has the size of the plan, unless it is new or a file, which gets it.
 *
 * @throws Problem E_IMAGE_SOURCE, E_NO_SPACE, E_DEVICE_OPEN, E_DEVICE_BUSY, E_DEVICE_WRITE, E_READ_BACK, E_INTERRUPTED
 */
export async function writeDevice(
  host: Host,
  plan: Pick<ImagePlan, "image" | "disk">,
  target: string,
  options: DeviceOptions,
): Promise<WrittenDevice> {
  const { files } = host;
  const { sizeBytes } = plan.image;
  const isNew = options.target === "new";
  let descriptor: number | undefined;
  const hasher = host.hashBeside();
  try {
    descriptor = opened(host, target, options);
    if (options.target !== "disk") files.truncate(descriptor, sizeBytes);
    const writing = new Writing(host, plan, target, descriptor, hasher, options);
    const written = await writing.run();
    const sha256 = isNew && options.verify ? await diskDigest(host, target, options.signal) : undefined;
    files.close(descriptor);
    descriptor = undefined;
    if (options.target === "disk") await readTableAgain(host, target);
    return { ...written, sha256 };
  } catch (error) {
    if (descriptor !== undefined && isNew) files.unlink(target);
    if (isErrno(error, "ENOSPC", "EDQUOT")) throw noSpace(target, sizeBytes, error);
    if (isErrno(error, "EIO", "ENXIO", "EROFS", "EPERM", "EFBIG")) throw unwritable(target, error);
    throw error;
  } finally {
    if (descriptor !== undefined) files.close(descriptor);
    hasher.close();
  }
}

function opened({ files }: Host, target: string, { target: kind }: DeviceOptions): number {
  try {
    if (kind === "new") return files.open(target, "wx+", 0o644);
    return files.open(target, kind === "disk" ? "claim" : "r+");
  } catch (error) {
    if (kind === "disk" && isErrno(error, "EBUSY", "EPERM"))
      throw new Problem({
        code: "E_DEVICE_BUSY",
        message: `writing onto ${target}: somebody uses it`,
        where: target,
        hint: "unmount what is on it; lsblk (Linux), or gpart and mount (FreeBSD), say what it is",
        exit: 2,
        cause: error,
      });
    if (!isErrno(error, "EEXIST", "EACCES", "EPERM", "EROFS", "ENOENT", "ENOTDIR", "EISDIR", "ETXTBSY", "ENXIO", "ENOMEDIUM"))
      throw error;
    throw new Problem({
      code: "E_DEVICE_OPEN",
      message: `writing onto ${target}: it cannot be ${kind === "new" ? "made" : "opened"}`,
      details: [error instanceof Error ? error.message : String(error)],
      where: target,
      hint: "look at who may write there, and whether somebody else came first",
      exit: 3,
      cause: error,
    });
  }
}

/**
 * A table that was changed is read again by itself on FreeBSD, when the last writer has gone. On Linux the kernel is told to, and then of the
 * partitions: there are kernels that do not know this kind of table.
 */
async function readTableAgain(host: Host, target: string): Promise<void> {
  const doing = `telling the kernel of ${target}`;
  for (const argv of [["blockdev", "--rereadpt", target] as const, ["partx", "-u", target] as const]) {
    if (host.which(argv[0]) === undefined) continue;
    try {
      await host.run({ argv, doing, timeoutMs: TABLE_READ_MS });
    } catch (error) {
      // A disk that has no partitions for the kernel, or one that somebody opened already: what is written is there all the same.
      if (!(error instanceof Problem)) throw error;
    }
  }
}

interface Part extends Layout {
  readonly from: number;
  readonly to: number;
}

class Writing {
  readonly #host: Host;
  readonly #image: BlockImage;
  readonly #target: string;
  readonly #descriptor: number;
  readonly #hasher: BesideHasher;
  readonly #options: DeviceOptions;
  /** Where the first partition begins and the last one ends: outside are the tables. */
  readonly #inside: readonly [from: number, to: number];
  readonly #zeros = new Uint8Array(new SharedArrayBuffer(WINDOW_BYTES));
  #writtenBytes = 0;
  #clearedBytes = 0;

  constructor(
    host: Host,
    { image, disk }: Pick<ImagePlan, "image" | "disk">,
    target: string,
    descriptor: number,
    hasher: BesideHasher,
    options: DeviceOptions,
  ) {
    const starts = disk.partitions.map(({ firstByte }) => firstByte);
    const ends = disk.partitions.map(({ firstByte, sizeBytes }) => firstByte + sizeBytes);
    this.#host = host;
    this.#image = image;
    this.#target = target;
    this.#descriptor = descriptor;
    this.#hasher = hasher;
    this.#options = options;
    this.#inside = [Math.min(...starts), Math.max(...ends)];
  }

  async run(): Promise<Omit<WrittenDevice, "sha256">> {
    const { sizeBytes } = this.#image;
    const isNew = this.#options.target === "new";
    const [from, to] = this.#inside;
    const [head, main, tail] = [[0, from] as const, [from, to] as const, [to, sizeBytes] as const].map(([start, end]) => ({
      ...layOut(this.#image, start, end),
      from: start,
      to: end,
    }));
    if (head === undefined || main === undefined || tail === undefined) throw new Error("a disk has three parts");
    if (!isNew) await this.#clearEnds();
    try {
      return await this.#whole(head, main, tail);
    } catch (error) {
      // Also what was read back and found to be something else is not to be started.
      if (!isNew) await this.#clearEnds().catch(() => undefined);
      throw error;
    }
  }

  async #whole(head: Part, main: Part, tail: Part): Promise<Omit<WrittenDevice, "sha256">> {
    const parts = [head, main, tail];
    const zeros = this.#options.target === "new" ? [] : parts.flatMap((part) => part.zeros);
    await this.#clear(zeros);
    // The digest goes in the order of the disk, writing does not.
    await this.#write(head, "hash");
    await this.#write(main, "both");
    await this.#sync();
    await this.#write(tail, "both");
    await this.#write(head, "write");
    await this.#sync();
    const writtenSha256 = await this.#hasher.digest();
    if (this.#options.verify) {
      const spans = parts.flatMap((part) => part.spans);
      await this.#readBack(spans, zeros, writtenSha256);
    }
    return { writtenBytes: this.#writtenBytes, clearedBytes: this.#clearedBytes, writtenSha256 };
  }

  #tell(stage: DeviceEvent["stage"], doneBytes: number, totalBytes: number): void {
    this.#options.onEvent?.({ kind: "device", stage, doneBytes, totalBytes });
  }

  async #sync(): Promise<void> {
    await this.#host.files.syncBeside(this.#descriptor);
  }

  /** Written, not asked for: nothing else may come before them. */
  async #clearEnds(): Promise<void> {
    const { sizeBytes } = this.#image;
    const { files } = this.#host;
    const zeros = this.#zeros.subarray(0, Math.min(MIB, sizeBytes));
    await files.writeBeside(this.#descriptor, zeros, 0);
    await files.writeBeside(this.#descriptor, zeros, sizeBytes - zeros.length);
    await this.#sync();
  }

  async #clear(ranges: readonly ByteRange[]): Promise<void> {
    const all = total(ranges);
    const { files } = this.#host;
    for (const range of ranges) {
      for (let done = 0; done < range.sizeBytes;) {
        this.#options.signal?.throwIfAborted();
        const [at, left] = [range.at + done, Math.min(range.sizeBytes - done, CLEARED_BYTES)];
        let count = left;
        if (!files.clearRange(this.#descriptor, at, left)) {
          count = Math.min(left, this.#zeros.length);
          await files.writeBeside(this.#descriptor, this.#zeros.subarray(0, count), at);
        }
        done += count;
        this.#clearedBytes += count;
        this.#tell("clear", this.#clearedBytes, all);
        await turn();
      }
    }
  }

  async #write(part: Part, what: "hash" | "write" | "both"): Promise<void> {
    const { files } = this.#host;
    const isTable = part.from !== this.#inside[0];
    const all = total(part.spans);
    const pieces = this.#image.pieces.filter(({ at }) => at >= part.from && at < part.to);
    const reader = new PieceReader(this.#host, pieces, this.#options.locate);
    // Two windows: one is filled while the other is hashed and written.
    const windows = [0, 1].map(() => ({
      bytes: new Uint8Array(new SharedArrayBuffer(WINDOW_BYTES)),
      done: Promise.resolve<unknown>(undefined),
    }));
    let hashed: Promise<unknown> = Promise.resolve();
    let written = 0;
    let turn = 0;
    try {
      for (const { at: base, parts } of windowed(part.spans, part.from, part.to)) {
        this.#options.signal?.throwIfAborted();
        const window = windows[turn++ % windows.length];
        if (window === undefined) throw new Error("there are windows");
        await window.done;
        const end = parts.at(-1);
        const view = window.bytes.subarray(0, end === undefined ? 0 : end.at + end.sizeBytes - base);
        reader.fill(view, base);
        const waiting: Promise<unknown>[] = [];
        for (const { at, sizeBytes } of parts) {
          const bytes = view.subarray(at - base, at - base + sizeBytes);
          if (what !== "write") {
            hashed = hashed.then(() => this.#hasher.update(bytes));
            waiting.push(hashed);
          }
          if (what === "hash") continue;
          waiting.push(files.writeBeside(this.#descriptor, bytes, at));
          written += sizeBytes;
          this.#writtenBytes += sizeBytes;
        }
        window.done = Promise.all(waiting);
        // It is awaited when the window is wanted again; until then nobody else may be told of it.
        window.done.catch(() => undefined);
        if (what !== "hash") this.#tell(isTable ? "table" : "write", written, all);
      }
      await Promise.all(windows.map(({ done }) => done));
    } finally {
      await Promise.allSettled(windows.map(({ done }) => done));
      reader.close();
    }
  }

  /** @throws Problem E_READ_BACK */
  async #readBack(spans: readonly ByteRange[], zeros: readonly ByteRange[], wanted: string): Promise<void> {
    const { files } = this.#host;
    const all = total(spans) + total(zeros);
    const hasher = this.#host.hashBeside();
    const buffer = new Uint8Array(new SharedArrayBuffer(WINDOW_BYTES));
    let done = 0;
    files.forgetCached(this.#descriptor);
    const eachWindow = async (
      ranges: readonly ByteRange[],
      look: (bytes: Uint8Array<SharedArrayBuffer>, at: number) => unknown,
    ) => {
      for (const { at, sizeBytes } of ranges) {
        for (let offset = 0; offset < sizeBytes;) {
          this.#options.signal?.throwIfAborted();
          const count = files.read(
            this.#descriptor,
            buffer.subarray(0, Math.min(buffer.length, sizeBytes - offset)),
            at + offset,
          );
          if (count === 0) throw differs(this.#target, `it ends at ${at + offset}`);
          await look(buffer.subarray(0, count), at + offset);
          await turn();
          offset += count;
          done += count;
          this.#tell("verify", done, all);
        }
      }
    };
    try {
      await eachWindow(spans, (bytes) => hasher.update(bytes));
      const found = await hasher.digest();
      if (found !== wanted) throw differs(this.#target, `sha256 ${wanted} was written, ${found} is there`);
      await eachWindow(zeros, (bytes, at) => {
        if (Buffer.compare(bytes, this.#zeros.subarray(0, bytes.length)) === 0) return;
        throw differs(this.#target, `it was cleared from ${at} on, and something is there`);
      });
    } finally {
      hasher.close();
    }
  }
}

function differs(target: string, what: string): Problem {
  return new Problem({
    code: "E_READ_BACK",
    message: `reading back what was written onto ${target}: it is something else`,
    details: [what],
    where: target,
    hint: "the disk, its cable or its memory is broken; its partition table was cleared again",
  });
}

function noSpace(target: string, sizeBytes: number, cause: unknown): Problem {
  return new Problem({
    code: "E_NO_SPACE",
    message: `writing ${target}, a disk of ${sizeBytes} bytes: there is no room for it`,
    where: target,
    hint: "make room where the file lies, or name another place",
    exit: 3,
    cause,
  });
}

function unwritable(target: string, cause: unknown): Problem {
  return new Problem({
    code: "E_DEVICE_WRITE",
    message: `writing onto ${target}: it does not take what is written`,
    where: target,
    hint: "the kernel's log says more: dmesg(8)",
    exit: 3,
    cause,
  });
}
