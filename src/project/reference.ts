/** `FILE#NAME`: which value of which project file. */
import { closest, Problem, type System } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { type Buildable, type Graph, instantiate } from "../recipe/index.ts";
import { atField } from "./locate.ts";
import type { Project, ProjectExport, Reference } from "./types.ts";

/** `FILE#NAME`, `FILE` and `#NAME`. @throws Problem E_BAD_REFERENCE */
export function parseReference(text: string): Reference {
  const at = text.lastIndexOf("#");
  const file = at === -1 ? text : text.slice(0, at);
  const name = at === -1 ? undefined : text.slice(at + 1);
  if (text === "" || name === "" || (name !== undefined && !/^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name))) {
    throw new Problem({
      code: "E_BAD_REFERENCE",
      message: `${JSON.stringify(text)} does not name a value of a project file`,
      hint: "write FILE#NAME, such as ./garth.ts#hello; FILE alone means all of its recipes, #NAME means ./garth.ts",
      exit: 2,
    });
  }
  return { file: file === "" ? undefined : file, name };
}

/** @throws Problem E_UNKNOWN_NAME, with the names there are */
export function exportNamed(project: Project, name: string): ProjectExport {
  const found = project.exports.get(name);
  if (found !== undefined) return found;
  const known = [...project.exports.values()];
  const meant = closest(
    name,
    known.map((each) => each.name),
  );
  throw new Problem({
    code: "E_UNKNOWN_NAME",
    message: `${project.file} exports no recipe, package or repository ${name}`,
    details: known.length === 0 ? ["it exports nothing that can be built"] : known.map((each) => `${each.name} (${each.kind})`),
    ...(meant === undefined ? {} : { hint: `did you mean #${meant}?` }),
    exit: 2,
  });
}

/** What is to be built for a name; without one, every recipe of the file. @throws Problem E_UNKNOWN_NAME, E_NOT_BUILDABLE */
export function buildablesOf(project: Project, name: string | undefined): readonly Buildable[] {
  if (name !== undefined) return unique(buildablesIn(project, exportNamed(project, name)));
  const all = [...project.exports.values()].filter((each) => each.kind === "recipe").map((each) => each.value);
  if (all.length > 0) return unique(all);
  throw new Problem({
    code: "E_NOT_BUILDABLE",
    message: `${project.file} exports no recipe`,
    hint: `start with: import { autotools } from "garth"; export const hello = autotools({ ... });`,
    exit: 2,
  });
}

function buildablesIn(project: Project, found: ProjectExport): readonly Buildable[] {
  switch (found.kind) {
    case "recipe":
      return [found.value];
    case "package":
      return [found.value.source];
    case "repository":
      return found.value.packages.map((each) => each.source);
    case "system":
      return found.value.packages;
    case "template":
      return found.value.system.packages;
    case "gate":
    case "slice":
    case "world":
    case "source":
      throw new Problem({
        code: "E_NOT_BUILDABLE",
        message: `${found.name} in ${project.file} is a ${found.kind}, not a recipe`,
        hint: `name a recipe, a package or a repository${found.kind === "world" ? "; a world is made when a recipe needs it" : ""}`,
        exit: 2,
      });
  }
}

function unique<Value>(values: readonly Value[]): readonly Value[] {
  return [...new Set(values)];
}

/** The graph of what a project declares. @throws Problem E_RECIPE_INVALID with file, line and field; E_CYCLE */
export function projectGraph(host: Host, project: Project, goals: readonly Buildable[], system: System): Graph {
  try {
    return instantiate(goals, { system, directory: project.directory });
  } catch (error) {
    throw atField(host, error);
  }
}
