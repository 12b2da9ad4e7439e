/** Failures of this folder. */
import { Problem } from "../../base/index.ts";
import { type Host, isErrno } from "../../host/index.ts";

export function interrupted(doing: string): Problem {
  return new Problem({ code: "E_INTERRUPTED", message: `${doing}: interrupted`, exit: 130 });
}

export function throwIfAborted(signal: AbortSignal | undefined, doing: string): void {
  if (signal?.aborted === true) throw interrupted(doing);
}

export interface MirrorFailure {
  readonly from: string;
  readonly reason: string;
  /** The bytes came, and they were others than promised. */
  readonly mismatch?: { readonly algorithm: string; readonly expected: string; readonly found: string };
}

/** No place had it: each with its reason. A wrong digest anywhere is what the error is called after. */
export function nobodyHasIt(what: string, failures: readonly MirrorFailure[]): Problem {
  const mismatch = failures.find((each) => each.mismatch !== undefined)?.mismatch;
  const details = failures.map((each) => `${each.from}: ${each.reason}`);
  if (mismatch !== undefined) {
    return new Problem({
      code: "E_HASH_MISMATCH",
      message: `fetching ${what}: the file that came is not the one that was promised`,
      details: [
        `expected ${mismatch.algorithm} ${mismatch.expected}`,
        `found    ${mismatch.algorithm} ${mismatch.found}`,
        ...details,
      ],
      hint: "nothing was kept; if upstream changed the file for a good reason, check it and put the new digest in the recipe",
    });
  }
  return new Problem({
    code: "E_FETCH_FAILED",
    message: `fetching ${what}: no place had it`,
    details: details.length === 0 ? ["the recipe names no place"] : details,
    hint: "without a network, put the file into the directory of distfiles under its SHA-256 or its own name",
  });
}

/** A full disk is nobody's mirror's fault. */
export function diskProblem(error: unknown, where: string): Problem | undefined {
  if (!isErrno(error, "ENOSPC", "EDQUOT")) return undefined;
  return new Problem({
    code: "E_NO_SPACE",
    message: "there is no space left for what is being fetched",
    where,
    hint: "make room: `garth store gc --max-freed 10G`, or remove old files from the directory of distfiles",
    cause: error,
  });
}

/** @throws Problem E_TOOL_MISSING (exit 3) with the command that installs it */
export function requireTool(host: Host, program: string, what: { readonly doing: string; readonly packageName: string }): void {
  if (host.which(program) !== undefined) return;
  const install = host.system.endsWith("-freebsd") ? "pkg install" : "apt-get install";
  throw new Problem({
    code: "E_TOOL_MISSING",
    message: `${what.doing}: there is no program ${program} on this machine`,
    hint: `${install} ${what.packageName}`,
    exit: 3,
  });
}
