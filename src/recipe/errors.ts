/** Faults in a project file, as people see them. */
import { Problem } from "../base/index.ts";
import { below, Fault, type PathElement, renderPath } from "./check.ts";
import { locationOf, renderLocation, type Site } from "./location.ts";
import { besides } from "./paths.ts";

/**
 * The `cause` of E_RECIPE_INVALID: what a reader of the project file needs to find the very field (project/locate.ts). `call` is the
 * constructor, `line` where it was called.
 */
export class InvalidField extends Error {
  override readonly name = "InvalidField";
  readonly call: string;
  readonly subject: string;
  readonly path: readonly PathElement[];
  readonly file: string | undefined;
  readonly line: number | undefined;

  constructor(call: string, subject: string, path: readonly PathElement[], site: Site) {
    super(`${subject}: ${renderPath(path)}`);
    const location = locationOf(site);
    this.call = call;
    this.subject = subject;
    this.path = path;
    this.file = location?.file;
    this.line = location?.line;
  }
}

/** `subject` names the thing in the message: the recipe's name where it has one. */
function invalid(call: string, subject: string, site: Site, fault: Fault): Problem {
  const location = locationOf(site);
  const separator = fault.path.length === 0 || typeof fault.path[0] === "number" ? "" : ": ";
  const field = `${subject}${separator}${renderPath(fault.path)}`;
  return new Problem({
    code: "E_RECIPE_INVALID",
    message: `${field}: expected ${fault.expected}, found ${fault.found}`,
    ...(fault.hint === undefined ? {} : { hint: fault.hint }),
    ...(location === undefined ? {} : { where: renderLocation(location) }),
    cause: new InvalidField(call, subject, fault.path, site),
    exit: 2,
  });
}

/** Runs checks of one declaration; a fault becomes a Problem that says where. @throws Problem E_RECIPE_INVALID */
export function checked<Result>(call: string, subject: string, site: Site, check: () => Result): Result {
  try {
    return check();
  } catch (error) {
    if (error instanceof Fault) throw invalid(call, subject, site, error);
    throw error;
  }
}

/** A path that a project file says, relative to that file. @throws Problem E_RECIPE_INVALID when it is not known which file that is */
export function besideCaller(call: string, field: string, site: Site, path: string): string {
  const file = locationOf(site)?.file;
  return checked(call, call, site, () => {
    if (file === undefined && !path.startsWith("/")) {
      below(field, () => failWithoutFile(path), path);
    }
    return besides(file, path);
  });
}

function failWithoutFile(path: string): never {
  throw new Fault(
    "an absolute path, because no file is known that it could be relative to",
    path,
    "write `${import.meta.dir}/...`",
  );
}

/** What a function of the project file returned; what it threw is told with where it threw. @throws Problem E_RECIPE_THREW */
export function called<Result>(subject: string, run: () => Result): Result {
  try {
    return run();
  } catch (error) {
    if (error instanceof Problem) throw error;
    const location = error instanceof Error ? locationOf(error) : undefined;
    throw new Problem({
      code: "E_RECIPE_THREW",
      message: `${subject} threw: ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`,
      ...(location === undefined ? {} : { where: renderLocation(location) }),
      exit: 2,
      cause: error,
    });
  }
}
