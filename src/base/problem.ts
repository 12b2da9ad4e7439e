/**
 * Errors for people: a code, what was being done to what, a hint, and where to look.
 *
 * A `Problem` is an expected failure of the outside world (a bad file, a failed build, a missing tool). A bug stays a plain
 * `Error`. The exit status of the command line is a property of the problem, so that no command has to choose one.
 */

/** 1: the work failed. 2: the command line or a file is wrong. 3: the environment cannot do it. 130: interrupted. */
export type ExitStatus = 1 | 2 | 3 | 130;

export interface ProblemFields {
  /** Upper case with underscores, starting with `E_`: `E_HASH_MISMATCH`. Stable; scripts match on it. */
  readonly code: `E_${string}`;
  /** One sentence: what was being done to which object, and what went wrong. */
  readonly message: string;
  /** What the reader can do about it. */
  readonly hint?: string;
  /** File, line, directory or log to look at. */
  readonly where?: string;
  /** Further lines in order, shown indented: expected and found, the tail of a log, one reason per mirror. */
  readonly details?: readonly string[];
  readonly exit?: ExitStatus;
  readonly cause?: unknown;
}

export class Problem extends Error {
  override readonly name = "Problem";
  readonly code: `E_${string}`;
  readonly hint: string | undefined;
  readonly where: string | undefined;
  readonly details: readonly string[];
  readonly exit: ExitStatus;

  constructor(fields: ProblemFields) {
    super(fields.message, fields.cause === undefined ? undefined : { cause: fields.cause });
    this.code = fields.code;
    this.hint = fields.hint;
    this.where = fields.where;
    this.details = fields.details ?? [];
    this.exit = fields.exit ?? 1;
  }
}

/** The text a person reads on stderr. */
export function renderProblem(problem: Problem): string {
  const lines = [`error ${problem.code}: ${problem.message}`];
  for (const detail of problem.details) lines.push(...detail.split("\n").map((line) => `    ${line}`));
  if (problem.where !== undefined) lines.push(`  where: ${problem.where}`);
  if (problem.hint !== undefined) lines.push(`  hint:  ${problem.hint}`);
  return lines.join("\n");
}

/** The same as a document, for `--json`. */
export function problemDocument(problem: Problem): Record<string, unknown> {
  return {
    code: problem.code,
    message: problem.message,
    ...(problem.details.length > 0 ? { details: problem.details } : {}),
    ...(problem.where !== undefined ? { where: problem.where } : {}),
    ...(problem.hint !== undefined ? { hint: problem.hint } : {}),
    exit: problem.exit,
  };
}
