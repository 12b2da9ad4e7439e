/**
 * A plan for a machine that has nothing but its base system is one POSIX sh script. What all such scripts share. Pure.
 *
 *     sent ──all of it there?──► running ──► ended
 *      └─ a script that lost its end is a syntax error: nothing of it ran
 *
 * A script says what happens in lines on its standard error, one for each event:
 *
 *     garth: NAME FIELD FIELD ...
 *
 * NAME and fields are separated by single blanks; the last field of an event may hold blanks itself. None holds a line's end: what may
 * hold one (names that a person gave) is numbered in the plan, and the event says the number. Every other line is what a tool said.
 * Standard output is the script's work: what a builder printed, an archive.
 *
 * Written for sh(1) of FreeBSD, dash and busybox: no bash, no GNU options, `local` not used.
 */

/** Begins each line that a script itself says. */
export const EVENT_PREFIX = "garth: ";

/** Strict about errors, in one language, with the base system's tools alone. */
export const SCRIPT_HEAD = `set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

event() {
  printf '${EVENT_PREFIX}%s\\n' "$*" >&2
}
`;

/**
 * Whoever waits for a script holds its standard input: when that ends, the script is told to. Sets `leash`, a process that the script's undoing ends.
 * From there on nothing of the script reads that input.
 */
export const SCRIPT_LEASH = `exec 4<&0
{
  read -r _ <&4 || :
  kill -TERM "$$"
} </dev/null >/dev/null 2>&1 &
leash=$!
exec 4<&-
`;

/** One event of a script: `garth: user 35001 35001` is { name: "user", fields: ["35001", "35001"], rest: "35001 35001" }. */
export interface ScriptEvent {
  readonly name: string;
  readonly fields: readonly string[];
  /** All that is behind the name, for an event whose only field may hold blanks. */
  readonly rest: string;
}

/** undefined: it is what a tool said. */
export function parseEvent(line: string): ScriptEvent | undefined {
  if (!line.startsWith(EVENT_PREFIX)) return undefined;
  const text = line.slice(EVENT_PREFIX.length);
  const end = text.indexOf(" ");
  if (end < 0) return { name: text, fields: [], rest: "" };
  const rest = text.slice(end + 1);
  return { name: text.slice(0, end), fields: rest.split(" "), rest };
}

/** A line of a tool that is longer is cut: nobody reads it, and memory is bounded. */
const LINE_MAX_CHARS = 64 * 1024;

/** Takes standard error as it comes and hands on whole lines. */
export function openEventReader(handlers: {
  readonly onEvent: (event: ScriptEvent) => void;
  readonly onWords: (line: string) => void;
}): { write(chunk: Uint8Array): void; end(): void } {
  const decoder = new TextDecoder();
  let held = "";
  const line = (text: string): void => {
    const event = parseEvent(text);
    if (event !== undefined) handlers.onEvent(event);
    else if (text !== "") handlers.onWords(text);
  };
  return {
    write: (chunk) => {
      const lines = (held + decoder.decode(chunk, { stream: true })).split("\n");
      held = (lines.pop() ?? "").slice(0, LINE_MAX_CHARS);
      for (const text of lines) line(text);
    },
    end: () => {
      if (held !== "") line(held);
      held = "";
    },
  };
}

/** The body as one compound command: sh reads all of it before it does any of it. */
export function wholeScript(body: string): string {
  return `{\n${body.endsWith("\n") ? body : `${body}\n`}}\n`;
}

/**
 * The command line that takes a script of so many bytes from standard input and becomes it; every login shell reads it alike, csh too. What
 * follows on standard input is the script's own; nothing may follow before the script says so (event `ready`), because head(1) may
 * read ahead.
 */
export function scriptLoader(sizeBytes: number): string {
  return `exec /bin/sh -c 's=$(head -c ${sizeBytes}) && eval "$s"'`;
}
