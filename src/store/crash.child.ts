/**
 * One process of the crash and sharing tests: `bun crash.child.ts ROOT WORK [STEP WHEN]`.
 *
 * WORK is `register` (two outputs that refer to each other and a text), `replace` (the same, over a directory that nobody
 * registered) or `add NAME COUNT` (trees, one after the other). At the named step the process kills itself.
 */
import * as fs from "node:fs";
import { candidate, openTestStore, scratchPath } from "./testing.ts";

const [root = "", work = "", ...rest] = process.argv.slice(2);
const [step, when] = work === "add" ? [] : rest;

using test = openTestStore({
  root,
  onStep: (at, now) => {
    if (at.step === step && now === when) process.kill(process.pid, "SIGKILL");
  },
});
const { store } = test;
store.recover();

if (work === "add") {
  const [name = "", count = "0"] = rest;
  for (let index = 0; index < Number(count); index += 1) {
    for (const which of [name, "shared"]) {
      const source = test.directory();
      fs.writeFileSync(`${source}/f`, `${which} ${index}`);
      const { path } = await store.add(source, `${which}-${index}`);
      process.stdout.write(`${path}\n`);
    }
    store.addText(`text-${index}`, `text ${index}`, []);
  }
} else {
  const { path: drv } = store.addText("x.drv", "x", []);
  const [out, lib] = [scratchPath(drv, "out", "x"), scratchPath(drv, "lib", "x-lib")];
  await store.register({
    drv,
    outputs: {
      out: candidate(test.built({ f: `${out} uses ${lib}`, "deep/er/g": "x".repeat(100_000) }), out, [lib]),
      lib: candidate(test.built({ f: "lib" }), lib, [out]),
    },
  });
}
