import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { sha256, storePath, type StorePath } from "../base/index.ts";
import { type CommitStep, type Prepared, stepsBeforeLock, stepsUnderLock } from "./plan.ts";

const pathOf = (name: string): StorePath => storePath({ kind: "flat", sha256: sha256(name), references: [] }, name);
const prepared = (name: string, references: readonly StorePath[] = []): Prepared => ({
  path: pathOf(name),
  from: `/tmp/${name}`,
  narSha256: sha256(name),
  narSizeBytes: 1,
  references,
  deriver: undefined,
});

/**
 * A disk and a database that can lose power. Each effect is volatile until something makes it durable; at a power loss any
 * subset of the volatile ones may have reached the disk. Contents are volatile from the start: they were just written.
 */
interface Effect {
  readonly kind: "content" | "name" | "unname" | "row" | "reference";
  readonly subject: string;
  readonly value: string;
  durable: boolean;
}

interface Machine {
  readonly effects: Effect[];
  run(step: CommitStep): void;
}

function machine(scratch: readonly string[], stale: readonly string[]): Machine {
  const effects: Effect[] = scratch.map((path) => ({ kind: "content", subject: path, value: path, durable: false }));
  for (const path of stale) effects.push({ kind: "name", subject: path, value: "stale", durable: true });
  let transaction: Effect[] = [];
  const add = (kind: Effect["kind"], subject: string, value: string): void => {
    effects.push({ kind, subject, value, durable: false });
  };
  return {
    effects,
    run: (step) => {
      switch (step.step) {
        case "sync-file-system":
          for (const effect of effects) if (effect.kind !== "row") effect.durable = true;
          return;
        case "set-aside":
          return add("unname", step.from, "");
        case "move":
          return add("name", step.to, step.from);
        case "sync-directory":
          for (const effect of effects) {
            if ((effect.kind === "name" || effect.kind === "unname") && effect.subject.startsWith(`${step.path}/`))
              effect.durable = true;
          }
          return;
        case "insert":
          transaction.push({ kind: "row", subject: step.item.path, value: "", durable: false });
          return;
        case "refer":
          for (const value of step.item.references) {
            transaction.push({ kind: "reference", subject: step.item.path, value, durable: false });
          }
          return;
        case "commit":
          // Atomic by the write-ahead log, and durable when it returns.
          for (const effect of transaction) effect.durable = true;
          effects.push(...transaction);
          transaction = [];
          return;
        case "begin":
        case "realise":
        case "discard":
      }
    },
  };
}

/** Every item with a row is there under its name with all of its content, and what it refers to has a row. */
function violations(effects: readonly Effect[], survives: (effect: Effect, index: number) => boolean): string[] {
  const left = effects.filter((effect, index) => effect.durable || survives(effect, index));
  const names = new Map<string, string>();
  for (const { kind, subject, value } of left) {
    if (kind === "name") names.set(subject, value);
    if (kind === "unname" && names.get(subject) === "stale") names.delete(subject);
  }
  const contents = new Set(left.filter(({ kind }) => kind === "content").map(({ subject }) => subject));
  const rows = new Set(left.filter(({ kind }) => kind === "row").map(({ subject }) => subject));
  return [
    ...[...rows].filter((path) => !contents.has(names.get(`/store/${path.slice(11)}`) ?? "")),
    ...left.flatMap(({ kind, value }) => (kind === "reference" && !rows.has(value) ? [value] : [])),
  ];
}

function allSteps(items: readonly Prepared[], registered: readonly StorePath[], there: readonly StorePath[]): CommitStep[] {
  return [
    ...stepsBeforeLock("/tmp"),
    ...stepsUnderLock(items, [{ drv: pathOf("drv"), outputs: {} }], {
      directory: "/store",
      physical: (path) => `/store/${path.slice(11)}`,
      isRegistered: (path) => registered.includes(path),
      isThere: (path) => there.includes(path),
      fresh: () => "/tmp/aside",
    }),
  ];
}

/** Loses power before each step, with every subset of what is not durable yet. */
function loseEverything(steps: readonly CommitStep[], items: readonly Prepared[], stale: readonly string[]): string[] {
  const found: string[] = [];
  for (let end = 0; end <= steps.length; end += 1) {
    const { effects, run } = machine(
      items.map(({ from }) => from),
      stale,
    );
    for (const step of steps.slice(0, end)) run(step);
    const open = effects.flatMap(({ durable }, index) => (durable ? [] : [index]));
    for (let subset = 0; subset < 2 ** open.length; subset += 1) {
      found.push(...violations(effects, (_, index) => ((subset >> open.indexOf(index)) & 1) === 1));
    }
  }
  return found;
}

describe("the order of writes", () => {
  const items = [prepared("a"), prepared("b", [pathOf("a")]), prepared("c", [pathOf("a"), pathOf("b")])];

  test("whatever a power loss takes, what is registered is complete", () => {
    expect(loseEverything(allSteps(items, [], []), items, [])).toEqual([]);
    const stale = `/store/${pathOf("b").slice(11)}`;
    expect(loseEverything(allSteps(items, [], [pathOf("b")]), items, [stale])).toEqual([]);
  });

  test("the model catches a plan that syncs too late, or not at all", () => {
    const steps = allSteps(items, [], []);
    for (const dropped of ["sync-file-system", "sync-directory"]) {
      const without = steps.filter(({ step }) => step !== dropped);
      expect(loseEverything(without, items, []).length).toBeGreaterThan(0);
    }
    const order = steps.map(({ step }) => step);
    const commit = steps[order.indexOf("commit")];
    const early = steps.flatMap((step) =>
      step.step === "sync-directory" && commit ? [commit, step] : step === commit ? [] : [step],
    );
    const rowsFirst = early.toSorted((a, b) => Number(b.step === "insert") - Number(a.step === "insert"));
    expect(loseEverything(rowsFirst, items, []).length).toBeGreaterThan(0);
  });

  test("steps, as literals", () => {
    const names = (steps: readonly CommitStep[]): string => steps.map(({ step }) => step).join(" ");
    expect(names(allSteps([prepared("a")], [], []))).toBe(
      "sync-file-system begin move sync-directory insert refer realise commit",
    );
    expect(names(allSteps([prepared("a")], [pathOf("a")], [pathOf("a")]))).toBe("sync-file-system begin realise commit discard");
    expect(names(allSteps([prepared("a")], [], [pathOf("a")]))).toBe(
      "sync-file-system begin set-aside move sync-directory insert refer realise commit discard",
    );
    // Registered, but somebody took the directory away: the content goes back to its place.
    expect(names(allSteps([prepared("a")], [pathOf("a")], []))).toBe("sync-file-system begin move sync-directory realise commit");
  });

  test("each path gets its place and its row at most once, and nothing stays in scratch", () => {
    const name = fc.constantFrom("a", "b", "c", "d");
    fc.assert(
      fc.property(fc.array(name), fc.array(name), fc.array(name), (batch, registered, there) => {
        const items = batch.map((one, index) => ({ ...prepared(one), from: `/tmp/${index}` }));
        const steps = allSteps(items, registered.map(pathOf), there.map(pathOf));
        const of = (kind: CommitStep["step"]): CommitStep[] => steps.filter(({ step }) => step === kind);
        const moved = of("move").map((step) => (step.step === "move" ? step.to : ""));
        expect(new Set(moved).size).toBe(moved.length);
        const inserted = of("insert").map((step) => (step.step === "insert" ? step.item.path : ""));
        expect(new Set(inserted).size).toBe(inserted.length);
        expect(inserted.filter((path) => registered.map(pathOf).some((known) => known === path))).toEqual([]);
        const handled = steps.flatMap((step) =>
          step.step === "move" ? [step.from] : step.step === "discard" ? [step.path] : [],
        );
        for (const { from } of items) expect(handled).toContain(from);
      }),
    );
  });
});
