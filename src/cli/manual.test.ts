import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Command, OptionSpec } from "./command.ts";
import { GLOBAL_OPTIONS } from "./parse.ts";
import { COMMANDS } from "./table.ts";

const page = join(import.meta.dir, "../../man/garth.1");

/** A dash that is typed is no hyphen, and a dot that begins a line is a macro. */
function escaped(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll(/(^|\s)\./g, "$1\\&.")
    .replaceAll("-", "\\-");
}

function option({ name, short, value, help }: OptionSpec): string {
  const words = `${short === undefined ? "" : `Fl ${short} , `}Fl Fl ${escaped(name)}${value === undefined ? "" : ` Ar ${escaped(value)}`}`;
  return `.It ${words}\n${escaped(help)}\n`;
}

function entry(command: Command): string {
  const words = command.arguments.map(({ name, many, optional }) => {
    const word = `Ar ${escaped(name)}${many ? " ..." : ""}`;
    return optional ? `Oo ${word} Oc` : word;
  });
  const summary = escaped(command.summary);
  return [
    `.It ${["Cm", ...command.path.map(escaped), ...words].join(" ")}\n`,
    command.alias === undefined ? "" : `.Pq short: Cm ${command.alias}\n`,
    `${summary.slice(0, 1).toUpperCase()}${summary.slice(1)}.\n`,
    ...(command.notes ?? []).map((note) => `${escaped(note)}\n`),
    command.options.length === 0 ? "" : `.Bl -tag -width Ds -compact\n${command.options.map(option).join("")}.El\n`,
  ].join("");
}

/** The list that follows a heading, in the manual. */
function section(heading: string, items: string): (text: string) => string {
  return (text) => {
    const start = text.indexOf(".Bl -tag -width Ds\n", text.indexOf(heading));
    const list = text.slice(start);
    const end = list.search(/^\.El\n(?=\.Sh )/m);
    expect(start).toBeGreaterThan(0);
    return `${text.slice(0, start)}.Bl -tag -width Ds\n${items}${list.slice(end)}`;
  };
}

test("the manual lists every command and option as the table has them", () => {
  const before = readFileSync(page, "utf8");
  const options = section("Every command takes these options:", GLOBAL_OPTIONS.map(option).join(""));
  const commands = section(".Sh COMMANDS", COMMANDS.map(entry).join(""));
  const wanted = commands(options(before));
  if (process.env["GARTH_GOLDEN"] === "write") writeFileSync(page, wanted);
  expect(wanted).toBe(readFileSync(page, "utf8"));
});
