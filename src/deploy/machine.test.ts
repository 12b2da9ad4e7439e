/** What is done to a machine, in a root that stands in for one. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { baseName, Problem, type StorePath } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { narSha256Of } from "../store/testing.ts";
import type { ChangeOptions, SwitchPlan } from "./index.ts";
import { type StandIn, standIn } from "./testing.ts";

let there: StandIn;
let one: StorePath;
let two: StorePath;
beforeEach(async () => {
  there = await standIn();
  one = await there.system("one");
  two = await there.system("two");
  says();
});
afterEach(() => there[Symbol.dispose]());

const POINTERS = [
  "running 1",
  "current 1",
  "rollback -",
  "next -",
  "booted-trial no",
  "boot-free 99999999",
  "root-free 9999999999",
];

/** What it says of itself: as a machine that was made of an image, but for what is given. */
function says(facts: readonly string[] = [], generations: readonly string[] = [`generation 1 good ${one} image`]): void {
  const given = new Set(facts.map((line) => line.split(" ")[0]));
  const others = POINTERS.filter((line) => !given.has(line.split(" ")[0]));
  there.says([...others, ...facts, `running-system ${one}`, ...generations]);
}

const options = (change: Partial<ChangeOptions<SwitchPlan>> = {}): ChangeOptions<SwitchPlan> => ({
  trialSeconds: 900,
  ...change,
});
const closure = (path: StorePath): readonly string[] => there.here.store.closure([path]).map(baseName).toSorted();

describe("a switch", () => {
  test("says what it is going to do before anything is done, sends what is missing, and tells the new system's own program", async () => {
    there.answers(0, ["generation 2"]);
    const plans: (SwitchPlan & { readonly before: readonly string[] })[] = [];
    const report = await there.machine.switchTo(
      two,
      options({ onPlan: (plan) => void plans.push({ ...plan, before: there.stored() }) }),
    );
    const [plan] = plans;
    expect(plan).toMatchObject({
      action: "send",
      current: 1,
      previous: one,
      system: two,
      before: [],
      difference: [`${one} and ${two}`],
    });
    expect(plan?.missing.map(baseName).toSorted()).toEqual([...closure(two)]);
    expect(report).toMatchObject({ done: true, generation: 2, sentItems: 2, reboot: undefined });
    expect(there.stored()).toEqual([...closure(two)]);
    for (const path of there.here.store.closure([two]))
      expect(narSha256Of(there.path(path))).toBe(there.here.store.query(path)?.narSha256 ?? "");
    expect(there.calls()).toEqual([`add ${two} 900`]);
    expect(there.input()).toBe(
      closure(two)
        .map((name) => `${name}\n`)
        .join(""),
    );
    expect(fs.readdirSync(there.path("/frx/var/garth/remote/incoming"))).toEqual([]);
    // The second time all of it is there.
    expect(await there.machine.switchTo(two, options())).toMatchObject({ done: true, missing: [], sentItems: 0, sentBytes: 0 });
  });

  test("without a connection that holds is not begun by half", async () => {
    there.connection.losesAt = ({ name }) => name === "ready";
    expect((await problemOf(there.machine.switchTo(two, options()))).code).toBe("E_HOST_LOST");
    expect(there.calls()).toEqual([]);
    expect(there.stored()).toEqual([]);
  });

  test("by a dry run does nothing", async () => {
    const report = await there.machine.switchTo(two, options({ dryRun: true }));
    expect(report).toMatchObject({ action: "send", done: false, generation: undefined });
    expect([there.calls(), there.stored()]).toEqual([[], []]);
  });

  test("to what it starts already is none, and one that waits is left to wait", async () => {
    expect(await there.machine.switchTo(one, options())).toMatchObject({ action: "current", generation: 1, done: false });
    const both = [`generation 1 good ${one} image`, `generation 2 trial ${two} switch`];
    says(["next 2"], both);
    expect(await there.machine.switchTo(two, options())).toMatchObject({
      action: "waiting",
      generation: 2,
      onTrial: false,
      done: false,
    });
    says(["next 2", "running 2", "booted-trial yes"], both);
    // Another start would be the end of its trial.
    expect(await there.machine.switchTo(two, options({ reboot: true }))).toMatchObject({
      action: "waiting",
      onTrial: true,
      reboot: undefined,
    });
    expect([there.calls(), there.stored()]).toEqual([[], []]);
  });

  test("of a machine whose system is not known here is compared by the names of items", async () => {
    const old: StorePath = `/frx/store/${"a".repeat(64)}-system-old`;
    says([], [`generation 1 good ${old} image`]);
    const names = [`${"b".repeat(64)}-part-of-two`, `${"c".repeat(64)}-part-of-old`, baseName(old)];
    fs.mkdirSync(there.path("/var/lib/garth/system/generations/1"), { recursive: true });
    fs.writeFileSync(there.path("/var/lib/garth/system/generations/1/items"), names.map((name) => `${name}\n`).join(""));
    const { difference } = await there.machine.switchTo(two, options({ dryRun: true }));
    expect(difference).toEqual(["items", "  - part-of-old", "  ~ part-of-two", "  - system-old", "  + system-two"]);
  });
});

describe("what cannot be is refused before anything is sent", () => {
  const refused = async (work: Promise<unknown>): Promise<Problem> => {
    const problem = await problemOf(work);
    expect([there.calls(), there.stored()]).toEqual([[], []]);
    return problem;
  };

  test("what Garth did not make, and who is not root", async () => {
    fs.rmSync(there.path("/run/current-system/generations"));
    expect((await refused(there.machine.switchTo(two, options()))).message).toContain("keeps no generations");
    fs.rmdirSync(there.path("/run/current-system"));
    const problem = await refused(there.machine.switchTo(two, options()));
    expect([problem.code, problem.exit]).toEqual(["E_NOT_A_SYSTEM_MACHINE", 2]);
    expect(problem.message).toContain("(Linux on ");
  });

  test("a system of another kind", async () => {
    const bsd = await there.system("bsd", { family: "freebsd" });
    expect((await refused(there.machine.switchTo(bsd, options()))).code).toBe("E_OTHER_SYSTEM");
    const kernel = Buffer.alloc(512);
    kernel.write("MZ");
    kernel.writeUInt32LE(0x80, 0x3c);
    kernel.write("PE\0\0", 0x80);
    kernel.writeUInt16LE(process.arch === "arm64" ? 0x86_64 : 0xaa_64, 0x84);
    const foreign = await there.system("foreign", { kernel });
    const problem = await refused(there.machine.switchTo(foreign, options()));
    expect([problem.code, problem.exit]).toEqual(["E_OTHER_SYSTEM", 2]);
    expect(problem.message).toMatch(/is (x86_64|aarch64) linux, and .*-system-foreign is for (aarch64|x86_64) linux/);
  });

  test("what is no system", async () => {
    const text = there.here.store.addText("text", "text", []);
    expect((await refused(there.machine.switchTo(text.path, options()))).code).toBe("E_NOT_A_SYSTEM");
    const odd = await there.system("odd", { files: { "metadata/system.json": "{}" } });
    expect((await refused(there.machine.switchTo(odd, options()))).code).toBe("E_NOT_A_SYSTEM");
  });

  test("another switch before the one that waits is settled", async () => {
    const three = await there.system("three");
    says(["next 2"], [`generation 1 good ${one} image`, `generation 2 trial ${two} switch`]);
    const problem = await refused(there.machine.switchTo(three, options()));
    expect(problem.code).toBe("E_SWITCH_PENDING");
    expect(problem.hint).toContain("garth system rollback web1 1");
  });

  test("too little room, with how much is needed and free", async () => {
    says(["boot-free 65000"]);
    const boot = await refused(there.machine.switchTo(two, options()));
    expect([boot.code, boot.exit, boot.where]).toEqual(["E_MACHINE_FULL", 3, "/boot"]);
    says(["root-free 1000000"]);
    const root = await refused(there.machine.switchTo(two, options()));
    expect([root.code, root.where]).toEqual(["E_MACHINE_FULL", "/"]);
    expect(root.message).toMatch(/1(\.\d+)? MiB are needed, 977 KiB are free/);
    // Nobody could look: the program will.
    says(["boot-free -", "root-free -"]);
    expect((await there.machine.switchTo(two, options({ dryRun: true }))).action).toBe("send");
  });

  test("an answer that is none", async () => {
    for (const lines of [
      [],
      ["running x"],
      POINTERS.slice(1),
      [...POINTERS, "generation 0 good /frx/store/x image"],
      [...POINTERS, "generation 1 fine"],
    ]) {
      there.says(lines);
      expect((await refused(there.machine.status())).code).toBe("E_MACHINE_ANSWER");
    }
  });
});

test.each([
  ["full boot 1048576 1024", "E_MACHINE_FULL", "1 MiB are needed, 1 KiB are free"],
  ["full root 5 4", "E_MACHINE_FULL", "the root of web1"],
  ["missing abc-part", "E_ITEM_MISSING", "abc-part is not in the store"],
  ["unknown 7", "E_NO_SUCH_GENERATION", "generation 7"],
  ["in-use 2 running", "E_GENERATION_IN_USE", "the machine runs it"],
  ["busy", "E_MACHINE_BUSY", "right now"],
  ["broken no partition is labelled efiboot", "E_MACHINE_BROKEN", "labelled efiboot"],
  ["failed 3", "E_GENERATIONS", "status 1"],
] as const)("the program says %s: %s", async (words, code, message) => {
  there.answers(1, [words]);
  const problem = await problemOf(there.machine.switchTo(two, options()));
  expect(problem.code).toBe(code);
  expect(problem.message).toContain(message);
});

describe("a rollback", () => {
  const three = [(): string => `generation 1 good ${one} image`, (): string => `generation 2 good ${two} switch`];
  const both = (): readonly string[] => three.map((line) => line());

  test("leads to the one before, or to the one that is named", async () => {
    says(["running 2", "current 2", "rollback 1"], both());
    there.answers(0, ["generation 1"]);
    expect(await there.machine.rollback(undefined, options2())).toMatchObject({
      generation: 1,
      system: one,
      previous: two,
      onTrial: false,
      done: true,
    });
    expect(await there.machine.rollback(2, options2())).toMatchObject({ action: "current", generation: 2, done: false });
    says(["running 2", "current 2", "rollback 1"], [...both(), `generation 3 failed ${two} switch`]);
    expect(await there.machine.rollback(3, options2())).toMatchObject({ generation: 3, onTrial: true, done: true });
    expect(there.calls()).toEqual(["select 1 900", "select 3 900"]);
  });

  test("gives up what waits for its trial", async () => {
    says(["next 2"], [`generation 1 good ${one} image`, `generation 2 trial ${two} switch`]);
    expect(await there.machine.rollback(1, options2())).toMatchObject({
      action: "select",
      generation: 1,
      dropped: 2,
      onTrial: false,
    });
    expect(there.calls()).toEqual(["select 1 900"]);
  });

  test("to what is not there any more is refused, and nothing is done", async () => {
    expect((await problemOf(there.machine.rollback(undefined, options2()))).code).toBe("E_NO_ROLLBACK");
    expect((await problemOf(there.machine.rollback(9, options2()))).code).toBe("E_NO_SUCH_GENERATION");
    says(["current 2", "rollback 1"], [`generation 1 broken ${one} image`, `generation 2 good ${two} switch`]);
    const problem = await problemOf(there.machine.rollback(undefined, options2()));
    expect(problem.code).toBe("E_GENERATION_BROKEN");
    expect(problem.hint).toContain("switch to its system again");
    expect(there.calls()).toEqual([]);
  });

  const options2 = () => ({ trialSeconds: 900 });
});

test("generations are removed but those that are in use", async () => {
  const lines = [1, 2, 3, 4].map((number) => `generation ${number} good ${one} switch`);
  says(["current 3", "next 4", "running 1"], lines);
  for (const [number, why] of [
    [3, "starts it"],
    [4, "waits for its trial"],
    [1, "runs it"],
  ] as const) {
    const problem = await problemOf(there.machine.remove([2, number]));
    expect([problem.code, problem.exit]).toEqual(["E_GENERATION_IN_USE", 2]);
    expect(problem.message).toContain(why);
  }
  expect((await problemOf(there.machine.remove([2, 7]))).code).toBe("E_NO_SUCH_GENERATION");
  expect(there.calls()).toEqual([]);
  there.answers(0, ["removed 2", "collected abc-x", "collected abc-y"]);
  expect(await there.machine.remove([2, 2])).toEqual({ removed: [2], collected: ["abc-x", "abc-y"] });
  expect(there.calls()).toEqual(["remove 2"]);
});
