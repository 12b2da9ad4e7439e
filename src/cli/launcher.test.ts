import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A checkout of one source file, with the real launcher and the real Bun. */
const project = join(import.meta.dir, "../..");
let home = "";

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "garth-launcher-"));
  copyFileSync(join(project, "garth"), join(home, "garth"));
  mkdirSync(join(home, "src/cli"), { recursive: true });
  symlinkSync(join(project, "node_modules"), join(home, "node_modules"));
  writeFileSync(join(home, "package-lock.json"), "{}");
  source("console.log('one', process.env.GARTH_HOME, process.argv.slice(2).join(' '));", -60);
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

/** `ageS` seconds from now; files of the same instant as the bundle are not newer than it. */
function source(text: string, ageS: number): void {
  const file = join(home, "src/cli/main.ts");
  writeFileSync(file, text);
  const time = Date.now() / 1000 + ageS;
  utimesSync(file, time, time);
}

function launch(...words: readonly string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync([join(home, "garth"), ...words], { cwd: tmpdir(), stdin: "ignore" });
  return { status: exitCode, stdout: stdout.toString().trim(), stderr: stderr.toString() };
}

test("makes a bundle at the first start and uses it at the next", () => {
  expect(launch("a", "b c")).toEqual({ status: 0, stdout: `one ${home} a b c`, stderr: "" });
  expect(readdirSync(join(home, ".cache/garth")).toSorted()).toEqual(["garth"]);
  // Had it read the source, it would fail.
  source("this is not a program", -60);
  expect(launch().stdout).toBe(`one ${home}`);
});

test("a changed source makes the bundle anew", () => {
  launch();
  source("console.log('two');", 60);
  expect(launch().stdout).toBe("two");
});

test("without a place for the bundle the sources run", () => {
  writeFileSync(join(home, ".cache"), "a file where the directory should be");
  expect(launch("x").stdout).toBe(`one ${home} x`);
});

test("sources that do not build are told by Bun, and leave the former bundle alone", () => {
  launch();
  source("const x = ;", 60);
  const said = launch();
  expect(said.status).toBe(1);
  expect(said.stderr).toContain("main.ts:1");
  expect(readdirSync(join(home, ".cache/garth")).toSorted()).toEqual(["garth"]);
});

test("many at once all run, and leave nothing behind", async () => {
  const children = Array.from({ length: 6 }, () => Bun.spawn([join(home, "garth")], { stdout: "pipe", stderr: "pipe" }));
  for (const child of children) {
    expect(await new Response(child.stdout).text()).toBe(`one ${home} \n`);
    expect(await child.exited).toBe(0);
  }
  expect(readdirSync(join(home, ".cache/garth")).toSorted()).toEqual(["garth"]);
});

test("the exit status and signals are the program's own", async () => {
  source("process.on('SIGTERM', () => process.exit(43)); console.log('up'); setInterval(() => {}, 1000);", -60);
  const child = Bun.spawn([join(home, "garth")], { stdout: "pipe" });
  const reader = child.stdout.getReader();
  await reader.read();
  child.kill("SIGTERM");
  expect(await child.exited).toBe(43);
});

test("without Bun and without node it says what to install", () => {
  rmSync(join(home, "node_modules"));
  const { exitCode, stderr } = Bun.spawnSync(["/bin/sh", join(home, "garth")], { env: { PATH: "/nowhere" } });
  expect(exitCode).toBe(3);
  expect(stderr.toString()).toContain("apt-get install nodejs npm");
  expect(existsSync(join(home, ".cache"))).toBe(false);
});
