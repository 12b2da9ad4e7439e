/** The examples load, and those that need no network build here, outside the sandbox, with their own test suites. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { SYSTEMS } from "../base/index.ts";
import { localHost } from "../host/index.ts";
import { stepLabel } from "../recipe/index.ts";
import { buildOutside } from "../recipe/testing.ts";
import { buildablesOf, loadProject, type Project, projectGraph } from "./index.ts";

const examples = new URL("../../examples", import.meta.url).pathname;
const host = localHost();
let root = "";
beforeAll(() => {
  root = mkdtempSync(`${tmpdir()}/garth-examples-`);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const load = (name: string): Promise<Project> =>
  loadProject(host, { file: `${examples}/${name}`, workingDirectory: root, cacheDirectory: `${root}/cache` });

async function build(name: string, goal: string) {
  const project = await load(name);
  return buildOutside(projectGraph(host, project, buildablesOf(project, goal), "x86_64-linux"), root);
}

describe.each(["hello", "library", "cmake"])("examples/%s", (name) => {
  test("loads, fits its types and has a graph on every system", async () => {
    const project = await load(name);
    expect(project.typeCheck).toBe("checked");
    for (const system of SYSTEMS) {
      const { steps } = projectGraph(host, project, buildablesOf(project, undefined), system);
      expect(steps.length).toBeGreaterThan(0);
      for (const { recipe } of steps) {
        expect(recipe.check).toBe(true);
        expect(recipe.buildRoot.kind).toBe(system.endsWith("-linux") ? "world" : "host");
      }
    }
  });
});

test("GNU hello: the release, and Debian's source when that cannot be had", async () => {
  const project = await load("hello");
  const [step] = projectGraph(host, project, buildablesOf(project, "hello"), "x86_64-linux").steps;
  expect(step?.recipe).toMatchObject({ name: "hello", version: "2.12.3", sources: { src: { fetcher: "fetchurl" } } });
  expect(step?.fallbacks?.map(stepLabel)).toEqual(["hello-2.10"]);
  expect(step?.fallbacks?.[0]?.recipe.sources["src"]).toMatchObject({ fetcher: "debianSource", package: "hello" });
  expect([...project.exports.values()].map(({ name, kind }) => `${name}: ${kind}`)).toEqual([
    "examples: repository",
    "greeter: system",
    "greeterTemplate: template",
    "greets: gate",
    "hello: recipe",
  ]);
});

test("the machine that greets: its package out of the repository of the same file, its gate about it", async () => {
  const { exports } = await load("hello");
  const [repository, greeter, greets] = ["examples", "greeter", "greets"].map((name) => exports.get(name)?.value);
  expect(greeter).toMatchObject({ kind: "system", install: [{ packages: ["hello"] }], development: [] });
  expect(greeter !== undefined && "install" in greeter && greeter.install[0]?.repository === repository).toBe(true);
  expect(greets).toMatchObject({ kind: "gate", probes: [{ command: "hello", expect: "Hello, world!" }] });
  expect(greets !== undefined && "system" in greets && greets.system === greeter).toBe(true);
});

test("the library and the program that is linked with it", async () => {
  const { status, printed, out } = await build("library", "reflow");
  expect(printed).toContain("ok columns, not bytes");
  expect(status).toBe(0);
  expect(execFileSync(`${out}/bin/reflow`, ["-w", "12", "--", "one two three four"]).toString()).toBe("one two\nthree four\n");
  const dynamic = execFileSync("readelf", ["-d", `${out}/bin/reflow`]).toString();
  expect(dynamic).toContain("Shared library: [libwrap.so.1]");
  expect(dynamic).toMatch(new RegExp(String.raw`runpath: \[${root}/out-\w+/lib\]`));
}, 60_000);

test("the CMake project", async () => {
  const { status, printed, out } = await build("cmake", "crc32");
  expect(printed).toContain("100% tests passed, 0 tests failed out of 4");
  expect(status).toBe(0);
  const sum = execFileSync(`${out}/bin/crc32`, [`${examples}/cmake/crc32/check.txt`]).toString();
  expect(sum).toStartWith("cbf43926  ");
}, 60_000);
