/**
 * The program `generations` of FreeBSD, cut off with all that it started before each of its steps: the loader starts the old or the new, and
 * what comes next puts the rest right.
 */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import fs from "node:fs";
import {
  KINDS,
  loaderMachines,
  type Machine,
  namesOf,
  NEW,
  OLD,
  PLAIN,
  system,
  troubleOf,
} from "./generations-freebsd.testing.ts";

setDefaultTimeout(300_000);
const STEPS_MAX = 200;
const { machine, [Symbol.dispose]: remove } = loaderMachines();
afterAll(remove);

const add = ({ run }: Machine, number: number): void =>
  expect(run(["add", system(number), "60"], { stdin: namesOf(number) })).toMatchObject({ status: 0 });
const confirmed = (machine: Machine, number: number): void => {
  add(machine, number);
  machine.boot();
  expect(machine.run(["confirm"])).toMatchObject({ status: 0, stderr: `garth: confirmed ${number}\n` });
};

/** A verb, what was before, and the systems that may run after it was cut off. */
const CUTS: readonly {
  readonly name: string;
  readonly argv: readonly string[];
  readonly stdin?: string;
  readonly before: (machine: Machine) => void;
  readonly mayRun: readonly number[];
  readonly mayRunOfPool?: readonly number[];
}[] = [
  { name: "add", argv: ["add", system(2)], stdin: namesOf(2), before: () => {}, mayRun: [1, 2] },
  {
    name: "add, while another waits",
    argv: ["add", system(3)],
    stdin: namesOf(3),
    before: (machine) => add(machine, 2),
    // Into a pool one word is written at a time: that nothing waits, then that the other does.
    mayRun: [2, 3],
    mayRunOfPool: [1, 2, 3],
  },
  {
    name: "confirm",
    argv: ["confirm"],
    before: (machine) => {
      add(machine, 2);
      machine.boot();
    },
    mayRun: [1, 2],
  },
  {
    name: "confirm of the old, after a trial that failed",
    argv: ["confirm"],
    before: (machine) => {
      add(machine, 2);
      machine.boot();
      machine.boot();
    },
    mayRun: [1],
  },
  { name: "select of the one before", argv: ["select"], before: (machine) => confirmed(machine, 2), mayRun: [1, 2] },
  { name: "remove", argv: ["remove", "1"], before: (machine) => confirmed(machine, 2), mayRun: [2] },
];

for (const kind of KINDS) {
  for (const { name, argv, stdin = "", before, mayRun, mayRunOfPool } of CUTS) {
    test(`${kind}: ${name}, cut off before each step: the machine starts the old or the new, and the next call puts all right`, () => {
      const base = machine([OLD, NEW, PLAIN], kind);
      base.boot();
      before(base);
      const ran = new Set<number>();
      const states = new Set<string>();
      let isCut = true;
      for (let step = 1; isCut && step < STEPS_MAX; step++) {
        const copy = base.copy();
        isCut = copy.run(argv, { stdin, killAt: step }).status !== 0;
        const state = copy.state();
        if (states.has(state)) continue;
        states.add(state);
        const { kernel, environment } = copy.boot();
        const number = environment.get("garth.generation") ?? "";
        const started = Number(kernel.slice("/frx/store/".length).split("-", 1)[0]);
        expect([step, environment.get("garth.system")]).toEqual([step, system(started)]);
        ran.add(started);
        expect([step, copy.run(["confirm"])]).toMatchObject([step, { status: 0 }]);
        const { stdout } = copy.run(["select", number]).status === 0 ? copy.run(["status"]) : { stdout: "" };
        for (const fact of [`running ${number}`, `current ${number}`, "next -", "booted-trial no"])
          expect([step, stdout]).toEqual([step, expect.stringContaining(`${fact}\n`)]);
        expect([step, ...troubleOf(copy)]).toEqual([step]);
        expect(copy.boot().environment.get("garth.generation")).toBe(number);
        fs.rmSync(copy.root, { recursive: true });
      }
      expect([isCut, [...ran].toSorted()]).toEqual([false, (kind === "zfs" ? (mayRunOfPool ?? mayRun) : mayRun).toSorted()]);
    });
  }
}
