/**
 * UFS2 against file systems that FreeBSD made, and what it says of them; and what is written here against three readers: GRUB's, The Sleuth
 * Kit's and our own. What fsck_ffs(8) would find is found by `ufsFaults`, which is held to FreeBSD's own file systems first.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { thrownProblem } from "../base/testing.ts";
import type { FileSystemEntry, FileSystemPlan } from "./blocks.ts";
import {
  anyEntries,
  bytesOf,
  directory,
  expected,
  file,
  foreign,
  hardlink,
  MEBIBYTE,
  run,
  symlink,
  TIME,
} from "./ext4.testing.ts";
import { parseMtree } from "./mtree.ts";
import { readAtFile, writeImage } from "./testing.ts";
import { planUfs, type UfsOptions } from "./ufs.ts";
import { BLOCK, FRAGMENT } from "./ufs-format.ts";
import { readUfs, type UfsReading } from "./ufs-read.ts";
import { ufsFaults } from "./ufs.testing.ts";

const scratch = mkdtempSync(join(tmpdir(), "garth-ufs-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const image = join(scratch, "ufs.img");
const OPTIONS: UfsOptions = { label: "garth", identity: [TIME, 0x1234_5678], timeSeconds: TIME };

function written(entries: readonly FileSystemEntry[], options: Partial<UfsOptions> = {}): FileSystemPlan {
  const plan = planUfs(entries, { ...OPTIONS, ...options });
  writeImage(image, plan.image);
  return plan;
}

const reading = (): UfsReading => readUfs(readAtFile(image));
const digest = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
const patterned = (sizeBytes: number): Uint8Array =>
  Uint8Array.from({ length: sizeBytes }, (_, at) => ((at * 7 + (at >> 8)) & 0xff) | 1);
const refusal = (entries: readonly FileSystemEntry[], options: Partial<UfsOptions> = {}): string => {
  const { code, message } = thrownProblem(() => planUfs(entries, { ...OPTIONS, ...options }));
  return `${code} ${message.replace("planning a UFS2 file system: ", "")}`;
};

describe("file systems that FreeBSD made", () => {
  const samples = ["sample", "sample-2g"] as const;
  const testdata = join(import.meta.dir, "testdata/ufs2");
  const place = (name: string): string => join(scratch, `${name}.img`);
  beforeAll(() => {
    for (const name of samples) run("zstd", "-dqf", "--sparse", join(testdata, `${name}.img.zst`), "-o", place(name));
  });
  const KINDS = { dir: "directory", file: "file", link: "symlink" } as const;

  for (const name of samples) {
    test(`${name}: every entry is as its mtree says`, () => {
      const { list, readFile, facts } = readUfs(readAtFile(place(name)));
      expect(facts).toMatchObject({ label: "sample", blockBytes: BLOCK, fragmentBytes: FRAGMENT, isClean: true });
      const found = new Map(list().map((entry) => [entry.path, entry]));
      const said = parseMtree(
        new TextDecoder().decode(Bun.zstdDecompressSync(readFileSync(join(testdata, "sample.mtree.zst")))),
        "sample.mtree",
      );
      expect(found.size).toBe(said.length);
      for (const entry of said) {
        const { type } = entry;
        if (type !== "dir" && type !== "file" && type !== "link") throw new Error(`${entry.path} is a ${type}`);
        const is = found.get(entry.path);
        expect(is).toMatchObject({
          type: KINDS[type],
          ...(entry.mode !== undefined && { mode: entry.mode }),
          ...(entry.uid !== undefined && { uid: entry.uid }),
          ...(entry.gid !== undefined && { gid: entry.gid }),
          ...(entry.nlink !== undefined && { links: entry.nlink }),
          ...(entry.link !== undefined && { target: entry.link }),
          ...(type === "file" && entry.sizeBytes !== undefined && { sizeBytes: entry.sizeBytes }),
        });
        if (entry.sha256 !== undefined) expect(digest(readFile(entry.path) ?? new Uint8Array())).toBe(entry.sha256);
      }
    });

    test(`${name}: nothing is found wrong`, () => expect(ufsFaults(readAtFile(place(name)))).toEqual([]));
  }

  test("written here, their tree is the same, and so are all sums", () => {
    const theirs = readUfs(readAtFile(place("sample")));
    const first = new Map<number, string>();
    const entries = theirs.list().map((entry): FileSystemEntry => {
      const { path, mode, uid, gid, timeSeconds, type, inode } = entry;
      const common = { path, mode, uid, gid, timeSeconds };
      const before = type === "directory" ? undefined : first.get(inode);
      if (before !== undefined) return { ...common, type: "hardlink", target: before };
      first.set(inode, path);
      if (type === "directory") return { ...common, type };
      if (type === "symlink") return { ...common, type, target: entry.target ?? "" };
      const bytes = theirs.readFile(path, 2 ** 26);
      if (bytes === undefined) throw new Error(`${path} is a ${type}`);
      return { ...common, type: "file", content: { kind: "bytes", bytes } };
    });
    const { usage } = written(entries, { sizeBytes: 48 * MEBIBYTE });
    expect(ufsFaults(readAtFile(image))).toEqual([]);
    // Numbers of inodes are each writer's own.
    const plain = (from: UfsReading) => from.list().map((entry) => ({ ...entry, inode: 0 }));
    expect(plain(reading())).toEqual(plain(theirs));
    for (const { path, type } of theirs.list()) {
      if (type === "file")
        expect(digest(reading().readFile(path) ?? new Uint8Array())).toBe(digest(theirs.readFile(path) ?? new Uint8Array()));
    }
    // Holes are holes here too: no more is taken than where FreeBSD wrote it.
    expect(usage.freeBytes).toBeGreaterThanOrEqual((467 * 8 + 7) * FRAGMENT);
  });

  test("a bit that is wrong is found", () => {
    const broken = join(scratch, "broken.img");
    const bytes = readFileSync(place("sample"));
    // In the map of free fragments, and in the sums of the superblock.
    const map = 32 * FRAGMENT + 168 + 6144 / 8;
    bytes[map + 1060] = (bytes[map + 1060] ?? 0) ^ 1;
    writeFileSync(broken, bytes);
    expect(ufsFaults(readAtFile(broken))).not.toEqual([]);
    writeFileSync(broken, readFileSync(place("sample")).subarray(0, 65_536));
    expect(thrownProblem(() => readUfs(readAtFile(broken))).code).toBe("E_UFS_DAMAGED");
  });
});

const SIZES = [0, 1, 4_095, 4_096, 4_097, 32_767, 32_768, 32_769, 12 * BLOCK - 1, 12 * BLOCK, 12 * BLOCK + 1, 5 * MEBIBYTE];
const TREE: readonly FileSystemEntry[] = [
  directory("etc"),
  file("etc/passwd", "root:*:0:0::0:0::/root:/bin/sh\n"),
  file("bin/su", "setuid", { mode: 0o4555 }),
  directory("tmp", 0o1777),
  ...SIZES.map((sizeBytes) => file(`sizes/${sizeBytes}`, patterned(sizeBytes))),
  hardlink("again/etc-passwd", "etc/passwd"),
  ...[1, 119, 120, 900, 1_023].map((length) => symlink(`links/${length}`, "t".repeat(length))),
  file("kernel", "schg", { flags: 0x0002_0000 }),
  file("old", "before 1970", { timeSeconds: -1000 }),
  file("owned", "by somebody", { uid: 100_000, gid: 4_000_000_000 }),
  ...Array.from({ length: 1_500 }, (_, at) => file(`many/${"n".repeat(at % 240)}-${at}`, "x")),
];

describe("a UFS2 file system", () => {
  test("has what was put in, by three readers, and nothing is wrong with it", () => {
    const { usage } = written(TREE);
    expect(ufsFaults(readAtFile(image))).toEqual([]);
    const { list, readFile } = reading();
    const found = new Map(list().map((entry) => [entry.path, entry]));
    for (const [path, wanted] of expected(TREE)) {
      const { sizeBytes, ...rest } = wanted;
      expect(found.get(path)).toMatchObject(wanted.type === "directory" ? rest : { ...rest, sizeBytes });
    }
    expect(found.get("kernel")?.flags).toBe(0x0002_0000);
    expect(found.get("etc/passwd")?.links).toBe(2);
    for (const sizeBytes of SIZES) {
      expect(digest(readFile(`sizes/${sizeBytes}`) ?? new Uint8Array([1]))).toBe(digest(patterned(sizeBytes)));
      expect(digest(Buffer.from(grub("cat", `/sizes/${sizeBytes}`)))).toBe(digest(patterned(sizeBytes)));
    }
    // And a directory of its own, for files without a name.
    const names = run("fls", "-f", "ufs2", "-r", image).trimEnd().split("\n");
    expect(names.filter((line) => !line.endsWith("$OrphanFiles"))).toHaveLength(list().length - 1);
    expect(usage.inodes - usage.freeInodes).toBe(new Set(list().map(({ inode }) => inode)).size + 2);
  });

  function grub(command: string, path: string): Uint8Array {
    const { stdout, exitCode, stderr } = Bun.spawnSync(["grub-fstest", image, command, `(loop0)${path}`]);
    if (exitCode !== 0) throw new Error(stderr.toString());
    return stdout;
  }

  for (const sizeBytes of [48 * MEBIBYTE, 64 * MEBIBYTE + 3 * FRAGMENT, 700 * MEBIBYTE, 3 * 2 ** 30, 40 * 2 ** 30]) {
    test(`of ${sizeBytes} bytes is divided soundly`, () => {
      const { usage } = written(TREE, { sizeBytes });
      expect(usage.sizeBytes).toBe(sizeBytes);
      if (sizeBytes <= 2 ** 30) expect(ufsFaults(readAtFile(image))).toEqual([]);
      expect(reading().facts.sizeBytes).toBe(sizeBytes);
      expect(run("fsstat", "-f", "ufs2", image)).toContain("Volume Name: garth");
      truncateSync(image, 0);
    });
  }

  test("comes out the same from the same entries, and a changed file changes little", () => {
    const bytesFor = (last: string): Buffer => {
      written([...TREE, file("last", last)], { sizeBytes: 48 * MEBIBYTE });
      return readFileSync(image);
    };
    const [one, again, other] = [bytesFor("a"), bytesFor("a"), bytesFor("b")];
    expect(one.equals(again)).toBe(true);
    const fragment = (at: number, of: Buffer): Buffer => of.subarray(at * FRAGMENT, (at + 1) * FRAGMENT);
    const changed = Array.from({ length: one.length / FRAGMENT }, (_, at) => !fragment(at, one).equals(fragment(at, other)));
    expect(changed.filter(Boolean)).toHaveLength(1);
  });

  test("files over single and double indirect blocks, and holes", () => {
    // 4096 addresses in a block: 12 + 4096 blocks are 128 MiB and some.
    const large = join(scratch, "large");
    const sizeBytes = (12 + 4_096 + 5) * BLOCK + 17;
    writeFileSync(large, "");
    truncateSync(large, sizeBytes);
    const end = Buffer.from("the end");
    const handle = Bun.file(large).size;
    expect(handle).toBe(sizeBytes);
    const bytes = readFileSync(large);
    end.copy(bytes, sizeBytes - end.length);
    bytes[13 * BLOCK] = 7;
    writeFileSync(large, bytes);
    const whole = { ...foreign("whole", sizeBytes, large) };
    const data = [
      { from: 13 * BLOCK, to: 13 * BLOCK + 1 },
      { from: sizeBytes - end.length, to: sizeBytes },
    ];
    const sparse: FileSystemEntry = { ...file("sparse"), type: "file", content: { kind: "file", file: large, sizeBytes, data } };
    const { usage, dataRuns } = written([whole, sparse]);
    expect(ufsFaults(readAtFile(image))).toEqual([]);
    for (const path of ["whole", "sparse"]) expect(digest(reading().readFile(path, 2 ** 28) ?? end)).toBe(digest(bytes));
    expect(
      dataRuns.filter(({ file: name }) => name === large).reduce((sum, { sizeBytes: count }) => sum + count, 0),
    ).toBeLessThan(sizeBytes + 3 * BLOCK);
    expect(usage.usedBytes).toBeLessThan(1.1 * sizeBytes);
  });
});

describe("any tree", () => {
  test("comes back through two readers, and nothing is wrong with it", () => {
    fc.assert(
      fc.property(
        anyEntries.map(held),
        fc.constantFrom(undefined, 16 * MEBIBYTE, 24 * MEBIBYTE + FRAGMENT),
        (entries, sizeBytes) => {
          written(entries, { freeBytes: MEBIBYTE, ...(sizeBytes !== undefined && { sizeBytes }) });
          expect(ufsFaults(readAtFile(image))).toEqual([]);
          const { list, readFile } = reading();
          const found = new Map(list().map((entry) => [entry.path, entry]));
          for (const [path, { sizeBytes: size, ...rest }] of expected(entries)) {
            expect(found.get(path)).toMatchObject(rest.type === "directory" ? rest : { ...rest, sizeBytes: size });
          }
          for (const entry of entries) {
            if (entry.type === "file") expect(readFile(entry.path)).toEqual(bytesOf(entry));
          }
          expect(bodies()).toEqual(
            list()
              .filter(({ path }) => path !== "")
              .map(
                ({ inode, uid, gid, sizeBytes: size, timeSeconds }) =>
                  `${inode} ${uid | 0} ${gid | 0} ${size} ${timeSeconds >>> 0}`,
              )
              .toSorted(),
          );
        },
      ),
      { numRuns: 20 },
    );
  });

  /** What this file system holds: no devices, targets up to MAXPATHLEN, times as The Sleuth Kit counts them. */
  function held(entries: readonly FileSystemEntry[]): readonly FileSystemEntry[] {
    return entries.map((entry): FileSystemEntry => {
      const { path, mode, uid, gid } = entry;
      const timeSeconds = Math.abs(entry.timeSeconds) % 2 ** 31;
      if (entry.type === "character" || entry.type === "block") return { path, mode, uid, gid, timeSeconds, type: "fifo" };
      if (entry.type === "symlink") return { ...entry, timeSeconds, target: entry.target.slice(0, 300) };
      return { ...entry, timeSeconds };
    });
  }

  /** Of The Sleuth Kit: inode, owner, group, size, time of change of each name. */
  function bodies(): readonly string[] {
    return run("fls", "-f", "ufs2", "-r", "-p", "-m", "/", image)
      .split("\n")
      .flatMap((line) => {
        const fields = line.split("|").slice(-9);
        if (fields.length < 9 || line.includes("/$OrphanFiles|")) return [];
        const [inode, , uid = "", gid = "", size = "", , time = ""] = fields;
        return [`${inode} ${Number(uid) | 0} ${Number(gid) | 0} ${size} ${time}`];
      })
      .toSorted();
  }
});

describe("what no UFS2 can hold", () => {
  test("entries", () => {
    expect(refusal([{ ...directory("dev/null"), type: "character", major: 1, minor: 3 }])).toBe(
      'E_BAD_TREE "dev/null" is a character device: FreeBSD has its devices in devfs, and nodes in UFS are of no use',
    );
    expect(refusal([file("n".repeat(256))])).toBe(`E_BAD_TREE "${"n".repeat(256)}" has a name of 256 bytes; 255 are allowed`);
    expect(refusal([symlink("long", "t".repeat(1_024))])).toBe(
      'E_BAD_TREE "long" is a symbolic link with a target of 1024 bytes; 1023 are allowed',
    );
    expect(refusal([foreign("huge", 2 ** 43 + 1)])).toContain('E_BAD_TREE "huge" has a size of');
    const names = Array.from({ length: 65_500 }, (_, at) => hardlink(`l${at}`, "one"));
    expect(refusal([file("one"), ...names])).toBe('E_BAD_TREE "one" has more than 65500 names, which it cannot count');
    const many = Array.from({ length: 65_499 }, (_, at) => directory(`d/${at}`));
    expect(refusal(many)).toBe('E_BAD_TREE "d" has more than 65498 directories in it, which it cannot count');
  });

  test("a size that is too small is told with what is large, and the size that is told is enough", () => {
    const entries = [foreign("small", 1_000), foreign("large", 20 * MEBIBYTE), foreign("larger", 30 * MEBIBYTE)];
    const problem = thrownProblem(() => planUfs(entries, { ...OPTIONS, sizeBytes: 32 * MEBIBYTE }));
    expect(problem.code).toBe("E_UFS_TOO_SMALL");
    expect(problem.details.slice(3, 5)).toEqual([
      `large:   ${30 * MEBIBYTE} bytes "larger"`,
      `large:   ${20 * MEBIBYTE} bytes "large"`,
    ]);
    const needed = Number(/needed: +([0-9]+)/.exec(problem.details[0] ?? "")?.[1]);
    expect(planUfs(entries, { ...OPTIONS, sizeBytes: needed }).usage.sizeBytes).toBe(needed);
    expect(refusal(entries, { sizeBytes: needed - MEBIBYTE })).toStartWith("E_UFS_TOO_SMALL");
  });

  test("more entries than inodes", () => {
    const problem = thrownProblem(() => planUfs([file("a"), file("b")], { ...OPTIONS, inodes: 4 }));
    expect([problem.code, ...problem.details]).toEqual(["E_UFS_TOO_SMALL", "needed: 5 inodes", "there:  4 inodes"]);
    expect(planUfs([file("a"), file("b")], { ...OPTIONS, inodes: 5 }).usage.freeInodes).toBe(128 - 5);
  });

  test("options that mean nothing", () => {
    for (const options of [
      { label: "" },
      { label: "a b" },
      { label: "l".repeat(32) },
      { sizeBytes: 4_097 },
      { sizeBytes: 2 ** 45 },
      { timeSeconds: 0.5 },
      { freeBytes: -1 },
      { minimumFreePercent: 100 },
      { identity: [-1, 0] as const },
    ]) {
      expect(refusal([], options)).toStartWith("E_UFS_OPTIONS");
    }
  });
});
