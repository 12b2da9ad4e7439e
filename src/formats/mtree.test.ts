import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { Problem, sha256 } from "../base/index.ts";
import { thrownProblem } from "../base/testing.ts";
import { type MtreeEntry, parseMtree, renderMtree, visText } from "./index.ts";

const scratch = fs.mkdtempSync(join(tmpdir(), "garth-mtree-"));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

const bsdtar = (...args: readonly string[]): string =>
  execFileSync("bsdtar", args, { encoding: "utf8", env: { ...process.env, LC_ALL: "C.UTF-8", TZ: "UTC" } });

const byPath = (entries: readonly MtreeEntry[]): ReadonlyMap<string, MtreeEntry> =>
  new Map(entries.map((one) => [one.path, one]));

describe("writing", () => {
  test("full paths, octal modes, escapes", () => {
    expect(
      renderMtree([
        { path: "", type: "dir", mode: 0o755, uid: 0, gid: 0 },
        { path: "usr/bin/su", type: "file", mode: 0o4755, uid: 0, gid: 0 },
        { path: "a b/#=*\\ö", type: "link", mode: 0o777, uname: "root", gname: "wheel", link: "x y\n" },
        {
          path: "e",
          type: "file",
          sizeBytes: 0,
          sha256: sha256(""),
          timeSeconds: 1_700_000_000,
          nlink: 2,
          flags: ["schg", "uarch"],
        },
        { path: "null", type: "char", mode: 0, device: { major: 1, minor: 3 }, flags: [] },
        { path: "etc/rc.conf", type: "file", contents: "/tmp/rc conf" },
      ]),
    ).toBe(`#mtree
. type=dir mode=0755 uid=0 gid=0
./usr/bin/su type=file mode=04755 uid=0 gid=0
./a\\040b/\\043\\075\\052\\134\\303\\266 type=link mode=0777 uname=root gname=wheel link=x\\040y\\012
./e type=file size=0 sha256digest=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 time=1700000000.0 nlink=2 flags=schg,uarch
./null type=char mode=0000 flags=none device=native,1,3
./etc/rc.conf type=file contents='/tmp/rc conf'
`);
  });
});

describe("reading", () => {
  test("what FreeBSD's mtree -c wrote: relative names, /set, continued lines, ..", () => {
    const text = fs.readFileSync(join(import.meta.dir, "testdata/freebsd.mtree"), "utf8");
    const entries = parseMtree(text, "freebsd.mtree");
    const found = byPath(entries);
    expect(entries[0]).toEqual({ path: "", type: "dir", uid: 0, gid: 0, mode: 0o755, nlink: 11 });
    expect(found.get("a/b/c/d/e/f/g/deep")).toEqual({
      path: "a/b/c/d/e/f/g/deep",
      type: "file",
      uid: 0,
      gid: 0,
      mode: 0o644,
      nlink: 1,
      sizeBytes: 10,
      sha256: "fb07c2c0dea764a8ed8208e51c6f2d2af16b8dbdb9f0098de9ea0bca618bf003",
    });
    expect(found.get("short")).toMatchObject({ type: "link", mode: 0o777, link: "sizes/1" });
    expect(found.get("link900")?.link).toBe("y".repeat(900));
    expect([found.get("mode/owned")?.uid, found.get("mode/owned")?.gid]).toEqual([1001, 20]);
    expect([found.get("mode/setuid")?.mode, found.get("mode/sticky")?.mode]).toEqual([0o4555, 0o1777]);
    expect(found.get("utf8/größe-日本")?.sizeBytes).toBe(5);
    expect(found.get("n".repeat(255))?.type).toBe("dir");
    expect(new Set(entries.map((one) => one.path.split("/")[0]))).toEqual(
      new Set(`,a,emptydir,hard,link119,link120,link900,many,mode,name,${"n".repeat(255)},short,sizes,three,utf8`.split(",")),
    );
    // Written anew in the other form it says the same.
    expect(parseMtree(renderMtree(entries), "ours")).toEqual([...entries]);
  });

  test("every form of vis(3)", () => {
    const text = String.raw`./s\sp\040\t\011\M-C\M-6\^A\M^@\^?\#\\\*`;
    const refused = thrownProblem(() => parseMtree(`${text} type=file\n`, "x"));
    expect(refused.message).toContain("is not UTF-8");
    expect(parseMtree(`${text.replace(String.raw`\M^@`, "")} type=file\n`, "x")[0]?.path).toBe("s p \t\tö\u0001\u007f#\\*");
  });

  test("names as NetBSD's mtree -c writes them", () => {
    const text = String.raw`.               type=dir mode=0755
    \#lead      type=file size=1
    back\\slash type=file
    gr\M-C\M-6\M-C\M^_e* \
                type=file size=1
    new\nline   type=file
    x\#y=z      type=file
    ~t[?]       type=link link=tar\sget
`;
    expect(parseMtree(text, "x").map((one) => one.link ?? one.path)).toEqual([
      "",
      "#lead",
      "back\\slash",
      "größe*",
      "new\nline",
      "x#y=z",
      "tar get",
    ]);
  });

  test("/unset, comments at the end of a line, no line at all", () => {
    expect(parseMtree("", "x")).toEqual([]);
    expect(
      parseMtree(
        "/set uid=5 mode=0600 type=file\na # a comment\n/unset uid mode\n./b\tinode=7 optional\n/unset all\nc type=fifo",
        "x",
      ),
    ).toEqual([
      { path: "a", type: "file", uid: 5, mode: 0o600 },
      { path: "b", type: "file" },
      { path: "c", type: "fifo" },
    ]);
  });

  for (const [why, text, line] of [
    ["a name without a type", "#mtree\n./a mode=0644\n", 2],
    ["an unknown type", "./a type=door", 1],
    ["an unknown keyword", "./a type=file colour=red", 1],
    ["a keyword without its value", "./a type=file mode", 1],
    ["a symbolic mode", "./a type=file mode=u=rw", 1],
    ["a mode that is too large", "./a type=file mode=17777", 1],
    ["a negative owner", "./a type=file uid=-1", 1],
    ["an owner that is too large", "./a type=file uid=4294967296", 1],
    ["a digest that is none", "./a type=file sha256digest=abc", 1],
    ["a device without its parts", "./a type=char device=259", 1],
    ["a path that leaves the tree", "./a/../../b type=file", 1],
    ["an escaped slash", "./a\\057b type=file", 1],
    ["an empty part", "./a//b type=file", 1],
    ["an absolute path", "/etc/passwd type=file", 1],
    ["a path twice", "./a type=file\n\n./a type=dir", 3],
    [".. at the top", ". type=dir\n..\n..", 3],
    [".. with keywords", "a type=dir\n.. type=dir", 2],
    ["the root inside a directory", "a type=dir\n. type=dir", 2],
    ["a root that is a file", ". type=file", 1],
    ["an unknown escape", "./\\q type=file", 1],
    ["a bad line behind a continued one", "./a \\\n type=file\n./b \\\n mode=0644 \\\n uid=0", 3],
  ] as const) {
    test(`refuses ${why}`, () => {
      const problem = thrownProblem(() => parseMtree(text, "root.mtree"));
      expect([problem.code, problem.where]).toEqual(["E_BAD_MTREE", `root.mtree:${line}`]);
    });
  }

  test("any text is read or refused, never anything else", () => {
    const text = fc.string({ unit: fc.constantFrom(..."./\\abM^=- \n#0typefil"), maxLength: 60 });
    fc.assert(
      fc.property(text, (noise) => {
        try {
          parseMtree(noise, "x");
        } catch (error) {
          expect(error).toBeInstanceOf(Problem);
        }
      }),
    );
  });
});

test("what is written is read back", () => {
  const name = fc.string({ unit: "binary", minLength: 1, maxLength: 12 }).filter((part) => !/[/\0]|^\.\.?$/.test(part));
  const word = fc.string({ unit: "binary", minLength: 1, maxLength: 8 }).filter((part) => !part.includes("\0"));
  const id = fc.nat(0xffff_ffff);
  const common = {
    mode: fc.nat(0o7777),
    uid: id,
    gid: id,
    uname: word,
    gname: word,
    timeSeconds: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
    flags: fc.uniqueArray(fc.constantFrom("schg", "uarch", "nodump"), { maxLength: 3 }),
    nlink: fc.nat(),
  };
  const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
  const entry = fc.oneof(
    fc.record(
      {
        path,
        type: fc.constant("file" as const),
        sizeBytes: fc.maxSafeNat(),
        sha256: word.map((seed) => sha256(seed)),
        contents: fc.stringMatching(/^\/[a-z?*=[ \]]{1,8}\/x$/),
        ...common,
      },
      { requiredKeys: ["path", "type"] },
    ),
    fc.record({ path, type: fc.constant("link" as const), link: word, ...common }, { requiredKeys: ["path", "type", "link"] }),
    fc.record(
      { path, type: fc.constantFrom("block" as const, "char" as const), device: fc.record({ major: id, minor: id }), ...common },
      { requiredKeys: ["path", "type", "device"] },
    ),
    fc.record(
      { path, type: fc.constantFrom("dir" as const, "fifo" as const, "socket" as const), ...common },
      {
        requiredKeys: ["path", "type"],
      },
    ),
  );
  const tree = fc.uniqueArray(entry, { selector: (one) => one.path, maxLength: 8 });
  fc.assert(
    fc.property(tree, (entries) => {
      const text = renderMtree(entries);
      expect(text).toMatch(/^[\n -~]*$/);
      expect(parseMtree(text, "x")).toEqual(entries);
    }),
  );
});

describe("libarchive", () => {
  const tree = join(scratch, "tree");
  fs.mkdirSync(join(tree, "sub/deep"), { recursive: true });
  const content = "#!/bin/sh\n";
  for (const name of ["plain", "a b", "x#y=z", "back\\slash", "größe*", "new\nline", "sub/deep/su"]) {
    fs.writeFileSync(join(tree, name), content);
    fs.utimesSync(join(tree, name), 1_700_000_000, 1_700_000_000);
  }
  fs.chownSync(join(tree, "sub/deep/su"), 35_001, 35_002);
  // After the owner: changing that takes the bit away.
  fs.chmodSync(join(tree, "sub/deep/su"), 0o4755);
  fs.symlinkSync("tar get", join(tree, "link"));
  execFileSync("mkfifo", ["-m", "600", join(tree, "fifo")]);
  execFileSync("mknod", ["-m", "666", join(tree, "null"), "c", "1", "3"]);

  for (const [form, options] of [
    ["as it comes", "!all,type,mode,uid,gid,sha256,size,link,time,device"],
    ["with /set and indented", "!all,use-set,indent,type,mode,uid,gid,sha256,size,link,time,device"],
  ] as const) {
    test(`what bsdtar writes of a real tree, ${form}`, () => {
      const text = bsdtar("--format=mtree", `--options=${options}`, "-cf", "-", "-C", tree, ".");
      const found = byPath(parseMtree(text, "bsdtar"));
      expect([...found.keys()].toSorted()).toEqual(
        [
          "",
          "a b",
          "back\\slash",
          "fifo",
          "größe*",
          "link",
          "new\nline",
          "null",
          "plain",
          "sub",
          "sub/deep",
          "sub/deep/su",
          "x#y=z",
        ].toSorted(),
      );
      expect(found.get("sub/deep/su")).toEqual({
        path: "sub/deep/su",
        type: "file",
        mode: 0o4755,
        uid: 35_001,
        gid: 35_002,
        sizeBytes: content.length,
        sha256: sha256(content),
        timeSeconds: 1_700_000_000,
      });
      expect(found.get("link")).toMatchObject({ type: "link", link: "tar get", mode: 0o777 });
      expect(found.get("null")).toMatchObject({ type: "char", mode: 0o666, device: { major: 1, minor: 3 } });
      expect(found.get("fifo")).toMatchObject({ type: "fifo", mode: 0o600 });
    });
  }

  test("reads ours: types, modes, owners, sizes, targets", () => {
    const file = join(scratch, "ours.mtree");
    const at = { timeSeconds: 1_700_000_000 };
    fs.writeFileSync(
      file,
      renderMtree([
        { path: "", type: "dir", mode: 0o755, uid: 0, gid: 0, ...at },
        { path: "usr", type: "dir", mode: 0o2775, uid: 0, gid: 20, ...at },
        { path: "usr/su", type: "file", mode: 0o4755, uid: 0, gid: 0, sizeBytes: 12, ...at },
        { path: "usr/a b#=*ö", type: "file", mode: 0o640, uid: 35_001, gid: 42, sizeBytes: 0, ...at },
        { path: "lib", type: "link", mode: 0o777, uid: 0, gid: 0, link: "usr/li b", ...at },
        { path: "null", type: "char", mode: 0o666, uid: 0, gid: 0, device: { major: 1, minor: 3 }, ...at },
        { path: "named", type: "file", mode: 0o600, uname: "_dhcp", gname: "wheel", sizeBytes: 1, ...at },
      ]),
    );
    const lines = bsdtar("--numeric-owner", "-tvf", file).trimEnd().split("\n");
    expect(lines.map((line) => line.replaceAll(/ +/g, " ").replace(" Nov 14 2023", ""))).toEqual([
      "drwxr-xr-x 0 0 0 0 .",
      "drwxrwsr-x 0 0 20 0 ./usr",
      "-rwsr-xr-x 0 0 0 12 ./usr/su",
      "-rw-r----- 0 35001 42 0 ./usr/a b#=*ö",
      "lrwxrwxrwx 0 0 0 0 ./lib -> usr/li b",
      "crw-rw-rw- 0 0 0 1,3 ./null",
      "-rw------- 0 0 0 1 ./named",
    ]);
    expect(bsdtar("-tvf", file)).toMatch(/_dhcp +wheel +1 .*named/);
  });
});

test("a file that makefs cannot be told of is refused", () => {
  for (const contents of ["/a#b", "/it's", '/"', "/a\\b", "/a\nb"])
    expect(thrownProblem(() => renderMtree([{ path: "a", type: "file", contents }])).code).toBe("E_BAD_MTREE");
  const plain = { path: "a", type: "file", contents: "/frx/store/a?=*[ö]/x" } as const;
  expect(renderMtree([plain])).toBe("#mtree\n./a type=file contents=/frx/store/a?=*[ö]/x\n");
  expect(parseMtree(renderMtree([plain]), "x")).toEqual([plain]);
});

test("blanks for fstab(5)", () => expect(visText("/mnt/a b\tc")).toBe("/mnt/a\\040b\\011c"));

test("a log says a path again, with slashes more than it needs; what is said last holds, and another type begins anew", () => {
  const log =
    "#mtree 2.0\n.//usr/ type=dir uname=root mode=0755\n./usr type=dir mode=0555\n./x type=dir uid=7\n./x type=link link=usr\n";
  expect(parseMtree(log, "METALOG", { isLog: true })).toEqual([
    { path: "usr", type: "dir", uname: "root", mode: 0o555 },
    { path: "x", type: "link", link: "usr" },
  ]);
  expect(thrownProblem(() => parseMtree(log, "METALOG")).where).toBe("METALOG:2");
});
