/**
 * Assignments in the syntax of a shell, read and never executed:
 *
 *     TPL_SHELL=/bin/bash TPL_SHELL_ARGS="-i"     # and a comment
 *     TPL_EXTRA_BHYVE_SLOTS='20:0,passthru,ppt0;21:0,passthru,ppt1'
 *
 * Words, both kinds of quotes, backslashes and comments mean what they mean to sh(1) (POSIX, 2.2 and 2.3). What a shell would
 * expand, run or open is refused: a reader that executes the file and this one can then never disagree.
 */

export interface Assignment {
  readonly key: string;
  readonly value: string;
  /** Of its key, from 1 on. */
  readonly line: number;
}

export interface SyntaxFault {
  readonly line: number;
  readonly message: string;
  readonly hint?: string;
}

const KEY = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** End a word, and mean something of their own. */
const OPERATORS = ";&|<>()";
/** What a backslash takes the meaning from between double quotes; it stands for itself before all else. */
const ESCAPED_IN_QUOTES = '$`"\\\n';

/** The first fault ends the reading: what follows a quote that is not closed is anybody's guess. */
export function readAssignments(text: string): readonly Assignment[] | SyntaxFault {
  const words = readWords(text);
  if (!Array.isArray(words)) return words;
  const assignments: Assignment[] = [];
  for (const { text: word, bare, line } of words) {
    const at = word.indexOf("=");
    const key = word.slice(0, at);
    // A quoted "=" makes a command of the word.
    if (at < 1 || at >= bare || !KEY.test(key)) {
      const hint = "a sidecar is a list of KEY=value";
      return { line, message: `${JSON.stringify(word.slice(0, 40))} is a command, not an assignment`, hint };
    }
    assignments.push({ key, value: word.slice(at + 1), line });
  }
  return assignments;
}

/** The words of a line of shell alone: of TPL_SHELL_ARGS. */
export function readShellWords(text: string): readonly string[] | SyntaxFault {
  const words = readWords(text);
  return Array.isArray(words) ? words.map((word) => word.text) : words;
}

interface Word {
  readonly text: string;
  /** So many characters from the beginning stood outside quotes. */
  readonly bare: number;
  readonly line: number;
}

function readWords(text: string): Word[] | SyntaxFault {
  const words: Word[] = [];
  let [at, line] = [0, 1];
  let word: { text: string; bare: number; quoted: boolean; line: number } | undefined;
  const end = (): void => {
    if (word !== undefined) words.push(word);
    word = undefined;
  };
  while (at < text.length) {
    const character = text.charAt(at);
    const fault = (message: string, hint?: string): SyntaxFault => ({ line, message, ...(hint === undefined ? {} : { hint }) });
    if (character === "\n" || character === " " || character === "\t") {
      end();
      if (character === "\n") line += 1;
      at += 1;
      continue;
    }
    if (character === "#" && word === undefined) {
      const stop = text.indexOf("\n", at);
      at = stop === -1 ? text.length : stop;
      continue;
    }
    if (character === "\\" && text.charAt(at + 1) === "\n") {
      line += 1;
      at += 2;
      continue;
    }
    const refused = refusal(character, word?.text);
    if (refused !== undefined) return fault(...refused);
    word ??= { text: "", bare: 0, quoted: false, line };
    if (character === "'" || character === '"') {
      const quoted = character === "'" ? readSingle(text, at + 1) : readDouble(text, at + 1);
      if (typeof quoted === "string") return fault(quoted);
      word.text += quoted.value;
      word.quoted = true;
      at = quoted.end;
      continue;
    }
    if (character === "\\") {
      const next = text.charAt(at + 1);
      if (next === "" || isControl(next)) return fault("a backslash stands before nothing");
      word.text += next;
      word.quoted = true;
      at += 2;
      continue;
    }
    if (!word.quoted) word.bare += 1;
    word.text += character;
    at += 1;
  }
  end();
  return words;
}

function refusal(character: string, word: string | undefined): readonly [string, string?] | undefined {
  if (character === "\r") return ["the line ends with a carriage return", "write the file with line ends as Unix has them"];
  if (isControl(character)) return ["there is a control character"];
  if (character === "$" || character === "`")
    return [
      `${character} would be expanded by a shell; nothing is expanded here`,
      "write the value itself, or put it in single quotes",
    ];
  if (OPERATORS.includes(character)) return [`${character} would begin something else in a shell`, "put the value in quotes"];
  // At the beginning of a value, and behind each colon of it.
  if (character === "~" && /(?:^|[=:])$/.test(word ?? ""))
    return ["~ would be expanded by a shell; nothing is expanded here", "write the path itself"];
  return undefined;
}

type Quoted = { readonly value: string; readonly end: number } | string;

function readSingle(text: string, from: number): Quoted {
  const end = text.indexOf("'", from);
  const value = text.slice(from, end === -1 ? text.length : end);
  if (end === -1) return "a single quote is not closed";
  return faultIn(value) ?? { value, end: end + 1 };
}

function readDouble(text: string, from: number): Quoted {
  let value = "";
  for (let at = from; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === '"') return faultIn(value) ?? { value, end: at + 1 };
    if (character === "$" || character === "`")
      return `${character} between double quotes would be expanded by a shell; nothing is expanded here`;
    if (character === "\\" && ESCAPED_IN_QUOTES.includes(text.charAt(at + 1)) && at + 1 < text.length) {
      at += 1;
      if (text.charAt(at) === "\n") return "a value goes on in the next line";
      value += text.charAt(at);
    } else value += character;
  }
  return "a double quote is not closed";
}

function faultIn(value: string): string | undefined {
  if (value.includes("\n")) return "a value goes on in the next line";
  return /\p{Cc}/u.test(value) ? "there is a control character" : undefined;
}

function isControl(character: string): boolean {
  return /\p{Cc}/u.test(character);
}
