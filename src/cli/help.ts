/** The text of every help, from the table. Pure. */
import { closest } from "../base/index.ts";
import type { Command, OptionSpec } from "./command.ts";
import { GLOBAL_OPTIONS } from "./parse.ts";

function columns(rows: readonly (readonly [string, string])[]): readonly string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}

function usage(command: Command): string {
  const words = command.arguments.map(({ name, optional, many }) => {
    const word = many ? `${name}...` : name;
    return optional ? `[${word}]` : word;
  });
  return ["garth", ...command.path, ...words].join(" ");
}

function optionRow({ name, short, value, help }: OptionSpec): readonly [string, string] {
  const long = `--${name}${value === undefined ? "" : ` ${value}`}`;
  return [short === undefined ? `    ${long}` : `-${short}, ${long}`, help];
}

export function commandHelp(command: Command): string {
  const lines = [`usage: ${usage(command)} [options]`];
  if (command.alias !== undefined) lines.push(`short: ${["garth", command.alias].join(" ")}`);
  lines.push("", command.summary);
  if (command.notes !== undefined) lines.push("", ...command.notes);
  if (command.options.length > 0) lines.push("", "options:", ...columns(command.options.map(optionRow)));
  lines.push("", "for every command:", ...columns(GLOBAL_OPTIONS.map(optionRow)));
  return lines.join("\n");
}

export function nounHelp(noun: string, commands: readonly Command[]): string {
  const own = commands.filter((command) => command.path[0] === noun);
  return [
    `usage: garth ${noun} VERB [options]`,
    "",
    ...columns(own.map((command) => [usage(command).slice("garth ".length), command.summary] as const)),
    "",
    `\`garth ${noun} VERB --help\` says more.`,
  ].join("\n");
}

export function generalHelp(commands: readonly Command[]): string {
  const short = commands.filter((command) => command.path.length === 1 || command.alias !== undefined);
  const nouns = new Map<string, string[]>();
  for (const { path } of commands) {
    if (path[1] !== undefined) nouns.set(path[0], [...(nouns.get(path[0]) ?? []), path[1]]);
  }
  return [
    "usage: garth COMMAND [options]",
    "",
    ...columns(
      short.map((command) => {
        const words =
          command.alias === undefined ? usage(command) : usage(command).replace(command.path.join(" "), command.alias);
        return [words.slice("garth ".length), command.summary] as const;
      }),
    ),
    "",
    "by noun:",
    ...columns([...nouns].map(([noun, verbs]) => [noun, verbs.join(" ")] as const)),
    "",
    "A REF is FILE#NAME, an export of a project file: ./garth.ts#hello; FILE defaults to ./garth.ts.",
    "exit status: 0 done, 1 the work failed, 2 the command line or a file is wrong, 3 the environment cannot do it, 130 interrupted",
    "`garth help COMMAND` says more.",
  ].join("\n");
}

/** "did you mean" for words that are no command. */
export function meant(words: readonly string[], commands: readonly Command[]): string | undefined {
  const [first = "", second = ""] = words;
  const verbs = commands
    .filter((command) => command.path[0] === first)
    .flatMap(({ path }) => (path[1] === undefined ? [] : [path[1]]));
  if (verbs.length > 0) {
    const verb = closest(second, verbs);
    return verb === undefined ? undefined : `garth ${first} ${verb}`;
  }
  const known = commands.flatMap(({ path, alias }) => [path[0], ...(alias === undefined ? [] : [alias])]);
  const word = closest(first, known);
  return word === undefined ? undefined : `garth ${word}`;
}
