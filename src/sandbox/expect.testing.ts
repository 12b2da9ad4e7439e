/** What tests expect of problems; apart from testing.ts, which programs other than the test runner load too. */
import { expect } from "bun:test";

/** For `toThrow`: the problem with that code and those details. */
export function isProblem(code: `E_${string}`, details: readonly string[]): object {
  return expect.objectContaining({ code, details: [...details] });
}
