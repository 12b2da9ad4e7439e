/** Several processes on one root, and processes that end in the middle. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import { createInterface } from "node:readline";
import { problemOf } from "../base/testing.ts";
import type { BuildEvent } from "./index.ts";
import { type Bench, openBench, tiny } from "./testing.ts";

let bench: Bench;
beforeAll(() => {
  bench = openBench();
});
beforeEach(() => {
  bench.forget();
});
afterAll(() => bench.remove());

interface Child {
  readonly process: ChildProcess;
  readonly kinds: string[];
  /** Resolves when an event of the kind was printed. */
  seen(kind: BuildEvent["kind"]): Promise<void>;
  readonly ended: Promise<number | null>;
}

/** A second Garth on the same root, as a process of its own, which prints its events. */
const PROGRAM = `
  import { openBench, tiny } from ${JSON.stringify(`${import.meta.dir}/testing.ts`)};
  const [root, name, text] = process.argv.slice(-3);
  const bench = openBench({ root, onEvent: (event) => process.stdout.write(JSON.stringify(event) + "\\n") });
  await bench.build(tiny(name, text));
  await bench.close();
`;

function child(name: string, text: string): Child {
  const running = spawn(process.execPath, ["-e", PROGRAM, bench.root, name, text], { stdio: ["ignore", "pipe", "inherit"] });
  const kinds: string[] = [];
  const waiting: { readonly kind: string; readonly resolve: () => void }[] = [];
  createInterface({ input: running.stdout }).on("line", (line) => {
    const event: { kind: string } = JSON.parse(line);
    kinds.push(event.kind);
    for (const { kind, resolve } of waiting) if (kind === event.kind) resolve();
  });
  return {
    process: running,
    kinds,
    seen: (kind) => (kinds.includes(kind) ? Promise.resolve() : new Promise((resolve) => waiting.push({ kind, resolve }))),
    ended: new Promise((resolve) => running.on("close", resolve)),
  };
}

const temporary = (): string[] => {
  const directory = `${bench.root}/frx/var/garth/tmp`;
  return fs.readdirSync(directory).filter((name) => name.startsWith("build-"));
};

test("two Garths want the same: one builds, the other waits and finds it", async () => {
  const text = "echo begun; sleep 0.5; echo shared > $out/file";
  const other = child("shared", text);
  await other.seen("output");
  const result = await bench.build(tiny("shared", text));
  expect(await other.ended).toBe(0);
  expect(bench.events.map(({ kind }) => kind)).toEqual(["graph", "waiting", "present"]);
  expect([...result.goals.values()].map(({ how }) => how)).toEqual(["cutoff"]);
  expect(other.kinds).toContain("built");
});

test("two Garths build different things at once, as different users", async () => {
  const other = child("mine", "echo begun; sleep 0.5; id -u > $out/uid");
  await other.seen("output");
  const result = await bench.build(tiny("yours", "id -u > $out/uid"));
  expect(await other.ended).toBe(0);
  const mine = bench.store.find("mine").find((path) => path.endsWith("-mine"));
  const uids = [mine, ...[...result.goals.values()].map(({ outputs }) => outputs["out"])].map((path) =>
    fs.readFileSync(`${bench.store.physical(path ?? "/frx/store/")}/uid`, "utf8").trim(),
  );
  expect(new Set(uids).size).toBe(2);
});

test("after kill -9 in the middle, the next start cleans up and builds", async () => {
  const text = "echo begun; sleep 600";
  const other = child("killed", text);
  await other.seen("output");
  expect(temporary()).not.toEqual([]);
  other.process.kill("SIGKILL");
  await other.ended;
  const { root } = bench;
  await bench.close();
  const controller = new AbortController();
  bench = openBench({ root, onEvent: ({ kind }) => kind === "output" && controller.abort() });
  await bench.builder.recover();
  expect(temporary()).toEqual([]);
  // The lease of the dead is taken over: it builds, and does not wait.
  expect((await problemOf(bench.build(tiny("killed", text), { signal: controller.signal }))).exit).toBe(130);
  expect(bench.events.map(({ kind }) => kind)).toEqual(["graph", "started", "output", "cancelled"]);
});

test("cancelled: everything stops and is undone, and the same can be built afterwards", async () => {
  const controller = new AbortController();
  const { root } = bench;
  await bench.close();
  bench = openBench({ root, onEvent: (event) => event.kind === "output" && controller.abort() });
  const slow = tiny("slow", "echo begun; sleep 600");
  const problem = await problemOf(bench.build([slow, tiny("next", "true", { inputs: [slow] })], { signal: controller.signal }));
  expect([problem.code, problem.exit]).toEqual(["E_INTERRUPTED", 130]);
  expect(fs.readdirSync(`${root}/frx/var/garth/tmp/${temporary()[0]}`, { recursive: true })).toEqual(["35001"]);
  expect(bench.ledger.statement("SELECT name FROM ledger_lease WHERE name LIKE 'build/%'").all()).toEqual([]);
  expect((await problemOf(bench.build(slow, { signal: AbortSignal.abort() }))).exit).toBe(130);
});

test("a clock that goes back disturbs nothing", async () => {
  const { root } = bench;
  await bench.close();
  let now = 1_800_000_000_000;
  bench = openBench({ root, now: () => now });
  const recipe = tiny("clock", "echo tick > $out/tick");
  await bench.build(recipe);
  now = 1_000;
  await bench.build([recipe, tiny("later", "cat $clock/tick > $out/t", { inputs: [recipe] })]);
  expect(bench.started()).toEqual(["clock", "later"]);
  expect((await bench.store.verify({ repair: false, contents: true })).damage).toEqual([]);
});
