/**
 * What this program is: sources that ./garth found, or one file with everything in it (`npm run compile`), which has no launcher before it
 * and does itself what that does.
 */
import { resolve } from "node:path";

/** Where the files of a compiled program are, for itself alone. */
const COMPILED = "file:///$bunfs/";

const TAIL_CALLS = "BUN_JSC_useTailCalls";

/** One file, without a checkout: whoever starts it tells it nothing. */
const isAlone = import.meta.url.startsWith(COMPILED) && process.env["GARTH_HOME"] === undefined;

/**
 * Tail calls take the caller out of a stack trace, and with it the file that a recipe was declared in. The engine reads once, when it
 * starts, that it is to do without them: so the one file starts itself again in its own place (execve(2)), which costs 5 ms. Where it
 * cannot, places in errors are less exact and nothing else is different.
 */
export function becomeExact(): void {
  if (!isAlone || process.env[TAIL_CALLS] !== undefined || process.execve === undefined) return;
  try {
    process.execve(process.execPath, [process.argv0, ...process.argv.slice(2)], { ...process.env, [TAIL_CALLS]: "0" });
  } catch {
    // As it is, then.
  }
}

export interface Program {
  /** The checkout: Garth's own types and the compiler are there. For one file alone a place where nothing is. */
  readonly home: string;
  /** Begins a command line that starts this program again. */
  readonly argv: readonly [string, ...string[]];
  /** Why the types of a project file are not checked, where they are not. */
  readonly unchecked: string;
}

export function thisProgram(): Program {
  if (isAlone) {
    return { home: "/$bunfs/checkout", argv: [process.execPath], unchecked: "this Garth is one file, without a compiler" };
  }
  const home = resolve(process.env["GARTH_HOME"] ?? new URL("../..", import.meta.url).pathname);
  return { home, argv: [`${home}/garth`], unchecked: "there is no compiler here (npm ci brings it)" };
}
