import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { Problem } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import * as garth from "../garth.ts";
import { type Host, localHost } from "../host/index.ts";
import { stepLabel } from "../recipe/index.ts";
import { buildablesOf, exportNamed, loadProject, parseReference, type Project, projectGraph } from "./index.ts";
import { readSources } from "./sources.ts";
import { startTypeCheck } from "./typecheck.ts";

const host: Host = localHost();
let root = "";
beforeAll(() => {
  root = realpathSync(mkdtempSync(`${tmpdir()}/garth-project-`));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

let count = 0;
/** A directory of its own, so that no file is loaded twice. */
function project(files: Readonly<Record<string, string>>): string {
  const directory = `${root}/project-${++count}`;
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(`${directory}/${name}`.replace(/\/[^/]*$/, ""), { recursive: true });
    writeFileSync(`${directory}/${name}`, text);
  }
  return directory;
}

const load = (file: string | undefined, workingDirectory = root): Promise<Project> =>
  loadProject(host, { file, workingDirectory, cacheDirectory: `${root}/cache` });

const HELLO = `import { make, hostView } from "garth";
export const hello = make({ name: "hello", version: "1", buildRoot: hostView({ paths: ["/bin"] }) });
`;

describe("a project", () => {
  test("is a file or a directory, wherever it lies, also behind a link; its exports are known by kind", async () => {
    const directory = project({
      "garth.ts": `import { debianWorld, localTree, package_, repository, script } from "garth";
import * as garth from "garth";
export const world = debianWorld({ name: "w", suite: "bookworm", packages: [] });
export const tool = script({ name: "tool", script: "true", buildRoot: world });
export const source = localTree("./src");
export const packaged = package_(tool);
export const all = repository({ name: "all", packages: [tool] });
export const helper = (name: string) => name;
export const instance = garth;
export const number = 1;
`,
    });
    symlinkSync(directory, `${root}/link`);
    const loaded = await load("link");
    expect(loaded.file).toBe(`${directory}/garth.ts`);
    expect(loaded.directory).toBe(directory);
    expect([...loaded.exports.values()].map(({ name, kind }) => `${name}: ${kind}`)).toEqual([
      "all: repository",
      "packaged: package",
      "source: source",
      "tool: recipe",
      "world: world",
    ]);
    expect(exportNamed(loaded, "source").value).toMatchObject({ path: `${directory}/src` });
    const evaluated: unknown = await import(loaded.file);
    expect(evaluated).toMatchObject({ instance: { make: garth.make, script: garth.script } });
  });

  test("is ./garth.ts when none is named", async () => {
    const directory = project({ "garth.ts": HELLO });
    expect((await load(undefined, directory)).file).toBe(`${directory}/garth.ts`);
  });

  test.each([undefined, "nothing.ts", ".", "garth.ts/below"])("that is not there: %p", async (file) => {
    const problem = await problemOf(() => load(file, project({ "other.ts": "" })));
    expect(problem.code).toBe("E_PROJECT_NOT_FOUND");
    expect(problem.exit).toBe(2);
  });

  test("says what is to be built, and makes its graph", async () => {
    const directory = project({
      "garth.ts": `import { alternatives, package_, repository, script } from "garth";
const one = script({ name: "tool", version: "1", script: "true" });
export const tool = alternatives(one, script({ name: "tool", version: "0", script: "true" }));
export const user = script({ name: "user", version: "1", script: "true", inputs: [tool] });
export const same = user;
export const packaged = package_(user);
export const all = repository({ name: "all", packages: [tool, packaged] });
`,
    });
    const loaded = await load(directory);
    const labels = (name: string | undefined) =>
      projectGraph(host, loaded, buildablesOf(loaded, name), "x86_64-linux").steps.map(stepLabel);
    expect(labels("tool")).toEqual(["tool-1"]);
    expect(labels("packaged")).toEqual(["tool-1", "user-1"]);
    expect(labels("all")).toEqual(["tool-1", "user-1"]);
    expect(buildablesOf(loaded, undefined)).toHaveLength(2);
    const [step] = projectGraph(host, loaded, buildablesOf(loaded, "tool"), "x86_64-linux").steps;
    expect(step?.recipe.buildRoot).toMatchObject({ world: { lock: `${directory}/debian.lock` } });
  });
});

describe("a reference", () => {
  test("names a file and a value", () => {
    expect(parseReference("./a/garth.ts#hello")).toEqual({ file: "./a/garth.ts", name: "hello" });
    expect(parseReference("#hello")).toEqual({ file: undefined, name: "hello" });
    expect(parseReference("dir")).toEqual({ file: "dir", name: undefined });
    expect(parseReference("with#hash/garth.ts#größe")).toEqual({ file: "with#hash/garth.ts", name: "größe" });
  });

  test.each(["", "#", "garth.ts#", "garth.ts#a-b", "garth.ts#1"])("that names nothing: %p", (text) => {
    expect(() => parseReference(text)).toThrow(Problem);
  });

  test("to a name that is not there: the names there are, and the one that was meant", async () => {
    const loaded = await load(project({ "garth.ts": `${HELLO}export const world = 1;\n` }));
    const problem = await problemOf(async () => exportNamed(loaded, "helo"));
    expect(problem.code).toBe("E_UNKNOWN_NAME");
    expect(problem.details).toEqual(["hello (recipe)"]);
    expect(problem.hint).toBe("did you mean #hello?");
  });

  test("to what cannot be built", async () => {
    const loaded = await load(
      project({ "garth.ts": `import { localTree } from "garth";\nexport const tree = localTree("/x");\n` }),
    );
    expect((await problemOf(async () => buildablesOf(loaded, "tree"))).message).toEndWith("is a source, not a recipe");
    expect((await problemOf(async () => buildablesOf(loaded, undefined))).code).toBe("E_NOT_BUILDABLE");
  });
});

describe("what is wrong in a project file is told with file and line", () => {
  const cases: Readonly<Record<string, readonly [Readonly<Record<string, string>>, string, string, string]>> = {
    "a syntax error": [
      { "garth.ts": `import { make } from "garth";\nexport const a = make({ name: "a",, });\n` },
      "E_PROJECT_SYNTAX",
      "garth.ts:2",
      "is not TypeScript",
    ],
    "a syntax error in an imported file": [
      { "garth.ts": `export * from "./lib.ts";\n`, "lib.ts": "\n\nexport const = 1;\n" },
      "E_PROJECT_SYNTAX",
      "lib.ts:3",
      "is not TypeScript",
    ],
    "a file that is not there": [
      { "garth.ts": `\nexport * from "./lib.ts";\n` },
      "E_PROJECT_IMPORT",
      "garth.ts:2",
      "imports what is not there",
    ],
    "a name that garth does not have": [
      { "garth.ts": `import {\n  autotool,\n} from "garth";\nexport const a = autotool({ name: "a" });\n` },
      "E_PROJECT_IMPORT",
      "garth.ts:2",
      "imports what is not there",
    ],
    "an exception": [
      {
        "garth.ts": `import { make } from "garth";\n\nfunction sum(): string {\n  throw new RangeError("too far");\n}\nexport const a = make({ name: sum() });\n`,
      },
      "E_RECIPE_THREW",
      "garth.ts:4",
      "threw while it was evaluated: RangeError: too far",
    ],
    "something thrown that is no error": [
      { "garth.ts": `throw "up";\nexport {};\n` },
      "E_RECIPE_THREW",
      "garth.ts",
      "threw while it was evaluated: up",
    ],
    "a field of the wrong type": [
      {
        "garth.ts": `import { make, type MakeOptions } from "garth";\nconst no: unknown = "no";\nexport const a = make({\n  name: "a",\n  // check: a comment\n  env: { A: "}" },\n  check: no,\n} as MakeOptions);\n`,
      },
      "E_RECIPE_INVALID",
      "garth.ts:7",
      `a: check: expected true or false, found the text "no"`,
    ],
    "an element of a list": [
      {
        "garth.ts": `import { make } from "garth";\nconst b = make({ name: "b" });\nconst wrong = JSON.parse("3");\nexport const a = make({\n  name: "a",\n  inputs: [\n    b,\n    wrong,\n  ],\n});\n`,
      },
      "E_RECIPE_INVALID",
      "garth.ts:8",
      "a: inputs[1]: expected a recipe, found the number 3",
    ],
    "a field of a call inside a call": [
      {
        "garth.ts": `import { fetchurl, make } from "garth";\nexport const a = make({\n  name: "a",\n  source: fetchurl({\n    urls: ["https://example.org/a"],\n    sha256: "abc",\n  }),\n});\n`,
      },
      "E_RECIPE_INVALID",
      "garth.ts:6",
      "fetchurl: sha256: expected a SHA-256",
    ],
    "a field in an imported file": [
      {
        "garth.ts": `export { a } from "./lib/a.ts";\n`,
        "lib/a.ts": `import { make } from "garth";\n\nexport const a = make({\n  name: "a",\n  version: "1-2",\n});\n`,
      },
      "E_RECIPE_INVALID",
      "lib/a.ts:5",
      "a: version: expected a version",
    ],
    "a field that a spread brought: the call": [
      {
        "garth.ts": `import { make } from "garth";\nconst common = { version: "1-2" };\n\nexport const a = make({ name: "a", ...common });\n`,
      },
      "E_RECIPE_INVALID",
      "garth.ts:4",
      "a: version: expected a version",
    ],
    "a repository of what is no recipe": [
      {
        "garth.ts": `import { localTree, repository } from "garth";\nexport const r = repository({ name: "r", packages: [localTree("/x")] });\n`,
      },
      "E_RECIPE_INVALID",
      "garth.ts#r",
      "r: packages[0]: expected a recipe, found a source (localTree)",
    ],
  };
  for (const [what, [files, code, where, message]] of Object.entries(cases)) {
    test(what, async () => {
      const directory = project(files);
      const problem = await problemOf(() => load(directory));
      expect(`${problem.code} ${problem.where}`).toBe(`${code} ${directory}/${where}`);
      expect(problem.message).toContain(message);
      expect(problem.exit).toBe(2);
    });
  }

  test("a package that pkg refuses: the call", async () => {
    const directory = project({
      "garth.ts": `import { make, repository } from "garth";\n\nexport const r = repository({ name: "not a name", packages: [make({ name: "a" })] });\n`,
    });
    const problem = await problemOf(() => load(directory));
    expect(`${problem.code} ${problem.where}`).toBe(`E_BAD_PACKAGE ${directory}/garth.ts:3`);
  });

  test("a field that is wrong only on one system is told when the graph is made", async () => {
    const directory = project({
      "garth.ts": `import { make } from "garth";\nexport const a = make({\n  name: "a",\n  makeFlags: [\n    "A=1",\n    "B=$nothing",\n  ],\n});\n`,
    });
    const loaded = await load(directory);
    const problem = await problemOf(async () => projectGraph(host, loaded, buildablesOf(loaded, "a"), "x86_64-linux"));
    expect(problem.where).toBe(`${directory}/garth.ts:6`);
  });
});

describe("types", () => {
  const TYPED = `import { one } from "./one.ts";\n${HELLO}export const sum: number = one;\n`;

  test("are checked once for the same text, and again when an import changes", async () => {
    const first = project({ "garth.ts": TYPED, "one.ts": "export const one = 1;\n" });
    expect((await load(first)).typeCheck).toBe("checked");
    const again = startTypeCheck(host, program, readSources(host, `${first}/garth.ts`), `${root}/cache`);
    expect(again.state).toBe("known");
    writeFileSync(`${first}/one.ts`, `export const one = "1";\n`);
    const changed = startTypeCheck(host, program, readSources(host, `${first}/garth.ts`), `${root}/cache`);
    expect(changed.state).toBe("checked");
    const problem = await problemOf(() => changed.passed);
    expect(problem.code).toBe("E_TYPE_CHECK");
    expect(problem.details).toEqual(["garth.ts:4:14 Type 'string' is not assignable to type 'number'."]);
    expect(problem.where).toBe(`${first}/garth.ts:4`);
  });

  test("that do not fit stop a file that evaluates well", async () => {
    const directory = project({ "garth.ts": `${HELLO}const count: number = "one";\nexport { count };\n` });
    const problem = await problemOf(() => load(directory));
    expect(problem.code).toBe("E_TYPE_CHECK");
    expect(problem.exit).toBe(2);
  });

  test("explain an exception that came of them", async () => {
    const directory = project({
      "garth.ts": `import { make } from "garth";\nconst versions: Record<string, { now: string } | undefined> = {};\nexport const a = make({ name: "a", version: versions["a"].now });\n`,
    });
    const problem = await problemOf(() => load(directory));
    expect(problem.code).toBe("E_TYPE_CHECK");
    expect(problem.details[0]).toStartWith("garth.ts:3:");
  });

  test("leave nothing but a mark behind, and that only when they fit", async () => {
    const cache = `${root}/cache-${++count}`;
    const check = (directory: string) => startTypeCheck(host, program, readSources(host, `${directory}/garth.ts`), cache).passed;
    await problemOf(() => check(project({ "garth.ts": "const a: number = '';\nexport {};\n" })));
    expect(readdirSync(`${cache}/type-check`)).toEqual([]);
    await check(project({ "garth.ts": HELLO }));
    expect(readdirSync(`${cache}/type-check`)).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
  });

  test("are not checked where there is no compiler", async () => {
    const cache = `${root}/cache-${++count}`;
    const check = startTypeCheck(host, root, readSources(host, `${project({ "garth.ts": HELLO })}/garth.ts`), cache);
    expect(check.state).toBe("absent");
    await check.passed;
    expect(existsSync(cache)).toBe(false);
  });
});

const program = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");

describe("the digest of a project", () => {
  const files = {
    "garth.ts": `import type { T } from "./types.ts";\nimport("./late.ts");\n// from "./absent.ts"\nexport * from "../shared-COUNT/index.ts";\n`,
    "types.ts": `import "./garth.ts";\nexport type T = 1;\n`,
    "late.ts": "export {};\n",
  };
  const make = (change: Readonly<Record<string, string>> = {}, shared = "export const x = 1;\n") => {
    const directory = project({ ...files, ...change, "below/x": "" });
    mkdirSync(`${directory}/../shared-COUNT`, { recursive: true });
    writeFileSync(`${directory}/../shared-COUNT/index.ts`, shared);
    return readSources(host, `${directory}/garth.ts`);
  };

  test("is over everything it imports, also types and what is imported late, each once", () => {
    const { files } = make();
    expect(files.map((file) => file.slice(root.length).replace(/project-\d+/, "project")).toSorted()).toEqual([
      "/project/garth.ts",
      "/project/late.ts",
      "/project/types.ts",
      "/shared-COUNT/index.ts",
    ]);
  });

  test("is the same in another directory, and another for every change", () => {
    const { digest } = make();
    expect(make().digest).toBe(digest);
    const changes = [make({ "types.ts": "export type T = 2;\n" }), make({ "late.ts": "" }), make({}, "export const x = 2;\n")];
    expect(new Set([digest, ...changes.map((each) => each.digest)]).size).toBe(4);
  });
});
