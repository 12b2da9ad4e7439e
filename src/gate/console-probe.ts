/**
 * A command run in the root shell that waits on the serial console. Decides, and types nothing itself: `takeTyping` hands over
 * what is to be typed.
 *
 *     waiting ── a prompt stands still ──► typed ── begin line ──► inside ── end line ──► done
 *        └──────────── time limit ───────────┴─────────────────────┴──────────────────────► done, silent
 *
 * Nobody is logged in: only a prompt that ends in `#` is typed at. What is typed holds neither the begin line nor the end line
 * (printf puts them together), so that its echo is not taken for them; the nonce keeps out what an image may have prepared. Lines
 * of the kernel that come between the two count as output.
 *
 * Limits: stdin of the command is empty; of its output the first 64 KiB are kept; stderr comes with stdout.
 */
import { shellQuote } from "../host/index.ts";
import type { ProbeAnswer } from "./types.ts";

/** How long a prompt has to stand still: nothing else on a console ends in `#` and then says no more. */
const PROMPT_QUIET_MS = 50;
const OUTPUT_MAX = 65_536;
const PROMPT = /(?:^|[^#])# ?$/u;

export interface ConsoleProbe {
  readonly answer: ProbeAnswer | undefined;
  readonly nextDeadlineMs: number | undefined;
  /** What now comes may be the echo of what was typed: it says nothing about the machine. */
  readonly echoing: boolean;
  line(text: string, atMs: number): void;
  partial(text: string, atMs: number): void;
  tick(atMs: number): void;
  /** What is to be typed now; once. */
  takeTyping(): string | undefined;
}

export interface ConsoleProbeOptions {
  readonly command: string;
  /** Letters and digits that nobody can have known before. */
  readonly nonce: string;
  readonly startedAtMs: number;
  readonly timeoutMs: number;
}

export function openConsoleProbe({ command, nonce, startedAtMs, timeoutMs }: ConsoleProbeOptions): ConsoleProbe {
  const deadlineMs = startedAtMs + timeoutMs;
  const end = new RegExp(`^(.*)garth-probe-end-${nonce}:(\\d{1,3})$`, "u");
  // A prompt may have scrolled away under what services printed: an empty line brings it back.
  let typing: string | undefined = "\r";
  let state: "waiting" | "typed" | "inside" | "done" = "waiting";
  let answer: ProbeAnswer | undefined;
  let last: { readonly text: string; readonly atMs: number } | undefined;
  let output = "";

  const finish = (result: ProbeAnswer): void => {
    state = "done";
    answer = result;
  };
  const keep = (text: string): void => {
    if (output.length < OUTPUT_MAX) output = `${output}${text}\n`.slice(0, OUTPUT_MAX);
  };
  const tick = (atMs: number): void => {
    if (state === "waiting" && last !== undefined && PROMPT.test(last.text) && atMs >= last.atMs + PROMPT_QUIET_MS) {
      typing = typedLine(command, nonce);
      state = "typed";
    }
    if (state !== "done" && atMs >= deadlineMs) finish({ kind: "silent", detail: silence(state, last?.text, timeoutMs) });
  };
  return {
    get answer() {
      return answer;
    },
    get echoing() {
      return state === "typed";
    },
    get nextDeadlineMs() {
      if (state === "done") return undefined;
      const prompt = state === "waiting" && last !== undefined && PROMPT.test(last.text) ? [last.atMs + PROMPT_QUIET_MS] : [];
      return Math.min(deadlineMs, ...prompt);
    },
    line: (text, atMs) => {
      tick(atMs);
      last = undefined;
      // Whatever stood on the line before: a prompt, half a message.
      if (state === "typed" && text.endsWith(`garth-probe-begin-${nonce}`)) state = "inside";
      else if (state === "inside") {
        const match = end.exec(text);
        if (match === null) return keep(text);
        if (match[1] !== undefined && match[1] !== "") keep(match[1]);
        finish({ kind: "answered", output, status: Number(match[2]) });
      }
    },
    partial: (text, atMs) => {
      if (last?.text !== text) last = text === "" ? undefined : { text, atMs };
    },
    tick,
    takeTyping: () => {
      const now = typing;
      typing = undefined;
      return now;
    },
  };
}

/** For sh and csh alike: one command, its words in single quotes. */
function typedLine(command: string, nonce: string): string {
  const script = [
    String.raw`printf "garth-probe-%s-${nonce}\n" begin`,
    String.raw`/bin/sh -c "$0" </dev/null 2>&1`,
    String.raw`printf "garth-probe-%s-${nonce}:%d\n" end $?`,
  ].join("; ");
  return `/bin/sh -c ${shellQuote(script)} ${shellQuote(command)}\r`;
}

function silence(state: "waiting" | "typed" | "inside", last: string | undefined, timeoutMs: number): string {
  const within = `within ${timeoutMs / 1000} s`;
  if (state === "inside") return `the command did not end ${within}`;
  if (state === "typed") return `the shell on the serial console did not run the command ${within}`;
  if (last !== undefined && /login: ?$/u.test(last)) {
    return `the serial console asks for a login, and only a root shell that is open there is used; probe it over ssh`;
  }
  return `no root shell was found on the serial console ${within}`;
}
