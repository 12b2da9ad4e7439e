/** For the tests of every room: the problem that some work ends with, and files that say what a text should be. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { Problem } from "./index.ts";

/** The problem that the work ends with. @throws what else it throws; Error when it throws nothing */
export async function problemOf(work: Promise<unknown> | (() => unknown)): Promise<Problem> {
  try {
    await (typeof work === "function" ? work() : work);
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("no problem came");
}

/** The same for work that ends before it returns. */
export function thrownProblem(work: () => unknown): Problem {
  try {
    work();
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("no problem was thrown");
}

/** What a golden file says, to be compared with what was found; `GARTH_GOLDEN=write` writes it anew. @throws Error where there is none */
export function golden(file: string, found: string): string {
  if (process.env["GARTH_GOLDEN"] === "write") {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, found);
  }
  if (!existsSync(file)) throw new Error(`there is no ${file}; GARTH_GOLDEN=write makes it`);
  return readFileSync(file, "utf8");
}
