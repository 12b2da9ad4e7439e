import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { thrownProblem } from "../base/testing.ts";
import {
  concatenate,
  crc32,
  type Disk,
  guidBytes,
  guidText,
  layOutDisk,
  PARTITION_TYPE,
  planGpt,
  readAtOf,
  readGpt,
} from "./index.ts";
import { readAtFile, writeImage } from "./testing.ts";

const MEBIBYTE = 1 << 20;
const scratch = mkdtempSync(join(tmpdir(), "garth-gpt-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const GUID = "0a1b2c3d-4e5f-4678-9abc-def012345678";
const guid = (number: number): string => `${number.toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`;
const run = (tool: string, ...args: readonly string[]): string => execFileSync(tool, args, { encoding: "utf8" });

const DISK = layOutDisk({
  diskGuid: GUID,
  partitions: [
    { name: "esp", typeGuid: PARTITION_TYPE.esp, guid: guid(1), sizeBytes: 64 * MEBIBYTE },
    { name: "root ✓ größe", typeGuid: PARTITION_TYPE.linuxRootX86_64, guid: guid(2), sizeBytes: 5_000_000 },
    { name: "x".repeat(36), typeGuid: PARTITION_TYPE.freebsdUfs, guid: guid(3), sizeBytes: MEBIBYTE, attributes: [0, 2, 60, 63] },
  ],
});

function written(name: string, disk: Disk): string {
  const path = join(scratch, name);
  writeImage(path, { sizeBytes: disk.sizeBytes, pieces: planGpt(disk) });
  return path;
}

/** A small disk in memory. */
function inMemory(disk: Disk): Uint8Array {
  const bytes = new Uint8Array(disk.sizeBytes);
  for (const piece of planGpt(disk)) if (piece.kind === "bytes") bytes.set(piece.bytes, piece.at);
  return bytes;
}

describe("GUIDs", () => {
  test("lie on the disk as the UEFI specification shows the type of an EFI system partition", () => {
    expect(guidBytes(PARTITION_TYPE.esp).toHex()).toBe("28732ac11ff8d211ba4b00a0c93ec93b");
    expect(guidText(guidBytes(PARTITION_TYPE.esp.toUpperCase()))).toBe(PARTITION_TYPE.esp);
    expect(() => guidBytes("x")).toThrow(RangeError);
  });
});

describe("the layout", () => {
  test("is aligned to 1 MiB at both ends, and as small as it can be", () => {
    expect(DISK.partitions.map((one) => [one.firstByte / MEBIBYTE, one.sizeBytes / MEBIBYTE])).toEqual([
      [1, 64],
      [65, 5],
      [70, 1],
    ]);
    expect(DISK.sizeBytes).toBe(72 * MEBIBYTE);
  });

  test("of a disk that is too small says by how much", () => {
    const needed = 71 * MEBIBYTE + 33 * 512;
    expect(layOutDisk({ ...DISK, sizeBytes: needed }).sizeBytes).toBe(needed);
    const problem = thrownProblem(() => layOutDisk({ ...DISK, sizeBytes: needed - 512 }));
    expect([problem.code, problem.message]).toEqual([
      "E_DISK_TOO_SMALL",
      `laying out a disk of ${needed - 512} bytes: its partitions need 512 bytes more`,
    ]);
    expect(thrownProblem(() => layOutDisk({ ...DISK, sizeBytes: 10 ** 9 + 1 })).code).toBe("E_DISK_SIZE");
  });

  test("refuses names and places that a table cannot say", () => {
    const [first, second] = DISK.partitions;
    if (first === undefined || second === undefined) throw new Error("there are two");
    const plan = (partitions: Disk["partitions"]) => () => planGpt({ ...DISK, partitions });
    expect(thrownProblem(plan([{ ...first, name: "x".repeat(37) }])).code).toBe("E_PARTITION_NAME");
    expect(plan([first, { ...second, firstByte: 2 * MEBIBYTE }])).toThrow(RangeError);
    expect(plan([{ ...first, firstByte: 513 * 512 + 1 }])).toThrow(RangeError);
    expect(plan([{ ...first, firstByte: 33 * 512 }])).toThrow(RangeError);
    expect(plan([{ ...first, sizeBytes: DISK.sizeBytes - MEBIBYTE }])).toThrow(RangeError);
  });
});

describe("what is written", () => {
  test("has no problems for sgdisk, and says what was meant", () => {
    const path = written("sgdisk", DISK);
    const verified = run("sgdisk", "-v", path);
    expect(verified).toContain("No problems found");
    expect(verified).not.toMatch(/caution|warning/i);
    const printed = run("sgdisk", "-p", path);
    expect(printed).toContain(`Disk identifier (GUID): ${GUID.toUpperCase()}`);
    const third = run("sgdisk", "-i", "3", path);
    expect(third).toContain("516E7CB6-6ECF-11D6-8FF8-00022D09712B (FreeBSD UFS)");
    expect(third).toContain("Attribute flags: 9000000000000005");
    expect(third).toContain(`Partition name: '${"x".repeat(36)}'`);
  });

  test("is what sfdisk reads", () => {
    const path = written("sfdisk", DISK);
    expect(run("sfdisk", "--verify", path)).toContain("No errors detected");
    const { partitiontable: table } = JSON.parse(run("sfdisk", "--json", path));
    expect(table).toMatchObject({ label: "gpt", id: GUID.toUpperCase(), firstlba: 34, lastlba: DISK.sizeBytes / 512 - 34 });
    expect(table.partitions).toMatchObject(
      DISK.partitions.map((one) => ({
        start: one.firstByte / 512,
        size: one.sizeBytes / 512,
        type: one.typeGuid.toUpperCase(),
        uuid: one.guid.toUpperCase(),
        name: one.name,
      })),
    );
  });

  test("has the types that other tools know by these names", () => {
    const names = Object.values(PARTITION_TYPE).map((typeGuid, index) => {
      const partitions = [{ name: "a", typeGuid, guid: guid(1), sizeBytes: MEBIBYTE }];
      const shown = run("sgdisk", "-i", "1", written(`type-${index}`, layOutDisk({ diskGuid: GUID, partitions })));
      return /\((.*)\)/.exec(shown)?.[1];
    });
    expect(names).toEqual([
      "EFI system partition",
      "Linux x86-64 root (/)",
      "Linux ARM64 root (/)",
      "Linux filesystem",
      "Linux swap",
      "FreeBSD boot",
      "FreeBSD swap",
      "FreeBSD UFS",
      "FreeBSD ZFS",
    ]);
  });

  test("protects the whole of a disk that the MBR cannot count", () => {
    const path = written("large", layOutDisk({ ...DISK, sizeBytes: 3 * 2 ** 40 }));
    expect(run("sgdisk", "-v", path)).toContain("No problems found");
    expect(readGpt(readAtFile(path), 3 * 2 ** 40).findings).toEqual([]);
  });
});

describe("what is read", () => {
  test("is what was written, whatever it was", () => {
    const wish = fc.record({
      name: fc.string({ maxLength: 36, unit: "binary-ascii" }).map((name) => name.replaceAll("\0", "_")),
      typeGuid: fc.constantFrom(...Object.values(PARTITION_TYPE)),
      guid: fc.uuid(),
      sizeBytes: fc.integer({ min: 1, max: 3 * MEBIBYTE }),
      attributes: fc.uniqueArray(fc.nat({ max: 63 }), { minLength: 1 }).map((bits) => bits.toSorted((a, b) => a - b)),
    });
    const wishes = fc.uniqueArray(wish, { maxLength: 5, selector: (one) => one.guid });
    fc.assert(
      fc.property(wishes, (partitions) => {
        const disk = layOutDisk({ partitions, diskGuid: GUID });
        expect(readGpt(readAtOf(inMemory(disk)), disk.sizeBytes)).toEqual({
          diskGuid: GUID,
          partitions: disk.partitions.map((one, index) => ({ number: index + 1, ...one })),
          findings: [],
        });
      }),
      { numRuns: 50 },
    );
  });

  test("can be what sgdisk wrote, with gaps between numbers", () => {
    const path = join(scratch, "foreign");
    writeImage(path, { sizeBytes: 64 * MEBIBYTE, pieces: [] });
    const first = ["-n", "2:2048:+10M", "-t", "2:ef00", "-c", "2:EFI", "-u", `2:${guid(7)}`];
    run("sgdisk", "-U", GUID, ...first, "-n", "9:0:0", "-t", "9:8303", "-u", `9:${guid(8)}`, "-A", "9:set:60", path);
    expect(readGpt(readAtFile(path), 64 * MEBIBYTE)).toEqual({
      diskGuid: GUID,
      partitions: [
        {
          number: 2,
          name: "EFI",
          typeGuid: PARTITION_TYPE.esp,
          guid: guid(7),
          firstByte: MEBIBYTE,
          sizeBytes: 10 * MEBIBYTE,
        },
        expect.objectContaining({ number: 9, guid: guid(8), firstByte: 11 * MEBIBYTE, attributes: [60] }),
      ],
      findings: [],
    });
  });
});

describe("a reader finds", () => {
  const small = layOutDisk({ ...DISK, partitions: DISK.partitions.map((one) => ({ ...one, sizeBytes: 1 })) });
  const good = inMemory(small);
  const last = small.sizeBytes - 512;
  const sectors = small.sizeBytes / 512;
  const bytes = good.slice();
  const findings = (change: (bytes: Uint8Array) => void): readonly string[] => {
    for (const at of [0, last - (1 << 16)]) bytes.set(good.subarray(at, at + (1 << 16) + 512), at);
    change(bytes);
    return readGpt(readAtOf(bytes), bytes.length).findings;
  };
  const flip = (at: number) => (bytes: Uint8Array) => void (bytes[at] = (bytes[at] ?? 0) ^ 1);

  /** A change of the primary's header or entries, made in the backup too, with checksums that are right again. */
  const sealed = (change: (view: DataView) => void): readonly string[] =>
    findings((bytes) => {
      const view = new DataView(bytes.buffer);
      change(view);
      bytes.copyWithin(last - 32 * 512, 1024, 1024 + 32 * 512);
      const usable = view.getBigUint64(512 + 48, true);
      for (const at of [512, last]) {
        view.setBigUint64(at + 48, usable, true);
        view.setUint32(at + 80, view.getUint32(512 + 80, true), true);
        view.setUint32(at + 88, crc32(bytes.subarray(1024, 1024 + 32 * 512)), true);
        view.setUint32(at + 16, 0, true);
        view.setUint32(at + 16, crc32(bytes.subarray(at, at + 92)), true);
      }
    });

  test("a changed byte in either header, in either array of entries, and in the MBR", () => {
    expect(findings(flip(512 + 60))).toEqual(["the primary header does not have the checksum that it says"]);
    expect(findings(flip(last + 60))).toEqual(["the backup header does not have the checksum that it says"]);
    expect(findings(flip(1024 + 60))).toEqual(["the primary header has a checksum that is not that of its entries"]);
    expect(findings(flip(last - 512))).toEqual(["the backup header has a checksum that is not that of its entries"]);
    expect(findings(flip(510))).toEqual(["there is no protective MBR"]);
    expect(findings(flip(450))).toEqual(["the MBR protects nothing: it has no partition of type ee"]);
    expect(findings(flip(466))).toEqual(["the MBR has 2 partitions, not the protective one alone"]);
    expect(findings(flip(458))).toEqual([`the MBR protects ${sectors - 2} sectors from 1 on, not ${sectors - 1} from 1 on`]);
  });

  test("partitions all the same when one table is lost", () => {
    const bytes = good.slice();
    bytes.fill(0, 512, 1024);
    const reading = readGpt(readAtOf(bytes), bytes.length);
    expect(reading.findings).toEqual(["the primary header is not in sector 1"]);
    expect(reading.partitions).toHaveLength(3);
    bytes.fill(0, last);
    expect(readGpt(readAtOf(bytes), bytes.length)).toMatchObject({ diskGuid: undefined, partitions: [] });
  });

  test("a disk that grew, as sgdisk does", () => {
    const path = written("grown", DISK);
    copyFileSync(path, `${path}-more`);
    truncateSync(`${path}-more`, DISK.sizeBytes + MEBIBYTE);
    expect(readGpt(readAtFile(`${path}-more`), DISK.sizeBytes + MEBIBYTE).findings).toEqual([
      "the MBR protects 147455 sectors from 1 on, not 149503 from 1 on",
      "the backup header is not in sector 149503",
      "the primary header says that the backup is in sector 147455, not 149503",
    ]);
  });

  test("tables that do not agree", () => {
    const other = inMemory({ ...small, diskGuid: guid(99) });
    const bytes = concatenate([good.subarray(0, MEBIBYTE), other.subarray(MEBIBYTE)]);
    expect(readGpt(readAtOf(bytes), bytes.length).findings).toEqual(["the primary and the backup table differ"]);
  });

  test("partitions that overlap, leave the disk, or share a GUID, in tables whose checksums are right", () => {
    const entry = (number: number): number => 1024 + (number - 1) * 128;
    const sector = (at: number, value: number) => (view: DataView) => view.setBigUint64(at, BigInt(value), true);
    expect(sealed(sector(entry(2) + 32, 2048))).toEqual(["partitions 1 and 2 overlap"]);
    expect(sealed(sector(entry(1) + 40, 2 ** 50))).toEqual([
      "partition 1 is not inside the part of the disk that can be used",
      "partitions 1 and 2 overlap",
      "partitions 1 and 3 overlap",
    ]);
    expect(sealed(sector(entry(1) + 40, 2046))).toEqual(["partition 1 ends before it starts"]);
    expect(sealed(sector(entry(3) + 24, 0x80))).toEqual([]);
    expect(sealed((view) => view.setUint32(entry(3) + 16, 1, true))).toEqual(["partition 3 has a GUID that is used twice"]);
    expect(sealed(sector(512 + 48, sectors))).toEqual([
      `the primary header says that sectors 34 to ${sectors} of ${sectors} can be used`,
      `the backup header says that sectors 34 to ${sectors} of ${sectors} can be used`,
    ]);
    expect(sealed((view) => view.setUint32(512 + 80, 2 ** 31, true))[0]).toContain("2147483648 entries of 128 bytes");
  });

  test("nothing that throws in bytes at random", () => {
    fc.assert(
      fc.property(fc.nat({ max: 33 * 512 }), fc.uint8Array({ minLength: 1, maxLength: 64 }), fc.boolean(), (at, noise, atEnd) => {
        const found = findings((bytes) => bytes.set(noise, atEnd ? last + 512 - 64 - at : at));
        expect(found.length).toBeLessThan(20);
      }),
      { numRuns: 100 },
    );
    for (const sizeBytes of [0, 1, 511, 512, 1024, 2000])
      expect(readGpt(readAtOf(new Uint8Array(0)), sizeBytes).findings).not.toEqual([]);
  });
});
