import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { derivationPath, type WorldSource } from "../recipe/index.ts";
import {
  debianArchitecture,
  diffLocks,
  lockAnswers,
  parseLock,
  worldIdentity,
  type WorldLock,
  worldLock,
  writeLock,
} from "./index.ts";

const digest = (digit: string) => digit.repeat(64);

const LOCK: WorldLock = {
  suite: "bookworm",
  architecture: "amd64",
  requested: ["gcc", "make"],
  packages: [
    { name: "gcc", version: "4:12.2.0-3", architecture: "amd64", sha256: digest("a"), sizeBytes: 19432 },
    { name: "libc6", version: "2.36-9+deb12u14", architecture: "amd64", sha256: digest("b"), sizeBytes: 2757764 },
    { name: "make", version: "4.3-4.1", architecture: "amd64", sha256: digest("c"), sizeBytes: 395804 },
    { name: "netbase", version: "6.4", architecture: "all", sha256: digest("d"), sizeBytes: 12784 },
  ],
};

const TEXT = `garth-world-lock 1
suite bookworm
architecture amd64
request gcc
request make
package gcc 4:12.2.0-3 amd64 19432 ${digest("a")}
package libc6 2.36-9+deb12u14 amd64 2757764 ${digest("b")}
package make 4.3-4.1 amd64 395804 ${digest("c")}
package netbase 6.4 all 12784 ${digest("d")}
`;

const WORLD: WorldSource = {
  kind: "debian-world",
  name: "build",
  suite: "bookworm",
  packages: ["make", "gcc"],
  lock: "/project/debian.lock",
  policy: "strict",
};

const locks = fc
  .record({
    suite: fc.constantFrom("bookworm", "trixie", "sid"),
    architecture: fc.constantFrom("amd64", "arm64"),
    requested: fc.uniqueArray(fc.stringMatching(/^[a-z0-9][a-z0-9+.-]{1,12}$/), { maxLength: 6 }),
    packages: fc.uniqueArray(
      fc.record({
        name: fc.stringMatching(/^[a-z0-9][a-z0-9+.-]{1,12}$/),
        version: fc.stringMatching(/^([0-9]{1,2}:)?[0-9][0-9A-Za-z.+~]{0,8}(-[0-9a-z.+~]{1,6})?$/),
        sha256: fc.stringMatching(/^[0-9a-f]{64}$/),
        sizeBytes: fc.integer({ min: 1, max: 4_000_000_000 }),
        isAll: fc.boolean(),
      }),
      { minLength: 1, maxLength: 12, selector: (each) => each.name },
    ),
  })
  .map(({ packages, ...rest }): WorldLock =>
    worldLock({
      ...rest,
      packages: packages.map(({ isAll, ...each }) => Object.assign(each, { architecture: isAll ? "all" : rest.architecture })),
    }),
  );

describe("the lock file", () => {
  test("is this text, and no other", () => {
    expect(writeLock(LOCK)).toBe(TEXT);
    expect(parseLock(TEXT, "debian.lock")).toEqual(LOCK);
  });

  test("does not depend on the order in which packages were named or found", () => {
    const shuffled = { ...LOCK, requested: ["make", "gcc", "make"], packages: LOCK.packages.toReversed() };
    expect(writeLock(shuffled)).toBe(TEXT);
  });

  test("comes back as it was written", () => {
    fc.assert(fc.property(locks, (lock) => expect(parseLock(writeLock(lock), "x")).toEqual(lock)));
  });

  test("is refused, or read as something else, whenever one character of it is another", () => {
    fc.assert(
      fc.property(locks, fc.nat(), fc.constantFrom(" ", "\n", "x", "0", "é", "\t"), (lock, at, character) => {
        const text = writeLock(lock);
        const index = at % text.length;
        const other = text.slice(0, index) + character + text.slice(index + 1);
        fc.pre(other !== text);
        let read: WorldLock;
        try {
          read = parseLock(other, "x");
        } catch (error) {
          expect(error).toMatchObject({ code: "E_LOCK_INVALID", exit: 2 });
          return;
        }
        expect(writeLock(read)).toBe(other);
      }),
    );
  });

  const faults: readonly (readonly [string, string, number])[] = [
    ["an empty file", "", 1],
    ["a format to come", TEXT.replace("lock 1", "lock 2"), 1],
    ["a cut-off file", TEXT.slice(0, -1), 9],
    ["a conflict of a merge", TEXT.replace("package make", "<<<<<<< HEAD\npackage make"), 8],
    ["a package twice", TEXT.replace(/(package make .*\n)/, "$1$1"), 9],
    ["packages out of order", TEXT.replace(/(package gcc .*\n)(package libc6 .*\n)/, "$2$1"), 7],
    ["a package of another architecture", TEXT.replace("4.3-4.1 amd64", "4.3-4.1 arm64"), 8],
    ["a short digest", TEXT.replace(digest("c"), "c".repeat(63)), 8],
    ["a size of nothing", TEXT.replace("395804", "0"), 8],
    ["two spaces", TEXT.replace("package make", "package  make"), 8],
    ["carriage returns", TEXT.replaceAll("\n", "\r\n"), 1],
    ["a path for a name", TEXT.replace("package make", "package ../make"), 8],
    ["no package at all", TEXT.replace(/^package.*\n/gm, ""), 6],
  ];
  for (const [what, text, line] of faults) {
    test(`with ${what} is refused at line ${line}`, () => {
      expect(() => parseLock(text, "/p/debian.lock")).toThrow(
        expect.objectContaining({ code: "E_LOCK_INVALID", where: `/p/debian.lock:${line}` }),
      );
    });
  }
});

describe("the difference of two locks", () => {
  const after = worldLock({
    ...LOCK,
    packages: [
      ...LOCK.packages.filter((each) => each.name !== "netbase" && each.name !== "libc6" && each.name !== "make"),
      { name: "libc6", version: "2.36-9+deb12u15", architecture: "amd64", sha256: digest("e"), sizeBytes: 1 },
      { name: "make", version: "4.3-4.1", architecture: "amd64", sha256: digest("f"), sizeBytes: 1 },
      { name: "perl", version: "5.36.0-7", architecture: "amd64", sha256: digest("0"), sizeBytes: 1 },
    ],
  });

  test("says what came, went and changed", () => {
    expect(diffLocks(LOCK, after)).toEqual([
      "~ libc6 2.36-9+deb12u14 -> 2.36-9+deb12u15",
      "~ make 4.3-4.1 -> 4.3-4.1 (another file under the same version)",
      "- netbase 6.4",
      "+ perl 5.36.0-7",
    ]);
  });

  test("is empty for the same, and everything where there was nothing", () => {
    expect(diffLocks(LOCK, LOCK)).toEqual([]);
    expect(diffLocks(undefined, LOCK)).toHaveLength(4);
  });
});

describe("the identity of a world", () => {
  const path = (lock: WorldLock, name = "build") => derivationPath(worldIdentity({ name }, lock, "x86_64-linux"));

  test("is this path, until the rules change on purpose", () => {
    expect(path(LOCK)).toBe("/frx/store/984c9511daf6a3f223c086a1d05fd0fb984aa71a2ead03c4bb720522d47bb55f-world-build.drv");
  });

  test("changes with a version, a digest or a name, and with nothing that is not in the tree", () => {
    const first = LOCK.packages[0];
    if (first === undefined) throw new Error("the lock is empty");
    const rest = LOCK.packages.slice(1);
    expect(path({ ...LOCK, packages: [{ ...first, version: "4:12.2.0-4" }, ...rest] })).not.toBe(path(LOCK));
    expect(path({ ...LOCK, packages: [{ ...first, sha256: digest("1") }, ...rest] })).not.toBe(path(LOCK));
    expect(path({ ...LOCK, packages: rest })).not.toBe(path(LOCK));
    expect(path(LOCK, "other")).not.toBe(path(LOCK));
    expect(path({ ...LOCK, requested: ["gcc"] })).toBe(path(LOCK));
  });

  test("exists where Debian has packages, and nowhere else", () => {
    expect(debianArchitecture("aarch64-linux")).toBe("arm64");
    expect(() => debianArchitecture("x86_64-freebsd")).toThrow(expect.objectContaining({ code: "E_WORLD_UNSUPPORTED", exit: 2 }));
  });
});

describe("a lock answers a world", () => {
  test("of the same packages in any order", () => {
    expect(lockAnswers(LOCK, WORLD, "x86_64-linux")).toBe(true);
  });

  test("but not one of other packages, another suite or another machine", () => {
    expect(lockAnswers(LOCK, { ...WORLD, packages: ["gcc"] }, "x86_64-linux")).toBe(false);
    expect(lockAnswers(LOCK, { ...WORLD, packages: ["gcc", "cmake"] }, "x86_64-linux")).toBe(false);
    expect(lockAnswers(LOCK, { ...WORLD, suite: "trixie" }, "x86_64-linux")).toBe(false);
    expect(lockAnswers(LOCK, WORLD, "aarch64-linux")).toBe(false);
  });
});
