/** The constructors of a project file: each checks its options at once and returns a declaration. */
import { SYSTEMS } from "../base/index.ts";
import {
  below,
  type Check,
  Fault,
  type Fields,
  filledText,
  flag,
  isRecord,
  list,
  matching,
  oneOf,
  positiveInteger,
  recordOf,
  shape,
  text,
} from "./check.ts";
import { checked } from "./errors.ts";
import { fetchValue } from "./fetch.ts";
import { here, type Site } from "./location.ts";
import {
  type AlternativesDeclaration,
  type AutotoolsOptions,
  type Buildable,
  type CargoOptions,
  type CmakeOptions,
  type Declaration,
  type MakeOptions,
  PHASES,
  type ScriptOptions,
} from "./options.ts";
import { buildRootValue } from "./world.ts";

const NAME = matching(/^(?!__proto__$)[A-Za-z0-9+_][A-Za-z0-9+._-]{0,99}$/, "a name of letters, digits and + - . _");
const VERSION = matching(/^[A-Za-z0-9][A-Za-z0-9+._]*$/, "a version of letters, digits and + . _");
const VARIABLE = matching(/^(?!__proto__$)[A-Za-z_][A-Za-z0-9_]*$/, "the name of a shell variable");

export function isBuildable(value: unknown): value is Buildable {
  return isRecord(value) && (value["kind"] === "declaration" || value["kind"] === "alternatives-declaration");
}

const buildable: Check = (value) => {
  if (!isBuildable(value)) throw new Fault("a recipe", value);
};

const inputList = list(buildable);
const inputRecord = recordOf(buildable, VARIABLE);

/** A list or a record of recipes. */
export const inputsValue: Check = (value) => {
  if (Array.isArray(value)) inputList(value);
  else if (isRecord(value)) inputRecord(value);
  else throw new Fault("a list or an object of recipes", value);
};

const inputsOrFunction: Check = (value) => {
  if (typeof value !== "function") inputsValue(value);
};

const outputsValue: Check = (value) => {
  list(VARIABLE, 1)(value);
  if (!Array.isArray(value)) return;
  below(0, oneOf("out"), value[0]);
  if (new Set(value).size !== value.length) throw new Fault("a list without doubles", value);
};

/** A path that stays below where it starts. */
const pathInside: Check = (value) => {
  filledText(value);
  if (typeof value !== "string" || value.startsWith("/") || value.split("/").includes("..")) {
    throw new Fault("a relative path without `..`", value);
  }
};

const probeCommand: Check = (value) => {
  list(text, 1)(value);
  if (Array.isArray(value)) below(0, pathInside, value[0]);
};

const COMMON: Fields = {
  source: fetchValue,
  sources: recordOf(fetchValue, VARIABLE),
  inputs: inputsOrFunction,
  outputs: outputsValue,
  check: flag,
  env: recordOf(text, VARIABLE),
  limits: shape({
    wallClockMs: positiveInteger,
    silenceMs: positiveInteger,
    memoryBytes: positiveInteger,
    processes: positiveInteger,
    openFiles: positiveInteger,
    outputBytes: positiveInteger,
    logBytes: positiveInteger,
  }),
  buildRoot: buildRootValue,
  probe: shape({ argv: probeCommand, expect: text }, ["argv"]),
  keepSource: flag,
  metadata: shape({
    comment: filledText,
    description: text,
    homepage: text,
    maintainer: filledText,
    licenses: list(filledText),
    categories: list(matching(/^[a-z0-9][a-z0-9-]*$/, "a category in lower case"), 1),
    origin: matching(/^[A-Za-z0-9._-]+\/[A-Za-z0-9+._-]+$/, "an origin such as misc/hello"),
  }),
};

const capitalized = (phase: string) => phase.slice(0, 1).toUpperCase() + phase.slice(1);

const PHASED: Fields = {
  ...COMMON,
  patches: list(fetchValue),
  sourceRoot: pathInside,
  phases: shape(Object.fromEntries(PHASES.map((phase) => [phase, text]))),
  ...Object.fromEntries(PHASES.flatMap((phase) => ["pre", "post"].map((when) => [when + capitalized(phase), filledText]))),
};

const words = list(text);
const target = matching(/^[^\s-][^\s]*$/, "the name of a make target");

const FIELDS = {
  autotools: { ...PHASED, configureFlags: words, makeFlags: words, checkTarget: target, installFlags: words },
  make: { ...PHASED, makeFlags: words, buildTarget: target, checkTarget: target, installTarget: target },
  cmake: { ...PHASED, cmakeFlags: words, buildType: oneOf("Release", "RelWithDebInfo", "MinSizeRel", "Debug") },
  cargo: { ...PHASED, cargoFlags: words, vendor: fetchValue },
  script: { ...COMMON, script: filledText },
} satisfies Record<Declaration["buildSystem"], Fields>;

const SYSTEM_NAMES = ["linux", "freebsd", ...SYSTEMS];

const SHAPES: Readonly<Record<Declaration["buildSystem"], Check>> = {
  autotools: optionsShape(FIELDS.autotools),
  make: optionsShape(FIELDS.make),
  cmake: optionsShape(FIELDS.cmake),
  cargo: optionsShape(FIELDS.cargo),
  script: optionsShape(FIELDS.script, ["script"]),
};

function optionsShape(fields: Fields, required: readonly string[] = []): Check {
  const override = shape({ ...fields, version: VERSION });
  const perSystem = shape(Object.fromEntries(SYSTEM_NAMES.map((system) => [system, override])));
  return shape({ name: NAME, version: VERSION, ...fields, perSystem }, ["name", ...required]);
}

function check(buildSystem: Declaration["buildSystem"], options: { readonly name: string }, site: Site): void {
  try {
    SHAPES[buildSystem](options);
  } catch (error) {
    const name: unknown = isRecord(options) ? options["name"] : undefined;
    const subject = typeof name === "string" && name !== "" ? name : buildSystem;
    checked(buildSystem, subject, site, () => {
      throw error;
    });
  }
}

/** `./configure && make && make check && make install`, as GNU programs want it. @throws Problem E_RECIPE_INVALID */
export function autotools(options: AutotoolsOptions): Declaration {
  const site = here();
  check("autotools", options, site);
  return { kind: "declaration", name: options.name, version: options.version ?? "", buildSystem: "autotools", options, site };
}

/** A Makefile with the targets check and install, told PREFIX. @throws Problem E_RECIPE_INVALID */
export function make(options: MakeOptions): Declaration {
  const site = here();
  check("make", options, site);
  return { kind: "declaration", name: options.name, version: options.version ?? "", buildSystem: "make", options, site };
}

/** A CMake project; its test suite is run by ctest. @throws Problem E_RECIPE_INVALID */
export function cmake(options: CmakeOptions): Declaration {
  const site = here();
  check("cmake", options, site);
  return { kind: "declaration", name: options.name, version: options.version ?? "", buildSystem: "cmake", options, site };
}

/** A Rust package with its Cargo.lock, built offline. @throws Problem E_RECIPE_INVALID */
export function cargo(options: CargoOptions): Declaration {
  const site = here();
  check("cargo", options, site);
  return { kind: "declaration", name: options.name, version: options.version ?? "", buildSystem: "cargo", options, site };
}

/** Lines of POSIX sh, and nothing else. @throws Problem E_RECIPE_INVALID */
export function script(options: ScriptOptions): Declaration {
  const site = here();
  check("script", options, site);
  return { kind: "declaration", name: options.name, version: options.version ?? "", buildSystem: "script", options, site };
}

/**
 * The first recipe whose sources can be had; the receipt says which it was. All have the first one's name, and the same outputs.
 * @throws Problem E_RECIPE_INVALID
 */
export function alternatives(first: Declaration, second: Declaration, ...more: readonly Declaration[]): AlternativesDeclaration {
  const site = here();
  const choices = [first, second, ...more];
  checked("alternatives", "alternatives", site, () => {
    for (const [index, choice] of choices.entries()) {
      below(index, alternativeOf(first), choice);
    }
  });
  return { kind: "alternatives-declaration", name: first.name, version: first.version, choices, site };
}

function alternativeOf(first: Declaration): Check {
  return (value) => {
    if (!isRecord(value) || value["kind"] !== "declaration") throw new Fault("a recipe", value);
    if (value["name"] !== first.name) throw new Fault(`a recipe with the name of the first, ${first.name}`, value["name"]);
  };
}
