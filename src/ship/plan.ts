/**
 * What the line has to do for a project, as values. Pure.
 *
 * Each stage has a key: the digest of everything that goes into it. A stage whose key was seen before, and whose result is still
 * there, has nothing to do; that is the whole of resuming.
 */
import { canonicalJson, sha256, type StorePath } from "../base/index.ts";
import type { PackageDeclaration, PackageDescription, RepositoryDeclaration } from "../pkg/index.ts";
import type { Project } from "../project/index.ts";
import type { Buildable } from "../recipe/index.ts";

/** Part of every key: raised when what a stage makes from the same input changes. */
const PACKAGING = "package-1";
const PUBLISHING = "repository-1";

export interface Line {
  /** What is built: every recipe that something below needs, or all of them where there is no package. */
  readonly goals: readonly Buildable[];
  /** Each once, also where several repositories hold it. */
  readonly packages: readonly PackageDeclaration<Buildable>[];
  readonly repositories: readonly RepositoryDeclaration<Buildable>[];
}

export function planLine(project: Project): Line {
  const exported = [...project.exports.values()];
  const repositories = exported.flatMap((each) => (each.kind === "repository" ? [each.value] : []));
  const alone = exported.flatMap((each) => (each.kind === "package" ? [each.value] : []));
  const packages = [...new Set([...repositories.flatMap((each) => each.packages), ...alone])];
  const recipes = exported.flatMap((each) => (each.kind === "recipe" ? [each.value] : []));
  const goals = [...new Set([...recipes, ...packages.map((each) => each.source)])];
  return { goals, packages, repositories };
}

export function packageKey(description: PackageDescription, output: StorePath, abi: string): string {
  const { name, version, prefix, about, conflicts, config } = description;
  // The description is plain data; it goes through JSON so that absent fields and undefined ones are the same.
  const plain = JSON.parse(JSON.stringify({ about, conflicts, config }));
  return sha256(canonicalJson({ what: PACKAGING, name, version, prefix, output, abi, ...plain }));
}

export interface MadePackage {
  readonly name: string;
  readonly version: string;
  readonly path: StorePath;
  readonly sha256: string;
}

export function repositoryKey(
  declaration: RepositoryDeclaration,
  directory: string,
  publicKeySha256: string,
  packages: readonly MadePackage[],
): string {
  const list = packages.map(({ path }) => path).toSorted();
  return sha256(
    canonicalJson({ what: PUBLISHING, name: declaration.name, keep: declaration.keepVersions, directory, publicKeySha256, list }),
  );
}
