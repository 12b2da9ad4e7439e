/** Loading: the file is evaluated by the running program, which is what it imports as "garth", while the compiler checks its types. */
import { closest, Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { locationOf, renderLocation } from "../recipe/index.ts";
import { classify } from "./exports.ts";
import { atField } from "./locate.ts";
import { findProjectFile, readSources } from "./sources.ts";
import { startTypeCheck } from "./typecheck.ts";
import type { LoadRequest, Project, ProjectExport } from "./types.ts";

/** The directory of Garth's `src`. In a program of one file there is none, and then nothing is looked for there. */
const PROGRAM = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");

/**
 * A project file and what it imports are loaded once in a process: a changed file is seen by the next process.
 *
 * @throws Problem E_PROJECT_NOT_FOUND, E_PROJECT_SYNTAX, E_PROJECT_IMPORT, E_RECIPE_INVALID, E_RECIPE_THREW, E_TYPE_CHECK
 */
export async function loadProject(host: Host, request: LoadRequest): Promise<Project> {
  const file = findProjectFile(host, request.file, request.workingDirectory);
  const sources = readSources(host, file);
  const types = startTypeCheck(host, request.home ?? PROGRAM, sources, request.cacheDirectory);
  let exported: Readonly<Record<string, unknown>>;
  try {
    exported = await evaluate(file);
  } catch (error) {
    const problem = asProblem(host, file, error);
    // What was thrown by accident (a name that "garth" does not export, an undefined value) the types explain better.
    if (problem.code === "E_RECIPE_THREW") await types.passed;
    types.cancel();
    throw problem;
  }
  const exports = classified(file, exported);
  await types.passed;
  return { file, directory: file.slice(0, file.lastIndexOf("/")), digest: sources.digest, exports, typeCheck: types.state };
}

/** A package of something that is no recipe has no call to point at: the file is named. */
function classified(file: string, exported: Readonly<Record<string, unknown>>): ReadonlyMap<string, ProjectExport> {
  const exports = new Map<string, ProjectExport>();
  for (const name of Object.keys(exported).toSorted()) {
    const found = classify(file, name, exported[name]);
    if (found !== undefined) exports.set(name, found);
  }
  return exports;
}

let isOffered = false;
let offered: readonly string[] = [];

/** `import ... from "garth"` gives a project file, wherever it lies, the very module that this program runs. */
function offerGarth(): void {
  if (isOffered) return;
  isOffered = true;
  Bun.plugin({
    name: "garth",
    setup(build) {
      build.module("garth", async () => {
        const exports = { ...(await import("../garth.ts")) };
        offered = Object.keys(exports);
        return { exports, loader: "object" };
      });
    },
  });
}

async function evaluate(file: string): Promise<Readonly<Record<string, unknown>>> {
  offerGarth();
  const loaded: unknown = await import(file);
  return isModule(loaded) ? loaded : {};
}

function isModule(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

/** What the runtime throws for a file it cannot read as a program: one message, or several in an AggregateError. */
interface Message {
  readonly message: string;
  readonly position?: {
    readonly file?: string;
    readonly line: number;
    readonly column: number;
    readonly lineText?: string;
  } | null;
}

function asProblem(host: Host, file: string, error: unknown): Problem {
  if (error instanceof Problem) {
    const found = atField(host, error);
    return located(found instanceof Problem ? found : error);
  }
  const messages = error instanceof AggregateError ? error.errors.filter(isMessage) : [];
  if (messages.length > 0) return unreadable(file, messages);
  if (isNamed(error, "BuildMessage") && isMessage(error)) return unreadable(file, [error]);
  if (isNamed(error, "ResolveMessage") && isMessage(error)) return missingImport(host, file, error.message);
  if (error instanceof SyntaxError) return missingImport(host, file, error.message);
  return threw(file, error);
}

/** A problem that does not say where: the call in the project file that it came out of. */
function located(problem: Problem): Problem {
  const location = problem.where === undefined ? locationOf(problem) : undefined;
  if (location === undefined) return problem;
  const { code, message, hint, details, exit, cause } = problem;
  const fields = { code, message, details, exit, cause, where: renderLocation(location) };
  return new Problem(hint === undefined ? fields : { ...fields, hint });
}

function isNamed(error: unknown, name: string): boolean {
  return typeof error === "object" && error !== null && "name" in error && error.name === name;
}

function isMessage(value: unknown): value is Message {
  return typeof value === "object" && value !== null && "message" in value && typeof value.message === "string";
}

function unreadable(file: string, messages: readonly Message[]): Problem {
  const position = messages[0]?.position;
  const details = messages.map((each) =>
    each.position ? `${each.position.line}:${each.position.column} ${each.message}` : each.message,
  );
  if (position?.lineText !== undefined) details.splice(1, 0, `    ${position.lineText.trim()}`);
  return new Problem({
    code: "E_PROJECT_SYNTAX",
    message: `${file} is not TypeScript that can be read`,
    details,
    where: position ? `${position.file || file}:${position.line}` : file,
    exit: 2,
  });
}

/** An import of what is not there comes without a position: the name is looked for in the text of the file that imports it. */
function missingImport(host: Host, file: string, message: string): Problem {
  const [, name = "", module = ""] = /^Export named '(.+)' not found in module '(.+)'/.exec(message) ?? [];
  const [, specifier = "", importer = file] = /^Cannot find \w+ '(.+)' imported from (\/.+)$/.exec(message) ?? [];
  const wanted = name === "" ? specifier : name;
  const isHere = name === "" ? (text: string) => text.includes(specifier) : (text: string) => wordsOf(text).includes(name);
  const line = wanted === "" ? -1 : host.files.readText(importer).split("\n").findIndex(isHere);
  const meant = module === "garth" ? closest(name, offered) : undefined;
  return new Problem({
    code: "E_PROJECT_IMPORT",
    message: `${importer} imports what is not there`,
    details: [message],
    where: line === -1 ? importer : `${importer}:${line + 1}`,
    ...(meant === undefined ? {} : { hint: `did you mean ${meant}?` }),
    exit: 2,
  });
}

function wordsOf(text: string): readonly string[] {
  return text.split(/[^\p{ID_Continue}$]+/u);
}

function threw(file: string, error: unknown): Problem {
  const location = error instanceof Error ? locationOf(error) : undefined;
  const said = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return new Problem({
    code: "E_RECIPE_THREW",
    message: `${file} threw while it was evaluated: ${said}`,
    where: location === undefined ? file : renderLocation(location),
    exit: 2,
    cause: error,
  });
}
