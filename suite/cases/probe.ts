/** The smallest kind of case: one script by hand, and what it prints. */
import type { Case } from "../case.ts";

export interface Probe extends Pick<Case, "only" | "kernel" | "tools" | "needs" | "limitMs"> {
  readonly stdin?: string;
  /** Its status, where that is not 0. */
  readonly status?: number;
}

/** `expected` is all of what it prints on standard output, without blanks at line ends. */
export function probe(name: string, script: string, expected: string | RegExp, options: Probe = {}): Case {
  const { stdin, status = 0, ...rest } = options;
  return {
    name,
    ...rest,
    run: async (trial) => {
      const said = await trial.sh(script, stdin === undefined ? {} : { stdin });
      const printed = said.stdout.replaceAll(/[ \t]+$/gm, "").trimEnd();
      if (typeof expected === "string") trial.equal("what it prints", printed, expected);
      else trial.matches("what it prints", printed, expected);
      trial.equal("its status", said.status, status);
    },
  };
}

/** As `probe`, and told as a finding: what is not certain beforehand, whatever it is. */
export function finding(name: string, script: string, options: Pick<Case, "only" | "kernel" | "tools" | "needs"> = {}): Case {
  return {
    name,
    ...options,
    run: async (trial) => {
      const said = await trial.sh(script);
      trial.note(`${said.stdout.trim()}${said.stderr.trim() === "" ? "" : ` | ${said.stderr.trim()}`}`.replaceAll("\n", " | "));
      trial.equal("its status", said.status, 0);
    },
  };
}
