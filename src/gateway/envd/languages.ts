/** The languages of the interpreter, and the programs that a guest needs for each. */
import cells from "./kernel/cells.py" with { type: "text" };
import javascript from "./kernel/node.js.txt" with { type: "text" };
import plumbing from "./kernel/plumbing.py" with { type: "text" };
import show from "./kernel/show.py" with { type: "text" };

/** One program in three files. */
export const KERNEL = `${plumbing}\n${show}\n${cells}`;

/** Cells come over descriptor 8, each ended by a zero byte; how each ended goes back over 9. Neither is open in what a cell starts. */
const BASH = `exec 8<&"$1" 9>&"$2"
while IFS= read -r -d '' -u 8 garth_cell; do
  eval "$garth_cell" 8<&- 9>&-
  printf '{"status":%d}\\n' "$?" >&9
done`;

export interface Language {
  readonly name: string;
  /** What python3 runs beside it; `{input}` and `{output}` are its descriptors. undefined: python3 itself. */
  readonly beside: readonly [string, ...string[]] | undefined;
}

const LANGUAGES: Readonly<Record<string, Language>> = {
  python: { name: "python", beside: undefined },
  bash: { name: "bash", beside: ["bash", "--noprofile", "--norc", "-c", BASH, "bash", "{input}", "{output}"] },
  javascript: { name: "javascript", beside: ["node", "-e", javascript, "{input}", "{output}"] },
};
const ALIASES: Readonly<Record<string, string>> = { python3: "python", js: "javascript", sh: "bash" };

export const LANGUAGE_NAMES: readonly string[] = Object.keys(LANGUAGES);

/** undefined: there is no such language. */
export function languageOf(name: string): Language | undefined {
  const wanted = name.toLowerCase();
  const known = Object.hasOwn(ALIASES, wanted) ? ALIASES[wanted] : wanted;
  return known !== undefined && Object.hasOwn(LANGUAGES, known) ? LANGUAGES[known] : undefined;
}
