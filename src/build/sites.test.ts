/** Builds over several sites: a step goes where room is, and begins anew elsewhere when its host goes away. */
import { afterEach, expect, test } from "bun:test";
import fc from "fast-check";
import * as fs from "node:fs";
import type { System } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { instantiate } from "../recipe/index.ts";
import { buildReceipt } from "./index.ts";
import { fakeSite, type FakeOptions } from "./sites.testing.ts";
import { type Bench, type BenchOptions, openBench, tiny } from "./testing.ts";
import type { BuildEvent } from "./types.ts";

let bench: Bench | undefined;
afterEach(async () => {
  await bench?.remove();
  bench = undefined;
});

function opened(sites: BenchOptions["sites"], more: BenchOptions = {}): Bench {
  bench = openBench({ answerWaitsMs: [0, 0], ...more, ...(sites === undefined ? {} : { sites }) });
  return bench;
}

const SYSTEM: System = "x86_64-linux";
const fake = (host: string, options: Partial<FakeOptions> = {}) => fakeSite(host, { system: SYSTEM, ...options });
type Tiny = ReturnType<typeof tiny>;
const step = (name: string, inputs: Tiny[] = []): Tiny => tiny(name, "unused", { inputs });

function eventsOf<Kind extends BuildEvent["kind"]>({ events }: Bench, kind: Kind) {
  return events.filter((event): event is Extract<BuildEvent, { kind: Kind }> => event.kind === kind);
}

/** Nothing of a build is left. */
function scratchLeft({ root }: Bench): readonly string[] {
  return fs
    .readdirSync(`${root}/frx/var/garth/tmp`, { recursive: true })
    .map(String)
    .filter((name) => name.split("/").length > 2);
}

test("a step is built on the host; what came back is registered, and the receipt and the log say where", async () => {
  const host = fake("far");
  const opening = opened(() => [host]);
  const { build, store, builder } = opening;
  const goal = [...(await build(step("one"))).goals.values()][0];
  if (goal === undefined) throw new Error("unreachable");
  expect(fs.readFileSync(`${store.physical(goal.outputs["out"] ?? "/frx/store/")}/made`, "utf8")).toBe("one \n");
  expect(buildReceipt(goal, store)).toMatchObject({
    build_host: "far",
    build_host_release: "6.1.0-test",
    build_mode: "linux-bubblewrap",
    build_uid: "35001",
    limits: "each",
  });
  const log = builder.readLog(goal.drv);
  expect(log).toContain("build user of far, on garth-one-");
  expect(log).toContain("# garth: a note of the host\none built there\n");
  expect(log).toContain("ended with status 0 after 1 ms, as 35001:35001 on far (6.1.0-test)");
  expect(eventsOf(opening, "started")).toMatchObject([{ on: "far" }]);
});

test("a host that goes away costs a retry elsewhere; it gets no more steps", async () => {
  const [bad, good] = [fake("bad", { jobs: 3, fate: () => "E_HOST_LOST" }), fake("good", { jobs: 1 })];
  const opening = opened(() => [bad, good]);
  const below = step("below");
  const { steps } = await opening.build(step("above", [below, step("beside")]));
  expect(steps.map(({ how }) => how)).toEqual(["built", "built", "built"]);
  expect(eventsOf(opening, "moved").map(({ from, to, code }) => [from, to, code])).toContainEqual(["bad", "good", "E_HOST_LOST"]);
  expect(bad.begun.length).toBeLessThanOrEqual(2);
  expect([good.begun.length, good.most]).toEqual([3, 1]);
  expect(eventsOf(opening, "built")).toHaveLength(3);
  expect(scratchLeft(opening)).toEqual([]);
});

test("from a host to this machine, which builds for real", async () => {
  const bad = fake("bad", { jobs: 9, fate: () => "E_HOST_FULL" });
  const opening = opened((local) => [local, bad]);
  const goal = [...(await opening.build(tiny("real", "echo really > $out/made"))).goals.values()][0];
  const file = `${opening.store.physical(goal?.outputs["out"] ?? "/frx/store/")}/made`;
  expect([fs.readFileSync(file, "utf8"), goal?.use?.on]).toEqual(["really\n", undefined]);
  expect(eventsOf(opening, "moved")).toMatchObject([{ from: "bad", to: undefined, code: "E_HOST_FULL" }]);
});

test("the only host is tried once more when it answers again, and that is said", async () => {
  const only = fake("only", { fate: (nth) => (nth === 0 ? "E_HOST_LOST" : 0), answers: (nth) => nth === 1 });
  const opening = opened(() => [only]);
  await opening.build(step("one"));
  expect([only.begun.length, only.asked]).toEqual([2, 2]);
  expect(eventsOf(opening, "awaited")).toMatchObject([{ host: "only", upToMs: 0 }]);
  expect(eventsOf(opening, "moved")).toMatchObject([{ from: "only", to: "only" }]);
});

test("all are lost: the build says why the last one went, with keepGoing too, and nothing is left", async () => {
  const opening = opened(() => [
    fake("a", { fate: () => "E_HOST_DENIED" }),
    fake("b", { fate: () => "E_HOST_LOST", answers: () => false }),
  ]);
  const problem = await problemOf(opening.build([step("one"), step("two")], { keepGoing: true }));
  expect(problem.code).toBe("E_BUILD_FAILED");
  expect(problem.details.filter((line) => line.startsWith("E_HOST_"))).toHaveLength(2);
  expect(opening.store.find("one").filter((path) => path.endsWith("-one"))).toEqual([]);
  expect(scratchLeft(opening)).toEqual([]);
});

test("a builder's own failure is never retried; what it left is kept where it ran", async () => {
  const [a, b] = [fake("a", { fate: () => 3 }), fake("b", { fate: () => 3 })];
  const opening = opened(() => [a, b]);
  const problem = await problemOf(opening.build(step("fails"), { keepFailed: true }));
  expect([problem.code, a.begun.length + b.begun.length]).toEqual(["E_BUILD_FAILED", 1]);
  expect(problem.details.slice(-2)).toEqual(["kept: a:/tmp/scratch", "enter it with: ssh -t a enter"]);
  expect(eventsOf(opening, "kept")).toMatchObject([{ directory: "a:/tmp/scratch" }]);
  expect(fs.readdirSync(`${opening.root}/frx/var/garth/tmp/kept`)).toEqual([]);
});

test("--on takes that host alone; here is this machine", async () => {
  const [a, b] = [fake("a", { jobs: 9 }), fake("b")];
  const opening = opened((local) => [local, a, b]);
  await opening.build(step("one"), { on: "b" });
  expect([a.begun, b.begun]).toEqual([[], ["one"]]);
  await opening.build(tiny("two", "echo two > $out/f"), { on: "here" });
  expect([a.begun, b.begun]).toEqual([[], ["one"]]);
  expect(eventsOf(opening, "started").map(({ on }) => on)).toEqual(["b", undefined]);
});

test("without a site for the system it says which there are; what is there needs none", async () => {
  const opening = opened((local) => [local, fake("tux")]);
  const graph = instantiate(step("one"), { system: "aarch64-freebsd", directory: opening.root });
  const options = { jobs: 1, keepFailed: false, rebuild: false, check: false, dryRun: false };
  const problem = await problemOf(opening.builder.build(graph, options));
  expect([problem.code, problem.exit, problem.details]).toEqual([
    "E_NO_SITE",
    3,
    ["this machine is x86_64-linux", "tux is x86_64-linux"],
  ]);
  expect(problem.hint).toContain("garth host add");
  // As before, a plan for it can be read.
  const [planned] = await opening.builder.plan(graph);
  expect(Object.keys(planned?.plan ?? {})).toContain("jail.conf");
});

test("a dry run shows the sandbox of the site that is taken first", async () => {
  const opening = opened(() => [fake("far")]);
  const graph = instantiate(step("one"), { system: SYSTEM, directory: opening.root });
  expect((await opening.builder.plan(graph)).map(({ plan }) => plan)).toEqual([{ "run.sh": "# one on far\n" }]);
});

test("a dry run on a host that is named shows that host's", async () => {
  const opening = opened((local) => [local, fake("near"), fake("far")]);
  const graph = instantiate(step("one"), { system: SYSTEM, directory: opening.root });
  expect((await opening.builder.plan(graph, { on: "far" })).map(({ plan }) => plan)).toEqual([{ "run.sh": "# one on far\n" }]);
  const [here] = await opening.builder.plan(graph, { on: "here" });
  expect(Object.keys(here?.plan ?? {})).toEqual(["bwrap.sh"]);
});

test("cancelled while it waits for its host: nothing is left", async () => {
  const controller = new AbortController();
  const opening = opened(() => [fake("far", { fate: () => "E_HOST_LOST", answers: () => false })], {
    answerWaitsMs: [600_000],
    onEvent: ({ kind }) => kind === "awaited" && controller.abort(),
  });
  expect((await problemOf(opening.build(step("one"), { signal: controller.signal }))).exit).toBe(130);
  expect(scratchLeft(opening)).toEqual([]);
  expect(opening.ledger.statement("SELECT name FROM ledger_lease WHERE name LIKE 'build/%'").all()).toEqual([]);
});

test("whatever hosts do, a step is registered at most once, and every step ends", async () => {
  const codes = ["E_HOST_LOST", "E_HOST_UNREACHABLE", "E_HOST_FULL", "E_HOST_DAMAGED"] as const;
  const host = fc.record({
    jobs: fc.integer({ min: 1, max: 2 }),
    fates: fc.array(fc.constantFrom<(number | (typeof codes)[number])[]>(0, 0, 0, ...codes), { maxLength: 6 }),
    answers: fc.array(fc.boolean(), { maxLength: 2 }),
  });
  const edges = fc.array(fc.tuple(fc.nat(5), fc.nat(5)), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(fc.array(host, { minLength: 1, maxLength: 3 }), edges, fc.nat(1_000_000), async (hosts, needs, salt) => {
      const sites = hosts.map(({ jobs, fates, answers }, index) =>
        fake(`h${index}`, { jobs, fate: (nth) => fates[nth] ?? 0, answers: (nth) => answers[nth] ?? false }),
      );
      const run = openBench({ sites: () => sites, answerWaitsMs: [0, 0] });
      try {
        const recipes: Tiny[] = [];
        for (let index = 0; index < 6; index += 1) {
          const below = new Set(needs.filter(([user, need]) => user === index && need < index).map(([, need]) => need));
          const inputs = [...below].flatMap((need) => recipes[need] ?? []);
          recipes.push(tiny(`s${index}`, "unused", { inputs, env: { LEVEL: `${salt}` } }));
        }
        const error = await run.build(recipes, { keepGoing: true }).then(
          () => undefined,
          (problem: unknown) => problem,
        );
        const built = eventsOf(run, "built").map(({ key }) => key);
        expect(new Set(built).size).toBe(built.length);
        const failed = new Set(eventsOf(run, "failed").map(({ key }) => key));
        if (error === undefined) expect(built).toHaveLength(6);
        else expect([built.length < 6, failed.size > 0]).toEqual([true, true]);
        for (const key of failed) expect(built).not.toContain(key);
        for (const event of eventsOf(run, "failed")) expect<string[]>([...codes]).toContain(event.code);
        for (const { most, jobs } of sites) expect(most).toBeLessThanOrEqual(jobs);
        expect(run.store.all().filter(({ path }) => /-s[0-5]$/.test(path))).toHaveLength(built.length);
        expect(scratchLeft(run)).toEqual([]);
      } finally {
        await run.remove();
      }
    }),
    { numRuns: 12 },
  );
});
