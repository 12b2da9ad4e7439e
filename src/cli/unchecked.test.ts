import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const checkout = join(import.meta.dir, "../..");
let directory = "";

/** A checkout like this one, but for the compiler. */
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "garth-cli-unchecked-"));
  for (const name of ["garth", "src", "package.json", "package-lock.json"]) {
    cpSync(join(checkout, name), join(directory, "home", name), { recursive: true });
  }
  const modules = join(directory, "home/node_modules");
  mkdirSync(modules, { recursive: true });
  for (const name of readdirSync(join(checkout, "node_modules"))) {
    if (name !== "@typescript") symlinkSync(join(checkout, "node_modules", name), join(modules, name));
  }
  const recipe = (name: string) => `export const ${name} = script({ name: "${name}", buildRoot: hostView(), script: "true" });\n`;
  for (const name of ["one", "two"]) {
    writeFileSync(join(directory, `${name}.ts`), `import { hostView, script } from "garth";\n${recipe(name)}`);
  }
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test("that types were not checked is said once, and the work is done", () => {
  const child = Bun.spawnSync([join(directory, "home/garth"), "drv", "graph", "one.ts#one", "two.ts#two"], {
    cwd: directory,
    env: { PATH: process.env["PATH"] ?? "", GARTH_ROOT: join(directory, "root") },
  });
  expect(child.stderr.toString()).toBe(`${directory}/one.ts: types not checked: there is no compiler here (npm ci brings it)\n`);
  expect({ status: child.exitCode, stdout: child.stdout.toString() }).toEqual({ status: 0, stdout: "one\ntwo\n" });
});
