/**
 * The part of FreeBSD in the program `generations`, killed with all that it started before each of its steps: what the loader starts then,
 * and the time after that.
 */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import { inRoot, start } from "./freebsd-loader.testing.ts";
import { KINDS, loaderMachines, NEW, OLD, SHELLS, system } from "./generations-freebsd.testing.ts";

const STEPS_MAX = 200;
const { machine, [Symbol.dispose]: remove } = loaderMachines();
afterAll(remove);

for (const shell of SHELLS) {
  for (const kind of KINDS) {
    test(`${shell}, ${kind}: killed before any of its steps, the machine starts the old or the new, and the old again after it`, () => {
      const seen = new Set<string>();
      const steps = `boot_put 2 ${system(2)} && boot_try 2 ${system(2)} 900 && boot_keep 2 ${system(2)} && boot_drop`;
      for (let step = 1; step < STEPS_MAX; step++) {
        const { root, call, list } = machine([OLD, NEW], kind, shell);
        const { status, stderr } = call(steps, step);
        const first = start(root, kind);
        const generation = first.environment.get("garth.generation") ?? "";
        const isTrial = first.environment.has("garth.trial");
        seen.add(`${generation}${isTrial ? " on trial" : ""}`);
        expect(first.kernel).toBe(`/frx/store/${generation}-kernel/boot/kernel/kernel`);
        expect(first.environment.get("init_exec")).toBe(generation === "1" ? "/boot/garth/1/pid1" : undefined);
        expect(first.said).toEqual([]);
        const next = start(root, kind).environment;
        expect(next.has("garth.trial")).toBe(false);
        if (isTrial) expect(["1", "2"]).toContain(next.get("garth.generation") ?? "");
        else expect(next.get("garth.generation")).toBe(generation);
        call("boot_sweep");
        expect(list("boot").filter((name) => name.startsWith("."))).toEqual([]);
        expect(fs.existsSync(inRoot(root, `/boot/garth/${generation}`))).toBe(true);
        if (status === 0) {
          expect(stderr).toBe("");
          break;
        }
      }
      expect([...seen].toSorted()).toEqual(["1", "2", "2 on trial"]);
    }, 120_000);
  }
}
