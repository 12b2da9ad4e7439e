/**
 * mtree(5): a tree as text, a line for each path with what is known of it.
 *
 * Written in the full-path form of version 2.0, which mtree(8) of NetBSD and FreeBSD, makefs(8) and libarchive read:
 *
 *     #mtree
 *     . type=dir mode=0755 uid=0 gid=0
 *     ./usr/bin/su type=file mode=04755 uid=0 gid=0
 *
 * Read in that form and in the one `mtree -c` writes, where names are relative to the directory above and `..` leaves it, with
 * `/set`, `/unset`, comments, and lines that a backslash continues. Characters that would end a word are `\` and three octal digits,
 * as vis(3) writes them; its other forms are read. `contents`, which is makefs' own, has other rules. Keywords that are known and not kept (`cksum`, `inode`, `tags`, ...) are read over.
 */
import { isSha256, Problem } from "../base/index.ts";

const TYPES = ["file", "dir", "link", "block", "char", "fifo", "socket"] as const;

export interface MtreeEntry {
  /** Without "./" and without a slash at its ends; "" is the root, `.` in the text. */
  readonly path: string;
  readonly type: (typeof TYPES)[number];
  /** Permission bits with setuid, setgid and sticky: 0o7777. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly uname?: string;
  readonly gname?: string;
  readonly sizeBytes?: number;
  readonly sha256?: string;
  /** What a symlink says. */
  readonly link?: string;
  /** Whole seconds since 1970; nanoseconds are dropped in reading. */
  readonly timeSeconds?: number;
  /** Of chflags(2): "schg", "uarch"; empty for `flags=none`. */
  readonly flags?: readonly string[];
  readonly nlink?: number;
  readonly device?: { readonly major: number; readonly minor: number };
  /** For makefs(8): the file of this machine that holds the content. */
  readonly contents?: string;
}

/** Keywords of mtree(5), and of makefs(8), that say nothing an entry keeps; those without a value among them. */
const PASSED_OVER = new Set(
  (
    "cksum ignore inode md5 md5digest nochange optional resdevice ripemd160digest rmd160 rmd160digest sha1 sha1digest sha384 " +
    "sha384digest sha512 sha512digest tags"
  ).split(" "),
);
const KEPT = new Set("type mode uid gid uname gname size sha256 sha256digest link time flags nlink device contents".split(" "));
const WITHOUT_VALUE = new Set(["ignore", "nochange", "optional"]);

const MAXIMUM_ID = 0xffff_ffff;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** One entry a line, in the order given. */
export function renderMtree(entries: readonly MtreeEntry[]): string {
  return `#mtree\n${entries.map((entry) => `${renderEntry(entry)}\n`).join("")}`;
}

function renderEntry(entry: MtreeEntry): string {
  const words = [entry.path === "" ? "." : `./${visText(entry.path)}`, `type=${entry.type}`];
  const say = (keyword: string, value: string | number | undefined): void => {
    if (value !== undefined) words.push(`${keyword}=${value}`);
  };
  const sayText = (keyword: string, value: string | undefined): void => say(keyword, value && visText(value));
  say("mode", entry.mode === undefined ? undefined : `0${entry.mode.toString(8).padStart(3, "0")}`);
  say("uid", entry.uid);
  say("gid", entry.gid);
  sayText("uname", entry.uname);
  sayText("gname", entry.gname);
  say("size", entry.sizeBytes);
  say("sha256digest", entry.sha256);
  // Seconds and nanoseconds, as mtree -c writes them.
  say("time", entry.timeSeconds === undefined ? undefined : `${entry.timeSeconds}.0`);
  say("nlink", entry.nlink);
  say("flags", entry.flags === undefined ? undefined : entry.flags.join(",") || "none");
  say("device", entry.device === undefined ? undefined : `native,${entry.device.major},${entry.device.minor}`);
  say("contents", entry.contents === undefined ? undefined : contentsText(entry.contents));
  sayText("link", entry.link);
  return words.join(" ");
}

/**
 * makefs reads this one keyword without vis(3): as it stands, or between quotes, and a `#` begins a comment all the same.
 *
 * @throws Problem E_BAD_MTREE for a path that it cannot be told
 */
function contentsText(path: string): string {
  if (/^[^\s#'"`\\]+$/u.test(path)) return path;
  if (/^[^#'"`\\\n\0]+$/u.test(path)) return `'${path}'`;
  throw new Problem({
    code: "E_BAD_MTREE",
    message: `writing an mtree: makefs(8) has no way to name the file ${JSON.stringify(path)}`,
    hint: "a path of contents= can have no #, no quotes and no backslash",
  });
}

/**
 * The text with every byte that is not printable ASCII, and what has a meaning in mtree(5) or for a shell's pattern, as `\ooo`.
 * fstab(5) wants blanks in the same form.
 */
export function visText(text: string): string {
  return text.replaceAll(/[^!-~]+|[#=*?[\\]/gu, (found) =>
    Array.from(encoder.encode(found), (byte) => `\\${byte.toString(8).padStart(3, "0")}`).join(""),
  );
}

export interface ParseMtreeOptions {
  /**
   * true: written line by line as things were put there, as install(1) of FreeBSD does with -M. A path may come again, and what is said of
   * it last holds; slashes may be doubled, or stand at the end.
   */
  readonly isLog?: boolean;
}

/** @throws Problem E_BAD_MTREE, with the line in `where` */
export function parseMtree(text: string, where: string, options: ParseMtreeOptions = {}): readonly MtreeEntry[] {
  const reader = new Reader(where, options);
  for (const { line, words } of logicalLines(text)) reader.take(line, words);
  return reader.entries;
}

/** Lines with what a backslash continues joined, comments and empty ones left out, each with the number it begins at. */
function* logicalLines(text: string): Generator<{ readonly line: number; readonly words: readonly string[] }> {
  let started = 0;
  let held = "";
  const lines = text.split("\n");
  for (const [index, raw] of lines.entries()) {
    if (held === "" && /^\s*#/.test(raw)) continue;
    if (held === "") started = index + 1;
    const backslashes = /\\*$/.exec(raw)?.[0].length ?? 0;
    if (backslashes % 2 === 1 && index < lines.length - 1) {
      held += `${raw.slice(0, -1)} `;
      continue;
    }
    const words = (held + raw).match(/(?:\bcontents='[^']*'|[^ \t\r])+/g) ?? [];
    held = "";
    const comment = words.findIndex((word) => word.startsWith("#"));
    const kept = comment < 0 ? words : words.slice(0, comment);
    if (kept.length > 0) yield { line: started, words: kept };
  }
}

class Reader {
  readonly entries: MtreeEntry[] = [];
  readonly #where: string;
  readonly #isLog: boolean;
  /** Path -> its place in the entries. */
  readonly #seen = new Map<string, number>();
  readonly #defaults = new Map<string, string>();
  /** Directories that relative names have entered and `..` has not left. */
  readonly #inside: string[] = [];
  #line = 0;

  constructor(where: string, { isLog = false }: ParseMtreeOptions) {
    this.#where = where;
    this.#isLog = isLog;
  }

  take(line: number, words: readonly string[]): void {
    this.#line = line;
    const [name = "", ...rest] = words;
    if (name === "/set") {
      for (const [keyword, value] of this.#keywords(rest)) this.#defaults.set(keyword, value);
    } else if (name === "/unset") {
      for (const keyword of rest) {
        if (keyword === "all") this.#defaults.clear();
        else this.#defaults.delete(keyword);
      }
    } else if (name === "..") {
      if (rest.length > 0) throw this.#bad('".." has keywords');
      if (this.#inside.pop() === undefined) throw this.#bad('there is no directory that ".." could leave');
    } else this.#entry(name, this.#keywords(rest));
  }

  #entry(name: string, own: ReadonlyMap<string, string>): void {
    const isRelative = !name.includes("/");
    const path = isRelative ? this.#relative(name) : this.#full(name);
    const entry = this.#values(path, new Map([...this.#defaults, ...own]));
    const at = this.#seen.get(path);
    if (at === undefined) {
      this.#seen.set(path, this.entries.length);
      this.entries.push(entry);
    } else {
      if (!this.#isLog) throw this.#bad(`${JSON.stringify(path)} is there twice`);
      const before = this.entries[at];
      this.entries[at] = before?.type === entry.type ? { ...before, ...entry } : entry;
    }
    if (isRelative && entry.type === "dir") this.#inside.push(path);
  }

  #relative(name: string): string {
    const above = this.#inside.at(-1);
    if (name === ".") {
      if (above !== undefined) throw this.#bad('"." is inside another directory');
      return "";
    }
    const part = this.#part(name);
    return above === undefined || above === "" ? part : `${above}/${part}`;
  }

  #full(name: string): string {
    if (name.startsWith("/")) throw this.#bad(`${JSON.stringify(name)} is neither a path nor /set nor /unset`);
    const parts = name.split("/");
    if (parts[0] === ".") parts.shift();
    const kept = this.#isLog ? parts.filter((part) => part !== "") : parts;
    return kept.map((part) => this.#part(part)).join("/");
  }

  #part(written: string): string {
    const part = this.#unvis(written);
    if (part === "" || part === "." || part === ".." || /[/\0]/.test(part))
      throw this.#bad(`${JSON.stringify(written)} is no name`);
    return part;
  }

  #keywords(words: readonly string[]): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const word of words) {
      const equals = word.indexOf("=");
      const keyword = equals < 0 ? word : word.slice(0, equals);
      if (!KEPT.has(keyword) && !PASSED_OVER.has(keyword))
        throw this.#bad(`${JSON.stringify(keyword)} is no keyword of mtree(5)`);
      if (equals < 0 && !WITHOUT_VALUE.has(keyword)) throw this.#bad(`${keyword} has no value`);
      found.set(keyword, word.slice(equals + 1));
    }
    return found;
  }

  #values(path: string, said: ReadonlyMap<string, string>): MtreeEntry {
    const entry: { -readonly [Key in keyof MtreeEntry]: MtreeEntry[Key] } = { path, type: this.#type(path, said.get("type")) };
    for (const [keyword, value] of said) {
      switch (keyword) {
        case "mode":
          if (!/^[0-7]{1,5}$/.test(value) || Number.parseInt(value, 8) > 0o7777)
            throw this.#bad(`the mode ${value} is not octal`);
          entry.mode = Number.parseInt(value, 8);
          break;
        case "uid":
        case "gid":
          entry[keyword] = this.#number(keyword, value, MAXIMUM_ID);
          break;
        case "uname":
        case "gname":
          entry[keyword] = this.#unvis(value);
          break;
        case "contents":
          entry.contents = value.replace(/^'(.*)'$/, "$1");
          break;
        case "link":
          if (entry.type === "link") entry.link = this.#unvis(value);
          break;
        case "size":
          if (entry.type === "file") entry.sizeBytes = this.#number(keyword, value);
          break;
        case "nlink":
          entry.nlink = this.#number(keyword, value);
          break;
        case "sha256":
        case "sha256digest":
          if (!isSha256(value)) throw this.#bad(`${value} is not a SHA-256`);
          entry.sha256 = value;
          break;
        case "time":
          if (!/^-?\d{1,15}(?:\.\d+)?$/.test(value)) throw this.#bad(`the time ${value} is not in seconds`);
          entry.timeSeconds = Number(value.replace(/\..*/, "")) + 0;
          break;
        case "flags":
          entry.flags = value === "none" || value === "" ? [] : value.split(",");
          break;
        case "device":
          entry.device = this.#device(value);
          break;
      }
    }
    return entry;
  }

  #type(path: string, said: string | undefined): MtreeEntry["type"] {
    if (said === undefined) throw this.#bad(`${JSON.stringify(path)} has no type`);
    const type = TYPES.find((one) => one === said);
    if (type === undefined) throw this.#bad(`there is no type ${JSON.stringify(said)}`);
    if (path === "" && type !== "dir") throw this.#bad("the root is not a directory");
    return type;
  }

  #number(keyword: string, value: string, maximum = Number.MAX_SAFE_INTEGER): number {
    if (!/^\d{1,16}$/.test(value) || Number(value) > maximum)
      throw this.#bad(`the ${keyword} ${value} is not a number that it can be`);
    return Number(value);
  }

  /** `format,major,minor`, or one number whose parts are the format's own: FreeBSD's and Linux's differ, so none is guessed. */
  #device(value: string): { readonly major: number; readonly minor: number } {
    const [format, major = "", minor = "", ...rest] = value.split(",");
    if (format === "" || rest.length > 0) throw this.#bad(`the device ${value} is not "format,major,minor"`);
    return { major: this.#number("device", major, MAXIMUM_ID), minor: this.#number("device", minor, MAXIMUM_ID) };
  }

  #unvis(text: string): string {
    if (!text.includes("\\")) return text;
    const bytes: number[] = [];
    const expression = /\\(?:([0-3]?[0-7]{1,2})|(M?)\^(.)|M-(.)|([^M^0-9]))|([^\\]+)/gsuy;
    while (expression.lastIndex < text.length) {
      const found = expression.exec(text);
      if (found === null) throw this.#bad(`${JSON.stringify(text)} has an escape that vis(3) does not write`);
      const [, octal, meta, control, high, escaped, plain] = found;
      if (plain !== undefined) bytes.push(...encoder.encode(plain));
      else if (octal !== undefined) bytes.push(Number.parseInt(octal, 8));
      else if (control !== undefined) bytes.push((control === "?" ? 0x7f : asciiOf(control) & 0x1f) | (meta === "" ? 0 : 0x80));
      else if (high !== undefined) bytes.push(asciiOf(high) | 0x80);
      else bytes.push(this.#letter(escaped ?? "", text));
    }
    try {
      return decoder.decode(Uint8Array.from(bytes));
    } catch {
      throw this.#bad(`${JSON.stringify(text)} is not UTF-8`);
    }
  }

  #letter(letter: string, text: string): number {
    const known = { a: 7, b: 8, t: 9, n: 10, v: 11, f: 12, r: 13, s: 32, E: 27 }[letter];
    if (known !== undefined) return known;
    if (!/^[!-/:-@[-`{-~]$/.test(letter)) throw this.#bad(`${JSON.stringify(text)} has an escape that vis(3) does not write`);
    return asciiOf(letter);
  }

  #bad(why: string): Problem {
    return new Problem({
      code: "E_BAD_MTREE",
      message: `reading the mtree ${this.#where}: ${why}`,
      where: `${this.#where}:${this.#line}`,
      exit: 2,
    });
  }
}

function asciiOf(character: string): number {
  return character.charCodeAt(0) & 0x7f;
}
