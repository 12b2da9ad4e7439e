import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { violations } from "./laws.check.ts";
import { ROOMS } from "./laws.table.ts";

const source = import.meta.dir;
const FILES_MIN = 200;

function sources(): ReadonlyMap<string, string> {
  const names = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  return new Map(names.toSorted().map((name) => [name, readFileSync(join(source, name), "utf8")]));
}

function laws(file: string, text: string): readonly number[] {
  return violations(new Map([[file, text]])).map((violation) => violation.law);
}

test("the project keeps its laws", () => {
  const files = sources();
  expect(files.size).toBeGreaterThanOrEqual(FILES_MIN);
  const broken = violations(files).map(({ law, file, line, message }) => `law ${law}: src/${file}:${line}: ${message}`);
  expect(broken).toEqual([]);
});

test("every room has a door with a doc comment, and no folder is unknown", () => {
  const folders = readdirSync(source, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const known = new Set(ROOMS.map((room) => room.room));
  expect(folders.map((entry) => entry.name).filter((name) => !known.has(name))).toEqual([]);
  for (const entry of folders) {
    // Nothing imports the command line: its door is where a process begins.
    const door = readFileSync(join(source, entry.name, entry.name === "cli" ? "main.ts" : "index.ts"), "utf8");
    expect({ room: entry.name, documented: door.trimStart().startsWith("/**") }).toEqual({ room: entry.name, documented: true });
  }
});

test("the table has no cycle and names only rooms it has", () => {
  const done = new Set<string>();
  // A room may import only rooms that stand before it, whatever the order of reading: peel off what is complete.
  for (let progress = true; progress;) {
    progress = false;
    for (const room of ROOMS) {
      if (!done.has(room.room) && room.imports.every((name) => done.has(name))) {
        done.add(room.room);
        progress = true;
      }
    }
  }
  expect(ROOMS.map((room) => room.room).filter((name) => !done.has(name))).toEqual([]);
});

test("ARCHITECTURE.md shows the same table", () => {
  const rows = readFileSync(join(source, "../ARCHITECTURE.md"), "utf8").matchAll(/^\| [^|]*\| `(\w+)` \|[^|]*\| ([^|]+) \|$/gm);
  const shown = [...rows].map((row) => `${row[1]}: ${row[2]}`);
  const meant = ROOMS.map(({ room, imports, types }) => {
    const list = imports.length === 0 ? "-" : imports.join(" ");
    const only = types === undefined ? "" : `; types of ${types[0] === "*" ? "any" : types.join(" ")}`;
    return `${room}: ${list}${only}`;
  });
  expect(shown).toEqual(meant);
});

test.each([
  [1, "store/gc.ts", `import { x } from "../ledger/sqlite.ts";`],
  [1, "store/gc.ts", `import type { X } from "../ledger/types.ts";`],
  [1, "store/gc.ts", `import type { X } from "../build/index.ts";`],
  [1, "store/gc.ts", `export { x } from "../build/index.ts";`],
  [1, "store/gc.ts", `export * from "../build/index.ts";`],
  [1, "store/gc.ts", `export type * from "../build/index.ts";`],
  [1, "store/gc.ts", `const x = await import("../build/index.ts");`],
  [1, "store/gc.ts", `type X = import("../build/index.ts").X;`],
  [1, "store/gc.ts", `import x = require("../build/index.ts");`],
  [1, "store/gc.ts", "const x = await import(name);"],
  [1, "api/tree.ts", `import { x } from "../build/index.ts";`],
  [1, "store/gc.test.ts", `import { x } from "../ledger/sqlite.ts";`],
  [1, "attic/index.ts", "export const x = 1;"],
  [2, "recipe/fetch.ts", "export const x = Date.now();"],
  [2, "recipe/fetch.ts", "export const x = new Date();"],
  [2, "recipe/fetch.ts", "export const x = Math.random();"],
  [2, "build/plan.ts", "export const x = performance.now();"],
  [2, "build/plan.ts", "export const x = fetch('http://localhost');"],
  [2, "build/plan.ts", "const { env } = process;"],
  [2, "formats/nar.ts", "export const x = Bun.nanoseconds();"],
  [2, "build/plan.ts", `import { randomBytes } from "node:crypto";`],
  [2, "formats/nar.ts", `import { readFileSync } from "fs";`],
  [3, "store/gc.ts", `import { readFileSync } from "fs";`],
  [3, "store/gc.ts", `import { readFileSync } from "node:fs";`],
  [3, "store/gc.ts", `import { spawn } from "node:child_process";`],
  [3, "store/gc.ts", `export const x = () => Bun.file("x");`],
  [3, "store/gc.ts", `export const x = () => Bun["spawn"](["x"]);`],
  [3, "store/gc.ts", "const { spawn } = Bun;"],
  [3, "store/gc.ts", `import { Database } from "bun:sqlite";`],
  [3, "repository/serve.ts", "export const x = () => Bun.serve({ fetch });"],
  [3, "repository/serve.ts", `import { createServer } from "node:net";`],
  [3, "store/gc.ts", "export const x = () => console.log(1);"],
  [3, "store/gc.ts", "export const x = () => process.exit(1);"],
  [3, "cli/terminal.ts", `import { readFileSync, writeSync } from "node:fs";`],
  [4, "sandbox/run.ts", `import { jail } from "./jail.ts";`],
  [4, "sandbox/run.ts", `export const x = process.platform === "linux";`],
])("law %d catches a planted violation in %s: %s", (law, file, text) => {
  expect(laws(file, text)).toContain(law);
});

test("law 5 catches a file that outgrew its room", () => {
  expect(laws("store/gc.ts", "export const x = 1;\n".repeat(400))).toEqual([]);
  expect(laws("store/gc.ts", "export const x = 1;\n".repeat(401))).toEqual([5]);
});

test.each([
  ["store/gc.ts", `import { x } from "../ledger/index.ts";\nimport { y } from "./plan.ts";`],
  ["store/gc.test.ts", `import { x } from "../build/testing.ts";\nimport { readFileSync } from "node:fs";\nconsole.log(1);`],
  ["api/tree.ts", `import type { X } from "../build/index.ts";`],
  ["cli/terminal.ts", `import { writeSync } from "node:fs";`],
  ["recipe/fetch.ts", `import { createHash } from "node:crypto";\nexport const f = (fetch: { process: 1 }) => fetch.process;`],
  ["base/digest.ts", `export const x: Bun.CryptoHasher = new Bun.CryptoHasher("sha256");`],
  ["recipe/fetch.ts", "export const x = { fetch: 1, process: new Date(0) };"],
  ["sandbox/index.ts", `import { jail } from "./jail.ts";`],
  ["sandbox/jail.test.ts", `import { jail } from "./jail.ts";`],
])("nothing is wrong with %s: %s", (file, text) => {
  expect(laws(file, text)).toEqual([]);
});
