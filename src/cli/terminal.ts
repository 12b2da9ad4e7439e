/**
 * The terminal: writing whole texts to a descriptor, and what the terminal can show.
 *
 * process.stdout is left alone: building its stream costs 7 ms, more than the rest of the start.
 */
import { fstatSync, statSync, writeSync } from "node:fs";
import { Problem } from "../base/index.ts";

export const STDIN = 0;
export const STDOUT = 1;
export const STDERR = 2;

/** The reader of a pipe went away: not an error of ours, and nobody is left to be told. */
export class ReaderGone extends Error {
  override readonly name = "ReaderGone";
}

function errnoOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

const pause = new Int32Array(new SharedArrayBuffer(4));

function unwritable(descriptor: number, error: unknown): Problem {
  const reason = error instanceof Error ? error.message : String(error);
  return new Problem({
    code: "E_CANNOT_WRITE",
    message: `${descriptor === STDOUT ? "stdout" : "stderr"} cannot be written to: ${reason}`,
    exit: 3,
    cause: error,
  });
}

/** @throws ReaderGone on EPIPE, Problem E_CANNOT_WRITE */
export function write(descriptor: number, text: string): void {
  writeBytes(descriptor, new TextEncoder().encode(text));
}

/** @throws ReaderGone on EPIPE, Problem E_CANNOT_WRITE */
export function writeBytes(descriptor: number, bytes: Uint8Array): void {
  for (let offset = 0; offset < bytes.length;) {
    try {
      offset += writeSync(descriptor, bytes, offset);
    } catch (error) {
      const code = errnoOf(error);
      if (code === "EPIPE") throw new ReaderGone();
      if (code !== "EAGAIN") throw unwritable(descriptor, error);
      // Somebody made the pipe non-blocking and its reader is slow: wait a little for room.
      Atomics.wait(pause, 0, 0, 5);
    }
  }
}

export interface Screen {
  readonly columns: number;
  readonly rows: number;
}

export interface Style {
  readonly colour: boolean;
  /** Lines and marks beyond ASCII. */
  readonly unicode: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Whether a live tree can be drawn there. node:tty, which knows for sure, costs 9 ms to load: it is asked only about character
 * devices other than /dev/null.
 */
export async function isLive(descriptor: number, env: Environment): Promise<boolean> {
  if (env["TERM"] === "dumb" || env["TERM"] === undefined) return false;
  const stat = fstatSync(descriptor);
  if (!stat.isCharacterDevice() || stat.rdev === statSync("/dev/null").rdev) return false;
  return (await import("node:tty")).isatty(descriptor);
}

/** Whether somebody can say something there: a terminal, or a pipe. A file and /dev/null have nothing to say to a console. */
export function isTyped(descriptor: number): boolean {
  try {
    const stat = fstatSync(descriptor);
    if (stat.isFIFO() || stat.isSocket()) return true;
    return stat.isCharacterDevice() && stat.rdev !== statSync("/dev/null").rdev;
  } catch (error) {
    if (errnoOf(error) === "EBADF") return false;
    throw error;
  }
}

/** NO_COLOR (no-color.org) and TERM=dumb turn colours off; the locale says whether lines can be drawn. */
export function styleFor(terminal: boolean, env: Environment): Style {
  const locale = env["LC_ALL"] || env["LC_CTYPE"] || env["LANG"] || "";
  return {
    colour: terminal && !env["NO_COLOR"] && env["TERM"] !== "dumb",
    unicode: /utf-?8/i.test(locale),
  };
}
