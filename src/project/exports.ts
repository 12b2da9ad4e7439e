/** Exported values, by what they are. */
import { Problem } from "../base/index.ts";
import type { PackageDeclaration, RepositoryDeclaration } from "../pkg/index.ts";
import type { GateDeclaration } from "../gate/index.ts";
import type { SystemDeclaration } from "../system/index.ts";
import type { TemplateDeclaration } from "../template/index.ts";
import type { SliceDeclaration, WorldDeclaration } from "../world/index.ts";
import { type Buildable, describe, type Fetch, isBuildable, type WorldSource } from "../recipe/index.ts";
import type { ProjectExport } from "./types.ts";

/**
 * undefined for a value that is nothing of Garth's: helpers and constants may be exported too.
 * @throws Problem E_RECIPE_INVALID for a package or a repository of something that is no recipe
 */
export function classify(file: string, name: string, value: unknown): ProjectExport | undefined {
  if (isBuildable(value)) return { name, kind: "recipe", value };
  if (isPackage(value, `${file}#${name}`)) return { name, kind: "package", value };
  if (isRepository(value, `${file}#${name}`)) return { name, kind: "repository", value };
  if (isWorld(value)) return { name, kind: "world", value };
  if (isKind<SliceDeclaration>(value, "slice")) return { name, kind: "slice", value };
  if (isKind<SystemDeclaration>(value, "system")) return { name, kind: "system", value };
  if (isKind<GateDeclaration>(value, "gate")) return { name, kind: "gate", value };
  if (isKind<TemplateDeclaration>(value, "template")) return { name, kind: "template", value };
  if (isSource(value)) return { name, kind: "source", value };
  return undefined;
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Object.getOwnPropertyDescriptor(value, name)?.value : undefined;
}

function isPackage(value: unknown, where: string): value is PackageDeclaration<Buildable> {
  if (member(value, "kind") !== "package") return false;
  return isBuildable(member(value, "source")) || refuse(where, "source", member(value, "source"));
}

function isRepository(value: unknown, where: string): value is RepositoryDeclaration<Buildable> {
  if (member(value, "kind") !== "repository") return false;
  const packages: unknown = member(value, "packages");
  if (!Array.isArray(packages)) return refuse(where, "packages", packages);
  const wrong = packages.findIndex((entry) => !isBuildable(member(entry, "source")));
  return wrong === -1 || refuse(where, `packages[${wrong}]`, member(packages[wrong], "source"));
}

function refuse(where: string, field: string, found: unknown): never {
  throw new Problem({
    code: "E_RECIPE_INVALID",
    message: `${where.slice(where.indexOf("#") + 1)}: ${field}: expected a recipe, found ${describe(found)}`,
    hint: "a package is made of what autotools, cmake, cargo, make, script or alternatives returned",
    where,
    exit: 2,
  });
}

function isWorld(value: unknown): value is WorldSource | WorldDeclaration {
  return member(value, "kind") === "debian-world" || isKind<WorldDeclaration>(value, "world");
}

/** Its constructor has checked it; a look-alike made by hand fails where it is used. */
function isKind<Value extends { readonly kind: string }>(value: unknown, kind: Value["kind"]): value is Value {
  return member(value, "kind") === kind;
}

function isSource(value: unknown): value is Fetch {
  return typeof member(value, "fetcher") === "string";
}
