/** A declaration for one system: options chosen, inputs named, environment and script written. */
import { operatingSystemOf, type System } from "../base/index.ts";
import { autotoolsBodies, autotoolsPrologue } from "./autotools.ts";
import { cargoBodies, cargoPrologue } from "./cargo.ts";
import { below, Fault } from "./check.ts";
import { cmakeBodies, cmakePrologue } from "./cmake.ts";
import { inputsValue } from "./declare.ts";
import { builderEnvironment, type Names, namesOf } from "./environment.ts";
import { called, checked } from "./errors.ts";
import { locationOf } from "./location.ts";
import { makeBodies, makePrologue } from "./make.ts";
import type { Buildable, CommonOptions, Declaration, Inputs, PhasedOptions } from "./options.ts";
import { renderPhases } from "./phases.ts";
import { pieces } from "./sh.ts";
import type { Alternatives, Fetch, PackageMetadata, Recipe, ResourceLimits, Text } from "./types.ts";
import { buildRootFor } from "./world.ts";

export interface Lowering {
  readonly system: System;
  /** Of the project file. */
  readonly directory: string;
}

/** @throws Problem E_RECIPE_INVALID */
export function lower(
  declaration: Declaration,
  inputs: Readonly<Record<string, Recipe | Alternatives>>,
  lowering: Lowering,
): Recipe {
  return checked(declaration.buildSystem, declaration.name, declaration.site, () => lowerChecked(declaration, inputs, lowering));
}

function lowerChecked(
  declaration: Declaration,
  inputs: Readonly<Record<string, Recipe | Alternatives>>,
  { system, directory }: Lowering,
): Recipe {
  const options = merge(declaration.options, system);
  const outputs = options.outputs ?? ["out"];
  const patches = patchesOf(options);
  const sources = sourcesOf(options, patches);
  const names = namesOf(inputs, Object.keys(sources), outputs);
  const env = builderEnvironment({ options, names, system, compiles: declaration.buildSystem !== "script" });
  return {
    kind: "recipe",
    name: declaration.name,
    version: options.version ?? "",
    system,
    buildSystem: declaration.buildSystem,
    builder: { argv: commandOf(declaration, system, names, patches, outputs), env, cwd: "/build" },
    inputs,
    sources,
    outputs,
    buildRoot: buildRootFor(options.buildRoot, system, directory),
    limits: limitsOf(options.limits),
    check: options.check ?? false,
    probe: options.probe === undefined ? undefined : { argv: options.probe.argv, expect: options.probe.expect },
    metadata: metadataOf(declaration.name, options.metadata),
    get location() {
      return locationOf(declaration.site);
    },
  };
}

/** The general options with those for the operating system, then those for the very system, laid over them. */
function merge<Options extends Declaration["options"]>(options: Options, system: System): Options {
  if (options.perSystem === undefined) return options;
  return { ...options, ...defined(options.perSystem[operatingSystemOf(system)]), ...defined(options.perSystem[system]) };
}

function defined<Value extends object>(value: Value | undefined): Partial<Value> {
  const kept: Partial<Value> = { ...value };
  for (const key in kept) if (kept[key] === undefined) delete kept[key];
  return kept;
}

/** Inputs by name: those of a list in its order, those of a record sorted. A function is called here. @throws Problem E_RECIPE_INVALID, E_RECIPE_THREW */
export function inputsOf(declaration: Declaration, system: System): Readonly<Record<string, Buildable>> {
  const given = merge(declaration.options, system).inputs;
  if (given === undefined) return NO_INPUTS;
  const inputs: Inputs = typeof given === "function" ? called(`${declaration.name}: inputs`, given) : given;
  const named: Record<string, Buildable> = {};
  if (typeof given !== "function" && !isList(given)) return sorted(given);
  checked(declaration.buildSystem, declaration.name, declaration.site, () => {
    if (typeof given === "function") below("inputs", inputsValue, inputs);
    if (!isList(inputs)) {
      Object.assign(named, sorted(inputs));
      return;
    }
    for (const [index, input] of inputs.entries()) {
      if (!Object.hasOwn(named, input.name)) named[input.name] = input;
      else if (named[input.name] !== input) below("inputs", () => below(index, () => sameName(input), input), inputs);
    }
  });
  return named;
}

/** A record has no order that means something: the same fields in another order are the same recipe. */
function sorted<Value>(record: Readonly<Record<string, Value>>): Record<string, Value> {
  return Object.fromEntries(Object.entries(record).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

const NO_INPUTS: Readonly<Record<string, Buildable>> = {};

function isList(inputs: Inputs): inputs is readonly Buildable[] {
  return Array.isArray(inputs);
}

function sameName({ name }: Buildable): never {
  throw new Fault(`inputs with different names`, name, `write an object that names them: { ${name}: first, other: second }`);
}

function patchesOf(options: CommonOptions | PhasedOptions): Readonly<Record<string, Fetch>> {
  const patches = "patches" in options ? (options.patches ?? []) : [];
  return Object.fromEntries(patches.map((patch, index) => [`patch_${index + 1}`, patch]));
}

function sourcesOf(options: Declaration["options"], patches: Readonly<Record<string, Fetch>>): Readonly<Record<string, Fetch>> {
  const sources: Record<string, Fetch> = {};
  if (options.source !== undefined) sources["src"] = options.source;
  if ("vendor" in options && options.vendor !== undefined) sources["vendor"] = options.vendor;
  const named = options.sources;
  if (named !== undefined) {
    for (const name of Object.keys(named)) {
      const source = named[name];
      if (Object.hasOwn(sources, name)) {
        below("sources", () => below(name, () => clash(name), name), named);
      }
      if (source !== undefined) sources[name] = source;
    }
  }
  return sorted(Object.assign(sources, patches));
}

function clash(name: string): never {
  throw new Fault("a name that is not taken by another source", name);
}

function commandOf(
  declaration: Declaration,
  system: System,
  names: Names,
  patchSources: Readonly<Record<string, Fetch>>,
  outputs: readonly string[],
): readonly Text[] {
  const script = scriptOf(declaration, system, names, Object.keys(patchSources), outputs);
  return ["/bin/sh", "-c", script, "garth"];
}

function scriptOf(
  declaration: Declaration,
  system: System,
  names: Names,
  patches: readonly string[],
  outputs: readonly string[],
): string {
  switch (declaration.buildSystem) {
    case "autotools": {
      const options = merge(declaration.options, system);
      checkWords(options, ["configureFlags", "makeFlags", "installFlags"], names);
      return renderPhases({ options, outputs, patches, bodies: autotoolsBodies(options, system), prologue: autotoolsPrologue });
    }
    case "make": {
      const options = merge(declaration.options, system);
      checkWords(options, ["makeFlags"], names);
      return renderPhases({ options, outputs, patches, bodies: makeBodies(options), prologue: makePrologue });
    }
    case "cmake": {
      const options = merge(declaration.options, system);
      checkWords(options, ["cmakeFlags"], names);
      return renderPhases({ options, outputs, patches, bodies: cmakeBodies(options), prologue: cmakePrologue });
    }
    case "cargo": {
      const options = merge(declaration.options, system);
      checkWords(options, ["cargoFlags"], names);
      return renderPhases({ options, outputs, patches, bodies: cargoBodies(options), prologue: cargoPrologue });
    }
    case "script":
      return `set -eu\n${merge(declaration.options, system).script}`;
  }
}

/** Every `$name` in a flag must name something, or the script would end in the middle with "parameter not set". */
function checkWords<Field extends string>(
  options: Readonly<Partial<Record<Field, readonly string[]>>>,
  fields: readonly Field[],
  names: Names,
): void {
  for (const field of fields) {
    const flags = options[field];
    if (flags === undefined) continue;
    for (const [index, flag] of flags.entries()) {
      if (flag.includes("$")) below(field, () => below(index, () => checkWord(flag, names), flag), flags);
    }
  }
}

function checkWord(flag: string, names: Names): void {
  for (const piece of pieces(flag)) {
    if (!("variable" in piece) || names.has(piece.variable)) continue;
    throw new Fault(
      `only names of outputs, inputs and sources after $ (${[...names.keys()].join(", ")})`,
      flag,
      "write $$ for a dollar",
    );
  }
}

const DEFAULT_LIMITS: ResourceLimits = {
  wallClockMs: 3_600_000,
  silenceMs: 900_000,
  memoryBytes: 4 * 2 ** 30,
  processes: 1024,
  openFiles: 4096,
  outputBytes: 8 * 2 ** 30,
  logBytes: 64 * 2 ** 20,
};

function limitsOf(limits: Partial<ResourceLimits> | undefined): ResourceLimits {
  return limits === undefined ? DEFAULT_LIMITS : { ...DEFAULT_LIMITS, ...defined(limits) };
}

function metadataOf(name: string, given: Partial<PackageMetadata> | undefined): PackageMetadata {
  const categories = given?.categories ?? ["misc"];
  const comment = given?.comment ?? name;
  return {
    comment,
    description: given?.description ?? comment,
    homepage: given?.homepage ?? "",
    maintainer: given?.maintainer ?? "unknown@localhost",
    licenses: given?.licenses ?? [],
    categories,
    origin: given?.origin ?? `${categories[0] ?? "misc"}/${name}`,
  };
}
