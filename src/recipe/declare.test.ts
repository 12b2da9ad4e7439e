import { describe, expect, test } from "bun:test";
import { Problem } from "../base/index.ts";
import { besideCaller } from "./errors.ts";
import {
  alternatives,
  autotools,
  cmake,
  debianSource,
  debianWorld,
  fetchGit,
  fetchurl,
  hostView,
  InvalidField,
  localTree,
  make,
  npmTarball,
  script,
} from "./index.ts";

const SHA = "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b";

/** Hands a value over as if it came from a file that was not type-checked. */
function untyped(constructor: unknown, ...options: readonly unknown[]): Problem {
  if (typeof constructor !== "function") throw new TypeError("not a constructor");
  try {
    constructor(...options);
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

describe("a field that is wrong is named, with what it should be and what it is", () => {
  const source = fetchurl({ urls: ["https://example.org/a-1.tar.gz"], sha256: SHA });
  const library = script({ name: "zlib", script: "true" });
  const cases: readonly (readonly [string, unknown, unknown, string, (string | undefined)?])[] = [
    ["a name is missing", autotools, { version: "1" }, "autotools: name: expected a value: the field is required, found nothing"],
    ["no options at all", autotools, undefined, "autotools: expected an object, found nothing"],
    ["a wrong type", autotools, { name: "a", check: "yes" }, `a: check: expected true or false, found the text "yes"`],
    [
      "a list element",
      autotools,
      { name: "hello", inputs: [library, library, "zlib"] },
      `hello: inputs[2]: expected a recipe, found the text "zlib"`,
    ],
    ["a record member", make, { name: "a", env: { CFLAGS: 2 } }, "a: env.CFLAGS: expected a text, found the number 2"],
    [
      "a misspelt field",
      autotools,
      { name: "a", chek: true },
      "a: chek: expected no field of this name, found true",
      "did you mean check?",
    ],
    [
      "a misspelt nested field",
      make,
      { name: "a", limits: { memory: 1 } },
      "a: limits.memory: expected no field of this name, found the number 1",
      "the fields are logBytes, memoryBytes, openFiles, outputBytes, processes, silenceMs, wallClockMs",
    ],
    [
      "a field of another build system",
      cmake,
      { name: "a", configureFlags: [] },
      "a: configureFlags: expected no field of this name, found an empty list",
    ],
    [
      "a phase that is none",
      autotools,
      { name: "a", phases: { compile: "" } },
      `a: phases.compile: expected no field of this name, found the text ""`,
    ],
    [
      "a limit of zero",
      make,
      { name: "a", limits: { processes: 0 } },
      "a: limits.processes: expected a whole number above 0, found the number 0",
    ],
    [
      "a source that is a text",
      make,
      { name: "a", source: "https://example.org" },
      `a: source: expected a source (fetchurl, fetchGit, localTree, debianSource, npmTarball), found the text "https://example.org"`,
    ],
    [
      "a recipe for a source",
      make,
      { name: "a", source: library },
      "a: source: expected a source (fetchurl, fetchGit, localTree, debianSource, npmTarball), found a recipe",
    ],
    [
      "a source for a recipe",
      make,
      { name: "a", inputs: { src2: source } },
      "a: inputs.src2: expected a recipe, found a source (fetchurl)",
    ],
    ["outputs without out", make, { name: "a", outputs: ["lib"] }, `a: outputs[0]: expected "out", found the text "lib"`],
    [
      "an output twice",
      make,
      { name: "a", outputs: ["out", "dev", "dev"] },
      "a: outputs: expected a list without doubles, found a list of 3",
    ],
    [
      "a probe outside the output",
      make,
      { name: "a", probe: { argv: ["../sh"] } },
      'a: probe.argv[0]: expected a relative path without `..`, found the text "../sh"',
    ],
    [
      "an option for one system",
      make,
      { name: "a", perSystem: { "x86_64-freebsd": { check: 1 } } },
      `a: perSystem["x86_64-freebsd"].check: expected true or false, found the number 1`,
    ],
    [
      "an unknown system",
      make,
      { name: "a", perSystem: { bsd: {} } },
      "a: perSystem.bsd: expected no field of this name, found an object with no fields",
    ],
    [
      "a build root that is a text",
      make,
      { name: "a", buildRoot: "bookworm" },
      `a: buildRoot: expected debianWorld(...) or hostView(...), found the text "bookworm"`,
    ],
    ["a script that is missing", script, { name: "a" }, "a: script: expected a value: the field is required, found nothing"],
    [
      "a NUL in a text",
      make,
      { name: "a", env: { A: "a\0b" } },
      `a: env.A: expected a text without NUL characters, found the text "a\\u0000b"`,
    ],
    [
      "half a character",
      make,
      { name: "a", env: { A: "\uD800" } },
      'a: env.A: expected a text of whole Unicode characters, found the text "\\ud800"',
    ],
    [
      "a name for the store",
      make,
      { name: "a b" },
      `a b: name: expected a name of letters, digits and + - . _, found the text "a b"`,
    ],
    ["a null", make, { name: "a", check: null }, "a: check: expected true or false, found null"],
    ["no mirror", fetchurl, { urls: [], sha256: SHA }, "fetchurl: urls: expected a list of at least 1, found an empty list"],
    [
      "no URL",
      fetchurl,
      { urls: ["ftp://ftp.gnu.org/a"], sha256: SHA },
      `fetchurl: urls[0]: expected an http, https or file URL, found the text "ftp://ftp.gnu.org/a"`,
    ],
    [
      "a sum in capitals",
      fetchurl,
      { urls: ["https://a/b"], sha256: SHA.toUpperCase() },
      `fetchurl: sha256: expected a SHA-256 as 64 lowercase hexadecimal digits, found the text "${SHA.toUpperCase().slice(0, 57)}..."`,
    ],
    [
      "a URL that names no file",
      fetchurl,
      { urls: ["https://example.org/?a=b"], sha256: SHA },
      'fetchurl: expected `name`, because the first URL does not end in a usable file name, found the text "https://example.org/?a=b"',
    ],
    [
      "a branch for a commit",
      fetchGit,
      { url: "https://a/b.git", commit: "main" },
      `fetchGit: commit: expected a whole commit id of 40 or 64 lowercase hexadecimal digits, found the text "main"`,
    ],
    [
      "a version range",
      npmTarball,
      { package: "left-pad", version: "^1.0.0", integrity: "" },
      `npmTarball: version: expected a version of three numbers, not a range, found the text "^1.0.0"`,
    ],
    [
      "an option of apt",
      debianSource,
      { package: "-oDebug=1", version: "1", sha256: SHA },
      `debianSource: package: expected the name of a Debian source package, found the text "-oDebug=1"`,
    ],
    [
      "an option in place of a URL",
      fetchGit,
      { url: "-oProxyCommand=x@host:path", commit: "0".repeat(40) },
      `fetchGit: url: expected a URL of a git repository, found the text "-oProxyCommand=x@host:path"`,
    ],
    ["an empty local tree", localTree, "", `localTree: path: expected a text that is not empty, found the text ""`],
    [
      "a policy that is none",
      debianWorld,
      { name: "w", suite: "bookworm", packages: [], policy: "refesh" },
      `debianWorld: policy: expected "strict" or "refresh", found the text "refesh"`,
      "did you mean refresh?",
    ],
    ["a relative host path", hostView, { paths: ["usr"] }, `hostView: paths[0]: expected an absolute path, found the text "usr"`],
  ];
  for (const [what, constructor, options, message, hint] of cases) {
    test(what, () => {
      const problem = untyped(constructor, options);
      expect(problem.code).toBe("E_RECIPE_INVALID");
      expect(problem.message).toBe(message);
      expect(problem.exit).toBe(2);
      expect(problem.where).toMatch(/\/declare\.test\.ts:\d+$/);
      if (hint !== undefined) expect(problem.hint).toBe(hint);
    });
  }

  test("alternatives of different names", () => {
    const problem = untyped(alternatives, library, script({ name: "other", script: "true" }));
    expect(problem.message).toBe(`alternatives[1]: expected a recipe with the name of the first, zlib, found the text "other"`);
  });
});

test("the problem's cause leads to the field", () => {
  const problem = untyped(autotools, { name: "hello", env: { A: 1 } });
  const { cause } = problem;
  if (!(cause instanceof InvalidField)) throw new Error("the cause does not say where");
  expect(cause.call).toBe("autotools");
  expect(cause.path).toEqual(["env", "A"]);
  expect(cause.file).toBe(import.meta.path);
});

test("undefined counts as absent", () => {
  const declared: unknown = Reflect.apply(make, undefined, [{ name: "a", check: undefined, inputs: undefined }]);
  expect(declared).toMatchObject({ kind: "declaration", name: "a", version: "" });
});

test("relative paths are relative to the file that says them", () => {
  const directory = import.meta.dir;
  expect(localTree("./golden")).toEqual({ fetcher: "localTree", name: "golden", path: `${directory}/golden`, exclude: [".git"] });
  expect(localTree({ path: "../pkg/", exclude: ["*.o"] })).toMatchObject({
    path: directory.replace(/recipe$/, "pkg"),
    exclude: [".git", "*.o"],
  });
  expect(localTree("/usr/src")).toMatchObject({ path: "/usr/src", name: "src" });
  expect(debianWorld({ name: "w", suite: "bookworm", packages: ["make", "gcc", "make"] })).toEqual({
    kind: "debian-world",
    name: "w",
    suite: "bookworm",
    packages: ["gcc", "make"],
    lock: `${directory}/debian.lock`,
    policy: "strict",
  });
});

test("a relative path of nobody is refused", () => {
  const site = new Error("from nowhere");
  site.stack = "Error: from nowhere\n    at native code";
  expect(() => besideCaller("localTree", "path", site, "./src")).toThrow("localTree: path: expected an absolute path");
  expect(besideCaller("localTree", "path", site, "/usr/./src/../lib")).toBe("/usr/lib");
});

test("names of sources in the store", () => {
  expect(fetchurl({ urls: ["https://a/b/hello-2.10.tar.gz?raw=1"], sha256: SHA }).name).toBe("hello-2.10.tar.gz");
  expect(fetchGit({ url: "https://a/b/tool.git", commit: "0".repeat(40) }).name).toBe("tool-000000000000");
  expect(debianSource({ package: "hello", version: "2.10", sha256: SHA }).name).toBe("hello_2.10.orig.tar");
  const integrity = `sha512-${"A".repeat(86)}==`;
  expect(npmTarball({ package: "@types/node", version: "1.0.0", integrity }).name).toBe("types-node-1.0.0.tgz");
});
