/**
 * What a plan says is free may hold anything: an image is written onto garbage, with zeros where neither a piece nor something free is, and
 * every reader finds it as sound as on zeros.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { between, type BlockImage, type ByteRange, type FileSystemEntry } from "./blocks.ts";
import { planExt4 } from "./ext4.ts";
import { readExt4 } from "./ext4-read.ts";
import { anyEntries, bytesOf, file, fsck, MEBIBYTE, OPTIONS, run, TIME } from "./ext4.testing.ts";
import { type FatEntry, planFat } from "./fat.ts";
import { readFat, readRuns } from "./fat-read.ts";
import { readAtFile } from "./testing.ts";
import { planUfs, type UfsOptions } from "./ufs.ts";
import { FRAGMENT } from "./ufs-format.ts";
import { readUfs } from "./ufs-read.ts";
import { ufsFaults } from "./ufs.testing.ts";

const scratch = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "garth-free-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const image = join(scratch, "disk.img");
const GARBAGE = 0xa5;
const UFS: UfsOptions = { label: "garth", identity: [TIME, 0x1234_5678], timeSeconds: TIME };

/** What is to be cleared: neither a piece nor free. */
function cleared({ sizeBytes, pieces, free = [] }: BlockImage): readonly ByteRange[] {
  const covered = pieces.map((piece) => ({ at: piece.at, sizeBytes: piece.kind === "bytes" ? piece.bytes.length : 0 }));
  return between(
    [...covered, ...free].toSorted((left, right) => left.at - right.at),
    0,
    sizeBytes,
  );
}

function writeOntoGarbage(plan: BlockImage): void {
  writeFileSync(image, new Uint8Array(plan.sizeBytes).fill(GARBAGE));
  const target = openSync(image, "r+");
  for (const { at, sizeBytes } of cleared(plan)) writeSync(target, new Uint8Array(sizeBytes), 0, sizeBytes, at);
  for (const piece of plan.pieces) if (piece.kind === "bytes") writeSync(target, piece.bytes, 0, piece.bytes.length, piece.at);
  closeSync(target);
}

/** In order, not empty, inside, apart from each other and from every piece. */
function checkRanges({ sizeBytes, pieces, free = [] }: BlockImage): void {
  let end = -1;
  for (const range of free) {
    expect(range.at).toBeGreaterThan(end);
    expect(range.sizeBytes).toBeGreaterThan(0);
    end = range.at + range.sizeBytes;
  }
  expect(end).toBeLessThanOrEqual(sizeBytes);
  const all = [...free, ...pieces.map((piece) => ({ at: piece.at, sizeBytes: piece.kind === "bytes" ? piece.bytes.length : 0 }))];
  all.sort((left, right) => left.at - right.at);
  for (const [index, range] of all.entries())
    expect(range.at).toBeGreaterThanOrEqual((all[index - 1]?.at ?? 0) + (all[index - 1]?.sizeBytes ?? 0));
}

const total = (ranges: readonly ByteRange[] = []): number => ranges.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
const files = (entries: readonly FileSystemEntry[]): readonly (readonly [string, Uint8Array])[] =>
  entries.flatMap((entry) => (entry.type === "file" ? [[entry.path, bytesOf(entry)] as const] : []));

describe("ext4 on garbage", () => {
  const sizes = fc.constantFrom<Partial<typeof OPTIONS>>(
    { freeBytes: 0 },
    { sizeBytes: 24 * MEBIBYTE },
    // Two groups; and a last group that is not worth its tables.
    { sizeBytes: 160 * MEBIBYTE, journalBytes: 4 * MEBIBYTE },
    { sizeBytes: 128 * MEBIBYTE + 40 * 4096, journalBytes: 0 },
  );
  test("is sound, and every file reads back", () => {
    fc.assert(
      fc.property(anyEntries, sizes, (entries, options) => {
        const plan = planExt4(entries, { ...OPTIONS, ...options });
        checkRanges(plan.image);
        writeOntoGarbage(plan.image);
        fsck(image);
        const reading = readExt4(readAtFile(image));
        expect(reading.list()).toHaveLength(entries.length + 2);
        for (const [path, bytes] of files(entries))
          expect(Buffer.compare(reading.readFile(path) ?? Buffer.from("-"), bytes)).toBe(0);
      }),
      { numRuns: 12 },
    );
  }, 60_000);

  test("has as much that is free as it says, and the blocks behind a last group that was left out", () => {
    const { image: whole, usage } = planExt4([file("a", "a")], { ...OPTIONS, sizeBytes: 160 * MEBIBYTE });
    expect(total(whole.free)).toBe(usage.freeBytes);
    const { image: cut, usage: less } = planExt4([file("a", "a")], { ...OPTIONS, sizeBytes: 128 * MEBIBYTE + 40 * 4096 });
    expect(total(cut.free)).toBe(less.freeBytes + 40 * 4096);
  });

  test("dumpe2fs calls free what the plan calls free, block by block", () => {
    const plan = planExt4([file("a", "x".repeat(50_000))], { ...OPTIONS, sizeBytes: 160 * MEBIBYTE });
    writeOntoGarbage(plan.image);
    const listed = [...run("dumpe2fs", image).matchAll(/^ {2}Free blocks: (.*)$/gm)].flatMap(([, ranges = ""]) =>
      ranges.split(", ").filter((range) => range !== ""),
    );
    const blocks = new Set<number>();
    for (const range of listed) {
      const [from = 0, to = from] = range.split("-").map(Number);
      for (let block = from; block <= to; block += 1) blocks.add(block);
    }
    const ours = new Set<number>();
    for (const { at, sizeBytes } of plan.image.free ?? [])
      for (let block = at / 4096; block < (at + sizeBytes) / 4096; block += 1) ours.add(block);
    expect(blocks.size).toBeGreaterThan(30_000);
    expect(ours).toEqual(blocks);
  });
});

describe("UFS2 on garbage", () => {
  const held = (entries: readonly FileSystemEntry[]): readonly FileSystemEntry[] =>
    entries.filter((entry) => {
      if (entry.type === "symlink") return Buffer.byteLength(entry.target) < 1024;
      // No devices, and no names of what may have been one.
      return entry.type !== "character" && entry.type !== "block" && entry.type !== "hardlink";
    });
  test("is sound, and every file reads back", () => {
    const sizes = fc.constantFrom<Partial<UfsOptions>>(
      { freeBytes: 0 },
      { sizeBytes: 24 * MEBIBYTE + FRAGMENT },
      // Several groups: many inodes make them small.
      { sizeBytes: 160 * MEBIBYTE, inodes: 400_000 },
    );
    fc.assert(
      fc.property(anyEntries.map(held), sizes, (entries, options) => {
        const plan = planUfs(entries, { ...UFS, ...options });
        checkRanges(plan.image);
        expect(total(plan.image.free)).toBe(plan.usage.freeBytes);
        writeOntoGarbage(plan.image);
        expect(ufsFaults(readAtFile(image))).toEqual([]);
        const reading = readUfs(readAtFile(image));
        expect(reading.list()).toHaveLength(entries.length + 1);
        for (const [path, bytes] of files(entries))
          expect(Buffer.compare(reading.readFile(path) ?? Buffer.from("-"), bytes)).toBe(0);
      }),
      { numRuns: 12 },
    );
  }, 60_000);

  test("has nothing of a former file system in the tables of its inodes", () => {
    const plan = planUfs([file("a", "a")], { ...UFS, sizeBytes: 64 * MEBIBYTE });
    writeOntoGarbage(plan.image);
    const { groups, fragmentsPerGroup, inodesPerGroup } = readUfs(readAtFile(image)).facts;
    for (let group = 0; group < groups; group += 1) {
      const at = (group * fragmentsPerGroup + 40) * FRAGMENT;
      const table = readAtFile(image)(at, inodesPerGroup * 256);
      expect(table.subarray(group === 0 ? 4 * 256 : 0).every((byte) => byte === 0)).toBe(true);
    }
  });
});

describe("FAT on garbage", () => {
  test.each([1, 10, 34, 80])("of %i MiB is sound, and every file reads back", (mebibytes) => {
    const entries: readonly FatEntry[] = [0, 1, 511, 512, 513, 70_000].map((size) => ({
      path: `EFI/${size}/f${size}.bin`,
      type: "file",
      content: { kind: "bytes", bytes: Uint8Array.from({ length: size }, (_, at) => at * 13 + size) },
    }));
    const plan = planFat({ sizeBytes: mebibytes * MEBIBYTE, label: "EFI", volumeId: 7, entries, timeSeconds: TIME });
    checkRanges(plan);
    expect(total(plan.free)).toBeGreaterThan(0.8 * plan.sizeBytes);
    writeOntoGarbage(plan);
    const { status, stdout } = spawnSync("fsck.fat", ["-n", "-v", image], { encoding: "utf8" });
    expect({ status, stdout }).toMatchObject({ status: 0 });
    const read = readAtFile(image);
    const found = new Map(readFat(read).entries.map((one) => [one.path, one]));
    for (const { path, ...entry } of entries) {
      if (entry.type !== "file" || entry.content.kind !== "bytes") throw new Error(path);
      expect(Buffer.compare(readRuns(read, found.get(path)?.runs ?? []), entry.content.bytes)).toBe(0);
    }
  });

  test("that is full has nothing that is free", () => {
    const wish = { sizeBytes: MEBIBYTE, label: "", volumeId: 7, timeSeconds: TIME } as const;
    const empty = planFat({ ...wish, entries: [] });
    const bytes = new Uint8Array(total(empty.free)).fill(1);
    expect(planFat({ ...wish, entries: [{ path: "a", type: "file", content: { kind: "bytes", bytes } }] }).free).toBeUndefined();
  });
});

test("what ranges leave of a stretch", () => {
  const ranges = [
    { at: 2, sizeBytes: 2 },
    { at: 4, sizeBytes: 1 },
    { at: 4, sizeBytes: 3 },
    { at: 9, sizeBytes: 5 },
  ];
  expect(between(ranges, 0, 10)).toEqual([
    { at: 0, sizeBytes: 2 },
    { at: 7, sizeBytes: 2 },
  ]);
  expect(between(ranges, 3, 4)).toEqual([]);
  expect(between([], 3, 5)).toEqual([{ at: 3, sizeBytes: 2 }]);
  expect(between(ranges, 14, 20)).toEqual([{ at: 14, sizeBytes: 6 }]);
});
