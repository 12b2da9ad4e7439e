/** The console of a machine before a person: as it comes from our own, and as another's files tell it. */
import type { Host } from "../host/index.ts";
import type { ConsoleReader, MachineRecord } from "../machine/index.ts";

export interface ConsolePrinter {
  push(chunk: Uint8Array, atMs: number): void;
  /** Prints the unfinished line. */
  end(): void;
}

interface PrinterParts {
  readonly reader: ConsoleReader;
  readonly stamp: (ms: number) => string;
  readonly write: (text: string) => void;
  /** Shows a line before it has its end: a prompt waits for somebody who reads it. */
  readonly eager: boolean;
}

/** Each line with its time. What is shown early and comes out otherwise is shown again, on a line of its own. */
export function consolePrinter({ reader, stamp, write, eager }: PrinterParts): ConsolePrinter {
  /** Of the unfinished line, as it stands on the screen. */
  let shown = "";
  const finish = (line: string): void => {
    if (shown === "") write(`${line}\n`);
    else write(line.startsWith(shown) ? `${line.slice(shown.length)}\n` : `\n${line}\n`);
    shown = "";
  };
  return {
    push: (chunk, atMs) => {
      for (const line of reader.push(chunk, atMs)) finish(`${stamp(line.atMs)} ${line.text}`);
      const { partial } = reader;
      if (!eager || partial === undefined) return;
      const text = `${stamp(partial.atMs)} ${partial.text}`;
      if (text.startsWith(shown)) write(text.slice(shown.length));
      else write(`\n${text}`);
      shown = text;
    },
    end: () => {
      for (const line of reader.end()) finish(`${stamp(line.atMs)} ${line.text}`);
      if (shown !== "") write("\n");
      shown = "";
    },
  };
}

const LOOK_EVERY_MS = 100;
const CHUNK_BYTES = 64 << 10;

/**
 * What a registered machine's log holds, and, where `follow` asks for it, what is added until the machine ends. A log that grew too
 * long went on in a new file: the old one is read to its end first.
 */
export async function* logOf(
  host: Host,
  log: string,
  follow: (() => boolean) | undefined,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const old = `${log}.old`;
  const { files } = host;
  let file = files.lstatIfAny(log)?.inode;
  let offset = 0;
  if (files.lstatIfAny(old) !== undefined) yield* bytesFrom(host, old, 0);
  for (;;) {
    // Asked before reading: what was printed before the end is there then.
    const goesOn = follow?.() === true && !signal.aborted;
    const now = files.lstatIfAny(log)?.inode;
    if (now !== file) {
      if (files.lstatIfAny(old)?.inode === file) yield* bytesFrom(host, old, offset);
      [file, offset] = [now, 0];
    }
    if (now !== undefined) {
      for (const chunk of bytesFrom(host, log, offset)) {
        offset += chunk.byteLength;
        yield chunk;
      }
    }
    if (!goesOn) return;
    await pause(LOOK_EVERY_MS, signal);
  }
}

function* bytesFrom({ files }: Host, path: string, from: number): Generator<Uint8Array> {
  const descriptor = files.open(path, "r");
  try {
    for (let at = from; ;) {
      const buffer = new Uint8Array(CHUNK_BYTES);
      const count = files.read(descriptor, buffer, at);
      if (count === 0) return;
      at += count;
      yield buffer.subarray(0, count);
    }
  } finally {
    files.close(descriptor);
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}

/** "127.0.0.1:40022 -> 22". */
export function portLines({ forward }: Pick<MachineRecord, "forward">): readonly string[] {
  return forward.map(({ hostPort, guestPort }) => `127.0.0.1:${hostPort} -> ${guestPort}`);
}
