/** What went wrong, in words for a person. Pure. */
import { Problem, type StorePath, type System } from "../base/index.ts";
import type { FileDifference } from "../store/index.ts";
import type { SandboxResult, Site } from "../sandbox/index.ts";

/** With `--keep-failed`: where the scratch is, and the line that enters it. */
export interface Kept {
  readonly directory: string;
  /** undefined: what it was built in is gone, only what came out is there. */
  readonly enter: string | undefined;
}

export interface FailedBuild {
  readonly label: string;
  readonly drv: StorePath;
  readonly log: string;
  readonly tail: readonly string[];
  readonly kept: Kept | undefined;
}

export interface RefusedOutput {
  readonly label: string;
  readonly log: string;
  /** Output -> its directory in the scratch. */
  readonly trees: Readonly<Record<string, string>>;
  readonly kept: Kept | undefined;
}

/** The builder ended well, and what it left cannot be a store item. Names are said as the recipe knows them: `$out/bin/p`. */
export function outputRefused({ label, log, trees, kept }: RefusedOutput, problem: Problem): Problem {
  const asKnown = (text: string): string =>
    Object.entries(trees).reduce((said, [name, tree]) => said.replaceAll(tree, `$${name}`), text);
  return new Problem({
    code: problem.code,
    message: `putting what ${label} built into the store: ${asKnown(problem.message)}`,
    details: [...problem.details.map(asKnown), ...keptLines({ kept })],
    where: kept === undefined ? log : (problem.where ?? kept.directory),
    ...(problem.hint === undefined ? {} : { hint: problem.hint }),
    exit: problem.exit,
    cause: problem,
  });
}

/** A builder that did not end well, for each way it can. */
export function buildFailure(build: FailedBuild, result: SandboxResult): Problem {
  const details = [...build.tail, ...keptLines(build)];
  const { label, drv, log } = build;
  switch (result.kind) {
    case "exited":
      return new Problem({
        code: "E_BUILD_FAILED",
        message: `building ${label}: the builder ended with status ${result.status}`,
        details,
        where: log,
        hint: `garth log ${drv}`,
      });
    case "signalled":
      return new Problem({
        code: "E_BUILD_FAILED",
        message: `building ${label}: the builder was ended by ${result.signal}`,
        details,
        where: log,
        hint: `garth log ${drv}`,
      });
    case "limit":
      return new Problem({
        code: "E_LIMIT_EXCEEDED",
        message: `building ${label}: stopped at its limit ${result.limit}=${result.value}`,
        details,
        where: log,
        hint: result.raise,
      });
    case "cancelled":
      return interrupted(`building ${label}`);
  }
}

export function interrupted(doing: string): Problem {
  return new Problem({
    code: "E_INTERRUPTED",
    message: `${doing}: interrupted`,
    hint: "everything begun was undone; what was finished before is kept",
    exit: 130,
  });
}

/** Nothing that is known builds for the system. */
export function noSite(system: System, on: string | undefined, sites: readonly Site[]): Problem {
  const known = sites.map((site) => `${site.host ?? "this machine"} is ${site.system}`);
  return new Problem({
    code: "E_NO_SITE",
    message: `building for ${system}: ${on === undefined ? "no machine of that system is known here" : `${on} does not build for it`}`,
    details: known,
    hint: `garth host add NAME ssh://root@HOST, for a host that is ${system}`,
    exit: 3,
  });
}

export function notReproducible(
  label: string,
  first: StorePath,
  differences: readonly FileDifference[],
  kept: string | undefined,
): Problem {
  const shown = differences.slice(0, MAX_DIFFERENCES).map(({ file, kind, detail }) => `${kind} ${file}: ${detail}`);
  const left = differences.length - shown.length;
  return new Problem({
    code: "E_NOT_REPRODUCIBLE",
    message: `checking ${label}: a second build made something else than ${first}`,
    details: left > 0 ? [...shown, `and ${left} more`] : shown,
    ...(kept === undefined ? {} : { where: kept }),
    hint: kept === undefined ? "--keep-failed keeps the second tree to look at" : "the second tree is kept there",
  });
}

const MAX_DIFFERENCES = 50;

export interface ProbeFailure {
  readonly label: string;
  readonly out: StorePath;
  readonly argv: readonly string[];
  readonly expect: string | undefined;
  readonly printed: string;
  readonly result: SandboxResult;
}

export function probeFailure({ label, out, argv, expect, printed, result }: ProbeFailure): Problem {
  if (result.kind === "cancelled") return interrupted(`probing ${label}`);
  const ended =
    result.kind === "exited"
      ? `ended with status ${result.status}`
      : result.kind === "signalled"
        ? `was ended by ${result.signal}`
        : `was stopped at its limit ${result.limit}=${result.value}`;
  const isWrong = result.kind === "exited" && result.status === 0;
  return new Problem({
    code: "E_PROBE_FAILED",
    message: `probing ${label}: ${argv.join(" ")} ${isWrong ? "printed something else than was expected" : ended}`,
    details: [
      ...(isWrong && expect !== undefined ? [`expected ${JSON.stringify(expect)}`] : []),
      `printed  ${JSON.stringify(printed)}`,
    ],
    where: out,
    hint: "the output is in the store and is not built again; the probe runs again next time",
  });
}

/** What the whole build says when steps failed. One failure speaks for itself; several are listed. */
export function summary(
  failures: readonly { readonly label: string; readonly error: unknown }[],
  notTried: readonly string[],
): unknown {
  const [first, ...more] = failures;
  if (first === undefined) return undefined;
  const problems = failures.flatMap(({ error }) => (error instanceof Problem ? [error] : []));
  const bug = failures.find(({ error }) => !(error instanceof Problem));
  if (bug !== undefined) return bug.error;
  const [problem] = problems;
  if (problem === undefined) return first.error;
  const tried = notTried.length === 0 ? [] : [`not tried: ${notTried.join(", ")}`];
  if (more.length === 0) return tried.length === 0 ? problem : withDetails(problem, tried);
  return new Problem({
    code: "E_BUILD_FAILED",
    message: `${failures.length} of the steps failed: ${failures.map(({ label }) => label).join(", ")}`,
    details: [...problems.flatMap(asLines), ...tried],
    ...(problem.where === undefined ? {} : { where: problem.where }),
    ...(problem.hint === undefined ? {} : { hint: problem.hint }),
  });
}

function asLines({ code, message, details }: Problem): readonly string[] {
  return [`${code}: ${message}`, ...details.map((line) => `  ${line}`)];
}

function withDetails(problem: Problem, more: readonly string[]): Problem {
  return new Problem({
    code: problem.code,
    message: problem.message,
    details: [...problem.details, ...more],
    ...(problem.where === undefined ? {} : { where: problem.where }),
    ...(problem.hint === undefined ? {} : { hint: problem.hint }),
    exit: problem.exit,
    cause: problem,
  });
}

function keptLines({ kept }: Pick<FailedBuild, "kept">): readonly string[] {
  if (kept === undefined) return [];
  return [`kept: ${kept.directory}`, ...(kept.enter === undefined ? [] : [`enter it with: ${kept.enter}`])];
}
