/**
 * The part of UCL (libucl's configuration language, a superset of JSON) that pkg(8) writes and its users configure it with:
 * objects with `=`, `:` or nothing between key and value, `;`, `,` or a new line between members, nested objects and arrays,
 * strings quoted or bare, numbers, booleans, `#` and C-style comments. Macros (`.include`), variables, multi-line strings and suffixed
 * numbers are not read: a line that uses them is refused, not guessed at.
 */
import { type JsonValue, Problem } from "../base/index.ts";

export type UclObject = { readonly [key: string]: JsonValue };

const MAXIMUM_DEPTH = 32;
const BARE_KEY = /[A-Za-z0-9_./-]/;
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$/;
const WORDS: ReadonlyMap<string, boolean | null> = new Map([
  ["true", true],
  ["yes", true],
  ["on", true],
  ["false", false],
  ["no", false],
  ["off", false],
  ["null", null],
]);

/** @throws Problem E_BAD_UCL with the line; `name` is what the text is called in the error */
export function parseUcl(text: string, name: string): UclObject {
  return new Parser(text, name).document();
}

/** One statement per line, strings quoted, as pkg writes meta.conf. Objects are indented by two spaces. */
export function renderUcl(value: UclObject): string {
  return members(value, "");
}

function members(value: UclObject, indent: string): string {
  return Object.entries(value)
    .map(([key, member]) => {
      const name = /^[A-Za-z_][A-Za-z0-9_-]*$/.test(key) ? key : JSON.stringify(key);
      if (typeof member === "object" && member !== null && !Array.isArray(member)) {
        return `${indent}${name} {\n${members(member as UclObject, `${indent}  `)}${indent}}\n`;
      }
      return `${indent}${name} = ${scalar(member)};\n`;
    })
    .join("");
}

function scalar(value: JsonValue): string {
  if (Array.isArray(value)) return `[ ${value.map((item: JsonValue) => scalar(item)).join(", ")} ]`;
  return JSON.stringify(value);
}

class Parser {
  readonly #text: string;
  readonly #name: string;
  #at = 0;

  constructor(text: string, name: string) {
    this.#text = text;
    this.#name = name;
  }

  document(): UclObject {
    this.#space();
    const braced = this.#take("{");
    const object = this.#members(braced ? "}" : "", 0);
    this.#space();
    if (this.#at < this.#text.length) throw this.#error("there is text after the end");
    return object;
  }

  #members(close: "}" | "", depth: number): UclObject {
    if (depth > MAXIMUM_DEPTH) throw this.#error("it is nested too deeply");
    // Keys come from outside: an object without a prototype keeps `__proto__` a key like any other.
    const object: Record<string, JsonValue> = Object.create(null);
    for (;;) {
      this.#separators();
      if (close !== "" && this.#take(close)) return { ...object };
      if (this.#at >= this.#text.length) {
        if (close === "") return { ...object };
        throw this.#error(`it ends before a ${close}`);
      }
      const key = this.#key();
      this.#blanks();
      if (this.#take("=") || this.#take(":")) this.#blanks();
      object[key] = this.#value(depth);
    }
  }

  #value(depth: number): JsonValue {
    this.#space();
    if (this.#take("{")) return this.#members("}", depth + 1);
    if (this.#take("[")) return this.#array(depth + 1);
    const next = this.#text[this.#at];
    if (next === '"' || next === "'") return this.#quoted(next);
    const end = /[;,\n\]}#]/g;
    end.lastIndex = this.#at;
    const stop = end.exec(this.#text)?.index ?? this.#text.length;
    const bare = this.#text.slice(this.#at, stop).trim();
    if (bare === "" || bare.startsWith("<<") || bare.includes("${")) throw this.#error("a value cannot be read");
    this.#at = stop;
    if (NUMBER.test(bare)) return Number(bare);
    const word = WORDS.get(bare.toLowerCase());
    return word === undefined ? bare : word;
  }

  #array(depth: number): JsonValue {
    if (depth > MAXIMUM_DEPTH) throw this.#error("it is nested too deeply");
    const items: JsonValue[] = [];
    for (;;) {
      this.#separators();
      if (this.#take("]")) return items;
      if (this.#at >= this.#text.length) throw this.#error("it ends before a ]");
      items.push(this.#value(depth));
    }
  }

  #key(): string {
    const next = this.#text[this.#at];
    if (next === '"' || next === "'") return this.#quoted(next);
    const start = this.#at;
    while (this.#at < this.#text.length && BARE_KEY.test(this.#text[this.#at] ?? "")) this.#at += 1;
    const key = this.#text.slice(start, this.#at);
    if (key === "" || key.startsWith(".")) throw this.#error("a key cannot be read");
    return key;
  }

  #quoted(quote: string): string {
    const start = this.#at;
    for (this.#at += 1; this.#at < this.#text.length; this.#at += 1) {
      const next = this.#text[this.#at];
      if (next === "\\" && quote === '"') this.#at += 1;
      else if (next === quote) {
        this.#at += 1;
        const raw = this.#text.slice(start, this.#at);
        return quote === '"' ? this.#unescape(raw) : raw.slice(1, -1);
      }
    }
    throw this.#error("a string has no end");
  }

  #unescape(raw: string): string {
    try {
      const value: unknown = JSON.parse(raw.replaceAll("\n", "\\n").replaceAll("\t", "\\t").replaceAll("\r", "\\r"));
      if (typeof value === "string") return value;
    } catch {
      // Said below.
    }
    throw this.#error("a string has a bad escape");
  }

  #take(token: string): boolean {
    if (!this.#text.startsWith(token, this.#at)) return false;
    this.#at += token.length;
    return true;
  }

  #blanks(): void {
    while (this.#text[this.#at] === " " || this.#text[this.#at] === "\t") this.#at += 1;
  }

  #space(): void {
    for (;;) {
      const rest = /(?:\s+|#[^\n]*|\/\*[\s\S]*?\*\/)/y;
      rest.lastIndex = this.#at;
      const found = rest.exec(this.#text);
      if (found === null) return;
      this.#at += found[0].length;
    }
  }

  #separators(): void {
    do this.#space();
    while (this.#take(";") || this.#take(","));
  }

  #error(why: string): Problem {
    const line = this.#text.slice(0, this.#at).split("\n").length;
    return new Problem({
      code: "E_BAD_UCL",
      message: `${this.#name} cannot be read: ${why}`,
      where: `${this.#name}:${line}`,
      exit: 2,
    });
  }
}
