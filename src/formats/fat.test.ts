import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { Problem } from "../base/index.ts";
import { thrownProblem } from "../base/testing.ts";
import { type FatEntry, fatSizeFor, type FatWish, planFat, type ReadAt, readAtOf, readFat, readRuns, shifted } from "./index.ts";
import { fatGeometry } from "./fat-geometry.ts";
import { fatNames } from "./fat-names.ts";
import { readAtFile, writeImage } from "./testing.ts";

const MEBIBYTE = 1 << 20;
const scratch = mkdtempSync(join(tmpdir(), "garth-fat-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const environment = { ...process.env, LC_ALL: "C.UTF-8", TZ: "UTC" };
const run = (tool: string, ...args: readonly string[]): string =>
  execFileSync(tool, args, { encoding: "utf8", env: environment });

const file = (path: string, text: string | Uint8Array): FatEntry => ({
  path,
  type: "file",
  content: { kind: "bytes", bytes: typeof text === "string" ? new TextEncoder().encode(text) : text },
});
const WISH: FatWish = { sizeBytes: MEBIBYTE, label: "SEED", volumeId: 0x1234abcd, entries: [], timeSeconds: 1_700_000_001 };

function written(wish: FatWish, name = "fat.img"): string {
  const path = join(scratch, name);
  writeImage(path, planFat(wish));
  return path;
}

/** What fsck.fat says; it ends with 0 for nothing but a clean one. */
function checked(path: string): string {
  const result = spawnSync("fsck.fat", ["-n", "-v", path], { encoding: "utf8", env: environment });
  if (result.status !== 0) throw new Error(`fsck.fat ended with ${result.status}: ${result.stdout}${result.stderr}`);
  return result.stdout;
}

/** Files as `path: content`, directories as `path/`, as our reader sees them. */
function listed(read: ReadAt): readonly string[] {
  return readFat(read)
    .entries.map((one) =>
      one.type === "directory" ? `${one.path}/` : `${one.path}: ${Buffer.from(readRuns(read, one.runs)).toString()}`,
    )
    .toSorted();
}

/** The same, as mtools copies them out. */
function copiedOut(image: string): readonly string[] {
  const target = mkdtempSync(join(scratch, "out-"));
  if (run("mdir", "-i", image, "-b", "::").trim() !== "") run("mcopy", "-s", "-n", "-i", image, "::*", target);
  const found = readdirSync(target, { recursive: true, encoding: "utf8" }).map((path) =>
    statSync(join(target, path)).isDirectory() ? `${path}/` : `${path}: ${readFileSync(join(target, path)).toString()}`,
  );
  rmSync(target, { recursive: true });
  return found.toSorted();
}

const TREE: readonly FatEntry[] = [
  file("EFI/BOOT/BOOTX64.EFI", "x".repeat(3000)),
  file("EFI/debian/grubx64.efi", "grub"),
  file("loader/loader.conf", "timeout 0\n"),
  file("loader/entries/garth-1.conf", "title Garth\n"),
  file("Mixed.Txt", "mixed"),
  file("größe ✓.txt", "unicode"),
  file(".hidden", "hidden"),
  file("empty", ""),
  file("a name that is much longer than thirteen units.tar.gz", "long"),
  file("a name that is much longer too", "long too"),
  { path: "no-files-here", type: "directory" },
];
const NAMES = [...TREE.map((entry) => entry.path), "EFI", "EFI/BOOT", "EFI/debian", "loader", "loader/entries"].toSorted();

describe("a tree", () => {
  const sizes = [
    [12, 64 << 10],
    [12, MEBIBYTE],
    [12, 4 * MEBIBYTE],
    [16, 5 * MEBIBYTE],
    [16, 16 * MEBIBYTE],
    [16, 63 * MEBIBYTE],
    [32, 64 * MEBIBYTE],
    [32, 260 * MEBIBYTE],
    [32, 261 * MEBIBYTE],
    [32, 9 * 1024 * MEBIBYTE],
  ] as const;
  test.each(sizes)("is clean FAT%d of %d bytes, and others read it", (bits, sizeBytes) => {
    const path = written({ ...WISH, sizeBytes, entries: TREE });
    const said = checked(path);
    expect(said).toContain(`2 FATs, ${bits} bit entries`);
    expect(said).not.toMatch(/differ|wrong|bad|warning/i);
    expect(copiedOut(path)).toEqual(listed(readAtFile(path)));
    const reading = readFat(readAtFile(path));
    expect(reading).toMatchObject({ bits, sizeBytes, label: "SEED", volumeId: 0x1234abcd });
    expect(reading.entries.map((entry) => entry.path).toSorted()).toEqual(NAMES);
    const probed = run("blkid", "-p", "-o", "export", path).split("\n");
    expect(probed).toEqual(expect.arrayContaining(["LABEL=SEED", "UUID=1234-ABCD", `VERSION=FAT${bits}`, "TYPE=vfat"]));
  });

  test("lies behind other things on a disk, and says where", () => {
    const entries = TREE.slice(0, 3);
    const image = planFat({ ...WISH, entries, partitionOffsetBytes: MEBIBYTE });
    const path = join(scratch, "disk.img");
    writeImage(path, { sizeBytes: 2 * MEBIBYTE, pieces: shifted(image, MEBIBYTE) });
    expect(run("mdir", "-/", "-b", "-i", `${path}@@1M`, "::").trim().split("\n").toSorted()).toEqual([
      "::/EFI/",
      "::/EFI/BOOT/",
      "::/EFI/BOOT/BOOTX64.EFI",
      "::/EFI/debian/",
      "::/EFI/debian/grubx64.efi",
      "::/loader/",
      "::/loader/loader.conf",
    ]);
    expect(run("minfo", "-i", `${path}@@1M`, "::")).toContain("hidden sectors: 2048");
  });

  test("is the same bytes in any order, and whatever stands for a directory", () => {
    const wish = { ...WISH, entries: TREE };
    const other = { ...WISH, entries: [...TREE.toReversed(), { path: "EFI", type: "directory" as const }] };
    expect(planFat(other)).toEqual(planFat(wish));
  });

  test("takes contents from files, of which each is one run", () => {
    const source = join(scratch, "source");
    writeFileSync(source, Buffer.alloc(100_000, "abcdefg"));
    const entries: readonly FatEntry[] = [
      file("a", "a"),
      { path: "large", type: "file", content: { kind: "file", file: source, sizeBytes: 100_000 } },
      { path: "nothing", type: "file", content: { kind: "file", file: source, sizeBytes: 0 } },
    ];
    const path = written({ ...WISH, entries });
    const large = readFat(readAtFile(path)).entries.find((entry) => entry.path === "large");
    expect(large?.runs).toEqual([{ at: 33 * 512 + 12 * 512 + 512, sizeBytes: 100_000 }]);
    expect(readFileSync(source).equals(readRuns(readAtFile(path), large?.runs ?? []))).toBe(true);
    checked(path);
  });

  test("may have the label that cloud-init looks for, in small letters", () => {
    const path = written({ ...WISH, label: "cidata", entries: [file("meta-data", "{}")] });
    checked(path);
    expect(run("blkid", "-p", "-s", "LABEL", "-o", "value", path)).toBe("cidata\n");
    const none = written({ ...WISH, label: "" });
    checked(none);
    expect(spawnSync("blkid", ["-p", "-s", "LABEL", "-o", "value", none], { encoding: "utf8" }).stdout).toBe("");
    expect(readFat(readAtFile(none)).label).toBe("");
  });

  test("has one time, which is not before 1980", () => {
    const shown = (timeSeconds: number): string =>
      run("mdir", "-i", written({ ...WISH, entries: [file("A", "")], timeSeconds }), "::");
    expect(shown(1_700_000_001)).toContain("2023-11-14  22:13");
    expect(shown(0)).toContain("1980-01-01   0:00");
    expect(shown(2 ** 40)).toContain("2107-12-31  23:59");
  });
});

describe("names", () => {
  const aliases = (...names: readonly string[]): readonly string[] =>
    fatNames(names, "").map(
      (name) => `${Buffer.from(name.short).toString()}${name.long === undefined ? ` ${name.caseFlags}` : " long"}`,
    );

  test("are short where they can be, with flags for small letters", () => {
    expect(aliases("README.TXT", "grubx64.efi", "KERNEL.img", "vmlinuz", "A.B", "a-b_c~1.d$")).toEqual([
      "README  TXT 0",
      "GRUBX64 EFI 24",
      "KERNEL  IMG 16",
      "VMLINUZ     8",
      "A       B   0",
      "A-B_C~1 D$  24",
    ]);
  });

  test("have aliases that nobody else has", () => {
    expect(
      aliases("Mixed.Txt", "LONGNA~1.TXT", "long name one.txt", "long name two.txt", "a.b.c", "+", ".profile", "ÄÖ"),
    ).toEqual([
      "MIXED   TXT long",
      "LONGNA~1TXT 0",
      "LONGNA~2TXT long",
      "LONGNA~3TXT long",
      "AB~1    C   long",
      "_~1         long",
      "PROFIL~1    long",
      "__~1        long",
    ]);
    const thousands = fatNames(
      Array.from({ length: 20_000 }, (_, index) => `configuration-${index}.conf`),
      "",
    );
    expect(new Set(thousands.map((name) => Buffer.from(name.short).toString())).size).toBe(20_000);
  });

  test("of characters beyond the sixteen bits that mtools knows are units of UTF-16, and any character can come back", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 }), { maxLength: 5 }), (names) => {
        const entries = [...names.filter((name) => /^[^\p{Cc}"*/:<>?\\|]*[^\p{Cc}"*/:<>?\\|. ]$/u.test(name)), "😀"].map((name) =>
          file(name, name),
        );
        let image;
        try {
          image = planFat({ ...WISH, entries });
        } catch (error) {
          fc.pre(!(error instanceof Problem));
          throw error;
        }
        const bytes = new Uint8Array(MEBIBYTE);
        for (const piece of image.pieces) if (piece.kind === "bytes") bytes.set(piece.bytes, piece.at);
        expect(listed(readAtOf(bytes))).toEqual(entries.map(({ path }) => `${path}: ${path}`).toSorted());
      }),
      { numRuns: 30 },
    );
  });

  test("that FAT cannot have are refused", () => {
    const refused = (...paths: readonly string[]): string => {
      const problem = thrownProblem(() => planFat({ ...WISH, entries: paths.map((path) => file(path, "")) }));
      return `${problem.code}: ${problem.message}`;
    };
    const start = "E_FAT_NAME: writing a FAT file system:";
    expect(refused("a/x:y")).toBe(`${start} in /a, the name "x:y" has the character ":", which FAT does not allow`);
    expect(refused("a.")).toBe(`${start} in /, the name "a." ends in a dot or a space, which FAT does not allow`);
    expect(refused("a/../b")).toBe(`${start} in /a, the name ".." is not one`);
    expect(refused("x".repeat(256))).toContain("has 256 UTF-16 units, and 255 fit");
    expect(refused("Readme", "README")).toBe(`${start} in /, the name "Readme" is the same as "README" for FAT`);
    expect(refused("Größe", "GRÖßE")).toContain("is the same as");
    expect(refused("a", "a")).toBe(`${start} /a is there twice`);
    expect(refused("a", "a/b")).toBe(`${start} /a/b is in a file, not in a directory`);
    expect(thrownProblem(() => planFat({ ...WISH, label: "twelve chars" })).code).toBe("E_FAT_LABEL");
  });
});

describe("sizes", () => {
  const content = (sizeBytes: number): FatEntry => ({ path: "f", type: "file", content: { kind: "file", file: "x", sizeBytes } });

  test("too small say by how much, and the one that is told is enough", () => {
    const problem = thrownProblem(() => planFat({ ...WISH, entries: [content(2003 * 512 + 1)] }));
    expect([problem.code, problem.message, problem.hint]).toEqual([
      "E_FAT_TOO_SMALL",
      "writing a FAT file system of 1048576 bytes: its files need 512 bytes more",
      "make it 2097152 bytes or larger",
    ]);
    expect(planFat({ ...WISH, entries: [content(2003 * 512)] }).sizeBytes).toBe(MEBIBYTE);
    expect(thrownProblem(() => planFat({ ...WISH, entries: [content(2 ** 32)] })).code).toBe("E_FAT_FILE_SIZE");
  });

  test("are the smallest that fit", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 600 * MEBIBYTE }), fc.nat({ max: 100 * MEBIBYTE }), (sizeBytes, slackBytes) => {
        const entries = [content(sizeBytes)];
        const size = fatSizeFor(entries, slackBytes);
        const full = [content(sizeBytes), { ...content(slackBytes), path: "slack" }];
        expect(planFat({ ...WISH, sizeBytes: size, entries: full }).sizeBytes).toBe(size);
        if (size > MEBIBYTE)
          expect(thrownProblem(() => planFat({ ...WISH, sizeBytes: size - MEBIBYTE, entries: full })).code).toBe(
            "E_FAT_TOO_SMALL",
          );
      }),
    );
  });

  test("of every MiB up to 600, and of odd ones, make a kind whose number of clusters says so", () => {
    for (let sectors = 128; sectors < 600 * 2048; sectors += sectors < 9000 ? 1 : 777) {
      const { bits, clusters, fatSectors } = fatGeometry(sectors * 512, 600);
      expect([sectors, clusters < 4085 - 16 ? 12 : clusters < 65525 - 16 ? 16 : 32]).toEqual([sectors, bits]);
      expect((fatSectors * 512 * 8) / bits).toBeGreaterThanOrEqual(clusters + 2);
    }
    expect(() => fatGeometry(1000, 1)).toThrow(RangeError);
    expect(() => fatGeometry(2 ** 41, 1)).toThrow(RangeError);
  });
});

describe("trees at random", () => {
  const text = fc.stringMatching(/^[a-zA-Z0-9 ._~+äÄß✓-]{1,30}$/).filter((name) => !/[. ]$/.test(name) && !name.startsWith(" "));
  const path = fc.array(text, { minLength: 1, maxLength: 4 }).map((names) => names.join("/"));
  const entry = fc.record({
    path,
    bytes: fc.uint8Array({ maxLength: 3000 }).map((bytes) => bytes.map((byte) => 65 + (byte % 26))),
  });

  test("are clean, and come back as they were", () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 25 }), fc.constantFrom(1, 5, 64), (wanted, mebibytes) => {
        const entries = wanted.map((one) => file(one.path, one.bytes));
        const wish = { ...WISH, sizeBytes: mebibytes * MEBIBYTE, entries };
        try {
          planFat(wish);
        } catch (error) {
          // Names that are the same for FAT, or a file in a file.
          fc.pre(!(error instanceof Problem));
          throw error;
        }
        const image = written(wish);
        checked(image);
        const found = listed(readAtFile(image));
        expect(found.filter((line) => !line.endsWith("/"))).toEqual(
          wanted.map((one) => `${one.path}: ${Buffer.from(one.bytes).toString()}`).toSorted(),
        );
        expect(copiedOut(image)).toEqual(found);
      }),
      { numRuns: 15 },
    );
  });
});

describe("a reader", () => {
  test.each([12, 16, 32])("reads FAT%d that mkfs.fat and mcopy made, with files in pieces", (bits) => {
    const image = join(scratch, `foreign-${bits}`);
    const source = mkdtempSync(join(scratch, "in-"));
    const sizeMebibytes = { 12: 2, 16: 20, 32: 70 }[bits] ?? 0;
    run("mkfs.fat", "-C", "-F", String(bits), "-n", "FOREIGN", "-i", "cafe0001", image, String(sizeMebibytes * 1024));
    mkdirSync(join(source, "Some Directory"));
    const names = Array.from({ length: 40 }, (_, index) => `Some Directory/a rather long name, number ${index}`);
    for (const name of names) writeFileSync(join(source, name), name.repeat(100));
    run("mcopy", "-s", "-i", image, join(source, "Some Directory"), "::");
    // Every other file goes, and what comes then fills the gaps.
    run("mdel", "-i", image, ...names.filter((_, index) => index % 2 === 0).map((name) => `::${name}`));
    if (bits === 32) {
      // The hint where free clusters begin, which would lead behind the gaps: "not known".
      const bytes = readFileSync(image);
      bytes.fill(0xff, 512 + 492, 512 + 496);
      writeFileSync(image, bytes);
    }
    writeFileSync(join(source, "large.bin"), Buffer.alloc(200_000, "0123456789"));
    run("mcopy", "-i", image, join(source, "large.bin"), "::");
    expect(listed(readAtFile(image))).toEqual(copiedOut(image));
    const reading = readFat(readAtFile(image));
    expect(reading).toMatchObject({ bits, label: "FOREIGN", volumeId: 0xcafe0001 });
    expect(reading.entries.find((one) => one.path === "large.bin")?.runs.length).toBeGreaterThan(1);
  });

  test("refuses what is none, and chains that cross or go round", () => {
    const refused = (change: (bytes: Uint8Array) => void): string => {
      const bytes = readFileSync(written({ ...WISH, entries: [file("d/a", "x".repeat(600)), file("d/b", "y".repeat(600))] }));
      change(bytes);
      return thrownProblem(() => readFat(readAtOf(bytes))).message.replace("reading a FAT file system: ", "");
    };
    expect(refused((bytes) => bytes.fill(0, 510))).toBe("it has no boot sector");
    expect(refused((bytes) => bytes.fill(3, 13, 14))).toContain("3 sectors a cluster");
    expect(refused((bytes) => bytes.fill(1, 22, 23))).toContain("too short");
    // Directory d is cluster 2, a is 3 and 4, b is 5 and 6. In FAT12, 3 points to itself, to 5, or to nothing.
    expect(refused((bytes) => bytes.set([0x3f, 0x00], 512 + 4))).toContain("/d/a goes through cluster 3, which is used before");
    expect(refused((bytes) => bytes.set([0x5f, 0x00], 512 + 4))).toContain("/d/b goes through cluster 5, which is used before");
    expect(refused((bytes) => bytes.set([0x0f, 0x00], 512 + 4))).toBe("/d/a goes to cluster 0, which there is not");
  });

  test("follows directories only so deep, and so far", () => {
    const deep = (count: number): ReadAt => {
      const path = join(scratch, "deep.img");
      const names = Array.from({ length: count }, () => "x".repeat(200));
      writeImage(path, planFat({ ...WISH, entries: [file(names.join("/"), "deep")] }));
      return readAtFile(path);
    };
    expect(readFat(deep(20)).entries).toHaveLength(20);
    expect(thrownProblem(() => readFat(deep(21))).message).toContain("it has a path of 4220 characters");
    const many = (length: number): FatWish => {
      const entries = Array.from({ length }, (_, index) => file(`d/a name of two long slots ${index}`, ""));
      return { ...WISH, sizeBytes: 8 * MEBIBYTE, entries };
    };
    const path = written(many(3000), "many.img");
    expect(readFat(readAtFile(path)).entries).toHaveLength(3001);
    checked(path);
    expect(thrownProblem(() => planFat(many(17_000))).message).toContain("/d has more names than a directory can hold");
  });

  test("says a problem or gives something for bytes at random", () => {
    const good = readFileSync(written({ ...WISH, entries: TREE }));
    fc.assert(
      fc.property(fc.nat({ max: 24_000 }), fc.uint8Array({ minLength: 1, maxLength: 30 }), (at, noise) => {
        const bytes = new Uint8Array(good);
        bytes.set(noise, at);
        try {
          expect(readFat(readAtOf(bytes)).entries.length).toBeLessThan(1000);
        } catch (error) {
          expect(error).toMatchObject({ code: "E_FAT_DAMAGED" });
        }
      }),
    );
  });
});
