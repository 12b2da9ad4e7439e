/** A SYSTEM of a command line: FILE#NAME, #NAME, or a FILE that exports one. */
import { Problem } from "../base/index.ts";
import type { Garth } from "../app/index.ts";
import type { GateDeclaration } from "../gate/index.ts";
import type { ShippedSystem, ShipReport, StageName } from "../ship/index.ts";
import type { SystemDeclaration } from "../system/index.ts";
import type { Context, Given } from "./command.ts";
import { shipLine } from "./commands/ship.ts";
import { usageProblem } from "./parse.ts";

export interface SystemReference {
  /** As it was typed; undefined for ./garth.ts. */
  readonly file: string | undefined;
  /** Of the export; undefined where the file has to say. */
  readonly name: string | undefined;
}

/** Whether the word can only be meant as a SYSTEM: it has a #, or is a project file, or a directory that holds one. */
export function isSystemReference(garth: Garth, word: string, path: string): boolean {
  if (word.includes("#") || word.endsWith(".ts")) return true;
  return garth.host.files.exists(`${path}/garth.ts`);
}

/** @throws Problem E_USAGE */
export function systemReference(word: string): SystemReference {
  const at = word.lastIndexOf("#");
  const file = at === -1 ? word : word.slice(0, at);
  const name = at === -1 ? undefined : word.slice(at + 1);
  if (word === "" || name === "") throw usageProblem(`${JSON.stringify(word)} names no system`, "write FILE#NAME, or #NAME");
  return { file: file === "" ? undefined : file, name };
}

/** @throws Problem E_WHICH_SYSTEM (exit 2) where the file has none, or several */
export async function systemName(garth: Garth, { file, name }: SystemReference): Promise<string> {
  if (name !== undefined) return name;
  const project = await garth.loadProject(file);
  const names = [...project.exports.values()].flatMap((each) => (each.kind === "system" ? [each.name] : []));
  const [only, ...others] = names;
  if (only !== undefined && others.length === 0) return only;
  throw new Problem({
    code: "E_WHICH_SYSTEM",
    message: `${project.file} exports ${names.length === 0 ? "no system" : `${names.length} systems`}`,
    details: names,
    hint:
      only === undefined
        ? 'export what system({ ... }) returned: import { system } from "garth"'
        : `name one of them: ${file ?? ""}#${only}`,
    exit: 2,
  });
}

export interface DeclaredSystem {
  readonly name: string;
  readonly declaration: SystemDeclaration;
  /** The one of its file that names it; undefined: the rules of its family. */
  readonly gate: GateDeclaration | undefined;
}

/** Without shipping anything. @throws Problem E_WHICH_SYSTEM, E_NOT_A_SYSTEM (exit 2) */
export async function declaredSystem(garth: Garth, reference: SystemReference): Promise<DeclaredSystem> {
  const name = await systemName(garth, reference);
  const project = await garth.loadProject(reference.file);
  const found = project.exports.get(name);
  if (found?.kind !== "system") {
    throw new Problem({
      code: "E_NOT_A_SYSTEM",
      message: `${name} in ${project.file} is ${found === undefined ? "not exported" : `a ${found.kind}, not a system`}`,
      hint: "name what system({ ... }) returned",
      exit: 2,
    });
  }
  const exported = [...project.exports.values()];
  const gates = exported.flatMap((each) => (each.kind === "gate" ? [each.value] : []));
  return { name, declaration: found.value, gate: gates.find(({ system }) => system === found.value) };
}

export interface Shipped {
  readonly report: ShipReport;
  readonly system: ShippedSystem;
}

/** The line of one system, as far as is asked for. Its stages are told on stderr: stdout is for what comes of the command. */
export async function shipSystem(
  context: Context,
  given: Given,
  reference: SystemReference,
  request: { readonly until: StageName; readonly again?: boolean },
): Promise<Shipped> {
  const garth = await context.garth();
  const only = await systemName(garth, reference);
  const report = await shipLine({ ...context, line: context.note }, given, { file: reference.file, only, ...request });
  const system = report.systems.find(({ name }) => name === only);
  if (system === undefined) throw new Error(`the line left out ${only}`);
  return { report, system };
}
