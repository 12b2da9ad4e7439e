import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { Problem, sha256, storePath, type StorePath } from "../base/index.ts";
import { golden, thrownProblem } from "../base/testing.ts";
import type { ElfInfo } from "../formats/index.ts";
import {
  type Abi,
  abiOfElf,
  abiString,
  composeGoal,
  composeItem,
  declaredAbi,
  describePackage,
  isItemPackage,
  itemPackageName,
  type ItemTree,
  legacyArch,
  package_,
  planArchive,
  renderManifest,
  repository,
  shlibSuffix,
  type TreeEntry,
  validateManifest,
} from "./index.ts";
import { percentDecode, percentEncode } from "./encoding.ts";

const FREEBSD: Abi = { system: "FreeBSD", release: "15", architecture: "amd64", osVersion: 1_500_068 };
const LINUX: Abi = { system: "Linux", release: "3.2", architecture: "x86_64" };
const item = (name: string): StorePath => storePath({ kind: "flat", sha256: sha256(name), references: [] }, name);
const elf = (change: Partial<ElfInfo>): ElfInfo => ({
  bits: 64,
  endian: "little",
  machine: 62,
  type: 3,
  osAbi: 0,
  abiTag: undefined,
  interpreter: undefined,
  needed: [],
  soname: undefined,
  rpath: [],
  runpath: [],
  ...change,
});
const directory = (path: string): TreeEntry => ({ path, type: "directory", mode: 0o555, sizeBytes: 0 });
const file = (path: string, more: Partial<TreeEntry> = {}): TreeEntry => ({
  path,
  type: "file",
  mode: 0o444,
  sizeBytes: path.length,
  sha256: sha256(path),
  ...more,
});
const symlink = (path: string, target: string): TreeEntry => ({
  path,
  type: "symlink",
  mode: 0o755,
  sizeBytes: target.length,
  target,
});

const GREET = item("greet-1.0");
const LIBRARY: ItemTree = {
  path: GREET,
  references: [],
  entries: [
    directory(""),
    directory("lib"),
    symlink("lib/libgreet.so", "libgreet.so.1"),
    file("lib/libgreet.so.1", { elf: elf({ soname: "libgreet.so.1", needed: ["libc.so.6"] }) }),
    directory("lib/plugins"),
    file("lib/plugins/loud.so", { elf: elf({ soname: "loud.so", needed: ["libgreet.so.1", "libm.so.6"] }) }),
    directory("include"),
    file("include/greet.h"),
    directory("share"),
    directory("share/info"),
    file("share/info/dir"),
    file("share/info/größe.info"),
    directory("share/garth"),
    file("share/garth/source"),
  ],
};
const PROGRAM: ItemTree = {
  path: item("hail-2.0"),
  references: [GREET],
  entries: [
    directory(""),
    directory("bin"),
    file("bin/hail", { mode: 0o555, elf: elf({ needed: ["libgreet.so.1", "libc.so.6"], runpath: [`${GREET}/lib`] }) }),
    file("bin/old", { mode: 0o555, elf: elf({ bits: 32, machine: 3, needed: ["libc.so.6"] }) }),
    directory("share"),
    file("share/hail.conf"),
  ],
};
const carried = new Set(LIBRARY.entries.map(({ path }) => `${GREET}/${path}`));
const facts = (name: string, version: string) => ({
  name,
  version,
  metadata: {
    comment: "Greets",
    description: "",
    homepage: "",
    maintainer: "",
    licenses: ["MIT", "BSD2CLAUSE"],
    categories: [],
    origin: "",
  },
});

describe("ABI", () => {
  test("is computed as pkg does", () => {
    expect(abiOfElf(elf({ abiTag: { system: "FreeBSD", osVersion: 1_500_068 } }))).toEqual(FREEBSD);
    expect(abiOfElf(elf({ abiTag: { system: "Linux", major: 3, minor: 2, patch: 0 } }))).toEqual(LINUX);
    expect(abiOfElf(elf({}))).toBeUndefined();
    expect(abiOfElf(elf({ machine: 9999, abiTag: { system: "FreeBSD", osVersion: 1_500_068 } }))).toBeUndefined();
  });
  test("in both forms", () => {
    const forms = [
      ["FreeBSD:15:amd64", "freebsd:15:x86:64"],
      ["FreeBSD:15:aarch64", "freebsd:15:aarch64:64"],
      ["FreeBSD:14:i386", "freebsd:14:x86:32"],
      ["FreeBSD:15:*", "freebsd:15:*"],
      ["Linux:3.2:x86_64", "linux:3.2:x86_64"],
      ["Linux:3.7:aarch64", "linux:3.7:aarch64:64"],
    ] as const;
    for (const [abi, arch] of forms) expect(legacyArch(abi)).toBe(arch);
    expect(abiString(FREEBSD)).toBe("FreeBSD:15:amd64");
  });
  test("marks libraries that are not for the machine itself", () => {
    const linux = elf({ abiTag: { system: "Linux", major: 3, minor: 2, patch: 0 } });
    expect(shlibSuffix(linux, "Linux:3.2:x86_64")).toBe("");
    expect(shlibSuffix(linux, "FreeBSD:15:amd64")).toBe(":Linux");
    expect(shlibSuffix({ ...linux, bits: 32, machine: 3 }, "FreeBSD:15:amd64")).toBe(":Linux:32");
    expect(shlibSuffix(elf({ bits: 32, machine: 3 }), "FreeBSD:15:amd64")).toBe(":32");
    expect(shlibSuffix(elf({ machine: 183 }), "FreeBSD:15:amd64")).toBeUndefined();
    expect(shlibSuffix(elf({ osAbi: 9 }), "Linux:3.2:x86_64")).toBeUndefined();
  });
});

const matches = (name: string, text: string) => expect(text).toBe(golden(join(import.meta.dir, "golden", name), text));

describe("packages of items", () => {
  const library = composeItem(LIBRARY, LINUX, (path) => carried.has(path)).manifest;
  const program = composeItem(PROGRAM, LINUX, (path) => carried.has(path)).manifest;
  test("carry everything under its own name, and pass the linter", () => {
    matches("item.json", `${renderManifest(library)}\n`);
    expect(validateManifest(library)).toEqual([]);
    const mark = `/frx/store/.packaged/${GREET.slice("/frx/store/".length)}`;
    expect(library.files.map(({ path }) => path).filter((path) => !path.startsWith(`${GREET}/`))).toEqual([mark]);
    expect(isItemPackage(library.name)).toBe(true);
  });
  test("depend on the packages of what they refer to, by hash", () => {
    expect(Object.keys(program.deps)).toEqual([itemPackageName(GREET)]);
    expect(itemPackageName(GREET)).toMatch(/^garth-item-[0-9a-f]{16}-greet-1\.0$/);
  });
  test("require of the system what neither they nor a dependency bring", () => {
    expect(library.shlibsRequired).toEqual(["libc.so.6", "libm.so.6"]);
    expect(program.shlibsRequired).toEqual(["libc.so.6", "libc.so.6:32"]);
    expect(composeItem(PROGRAM, LINUX, () => false).manifest.shlibsRequired).toContain("libgreet.so.1");
  });
  test("of the same item are the same, whoever asks", () => {
    const again = composeItem({ ...LIBRARY, entries: LIBRARY.entries.toReversed() }, LINUX, (path) => carried.has(path));
    expect(renderManifest(again.manifest)).toBe(renderManifest(library));
  });
});

describe("goal packages", () => {
  const description = describePackage(
    { revision: 1, config: { "etc/hail.conf": "share/hail.conf" }, scripts: { "post-install": "echo 100%\n" } },
    facts("hail", "2.0"),
  );
  const goal = composeGoal(description, PROGRAM, FREEBSD);
  test("link from the prefix, copy configuration, and own nothing in the store", () => {
    matches("goal.json", `${renderManifest(goal.manifest)}\n`);
    expect(validateManifest(goal.manifest)).toEqual([]);
    expect(goal.manifest.files.some(({ path }) => path.startsWith("/frx/"))).toBe(false);
    expect(goal.manifest.deps[itemPackageName(PROGRAM.path)]).toBeDefined();
    expect(goal.contents.get("/usr/local/etc/hail.conf")).toEqual({ item: PROGRAM.path, file: "share/hail.conf" });
  });
  test("provide the libraries the loader finds under the prefix, and leave out what clashes", () => {
    const shown = composeGoal(describePackage({}, facts("greet", "1.0")), LIBRARY, LINUX).manifest;
    expect(shown.shlibsProvided).toEqual(["libgreet.so.1"]);
    expect(shown.files.map(({ path }) => path)).toEqual([
      "/usr/local/include/greet.h",
      "/usr/local/lib/libgreet.so",
      "/usr/local/lib/libgreet.so.1",
      "/usr/local/lib/plugins/loud.so",
      "/usr/local/share/info/größe.info",
    ]);
  });
  test("two goals of one item, or a goal and a dependency, share no file", () => {
    const paths = [
      goal.manifest,
      composeItem(PROGRAM, FREEBSD, () => true).manifest,
      composeItem(LIBRARY, FREEBSD, () => true).manifest,
    ].flatMap(({ files }) => files.map((entry) => entry.path));
    expect(new Set(paths).size).toBe(paths.length);
  });
  test("say what is wrong with a declaration", () => {
    const code = (fields: Parameters<typeof package_>[1]): string => {
      try {
        composeGoal(describePackage(package_({}, fields), facts("hail", "2.0")), PROGRAM, LINUX);
        return "nothing was refused";
      } catch (error) {
        return error instanceof Problem ? `${error.code} ${error.exit}` : String(error);
      }
    };
    expect(code({})).toBe("nothing was refused");
    for (const fields of [
      { name: "a b" },
      { version: "1 2" },
      { prefix: "usr" },
      { prefix: "/a/../b" },
      { revision: -1 },
      { epoch: 0.5 },
      { config: { "../x": "share/hail.conf" } },
      { config: { "etc/x": "../../etc/shadow" } },
      { config: { "etc/x": "share/none" } },
    ]) {
      expect([fields, code(fields)]).toEqual([fields, "E_BAD_PACKAGE 2"]);
    }
  });
  test("show of etc what nobody edits, and what rc(8) starts", () => {
    const paths = ["etc/rc.d/hail", "etc/hail/hail.conf.sample", "etc/hail/hail.conf", "etc/secret"];
    const entries = paths.map((path) => ({ path, type: "file" as const, mode: 0o555, sizeBytes: 1, sha256: "0".repeat(64) }));
    const shown = composeGoal(describePackage({}, facts("hail", "2.0")), { ...PROGRAM, entries }, FREEBSD).manifest;
    expect(shown.files.map(({ path }) => path)).toEqual(["/usr/local/etc/hail/hail.conf.sample", "/usr/local/etc/rc.d/hail"]);
  });
  test("are for the system that their declaration names, which is one", () => {
    expect(declaredAbi({}, "hail")).toBeUndefined();
    const abi = declaredAbi({ abi: "FreeBSD:15:aarch64" }, "hail");
    expect(abi).toEqual({ system: "FreeBSD", release: "15", architecture: "aarch64" });
    expect(abi && [abiString(abi), legacyArch(abiString(abi))]).toEqual(["FreeBSD:15:aarch64", "freebsd:15:aarch64:64"]);
    expect(declaredAbi({ abi: "Linux:3.2:x86_64" }, "hail")).toMatchObject({ system: "Linux", release: "3.2" });
    for (const wrong of ["", "*", "FreeBSD:15", "FreeBSD:15:*", "NetBSD:10:amd64", "FreeBSD:15:amd64 "]) {
      expect(thrownProblem(() => declaredAbi({ abi: wrong }, "hail"))).toMatchObject({ code: "E_BAD_PACKAGE", exit: 2 });
    }
  });
  test("versions with revision, epoch and dashes", () => {
    const version = (fields: Parameters<typeof describePackage>[0], recipe: string): string =>
      describePackage(fields, facts("x", recipe)).version;
    expect(version({ revision: 2, epoch: 1 }, "1.0")).toBe("1.0_2,1");
    expect(version({}, "1.0-rc1")).toBe("1.0.rc1");
  });
});

test("the archive: manifests, then files by path under absolute names, directories last", () => {
  const plan = planArchive(composeItem(LIBRARY, LINUX, () => true).manifest);
  const mark = `/frx/store/.packaged/${GREET.slice("/frx/store/".length)}`;
  expect(plan.map(({ member }) => member.path.replace(GREET, "ITEM"))).toEqual([
    "+COMPACT_MANIFEST",
    "+MANIFEST",
    mark,
    "ITEM/include/greet.h",
    "ITEM/lib/libgreet.so",
    "ITEM/lib/libgreet.so.1",
    "ITEM/lib/plugins/loud.so",
    "ITEM/share/garth/source",
    "ITEM/share/info/dir",
    "ITEM/share/info/größe.info",
    "ITEM",
    "ITEM/include",
    "ITEM/lib",
    "ITEM/lib/plugins",
    "ITEM/share",
    "ITEM/share/garth",
    "ITEM/share/info",
  ]);
});

test("a repository takes recipes and packages", () => {
  const recipe = { kind: "recipe" };
  const declared = repository({ name: "main", packages: [recipe, package_(recipe, { revision: 1 })] });
  expect(declared.packages.map(({ source, revision }) => [source, revision])).toEqual([
    [recipe, undefined],
    [recipe, 1],
  ]);
  expect(() => repository({ name: "../x", packages: [] })).toThrow("name");
  expect(() => repository({ name: "x", packages: [], keepVersions: 0 })).toThrow("keepVersions");
});

test("percent encoding comes back and is ASCII", () => {
  expect(percentEncode("größe 100%")).toBe("gr%c3%b6%c3%9fe 100%25");
  expect(percentDecode("a%2")).toBe("a%2");
  expect(percentDecode("%ff")).toBeUndefined();
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      fc.pre(text.isWellFormed());
      // oxlint-disable-next-line no-control-regex -- the whole of ASCII is meant
      expect(percentEncode(text)).toMatch(/^[\x00-\x7f]*$/);
      expect(percentDecode(percentEncode(text))).toBe(text);
    }),
  );
});
