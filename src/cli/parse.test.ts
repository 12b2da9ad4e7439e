import { expect, test } from "bun:test";
import fc from "fast-check";
import { Problem } from "../base/index.ts";
import type { OptionSpec } from "./command.ts";
import { commandHelp, generalHelp, meant, nounHelp } from "./help.ts";
import { given, GLOBAL_OPTIONS, readWords } from "./parse.ts";
import { COMMANDS } from "./table.ts";

const options: readonly OptionSpec[] = [
  { name: "jobs", short: "j", value: "N", help: "" },
  { name: "keep", short: "k", help: "" },
  { name: "verbose", short: "v", help: "" },
];
const read = (...words: readonly string[]) => {
  const found = readWords(words, options, "help");
  const all: Readonly<Record<string, string | boolean>> = {
    ...Object.fromEntries(found.values),
    rest: found.positional.join(" "),
  };
  return all;
};

test("options in all their forms, anywhere", () => {
  const meantAll = { jobs: "4", keep: true, rest: "a b" };
  expect(read("--jobs", "4", "--keep", "a", "b")).toEqual(meantAll);
  expect(read("a", "--jobs=4", "b", "--keep")).toEqual(meantAll);
  expect(read("-j4", "a", "-k", "b")).toEqual(meantAll);
  expect(read("-kj4", "a", "b")).toEqual(meantAll);
  expect(read("-kj", "4", "a", "b")).toEqual(meantAll);
  expect(read("-kvj", "4")).toEqual({ jobs: "4", keep: true, verbose: true, rest: "" });
  expect(read("--", "--keep", "-j")).toEqual({ rest: "--keep -j" });
  expect(read("-")).toEqual({ rest: "-" });
  expect(read("--jobs=")).toEqual({ jobs: "", rest: "" });
});

test("the same twice is fine, a contradiction is not", () => {
  expect(read("-j4", "--jobs", "4")).toMatchObject({ jobs: "4" });
  expect(() => read("-j4", "-j5")).toThrow("given twice");
});

test("what cannot be meant is refused", () => {
  for (const words of [["--jobs"], ["--jobs", "--keep"], ["--keep=yes"], ["--nothing"], ["-x"], ["-j"]]) {
    expect(() => read(...words)).toThrow(Problem);
  }
});

test("any words are read or refused, and what stands after -- is never an option", () => {
  const word = fc.oneof(fc.string(), fc.constantFrom("-", "--", "-k", "-j", "-j1", "--jobs", "--jobs=1", "-kkk", "--keep"));
  fc.assert(
    fc.property(fc.array(word), fc.array(fc.string()), (words, after) => {
      try {
        const found = readWords([...words, "--", ...after], options, "help");
        if (!words.includes("--")) expect(found.positional.slice(found.positional.length - after.length)).toEqual(after);
        expect(given(found).flag("jobs")).toBe(false);
      } catch (error) {
        expect(error).toBeInstanceOf(Problem);
      }
    }),
  );
});

test("the table: every command has a handler, no name or option stands twice, and optional arguments come last", async () => {
  const names = COMMANDS.flatMap(({ path, alias }) => [path.join(" "), ...(alias === undefined ? [] : [alias])]);
  expect(new Set(names).size).toBe(names.length);
  for (const command of COMMANDS) {
    expect(typeof (await command.load())).toBe("function");
    const all = [...command.options, ...GLOBAL_OPTIONS];
    expect(new Set(all.map((option) => option.name)).size).toBe(all.length);
    const shorts = all.flatMap((option) => option.short ?? []);
    expect(new Set(shorts).size).toBe(shorts.length);
    const optional = command.arguments.map((argument) => argument.optional === true);
    expect(optional).toEqual(optional.toSorted());
  }
});

test("help names every command and every option", () => {
  const general = generalHelp(COMMANDS);
  for (const command of COMMANDS) {
    const [noun, verb] = command.path;
    if (verb !== undefined) {
      expect(general).toMatch(new RegExp(`^  ${noun} .*\\b${verb}\\b`, "m"));
      expect(nounHelp(noun, COMMANDS)).toContain(`${noun} ${verb}`);
    }
    for (const option of command.options) expect(commandHelp(command)).toContain(`--${option.name}`);
  }
});

test("did you mean", () => {
  expect(meant(["biuld"], COMMANDS)).toBe("garth build");
  expect(meant(["store", "optimize"], COMMANDS)).toBe("garth store optimise");
  expect(meant(["frobnicate"], COMMANDS)).toBeUndefined();
});
