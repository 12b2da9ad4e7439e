/**
 * What a builder printed: kept compressed, shown as it comes, and remembered by its end.
 *
 * A log is `log/<first two digits of the derivation's hash>/<base name of the derivation>.log.zst`: a few header lines that
 * start with `# garth`, then the bytes of the builder as they came, then one closing line. While a build prints much it is
 * `<path>.part`, a sequence of zstd frames (RFC 8878 says that frames may be concatenated), so that memory stays bounded and
 * what was printed before a crash can be read.
 */
import { baseName, hashPart, Problem, type StorePath } from "../base/index.ts";
import { type Files, isErrno } from "../host/index.ts";

/** How much is held in memory before a frame is written. */
const FRAME_BYTES = 128 * 1024;
/** How much of the end is kept as text for the error message. */
const TAIL_CHARACTERS = 16 * 1024;
export const TAIL_LINES = 25;
const PHASE = /^@garth phase (.{1,80})$/gm;

export interface BuildLog {
  readonly path: string;
  write(chunk: Uint8Array): void;
  /** A line of ours, between those of the builder; only whoever reads the log sees it. */
  note(line: string): void;
  /** The last lines, without control characters. */
  tail(): readonly string[];
  /** Writes the closing line and puts the log in its place. */
  end(outcome: string): void;
}

export interface LogSubject {
  readonly drv: StorePath;
  readonly startedAtMs: number;
  readonly user: string;
  readonly hostname: string;
}

export interface LogListener {
  /** One or more whole lines, without the last newline. */
  readonly onText: (text: string) => void;
  readonly onPhase: (phase: string) => void;
}

/** `attempt` tells the second build of `--check` from the first. */
export function logPath(directory: string, drv: StorePath, attempt = ""): string {
  return `${directory}/${hashPart(drv).slice(0, 2)}/${baseName(drv)}${attempt}.log.zst`;
}

export function openLog(files: Files, path: string, subject: LogSubject, listener: LogListener): BuildLog {
  const part = `${path}.part`;
  const decoder = new TextDecoder();
  let waiting: Uint8Array[] = [encode(header(subject))];
  let waitingBytes = 0;
  let started = false;
  let unfinishedLine = "";
  let recent = "";

  function flush(): void {
    const frame = Bun.zstdCompressSync(Buffer.concat(waiting));
    if (started) files.append(part, frame);
    else writeCreating(files, part, frame);
    started = true;
    waiting = [];
    waitingBytes = 0;
  }

  function show(text: string): void {
    recent = recent.length + text.length > 2 * TAIL_CHARACTERS ? (recent + text).slice(-TAIL_CHARACTERS) : recent + text;
    const lineEnd = text.lastIndexOf("\n");
    if (lineEnd < 0) {
      unfinishedLine += text;
      if (unfinishedLine.length > TAIL_CHARACTERS) tell(unfinishedLine);
      return;
    }
    tell(unfinishedLine + text.slice(0, lineEnd), text.slice(lineEnd + 1));
  }

  function tell(lines: string, rest = ""): void {
    unfinishedLine = rest;
    listener.onText(lines);
    if (!lines.includes("@garth phase ")) return;
    for (const match of lines.matchAll(PHASE)) listener.onPhase((match[1] ?? "").trim());
  }

  return {
    path,
    write(chunk) {
      waiting.push(chunk.slice());
      waitingBytes += chunk.byteLength;
      if (waitingBytes >= FRAME_BYTES) flush();
      show(decoder.decode(chunk, { stream: true }));
    },
    note(line) {
      const startsLine = recent === "" || recent.endsWith("\n");
      waiting.push(encode(`${startsLine ? "" : "\n"}# garth: ${line.replaceAll("\n", "?")}\n`));
    },
    tail: () => lastLines(recent),
    end(outcome) {
      if (unfinishedLine !== "") tell(unfinishedLine);
      waiting.push(encode(`${recent === "" || recent.endsWith("\n") ? "" : "\n"}# garth: ${outcome}\n`));
      if (!started) return writeCreating(files, path, Bun.zstdCompressSync(Buffer.concat(waiting)));
      flush();
      files.rename(part, path);
    },
  };
}

/** @throws Problem E_NO_LOG when nothing was kept under the path */
export function readLog(files: Files, path: string): string {
  for (const candidate of [path, `${path}.part`]) {
    try {
      return new TextDecoder().decode(Bun.zstdDecompressSync(files.readFile(candidate)));
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
  }
  throw new Problem({
    code: "E_NO_LOG",
    message: `reading the log ${path}: there is none`,
    hint: "a log is kept for what was built here, until it is removed by hand",
    exit: 2,
  });
}

function header(subject: LogSubject): string {
  return [
    `# garth: log of ${subject.drv}`,
    `# garth: started ${new Date(subject.startedAtMs).toISOString()}`,
    `# garth: build user ${subject.user} on ${subject.hostname}`,
    "",
  ].join("\n");
}

function writeCreating(files: Files, path: string, data: Uint8Array): void {
  try {
    files.writeFile(path, data);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
    files.makeDirectory(path.slice(0, path.lastIndexOf("/")), { parents: true });
    files.writeFile(path, data);
  }
}

function lastLines(text: string): readonly string[] {
  const lines = plain(text).split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.slice(-TAIL_LINES);
}

/* oxlint-disable no-control-regex -- they are what is looked for */
/** Colours and cursor movements are for the builder's terminal, not for an error message. */
export function plain(text: string): string {
  return text
    .replaceAll(/\u001B(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001B]*(?:\u0007|\u001B\\)|[@-Z\\^_])/g, "")
    .replaceAll(/[^\n]*\r(?!\n)/g, "")
    .replaceAll(/[\u0000-\u0008\u000B-\u001F\u007F]/g, "");
}

const encoder = new TextEncoder();

function encode(text: string): Uint8Array {
  return encoder.encode(text);
}
