/** One case while it runs: what it expected and found, what was said on the way, and what it has to undo. */
import { type RefusedProblem, Skipped, Stopped, type Suite, type Trial } from "./case.ts";
import { shellQuote } from "../src/host/index.ts";

export interface Finding {
  readonly what: string;
  readonly expected: string;
  readonly found: string;
}

export interface OpenTrial extends Trial {
  readonly findings: readonly Finding[];
  readonly records: readonly { readonly what: string; readonly text: string }[];
  readonly notes: readonly string[];
  /** Undoes everything; what could not be undone is a finding. */
  undoAll(): Promise<void>;
  fail(finding: Finding): void;
}

/** Told of one record; the middle of a longer one is left out. */
const RECORD_MAX_CHARS = 40_000;
/** Of one value in a finding. */
const VALUE_MAX_CHARS = 4_000;
const UNDO_MAX_MS = 180_000;

export function cutMiddle(text: string, max: number): string {
  if (text.length <= max) return text;
  const half = Math.floor(max / 2);
  return `${text.slice(0, half)}\n[... ${text.length - max} characters are left out ...]\n${text.slice(-half)}`;
}

export function shown(value: unknown): string {
  if (value instanceof Set) return shown([...value].toSorted());
  const text = typeof value === "string" ? JSON.stringify(value) : (JSON.stringify(value) ?? String(value));
  return cutMiddle(text, VALUE_MAX_CHARS);
}

/** An error whole: a Problem with its code, details and hint, anything else with its stack. */
export function tellError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const more = error as { code?: unknown; details?: unknown; hint?: unknown };
  const details = Array.isArray(more.details) ? more.details.map((line) => `  ${String(line)}`) : [];
  return [
    ...(typeof more.code === "string" ? [`${more.code}: ${error.message}`] : [error.stack ?? error.message]),
    ...details,
    ...(typeof more.hint === "string" ? [`  hint: ${more.hint}`] : []),
    ...(error.cause === undefined ? [] : [`  because of ${tellError(error.cause)}`]),
  ].join("\n");
}

export function problemOf(error: unknown): RefusedProblem | undefined {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return undefined;
  const details = "details" in error && Array.isArray(error.details) ? error.details.map(String) : [];
  return { code: error.code, message: error.message, details };
}

export function openTrial(suite: Suite, name: string, signal: AbortSignal): OpenTrial {
  const findings: Finding[] = [];
  const records: { what: string; text: string }[] = [];
  const notes: string[] = [];
  const undos: { what: string; action: () => Promise<unknown> }[] = [];
  const directory = `${suite.root}/case-${name.replaceAll(/[^A-Za-z0-9]+/g, "-").slice(0, 60)}`;
  const fail = (finding: Finding): void => void findings.push(finding);
  const record = (what: string, text: string): void => void records.push({ what, text: cutMiddle(text, RECORD_MAX_CHARS) });
  const ok = (what: string, holds: boolean, found: unknown = holds): boolean => {
    if (!holds) fail({ what, expected: "that it holds", found: shown(found) });
    return holds;
  };
  let made = false;
  const trial: OpenTrial = {
    findings,
    records,
    notes,
    signal,
    fail,
    record,
    ok,
    note: (text) => void notes.push(text),
    sh: async (script, { stdin, limitMs } = {}) => {
      if (!made) {
        made = true;
        trial.undo(`the case's directory ${directory}`, async () => {
          const said = await suite.hand.sh(`chflags -R 0 ${shellQuote(directory)} 2>/dev/null; rm -rf ${shellQuote(directory)}`);
          if (said.status !== 0) throw new Error(said.stderr);
        });
      }
      const whole = [
        "LC_ALL=C PATH=/sbin:/bin:/usr/sbin:/usr/bin",
        "export LC_ALL PATH",
        `W=${shellQuote(directory)}`,
        'mkdir -p "$W" && cd "$W" || exit 99',
        script,
      ].join("\n");
      const said = await suite.hand.sh(whole, {
        signal,
        ...(stdin === undefined ? {} : { stdin }),
        ...(limitMs === undefined ? {} : { limitMs }),
      });
      record(
        `by hand on the host (status ${said.status ?? "none"}, ${said.seconds.toFixed(1)} s)`,
        `${whole}\n--- its output\n${said.stdout}\n--- its errors\n${said.stderr}`,
      );
      return said;
    },
    equal: (what, found, expected) => {
      const [a, b] = [shown(found), shown(expected)];
      if (a !== b) fail({ what, expected: b, found: a });
      return a === b;
    },
    matches: (what, found, expected) => {
      const holds = expected.test(found);
      if (!holds) fail({ what, expected: `what matches ${expected}`, found: shown(found) });
      return holds;
    },
    must: (what, value, found) => {
      if (value !== undefined && value !== false) return value;
      fail({ what, expected: "that it holds", found: shown(found ?? value) });
      throw new Stopped(what);
    },
    refused: async (what, code, action) => {
      const codes = typeof code === "string" ? [code] : code;
      try {
        const value = await action;
        fail({ what, expected: `to be refused with ${codes.join(" or ")}`, found: `it was done: ${shown(value)}` });
      } catch (error) {
        const problem = problemOf(error);
        record(`the refusal of ${what}`, tellError(error));
        if (problem !== undefined && codes.includes(problem.code)) return problem;
        fail({ what, expected: `to be refused with ${codes.join(" or ")}`, found: tellError(error) });
      }
      return undefined;
    },
    skip: (reason) => {
      throw new Skipped(reason);
    },
    undo: (what, action) => void undos.push({ what, action }),
    undoAll: async () => {
      for (let next = undos.pop(); next !== undefined; next = undos.pop()) {
        const { what, action } = next;
        try {
          await within(action(), UNDO_MAX_MS, `undoing ${what}`);
        } catch (error) {
          fail({ what: `undoing ${what}`, expected: "to be done", found: tellError(error) });
        }
      }
    },
  };
  return trial;
}

/** @throws Error when it takes longer; what was begun goes on, and is heard no more */
export async function within<T>(work: Promise<T>, limitMs: number, what: string): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`${what}: not at its end after ${limitMs / 1000} s`)), limitMs);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined);
  }
}
