/**
 * ISO 9660 against those who read it: libarchive (bsdtar), libisofs (xorriso), GRUB, isoinfo of cdrkit, and sgdisk where it is a disk.
 * The kernel's own reader and firmware are in the slow test.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { thrownProblem } from "../base/testing.ts";
import type { FileSystemEntry } from "./blocks.ts";
import { anyEntries, directory, file, foreign, run, symlink, TIME } from "./ext4.testing.ts";
import { readAtFile, writeImage } from "./testing.ts";
import { readFat } from "./fat-read.ts";
import { readGpt } from "./gpt.ts";
import { ISO_ESP_AT, type IsoOptions, type IsoPlan, planIso } from "./iso9660.ts";
import { digest, espOf, type Fact, factsBelow, factsOf, OPTIONS, SIZES, patterned, TREE } from "./iso9660.testing.ts";

const scratch = mkdtempSync(join(tmpdir(), "garth-iso-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const image = join(scratch, "medium.iso");

function written(entries: readonly FileSystemEntry[], options: Partial<IsoOptions> = {}): IsoPlan {
  const plan = planIso(entries, { ...OPTIONS, ...options });
  writeImage(image, plan.image);
  return plan;
}

/** What somebody's reader makes of the image, in a directory of its own. */
function unpacked(reader: (into: string) => void): ReadonlyMap<string, Fact> {
  const into = mkdtempSync(join(scratch, "unpacked-"));
  try {
    reader(into);
    return factsBelow(into);
  } finally {
    rmSync(into, { recursive: true, force: true });
  }
}

const byBsdtar = (into: string): void => void run("bsdtar", "-xpf", image, "-C", into);
const byXorriso = (into: string): void => {
  run("xorriso", "-osirrox", "on", "-abort_on", "SORRY", "-indev", image, "-extract", "/", into);
};

/** As they come back: how many names a directory has is the business of the file system that they come to. */
function comparable(facts: ReadonlyMap<string, Fact>, change: (fact: Fact) => Fact | undefined = (fact) => fact): unknown {
  // The root is the directory that was there before.
  return [...facts]
    .filter(([path]) => path !== "")
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([path, fact]) => {
      const changed = change(fact.type === "directory" ? { ...fact, links: 0 } : fact);
      return changed === undefined ? [] : [[path, changed]];
    });
}

/** bsdtar finds names of one file by what they have in common: where its content lies. */
function asBsdtar(fact: Fact): Fact {
  return fact.type === "file" && fact.content !== digest(new Uint8Array()) ? fact : { ...fact, links: 1 };
}

/** xorriso gives links no owners and no times, makes no devices nor hard links, and writes two slashes as one. */
function asXorriso(fact: Fact): Fact | undefined {
  if (fact.type === "character" || fact.type === "block") return undefined;
  if (fact.type === "symlink")
    return { ...fact, uid: 0, gid: 0, timeSeconds: 0, links: 1, content: fact.content.replaceAll(/\/+/g, "/") };
  return { ...fact, links: 1 };
}

const refusal = (entries: readonly FileSystemEntry[], options: Partial<IsoOptions> = {}): string => {
  const { code, message } = thrownProblem(() => planIso(entries, { ...OPTIONS, ...options }));
  return `${code} ${message.replace("planning an ISO 9660 volume: ", "")}`;
};

describe("a tree with all that is held", () => {
  test("comes back through bsdtar", () => {
    written(TREE);
    expect(comparable(unpacked(byBsdtar))).toEqual(comparable(factsOf(TREE)));
  });

  test("comes back through xorriso", () => {
    written(TREE);
    expect(comparable(unpacked(byXorriso), asXorriso)).toEqual(comparable(factsOf(TREE), asXorriso));
  });

  test("is read by GRUB", () => {
    written(TREE);
    for (const size of SIZES.slice(1)) {
      const { stdout, exitCode } = Bun.spawnSync(["grub-fstest", image, "cat", `(loop0)/sizes/${size}`]);
      expect([exitCode, digest(stdout)]).toEqual([0, digest(patterned(size))]);
    }
    const names = run("grub-fstest", image, "ls", "--", "-a", "(loop0)/same/").trim().split(/\s+/);
    const same = ["../", "./", ".readme", "README", "Readme.txt", "a.b.c.d", "me", "read", "readme", "readme.TXT"];
    expect(names.toSorted()).toEqual(same.toSorted());
  });

  test("has names of level 3 beneath, each once, in their order", () => {
    written(TREE);
    const names = run("isoinfo", "-f", "-i", image).split("\n").filter(Boolean);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => name.startsWith("/SAME/"))).toEqual([
      "/SAME/A_B_C.D;1",
      "/SAME/README.;1",
      "/SAME/README.TXT;1",
      "/SAME/README_1.;1",
      "/SAME/README_1.TXT;1",
      "/SAME/READ_ME.;1",
      "/SAME/_README.;1",
    ]);
    for (const name of names) {
      for (const part of name.slice(1).split("/"))
        expect(part).toMatch(/^(?:[A-Z0-9_]{1,31}|[A-Z0-9_]{0,30}\.[A-Z0-9_]{0,30};1)$/);
    }
  });
});

test("nothing lies in sector 0: FreeBSD would leave it out of its directory", () => {
  written(TREE);
  const lines = run("isoinfo", "-l", "-R", "-i", image).split("\n");
  const places = lines.flatMap((line) => /\[ *(\d+) \d+\]/.exec(line)?.[1] ?? []).map(Number);
  expect(places.length).toBeGreaterThan(TREE.length);
  expect(Math.min(...places)).toBe(20);
});

describe("any tree", () => {
  test("comes back through two readers", () => {
    fc.assert(
      fc.property(anyEntries.map(held), (entries) => {
        written(entries);
        const wanted = factsOf(entries);
        expect(comparable(unpacked(byBsdtar), asBsdtar)).toEqual(comparable(wanted, asBsdtar));
        expect(comparable(unpacked(byXorriso), asXorriso)).toEqual(comparable(wanted, asXorriso));
      }),
      { numRuns: 12 },
    );
  });

  /** Names and paths that everybody takes, times since 1970, devices that Linux takes. */
  function held(entries: readonly FileSystemEntry[]): readonly FileSystemEntry[] {
    const paths = new Set<string>();
    return [directory(""), ...entries].flatMap((entry): FileSystemEntry[] => {
      const { path, mode, uid, gid } = entry;
      if (Buffer.byteLength(path) > 900 || path.split("/").some((name) => Buffer.byteLength(name) > 253)) return [];
      if (entry.type === "hardlink" && !paths.has(entry.target)) return [];
      if (path.includes("/") && !paths.has(path.slice(0, path.lastIndexOf("/")))) return [];
      paths.add(path);
      const timeSeconds = Math.abs(entry.timeSeconds) % 2 ** 31;
      if (entry.type === "character" || entry.type === "block") {
        return [{ ...entry, timeSeconds, major: entry.major % 200, minor: entry.minor % 256 }];
      }
      if (entry.type === "symlink")
        return [{ path, mode: 0o777, uid, gid, timeSeconds, type: "symlink", target: entry.target.slice(0, 250) }];
      return [{ ...entry, mode, timeSeconds }];
    });
  }
});

describe("as a disk", () => {
  test("it has a sound partition table, with the ESP where El Torito has it", () => {
    const plan = written(TREE);
    expect(run("sgdisk", "-v", image)).toContain("No problems found");
    const { findings, partitions } = readGpt(readAtFile(image), plan.image.sizeBytes);
    expect(findings).toEqual([]);
    expect(partitions.map(({ name, firstByte }) => [name, firstByte])).toEqual([
      ["EFI system", ISO_ESP_AT],
      ["GARTH", ISO_ESP_AT + OPTIONS.esp.sizeBytes],
    ]);
    const report = run("xorriso", "-indev", image, "-report_el_torito", "plain", "-report_system_area", "plain");
    expect(report).toMatch(/El Torito boot img : +1 +UEFI +y +none +0x0000 +0x00 +2048 +512\n/);
    expect(report).toMatch(/GPT start and size : +1 +2048 +2048\n/);
    expect(report).toContain("Volume id    : 'GARTH'");
    const esp = readFat((at, length) => readAtFile(image)(ISO_ESP_AT + at, length));
    expect(esp.entries.map(({ path }) => path)).toContain("EFI/BOOT/BOOTX64.EFI");
  });

  test("without that its system area is empty", () => {
    const { disk: _, ...plain } = OPTIONS;
    const plan = planIso(TREE, plain);
    writeImage(image, plan.image);
    expect(plan.disk).toBeUndefined();
    expect(readAtFile(image)(0, 32_768).every((byte) => byte === 0)).toBe(true);
    expect(comparable(unpacked(byBsdtar))).toEqual(comparable(factsOf(TREE)));
  });

  test("an ESP with more sectors than El Torito counts reaches to the end of the medium", () => {
    written([], { esp: espOf(40 * 2 ** 20, {}) });
    expect(run("xorriso", "-indev", image, "-report_el_torito", "plain")).toMatch(/El Torito boot img : +1 +UEFI +y .* 0 +512\n/);
  });
});

describe("contents", () => {
  test("of pieces of another image lie one right behind the other", () => {
    const other = join(scratch, "other");
    writeFileSync(other, patterned(100_000));
    const pieces = [
      { at: 5_000, kind: "bytes", bytes: patterned(3) },
      { at: 70_000, kind: "file", file: other, offset: 777, sizeBytes: 90_001 },
      { at: 900_000, kind: "bytes", bytes: new Uint8Array(2_048) },
      { at: 990_000, kind: "bytes", bytes: patterned(5_000) },
    ] as const;
    const { usage } = written([], { packed: [{ path: "images/one", pieces, mode: 0o600 }] });
    const whole = Buffer.concat([
      patterned(3),
      patterned(100_000).subarray(777, 90_778),
      new Uint8Array(2_048),
      patterned(5_000),
    ]);
    const found = unpacked(byBsdtar).get("images/one");
    expect(found).toEqual({ type: "file", mode: 0o600, uid: 0, gid: 0, timeSeconds: TIME, links: 1, content: digest(whole) });
    expect(usage.contentBytes).toBe(whole.length);
  });

  test("of a file with holes are read only where there is something", () => {
    const sparse = join(scratch, "sparse");
    writeFileSync(sparse, "the beginning");
    truncateSync(sparse, 2 ** 20);
    const data = [{ from: 0, to: 4_096 }];
    const entry: FileSystemEntry = {
      ...file("sparse"),
      type: "file",
      content: { kind: "file", file: sparse, sizeBytes: 2 ** 20, data },
    };
    const { image: planned } = written([entry]);
    expect(planned.pieces.flatMap((piece) => (piece.kind === "file" ? [piece.sizeBytes] : []))).toEqual([4_096]);
    expect(unpacked(byBsdtar).get("sparse")?.content).toBe(digest(readFileSync(sparse)));
  });

  test("of more than 4 GiB are in several extents", () => {
    const large = join(scratch, "large");
    const sizes = [2 ** 32 - 2_048, 2 ** 32 - 2_047, 2 ** 32, 9 * 2 ** 30 + 17];
    writeFileSync(large, "");
    truncateSync(large, Math.max(...sizes));
    const entries = sizes.map((size): FileSystemEntry => ({
      ...file(`large/${size}`),
      type: "file",
      content: { kind: "file", file: large, sizeBytes: size, data: [] },
    }));
    written([...entries, file("large/z", "behind them")]);
    for (const lines of [run("bsdtar", "-tvf", image), run("xorriso", "-indev", image, "-find", "/large", "-exec", "lsdl")]) {
      for (const size of sizes) expect(lines).toMatch(new RegExp(`${size} .*large/${size}'?\n`));
    }
    expect(run("bsdtar", "-xOf", image, "large/z")).toBe("behind them");
    truncateSync(image, 0);
  });
});

describe("the same entries", () => {
  test("are the same bytes, and always were", () => {
    const bytesOf = (): Buffer => {
      written([file("etc/motd", "hello", { uid: 1, gid: 2 }), symlink("motd", "etc/motd")]);
      return readFileSync(image);
    };
    const [one, again] = [bytesOf(), bytesOf()];
    expect(one.equals(again)).toBe(true);
    expect(digest(one)).toBe("a7b269a7bc4074ba7cb477901834ded62186f712fd3e13a4fc15716280218a70");
  });
});

describe("what no ISO 9660 can hold", () => {
  test("entries", () => {
    expect(refusal([file("n".repeat(254))])).toBe(`E_BAD_TREE "${"n".repeat(254)}" has a name of 254 bytes; 253 are allowed`);
    expect(refusal([symlink("long", "t".repeat(1_024))])).toBe(
      'E_BAD_TREE "long" is a symbolic link with a target of 1024 bytes; 1023 are allowed',
    );
    expect(refusal([file("old", "", { timeSeconds: -(2 ** 32) })])).toStartWith('E_BAD_TREE "old" has a time of -4294967296;');
    expect(refusal([file("late", "", { timeSeconds: 2 ** 33 })])).toStartWith('E_BAD_TREE "late" has a time of 8589934592;');
    expect(refusal([foreign("huge", 2 ** 40)])).toStartWith('E_BAD_TREE "huge" has a size of');
    expect(refusal([file("a")], { packed: [{ path: "a", pieces: [] }] })).toBe('E_BAD_TREE "a" is there twice');
    expect(refusal([{ ...file("dev"), type: "character", major: 1, minor: 256 }])).toStartWith(
      'E_BAD_TREE "dev" has a minor number of 256;',
    );
  });

  test("more than it can count", () => {
    const many = Array.from({ length: 65_535 }, (_, at) => directory(`${at % 300}/${at}`));
    expect(refusal(many)).toBe(
      'E_ISO_TOO_LARGE planning the ISO 9660 volume "GARTH": it has 65836 directories, and 65535 can be numbered',
    );
    const large = Array.from({ length: 25 }, (_, at) => foreign(`${at}`, 390 * 2 ** 30));
    expect(refusal(large)).toContain("E_ISO_TOO_LARGE");
  });

  test("options that mean nothing", () => {
    for (const options of [
      { label: "" },
      { label: "lower" },
      { label: "L".repeat(33) },
      { timeSeconds: 0.5 },
      { timeSeconds: 2 ** 40 },
      { esp: { sizeBytes: 0, pieces: [] } },
      { esp: { sizeBytes: 513, pieces: [] } },
    ]) {
      expect(refusal([], options)).toStartWith("E_ISO_OPTIONS");
    }
  });
});
