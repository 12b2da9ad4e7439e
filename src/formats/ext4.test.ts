/** Against e2fsprogs: what e2fsck finds wrong, and what debugfs and dumpe2fs see. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { thrownProblem } from "../base/testing.ts";
import type { FileSystemEntry, FileSystemPlan } from "./blocks.ts";
import { planExt4 } from "./ext4.ts";
import { type HashSeed, nameHash } from "./ext4-hash.ts";
import { readExt4 } from "./ext4-read.ts";
import {
  anyEntries,
  bytesOf,
  debugfs,
  directory,
  expected,
  file,
  foreign,
  fsck,
  hardlink,
  HASH_SEED,
  MEBIBYTE,
  OPTIONS,
  run,
  symlink,
  UUID,
} from "./ext4.testing.ts";
import { readAtFile, writeImage } from "./testing.ts";

const scratch = mkdtempSync(join(tmpdir(), "garth-ext4-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const image = join(scratch, "ext4.img");

function written(entries: readonly FileSystemEntry[], options: Partial<typeof OPTIONS> = {}): FileSystemPlan {
  const plan = planExt4(entries, { ...OPTIONS, ...options });
  writeImage(image, plan.image);
  return plan;
}

function digest(plan: FileSystemPlan): string {
  writeImage(image, plan.image);
  return new Bun.CryptoHasher("sha256").update(readFileSync(image)).digest("hex");
}

const refusal = (entries: readonly FileSystemEntry[], options: Partial<typeof OPTIONS> = {}): string => {
  const { code, message } = thrownProblem(() => planExt4(entries, { ...OPTIONS, ...options }));
  return `${code} ${message.replace("planning an ext4 file system: ", "")}`;
};

const TREE: readonly FileSystemEntry[] = [
  directory("etc"),
  file("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
  file("etc/shadow", "root:*:::::::\n", { mode: 0o640, gid: 42 }),
  { ...directory("dev"), timeSeconds: 2 ** 33 },
  { ...directory("dev/null"), type: "character", major: 1, minor: 3, mode: 0o666 },
  { ...directory("dev/nvme"), type: "block", major: 259, minor: 300, mode: 0o660 },
  { ...directory("run/pipe"), type: "fifo", mode: 0o600 },
  file("bin/su", "setuid", { mode: 0o4755 }),
  file("home/me/note", "mine", { uid: 100_000, gid: 4_000_000_000 }),
  hardlink("home/me/same", "home/me/note"),
  hardlink("home/me/again", "home/me/same"),
  symlink("short", "etc/passwd"),
  symlink("long", `/${"long/".repeat(30)}`),
  file("old", "before 1970", { timeSeconds: -1000 }),
];

const FEATURES = `none,${"has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super".replaceAll(" ", ",")},large_file,huge_file,dir_nlink,extra_isize,metadata_csum`;

describe("an ext4 file system", () => {
  test("is clean, and has what was put in", () => {
    const { usage } = written(TREE);
    expect(fsck(image)).toContain(`garth: ${usage.inodes - usage.freeInodes}/${usage.inodes} files (0.0% non-contiguous)`);
    expect(debugfs(image, "cat /etc/passwd")).toBe("root:x:0:0::/root:/bin/sh\n");
    // 4,000,000,000 as debugfs prints it.
    expect(debugfs(image, "stat /home/me/note")).toMatch(/User: 100000 +Group: -294967296 /);
    expect(debugfs(image, "stat /home/me/again")).toMatch(/Links: 3 /);
    expect(debugfs(image, "stat /dev/null")).toMatch(
      /Type: character special +Mode: +0666[^]*Device major\/minor number: 01:03 /,
    );
    expect(debugfs(image, "stat /dev/nvme")).toMatch(/Device major\/minor number: 259:300 /);
    expect(debugfs(image, "stat /dev")).toMatch(/mtime: 0x00000000:00000002 -- Wed Mar 16 12:56:32 2242/);
    expect(debugfs(image, "stat /old")).toMatch(/crtime: .* -- Wed Dec 31 23:43:20 1969/);
    expect(debugfs(image, "stat /short")).toContain('Fast link dest: "etc/passwd"');
    expect(debugfs(image, "stat /bin/su")).toMatch(/Mode: +04755/);
    expect(debugfs(image, "stat /run")).toMatch(/Mode: +0755[^]*User: +0 +Group: +0/);
  });

  test("says of itself what mke2fs would", () => {
    written([], { sizeBytes: 256 * MEBIBYTE });
    const ours = run("dumpe2fs", "-h", image);
    const theirs = join(scratch, "theirs.img");
    const made = ["-t", "ext4", "-b", "4096", "-U", UUID, "-L", "garth", "-E", `hash_seed=${HASH_SEED}`, theirs, "256M"];
    run("mke2fs", "-q", "-I", "256", "-O", FEATURES, ...made);
    // What differs on purpose, by the clock, or by what follows from these.
    const own =
      /^(?:dumpe2fs|Filesystem (?:flags|created)|Last (?:write|checked)|Default mount|Reserved (?:block count|GDT)|Overhead|Free|Checksum:|Lifetime|Inode count|Inodes per|Inode blocks)/;
    const facts = (text: string): readonly string[] => text.split("\n").filter((line) => !own.test(line));
    expect(facts(ours)).toEqual(facts(run("dumpe2fs", "-h", theirs)));
    expect(ours).toMatch(/^Maximum mount count: +-1$/m);
    expect(ours).toMatch(/^Check interval: +0 /m);
    expect(ours).toMatch(/^Default mount options: +user_xattr acl$/m);
    expect(ours).toMatch(/^Filesystem flags: +unsigned_directory_hash *$/m);
    expect(ours.match(/ Nov 14 22:13:20 2023$/gm)).toHaveLength(3);
  });

  test("comes out the same from the same entries, and nearly so when the last file changes", () => {
    const options = { ...OPTIONS, sizeBytes: 8 * MEBIBYTE };
    const plan = planExt4(TREE, options);
    expect(digest(planExt4(TREE, options))).toBe(digest(plan));
    expect(digest(planExt4(TREE, { ...options, hashSeed: UUID }))).not.toBe(digest(plan));
    const bytes = (entries: readonly FileSystemEntry[]): Buffer => {
      written(entries, { sizeBytes: 16 * MEBIBYTE });
      return readFileSync(image);
    };
    const many = Array.from({ length: 300 }, (_, number) => file(`d/${number}`, `${number}`.repeat(2000)));
    const [before, after] = [bytes([...many, file("last", "a")]), bytes([...many, file("last", "b")])];
    const block = (at: number, of: Buffer): Buffer => of.subarray(at * 4096, (at + 1) * 4096);
    const changed = Array.from({ length: before.length / 4096 }, (_, at) => block(at, before).equals(block(at, after)));
    expect(changed.filter((same) => !same)).toHaveLength(1);
  });

  test("gives runs of files in the order of entries", () => {
    const { dataRuns, image } = planExt4([foreign("z", 10_000, "/src/z"), file("m", "x"), foreign("a", 5, "/src/a")], OPTIONS);
    expect(dataRuns.map(({ file, sizeBytes }) => [file, sizeBytes])).toEqual([
      ["/src/z", 10_000],
      ["/src/a", 5],
    ]);
    expect((dataRuns[1]?.at ?? 0) - (dataRuns[0]?.at ?? 0)).toBe(4 * 4096);
    expect(image.pieces.filter((piece) => piece.kind === "file")).toEqual([
      { at: dataRuns[0]?.at ?? 0, kind: "file", file: "/src/z", offset: 0, sizeBytes: 10_000 },
      { at: dataRuns[1]?.at ?? 0, kind: "file", file: "/src/a", offset: 0, sizeBytes: 5 },
    ]);
    // One for the superblock and the tables, and one for what lies between the two files.
    expect(image.pieces.length).toBeLessThan(10);
  });

  test("leaves as much room as is asked for", () => {
    for (const freeBytes of [0, MEBIBYTE, 300 * MEBIBYTE]) {
      const { usage } = planExt4(TREE, { ...OPTIONS, freeBytes });
      expect(usage.freeBytes).toBeGreaterThanOrEqual(freeBytes);
      expect(usage.freeBytes).toBeLessThan(freeBytes + 2 * MEBIBYTE);
      expect(usage.usedBytes + usage.freeBytes).toBe(usage.sizeBytes);
    }
    expect(planExt4(TREE, { ...OPTIONS, inodesFree: 50_000 }).usage.freeInodes).toBeGreaterThanOrEqual(50_000);
    const { usage } = planExt4([foreign("big", 1000 * MEBIBYTE)], OPTIONS);
    expect(usage.freeBytes).toBeGreaterThanOrEqual(150 * MEBIBYTE);
  });

  test.each([
    [1, 0],
    [8, undefined],
    [127, undefined],
    [128, undefined],
    [129, 0],
    [131, undefined],
    [2300, undefined],
  ])("of %d MiB is clean, whatever its last group is like", (mebibytes, journalBytes) => {
    const { usage } = written([file("a", "a")], {
      sizeBytes: mebibytes * MEBIBYTE,
      inodesFree: 8,
      ...(journalBytes === 0 && { journalBytes }),
    });
    fsck(image);
    expect(usage.sizeBytes).toBe(mebibytes * MEBIBYTE);
    const features = run("dumpe2fs", "-h", image);
    expect(features.includes("has_journal")).toBe(journalBytes !== 0);
    expect(features).toMatch(new RegExp(`^Free blocks: +${usage.freeBytes / 4096}$`, "m"));
  });

  test("with a journal around a superblock's copy is clean", () => {
    written([file("a", "a")], { sizeBytes: 2048 * MEBIBYTE, inodesFree: 400_000 });
    fsck(image);
    expect(debugfs(image, "stat <8>")).toMatch(/EXTENTS:\n\(0-\d+\):\d+-32767, \(\d+-16383\):/);
  });

  test("with ten million free inodes has room for them", () => {
    expect(planExt4([], { ...OPTIONS, inodesFree: 10_000_000 }).usage.freeInodes).toBeGreaterThanOrEqual(10_000_000);
  });

  test("of any entries is clean, and read as they were given", () => {
    fc.assert(
      fc.property(anyEntries, (entries) => {
        written(entries, { freeBytes: 0 });
        fsck(image);
        const reading = readExt4(readAtFile(image));
        const found = new Map(reading.list().map((entry) => [entry.path, entry]));
        for (const [path, entry] of expected(entries)) {
          const { sizeBytes, ...rest } = entry;
          expect(found.get(path)).toMatchObject(rest);
          if (entry.type !== "directory") expect(found.get(path)?.sizeBytes).toBe(sizeBytes);
        }
        expect(found.size).toBe(entries.length + 2);
        for (const entry of entries)
          if (entry.type === "file")
            expect(Buffer.compare(reading.readFile(entry.path) ?? Buffer.from("-"), bytesOf(entry))).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  test("is taken out by debugfs byte for byte", () => {
    const entries = [0, 1, 4095, 4096, 4097, 70_000].map((size) =>
      file(
        `d${size}/f${size}`,
        Uint8Array.from({ length: size }, (_, at) => at * 13 + size),
        { mode: 0o640 },
      ),
    );
    written(entries);
    const out = join(scratch, "out");
    mkdirSync(out);
    debugfs(image, `rdump / ${out}`);
    for (const entry of entries) expect(Buffer.compare(readFileSync(join(out, entry.path)), bytesOf(entry))).toBe(0);
  });

  test("orders names by the hash that debugfs works out", () => {
    written([]);
    const seed = Buffer.from(HASH_SEED.replaceAll("-", ""), "hex");
    const words = [seed.readUInt32LE(0), seed.readUInt32LE(4), seed.readUInt32LE(8), seed.readUInt32LE(12)] as const;
    // It knows the signed variant alone, which is the same for ASCII; e2fsck looks at other names, below.
    for (const name of ["a", "four", "x".repeat(31), "x".repeat(32), "x".repeat(33), "y".repeat(255)]) {
      const hash = (seed: HashSeed): string => `is 0x${nameHash(new TextEncoder().encode(name), seed).toString(16)} (`;
      expect(debugfs(image, `dx_hash -h half_md4 -s ${HASH_SEED} ${name}`)).toContain(hash(words));
      expect(debugfs(image, `dx_hash -h half_md4 ${name}`)).toContain(hash([0, 0, 0, 0]));
    }
  });

  test("has an index where a directory is larger than a block", () => {
    written(Array.from({ length: 600 }, (_, number) => file(`d/größe-${number}`)));
    fsck(image);
    expect(debugfs(image, "htree_dump /d")).toMatch(/Indirect levels: 0[^]*Number of entries \(count\): [3-9]/);
    expect(debugfs(image, "stat /d")).toContain("Flags: 0x81000");
    expect(debugfs(image, "stat /")).toContain("Flags: 0x80000");
  });
});

describe("what no ext4 can hold", () => {
  const over = { ...directory("x"), uid: 2 ** 32 };
  test.each<[string, readonly FileSystemEntry[]]>([
    ['"a" is there twice', [file("a"), directory("a")]],
    ['"a/b" lies in a, which is a file and not a directory', [file("a"), file("a/b")]],
    ['"a/b/c" lies in a/b, which is a symlink and not a directory', [file("a/b/c"), symlink("a/b", "x")]],
    ['"a//b" has a part that is empty, . or ..', [file("a//b")]],
    ['"/a" has a part that is empty, . or ..', [file("/a")]],
    ['"a/.." has a part that is empty, . or ..', [directory("a/..")]],
    ['"a\\u0000b" has a NUL in it', [file("a\0b")]],
    ['"\\ud800" is not Unicode: half of a surrogate pair', [file("\ud800")]],
    [`"${"ü".repeat(128)}" has a name of 256 bytes; 255 are allowed`, [file("ü".repeat(128))]],
    ['"l" is a symbolic link with a target of 4096 bytes; 4095 are allowed', [symlink("l", "ü".repeat(2048))]],
    ['"l" is a symbolic link to nothing', [symlink("l", "")]],
    ['"l" is a symbolic link with a NUL in its target', [symlink("l", "a\0")]],
    ['"h" is a hard link to gone, which is not there', [hardlink("h", "gone")]],
    ['"h" is a hard link to d, which is a directory', [directory("d"), hardlink("h", "d")]],
    ['"h" is a hard link that leads back to itself', [hardlink("h", "i"), hardlink("i", "h")]],
    ["the root is a file, and the root has to be a directory", [file("")]],
    ['"lost+found" has to be a directory: e2fsck puts there what it finds', [file("lost+found")]],
    ['"x" has a uid of 4294967296; 0 to 4294967294 is what can be said', [over]],
    ['"x" has a mode of 16877; 0 to 4095 is what can be said', [directory("x", 0o40755)]],
    [
      '"x" has a time of 10737418240; -2147483648 to 10737418239 is what can be said',
      [file("x", "", { timeSeconds: 10_737_418_240 })],
    ],
  ])("%s", (said, entries) => {
    expect(refusal(entries)).toBe(`E_BAD_TREE ${said}`);
  });

  // In 8 MiB there has to be a journal, which leaves less than there is in 7.
  test.each([
    [20, 20],
    [6, 8],
    [120, 128],
  ])("%d MiB in %d are too much, which is said in bytes, and so much is then enough", (content, size) => {
    const entries = [file("a", new Uint8Array(content * MEBIBYTE).fill(1)), ...TREE];
    const problem = thrownProblem(() => planExt4(entries, { ...OPTIONS, sizeBytes: size * MEBIBYTE }));
    expect(problem.code).toBe("E_EXT4_TOO_SMALL");
    const said = /^needed: +(\d+) bytes, of which \d+ are contents\nthere: +(\d+) bytes\nmissing: +(\d+) bytes$/;
    const [, needed = 0, there, missing] = said.exec(problem.details.join("\n"))?.map(Number) ?? [];
    expect(there).toBe(size * MEBIBYTE);
    expect(missing).toBe(needed - size * MEBIBYTE);
    written(entries, { sizeBytes: needed });
    fsck(image);
    expect(refusal(entries, { sizeBytes: needed - MEBIBYTE })).toStartWith("E_EXT4_TOO_SMALL");
  });

  test.each([
    [{ label: "seventeen letters" }],
    [{ uuid: "none" }],
    [{ hashSeed: "" }],
    [{ sizeBytes: 4097 }],
    [{ sizeBytes: 2 ** 45 }],
    [{ journalBytes: 4096 }],
    [{ journalBytes: 2 ** 31 }],
    [{ freeBytes: 2 ** 50 }],
    [{ inodesFree: 2 ** 40 }],
    [{ timeSeconds: 2 ** 34 }],
    [{ timeSeconds: 0.5 }],
    [{ freeBytes: -1 }],
  ])("options that mean nothing: %p", (options) => {
    expect(refusal([], options)).toStartWith("E_EXT4_OPTIONS");
  });
});
