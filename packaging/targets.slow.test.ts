/** `npm run compile`: the file of each system and machine, by our reader of ELF, and started where this machine can. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readAtOf, readElf } from "../src/formats/index.ts";
import { copyCheckout, scratch } from "./packaging.testing.ts";

setDefaultTimeout(600_000);
const RUNTIMES = join(import.meta.dir, "../.cache/runtimes");
let directory = "";
let sources = "";

beforeAll(() => {
  directory = scratch("targets");
  sources = join(directory, "sources");
  copyCheckout(sources);
  // Fetched once for all tests, and checked each time.
  mkdirSync(RUNTIMES, { recursive: true });
  mkdirSync(join(sources, ".cache"));
  symlinkSync(RUNTIMES, join(sources, ".cache/runtimes"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function compile(...targets: readonly string[]) {
  const { status, stdout, stderr } = spawnSync("node", [join(sources, "scripts/compile.mjs"), ...targets], { encoding: "utf8" });
  return { status, stdout, stderr };
}

const dist = (name: string): string => join(sources, "dist", name);

test("all four are made, each with its sum", () => {
  expect(compile()).toMatchObject({ status: 0 });
  const programs = ["garth-freebsd-arm64", "garth-freebsd-x64", "garth-linux-arm64", "garth-linux-x64"];
  expect(readdirSync(dist("")).toSorted()).toEqual(
    ["SHA256", "distinfo", "garth.1", "garth.toml.sample", ...programs].toSorted(),
  );
  const checked = execFileSync("sha256sum", ["-c", "SHA256"], { cwd: dist(""), encoding: "utf8" });
  expect(checked.trim().split("\n").toSorted()).toEqual(programs.map((name) => `${name}: OK`));
  for (const name of programs) expect(statSync(dist(name)).mode & 0o777).toBe(0o755);
  const { version } = JSON.parse(readFileSync(join(sources, "package.json"), "utf8"));
  const info = readFileSync(dist("distinfo"), "utf8").split("\n");
  expect(info.filter((line) => line.startsWith("SIZE ")).map((line) => /\((.*)\)/.exec(line)?.[1])).toEqual(
    ["garth-freebsd-x64", "garth-freebsd-arm64", "garth.1", "garth.toml.sample"].map((name) => `garth/${version}/${name}`),
  );
});

test("each is for its machine and its system, needs nothing but that system's libraries, and kept its symbols", () => {
  const elf = (name: string) => readElf(readAtOf(readFileSync(dist(name))));
  const base = ["libc++.so.1", "libc.so.7", "libcxxrt.so.1", "libm.so.5", "libthr.so.3"];
  const freebsd = {
    bits: 64,
    osAbi: 9,
    interpreter: "/libexec/ld-elf.so.1",
    abiTag: { system: "FreeBSD", osVersion: 1_404_000 },
  };
  for (const [name, machine] of [["garth-freebsd-x64", 62] as const, ["garth-freebsd-arm64", 183] as const]) {
    expect(elf(name)).toMatchObject({ ...freebsd, machine });
    expect(elf(name)?.needed.toSorted()).toEqual(base);
  }
  const linux = { bits: 64, osAbi: 0, abiTag: { system: "Linux" } };
  expect(elf("garth-linux-x64")).toMatchObject({ ...linux, machine: 62, interpreter: "/lib64/ld-linux-x86-64.so.2" });
  expect(elf("garth-linux-arm64")).toMatchObject({ ...linux, machine: 183, interpreter: "/lib/ld-linux-aarch64.so.1" });
  for (const name of readdirSync(dist("")).filter((name) => name.startsWith("garth-"))) {
    const sections = execFileSync("readelf", ["--section-headers", "--wide", dist(name)], { encoding: "utf8" });
    expect(sections).toContain(" .symtab ");
  }
});

/** qemu's user mode and Debian's libraries of the other machine; on that machine itself, nothing. */
const ON_ARM64 = process.arch === "arm64" ? [] : ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"];

test("the one for arm64 runs: it knows its bytecode, loads a project, and reads what that imports", () => {
  const run = (...words: readonly string[]) => {
    const [program = "", ...rest] = [...ON_ARM64, dist("garth-linux-arm64"), ...words];
    const env = { PATH: "/usr/bin:/bin", HOME: directory, GARTH_ROOT: join(directory, "root") };
    const { status, stdout, stderr } = spawnSync(program, rest, { cwd: directory, env, encoding: "utf8" });
    return { status, stdout, stderr };
  };
  expect(run("--version")).toMatchObject({ status: 0, stdout: expect.stringMatching(/^garth \d+\.\d+\.\d+\n$/) });
  writeFileSync(join(directory, "name.ts"), `export const name: string = "thing";\n`);
  writeFileSync(
    join(directory, "garth.ts"),
    `import { script } from "garth";\nimport { name } from "./name.ts";\nexport const thing = script({ name, script: "true" });\n`,
  );
  expect(run("check")).toMatchObject({ status: 0, stdout: expect.stringContaining("recipe") });
  expect(run("store", "add", "name.ts").stdout).toMatch(/^\/frx\/store\/[0-9a-f]{64}-name\.ts\n/);
  expect(run("store", "verify")).toMatchObject({ status: 0 });
});

test("a target that there is not, and a runtime that is not what is locked, are refused", () => {
  expect(compile("linux-x64", "plan9-x64")).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("plan9-x64; there are linux-x64"),
  });
  const lock = join(sources, "package-lock.json");
  const { atime, mtime } = statSync(lock);
  const text = readFileSync(lock, "utf8");
  writeFileSync(lock, text.replace(/("node_modules\/@oven\/bun-freebsd-x64": \{[^}]*?"integrity": "sha512-)..../, "$1AAAA"));
  utimesSync(lock, atime, mtime);
  const before = readFileSync(dist("SHA256"), "utf8");
  const refused = compile("freebsd-x64");
  expect(refused.status).toBe(1);
  expect(refused.stderr).toContain("@oven/bun-freebsd-x64 1.4.5 is not what package-lock.json says; nothing of it was used");
  expect(readFileSync(dist("SHA256"), "utf8")).toBe(before);
  expect(readdirSync(RUNTIMES).filter((name) => name.startsWith("new."))).toEqual([]);
});
