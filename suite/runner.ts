/**
 * Runs cases one after the other, and stops for nothing: what a case throws, what it leaves unhandled, and its time are its failure, and the
 * next one begins.
 */
import { type Case, MINUTE_MS, Skipped, Stopped, type Suite } from "./case.ts";
import { cutMiddle, type Finding, openTrial, type OpenTrial, tellError } from "./trial.ts";

export type Outcome =
  | { readonly name: string; readonly state: "passed"; readonly seconds: number; readonly notes: readonly string[] }
  | { readonly name: string; readonly state: "skipped"; readonly reason: string; readonly notes: readonly string[] }
  | {
      readonly name: string;
      readonly state: "failed";
      readonly seconds: number;
      readonly notes: readonly string[];
      readonly text: string;
    };

export interface RunOptions {
  /** Cases whose name matches, and those that they need. */
  readonly only?: RegExp;
  readonly print: (text: string) => void;
  /** No further case begins, the one that runs is ended and undone. */
  readonly signal?: AbortSignal;
}

const LIMIT_MS = 5 * MINUTE_MS;
/** All records of one failure. */
const FAILURE_MAX_CHARS = 150_000;

export function chosenCases(cases: readonly Case[], only: RegExp | undefined): readonly Case[] {
  const known = new Map(cases.map((one) => [one.name, one]));
  if (known.size !== cases.length) throw new Error("two cases have one name");
  for (const one of cases) {
    for (const need of one.needs ?? []) if (!known.has(need)) throw new Error(`${one.name} needs ${need}, which is no case`);
  }
  if (only === undefined) return cases;
  const chosen = new Set<string>();
  const choose = (name: string): void => {
    if (chosen.has(name)) return;
    chosen.add(name);
    for (const need of known.get(name)?.needs ?? []) choose(need);
  };
  for (const { name } of cases) if (only.test(name)) choose(name);
  return cases.filter(({ name }) => chosen.has(name));
}

/** Why a case is not for this host, or undefined. */
function unfit(one: Case, { host }: Suite, before: ReadonlyMap<string, Outcome>): string | undefined {
  if (one.only !== undefined && one.only !== host.system) return `for ${one.only === "freebsd" ? "FreeBSD" : "Linux"}`;
  if (one.kernel === true && host.standIn !== undefined) return "the host is a stand-in for FreeBSD";
  const lacking = (one.tools ?? []).filter((tool) => !host.tools.has(tool));
  if (lacking.length > 0) return `no ${lacking.join(", ")} on the host`;
  for (const need of one.needs ?? []) {
    const outcome = before.get(need);
    if (outcome?.state === "failed") return `needs what failed: ${need}`;
    if (outcome?.state === "skipped") return `needs what was skipped: ${need}`;
  }
  return undefined;
}

/** For a terminal and for grep(1): what cannot be printed, as its number. */
export function printable(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]/gu, (character) => `\\x${(character.codePointAt(0) ?? 0).toString(16).padStart(2, "0")}`);
}

export function failureText(name: string, findings: readonly Finding[], trial: Pick<OpenTrial, "records" | "notes">): string {
  const indent = (text: string): string => text.replaceAll(/^/gm, "    ");
  const told = findings.map(
    ({ what, expected, found }) =>
      `  ${what}\n    expected: ${expected}\n    found:    ${found.replaceAll("\n", "\n              ")}`,
  );
  const records = trial.records.map(
    ({ what, text }, index) => `  [${index + 1}/${trial.records.length}] ${what}:\n${indent(text.trimEnd())}`,
  );
  return printable(cutMiddle([`FAILED ${name}`, ...told, ...records].join("\n"), FAILURE_MAX_CHARS));
}

async function runCase(one: Case, suite: Suite, outer: AbortSignal | undefined): Promise<Outcome> {
  const began = performance.now();
  const limitMs = one.limitMs ?? LIMIT_MS;
  const ending = new AbortController();
  const trial = openTrial(suite, one.name, ending.signal);
  const over = Promise.withResolvers<never>();
  over.promise.catch(() => undefined);
  const stop = (why: string): void => {
    over.reject(new Error(why));
    ending.abort(new Error(why));
  };
  const timer = setTimeout(() => stop(`not at its end after ${limitMs / 1000} s`), limitMs);
  const interrupted = (): void => stop("interrupted");
  outer?.addEventListener("abort", interrupted, { once: true });
  // What nobody waits for belongs to the case that runs.
  const stray = (error: unknown): void =>
    trial.fail({ what: "something nobody waited for", expected: "no error", found: tellError(error) });
  process.on("unhandledRejection", stray);
  process.on("uncaughtException", stray);
  let skipped: string | undefined;
  try {
    const work = one.run(trial, suite);
    work.catch(() => undefined);
    await Promise.race([work, over.promise]);
  } catch (error) {
    if (error instanceof Skipped) skipped = error.message;
    else if (!(error instanceof Stopped)) trial.fail({ what: "the case itself", expected: "its end", found: tellError(error) });
  }
  ending.abort(new Error("the case is over"));
  clearTimeout(timer);
  await trial.undoAll();
  outer?.removeEventListener("abort", interrupted);
  // One turn more, so that a rejection of this case is not the next one's.
  await new Promise((resolve) => setTimeout(resolve, 0));
  process.off("unhandledRejection", stray);
  process.off("uncaughtException", stray);
  const seconds = (performance.now() - began) / 1000;
  const { notes } = trial;
  if (trial.findings.length > 0)
    return { name: one.name, state: "failed", seconds, notes, text: failureText(one.name, trial.findings, trial) };
  if (skipped !== undefined) return { name: one.name, state: "skipped", reason: skipped, notes };
  return { name: one.name, state: "passed", seconds, notes };
}

export async function runCases(cases: readonly Case[], suite: Suite, options: RunOptions): Promise<readonly Outcome[]> {
  const { only, print, signal } = options;
  const outcomes = new Map<string, Outcome>();
  for (const one of chosenCases(cases, only)) {
    const reason = signal?.aborted === true ? "the suite was interrupted" : unfit(one, suite, outcomes);
    const outcome: Outcome =
      reason === undefined ? await runCase(one, suite, signal) : { name: one.name, state: "skipped", reason, notes: [] };
    outcomes.set(one.name, outcome);
    for (const note of outcome.notes) print(printable(`   note ${one.name}: ${note}`));
    if (outcome.state === "passed") print(`     ok ${outcome.name} (${outcome.seconds.toFixed(1)} s)`);
    if (outcome.state === "skipped") print(`skipped ${outcome.name} (${outcome.reason})`);
    if (outcome.state === "failed") print(outcome.text);
  }
  return [...outcomes.values()];
}

export function totals(outcomes: readonly Outcome[]): string {
  const count = (state: Outcome["state"]): number => outcomes.filter((outcome) => outcome.state === state).length;
  return `${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`;
}
