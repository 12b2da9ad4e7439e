/**
 * Reads a gate from values of unknown shape: a parsed TOML file, or what a project file passed to `gate`. Both say the same, in
 * their own spelling (`timeout_s`, `timeoutS`), and are checked by the same lines. Every fault names its field as it was spelt.
 */
import { closest } from "../base/index.ts";
import type { BuiltinSet, GateDeclaration, GateProbe, ProbeWay, RequiredMarker, RestartLoop, Rule } from "./types.ts";

/** Of a gate and of a probe. */
const DEFAULT_TIMEOUT_S = 300;
const DEFAULT_PROBE_TIMEOUT_S = 30;
const DAY_S = 86_400;
const RULES_MAX = 200;
const TEXT_MAX = 1000;

export type Path = readonly (string | number)[];
export type Spelling = "toml" | "typescript";

/** Makes a Problem of a fault: who reads knows the file and finds the line. */
export type Fault = (path: Path, message: string, hint?: string) => Error;

export interface Reading {
  readonly spelling: Spelling;
  readonly fault: Fault;
}

/** Field -> its key in a TOML file. In TypeScript the field is the key. */
type Keys = Readonly<Record<string, string>>;

const GATE_KEYS: Keys = {
  name: "name",
  extends: "extends",
  except: "except",
  timeoutS: "timeout_s",
  require: "require",
  forbid: "forbid",
  restartLoops: "restart_loop",
  probes: "probe",
  screenshot: "screenshot",
};
const RULE_KEYS: Keys = { name: "name", pattern: "pattern" };
const REQUIRE_KEYS: Keys = { ...RULE_KEYS, withinS: "within_s", ordered: "ordered" };
const LOOP_KEYS: Keys = { ...RULE_KEYS, max: "max", windowS: "window_s" };
const PROBE_KEYS: Keys = {
  name: "name",
  command: "command",
  expect: "expect",
  expectPattern: "expect_pattern",
  expectStatus: "expect_status",
  via: "via",
  user: "user",
  timeoutS: "timeout_s",
};

/** One table, its members by field. */
class Table {
  constructor(
    readonly reading: Reading,
    readonly path: Path,
    private readonly keys: Keys,
    private readonly values: Readonly<Record<string, unknown>>,
  ) {
    const known = Object.keys(keys).map((field) => this.key(field));
    for (const key of Object.keys(values)) {
      if (known.includes(key)) continue;
      const near = closest(key, known);
      const hint = near === undefined ? `the keys are ${known.join(", ")}` : `did you mean ${near}?`;
      throw reading.fault([...path, key], "there is no such key", hint);
    }
  }

  private key(field: string): string {
    return this.reading.spelling === "toml" ? (this.keys[field] ?? field) : field;
  }

  at(field: string): Path {
    return [...this.path, this.key(field)];
  }

  value(field: string): unknown {
    return this.values[this.key(field)];
  }

  wrong(field: string, wanted: string): Error {
    return this.reading.fault(this.at(field), `${describe(this.value(field))} is not ${wanted}`);
  }

  /** One line of text. */
  text(field: string, wanted: string): string | undefined {
    const value = this.value(field);
    if (value === undefined) return undefined;
    if (typeof value !== "string" || value === "" || value.length > TEXT_MAX || !isOneLine(value)) {
      throw this.wrong(field, `${wanted}: one line of 1 to ${TEXT_MAX} characters`);
    }
    return value;
  }

  number(field: string, least: number, most: number, kind: "seconds" | "a whole number"): number | undefined {
    const value = this.value(field);
    if (value === undefined) return undefined;
    const fits = typeof value === "number" && value >= least && value <= most && (kind === "seconds" || Number.isInteger(value));
    if (!fits) throw this.wrong(field, `${kind === "seconds" ? "a number of seconds" : kind} from ${least} to ${most}`);
    return value;
  }

  flag(field: string): boolean {
    const value = this.value(field);
    if (value !== undefined && typeof value !== "boolean") throw this.wrong(field, "true or false");
    return value ?? false;
  }

  oneOf<Word extends string>(field: string, words: readonly Word[]): Word | undefined {
    const value = this.value(field);
    if (value === undefined) return undefined;
    const word = words.find((one) => one === value);
    if (word === undefined) throw this.wrong(field, `one of ${words.join(", ")}`);
    return word;
  }

  list<T>(field: string, read: (value: unknown, path: Path) => T): readonly T[] {
    const value = this.value(field);
    if (value === undefined) return [];
    if (!Array.isArray(value) || value.length > RULES_MAX) throw this.wrong(field, `a list of at most ${RULES_MAX}`);
    return value.map((one: unknown, index) => read(one, [...this.at(field), index]));
  }

  /** A regular expression that is looked for in lines. */
  pattern(field: string, flags: "u" | "um"): string | undefined {
    const source = this.text(field, "a pattern");
    if (source === undefined) return undefined;
    let compiled: RegExp;
    try {
      compiled = new RegExp(source, flags);
    } catch (error) {
      const why = error instanceof Error ? error.message.replace(/^Invalid regular expression: /, "") : String(error);
      const hint = "patterns are JavaScript regular expressions with the flag u: only what has a meaning may be escaped";
      throw this.reading.fault(this.at(field), `the pattern ${JSON.stringify(source)} cannot be compiled: ${why}`, hint);
    }
    if (compiled.test("")) {
      const hint = "it would match nearly any line; say what the line holds";
      throw this.reading.fault(this.at(field), `the pattern ${JSON.stringify(source)} matches the empty line`, hint);
    }
    return source;
  }
}

function isOneLine(text: string): boolean {
  // oxlint-disable-next-line no-control-regex
  return text.isWellFormed() && !/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(text);
}

function describe(value: unknown): string {
  if (typeof value === "bigint") return String(value);
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function tableOf(reading: Reading, path: Path, keys: Keys, value: unknown): Table {
  if (!isRecord(value)) throw reading.fault(path, `${describe(value)} is not a table of ${Object.keys(keys).join(", ")}`);
  // A member that is undefined is as good as absent.
  const given = Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined));
  return new Table(reading, path, keys, given);
}

/** A bare string stands for a rule with that pattern. */
function asRule(value: unknown): unknown {
  return typeof value === "string" ? { pattern: value } : value;
}

function readRule(table: Table): Rule {
  const pattern = table.pattern("pattern", "u");
  if (pattern === undefined) throw table.reading.fault(table.path, "a pattern is missing");
  return { name: table.text("name", "a name") ?? pattern, pattern };
}

function readRequired(reading: Reading, timeoutS: number, value: unknown, path: Path): RequiredMarker {
  const table = tableOf(reading, path, REQUIRE_KEYS, asRule(value));
  const withinS = table.number("withinS", 0.001, DAY_S, "seconds");
  if (withinS !== undefined && withinS > timeoutS) {
    throw reading.fault(table.at("withinS"), `${withinS} s is more than the gate's own limit of ${timeoutS} s`);
  }
  return { ...readRule(table), withinS, ordered: table.flag("ordered") };
}

function readLoop(reading: Reading, value: unknown, path: Path): RestartLoop {
  const table = tableOf(reading, path, LOOP_KEYS, value);
  const max = table.number("max", 0, 10_000, "a whole number");
  const windowS = table.number("windowS", 0.001, DAY_S, "seconds");
  if (max === undefined) throw reading.fault(table.at("max"), "how many lines are still fine is missing");
  if (windowS === undefined) throw reading.fault(table.at("windowS"), "the window in seconds is missing");
  return { ...readRule(table), max, windowS };
}

const USER = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/;
const WAYS: readonly ProbeWay[] = ["ssh", "console"];

function readProbe(reading: Reading, value: unknown, path: Path): GateProbe {
  const table = tableOf(reading, path, PROBE_KEYS, value);
  const command = table.text("command", "a command");
  if (command === undefined) throw reading.fault(table.at("command"), "the command is missing");
  const expect = table.value("expect");
  if (expect !== undefined && (typeof expect !== "string" || expect.length > TEXT_MAX || !expect.isWellFormed())) {
    throw table.wrong("expect", `a text of at most ${TEXT_MAX} characters`);
  }
  const expectPattern = table.pattern("expectPattern", "um");
  if (expect !== undefined && expectPattern !== undefined) {
    throw reading.fault(table.at("expectPattern"), "a probe expects a text or a pattern, not both");
  }
  const user = table.text("user", "a user") ?? "root";
  if (!USER.test(user)) throw table.wrong("user", "a user name");
  return {
    name: table.text("name", "a name") ?? command,
    command,
    expect: expect?.trim(),
    expectPattern,
    expectStatus: table.number("expectStatus", 0, 255, "a whole number"),
    via: table.oneOf("via", WAYS),
    user,
    timeoutS: table.number("timeoutS", 0.001, 3600, "seconds") ?? DEFAULT_PROBE_TIMEOUT_S,
  };
}

const SETS: readonly BuiltinSet[] = ["linux", "freebsd", "none"];

/** @throws what `reading.fault` makes */
export function readGate(reading: Reading, value: unknown, defaultName: string): GateDeclaration {
  const table = tableOf(reading, [], GATE_KEYS, value);
  const timeoutS = table.number("timeoutS", 0.001, DAY_S, "seconds") ?? DEFAULT_TIMEOUT_S;
  const except = table.list("except", (one, path) => {
    if (typeof one !== "string") throw reading.fault(path, `${describe(one)} is not the name of a rule`);
    return one;
  });
  return {
    kind: "gate",
    name: table.text("name", "a name") ?? defaultName,
    extends: table.oneOf("extends", SETS),
    except,
    timeoutS,
    require: table.list("require", (one, path) => readRequired(reading, timeoutS, one, path)),
    forbid: table.list("forbid", (one, path) => readRule(tableOf(reading, path, RULE_KEYS, asRule(one)))),
    restartLoops: table.list("restartLoops", (one, path) => readLoop(reading, one, path)),
    probes: table.list("probes", (one, path) => readProbe(reading, one, path)),
    screenshot: table.flag("screenshot"),
  };
}

/** `require[0].within_s`. */
export function renderPath(path: Path): string {
  return path.map((part, index) => (typeof part === "number" ? `[${part}]` : index === 0 ? part : `.${part}`)).join("");
}
