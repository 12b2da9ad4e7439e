/** Words of a command line -> what was given, by the command's row. Pure. */
import { closest, Problem } from "../base/index.ts";
import type { Command, Given, OptionSpec } from "./command.ts";

/** Every command takes these. */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  {
    name: "root",
    value: "DIR",
    help: "keep store and state under DIR (default: GARTH_ROOT, / for root, else ~/.local/state/garth)",
  },
  { name: "json", help: "print one JSON document on stdout, nothing else" },
  { name: "verbose", short: "v", help: "print what the builders print" },
  { name: "quiet", short: "q", help: "show no progress" },
  { name: "help", short: "h", help: "explain the command" },
];

export function usageProblem(message: string, hint: string): Problem {
  return new Problem({ code: "E_USAGE", message, hint, exit: 2 });
}

/** Where a word begins options: the first words of a command come before them or between them. */
export interface Words {
  readonly values: ReadonlyMap<string, string | true>;
  readonly positional: readonly string[];
}

/** Reads options by their specs. @throws Problem E_USAGE */
export function readWords(words: readonly string[], options: readonly OptionSpec[], help: string): Words {
  const values = new Map<string, string | true>();
  const positional: string[] = [];
  const set = (spec: OptionSpec, value: string | true, said: string): void => {
    if (values.has(spec.name) && values.get(spec.name) !== value)
      throw usageProblem(`${said} is given twice, with different values`, help);
    values.set(spec.name, value);
  };
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? "";
    if (word === "--") {
      positional.push(...words.slice(index + 1));
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      positional.push(word);
      continue;
    }
    const { spec, said, value, rest } = readOption(word, options, help);
    if (spec.value === undefined) {
      if (value !== undefined) throw usageProblem(`${said} takes no value`, help);
      set(spec, true, said);
      // The next letter of -kv is an option of its own.
      if (rest !== undefined) words = [...words.slice(0, index + 1), `-${rest}`, ...words.slice(index + 1)];
      continue;
    }
    const given = value ?? rest ?? words[index + 1];
    if (given === undefined || (value === undefined && rest === undefined && given.startsWith("--"))) {
      throw usageProblem(`${said} needs a value: ${said} ${spec.value}`, help);
    }
    if (value === undefined && rest === undefined) index += 1;
    set(spec, given, said);
  }
  return { values, positional };
}

interface ReadOption {
  readonly spec: OptionSpec;
  readonly said: string;
  /** After an equals sign. */
  readonly value: string | undefined;
  /** Letters that follow a short option in the same word. */
  readonly rest: string | undefined;
}

function readOption(word: string, options: readonly OptionSpec[], help: string): ReadOption {
  if (!word.startsWith("--")) {
    const said = word.slice(0, 2);
    const spec = options.find((option) => option.short === word[1]);
    if (spec === undefined) throw usageProblem(`there is no option ${said}`, help);
    return { spec, said, value: undefined, rest: word.length > 2 ? word.slice(2) : undefined };
  }
  const equals = word.indexOf("=");
  const said = equals === -1 ? word : word.slice(0, equals);
  const spec = options.find((option) => `--${option.name}` === said);
  if (spec === undefined) {
    const close = closest(
      said.slice(2),
      options.map((option) => option.name),
    );
    throw usageProblem(`there is no option ${said}`, close === undefined ? help : `did you mean --${close}? ${help}`);
  }
  return { spec, said, value: equals === -1 ? undefined : word.slice(equals + 1), rest: undefined };
}

export function given(words: Words): Given {
  return {
    arguments: words.positional,
    flag: (name) => words.values.get(name) === true,
    text: (name) => {
      const value = words.values.get(name);
      return typeof value === "string" ? value : undefined;
    },
  };
}

/** @throws Problem E_USAGE when arguments are missing or too many */
export function checkArguments(command: Command, positional: readonly string[], help: string): void {
  const least = command.arguments.filter((argument) => argument.optional !== true).length;
  const most = command.arguments.some((argument) => argument.many) ? Number.POSITIVE_INFINITY : command.arguments.length;
  if (positional.length < least) {
    const lacking = command.arguments[positional.length]?.name ?? "";
    throw usageProblem(`garth ${command.path.join(" ")} needs ${lacking}`, help);
  }
  if (positional.length > most) {
    throw usageProblem(`garth ${command.path.join(" ")} does not take ${JSON.stringify(positional[most])}`, help);
  }
}
