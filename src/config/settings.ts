/**
 * Every setting there is: its key in the file, its variable in the environment, its default, and how its text is read.
 *
 * A setting exists only if some command obeys it. The built-in default is the last layer, the file comes before it, the
 * environment before that; the command line is the commands' own affair and wins over all of them.
 */
import { Problem } from "../base/index.ts";

export interface Settings {
  /** Builds that run side by side. */
  readonly jobs: number;
  /** After a failure, go on with what does not need it. */
  readonly keepGoing: boolean;
  /** PEM file of the key that signs repositories; made by `garth repo init` when it is not there. */
  readonly repositoryKey: string;
  /** `garth gc` without options keeps what was used within so many milliseconds. */
  readonly gcOlderThanMs: number;
}

export interface SettingDefinition {
  readonly name: keyof Settings;
  /** Table and key in the TOML file: "build.jobs". */
  readonly key: string;
  readonly variable: string;
  readonly expects: string;
  /** undefined when the text is not what is expected. */
  readonly read: (value: unknown) => string | number | boolean | undefined;
}

function wholeNumber(minimum: number): (value: unknown) => number | undefined {
  return (value) => {
    const number = typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value;
    return typeof number === "number" && Number.isInteger(number) && number >= minimum ? number : undefined;
  };
}

function yesOrNo(value: unknown): boolean | undefined {
  if (typeof value === "boolean") return value;
  return value === "yes" || value === "true" ? true : value === "no" || value === "false" ? false : undefined;
}

function absolutePath(value: unknown): string | undefined {
  return typeof value === "string" && value.startsWith("/") ? value : undefined;
}

const DAY_MS = 24 * 60 * 60 * 1000;

function days(value: unknown): number | undefined {
  const number = wholeNumber(0)(value);
  return number === undefined ? undefined : number * DAY_MS;
}

export const SETTINGS: readonly SettingDefinition[] = [
  { name: "jobs", key: "build.jobs", variable: "GARTH_JOBS", expects: "a whole number from 1", read: wholeNumber(1) },
  { name: "keepGoing", key: "build.keep_going", variable: "GARTH_KEEP_GOING", expects: "true or false", read: yesOrNo },
  {
    name: "repositoryKey",
    key: "repository.key",
    variable: "GARTH_REPOSITORY_KEY",
    expects: "an absolute path",
    read: absolutePath,
  },
  {
    name: "gcOlderThanMs",
    key: "gc.older_than_days",
    variable: "GARTH_GC_OLDER_THAN_DAYS",
    expects: "a whole number of days",
    read: days,
  },
];

export interface Effective {
  readonly settings: Settings;
  /** Where each value came from: "default", "environment GARTH_JOBS", "/etc/garth/garth.toml build.jobs". */
  readonly origins: Readonly<Record<keyof Settings, string>>;
}

export interface Layers {
  readonly defaults: Settings;
  /** The parsed file, or undefined when there is none. */
  readonly file: Readonly<Record<string, unknown>> | undefined;
  readonly fileName: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

function invalid(where: string, definition: SettingDefinition, value: unknown): Problem {
  return new Problem({
    code: "E_CONFIG_INVALID",
    message: `reading the configuration: ${definition.key} is ${JSON.stringify(value)}, expected ${definition.expects}`,
    where,
    exit: 2,
  });
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Flattens `{build: {jobs: 2}}` to `build.jobs` and refuses what no setting has. */
function flatten(file: Readonly<Record<string, unknown>>, fileName: string): ReadonlyMap<string, unknown> {
  const flat = new Map<string, unknown>();
  for (const [table, members] of Object.entries(file)) {
    const entries = isTable(members)
      ? Object.entries(members).map(([key, value]) => [`${table}.${key}`, value] as const)
      : [[table, members] as const];
    for (const [key, value] of entries) {
      if (!SETTINGS.some((definition) => definition.key === key)) {
        throw new Problem({
          code: "E_CONFIG_INVALID",
          message: `reading the configuration: there is no setting ${JSON.stringify(key)}`,
          where: fileName,
          hint: `the settings are ${SETTINGS.map((definition) => definition.key).join(", ")}`,
          exit: 2,
        });
      }
      flat.set(key, value);
    }
  }
  return flat;
}

/** @throws Problem E_CONFIG_INVALID */
export function effectiveSettings(layers: Layers): Effective {
  const flat = layers.file === undefined ? new Map<string, unknown>() : flatten(layers.file, layers.fileName);
  let settings: Settings = layers.defaults;
  const origins = { jobs: "default", keepGoing: "default", repositoryKey: "default", gcOlderThanMs: "default" };
  for (const definition of SETTINGS) {
    const fromEnvironment = layers.env[definition.variable];
    const given = fromEnvironment ?? flat.get(definition.key);
    if (given === undefined) continue;
    const where = fromEnvironment === undefined ? `${layers.fileName} ${definition.key}` : `environment ${definition.variable}`;
    const value = definition.read(given);
    if (value === undefined) throw invalid(where, definition, given);
    settings = { ...settings, [definition.name]: value };
    origins[definition.name] = where;
  }
  return { settings, origins };
}
