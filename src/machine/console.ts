/**
 * What a serial console prints, read as lines, each with its time. Pure: bytes and times go in, lines come out, and it makes no
 * difference how the bytes were cut into chunks.
 *
 *     text ──ESC──► escape ──[──► csi ──final──► text
 *                     ├──] P X ^ _──► string ──BEL or ESC \──► text
 *                     └──space to /──► intermediate ──final──► text
 *
 * Escape sequences (ECMA-48) leave nothing behind. The end of a line ends one that is not finished, so that no stray byte hides
 * what follows. A carriage return that no line feed follows ends a line as well: what a progress bar overwrites was seen.
 */
import { formatSize } from "../base/index.ts";

/** UTF-16 units of one line; a longer one is broken. */
export const LINE_MAX = 65_536;
/** Units of an escape sequence before it counts as text that was not one. */
const ESCAPE_MAX = 4_096;

export interface ConsoleLine {
  /** When its first character came; of an empty line, its end. Milliseconds of whoever feeds the reader. */
  readonly atMs: number;
  /** When its end came; of the unfinished line, its last character. */
  readonly endedAtMs: number;
  /** No control character but the tab. What was not UTF-8 is U+FFFD. */
  readonly text: string;
}

export interface ConsoleReader {
  /** The lines that this chunk finished. */
  push(chunk: Uint8Array, atMs: number): readonly ConsoleLine[];
  /** The line that has no end yet, such as a prompt; undefined when nothing was printed since the last end. */
  readonly partial: ConsoleLine | undefined;
  /** No more comes: the unfinished line, where there is one. */
  end(): readonly ConsoleLine[];
}

type State = "text" | "escape" | "intermediate" | "csi" | "string" | "string-escape";

const [BEL, BS, TAB, LF, CR, CAN, SUB, ESC] = [0x07, 0x08, 0x09, 0x0a, 0x0d, 0x18, 0x1a, 0x1b];
/** C0, DEL and C1. */
const CONTROL = /\p{Cc}/gu;

const isFinal = (code: number): boolean => code >= 0x30 && code <= 0x7e;
/** Of a character that takes two UTF-16 units. */
const isSecondHalf = (code: number): boolean => code >= 0xdc00 && code <= 0xdfff;
const isIntermediate = (code: number): boolean => code >= 0x20 && code <= 0x2f;

/** The state after one more unit of a sequence; "again" when the unit is not part of it. */
function advance(state: Exclude<State, "text">, code: number): State | "again" {
  switch (state) {
    case "escape":
      if (code === 0x5b) return "csi";
      // OSC, DCS, SOS, PM, APC.
      if ([0x5d, 0x50, 0x58, 0x5e, 0x5f].includes(code)) return "string";
      return isIntermediate(code) ? "intermediate" : isFinal(code) ? "text" : "again";
    case "intermediate":
      return isIntermediate(code) ? "intermediate" : isFinal(code) ? "text" : "again";
    case "csi":
      return code >= 0x40 && code <= 0x7e ? "text" : code >= 0x20 && code <= 0x3f ? "csi" : "again";
    case "string":
      return code === BEL ? "text" : "string";
    case "string-escape":
      return code === 0x5c ? "text" : "again";
  }
}

export function consoleReader(): ConsoleReader {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let state: State = "text";
  let escapeUnits = 0;
  let line = "";
  let atMs: number | undefined;
  let endedAtMs = 0;
  /** A carriage return came, and what follows it is not known yet. */
  let returned = false;
  let found: ConsoleLine[] = [];

  const finish = (nowMs: number): void => {
    found.push({ atMs: atMs ?? nowMs, endedAtMs: nowMs, text: line });
    line = "";
    atMs = undefined;
    returned = false;
  };
  const print = (run: string, nowMs: number): void => {
    if (returned && line !== "") finish(endedAtMs);
    returned = false;
    let rest = run;
    while (line.length + rest.length > LINE_MAX) {
      const room = LINE_MAX - line.length;
      const inPair = /[\ud800-\udbff]/.test(rest.charAt(room - 1));
      const taken = inPair ? room - 1 : room;
      line += rest.slice(0, taken);
      atMs ??= nowMs;
      finish(nowMs);
      rest = rest.slice(taken);
    }
    if (rest === "") return;
    line += rest;
    atMs ??= nowMs;
    endedAtMs = nowMs;
  };
  const control = (code: number, nowMs: number): void => {
    if (code === LF) finish(nowMs);
    else if (code === CR) {
      if (!returned) endedAtMs = nowMs;
      returned = true;
    } else if (code === TAB) print("\t", nowMs);
    else if (code === BS && !returned) line = line.slice(0, isSecondHalf(line.charCodeAt(line.length - 1)) ? -2 : -1);
    else if (code === ESC) {
      state = "escape";
      escapeUnits = 0;
    }
  };
  /** One unit of a sequence. Returns whether it was used up. */
  const inSequence = (code: number): boolean => {
    if (state === "text") return false;
    escapeUnits += 1;
    if (code === LF || code === CR || (escapeUnits > ESCAPE_MAX && !isSecondHalf(code))) {
      state = "text";
      return false;
    }
    if (code === ESC) {
      state = state === "string" ? "string-escape" : "escape";
      return true;
    }
    if (code === CAN || code === SUB) {
      state = "text";
      return true;
    }
    const next = advance(state, code);
    if (next !== "again") {
      state = next;
      return true;
    }
    // A string that ESC ended without its backslash: that ESC began a sequence of its own.
    if (state === "string-escape") {
      state = "escape";
      escapeUnits = 0;
      return inSequence(code);
    }
    // Other controls have no effect, here as in text; anything else was never part of a sequence.
    if (code < 0x20) return true;
    state = "text";
    return false;
  };
  const read = (text: string, nowMs: number): void => {
    for (let at = 0; at < text.length;) {
      if (state !== "text") {
        if (inSequence(text.charCodeAt(at))) {
          at += 1;
          continue;
        }
      }
      CONTROL.lastIndex = at;
      const next = CONTROL.exec(text)?.index ?? text.length;
      if (next > at) print(text.slice(at, next), nowMs);
      if (next < text.length) control(text.charCodeAt(next), nowMs);
      at = next + 1;
    }
  };
  const taken = (): readonly ConsoleLine[] => {
    const lines = found;
    found = [];
    return lines;
  };

  return {
    push: (chunk, nowMs) => {
      read(decoder.decode(chunk, { stream: true }), nowMs);
      return taken();
    },
    get partial() {
      return line === "" ? undefined : { atMs: atMs ?? endedAtMs, endedAtMs, text: line };
    },
    end: () => {
      read(decoder.decode(), endedAtMs);
      if (line !== "") finish(endedAtMs);
      return taken();
    },
  };
}

/** `HH:MM:SS.mmm`, of a time since a start; hours go on past 99. */
export function formatStamp(ms: number): string {
  const whole = Math.max(0, Math.floor(ms));
  const part = (value: number, digits: number): string => String(value).padStart(digits, "0");
  const seconds = Math.floor(whole / 1000);
  return `${part(Math.floor(seconds / 3600), 2)}:${part(Math.floor(seconds / 60) % 60, 2)}:${part(seconds % 60, 2)}.${part(whole % 1000, 3)}`;
}

/** Bytes of a console of which the first and the last are kept. */
export interface BoundedLog {
  add(chunk: Uint8Array): void;
  /** Everything, or both ends with a line between that says how much is left out. */
  bytes(): Uint8Array;
  readonly totalBytes: number;
}

export function boundedLog(limits: { readonly headBytes: number; readonly tailBytes: number }): BoundedLog {
  const head: Uint8Array[] = [];
  const tail: Uint8Array[] = [];
  let [totalBytes, headHeld, tailHeld] = [0, 0, 0];
  return {
    add: (chunk) => {
      totalBytes += chunk.byteLength;
      const forHead = chunk.slice(0, limits.headBytes - headHeld);
      if (forHead.byteLength > 0) head.push(forHead);
      headHeld += forHead.byteLength;
      const rest = chunk.slice(forHead.byteLength);
      if (rest.byteLength === 0) return;
      tail.push(rest);
      tailHeld += rest.byteLength;
      for (let first = tail[0]; first !== undefined && tailHeld - first.byteLength >= limits.tailBytes; first = tail[0]) {
        tailHeld -= first.byteLength;
        tail.shift();
      }
    },
    bytes: () => {
      const end = Buffer.concat(tail);
      const kept = end.subarray(Math.max(0, end.byteLength - limits.tailBytes));
      const leftOut = totalBytes - headHeld - kept.byteLength;
      const between = leftOut === 0 ? "" : `\n[garth: ${leftOut} bytes (${formatSize(leftOut)}) are left out here]\n`;
      return new Uint8Array(Buffer.concat([...head, Buffer.from(between), kept]));
    },
    get totalBytes() {
      return totalBytes;
    },
  };
}
