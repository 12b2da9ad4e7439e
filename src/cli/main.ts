/** The entry: a command line in, an exit status out. Everything a command needs is loaded when it is called. */
import { Problem, problemDocument, renderProblem } from "../base/index.ts";
import { version } from "../../package.json";
import type { Answer, Command, Context, Given } from "./command.ts";
import { openContext } from "./context.ts";
import { refusal } from "./failure.ts";
import { commandHelp, generalHelp, meant, nounHelp } from "./help.ts";
import { checkArguments, given, GLOBAL_OPTIONS, readWords, usageProblem } from "./parse.ts";
import { becomeExact } from "./program.ts";
import { COMMANDS } from "./table.ts";
import { ReaderGone, STDERR, STDOUT, write } from "./terminal.ts";

interface Called {
  readonly command: Command;
  readonly words: readonly string[];
}

/** Where words stand that are neither options nor the value of `--root`. */
function plainWords(words: readonly string[]): readonly number[] {
  const end = words.indexOf("--");
  const before = end === -1 ? words : words.slice(0, end);
  return before.flatMap((word, index) => (word.startsWith("-") || before[index - 1] === "--root" ? [] : [index]));
}

/** The command whose words stand first; options may stand before and between them. */
function findCommand(words: readonly string[]): Called | undefined {
  const plain = plainWords(words).slice(0, 2);
  const [first, second] = plain.map((index) => words[index]);
  if (first === undefined) return undefined;
  const without = (count: number) => words.filter((_, index) => !plain.slice(0, count).includes(index));
  const pair = COMMANDS.find(({ path }) => path.length === 2 && path[0] === first && path[1] === second);
  if (pair !== undefined) return { command: pair, words: without(2) };
  const single = COMMANDS.find(({ path, alias }) => (path.length === 1 && path[0] === first) || alias === first);
  return single === undefined ? undefined : { command: single, words: without(1) };
}

/** Help, or the complaint that there is no such command. */
function withoutCommand(words: readonly string[]): number {
  const plain = plainWords(words).map((index) => words[index] ?? "");
  const asked = plain[0] === "help" || words.some((word) => word === "--help" || word === "-h");
  const rest = plain.filter((word) => word !== "help");
  const [noun] = rest;
  const called = findCommand(rest);
  if (asked && called !== undefined) return say(commandHelp(called.command));
  const isNoun = COMMANDS.some(({ path }) => path.length === 2 && path[0] === noun);
  if (asked && noun === undefined) return say(generalHelp(COMMANDS));
  if (isNoun && noun !== undefined && (asked || rest.length === 1)) {
    write(asked ? STDOUT : STDERR, `${nounHelp(noun, COMMANDS)}\n`);
    return asked ? 0 : 2;
  }
  if (noun === undefined) {
    write(STDERR, `${generalHelp(COMMANDS)}\n`);
    return 2;
  }
  const close = meant(rest, COMMANDS);
  const hint = close === undefined ? "`garth help` lists the commands" : `did you mean \`${close}\`? \`garth help\` lists all`;
  throw usageProblem(`there is no command \`garth ${rest.slice(0, isNoun ? 2 : 1).join(" ")}\``, hint);
}

function say(text: string): number {
  write(STDOUT, `${text}\n`);
  return 0;
}

function print(answer: Answer, json: boolean): void {
  if (json) return write(STDOUT, `${JSON.stringify(answer.data, plainData, 2)}\n`);
  const text = answer.text();
  const pass = answer.pass === undefined ? "" : `PASS ${answer.pass}\n`;
  const lines = text === "" || text.endsWith("\n") ? text : `${text}\n`;
  if (lines + pass !== "") write(STDOUT, lines + pass);
}

/** What JSON has no word for: maps become objects. */
function plainData(_key: string, value: unknown): unknown {
  return value instanceof Map ? Object.fromEntries(value) : value;
}

async function run({ command, words }: Called): Promise<number> {
  const help = `\`garth ${command.path.join(" ")} --help\` says more`;
  const read = readWords(words, [...command.options, ...GLOBAL_OPTIONS], help);
  const options: Given = given(read);
  if (options.flag("help")) return say(commandHelp(command));
  checkArguments(command, read.positional, help);
  const opened = openContext(options);
  try {
    const answer = await (await command.load())(opened.context, options);
    opened.endProgress();
    print(answer, options.flag("json"));
    return answer.exitAs ?? answer.exit ?? 0;
  } catch (error) {
    opened.endProgress();
    return explain(error, opened.context, options.flag("json"));
  } finally {
    await opened.close();
  }
}

function explain(thrown: unknown, context: Context, json: boolean): number {
  if (thrown instanceof ReaderGone) return 0;
  const error = refusal(thrown) ?? thrown;
  const interrupted = context.signal.aborted;
  const problem =
    error instanceof Problem && !(interrupted && error.exit === 1)
      ? error
      : interrupted
        ? new Problem({ code: "E_INTERRUPTED", message: "interrupted; everything that was begun is undone", exit: 130 })
        : undefined;
  if (problem === undefined) throw error;
  tell(problem, json);
  return interrupted ? 130 : problem.exit;
}

function tell(problem: Problem, json: boolean): void {
  write(STDERR, `${renderProblem(problem)}\n`);
  if (json) write(STDOUT, `${JSON.stringify({ error: problemDocument(problem) }, undefined, 2)}\n`);
}

async function main(words: readonly string[]): Promise<number> {
  try {
    if (words[0] === "--version") return say(`garth ${version}`);
    becomeExact();
    const [first] = plainWords(words);
    const called = first !== undefined && words[first] === "help" ? undefined : findCommand(words);
    return called === undefined ? withoutCommand(words) : await run(called);
  } catch (thrown) {
    if (thrown instanceof ReaderGone) return 0;
    const error = refusal(thrown) ?? thrown;
    if (error instanceof Problem) {
      tell(error, words.includes("--json"));
      return error.exit;
    }
    const trace = error instanceof Error ? (error.stack ?? error.message) : String(error);
    write(STDERR, `This is a bug in Garth, not in what you asked of it:\n${trace}\n`);
    return 1;
  }
}

// Not awaited: bytecode is for CommonJS, which has no await at the top.
void main(process.argv.slice(2)).then((status) => process.exit(status));

// A promise that nobody will ever keep must not look like success.
process.once("beforeExit", () => {
  write(STDERR, "This is a bug in Garth, not in what you asked of it:\nit waits for something that cannot happen any more\n");
  process.exit(1);
});
