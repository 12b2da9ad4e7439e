import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import {
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { thrownProblem } from "../base/testing.ts";
import { concatenate, cpioArchive, type CpioEntry, readCpio } from "./index.ts";

const scratch = mkdtempSync(join(tmpdir(), "garth-cpio-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const COMMON = { mode: 0o755, uid: 0, gid: 0, timeSeconds: 1_700_000_000 };
const file = (path: string, text: string, mode = 0o644): CpioEntry => ({
  ...COMMON,
  path,
  mode,
  type: "file",
  content: { kind: "bytes", bytes: new TextEncoder().encode(text) },
});

const TREE: readonly CpioEntry[] = [
  { ...COMMON, path: "", type: "directory" },
  { ...COMMON, path: "dev", type: "directory" },
  { ...COMMON, path: "dev/console", mode: 0o600, type: "character", major: 5, minor: 1 },
  { ...COMMON, path: "dev/sda1", mode: 0o660, gid: 6, type: "block", major: 8, minor: 1 },
  { ...COMMON, path: "dev/initctl", mode: 0o600, type: "fifo" },
  file("init", "#!/bin/sh\n", 0o4755),
  { ...COMMON, path: "bin", mode: 0o777, type: "symlink", target: "usr/bin" },
  { ...COMMON, path: "sbin-init", mode: 0o4755, type: "hardlink", target: "init" },
  file("empty", ""),
  file("größe", "abc"),
];

const cpio = (archive: Uint8Array, ...args: readonly string[]): string =>
  execFileSync("cpio", ["--quiet", ...args], {
    input: archive,
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C.UTF-8", TZ: "UTC" },
  });

describe("a written archive", () => {
  test("is what cpio lists", () => {
    const listed = cpio(cpioArchive(TREE), "-itvn").trimEnd().split("\n");
    expect(listed.map((line) => line.replaceAll(/ +/g, " "))).toEqual([
      "drwxr-xr-x 2 0 0 0 Nov 14 2023 .",
      "drwxr-xr-x 2 0 0 0 Nov 14 2023 dev",
      "crw------- 1 0 0 5, 1 Nov 14 2023 dev/console",
      "brw-rw---- 1 0 6 8, 1 Nov 14 2023 dev/sda1",
      "prw------- 1 0 0 0 Nov 14 2023 dev/initctl",
      "-rwsr-xr-x 2 0 0 0 Nov 14 2023 init",
      "lrwxrwxrwx 1 0 0 7 Nov 14 2023 bin -> usr/bin",
      "-rwsr-xr-x 2 0 0 10 Nov 14 2023 sbin-init",
      "-rw-r--r-- 1 0 0 0 Nov 14 2023 empty",
      "-rw-r--r-- 1 0 0 3 Nov 14 2023 größe",
    ]);
  });

  test("is what cpio unpacks, padded to whole blocks", () => {
    const target = join(scratch, "out");
    mkdirSync(target);
    const archive = cpioArchive(TREE.filter((entry) => entry.type !== "character" && entry.type !== "block"));
    expect(archive.length % 512).toBe(0);
    cpio(archive, "-idm", "-D", target);
    expect(readFileSync(join(target, "init"), "utf8")).toBe("#!/bin/sh\n");
    expect(lstatSync(join(target, "sbin-init")).ino).toBe(lstatSync(join(target, "init")).ino);
    expect(readlinkSync(join(target, "bin"))).toBe("usr/bin");
    expect(lstatSync(join(target, "dev/initctl")).isFIFO()).toBe(true);
    expect(lstatSync(join(target, "größe")).mtimeMs).toBe(COMMON.timeSeconds * 1000);
  });

  test("begins as cpio(5) says, in this very order of fields", () => {
    const archive = cpioArchive([{ ...file("a", "xyz"), uid: 1, gid: 2, timeSeconds: 3 }]);
    const fields = [1, 0o100644, 1, 2, 1, 3, 3, 0, 0, 0, 0, 2, 0].map((value) =>
      value.toString(16).toUpperCase().padStart(8, "0"),
    );
    expect(Buffer.from(archive.subarray(0, 122)).toString("latin1")).toBe(`070701${fields.join("")}a\u0000xyz\u0000070701`);
  });

  test("of what cannot be is a bug", () => {
    const link = (target: string): CpioEntry => ({ ...COMMON, path: "l", type: "hardlink", target });
    expect(() => cpioArchive([link("nowhere")])).toThrow(RangeError);
    expect(() => cpioArchive([{ ...file("a", ""), timeSeconds: 2 ** 32 }])).toThrow(RangeError);
  });
});

describe("a reader", () => {
  test("gives back what was written", () => {
    const archive = cpioArchive(TREE);
    const reading = readCpio(archive, "x");
    expect(reading.entries).toEqual(TREE);
    expect(Math.ceil(reading.sizeBytes / 512) * 512).toBe(archive.length);
  });

  test("reads what cpio wrote, hard links too", () => {
    const source = join(scratch, "in");
    mkdirSync(join(source, "d"), { recursive: true });
    writeFileSync(join(source, "d/a"), "content");
    linkSync(join(source, "d/a"), join(source, "d/b"));
    symlinkSync("a", join(source, "d/l"));
    for (const path of ["d/a", "d"]) utimesSync(join(source, path), 1000, 1000);
    const archive = execFileSync("cpio", ["--quiet", "-o", "-H", "newc"], { cwd: source, input: "./d\n./d/a\n./d/b\n./d/l\n" });
    expect(readCpio(archive, "x").entries).toMatchObject([
      { path: "d", type: "directory", mode: 0o755, timeSeconds: 1000 },
      { path: "d/a", type: "file", timeSeconds: 1000, content: { kind: "bytes", bytes: Buffer.from("content") } },
      { path: "d/b", type: "hardlink", target: "d/a" },
      { path: "d/l", type: "symlink", target: "a" },
    ]);
  });

  test("stops at the end of the first of several", () => {
    const both = concatenate([cpioArchive([file("a", "1")]), new Uint8Array(512), cpioArchive([file("b", "2")])]);
    expect(readCpio(both, "x").entries).toEqual([file("a", "1")]);
  });

  test("gives back any names and contents", () => {
    const entry = fc.record({
      path: fc.stringMatching(/^[a-zä✓ .-]{1,20}$/).filter((name) => !/^\.+$/.test(name) && name !== "TRAILER!!!"),
      bytes: fc.uint8Array({ maxLength: 50 }),
      mode: fc.nat({ max: 0o7777 }),
    });
    fc.assert(
      fc.property(fc.uniqueArray(entry, { selector: (one) => one.path }), (wanted) => {
        const entries = wanted.map(({ path, bytes, mode }): CpioEntry => ({
          ...COMMON,
          path,
          mode,
          type: "file",
          content: { kind: "bytes", bytes },
        }));
        expect(readCpio(cpioArchive(entries), "x").entries).toEqual(entries);
      }),
    );
  });

  test("says where an archive is cut off or damaged", () => {
    const archive = cpioArchive([file("a", "content")]);
    const problem = (bytes: Uint8Array): string => {
      const { code, message } = thrownProblem(() => readCpio(bytes, "initrd"));
      return `${code}: ${message}`;
    };
    expect(problem(archive.subarray(0, 115))).toBe(
      "E_ARCHIVE_TRUNCATED: reading the archive initrd: it ends inside the entry at 0",
    );
    expect(problem(archive.subarray(0, 124))).toContain("ends inside the entry at 120");
    expect(problem(archive.fill(0x7a, 20, 21))).toBe(
      "E_ARCHIVE_DAMAGED: reading the archive initrd: it has no entry of the newc form at 0",
    );
  });
});
