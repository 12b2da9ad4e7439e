/**
 * Manifests as any pkg from 1.17 on writes them, checked field by field: what comes out has the types it says it has. Both
 * forms of `files` (a sum, or an object) and of `directories` are read. Duplicate keys are the last one's, as in JSON.
 */
import { type JsonValue, Problem } from "../base/index.ts";
import { percentDecode } from "./encoding.ts";
import type {
  CatalogueEntry,
  CompactManifest,
  Manifest,
  PackageDirectory,
  PackageFile,
  PackageMessage,
  ScriptName,
} from "./types.ts";

type Json = { readonly [key: string]: JsonValue | undefined };

const SCRIPTS: readonly ScriptName[] = ["pre-install", "post-install", "pre-deinstall", "post-deinstall"];
const KNOWN = new Set(
  (
    "name origin version comment maintainer www abi arch prefix vital sum flatsize path repopath licenselogic licenses pkgsize desc deps " +
    "categories users groups shlibs_required shlibs_provided provides requires conflicts options annotations files config directories " +
    "scripts message messages"
  ).split(" "),
);

/** @throws Problem E_BAD_MANIFEST, which names the field; `name` is what the text is called in the error */
export function parseManifest(text: string, name: string): Manifest {
  const json = object(parseJson(text, name), name, "the manifest");
  const fields = new FieldReader(json, name);
  return {
    ...compact(fields),
    files: Object.entries(fields.table("files")).map(([path, value]) => file(fields, path, value)),
    config: fields.list("config").map((path) => decoded(fields, "config", path)),
    directories: Object.entries(fields.table("directories")).map(([path, value]) => directory(fields, path, value)),
    scripts: scriptsOf(fields),
  };
}

/** @throws Problem E_BAD_MANIFEST */
export function parseCompactManifest(text: string, name: string): CompactManifest {
  return compact(new FieldReader(object(parseJson(text, name), name, "the manifest"), name));
}

/**
 * A line of packagesite.yaml or an element of `data`. `arch` may be absent in what others publish; the linter says so.
 *
 * @throws Problem E_BAD_MANIFEST
 */
export function parseCatalogueEntry(json: JsonValue, name: string): CatalogueEntry {
  const fields = new FieldReader(object(json, name, "an entry"), name);
  const path = fields.text("path", "") || fields.text("repopath", "");
  return { manifest: compact(fields), sum: fields.text("sum", ""), path, pkgsize: fields.natural("pkgsize", 0) };
}

function compact(fields: FieldReader): CompactManifest {
  const logic = fields.text("licenselogic", "single");
  const unknown = fields.others(KNOWN);
  const legacyMessage = decoded(fields, "message", fields.text("message", ""));
  return {
    name: fields.text("name"),
    origin: fields.text("origin"),
    version: fields.text("version"),
    comment: fields.text("comment", ""),
    maintainer: fields.text("maintainer", ""),
    www: fields.text("www", ""),
    abi: fields.text("abi", ""),
    arch: fields.text("arch", ""),
    prefix: fields.text("prefix", ""),
    flatsize: fields.natural("flatsize", 0),
    licenselogic: logic === "or" || logic === "dual" ? "or" : logic === "and" || logic === "multi" ? "and" : "single",
    licenses: fields.list("licenses"),
    desc: decoded(fields, "desc", fields.text("desc", "")),
    deps: entries(fields.table("deps"), (name, value) => {
      const dependency = new FieldReader(object(value, fields.name, `deps.${name}`), fields.name, `deps.${name}.`);
      return { origin: dependency.text("origin"), version: dependency.text("version") };
    }),
    categories: fields.list("categories"),
    users: fields.list("users"),
    groups: fields.list("groups"),
    shlibsRequired: fields.list("shlibs_required"),
    shlibsProvided: fields.list("shlibs_provided"),
    options: entries(fields.table("options"), (name, value) => {
      if (value === "on" || value === true) return "on" as const;
      if (value === "off" || value === false) return "off" as const;
      throw fields.bad(`options.${name}`, "on or off");
    }),
    annotations: entries(fields.table("annotations"), (name, value) => {
      if (typeof value === "string") return value;
      throw fields.bad(`annotations.${name}`, "a text");
    }),
    messages: legacyMessage === "" ? fields.array("messages").map((m) => message(fields, m)) : [{ message: legacyMessage }],
    ...optional("provides", fields.list("provides")),
    ...optional("requires", fields.list("requires")),
    ...optional("conflicts", fields.list("conflicts")),
    ...(fields.flag("vital") ? { vital: true } : {}),
    ...(Object.keys(unknown).length === 0 ? {} : { others: unknown }),
  };
}

function optional<K extends string>(key: K, values: readonly string[]): { readonly [name in K]?: readonly string[] } {
  return values.length === 0 ? {} : ({ [key]: values } as { readonly [name in K]: readonly string[] });
}

/** Deprecated kinds (install, deinstall, upgrade) are passed over: no client from 1.17 on runs them. */
function scriptsOf(fields: FieldReader): Readonly<Partial<Record<ScriptName, string>>> {
  const scripts: Partial<Record<ScriptName, string>> = {};
  for (const [key, value] of Object.entries(fields.table("scripts"))) {
    const name = SCRIPTS.find((script) => script === key);
    if (typeof value !== "string") throw fields.bad(`scripts.${key}`, "a text");
    if (name !== undefined) scripts[name] = decoded(fields, `scripts.${key}`, value);
  }
  return scripts;
}

function file(fields: FieldReader, encodedPath: string, value: JsonValue | undefined): PackageFile {
  const path = decoded(fields, "files", encodedPath);
  if (typeof value === "string") return { path, type: "file", sum: value, uname: "root", gname: "wheel", mode: 0, sizeBytes: 0 };
  const at = `files.${path}`;
  const entry = new FieldReader(object(value, fields.name, at), fields.name, `${at}.`);
  const target = entry.text("symlink_target", "");
  const mtime = entry.natural("mtime", 0);
  return {
    path,
    type: target === "" ? "file" : "symlink",
    sum: entry.text("sum"),
    uname: entry.text("uname", "root"),
    gname: entry.text("gname", "wheel"),
    mode: entry.permissions("perm"),
    sizeBytes: 0,
    ...(target === "" ? {} : { target }),
    ...(mtime === 0 ? {} : { mtimeSeconds: mtime }),
  };
}

function directory(fields: FieldReader, encodedPath: string, value: JsonValue | undefined): PackageDirectory {
  const path = decoded(fields, "directories", encodedPath);
  if (typeof value === "string" || typeof value === "boolean") return { path, uname: "root", gname: "wheel", mode: 0o755 };
  const at = `directories.${path}`;
  const entry = new FieldReader(object(value, fields.name, at), fields.name, `${at}.`);
  return { path, uname: entry.text("uname", "root"), gname: entry.text("gname", "wheel"), mode: entry.permissions("perm") };
}

function message(fields: FieldReader, value: JsonValue): PackageMessage {
  const entry = new FieldReader(object(value, fields.name, "messages"), fields.name, "messages.");
  const type = entry.text("type", "");
  const minimumVersion = entry.text("minimum_version", "");
  const maximumVersion = entry.text("maximum_version", "");
  return {
    message: entry.text("message"),
    ...(type === "install" || type === "upgrade" || type === "remove" ? { type } : {}),
    ...(minimumVersion === "" ? {} : { minimumVersion }),
    ...(maximumVersion === "" ? {} : { maximumVersion }),
  };
}

function decoded(fields: FieldReader, field: string, text: string): string {
  const result = percentDecode(text);
  if (result === undefined) throw fields.bad(field, "UTF-8");
  return result;
}

function entries<V>(table: Json, of: (key: string, value: JsonValue | undefined) => V): Readonly<Record<string, V>> {
  const result: Record<string, V> = Object.create(null);
  for (const [key, value] of Object.entries(table)) result[key] = of(key, value);
  return { ...result };
}

function parseJson(text: string, name: string): JsonValue {
  try {
    const value: JsonValue = JSON.parse(text);
    return value;
  } catch (cause) {
    throw new Problem({ code: "E_BAD_MANIFEST", message: `the manifest of ${name} is not JSON`, cause });
  }
}

function object(value: JsonValue | undefined, name: string, what: string): Json {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  throw new Problem({ code: "E_BAD_MANIFEST", message: `in ${name}, ${what} is not an object` });
}

/** The members of one object, read by type; a wrong one is named in the error. */
class FieldReader {
  readonly #json: Json;
  readonly #prefix: string;
  readonly name: string;

  constructor(json: Json, name: string, prefix = "") {
    this.#json = json;
    this.name = name;
    this.#prefix = prefix;
  }

  bad(field: string, wanted: string): Problem {
    return new Problem({
      code: "E_BAD_MANIFEST",
      message: `in ${this.name}, the field ${this.#prefix}${field} is not ${wanted}`,
    });
  }

  text(key: string, otherwise?: string): string {
    const value = this.#own(key);
    if (typeof value === "string") return value;
    // A version like 1.5 may stand there as a number.
    if (typeof value === "number") return String(value);
    if (value === undefined && otherwise !== undefined) return otherwise;
    throw this.bad(key, "a text");
  }

  natural(key: string, otherwise: number): number {
    const value = this.#own(key);
    if (value === undefined) return otherwise;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
    throw this.bad(key, "a natural number");
  }

  permissions(key: string): number {
    const value = this.#own(key);
    if (value === undefined) return 0;
    const text = String(value);
    if (!/^[0-7]{1,5}$/.test(text)) throw this.bad(key, "octal permissions");
    return Number.parseInt(text, 8);
  }

  flag(key: string): boolean {
    return this.#own(key) === true;
  }

  array(key: string): readonly JsonValue[] {
    const value = this.#own(key);
    if (value === undefined) return [];
    if (Array.isArray(value)) return value;
    throw this.bad(key, "a list");
  }

  list(key: string): readonly string[] {
    return this.array(key).map((item) => {
      if (typeof item !== "string") throw this.bad(key, "a list of texts");
      return item;
    });
  }

  table(key: string): Json {
    const value = this.#own(key);
    return value === undefined ? {} : object(value, this.name, `${this.#prefix}${key}`);
  }

  others(known: ReadonlySet<string>): Readonly<Record<string, JsonValue>> {
    return entries(
      Object.fromEntries(Object.entries(this.#json).filter(([key]) => !known.has(key))),
      (_, value) => value ?? null,
    );
  }

  #own(key: string): JsonValue | undefined {
    return Object.hasOwn(this.#json, key) ? this.#json[key] : undefined;
  }
}
