/** Plans written onto files that had other contents, and what is there when that was not finished. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { problemOf } from "../base/testing.ts";
import { composed } from "../compose/testing.ts";
import { type BlockImage, type ByteRange, type Piece, readGpt, readUfs } from "../formats/index.ts";
import { readAtFile, ufsFaults, writeImage } from "../formats/testing.ts";
import type { Files, Host } from "../host/index.ts";
import { type DeviceEvent, type DeviceOptions, type ImagePlan, locateIn, planImage, verifyImage, writeDevice } from "./index.ts";
import { layOut } from "./layout.ts";
import { beastie, sha256Of, smallImage, type SmallImage, tool, wishOf } from "./testing.ts";

const GARBAGE = 0xa5;
const GRAIN = 4096;
const MIB = 1 << 20;
/** Not whole MiB, as few disks are. */
const SIZE_BYTES = 66 * MIB + 512;

describe("what is done to a stretch of a disk", () => {
  const SIZE = 96 * GRAIN + 512;
  const cuts = fc
    .uniqueArray(fc.integer({ min: 0, max: SIZE / 512 }), { maxLength: 24 })
    .map((at) => at.toSorted((a, b) => a - b));
  const stretches = fc.tuple(cuts, fc.array(fc.constantFrom("piece", "free", "zero"), { minLength: 24, maxLength: 24 }));

  test("is to write every piece, to keep only what is free, and to clear the rest", () => {
    fc.assert(
      fc.property(stretches, ([at, kinds]) => {
        const ranges = at.slice(1).map((end, index) => {
          const from = (at[index] ?? 0) * 512;
          return { at: from, sizeBytes: end * 512 - from, kind: kinds[index] };
        });
        const pieces = ranges.flatMap((each): Piece[] =>
          each.kind === "piece" ? [{ at: each.at, kind: "bytes", bytes: new Uint8Array(each.sizeBytes).fill(1) }] : [],
        );
        const free: ByteRange[] = ranges.filter(({ kind }) => kind === "free");
        const { spans, zeros } = layOut({ sizeBytes: SIZE, pieces, free }, 0, SIZE);
        // What becomes of each sector.
        const disk = Array.from({ length: SIZE / 512 }, () => "kept");
        const mark = (list: readonly ByteRange[], what: string): void => {
          for (const { at: from, sizeBytes } of list) {
            expect(from % GRAIN).toBe(0);
            expect(from + sizeBytes === SIZE || sizeBytes % GRAIN === 0).toBe(true);
            for (let sector = from / 512; sector < (from + sizeBytes) / 512; sector += 1) {
              expect(disk[sector]).toBe("kept");
              disk[sector] = what;
            }
          }
        };
        mark(spans, "written");
        mark(zeros, "cleared");
        for (const [sector, what] of disk.entries()) {
          const { kind = "zero" } =
            ranges.find((each) => sector * 512 >= each.at && sector * 512 < each.at + each.sizeBytes) ?? {};
          if (kind === "piece") expect(what).toBe("written");
          if (kind === "zero") expect(what).not.toBe("kept");
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe("a plan written onto a file", () => {
  let small: SmallImage;
  let plan: ImagePlan;
  let reference: string;
  let locate: (file: string) => string;
  beforeAll(async () => {
    small = await smallImage();
    locate = locateIn(small.place.store);
    // Larger than its contents by far, so that most of it is free.
    const wish = wishOf(small.system);
    plan = planImage({ ...wish, disk: { ...wish.disk, sizeBytes: SIZE_BYTES, rootBytes: undefined } });
    reference = written(plan, "reference");
  });
  afterAll(() => small[Symbol.dispose]());

  /** As an image: everything that is not covered is a hole. */
  function written(of: ImagePlan, name: string): string {
    const path = `${small.scratch}/${name}`;
    const files = Object.fromEntries(
      of.image.pieces.flatMap((each) => (each.kind === "file" ? [[each.file, locate(each.file)]] : [])),
    );
    writeImage(path, of.image, files);
    return path;
  }
  const garbage = (name: string, sizeBytes: number): string => {
    const path = `${small.scratch}/${name}`;
    writeFileSync(path, new Uint8Array(sizeBytes).fill(GARBAGE));
    return path;
  };
  /** What is whole already, with its holes. */
  const copied = (path: string): string => tool("cp", "--sparse=always", reference, path);
  const onto = (target: string, more: Partial<DeviceOptions> = {}, host: Host = small.host, of: ImagePlan = plan) =>
    writeDevice(host, of, target, { locate, target: "file", verify: true, ...more });
  const tableOf = (path: string) => readGpt(readAtFile(path), statSync(path).size);
  const withFiles = (files: Partial<Files>): Host => ({ ...small.host, files: { ...small.host.files, ...files } });

  function sameButForFree(path: string, { image }: { readonly image: BlockImage }, like: string): number {
    const [found, wanted] = [readFileSync(path), readFileSync(like)];
    expect(found.length).toBe(wanted.length);
    let at = 0;
    let kept = 0;
    for (const range of [...(image.free ?? []), { at: wanted.length, sizeBytes: 0 }]) {
      expect(found.subarray(at, range.at).equals(wanted.subarray(at, range.at))).toBe(true);
      for (let index = range.at; index < range.at + range.sizeBytes; index += GRAIN) kept += found[index] === GARBAGE ? GRAIN : 0;
      at = range.at + range.sizeBytes;
    }
    return kept;
  }

  test("that is new is the image, byte for byte", async () => {
    const path = `${small.scratch}/new`;
    const { sha256, clearedBytes, writtenBytes } = await onto(path, { target: "new" });
    expect(sha256Of(path)).toBe(sha256Of(reference));
    expect(sha256).toBe(sha256Of(reference));
    expect(clearedBytes).toBe(0);
    expect(statSync(path).blocks * 512).toBeLessThan(writtenBytes + MIB);
  });

  test("with other contents is the image where the plan covers it, and what is free is left alone", async () => {
    const path = garbage("garbage", 70 * MIB);
    const { writtenBytes, clearedBytes } = await onto(path);
    const free = (plan.image.free ?? []).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    expect(free).toBeGreaterThan(20 * MIB);
    expect(sameButForFree(path, plan, reference)).toBeGreaterThan(free - 64 * GRAIN);
    expect(writtenBytes + clearedBytes).toBeLessThan(plan.image.sizeBytes - free + MIB);
    const checks = await verifyImage(small.host, path, small.place.store.temporaryDirectory);
    expect(checks.filter(({ good }) => !good)).toEqual([]);
  });

  test("is the same where nobody clears a stretch but by writing zeros", async () => {
    const path = garbage("unpunched", SIZE_BYTES);
    await onto(path, {}, withFiles({ clearRange: () => false }));
    expect(sameButForFree(path, plan, reference)).toBeGreaterThan(20 * MIB);
  });

  test("asks for whole sectors alone, which is all that a raw device of FreeBSD takes", async () => {
    const path = garbage("sectors", SIZE_BYTES);
    const { files } = small.host;
    let target = -1;
    let asked = 0;
    const whole = (descriptor: number, ...numbers: readonly number[]): void => {
      if (descriptor !== target) return;
      asked += 1;
      for (const number of numbers) expect(number % 512).toBe(0);
    };
    const host = withFiles({
      open: (name, flags, mode) => {
        // Such a device is opened as a disk; a file stands for it.
        const descriptor = files.open(name, flags === "claim" ? "r+" : flags, mode);
        if (name === path) target = descriptor;
        return descriptor;
      },
      read: (descriptor, into, offset) => {
        whole(descriptor, into.length, offset);
        return files.read(descriptor, into, offset);
      },
      writeBeside: async (descriptor, bytes, position) => {
        whole(descriptor, bytes.length, position);
        await files.writeBeside(descriptor, bytes, position);
      },
      clearRange: () => false,
    });
    await onto(path, { target: "disk" }, { ...host, which: () => undefined });
    expect(asked).toBeGreaterThan(20);
    expect(sameButForFree(path, plan, reference)).toBeGreaterThan(20 * MIB);
  });

  test("says how far it is, in order, up to the end of each stage", async () => {
    const events: DeviceEvent[] = [];
    await onto(garbage("told", SIZE_BYTES), { onEvent: (event) => events.push(event) });
    const stages = events.map(({ stage }) => stage);
    expect([...new Set(stages)]).toEqual(["clear", "write", "table", "verify"]);
    for (const stage of ["clear", "write", "verify"] as const) {
      const last = events.findLast((event) => event.stage === stage);
      expect(last?.doneBytes).toBe(last?.totalBytes ?? -1);
    }
  });

  /** A host that does something before its nth change of a file. */
  function counting(before: (write: number) => void): { readonly host: Host; readonly count: () => number } {
    let count = 0;
    const { files } = small.host;
    const host = withFiles({
      clearRange: (...args) => {
        before(++count);
        return files.clearRange(...args);
      },
      writeBeside: async (...args) => {
        before(++count);
        await files.writeBeside(...args);
      },
    });
    return { host, count: () => count };
  }

  test.each(["file", "new"] as const)("and interrupted at any change has no partition table: %s", async (target) => {
    const path = `${small.scratch}/interrupted-${target}`;
    const before = (): unknown => target === "file" && copied(path);
    const whole = counting(() => undefined);
    before();
    await onto(path, { target }, whole.host);
    if (target === "new") small.host.files.unlink(path);
    expect(whole.count()).toBeGreaterThan(4);
    for (let at = 1; at <= whole.count(); at += 1) {
      before();
      const controller = new AbortController();
      const { host } = counting((write) => {
        if (write === at) controller.abort(new Error("interrupted"));
      });
      const outcome = await onto(path, { target, signal: controller.signal }, host).then(() => "whole", String);
      expect(outcome).toBe("Error: interrupted");
      if (target === "new") expect(existsSync(path)).toBe(false);
      else expect(tableOf(path).diskGuid).toBeUndefined();
    }
  });

  test("and stopped dead at any change is the old disk, or has no partition table, or is whole", async () => {
    const wish = wishOf(small.system);
    const other = planImage({ ...wish, system: small.system.profile });
    const old = written(other, "old");
    const path = `${small.scratch}/dead`;
    let outcomes = "";
    for (let at = 1, changes = 1; at <= changes + 1; at += 1) {
      tool("cp", "--sparse=always", old, path);
      // What a killed process leaves is what it wrote so far: everything after a moment is lost.
      changes = 0;
      const { files } = small.host;
      const alive = (): boolean => ++changes < at;
      const host = withFiles({
        clearRange: (...args) => (alive() ? files.clearRange(...args) : true),
        writeBeside: async (...args) => (alive() ? await files.writeBeside(...args) : undefined),
      });
      await onto(path, { verify: false }, host);
      const { diskGuid } = tableOf(path);
      outcomes += diskGuid === undefined ? "-" : diskGuid === plan.disk.diskGuid ? "n" : "o";
      if (diskGuid !== plan.disk.diskGuid) continue;
      const ends = [
        { at: 0, sizeBytes: plan.disk.partitions[0]?.firstByte ?? 0 },
        { at: SIZE_BYTES - 512 - MIB, sizeBytes: MIB + 512 },
      ];
      const free = [...ends, ...(plan.image.free ?? [])].toSorted((left, right) => left.at - right.at);
      sameButForFree(path, { image: { ...plan.image, free } }, reference);
    }
    expect(outcomes).toMatch(/^o{1,2}-{5,}n{1,2}$/);
  });

  test.each([
    ["ENOSPC", "E_NO_SPACE"],
    ["EIO", "E_DEVICE_WRITE"],
  ] as const)("that fails with %s says so, and has no partition table", async (code, expected) => {
    const path = `${small.scratch}/failing`;
    copied(path);
    const { host } = counting((write) => {
      if (write === 5) throw Object.assign(new Error("no"), { code });
    });
    expect(await problemOf(onto(path, {}, host))).toMatchObject({ code: expected, where: path });
    expect(tableOf(path).diskGuid).toBeUndefined();
  });

  test.each(["written", "cleared"] as const)("that reads back otherwise where it was %s is found out", async (where) => {
    const path = garbage("liar", SIZE_BYTES);
    const { files } = small.host;
    const cleared = layOut(plan.image, 0, plan.image.sizeBytes).zeros.findLast(({ sizeBytes }) => sizeBytes > MIB)?.at ?? 0;
    const at = where === "written" ? (plan.disk.partitions[1]?.firstByte ?? 0) + 1080 : cleared;
    const host = withFiles({
      syncBeside: async (descriptor) => {
        // Once, behind the back of who writes.
        if (tableOf(path).diskGuid !== undefined) await files.writeBeside(descriptor, Uint8Array.of(7), at);
        await files.syncBeside(descriptor);
      },
    });
    expect(await problemOf(onto(path, {}, host))).toMatchObject({ code: "E_READ_BACK" });
    expect(tableOf(path).diskGuid).toBeUndefined();
  });

  test.each([
    ["new", "EEXIST", "E_DEVICE_OPEN"],
    ["file", "EACCES", "E_DEVICE_OPEN"],
    ["disk", "ENOMEDIUM", "E_DEVICE_OPEN"],
    ["disk", "EBUSY", "E_DEVICE_BUSY"],
  ] as const)("that cannot be opened (%s, %s) is told of", async (target, code, expected) => {
    const host = withFiles({
      open: () => {
        throw Object.assign(new Error("no"), { code });
      },
    });
    expect(await problemOf(onto("/nowhere", { target }, host))).toMatchObject({ code: expected, where: "/nowhere" });
  });

  test("hears who interrupts while it reads back what it cleared", async () => {
    const path = garbage("heard", SIZE_BYTES);
    const controller = new AbortController();
    let reading = false;
    const done = onto(path, {
      signal: controller.signal,
      onEvent: ({ stage }) => {
        if (stage !== "verify" || reading) return;
        reading = true;
        // As the handler of a signal is called: not from within.
        setImmediate(() => controller.abort(new Error("interrupted")));
      },
    }).then(() => "whole", String);
    expect(await done).toBe("Error: interrupted");
    expect(tableOf(path).diskGuid).toBeUndefined();
  });

  test("of which a file is gone says which, and has no partition table", async () => {
    const path = garbage("sourceless", SIZE_BYTES);
    const failing = onto(path, { locate: (file) => (file.endsWith("var/large") ? `${small.scratch}/gone` : locate(file)) });
    expect(await problemOf(failing)).toMatchObject({ code: "E_IMAGE_SOURCE" });
    expect(tableOf(path).diskGuid).toBeUndefined();
  });

  test("of a FreeBSD system has no fault, whatever was there", async () => {
    const system = await composed(small.place, beastie(small.place));
    const wish = wishOf(system);
    const of = planImage({ ...wish, disk: { ...wish.disk, sizeBytes: 100 * MIB, rootBytes: undefined } });
    const path = garbage("beastie", 100 * MIB);
    await onto(path, {}, small.host, of);
    expect(sameButForFree(path, of, written(of, "beastie-reference"))).toBeGreaterThan(40 * MIB);
    const at = of.disk.partitions[1]?.firstByte ?? 0;
    const read = readAtFile(path);
    const inside = (offset: number, length: number): Uint8Array => read(at + offset, length);
    expect(ufsFaults(inside)).toEqual([]);
    expect(readUfs(inside).list()).toHaveLength(system.root.entries.length);
    expect((await verifyImage(small.host, path, small.place.store.temporaryDirectory)).filter(({ good }) => !good)).toEqual([]);
  });
});
