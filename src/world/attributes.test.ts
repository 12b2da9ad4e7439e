import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import fc from "fast-check";
import { thrownProblem } from "../base/testing.ts";
import {
  type Attributes,
  attributesOf,
  type AttributeTable,
  type ListedEntry,
  parseAttributes,
  parseTarList,
  renderAttributes,
} from "./index.ts";

const scratch = fs.mkdtempSync(`${tmpdir()}/garth-attributes-`);
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

const entry = (path: string, more: Partial<ListedEntry> = {}): ListedEntry => ({
  path,
  type: "file",
  executable: false,
  sizeBytes: 0,
  ...more,
});

describe("attributes of a tree", () => {
  test("only what is not as usual is said, sorted by path whatever order the listing has", () => {
    const listing = [
      entry("usr/bin/su", { executable: true }),
      entry("etc/shadow"),
      entry("etc/passwd"),
      entry("tmp", { type: "directory", executable: true }),
      entry("bin", { type: "symlink" }),
    ];
    const table = new Map<string, Attributes>([
      ["usr/bin/su", { mode: 0o4755, uid: 0, gid: 0 }],
      ["etc/shadow", { mode: 0o640, uid: 0, gid: 42 }],
      ["etc/passwd", { mode: 0o644, uid: 0, gid: 0 }],
      ["tmp", { mode: 0o1777, uid: 0, gid: 0 }],
      ["bin", { mode: 0o777, uid: 0, gid: 0 }],
      ["gone", { mode: 0o600, uid: 0, gid: 0 }],
    ]);
    const text = [
      "#mtree",
      "./etc/shadow type=file mode=0640 uid=0 gid=42",
      "./tmp type=dir mode=01777 uid=0 gid=0",
      "./usr/bin/su type=file mode=04755 uid=0 gid=0",
      "",
    ].join("\n");
    expect(renderAttributes(table, listing)).toBe(text);
    expect(renderAttributes(table, listing.toReversed())).toBe(text);
  });

  test("come back for every path as they were", () => {
    const part = fc.string({ unit: "binary", minLength: 1, maxLength: 6 }).map((text) => text.replaceAll(/[/\0]/g, "x"));
    const name = part.filter((text) => text !== "." && text !== "..");
    const owner = fc.integer({ min: 0, max: 70_000 });
    const found = fc.record({
      path: fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/")),
      type: fc.constantFrom("file" as const, "directory" as const, "symlink" as const),
      executable: fc.boolean(),
      mode: fc.oneof(fc.constantFrom(0o644, 0o755), fc.integer({ min: 0, max: 0o7777 })),
      uid: fc.oneof(fc.constant(0), owner),
      gid: fc.oneof(fc.constant(0), owner),
    });
    fc.assert(
      fc.property(fc.uniqueArray(found, { selector: ({ path }) => path }), (all) => {
        const listing = all.map(({ path, type, executable }) => entry(path, { type, executable }));
        const table = new Map(
          all.map(({ path, type, mode, uid, gid }) => [path, { mode: type === "symlink" ? 0o777 : mode, uid, gid }]),
        );
        const read = parseAttributes(renderAttributes(table, listing), "x");
        const seen = (from: AttributeTable): unknown => listing.map((each) => attributesOf(from, each.path, each));
        expect(seen(read)).toEqual(seen(table));
      }),
    );
  });

  test("a line that is none is named", () => {
    const problem = thrownProblem(() => parseAttributes("#mtree\n./a type=file mode=rw\n", "/w/.garth/attributes"));
    expect(problem.code).toBe("E_BAD_MTREE");
    expect(problem.where).toBe("/w/.garth/attributes:2");
  });
});

describe("what tar(1) lists", () => {
  const NAMES = [
    "plain",
    "with space",
    " leading and trailing ",
    "größe-日本",
    'q"uote',
    "back\\slash",
    "line\nbreak",
    "tab\t",
    "a link to b",
    "a -> b",
  ];

  function fill(tree: string): void {
    fs.mkdirSync(`${tree}/dir`, { recursive: true });
    fs.mkdirSync(`${tree}/sticky`);
    for (const name of NAMES) fs.writeFileSync(`${tree}/dir/${name}`, name);
    const modes = [0o4755, 0o2755, 0o6711, 0o4644, 0o2664, 0o1600, 0o000, 0o777, 0o6000];
    modes.forEach((mode, index) => {
      fs.writeFileSync(`${tree}/mode-${mode.toString(8)}`, "");
      fs.chownSync(`${tree}/mode-${mode.toString(8)}`, index, 1000 + index);
      fs.chmodSync(`${tree}/mode-${mode.toString(8)}`, mode);
    });
    fs.chownSync(`${tree}/sticky`, 7, 8);
    fs.chmodSync(`${tree}/sticky`, 0o3775);
    fs.linkSync(`${tree}/mode-4755`, `${tree}/second name`);
    fs.symlinkSync("mode-4755", `${tree}/symlink`);
    fs.lchownSync(`${tree}/symlink`, 3, 4);
    execFileSync("mkfifo", [`${tree}/pipe`]);
  }

  function statTree(tree: string, relative = ""): ReadonlyMap<string, Attributes> {
    const found = new Map<string, Attributes>();
    const stat = fs.lstatSync(`${tree}/${relative}`);
    if (!stat.isFIFO()) found.set(relative, { mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid });
    if (!stat.isDirectory()) return found;
    for (const name of fs.readdirSync(`${tree}/${relative}`)) {
      for (const [path, each] of statTree(tree, relative === "" ? name : `${relative}/${name}`)) found.set(path, each);
    }
    return found;
  }

  const list = (archive: string): ReadonlyMap<string, Attributes> => {
    const argv = ["--list", "--verbose", "--numeric-owner", "--quoting-style=c", "--file", archive];
    return parseTarList(
      execFileSync("tar", argv, { encoding: "utf8", env: { PATH: process.env["PATH"] ?? "", LC_ALL: "C.UTF-8" } }),
    );
  };
  const sorted = (table: ReadonlyMap<string, Attributes>): unknown => Object.fromEntries([...table].toSorted());

  const tree = `${scratch}/tree`;
  fill(tree);
  for (const [writer, options] of [
    ["tar", ["--format=gnu"]],
    ["tar", ["--format=posix"]],
    ["bsdtar", ["--format=ustar"]],
    ["bsdtar", ["--format=pax"]],
  ] as const) {
    test(`owners and modes of everything but devices, as ${writer} ${options.join(" ")} keeps them`, () => {
      const archive = `${scratch}/${writer}${options.join("")}.tar`;
      execFileSync(writer, [...options, "-cf", archive, "-C", tree, "."], {
        env: { PATH: process.env["PATH"] ?? "", LC_ALL: "C.UTF-8" },
      });
      expect(sorted(list(archive))).toEqual(sorted(statTree(tree)));
    });
  }

  test("names with and without a dot, a slash and a locale are one name", () => {
    const table = parseTarList(
      [
        'drwxr-xr-x 0/0               0 2026-01-01 00:00 "usr/"',
        '-rwsr-xr-x 0/0               9 2026-01-01 00:00 "./usr/su"',
        '-rw-r----- 0/42              9 2026-01-01 00:00 "/etc/gr\\303\\266\\303\\237e"',
        'crw-rw-rw- 0/0             1,3 2026-01-01 00:00 "./dev/null"',
        "tar: Removing leading `/' from member names",
      ].join("\n"),
    );
    expect(sorted(table)).toEqual({
      usr: { mode: 0o755, uid: 0, gid: 0 },
      "usr/su": { mode: 0o4755, uid: 0, gid: 0 },
      "etc/größe": { mode: 0o640, uid: 0, gid: 42 },
    });
  });
});
