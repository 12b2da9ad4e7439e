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
  /** Where `garth daemon` listens: "127.0.0.1:3000". */
  readonly gatewayListen: string;
  /** Sandboxes are `<port>-<id>.<domain>`; "": clients are told none. */
  readonly gatewayDomain: string;
  /** Names of templates that clients ask for, and the pools that stand for them: "base=debian-12,code-interpreter-v1=debian-12". */
  readonly gatewayAliases: string;
  /** Holds keys beside those of `garth key`: `tenant:key:scope|scope[:max]` in each line. "": there is none. */
  readonly gatewayKeysFile: string;
  /** Sandboxes of a tenant at once: `acme=2,*=4`. */
  readonly gatewayTenantLimits: string;
  /** Name servers that machines of pools with a bridge may ask. */
  readonly networkDns: readonly string[];
  /** Private blocks that policies of such machines may open. */
  readonly networkReachable: readonly string[];
}

type Value = string | number | boolean | readonly string[];

/** What needs nothing of this machine to be known. */
export const COMMON_DEFAULTS = {
  gatewayListen: "127.0.0.1:3000",
  gatewayDomain: "",
  gatewayAliases: "",
  gatewayKeysFile: "",
  gatewayTenantLimits: "",
  networkDns: [],
  networkReachable: [],
} as const satisfies Partial<Settings>;

/** What the caller has to say. */
export type OwnDefaults = Omit<Settings, keyof typeof COMMON_DEFAULTS>;

export interface SettingDefinition {
  readonly name: keyof Settings;
  /** Table and key in the TOML file: "build.jobs". */
  readonly key: string;
  readonly variable: string;
  readonly expects: string;
  /** undefined when the text is not what is expected. */
  readonly read: (value: unknown) => Value | undefined;
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

/** Items of a list in TOML, or separated by commas and blanks. */
function words(value: unknown): readonly string[] | undefined {
  const list: unknown = typeof value === "string" ? value.split(/[\s,]+/).filter((word) => word !== "") : value;
  return Array.isArray(list) && list.every((word) => typeof word === "string" && word !== "") ? list : undefined;
}

function joined(value: unknown): string | undefined {
  return words(value)?.join(",");
}

function domain(value: unknown): string | undefined {
  return typeof value === "string" && /^(?:[A-Za-z0-9.-]+(?::\d{1,5})?)?$/.test(value) ? value : undefined;
}

function addressAndPort(value: unknown): string | undefined {
  return typeof value === "string" && /^(?:\[[0-9A-Fa-f:.]+\]|[^:[\]\s]*):\d{1,5}$/.test(value) ? value : undefined;
}

const ADDRESS = "\\d{1,3}(?:\\.\\d{1,3}){3}";

function listOf(pattern: string): (value: unknown) => readonly string[] | undefined {
  const whole = new RegExp(`^${pattern}$`);
  return (value) => {
    const list = words(value);
    return list?.every((word) => whole.test(word)) === true ? list : undefined;
  };
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
  {
    name: "gatewayListen",
    key: "gateway.listen",
    variable: "GARTH_LISTEN",
    expects: "ADDRESS:PORT",
    read: addressAndPort,
  },
  { name: "gatewayDomain", key: "gateway.domain", variable: "GARTH_DOMAIN", expects: "a domain", read: domain },
  {
    name: "gatewayAliases",
    key: "gateway.aliases",
    variable: "GARTH_ALIASES",
    expects: "NAME=POOL, several with commas",
    read: (value) => (words(value)?.every((word) => /^[^=]+=[^=]+$/.test(word)) === true ? joined(value) : undefined),
  },
  {
    name: "gatewayKeysFile",
    key: "gateway.keys_file",
    variable: "GARTH_KEYS_FILE",
    expects: "an absolute path",
    read: absolutePath,
  },
  {
    name: "gatewayTenantLimits",
    key: "gateway.tenant_limits",
    variable: "GARTH_TENANT_LIMITS",
    expects: "TENANT=NUMBER, several with commas",
    read: joined,
  },
  {
    name: "networkDns",
    key: "network.dns",
    variable: "GARTH_DNS",
    expects: "addresses, several with commas",
    read: listOf(ADDRESS),
  },
  {
    name: "networkReachable",
    key: "network.reachable",
    variable: "GARTH_REACHABLE",
    expects: "addresses or CIDR blocks, several with commas",
    read: listOf(`${ADDRESS}(?:/\\d{1,2})?`),
  },
];

export interface Effective {
  readonly settings: Settings;
  /** Where each value came from: "default", "environment GARTH_JOBS", "/etc/garth/garth.toml build.jobs". */
  readonly origins: Readonly<Record<keyof Settings, string>>;
}

export interface Layers {
  readonly defaults: OwnDefaults;
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
  let settings: Settings = { ...COMMON_DEFAULTS, ...layers.defaults };
  const origins: Record<keyof Settings, string> = {
    jobs: "default",
    keepGoing: "default",
    repositoryKey: "default",
    gcOlderThanMs: "default",
    gatewayListen: "default",
    gatewayDomain: "default",
    gatewayAliases: "default",
    gatewayKeysFile: "default",
    gatewayTenantLimits: "default",
    networkDns: "default",
    networkReachable: "default",
  };
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
