/** Whole images side by side: the same twice, with and without development, in other containers, damaged. */
import { afterAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { problemOf } from "../base/testing.ts";
import { composed, guestOptions, workplace } from "../compose/testing.ts";
import { readExt4 } from "../formats/index.ts";
import { readAtFile } from "../formats/testing.ts";
import { convertImage, inspectImage, locateIn, planImage, verifyImage, writeBlocks } from "./index.ts";
import { DISK, sha256Of, smallImage, tool, wishOf } from "./testing.ts";

const small = await smallImage();
afterAll(() => small[Symbol.dispose]());
const { place, host, declared, system, file, scratch, part, composedWith } = small;

describe("an image", () => {
  test("of the same wish is the same, byte for byte, whatever the store's directory is called", async () => {
    using elsewhere = workplace();
    const again = await composed(elsewhere, guestOptions(declared, { disk: DISK }));
    expect(again.system).toBe(system.system);
    const to = `${elsewhere.directory()}/disk.raw`;
    const { sha256, writtenBytes } = await writeBlocks(host, planImage(wishOf(again)).image, to, {
      locate: locateIn(elsewhere.store),
    });
    expect(sha256).toBe(sha256Of(to));
    expect(sha256Of(to)).toBe(sha256Of(file));
    expect(Buffer.compare(fs.readFileSync(to), fs.readFileSync(file))).toBe(0);
    // Holes are left: most of a fresh disk.
    expect(fs.statSync(to).blocks * 512).toBeLessThan(fs.statSync(to).size / 4);
    expect(writtenBytes).toBeLessThan(fs.statSync(to).size / 4);
  });
});

describe("development on an image", () => {
  test("adds its items and one link, and the rest of the root stays as it is", async () => {
    const beside = await composedWith({ disk: DISK, development: [declared.development] });
    const to = `${scratch}/development.raw`;
    await writeBlocks(host, planImage(wishOf(beside)).image, to, { locate: locateIn(place.store) });
    const listOf = (image: string): ReadonlyMap<string, string> => {
      const root = inspectImage(host, image).partitions[1];
      const inside = readAtFile(image);
      const { list } = readExt4((offset, length) => inside((root?.firstByte ?? 0) + offset, length));
      return new Map(
        list().map(({ path, type, mode, uid, gid, sizeBytes, target = "" }) => [
          path,
          `${type} ${mode} ${uid} ${gid} ${type === "directory" ? "" : sizeBytes} ${target}`,
        ]),
      );
    };
    const [before, after] = [listOf(file), listOf(to)];
    const changed = [...after].filter(([path, what]) => before.get(path) !== what).map(([path]) => path);
    const added = beside.closure.filter((path) => !system.closure.includes(path)).map((path) => path.slice(1));
    expect(changed.filter((path) => !added.some((item) => path === item || path.startsWith(`${item}/`)))).toEqual([
      "run/current-development",
    ]);
    expect(added.every((item) => changed.includes(item))).toBe(true);
    expect([...before.keys()].filter((path) => !after.has(path))).toEqual([]);
  });
});

describe("other containers", () => {
  for (const [container, format, suffix] of [
    ["qcow2", "qcow2", "qcow2"],
    ["vhd-dynamic", "vpc", "vhd"],
    ["vhd-fixed", "vpc", "vhd"],
    ["raw", "raw", "raw"],
  ] as const) {
    test(`${container}: the same disk to qemu-img, of the same size, twice the same`, async () => {
      const [to, again] = [`${scratch}/${container}.${suffix}`, `${scratch}/${container}-again.${suffix}`];
      const link = `${scratch}/${container}-link`;
      fs.symlinkSync(file, link);
      const converted = await convertImage(host, { from: file, to, container, seed: "x" });
      expect([converted.sha256, converted.sizeBytes]).toEqual([sha256Of(to), fs.statSync(to).size]);
      expect((await convertImage(host, { from: link, to: again, container, seed: "x" })).sha256).toBe(converted.sha256);
      const options =
        format === "vpc" ? `driver=vpc,force_size_calc=current_size,file.filename=${to}` : `driver=${format},file.filename=${to}`;
      expect(tool("qemu-img", "compare", "--image-opts", `driver=raw,file.filename=${file}`, options)).toContain(
        "Images are identical.",
      );
      const info: unknown = JSON.parse(tool("qemu-img", "info", "--image-opts", options, "--output=json"));
      expect(info).toMatchObject({ format, "virtual-size": fs.statSync(file).size });
      if (format === "qcow2") expect(spawnSync("qemu-img", ["check", to]).status).toBe(0);
    });
  }

  test("are not written over anything, nor made of nothing", async () => {
    expect((await problemOf(convertImage(host, { from: file, to: part(1), container: "qcow2", seed: "" }))).code).toBe(
      "E_FILE_EXISTS",
    );
    expect(
      (await problemOf(convertImage(host, { from: `${scratch}/none`, to: `${scratch}/no`, container: "raw", seed: "" }))).code,
    ).toBe("E_NO_SUCH_FILE");
  });
});

describe("damage", () => {
  const damaged = (name: string, change: (bytes: Buffer) => void): string => {
    const to = `${scratch}/${name}.raw`;
    const bytes = fs.readFileSync(file);
    change(bytes);
    fs.writeFileSync(to, bytes);
    return to;
  };
  const bad = async (image: string): Promise<readonly string[]> =>
    (await verifyImage(host, image, scratch)).filter(({ good }) => !good).map(({ what, tool: by }) => `${what}: ${by}`);
  const at = (number: 0 | 1): number => inspectImage(host, file).partitions[number]?.firstByte ?? 0;

  test("a good image has none", async () => expect(await bad(file)).toEqual([]));

  test("in the partition table is found by both readers", async () => {
    const image = damaged("table", (bytes) => bytes.fill(0, 2 * 512 + 56, 2 * 512 + 60));
    expect((await bad(image)).slice(0, 2)).toEqual(["the disk as a whole: garth", "partition table: sgdisk -v"]);
    expect(inspectImage(host, image).findings.length).toBeGreaterThan(0);
  });

  test("in a file system is found by its own checker", async () => {
    const fat = damaged("fat", (bytes) => bytes.fill(0xff, at(0) + 512 * 40, at(0) + 512 * 41));
    expect((await bad(fat)).every((line) => line.startsWith("partition 1"))).toBe(true);
    const ext4 = damaged("ext4", (bytes) => bytes.fill(0x55, at(1) + 4096, at(1) + 4096 + 64));
    expect(await bad(ext4)).toEqual(["the disk as a whole: garth", "partition 2, garth-root: e2fsck -fn"]);
    expect(inspectImage(host, ext4).findings).toEqual([
      expect.stringMatching(/^partition 2, garth-root: reading an ext4 file system: /),
    ]);
  });

  test("that leaves no file system at all is damage, too", async () => {
    const image = damaged("gone", (bytes) => bytes.fill(0, at(1), at(1) + 8192));
    expect(await bad(image)).toEqual(["partition 2, garth-root: e2fsck -fn"]);
    expect(inspectImage(host, image).partitions[1]?.fileSystem).toBe("unknown");
  });

  test("what is no disk is refused", async () => {
    expect((await problemOf(() => inspectImage(host, part(2)))).code).toBe("E_NOT_AN_IMAGE");
    expect((await problemOf(() => inspectImage(host, `${scratch}/none`))).code).toBe("E_NO_SUCH_FILE");
  });
});
