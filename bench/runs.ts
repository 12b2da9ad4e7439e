/** Whole processes as they are measured: what ran before is out of the way, and which side comes first changes. */
import { localHost } from "../src/host/index.ts";
import { type Pair, shownMs } from "./row.ts";

const RUN_LIMIT_MS = 300_000;
const host = localHost();

type Argv = readonly [string, ...string[]];

export async function timed(argv: Argv, env: Readonly<Record<string, string>> = {}): Promise<number> {
  const begin = performance.now();
  await host.run({ argv, timeoutMs: RUN_LIMIT_MS, env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8", ...env } });
  return performance.now() - begin;
}

/** What was written before is out of the way of what is measured next. */
export async function settled<Result>(work: () => Promise<Result>): Promise<Result> {
  await timed(["sync"]);
  return work();
}

export interface Child {
  readonly ms: number;
  readonly result: Readonly<Record<string, unknown>>;
}

/** A program that prints a line of JSON. `name`: what it is called on the way. */
export async function program(name: string, file: string, ...words: readonly string[]): Promise<Child> {
  const begin = performance.now();
  const path = new URL(file, import.meta.url).pathname;
  const done = await host.run({ argv: [process.execPath, path, ...words], timeoutMs: RUN_LIMIT_MS });
  const ms = performance.now() - begin;
  console.error(`bench: ${name}: ${shownMs(ms)}: ${done.text().trim()}`);
  return { ms, result: JSON.parse(done.text()) };
}

/** image-child.ts with its store below `root`. */
export function childOf(root: string, family: "linux" | "freebsd"): (...words: readonly string[]) => Promise<Child> {
  return (...words) => program(words[0] ?? "", "image-child.ts", root, family, ...words);
}

export function numberIn({ result }: Child, name: string): number {
  const value = result[name];
  if (typeof value !== "number") throw new Error(`the child said no ${name}`);
  return value;
}

export function textIn({ result }: Child, name: string): string {
  const value = result[name];
  if (typeof value !== "string") throw new Error(`the child said no ${name}`);
  return value;
}

/** Ours and theirs `runs` times; which comes first changes. */
export async function alternate(
  runs: number,
  ours: (run: number) => Promise<number>,
  theirs: (run: number) => Promise<number>,
): Promise<readonly Pair[]> {
  const pairs: Pair[] = [];
  for (let run = 1; run <= runs; run += 1) {
    if (run % 2 === 0) pairs.push({ oursMs: await ours(run), theirsMs: await theirs(run) });
    else pairs.push({ theirsMs: await theirs(run), oursMs: await ours(run) });
  }
  return pairs;
}
