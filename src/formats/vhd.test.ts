import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { thrownProblem } from "../base/testing.ts";
import { type BlockImage, planDynamicVhd, planFixedVhd, VHD_BLOCK_BYTES, vhdFooter } from "./index.ts";
import { writeImage } from "./testing.ts";

const MEBIBYTE = 1 << 20;
const GIBIBYTE = 1 << 30;
const scratch = mkdtempSync(join(tmpdir(), "garth-vhd-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const run = (tool: string, ...args: readonly string[]): string => execFileSync(tool, args, { encoding: "utf8" });
const WISH = { uuid: "00112233-4455-6677-8899-aabbccddeeff", timeSeconds: 1_700_000_000 };

function written(name: string, image: BlockImage): string {
  const path = join(scratch, name);
  writeImage(path, image);
  return path;
}

/** A raw disk with something in each of these blocks, up to their ends. */
function raw(name: string, sizeBytes: number, used: readonly number[]): string {
  const pieces = used.map((block) => {
    const at = block * VHD_BLOCK_BYTES;
    const bytes = Buffer.alloc(Math.min(VHD_BLOCK_BYTES, sizeBytes - at), `block ${block} `);
    return { at, kind: "bytes" as const, bytes };
  });
  return written(name, { sizeBytes, pieces });
}

const virtualSize = (path: string): unknown =>
  JSON.parse(run("qemu-img", "info", "-f", "vpc", "--output", "json", path))["virtual-size"];

/** Fields that stand for a choice of the writer: creator and its version, identity, time, and the checksum of all. */
function withoutChoices(footer: Uint8Array): string {
  const copy = new Uint8Array(footer);
  copy.fill(0, 24, 36);
  copy.fill(0, 64, 84);
  return Buffer.from(copy).toString("hex");
}

// The geometry of the first is 34 sectors off, the last is past what a geometry can say.
const SIZES = [5 * MEBIBYTE, 64 * MEBIBYTE, 65 * MEBIBYTE + 512, 3 * GIBIBYTE, 127 * GIBIBYTE, 200 * GIBIBYTE, 2040 * GIBIBYTE];

describe("a footer", () => {
  test.each(SIZES)("of %d bytes, or as many more as make a geometry, is what qemu-img writes", (wanted) => {
    for (const kind of ["fixed", "dynamic"] as const) {
      const path = join(scratch, "theirs.vhd");
      run("qemu-img", "create", "-q", "-f", "vpc", "-o", `subformat=${kind}`, path, String(wanted));
      const theirs = execFileSync("tail", ["-c", "512", path]);
      const sizeBytes = Number(theirs.readBigUInt64BE(48));
      expect(withoutChoices(vhdFooter({ ...WISH, kind, sizeBytes }))).toBe(withoutChoices(theirs));
    }
  });

  test("has the geometry that the specification computes", () => {
    const geometry = (sizeBytes: number): readonly number[] => {
      const view = new DataView(vhdFooter({ ...WISH, kind: "fixed", sizeBytes }).buffer);
      return [view.getUint16(56), view.getUint8(58), view.getUint8(59)];
    };
    // Tracks of 17 sectors while cylinders are few, then 31, 63, and 255.
    expect(geometry(5 * MEBIBYTE)).toEqual([150, 4, 17]);
    expect(geometry(64 * MEBIBYTE)).toEqual([963, 8, 17]);
    expect(geometry(200 * MEBIBYTE)).toEqual([825, 16, 31]);
    expect(geometry(3 * GIBIBYTE)).toEqual([6241, 16, 63]);
    expect(geometry(127 * GIBIBYTE)).toEqual([65278, 16, 255]);
    expect(geometry(2040 * GIBIBYTE)).toEqual([65535, 16, 255]);
  });

  test("begins its time in 2000, and is refused for what the format cannot hold", () => {
    const time = (timeSeconds: number): number =>
      new DataView(vhdFooter({ ...WISH, timeSeconds, kind: "fixed", sizeBytes: 512 }).buffer).getUint32(24);
    expect([time(0), time(946684800), time(946684801)]).toEqual([0, 0, 1]);
    for (const sizeBytes of [0, 100, 2040 * GIBIBYTE + 512])
      expect(thrownProblem(() => vhdFooter({ ...WISH, kind: "fixed", sizeBytes })).code).toBe("E_VHD_SIZE");
    expect(() => vhdFooter({ ...WISH, uuid: "no", kind: "fixed", sizeBytes: 512 })).toThrow(RangeError);
  });
});

describe("a disk", () => {
  const sizeBytes = 9 * MEBIBYTE + 512;
  const used = [0, 2, 4];
  const source = raw("source.raw", sizeBytes, used);

  test("fixed is the raw one and a footer, of exactly its size", () => {
    const path = written("fixed.vhd", planFixedVhd({ ...WISH, sizeBytes, file: source }));
    expect(virtualSize(path)).toBe(sizeBytes);
    expect(run("qemu-img", "compare", "-f", "raw", "-F", "vpc", source, path)).toContain("Images are identical");
  });

  test("dynamic has the same content in the blocks that are used, and nothing of the others", () => {
    const image = planDynamicVhd({ ...WISH, sizeBytes, file: source, isUsed: (block) => used.includes(block) });
    const path = written("dynamic.vhd", image);
    expect(virtualSize(path)).toBe(sizeBytes);
    expect(run("qemu-img", "compare", "-f", "raw", "-F", "vpc", source, path)).toContain("Images are identical");
    expect(image.sizeBytes).toBe(512 + 1024 + 512 + 3 * (512 + VHD_BLOCK_BYTES) + 512);
    expect(readFileSync(path).subarray(0, 512)).toEqual(readFileSync(path).subarray(-512));
  });

  test("dynamic has a header and an empty table as qemu-img writes them", () => {
    const path = written("empty.vhd", planDynamicVhd({ ...WISH, sizeBytes: GIBIBYTE, file: source, isUsed: () => false }));
    const theirs = join(scratch, "empty-theirs.vhd");
    run("qemu-img", "create", "-q", "-f", "vpc", "-o", "force_size=on", theirs, "1G");
    const [our, their] = [readFileSync(path), readFileSync(theirs)];
    expect(our.subarray(512, 1024 + 512).toString("hex")).toBe(their.subarray(512, 1024 + 512).toString("hex"));
    expect(our.subarray(1536, 1536 + 512 * 4).toString("hex")).toBe(their.subarray(1536, 1536 + 512 * 4).toString("hex"));
  });

  test.each(SIZES)("dynamic of %d bytes has exactly that size", (sizeBytes) => {
    const path = written("sized.vhd", planDynamicVhd({ ...WISH, sizeBytes, file: source, isUsed: () => false }));
    expect(virtualSize(path)).toBe(sizeBytes);
  });
});
