/** The table of a PC disk, against sfdisk. */
import { afterAll, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { MBR_TYPE, mbrSector, planGpt, readAtOf, readMbr } from "./index.ts";
import { writeImage } from "./testing.ts";

const scratch = mkdtempSync(join(tmpdir(), "garth-mbr-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const SECTOR = 512;

test("sfdisk reads what was written, and finds nothing wrong", () => {
  const partitions = [
    { type: MBR_TYPE.fat12, firstByte: 64 * SECTOR, sizeBytes: 384 * SECTOR },
    { type: MBR_TYPE.linux, firstByte: 2 ** 20, sizeBytes: 20 * 2 ** 30 },
  ];
  const path = join(scratch, "disk.img");
  const bytes = mbrSector({ diskId: 0x1234abcd, partitions });
  writeImage(path, { sizeBytes: 21 * 2 ** 30, pieces: [{ at: 0, kind: "bytes", bytes }] });
  const run = (...args: readonly string[]): string => execFileSync("sfdisk", [...args, path], { encoding: "utf8" });
  expect(run("--verify")).toContain("No errors detected.");
  expect(JSON.parse(run("--json"))).toMatchObject({
    partitiontable: {
      label: "dos",
      id: "0x1234abcd",
      partitions: [
        { start: 64, size: 384, type: "1" },
        { start: 2048, size: 20 * 2 ** 21, type: "83" },
      ],
    },
  });
  expect(readMbr(readAtOf(bytes))).toEqual({
    diskId: 0x1234abcd,
    partitions: partitions.map((one, index) => ({ number: index + 1, ...one })),
  });
});

test("is read back, whatever it holds", () => {
  const gap = fc.tuple(
    fc.integer({ min: 0, max: 2 ** 20 }),
    fc.integer({ min: 1, max: 2 ** 28 }),
    fc.integer({ min: 1, max: 255 }),
  );
  fc.assert(
    fc.property(fc.array(gap, { maxLength: 4 }), fc.nat(0xffffffff), (gaps, diskId) => {
      let end = 1;
      const partitions = gaps.map(([before, sectors, type]) => {
        const firstByte = (end + before) * SECTOR;
        end += before + sectors;
        return { type, firstByte, sizeBytes: sectors * SECTOR };
      });
      const read = readMbr(readAtOf(mbrSector({ diskId, partitions })));
      expect(read).toEqual({ diskId, partitions: partitions.map((one, index) => ({ number: index + 1, ...one })) });
    }),
  );
});

test("of a disk with a GPT is the protective one; of another sector there is none", () => {
  const [head] = planGpt({ sizeBytes: 2 ** 20, diskGuid: "00000000-0000-4000-8000-000000000001", partitions: [] });
  if (head.kind !== "bytes") throw new Error("the head of a table is bytes");
  expect(readMbr(readAtOf(head.bytes))?.partitions.map(({ type }) => type)).toEqual([0xee]);
  expect(readMbr(readAtOf(new Uint8Array(512)))).toBeUndefined();
  expect(readMbr(readAtOf(new Uint8Array(100)))).toBeUndefined();
});

test("a table that cannot be is a bug of whoever asks for it", () => {
  const part = (first: number, count: number) => ({ type: 1, firstByte: first * SECTOR, sizeBytes: count * SECTOR });
  for (const partitions of [
    [part(0, 5)],
    [part(1, 0)],
    [part(1.5, 2)],
    [part(1, 5), part(5, 5)],
    [part(2 ** 32, 1)],
    [1, 2, 3, 4, 5].map((at) => part(at, 1)),
  ])
    expect(() => mbrSector({ diskId: 0, partitions })).toThrow(RangeError);
});
