/**
 * What the line has to do for a project, as values. Pure.
 *
 * Each stage has a key: the digest of everything that goes into it. A stage whose key was seen before, and whose result is still
 * there, has nothing to do; that is the whole of resuming.
 */
import { canonicalJson, Problem, sha256, type StorePath } from "../base/index.ts";
import type { GateDeclaration } from "../gate/index.ts";
import type { PackageDeclaration, PackageDescription, RepositoryDeclaration } from "../pkg/index.ts";
import { exportNamed, type Project, type ProjectExport } from "../project/index.ts";
import type { Buildable } from "../recipe/index.ts";
import { isOfProject, type SystemDeclaration } from "../system/index.ts";
import type { TemplateDeclaration } from "../template/index.ts";

/** Part of every key: raised when what a stage makes from the same input changes. */
const PACKAGING = "package-2";
const PUBLISHING = "repository-1";

export interface Line {
  /** What is built: every recipe that something below needs, or all of them where there is no package. */
  readonly goals: readonly Buildable[];
  /** Each once, also where several repositories hold it. */
  readonly packages: readonly PackageDeclaration<Buildable>[];
  readonly repositories: readonly RepositoryDeclaration<Buildable>[];
  readonly systems: readonly {
    /** Of the export. */
    readonly name: string;
    readonly declaration: SystemDeclaration;
    /** The one that names the system; undefined: the rules of its family. */
    readonly gate: GateDeclaration | undefined;
    readonly template: TemplateDeclaration | undefined;
  }[];
}

/** `only` is the name of an exported system: it and what it needs. @throws Problem E_UNKNOWN_NAME, E_NOT_A_SYSTEM */
export function planLine(project: Project, only?: string): Line {
  const exported = [...project.exports.values()];
  const gates = exported.flatMap((each) => (each.kind === "gate" ? [each.value] : []));
  const templates = exported.flatMap((each) => (each.kind === "template" ? [each.value] : []));
  const wanted = only === undefined ? exported : [systemNamed(project, only)];
  const systems = wanted.flatMap((each) => {
    if (each.kind !== "system") return [];
    const template = templates.find(({ system }) => system === each.value);
    const gate = template?.gate ?? gates.find(({ system }) => system === each.value);
    return [{ name: each.name, declaration: each.value, gate, template }];
  });
  const installed = systems.flatMap(({ declaration }) =>
    declaration.install.flatMap(({ repository }) => (isOfProject(repository) ? [repository] : [])),
  );
  const repositories = [
    ...new Set([...wanted.flatMap((each) => (each.kind === "repository" ? [each.value] : [])), ...installed]),
  ];
  const alone = wanted.flatMap((each) => (each.kind === "package" ? [each.value] : []));
  const packages = [...new Set([...repositories.flatMap((each) => each.packages), ...alone])];
  const recipes = wanted.flatMap((each) => (each.kind === "recipe" ? [each.value] : []));
  const ofSystems = systems.flatMap(({ declaration }) => [...declaration.packages, ...recipesOfWorlds(declaration)]);
  const goals = [...new Set([...recipes, ...packages.map((each) => each.source), ...ofSystems])];
  return { goals, packages, repositories, systems };
}

function recipesOfWorlds({ kernel, bootloader, base, development }: SystemDeclaration): readonly Buildable[] {
  return [kernel, bootloader, ...base, ...development].flatMap(({ world: { origin } }) =>
    origin.kind === "recipe" ? [origin.recipe] : [],
  );
}

function systemNamed(project: Project, name: string): ProjectExport {
  const found = exportNamed(project, name);
  if (found.kind === "system") return found;
  throw new Problem({
    code: "E_NOT_A_SYSTEM",
    message: `${name} in ${project.file} is a ${found.kind}, not a system`,
    details: [...project.exports.values()].flatMap((each) => (each.kind === "system" ? [`${each.name} is a system`] : [])),
    hint: "name what system({ ... }) returned",
    exit: 2,
  });
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
