import { describe, expect, test } from "bun:test";
import { dirname } from "node:path";
import { thrownProblem } from "../base/testing.ts";
import { fetchurl, hostView, locationOf, script } from "../recipe/index.ts";
import { isSlice, isWorldDeclaration, slice, slices, world } from "./index.ts";

const HERE = dirname(import.meta.path);
const SHA = "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b";
const base = world({ name: "base", directory: "/srv/base" });

/** Hands a value over as if it came from a file that was not type-checked. */
function refused(constructor: unknown, ...options: readonly unknown[]): string {
  if (typeof constructor !== "function") throw new TypeError("not a constructor");
  const { code, message, where } = thrownProblem(() => constructor(...options));
  expect(code).toBe("E_RECIPE_INVALID");
  expect(where).toMatch(/^\/.*\/src\/world\/declare\.test\.ts:\d+$/);
  return message;
}

describe("a world", () => {
  test("of Debian packages is the source that a build root is made of, for the purpose of a system", () => {
    const { origin, label } = world({ name: "guest", debian: { suite: "bookworm", packages: ["make", "gcc", "make"] } });
    expect(label).toBe("bookworm");
    expect(origin).toEqual({
      kind: "debian",
      source: {
        kind: "debian-world",
        purpose: "system",
        name: "guest",
        suite: "bookworm",
        packages: ["gcc", "make"],
        lock: `${HERE}/guest.lock`,
        policy: "strict",
      },
    });
  });

  test("of a directory or an archive lies beside the project file, or where an absolute path says", () => {
    expect(world({ name: "a", directory: "../tree" }).origin).toEqual({ kind: "directory", path: `${dirname(HERE)}/tree` });
    expect(world({ name: "a", archive: "base.txz" }).origin).toEqual({ kind: "archive", source: { path: `${HERE}/base.txz` } });
    expect(world({ name: "a", archive: "/b.tar", label: "15.0-STABLE" })).toMatchObject({
      label: "15.0-STABLE",
      origin: { source: { path: "/b.tar" } },
    });
    const source = fetchurl({ urls: ["https://example.org/base.txz"], sha256: SHA });
    expect(world({ name: "a", archive: source }).origin).toEqual({ kind: "archive", source });
  });

  test("of a recipe is what the recipe makes", () => {
    const recipe = script({ name: "tree", buildRoot: hostView(), script: "mkdir $out/usr" });
    expect(world({ name: "a", recipe })).toMatchObject({ label: "local", origin: { kind: "recipe", recipe } });
    const message = refused(world, { name: "a", recipe: fetchurl({ urls: ["https://example.org/base.txz"], sha256: SHA }) });
    expect(message).toStartWith("world a: recipe: expected a recipe, found ");
  });

  test("of FreeBSD's sets has them in their order, and the MANIFEST that names them", () => {
    const source = fetchurl({ urls: ["https://example.org/kernel.txz"], sha256: SHA });
    const sets = { manifest: "15.1/MANIFEST", archives: { "base.txz": "15.1/base.txz", "kernel.txz": source } };
    expect(world({ name: "a", label: "15.1-RELEASE", sets }).origin).toEqual({
      kind: "sets",
      manifest: { path: `${HERE}/15.1/MANIFEST` },
      archives: [
        { name: "base.txz", source: { path: `${HERE}/15.1/base.txz` } },
        { name: "kernel.txz", source },
      ],
    });
  });

  test("of FreeBSD's packages has each name once, and its repository beside the project file or at its address", () => {
    const trust = { fingerprints: [SHA] };
    const from = (url: string): unknown =>
      world({
        name: "a",
        packages: { repository: { kind: "remote-repository", url, trust }, names: ["FreeBSD-runtime", "FreeBSD-runtime"] },
      }).origin;
    for (const [url, wanted] of [
      ["base", `${HERE}/base`],
      ["https://example.org/base_latest", "https://example.org/base_latest"],
    ] as const) {
      expect(from(url)).toEqual({
        kind: "packages",
        repository: { kind: "remote-repository", url: wanted, trust },
        packages: ["FreeBSD-runtime"],
      });
    }
  });

  test("knows the line it was declared in", () => {
    const line = Number(/declare\.test\.ts:(\d+)/.exec(new Error("here").stack ?? "")?.[1]);
    const declared = world({ name: "a", directory: "/a" });
    expect(locationOf(declared.site)).toEqual({ file: import.meta.path, line: line + 1 });
    expect(locationOf(slice(declared, { role: "boot" }).site)?.line).toBe(line + 3);
    expect(locationOf(slices(declared).kernel.site)?.line).toBe(line + 4);
  });

  const faults: readonly (readonly [string, unknown, string])[] = [
    ["nothing", undefined, "world: expected an object, found nothing"],
    ["no name", { directory: "/a" }, "world: name: expected a value: the field is required, found nothing"],
    [
      "a name with a slash",
      { name: "a/b", directory: "/a" },
      'world a/b: name: expected a name of letters, digits and + . _ -, found the text "a/b"',
    ],
    [
      "no origin",
      { name: "a" },
      "world a: expected one of debian, directory, archive, item, sets, packages and recipe, found nothing",
    ],
    [
      "two origins",
      { name: "a", directory: "/a", archive: "/b" },
      'world a: expected one of debian, directory, archive, item, sets, packages and recipe, found the text "directory and archive"',
    ],
    ["a misspelt field", { name: "a", dir: "/a" }, 'world a: dir: expected no field of this name, found the text "/a"'],
    [
      "no packages",
      { name: "a", debian: { suite: "sid", packages: [] } },
      "world a: debian.packages: expected a list of at least 1, found an empty list",
    ],
    [
      "packages of nobody",
      { name: "a", packages: { repository: { kind: "remote-repository", url: "/r" }, names: ["x"] } },
      "world a: packages.repository.trust: expected a value: the field is required, found nothing",
    ],
    [
      "a package that is none",
      { name: "a", debian: { suite: "sid", packages: ["gcc", "-y"] } },
      'world a: debian.packages[1]: expected the name of a Debian package, found the text "-y"',
    ],
    [
      "a suite with an option in it",
      { name: "a", debian: { suite: "--sid", packages: ["gcc"] } },
      'world a: debian.suite: expected the name of a Debian suite, found the text "--sid"',
    ],
    [
      "a policy that is none",
      { name: "a", debian: { suite: "sid", packages: ["gcc"], policy: "lax" } },
      'world a: debian.policy: expected "strict" or "refresh", found the text "lax"',
    ],
    [
      "no set",
      { name: "a", sets: { manifest: "MANIFEST", archives: {} } },
      "world a: expected at least one set in sets.archives, found an object with no fields",
    ],
    [
      "a set in a directory",
      { name: "a", sets: { manifest: "MANIFEST", archives: { "a/base.txz": "base.txz" } } },
      'world a: sets.archives["a/base.txz"]: expected the name of a set, as the MANIFEST has it: base.txz, found the text "a/base.txz"',
    ],
    [
      "a recipe for an archive",
      { name: "a", archive: { kind: "declaration" } },
      "world a: archive: expected a source (fetchurl, fetchGit, localTree, debianSource, npmTarball), found a recipe",
    ],
    [
      "an empty directory",
      { name: "a", directory: "" },
      'world a: directory: expected a text that is not empty, found the text ""',
    ],
  ];
  for (const [what, options, message] of faults) {
    test(`with ${what} is refused by the field`, () => expect(refused(world, options)).toBe(message));
  }
});

describe("a slice", () => {
  test("has the name of its world and its role, unless it is given one, and keeps everything unless it says what", () => {
    expect(slice(base, { role: "kernel" })).toMatchObject({
      world: base,
      role: "kernel",
      name: "base-kernel",
      keep: [],
      prune: [],
    });
    expect(slice(base, { role: "runtime", name: "small", keep: ["usr"], prune: ["usr/**/*.pyc"] })).toMatchObject({
      name: "small",
      keep: ["usr"],
      prune: ["usr/**/*.pyc"],
    });
    expect(isSlice(slice(base, { role: "boot" }))).toBe(true);
    expect([isSlice(base), isWorldDeclaration(base), isSlice(undefined)]).toEqual([false, true, false]);
  });

  for (const family of ["linux", "freebsd"] as const) {
    test(`the four of ${family} have a role each, and a list for what they keep or leave out`, () => {
      const four = slices(base, family);
      expect(Object.entries(four).map(([role, each]) => [role, each.role, each.name])).toEqual(
        ["kernel", "boot", "runtime", "development"].map((role) => [role, role, `base-${role}`]),
      );
      for (const each of Object.values(four)) expect(each.keep.length + each.prune.length).toBeGreaterThan(0);
    });
  }

  const faults: readonly (readonly [string, readonly unknown[], string])[] = [
    ["no world", [undefined, { role: "boot" }], "slice boot: expected a world: what world({ ... }) returned, found nothing"],
    [
      "a slice of a slice",
      [slice(base, { role: "boot" }), { role: "boot" }],
      'slice boot: expected a world: what world({ ... }) returned, found an object of kind "slice"',
    ],
    ["no role", [base, {}], "slice: role: expected a value: the field is required, found nothing"],
    [
      "a role that is none",
      [base, { role: "run" }],
      'slice run: role: expected "kernel" or "boot" or "runtime" or "development", found the text "run"',
    ],
    [
      "an absolute path",
      [base, { role: "boot", keep: ["boot", "/usr"] }],
      'slice boot: keep[1]: expected a path relative to the root of the world, without slashes at its ends, found the text "/usr"',
    ],
    [
      "a slash at the end",
      [base, { role: "boot", prune: ["usr/"] }],
      'slice boot: prune[0]: expected a path relative to the root of the world, without slashes at its ends, found the text "usr/"',
    ],
    [
      "a way up",
      [base, { role: "boot", keep: ["usr/../etc"] }],
      'slice boot: keep[0]: expected a path without empty parts, . and .., found the text "usr/../etc"',
    ],
    [
      "an empty pattern",
      [base, { role: "boot", keep: [""] }],
      'slice boot: keep[0]: expected a text that is not empty, found the text ""',
    ],
    ["a text for a list", [base, { role: "boot", keep: "usr" }], 'slice boot: keep: expected a list, found the text "usr"'],
  ];
  for (const [what, options, message] of faults) {
    test(`with ${what} is refused by the field`, () => expect(refused(slice, ...options)).toBe(message));
  }
});
