/**
 * Small checks for what a project file hands over. They run in every process on every recipe, so a value that is right costs a
 * few comparisons; the path to the field is put together only on the way out of a failure.
 */
import { closest } from "../base/index.ts";

/** @throws Fault */
export type Check = (value: unknown) => void;
export type Fields = Readonly<Record<string, Check>>;

export type PathElement = string | number;

/** A value that is not what the field takes. Becomes a Problem where the recipe and its place are known. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly path: PathElement[] = [];
  readonly expected: string;
  readonly found: string;
  readonly hint: string | undefined;

  constructor(expected: string, value: unknown, hint?: string) {
    super(`expected ${expected}`);
    this.expected = expected;
    this.found = describe(value);
    this.hint = hint;
  }
}

/** Runs a check below one field: a fault on its way out learns where it was. */
export function below(element: PathElement, check: Check, value: unknown): void {
  try {
    check(value);
  } catch (error) {
    if (error instanceof Fault) error.path.unshift(element);
    throw error;
  }
}

/** `inputs[2]`, `env.CFLAGS`, `sources["my file"]`. */
export function renderPath(path: readonly PathElement[]): string {
  let text = "";
  for (const element of path) {
    if (typeof element === "number") text += `[${element}]`;
    else if (/^[A-Za-z_$][\w$]*$/.test(element)) text += text === "" ? element : `.${element}`;
    else text += `[${JSON.stringify(element)}]`;
  }
  return text;
}

/** What was found, short enough for one line. */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (typeof value === "string") return `the text ${JSON.stringify(shorten(value))}`;
  if (typeof value === "number" || typeof value === "bigint") return `the number ${value}`;
  if (typeof value === "boolean") return String(value);
  if (typeof value === "function") return "a function";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : `a list of ${value.length}`;
  if (typeof value === "symbol") return "a symbol";
  const { kind, fetcher } = isRecord(value) ? value : {};
  if (typeof fetcher === "string") return `a source (${fetcher})`;
  if (kind === "declaration") return "a recipe";
  if (kind === "alternatives-declaration") return "alternatives";
  if (typeof kind === "string") return `an object of kind ${JSON.stringify(shorten(kind))}`;
  return `an object with ${listNames(Object.keys(value))}`;
}

function shorten(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

function listNames(names: readonly string[]): string {
  if (names.length === 0) return "no fields";
  return `the fields ${names.slice(0, 5).join(", ")}${names.length > 5 ? ", ..." : ""}`;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export const text: Check = (value) => {
  if (typeof value !== "string") throw new Fault("a text", value);
  if (value.includes("\0")) throw new Fault("a text without NUL characters", value);
  if (!value.isWellFormed()) throw new Fault("a text of whole Unicode characters", value);
};

export const filledText: Check = (value) => {
  text(value);
  if (value === "") throw new Fault("a text that is not empty", value);
};

export const flag: Check = (value) => {
  if (typeof value !== "boolean") throw new Fault("true or false", value);
};

export const positiveInteger: Check = (value) => {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value <= 0) throw new Fault("a whole number above 0", value);
};

export function matching(pattern: RegExp, expected: string, hint?: string): Check {
  return (value) => {
    if (typeof value !== "string" || !pattern.test(value)) throw new Fault(expected, value, hint);
  };
}

export function oneOf(...values: readonly string[]): Check {
  return (value) => {
    if (typeof value === "string" && values.includes(value)) return;
    const meant = typeof value === "string" ? closest(value, values) : undefined;
    throw new Fault(values.map((name) => JSON.stringify(name)).join(" or "), value, didYouMean(meant));
  };
}

export function list(item: Check, minimum = 0): Check {
  return (value) => {
    if (!Array.isArray(value)) throw new Fault("a list", value);
    if (value.length < minimum) throw new Fault(`a list of at least ${minimum}`, value);
    for (let index = 0; index < value.length; index++) below(index, item, value[index]);
  };
}

export function recordOf(item: Check, key?: Check): Check {
  return (value) => {
    if (!isRecord(value)) throw new Fault("an object", value);
    for (const name of Object.keys(value)) {
      if (key !== undefined) below(name, key, name);
      below(name, item, value[name]);
    }
  };
}

/** An object with exactly these fields, all of them optional but the required ones. `undefined` counts as absent. */
export function shape(fields: Fields, required: readonly string[] = []): Check {
  return (value) => {
    if (!isRecord(value)) throw new Fault("an object", value);
    for (const name of Object.keys(value)) {
      const check = Object.hasOwn(fields, name) ? fields[name] : undefined;
      if (check === undefined) throw unknownField(name, value[name], fields);
      const member = value[name];
      if (member !== undefined) below(name, check, member);
    }
    for (const name of required) {
      if (value[name] === undefined) throw at(name, new Fault("a value: the field is required", undefined));
    }
  };
}

function unknownField(name: string, value: unknown, fields: Fields): Fault {
  const names = Object.keys(fields);
  const meant = closest(name, names);
  const hint = didYouMean(meant) ?? `the fields are ${names.toSorted().join(", ")}`;
  return at(name, new Fault("no field of this name", value, hint));
}

function at(element: PathElement, fault: Fault): Fault {
  fault.path.unshift(element);
  return fault;
}

function didYouMean(name: string | undefined): string | undefined {
  return name === undefined ? undefined : `did you mean ${name}?`;
}
