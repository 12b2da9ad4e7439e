/** The environment of a builder: text with holes for the store paths of inputs and sources. */
import { type System } from "../base/index.ts";
import { below, Fault } from "./check.ts";
import type { CommonOptions } from "./options.ts";
import { pieces } from "./sh.ts";
import type { Alternatives, Recipe, Text, TextPart } from "./types.ts";
import { searchPath } from "./world.ts";

/** What a name after `$` stands for: a hole in the derivation, or an output, whose path is known only when the builder runs. */
export type Names = ReadonlyMap<string, TextPart | "output">;
type InputTable = Readonly<Record<string, Recipe | Alternatives>>;

/** The variable of an input: its name, with `_` for what a shell variable cannot hold. */
function variableName(name: string): string {
  if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return name;
  const plain = name.replaceAll(/[^A-Za-z0-9_]/g, "_");
  return /^[0-9]/.test(plain) ? `_${plain}` : plain;
}

/** @throws Fault when two things would have the same name */
export function namesOf(inputs: InputTable, sources: readonly string[], outputs: readonly string[]): Names {
  const names = new Map<string, TextPart | "output">();
  for (const output of outputs) names.set(output, "output");
  for (const source of sources) add(names, source, { source }, "sources", source);
  for (const input of Object.keys(inputs)) {
    for (const output of outputsOf(inputs[input])) {
      const variable = output === "out" ? variableName(input) : `${variableName(input)}_${output}`;
      add(names, variable, output === "out" ? { input } : { input, output }, "inputs", input);
    }
  }
  return names;
}

function add(names: Map<string, TextPart | "output">, variable: string, part: TextPart, field: string, name: string): void {
  if (names.has(variable)) {
    const fault = new Fault(
      `a name that no output, source or other input has as a variable (${variable})`,
      name,
      "write inputs as an object and choose another name",
    );
    fault.path.push(field, name);
    throw fault;
  }
  names.set(variable, part);
}

function outputsOf(input: Recipe | Alternatives | undefined): readonly string[] {
  if (input === undefined) return [];
  return input.kind === "recipe" ? input.outputs : (input.choices[0]?.outputs ?? ["out"]);
}

/** 1980-01-01, the first moment that a zip archive can say. */
const SOURCE_DATE_EPOCH = "315532800";

/** The build directory does not show in what is built: in the sandbox it is /build, and names are given relative to it. */
const PREFIX_MAP = "-ffile-prefix-map=/build=.";

/** The same on every system; the compiler is `cc` on both. ARFLAGS: without times and owners in archives. */
const COMPILER: Readonly<Record<string, string>> = {
  CC: "cc",
  CXX: "c++",
  CFLAGS: `-O2 ${PREFIX_MAP}`,
  CXXFLAGS: `-O2 ${PREFIX_MAP}`,
  ARFLAGS: "crD",
  CONFIG_SHELL: "/bin/sh",
  CONFIG_SITE: "/dev/null",
};

export interface EnvironmentParts {
  readonly options: CommonOptions;
  readonly names: Names;
  readonly system: System;
  /** Whether compilers and their friends are told about the inputs. */
  readonly compiles: boolean;
}

/** Sorted by name. @throws Fault */
export function builderEnvironment({ options, names, system, compiles }: EnvironmentParts): Readonly<Record<string, Text>> {
  const env: Record<string, Text> = { LC_ALL: "C.UTF-8", SOURCE_DATE_EPOCH, TZ: "UTC" };
  const given = options.env === undefined ? NOTHING : filledEnvironment(options.env, names);
  const parts: TextPart[] = [];
  for (const [name, part] of names) {
    if (part === "output") continue;
    env[name] = [part];
    if (typeof part !== "string" && "input" in part) parts.push(part);
  }
  env["PATH"] = joined(":", given["PATH"], ...parts.map((part) => [part, "/bin"]), searchPath(system));
  if (compiles) {
    Object.assign(env, COMPILER);
    const packages = ["/lib/pkgconfig", "/share/pkgconfig"].flatMap((directory) => parts.map((part) => [part, directory]));
    set(env, "CPPFLAGS", joined(" ", ...parts.map((part) => ["-I", part, "/include"]), given["CPPFLAGS"]));
    set(env, "LDFLAGS", joined(" ", ...parts.map(linkFlags), given["LDFLAGS"]));
    set(env, "PKG_CONFIG_PATH", joined(":", given["PKG_CONFIG_PATH"], ...packages));
    set(env, "CMAKE_PREFIX_PATH", joined(":", given["CMAKE_PREFIX_PATH"], ...parts.map((part) => [part])));
  }
  for (const name of Object.keys(given)) if (!JOINED.has(name) || !Object.hasOwn(env, name)) set(env, name, given[name]);
  const sorted: Record<string, Text> = {};
  for (const name of Object.keys(env).toSorted()) sorted[name] = env[name] ?? "";
  return sorted;
}

const NOTHING: Readonly<Record<string, Text>> = {};

function filledEnvironment(given: Readonly<Record<string, string>>, names: Names): Readonly<Record<string, Text>> {
  const filled: Record<string, Text> = {};
  for (const name of Object.keys(given)) {
    const value = given[name];
    if (value !== undefined) below("env", () => below(name, () => (filled[name] = fill(name, value, names)), value), given);
  }
  return filled;
}

/** Variables in which what is given stands beside what the inputs bring. */
const JOINED: ReadonlySet<string> = new Set(["PATH", "CPPFLAGS", "LDFLAGS", "PKG_CONFIG_PATH", "CMAKE_PREFIX_PATH"]);

function set(env: Record<string, Text>, name: string, value: Text | undefined): void {
  if (value !== undefined && value !== "") env[name] = value;
}

/** -rpath, so that a program finds the very library it was linked with. */
function linkFlags(part: TextPart): Text {
  return ["-L", part, "/lib -Wl,-rpath,", part, "/lib"];
}

/** Neighbouring literals become one, so that a text has one form. */
function joined(separator: string, ...texts: readonly (Text | undefined)[]): Text {
  const parts: TextPart[] = [];
  let literal = "";
  let first = true;
  for (const text of texts) {
    if (text === undefined || text === "") continue;
    if (!first) literal += separator;
    first = false;
    if (typeof text === "string") {
      literal += text;
      continue;
    }
    for (const part of text) {
      if (typeof part === "string") {
        literal += part;
        continue;
      }
      if (literal !== "") parts.push(literal);
      literal = "";
      parts.push(part);
    }
  }
  if (parts.length === 0) return literal;
  if (literal !== "") parts.push(literal);
  return parts;
}

/** @throws Fault */
function fill(name: string, value: string, names: Names): Text {
  if (names.has(name)) throw new Fault("a variable that is not the name of an output, an input or a source", value);
  if (!value.includes("$")) return value;
  return joined(
    "",
    ...pieces(value).map((piece) => {
      if ("literal" in piece) return piece.literal;
      const part = names.get(piece.variable);
      if (part === undefined) {
        const known = [...names].flatMap(([known, part]) => (part === "output" ? [] : [known]));
        throw new Fault(`only names of inputs and sources after $ (${known.join(", ")})`, value, "write $$ for a dollar");
      }
      if (part === "output") {
        throw new Fault(
          "no output after $",
          value,
          `an output's path is known only to the builder: preConfigure: 'export ${name}=...'`,
        );
      }
      return [part];
    }),
  );
}
