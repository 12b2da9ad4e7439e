/**
 * The program of generations, cut off before each step that it takes: the machine starts the old or the new, whole, and what comes next puts
 * the rest right. Cut off is the program with all it started, and, the other way, the power: then the disk is as far as it was made durable.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fs from "node:fs";
import { FIRST, namesOf, SECOND, THIRD } from "./generations-sample.testing.ts";
import { GenerationsMachine, lackOf, troubleOf } from "./generations.testing.ts";

setDefaultTimeout(900_000);

/** A verb, what it is given, and the generations that may run after it was cut off. */
interface Cut {
  readonly name: string;
  readonly argv: readonly string[];
  readonly stdin?: string;
  /** From the disk of an image: what was before. */
  readonly before: (machine: GenerationsMachine) => void;
  readonly mayRun: readonly (typeof FIRST)[];
}

const add = (machine: GenerationsMachine, system: typeof SECOND): void =>
  expect(machine.call(["add", system.path, "60"], { stdin: namesOf(system) })).toMatchObject({ status: 0 });
const confirmed = (machine: GenerationsMachine, system: typeof SECOND): void => {
  add(machine, system);
  machine.boot();
  expect(machine.call(["confirm"]).status).toBe(0);
};

const CUTS: readonly Cut[] = [
  { name: "add", argv: ["add", SECOND.path], stdin: namesOf(SECOND), before: () => {}, mayRun: [FIRST, SECOND] },
  {
    name: "add, while another waits",
    argv: ["add", THIRD.path],
    stdin: namesOf(THIRD),
    before: (machine) => add(machine, SECOND),
    mayRun: [SECOND, THIRD],
  },
  {
    name: "confirm",
    argv: ["confirm"],
    before: (machine) => {
      add(machine, SECOND);
      machine.boot();
    },
    mayRun: [FIRST, SECOND],
  },
  {
    name: "confirm of the old, after a trial that failed",
    argv: ["confirm"],
    before: (machine) => {
      add(machine, SECOND);
      machine.boot();
      machine.boot();
    },
    mayRun: [FIRST],
  },
  {
    name: "select of the one before",
    argv: ["select"],
    before: (machine) => confirmed(machine, SECOND),
    mayRun: [FIRST, SECOND],
  },
  {
    name: "select of one that failed",
    argv: ["select", "2"],
    before: (machine) => {
      add(machine, SECOND);
      machine.boot();
      machine.boot();
      expect(machine.call(["confirm"]).stderr).toEqual(["failed 2"]);
    },
    mayRun: [FIRST, SECOND],
  },
  {
    name: "select of what runs, while another waits",
    argv: ["select", "1"],
    before: (machine) => add(machine, SECOND),
    mayRun: [FIRST, SECOND],
  },
  {
    name: "remove",
    argv: ["remove", "1"],
    before: (machine) => confirmed(machine, SECOND),
    mayRun: [SECOND],
  },
];

for (const cut of CUTS) {
  describe(`${cut.name}, cut off before each step`, () => {
    const machines: GenerationsMachine[] = [];
    const make = (): GenerationsMachine => {
      const machine = new GenerationsMachine();
      machines.push(machine);
      return machine;
    };
    let base: GenerationsMachine;
    beforeAll(() => {
      base = GenerationsMachine.fresh();
      machines.push(base);
      cut.before(base);
    });
    afterAll(() => machines.forEach((machine) => machine[Symbol.dispose]()));

    test("the machine starts the old or the new, and all is right after the next call", () => {
      const [killed, dark] = [make(), make()];
      const mayRun: readonly string[] = cut.mayRun.map(({ path }) => path);
      const run = new Set<string>();
      const states = new Set<string>();
      let at = 0;
      for (let isCut = true; isCut;) {
        at += 1;
        base.copyDisk(killed);
        base.copyDisk(dark);
        const said = killed.call(cut.argv, { stdin: cut.stdin ?? "", killAt: at, cutTo: dark });
        isCut = said.killed;
        // What is durable changes only by these.
        const isDurable = ["", "sync", "mount", "umount"].includes(killed.lastTool);
        if (isDurable) dark.sh(":");
        for (const machine of isDurable ? [killed, dark] : [killed]) {
          // A state that was there before is not looked at again.
          const state = JSON.stringify([...machine.seen].map(([path, text]) => [path, path.endsWith("/made") ? "" : text]));
          if (states.has(state)) continue;
          states.add(state);
          const where = `${machine === killed ? "killed" : "without power"} before step ${at}`;
          const booted = machine.boot();
          expect([where, ...lackOf(machine, booted)]).toEqual([where]);
          expect([where, mayRun.includes(booted.system)]).toEqual([where, true]);
          run.add(booted.system);
          const number = `${booted.generation}`;
          const ready = machine.call(["confirm"], { after: [["select", number], ["status"]] });
          expect([where, ready]).toMatchObject([where, { status: 0 }]);
          for (const fact of [`running ${number}`, `current ${number}`, "next -", "booted-trial no"])
            expect([where, ready.stdout]).toEqual([where, expect.stringContaining(`${fact}\n`)]);
          expect([where, ...troubleOf(machine)]).toEqual([where]);
        }
      }
      expect(at).toBeGreaterThan(10);
      expect([...run].toSorted()).toEqual([...mayRun]);
    });

    test("done once more on the machine as it is then, all is right", () => {
      const machine = make();
      for (let at = 1; ; at += 3) {
        base.copyDisk(machine);
        const said = machine.call(cut.argv, { stdin: cut.stdin ?? "", killAt: at, after: [cut.argv, ["status"]] });
        if (!said.killed) break;
        const isDone = said.status === 0 || said.stderr.at(-1) === "unknown 1";
        expect([at, isDone, ...said.stderr.filter((line) => line.startsWith("/"))]).toEqual([at, true]);
        expect([at, ...troubleOf(machine)]).toEqual([at]);
        expect(fs.readdirSync(`${machine.directory}/run/garth`)).toEqual(["generations.lock"]);
      }
    });
  });
}
