/**
 * What a project file says about packages and repositories: plain values, resolved against the recipe they are made from.
 *
 * `Source` is whatever the project file calls a thing to build; this room only hands it on.
 */
import { Problem } from "../base/index.ts";
import { type Abi, parseAbi } from "./abi.ts";
import type { Manifest, PackageMessage, ScriptName } from "./types.ts";
import { isCleanPath, isPackageName, isPackageVersion } from "./validate.ts";

export interface PackageFields {
  /** Which output of the recipe. Default "out". */
  readonly output?: string;
  readonly name?: string;
  readonly version?: string;
  /** Counts changes of the packaging of one version: `2.10_1`. */
  readonly revision?: number;
  /** Outranks the version, for when upstream's numbers go back: `1.0,1`. */
  readonly epoch?: number;
  /** What it is for, `FreeBSD:15:amd64`, where that is not the system it was built in: of what was built for another. */
  readonly abi?: string;
  /** Where links to the programs, libraries and data appear. Default /usr/local. */
  readonly prefix?: string;
  /** `category/name`. */
  readonly origin?: string;
  readonly comment?: string;
  readonly description?: string;
  readonly homepage?: string;
  readonly maintainer?: string;
  readonly licenses?: readonly string[];
  readonly licenselogic?: Manifest["licenselogic"];
  readonly categories?: readonly string[];
  /** Further packages of the same repository or of another one, by name. */
  readonly deps?: Manifest["deps"];
  readonly conflicts?: readonly string[];
  readonly options?: Manifest["options"];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly users?: readonly string[];
  readonly groups?: readonly string[];
  readonly scripts?: Readonly<Partial<Record<ScriptName, string>>>;
  readonly messages?: readonly PackageMessage[];
  /**
   * Files a person edits: path under the prefix -> file of the output it starts as. They are copies, not links, and pkg merges
   * changes on an upgrade: `{ "etc/hello.conf": "share/hello/hello.conf" }`.
   */
  readonly config?: Readonly<Record<string, string>>;
}

export interface PackageDeclaration<Source = unknown> extends PackageFields {
  readonly kind: "package";
  readonly source: Source;
}

export interface RepositoryDeclaration<Source = unknown> {
  readonly kind: "repository";
  /** What clients call it, and the name of its directory under the state's `repos/`. */
  readonly name: string;
  readonly packages: readonly PackageDeclaration<Source>[];
  /** How many versions of each package `prune` keeps. */
  readonly keepVersions: number;
}

/** What a package says when its declaration does not: taken from the recipe. */
export interface RecipeFacts {
  readonly name: string;
  readonly version: string;
  readonly metadata: {
    readonly comment: string;
    readonly description: string;
    readonly homepage: string;
    readonly maintainer: string;
    readonly licenses: readonly string[];
    readonly categories: readonly string[];
    readonly origin: string;
  };
}

/** Everything a package says about itself that does not follow from its files. */
export interface PackageDescription {
  readonly name: string;
  readonly version: string;
  readonly prefix: string;
  readonly about: Pick<
    Manifest,
    | "origin"
    | "comment"
    | "maintainer"
    | "www"
    | "licenselogic"
    | "licenses"
    | "desc"
    | "categories"
    | "users"
    | "groups"
    | "options"
    | "annotations"
    | "scripts"
    | "messages"
    | "deps"
  >;
  readonly conflicts: readonly string[];
  readonly config: Readonly<Record<string, string>>;
}

/** A package of what a recipe builds. Called `package_` in project files: `package` is a reserved word. */
export function package_<Source extends object>(source: Source, fields: PackageFields = {}): PackageDeclaration<Source> {
  return { ...fields, kind: "package", source };
}

/** A signed repository. A bare recipe stands for a package of it with nothing more to say. */
export function repository<Source extends object>(fields: {
  readonly name: string;
  readonly packages: readonly (Source | PackageDeclaration<Source>)[];
  readonly keepVersions?: number;
}): RepositoryDeclaration<Source> {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(fields.name)) {
    throw fault("repository", "name", fields.name, "1 to 64 letters, digits, - and _, not starting with - or _");
  }
  const keepVersions = fields.keepVersions ?? 3;
  if (!Number.isInteger(keepVersions) || keepVersions < 1) {
    throw fault("repository", "keepVersions", keepVersions, "a whole number, 1 or more");
  }
  return {
    kind: "repository",
    name: fields.name,
    packages: fields.packages.map((entry) => (isDeclaration<Source>(entry) ? entry : package_(entry))),
    keepVersions,
  };
}

/** @throws Problem E_BAD_PACKAGE, which names the field (exit 2) */
export function describePackage(declaration: PackageFields, recipe: RecipeFacts): PackageDescription {
  const { metadata } = recipe;
  const name = declaration.name ?? recipe.name;
  const version = fullVersion(declaration, recipe.version);
  const prefix = declaration.prefix ?? "/usr/local";
  const what = `package ${name}`;
  if (!isPackageName(name)) throw fault(what, "name", name, "letters, digits and . + _ @ -, starting with a letter or digit");
  if (!isPackageVersion(version)) throw fault(what, "version", version, "without spaces, slashes and dashes");
  if (!isCleanPath(prefix)) throw fault(what, "prefix", prefix, "an absolute path without . and ..");
  const config = declaration.config ?? {};
  for (const [path, from] of Object.entries(config)) {
    if (!isCleanPath(`/${path}`)) throw fault(what, "config", path, "a path under the prefix, without . and ..");
    if (!isCleanPath(`/${from}`)) throw fault(what, `config.${path}`, from, "a file of the output, relative to it");
  }
  const comment = declaration.comment ?? metadata.comment;
  const licenses = declaration.licenses ?? metadata.licenses;
  const categories = declaration.categories ?? metadata.categories;
  return {
    name,
    version,
    prefix,
    config,
    conflicts: declaration.conflicts ?? [],
    about: {
      origin: declaration.origin ?? (metadata.origin || `${categories[0] ?? "local"}/${name}`),
      comment: comment === "" ? name : comment,
      maintainer: (declaration.maintainer ?? metadata.maintainer) || "unmaintained@localhost",
      www: declaration.homepage ?? metadata.homepage,
      licenses,
      licenselogic: declaration.licenselogic ?? (licenses.length > 1 ? "and" : "single"),
      desc: (declaration.description ?? metadata.description) || (comment === "" ? name : comment),
      categories: categories.length === 0 ? ["local"] : categories,
      deps: declaration.deps ?? {},
      users: declaration.users ?? [],
      groups: declaration.groups ?? [],
      options: declaration.options ?? {},
      annotations: declaration.annotations ?? {},
      scripts: declaration.scripts ?? {},
      messages: declaration.messages ?? [],
    },
  };
}

/** undefined: the declaration does not say, and it is that of the build root. @throws Problem E_BAD_PACKAGE (exit 2) */
export function declaredAbi(declaration: PackageFields, name: string): Abi | undefined {
  if (declaration.abi === undefined) return undefined;
  const abi = parseAbi(declaration.abi);
  if (abi === undefined) {
    throw fault(`package ${name}`, "abi", declaration.abi, "a system, its release and an architecture: FreeBSD:15:amd64");
  }
  return abi;
}

/** `VERSION[_REVISION][,EPOCH]`, a dash in the version becoming a dot because pkg ends the name at the last dash. */
function fullVersion(declaration: PackageFields, recipeVersion: string): string {
  const { revision = 0, epoch = 0 } = declaration;
  for (const [field, value] of Object.entries({ revision, epoch })) {
    if (!Number.isInteger(value) || value < 0) throw fault("package", field, value, "a whole number, 0 or more");
  }
  const version = declaration.version ?? recipeVersion.replaceAll("-", ".");
  return `${version}${revision > 0 ? `_${revision}` : ""}${epoch > 0 ? `,${epoch}` : ""}`;
}

function isDeclaration<Source extends object>(entry: Source | PackageDeclaration<Source>): entry is PackageDeclaration<Source> {
  return "kind" in entry && entry.kind === "package" && "source" in entry;
}

function fault(what: string, field: string, value: unknown, wanted: string): Problem {
  return new Problem({
    code: "E_BAD_PACKAGE",
    message: `the ${field} of ${what} cannot be ${JSON.stringify(value)}`,
    hint: `it has to be ${wanted}`,
    exit: 2,
  });
}
