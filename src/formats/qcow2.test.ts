import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { thrownProblem } from "../base/testing.ts";
import { type BlockImage, planQcow2, QCOW2_CLUSTER_BYTES, readAtOf, readQcow2Header } from "./index.ts";
import { readAtFile, writeImage } from "./testing.ts";

const MEBIBYTE = 1 << 20;
const GIBIBYTE = 1 << 30;
const scratch = mkdtempSync(join(tmpdir(), "garth-qcow2-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const run = (tool: string, ...args: readonly string[]): string => execFileSync(tool, args, { encoding: "utf8" });

function written(name: string, image: BlockImage): string {
  const path = join(scratch, name);
  writeImage(path, image);
  return path;
}

/** A raw disk with something in each of these clusters. */
function raw(name: string, sizeBytes: number, used: readonly number[]): string {
  const pieces = used.map((cluster) => {
    const at = cluster * QCOW2_CLUSTER_BYTES;
    const bytes = Buffer.alloc(Math.min(QCOW2_CLUSTER_BYTES, sizeBytes - at), `cluster ${cluster} `);
    return { at, kind: "bytes" as const, bytes };
  });
  return written(name, { sizeBytes, pieces });
}

function planned(
  name: string,
  sizeBytes: number,
  used: readonly number[],
): { readonly path: string; readonly image: BlockImage } {
  const file = raw(`${name}.raw`, sizeBytes, used);
  const set = new Set(used);
  const image = planQcow2({ sizeBytes, file, isUsed: (cluster) => set.has(cluster) });
  const path = written(`${name}.qcow2`, image);
  expect(run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", file, path)).toContain("Images are identical");
  return { path, image };
}

const checked = (path: string): Record<string, unknown> => JSON.parse(run("qemu-img", "check", "--output", "json", path));
const information = (path: string): Record<string, unknown> => JSON.parse(run("qemu-img", "info", "--output", "json", path));

describe("a written disk", () => {
  test("has its content, no leaks, no errors, and exactly its size", () => {
    const sizeBytes = 3 * MEBIBYTE + 512;
    const { path, image } = planned("small", sizeBytes, [0, 1, 2, 7, 48]);
    expect(checked(path)).toMatchObject({ "check-errors": 0, "allocated-clusters": 5, "total-clusters": 49 });
    expect(checked(path)).not.toHaveProperty("leaks");
    expect(checked(path)).not.toHaveProperty("corruptions");
    expect(information(path)).toMatchObject({ "virtual-size": sizeBytes, "cluster-size": 65536, format: "qcow2" });
    expect(information(path)).toMatchObject({
      "format-specific": { data: { "refcount-bits": 16, compat: "1.1", corrupt: false } },
    });
    // Header, two for counts, L1, L2, and five; runs of clusters are one piece.
    expect(image.sizeBytes).toBe(10 * QCOW2_CLUSTER_BYTES);
    expect(image.pieces).toHaveLength(4);
  });

  test("may be empty, large, and used at its far end", () => {
    const empty = planned("empty", 10 * GIBIBYTE, []);
    expect(empty.image.sizeBytes).toBe(4 * QCOW2_CLUSTER_BYTES);
    expect(checked(empty.path)).toMatchObject({ "check-errors": 0 });
    const last = (1024 * GIBIBYTE) / QCOW2_CLUSTER_BYTES - 1;
    const { path } = planned("large", 1024 * GIBIBYTE, [0, 8191, 8192, last]);
    expect(checked(path)).toMatchObject({ "check-errors": 0, "allocated-clusters": 4 });
    expect(statSync(path).size).toBe(11 * QCOW2_CLUSTER_BYTES);
  });

  test("may have more clusters than one block of counts holds", () => {
    const file = raw("full.raw", 3 * GIBIBYTE, []);
    for (const clusters of [32_700, 32_755, 32_756, 32_757, 32_758, 32_759, 32_760, 32_761, 49_152]) {
      const sizeBytes = clusters * QCOW2_CLUSTER_BYTES;
      const { pieces, sizeBytes: fileBytes } = planQcow2({ sizeBytes, file, isUsed: () => true });
      // The content is zeros, which are left out of the file here: qemu-img looks at the metadata.
      const path = written("full.qcow2", { sizeBytes: fileBytes, pieces: pieces.filter((piece) => piece.kind === "bytes") });
      expect(checked(path)).toEqual(expect.objectContaining({ "check-errors": 0, "allocated-clusters": clusters }));
      expect(checked(path)).not.toHaveProperty("leaks");
    }
  });

  test("has any clusters, and can be written to", () => {
    const clusters = fc.uniqueArray(fc.nat({ max: 300 }), { maxLength: 40 }).map((used) => used.toSorted((a, b) => a - b));
    fc.assert(
      fc.property(clusters, fc.integer({ min: 1, max: 128 }), (used, sectors) => {
        const { path } = planned("any", 300 * QCOW2_CLUSTER_BYTES + sectors * 512, used);
        run("qemu-img", "bench", "-w", "-c", "50", "-s", "8192", "-S", "400000", "-f", "qcow2", path);
        expect(checked(path)).not.toHaveProperty("corruptions");
        expect(checked(path)).not.toHaveProperty("leaks");
      }),
      { numRuns: 8 },
    );
  });

  test("of part of a sector is a bug", () => {
    expect(() => planQcow2({ sizeBytes: 1000, file: "x", isUsed: () => true })).toThrow(RangeError);
  });
});

describe("a header", () => {
  test("says what was written", () => {
    const { path } = planned("header", MEBIBYTE, []);
    expect(readQcow2Header(readAtFile(path))).toEqual({
      version: 3,
      sizeBytes: MEBIBYTE,
      clusterBytes: 65536,
      backingFile: undefined,
      backingFormat: undefined,
      hasExternalData: false,
      isEncrypted: false,
      snapshots: 0,
    });
  });

  test("of qemu-img says its backing file, external data and snapshots", () => {
    const base = written("base.raw", { sizeBytes: MEBIBYTE, pieces: [] });
    const path = join(scratch, "theirs.qcow2");
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", "-o", "cluster_size=4096", path, "2M");
    run("qemu-img", "snapshot", "-c", "one", path);
    expect(readQcow2Header(readAtFile(path))).toEqual({
      version: 3,
      sizeBytes: 2 * MEBIBYTE,
      clusterBytes: 4096,
      backingFile: base,
      backingFormat: "raw",
      hasExternalData: false,
      isEncrypted: false,
      snapshots: 1,
    });
    const old = join(scratch, "old.qcow2");
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", old, "2M");
    expect(readQcow2Header(readAtFile(old))).toMatchObject({ version: 2, backingFile: undefined, hasExternalData: false });
    const external = join(scratch, "external.qcow2");
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", `data_file=${external}.raw`, external, "2M");
    expect(readQcow2Header(readAtFile(external))).toMatchObject({ hasExternalData: true });
  });

  test("that makes no sense is a problem, and none is none", () => {
    const good = new Uint8Array(112);
    const image = planQcow2({ sizeBytes: MEBIBYTE, file: "x", isUsed: () => false });
    const [head] = image.pieces;
    if (head?.kind === "bytes") good.set(head.bytes.subarray(0, 112));
    const changed = (at: number, ...values: readonly number[]) => {
      const bytes = good.slice();
      bytes.set(values, at);
      return () => readQcow2Header(readAtOf(bytes));
    };
    expect(changed(0)()).toMatchObject({ sizeBytes: MEBIBYTE });
    expect(changed(0, 1)()).toBeUndefined();
    expect(readQcow2Header(readAtOf(new Uint8Array(3)))).toBeUndefined();
    for (const [at, value] of [
      [7, 4],
      [23, 40],
      [24, 0xff],
      [8, 1],
      [18, 9],
      [102, 9],
    ] as const)
      expect(thrownProblem(changed(at, value)).code).toBe("E_QCOW2_DAMAGED");
    fc.assert(
      fc.property(
        fc.nat({ max: 100 }),
        fc.uint8Array({ minLength: 1, maxLength: 12 }),
        fc.integer({ min: 8, max: 112 }),
        (at, noise, length) => {
          const bytes = good.slice();
          bytes.set(noise, at);
          try {
            readQcow2Header(readAtOf(bytes.subarray(0, length)));
          } catch (error) {
            expect(error).toMatchObject({ code: "E_QCOW2_DAMAGED" });
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
