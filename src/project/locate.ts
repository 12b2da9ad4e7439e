/**
 * From a constructor's call to the field that is wrong, in the text of the project file.
 *
 * Only on the way to an error message, so the text is scanned and not parsed: strings, templates, comments and brackets are understood,
 * expressions are not. Where the field is not written out in the call (a variable, a spread), the nearest line above it is named.
 */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { InvalidField } from "../recipe/index.ts";

/** The same problem with `where` at the field; anything else comes back as it is. */
export function atField(host: Host, error: unknown): unknown {
  if (!(error instanceof Problem) || !(error.cause instanceof InvalidField)) return error;
  const { file, line } = error.cause;
  if (file === undefined || line === undefined || !host.files.exists(file)) return error;
  const found = lineOfField(host.files.readText(file), line, error.cause.call, error.cause.path);
  return new Problem({
    code: error.code,
    message: error.message,
    details: error.details,
    where: `${file}:${found}`,
    exit: error.exit,
    cause: error.cause,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}

/** Lines count from 1. `line` is that of the call; a call may be told of by any of its lines. */
export function lineOfField(text: string, line: number, call: string, path: readonly (string | number)[]): number {
  const lines = text.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
  const opening = argumentsOf(text, start, call);
  if (opening === undefined) return line;
  let at = opening;
  for (const element of path) {
    const next = typeof element === "number" ? itemOf(text, at, element) : memberOf(text, firstValue(text, at), element);
    if (next === undefined) break;
    at = next;
  }
  return text.slice(0, at).split("\n").length;
}

/** Offset of the "(" of the call. */
function argumentsOf(text: string, start: number, call: string): number | undefined {
  const pattern = new RegExp(String.raw`\b${call}\s*\(`, "g");
  pattern.lastIndex = start;
  const match = pattern.exec(text);
  return match === null ? undefined : match.index + match[0].length - 1;
}

/** Of a call the first argument; everything else stands for itself. */
function firstValue(text: string, at: number): number {
  return text[at] === "(" ? skipSpace(text, at + 1) : at;
}

/** Offset of the value of a member of the object that opens at `at`; of its key, where the value is on another line than the key. */
function memberOf(text: string, at: number, name: string): number | undefined {
  if (text[at] !== "{") return undefined;
  for (const start of itemsOf(text, at)) {
    const key = /^(?:"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|([\p{ID_Start}$_][\p{ID_Continue}$]*))/u.exec(text.slice(start));
    if (key === null || (key[1] ?? key[2] ?? key[3]) !== name) continue;
    const after = skipSpace(text, start + key[0].length);
    return text[after] === ":" ? skipSpace(text, after + 1) : start;
  }
  return undefined;
}

function itemOf(text: string, at: number, index: number): number | undefined {
  return text[at] === "[" || text[at] === "(" ? itemsOf(text, at)[index] : undefined;
}

const CLOSING: Readonly<Record<string, string>> = { "{": "}", "[": "]", "(": ")" };

/** Offsets at which the items between two brackets start. */
function itemsOf(text: string, at: number): readonly number[] {
  const items: number[] = [];
  let offset = skipSpace(text, at + 1);
  const closing = CLOSING[text[at] ?? ""];
  while (offset < text.length && text[offset] !== closing) {
    items.push(offset);
    offset = endOfItem(text, offset);
    if (text[offset] === ",") offset = skipSpace(text, offset + 1);
  }
  return items;
}

/** Offset of the comma or the closing bracket behind an item. */
function endOfItem(text: string, start: number): number {
  let offset = start;
  let depth = 0;
  while (offset < text.length) {
    const next = text[offset] ?? "";
    if (next in CLOSING) depth++;
    else if (next === "}" || next === "]" || next === ")") {
      if (depth === 0) return offset;
      depth--;
    } else if (next === "," && depth === 0) return offset;
    offset = next === '"' || next === "'" || next === "`" ? endOfString(text, offset) : afterOne(text, offset);
  }
  return offset;
}

/** Past a comment, or past one character. */
function afterOne(text: string, offset: number): number {
  if (text[offset] !== "/") return offset + 1;
  const after = skipSpace(text, offset);
  return after === offset ? offset + 1 : after;
}

/** Past the closing quote. What `${...}` holds is skipped with the template, which is enough to find its end. */
function endOfString(text: string, start: number): number {
  const quote = text[start];
  for (let offset = start + 1; offset < text.length; offset++) {
    if (text[offset] === "\\") offset++;
    else if (text[offset] === quote) return offset + 1;
  }
  return text.length;
}

/** Past white space and comments. */
function skipSpace(text: string, start: number): number {
  const space = /(?:\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/)*/y;
  space.lastIndex = start;
  space.exec(text);
  return space.lastIndex;
}
