/** Sizes that hurt, growth with resize2fs, and the kernel's own reading and writing through a loop device. */
import { afterAll, afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type { FileSystemEntry, FileSystemPlan } from "./blocks.ts";
import { planExt4 } from "./ext4.ts";
import { nameHash } from "./ext4-hash.ts";
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
  MEBIBYTE,
  OPTIONS,
  run,
  symlink,
  TIME,
} from "./ext4.testing.ts";
import { readAtFile, writeImage } from "./testing.ts";

setDefaultTimeout(120_000);
const GIBIBYTE = 2 ** 30;
const scratch = fs.mkdtempSync(join(tmpdir(), "garth-ext4-slow-"));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));
const image = join(scratch, "ext4.img");

const mounted: string[] = [];
afterEach(() => {
  for (let point = mounted.pop(); point !== undefined; point = mounted.pop()) run("umount", point);
});

/** Contents that the machine would have by name are left out: nobody who checks looks into them. */
function written(entries: readonly FileSystemEntry[], options: Partial<typeof OPTIONS> = {}): FileSystemPlan {
  const plan = planExt4(entries, { ...OPTIONS, ...options });
  writeImage(image, { ...plan.image, pieces: plan.image.pieces.filter((piece) => piece.kind === "bytes") });
  return plan;
}

/** Mounted until `unmount` or the end of the test, whichever is first. */
function mount(options: string): string {
  const point = fs.mkdtempSync(join(scratch, "mnt-"));
  run("mount", "-t", "ext4", "-o", `loop,${options}`, image, point);
  mounted.push(point);
  return point;
}

function unmount(point: string): void {
  mounted.splice(mounted.indexOf(point), 1);
  run("umount", point);
}

/** Every byte, mode, owner, device and time of what the kernel shows, against the entries. */
function compare(point: string, entries: readonly FileSystemEntry[]): void {
  for (const [path, entry] of expected(entries)) {
    const stat = fs.lstatSync(join(point, path), { bigint: true });
    const { target, device, type, sizeBytes, ...facts } = entry;
    expect({
      path,
      mode: Number(stat.mode) & 0o7777,
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      timeSeconds: Number(stat.mtimeNs / 1_000_000_000n),
    }).toEqual({ path, ...facts });
    if (type === "symlink") expect(fs.readlinkSync(join(point, path))).toBe(target ?? "");
    if (type === "file") expect(Number(stat.size)).toBe(sizeBytes);
    if (device !== undefined) {
      const { major, minor } = device;
      expect(stat.rdev).toBe(BigInt((minor & 0xff) | (major << 8)) | (BigInt(minor & ~0xff) << 12n));
    }
  }
  const files = entries.filter((entry) => entry.type === "file" && entry.content.kind === "bytes");
  for (const entry of files) expect(Buffer.compare(fs.readFileSync(join(point, entry.path)), bytesOf(entry))).toBe(0);
  const there = new Set(["", "lost+found"]);
  for (let { path } of entries)
    for (; !there.has(path); path = path.slice(0, Math.max(path.lastIndexOf("/"), 0))) there.add(path);
  expect(run("find", point, "-printf", ".").length).toBe(there.size);
}

describe("large", () => {
  test("a directory of 40,000 names", () => {
    written(Array.from({ length: 40_000 }, (_, number) => file(`d/${number}-größe`)));
    fsck(image);
    const point = mount("ro");
    expect(fs.readdirSync(join(point, "d")).length).toBe(40_000);
    // By name, and so through the index.
    for (let number = 0; number < 40_000; number += 7) expect(fs.existsSync(join(point, `d/${number}-größe`))).toBeTrue();
    expect(fs.existsSync(join(point, "d/40000-größe"))).toBeFalse();
  });

  test("a directory whose index has two levels", () => {
    const name = (number: number): string => `d/${"n".repeat(240)}${number}`;
    written(Array.from({ length: 12_000 }, (_, number) => file(name(number))));
    fsck(image);
    expect(debugfs(image, "htree_dump /d").slice(0, 500)).toMatch(/Indirect levels: 1\n/);
    const point = mount("rw");
    for (let number = 0; number < 12_000; number += 7) expect(fs.existsSync(join(point, name(number)))).toBeTrue();
    for (let number = 12_000; number < 13_000; number += 1) fs.writeFileSync(join(point, name(number)), "");
    for (let number = 0; number < 12_000; number += 3) fs.unlinkSync(join(point, name(number)));
    unmount(point);
    fsck(image);
  });

  test("names of one hash on both sides of a block's end", () => {
    const seed = [...Buffer.from(OPTIONS.hashSeed.replaceAll("-", ""), "hex")];
    const word = (at: number): number => Buffer.from(seed).readUInt32LE(at);
    const words = [word(0), word(4), word(8), word(12)] as const;
    const byHash = new Map<number, string>();
    let pair: readonly [string, string] | undefined;
    for (let number = 10_000_000; pair === undefined || byHash.size < 100_000; number += 1) {
      const name = String(number);
      const hash = nameHash(new TextEncoder().encode(name), words);
      const other = byHash.get(hash);
      if (other !== undefined) pair ??= [other, name];
      byHash.set(hash, name);
    }
    const hash = nameHash(new TextEncoder().encode(pair[0]), words);
    const below = [...byHash].filter(([of]) => of < hash).map(([, name]) => name);
    const above = [...byHash].filter(([of]) => of > hash).map(([, name]) => name);
    // A block holds (4096 - 12) / 16 names of 8 bytes: the first of the pair is the last of its block.
    const inBlock = Math.floor((4096 - 12) / 16);
    expect(below.length).toBeGreaterThan(inBlock - 1);
    const names = [...below.slice(0, inBlock - 1), ...pair, ...above.slice(0, 100)];
    expect(names.length).toBeGreaterThan(inBlock + 1);
    written(names.map((name) => file(`d/${name}`)));
    fsck(image);
    expect(debugfs(image, "htree_dump /d")).toContain(`Hash 0x${(hash + 1).toString(16).padStart(8, "0")}, block 2`);
    const point = mount("ro");
    for (const name of names) expect(fs.existsSync(join(point, "d", name))).toBeTrue();
  });

  test("64 GiB with files over many groups", () => {
    const entries = [foreign("50g", 50 * GIBIBYTE), foreign("2g", 2 * GIBIBYTE + 5), file("end", "end")];
    const { dataRuns, usage, image: planned } = written(entries, { sizeBytes: 64 * GIBIBYTE });
    fsck(image);
    expect(usage.sizeBytes).toBe(64 * GIBIBYTE);
    for (const name of ["50g", "2g"]) {
      const runs = dataRuns.filter((run) => run.file === name);
      expect(runs.reduce((sum, run) => sum + run.sizeBytes, 0)).toBe(name === "50g" ? 50 * GIBIBYTE : 2 * GIBIBYTE + 5);
    }
    expect(debugfs(image, "stat /50g")).toContain("(ETB0):");
    const bytes = planned.pieces.reduce((sum, piece) => sum + (piece.kind === "bytes" ? piece.bytes.length : 0), 0);
    expect(bytes).toBeLessThan(8 * MEBIBYTE);
    const point = mount("ro");
    expect(fs.statSync(join(point, "50g")).size).toBe(50 * GIBIBYTE);
    expect(fs.readFileSync(join(point, "end"), "utf8")).toBe("end");
  });

  test("a file of 300 MiB, over a superblock's copy, byte for byte", () => {
    const source = join(scratch, "source");
    const block = Buffer.alloc(MEBIBYTE);
    const descriptor = fs.openSync(source, "w");
    for (let number = 0; number < 300; number += 1) {
      block.fill(`${number},`);
      fs.writeSync(descriptor, block);
    }
    fs.writeSync(descriptor, "end");
    fs.closeSync(descriptor);
    const plan = planExt4([file("before", "b"), foreign("large", 300 * MEBIBYTE + 3, source)], OPTIONS);
    writeImage(image, plan.image);
    fsck(image);
    expect(plan.dataRuns.length).toBeGreaterThan(1);
    const point = mount("ro");
    run("cmp", join(point, "large"), source);
    const read = readExt4(readAtFile(image)).readFile("large", 2 ** 30);
    expect(Bun.hash(read ?? "")).toBe(Bun.hash(fs.readFileSync(source)));
  });

  test("as many names and directories as links can count, and more", () => {
    const links = Array.from({ length: 64_999 }, (_, number) => hardlink(`l/${number}`, "one"));
    written([file("one", "1"), ...links]);
    fsck(image);
    expect(debugfs(image, "stat /one")).toContain("Links: 65000 ");
    expect(() => planExt4([file("one", "1"), ...links, hardlink("more", "one")], OPTIONS)).toThrow(
      'planning an ext4 file system: "one" has more than 65000 names, which it cannot count',
    );
    for (const [count, said] of [
      [64_998, "Links: 65000 "],
      [64_999, "Links: 1 "],
    ] as const) {
      written(Array.from({ length: count }, (_, number) => directory(`d/${number}`)));
      fsck(image);
      expect(debugfs(image, "stat /d")).toContain(said);
    }
  });

  test("a path of 3000 directories", () => {
    const path = Array.from({ length: 3000 }, (_, number) => `d${number}`).join("/");
    written([file(`${path}/end`, "end")]);
    fsck(image);
    const { list, readFile } = readExt4(readAtFile(image));
    expect(list().filter(({ path }) => path.startsWith("d0"))).toHaveLength(3001);
    expect(Buffer.from(readFile(`${path}/end`) ?? "").toString()).toBe("end");
  });

  test("more inodes than a group can have", () => {
    written(
      Array.from({ length: 70_000 }, (_, number) => file(`${number % 300}/${number}`)),
      { freeBytes: 0 },
    );
    fsck(image);
    expect(run("dumpe2fs", "-h", image)).toMatch(/^Inodes per group: +(?:2\d{4}|3[0-2]\d{3})$/m);
  });
});

describe("growing", () => {
  const entries = [file("a", "x".repeat(50_000)), directory("d"), symlink("s", "a")];
  test.each([
    [64, 576],
    [128, 2048],
    [1024, 16_384],
    [2048, 2560],
    [2049, 40_000],
  ])("from %d MiB to %d MiB with resize2fs", (from, to) => {
    written(entries, { sizeBytes: from * MEBIBYTE });
    fs.truncateSync(image, to * MEBIBYTE);
    run("resize2fs", image);
    fsck(image);
    expect(readExt4(readAtFile(image)).facts.sizeBytes).toBe(to * MEBIBYTE);
  });

  test("and shrinking again", () => {
    written(entries, { sizeBytes: 1024 * MEBIBYTE });
    run("resize2fs", "-M", image);
    fsck(image);
    expect(readExt4(readAtFile(image)).facts.sizeBytes).toBeLessThan(300 * MEBIBYTE);
  });
});

describe("mounted by the kernel", () => {
  test("any entries are as they were given", () => {
    fc.assert(
      fc.property(anyEntries, (entries) => {
        written(entries);
        const point = mount("ro");
        compare(point, entries);
        unmount(point);
        fsck(image);
      }),
      { numRuns: 15 },
    );
  });

  test("it may be written to, and stays clean", () => {
    const entries = Array.from({ length: 3000 }, (_, number) =>
      file(`d${number % 40}/f${number}`, `${number}`.repeat(number % 700), {
        mode: 0o600 + (number % 64),
        uid: number,
        gid: 3 * number,
      }),
    );
    const { usage } = written([{ ...directory("", 0o711), timeSeconds: TIME + 1 }, ...entries]);
    const point = mount("rw");
    compare(point, entries);
    expect(fs.statSync(point).mode & 0o7777).toBe(0o711);
    const { bavail, bfree, ffree } = fs.statfsSync(point);
    expect(bfree * 4096).toBe(usage.freeBytes);
    expect(ffree).toBe(usage.freeInodes);
    expect(bavail).toBeLessThan(bfree);

    for (let number = 0; number < 2000; number += 1) fs.writeFileSync(join(point, `d${number % 40}`, `new${number}`), "new");
    for (let number = 0; number < 3000; number += 2) fs.rmSync(join(point, `d${number % 40}/f${number}`));
    fs.appendFileSync(join(point, "d1/f1"), Buffer.alloc(20 * MEBIBYTE, "more"));
    unmount(point);
    fsck(image);
    const left = entries.filter((_, number) => number % 2 === 1 && number > 1);
    const again = mount("ro");
    for (const entry of left) expect(Buffer.compare(fs.readFileSync(join(again, entry.path)), bytesOf(entry))).toBe(0);
    expect(fs.readdirSync(join(again, "d1")).length).toBe(75 + 50);
  });

  test("what it says in its log is no complaint, and its journal takes part", () => {
    written([file("a", "a")]);
    const point = mount("rw");
    const device = run("findmnt", "-n", "-o", "SOURCE", point).trim().replace("/dev/", "");
    fs.writeFileSync(join(point, "b"), "b");
    run("sync", "-f", point);
    expect(fs.readFileSync(`/proc/fs/jbd2/${device}-8/info`, "utf8")).toMatch(/^[1-9]\d* transactions/);
    expect(fs.readFileSync(`/sys/fs/ext4/${device}/errors_count`, "utf8")).toBe("0\n");
    unmount(point);
    fsck(image);
  });
});
