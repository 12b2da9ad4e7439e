/** What an installation is refused for, what it plans, and what it leaves on a file. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { problemOf, thrownProblem } from "../base/testing.ts";
import { readExt4, readGpt } from "../formats/index.ts";
import { readAtFile } from "../formats/testing.ts";
import type { Host } from "../host/index.ts";
import { scriptedHost } from "../host/testing.ts";
import { inspectImage, locateIn, planImage, verifyImage } from "../image/index.ts";
import { beastie, sha256Of, smallImage, type SmallImage, tool, wishOf } from "../image/testing.ts";
import { composed } from "../compose/testing.ts";
import {
  checkTarget,
  install,
  installationLines,
  type InstallWish,
  lookAtTarget,
  planInstallation,
  type TargetFacts,
} from "./index.ts";
import { facts, GEOM_XML } from "./install.testing.ts";

const MIB = 1 << 20;

describe("a target is refused", () => {
  const refused = (target: Partial<TargetFacts>, wish: Partial<InstallWish> = {}) =>
    thrownProblem(() => checkTarget(facts(target), { force: false, sizeBytes: undefined, ...wish }));
  test.each([
    ["a directory", { kind: "directory" }, "E_TARGET_KIND", 2],
    ["a fifo", { kind: "other" }, "E_TARGET_KIND", 2],
    ["a partition", { kind: "partition" }, "E_TARGET_PARTITION", 2],
    ["no directory for it", { kind: "new", hasParent: false }, "E_NO_SUCH_DIRECTORY", 2],
    ["no medium", { sizeBytes: 0 }, "E_TARGET_NO_MEDIUM", 3],
    ["a switch on the medium", { readOnly: true }, "E_TARGET_READ_ONLY", 3],
    ["sectors of 4096", { sectorBytes: 4096 }, "E_TARGET_SECTORS", 3],
    ["in use", { uses: ["/dev/sda1 is swapped to"] }, "E_TARGET_IN_USE", 2],
    ["the root", { uses: ["/dev/sda1 is mounted on /"], isRoot: true }, "E_TARGET_IN_USE", 2],
    ["not empty", { contents: ["swap"] }, "E_TARGET_NOT_EMPTY", 2],
  ] as const)("for %s", (_, target, code, exit) => {
    const problem = refused(target);
    expect(problem).toMatchObject({ code, exit, where: "/dev/disk" });
    expect(problem.hint).toBeString();
    expect(problem.details).toEqual([...("uses" in target ? target.uses : []), ...("contents" in target ? target.contents : [])]);
  });

  test("and says that it is the root of what runs here", () => {
    expect(refused({ uses: ["/dev/sda1 is mounted on /"], isRoot: true }).message).toContain("what runs here has its root on it");
  });

  test("for what is on it only as long as nobody says that it may go; for its use always", () => {
    expect(checkTarget(facts({ contents: ["swap"] }), { force: true, sizeBytes: undefined })).toBe("disk");
    expect(refused({ uses: ["x"], contents: ["swap"] }, { force: true }).code).toBe("E_TARGET_IN_USE");
  });

  test("for a size, where it is a disk; for one that is no whole sectors, where it is a file", () => {
    expect(refused({}, { sizeBytes: MIB }).code).toBe("E_INSTALL_SIZE");
    expect(checkTarget(facts({ kind: "file" }), { force: false, sizeBytes: MIB })).toBe("file");
  });
});

describe("an installation", () => {
  let small: SmallImage;
  let wish: InstallWish;
  beforeAll(async () => {
    small = await smallImage();
    wish = { name: "small", image: wishOf(small.system), sizeBytes: undefined, force: false };
  });
  afterAll(() => small[Symbol.dispose]());

  const look = (path: string, host: Host = small.host) => lookAtTarget(host, path);
  const planned = async (path: string, more: Partial<InstallWish> = {}) =>
    planInstallation(await look(path), { ...wish, ...more });
  const at = (name: string): string => `${small.scratch}/${name}`;
  async function installed(path: string, more: Partial<InstallWish> = {}) {
    const plan = await planned(path, more);
    return { plan, ...(await install(small.host, plan, { locate: locateIn(small.place.store), verify: true })) };
  }
  const faults = async (path: string): Promise<readonly unknown[]> =>
    (await verifyImage(small.host, path, small.place.store.temporaryDirectory)).filter(({ good }) => !good);
  function recordOf(path: string): string {
    const read = readAtFile(path);
    const root = readGpt(read, statSync(path).size).partitions[1]?.firstByte ?? 0;
    const found = readExt4((offset, length) => read(root + offset, length)).readFile("var/lib/garth/system/generations/1/made");
    return Buffer.from(found ?? []).toString();
  }

  test("into a file that is not there is an image of the size it needs, and its record says how it came", async () => {
    const path = at("new.raw");
    const { plan, fields, sha256 } = await installed(path);
    const asImage = planImage(wish.image);
    expect(plan.target).toEqual({ path, kind: "new", sizeBytes: asImage.image.sizeBytes });
    expect(await faults(path)).toEqual([]);
    expect(recordOf(path)).toBe(`by=install\ntarget=file\ndisk_bytes=${plan.target.sizeBytes}\nroot=garth-root\nesp=efiboot\n`);
    expect(inspectImage(small.host, path).system).toBe(small.system.system);
    expect(sha256).toBe(sha256Of(path));
    expect(fields).toMatchObject({
      target: path,
      target_kind: "file",
      raw_sha256: sha256Of(path),
      closure_path: wish.image.system,
    });
    // The image of the same system differs from it by its record alone: one block, and nothing that lies elsewhere.
    const [mine, image] = [readFileSync(path), readFileSync(small.file)];
    const differing = new Set<number>();
    for (let byte = 0; byte < mine.length; byte += 1) if (mine[byte] !== image[byte]) differing.add(byte >> 12);
    expect(mine.length).toBe(image.length);
    // The record, its inode, and the checksum of that.
    expect(differing.size).toBeLessThanOrEqual(2);
  });

  test("of a size has a root that takes what is left, and comes out the same again", async () => {
    const [first, second] = [at("sized.raw"), at("sized-again.raw")];
    const { plan } = await installed(first, { sizeBytes: 100 * MIB });
    await installed(second, { sizeBytes: 100 * MIB });
    expect(sha256Of(first)).toBe(sha256Of(second));
    expect(statSync(first).size).toBe(100 * MIB);
    expect(plan.partitions.map(({ label, fileSystem, sizeBytes }) => [label, fileSystem, sizeBytes / MIB])).toEqual([
      ["efiboot", "fat", 34],
      ["garth-root", "ext4", 64],
    ]);
    expect(await faults(first)).toEqual([]);
  });

  test("into a file that is there takes its size, and needs a word where it holds something", async () => {
    const path = at("there.raw");
    writeFileSync(path, "a diary\n");
    expect(await problemOf(planned(path))).toMatchObject({
      code: "E_TARGET_NOT_EMPTY",
      details: ["something of no kind that is known here, in its first MiB (at 0)"],
    });
    expect(readFileSync(path, "utf8")).toBe("a diary\n");
    tool("truncate", "-s", "0", path);
    tool("truncate", "-s", "90M", path);
    expect((await installed(path)).plan.target).toEqual({ path, kind: "file", sizeBytes: 90 * MIB });
    // Again, onto what it made itself, and larger.
    const onto = await problemOf(planned(path));
    expect(onto.details).toEqual(["a GUID partition table with 2 partitions: efiboot 34 MiB, garth-root 54 MiB"]);
    const { plan, fields } = await installed(path, { force: true, sizeBytes: 110 * MIB });
    expect(plan.overwrites).toEqual(onto.details);
    expect(fields["overwritten"]).toBe(onto.details[0]);
    expect(statSync(path).size).toBe(110 * MIB);
    expect(await faults(path)).toEqual([]);
  });

  test("too small says by how much, and what is large", async () => {
    const problem = await problemOf(planned(at("tiny.raw"), { sizeBytes: 37 * MIB }));
    expect(problem).toMatchObject({ code: "E_IMAGE_TOO_SMALL", exit: 2 });
    expect(problem.details.join("\n")).toMatch(/missing: \d+ bytes\nwhat takes the room:\n.*KiB/s);
    expect(existsSync(at("tiny.raw"))).toBe(false);
    expect((await problemOf(planned(at("tiny.raw"), { sizeBytes: 20 * MIB }))).code).toBe("E_IMAGE_TOO_SMALL");
    expect((await problemOf(planned(at("tiny.raw"), { sizeBytes: 70 * MIB + 1 }))).code).toBe("E_INSTALL_SIZE");
  });

  test("is refused where it lies, before anything is written", async () => {
    mkdirSync(at("directory"));
    tool("mkfifo", at("fifo"));
    symlinkSync(at("nowhere"), at("dangling"));
    expect(await problemOf(planned(at("directory")))).toMatchObject({ code: "E_TARGET_KIND" });
    expect(await problemOf(planned(at("fifo")))).toMatchObject({ code: "E_TARGET_KIND" });
    expect(await problemOf(planned(at("dangling")))).toMatchObject({ code: "E_TARGET_KIND" });
    expect(await problemOf(planned("/dev/null"))).toMatchObject({ code: "E_TARGET_KIND" });
    expect(await problemOf(planned(at("no/such/file")))).toMatchObject({ code: "E_NO_SUCH_DIRECTORY" });
    const full = { ...(await look(at("full.raw"))), roomBytes: MIB };
    expect(thrownProblem(() => planInstallation(full, wish))).toMatchObject({ code: "E_NO_SPACE", exit: 3 });
  });

  test("is told as it will be", async () => {
    const plan = await planned(at("told.raw"), { sizeBytes: 64 * MIB });
    expect(installationLines(plan).map((line) => line.replaceAll(/\/frx\/store\/[0-9a-f]{64}/g, "ITEM"))).toEqual([
      "installs small: ITEM-system-small",
      `onto     ${at("told.raw")}: a new file, 64 MiB (67108864 bytes)`,
      "lost     nothing: it is empty",
      "1        efiboot, fat, 34 MiB from 1 MiB on",
      "2        garth-root, ext4, 28 MiB from 35 MiB on",
      expect.stringMatching(/^root {5}\d+ entries, [\d.]+ MiB used, [\d.]+ MiB free$/),
    ]);
    expect(existsSync(at("told.raw"))).toBe(false);
  });

  test("of a FreeBSD system has a UFS2 root", async () => {
    const system = await composed(small.place, beastie(small.place));
    const path = at("beastie.raw");
    const { plan, fields } = await installed(path, { name: "beastie", image: wishOf(system), sizeBytes: 90 * MIB });
    expect(plan.partitions.map(({ fileSystem }) => fileSystem)).toEqual(["fat", "ufs"]);
    expect(fields["root_fstype"]).toBe("ufs");
    expect(inspectImage(small.host, path)).toMatchObject({ findings: [], system: system.system });
  });

  test("that fails leaves no file that was not there", async () => {
    const plan = await planned(at("failing.raw"));
    const failing = install(small.host, plan, { locate: () => at("gone"), verify: true });
    expect(await problemOf(failing)).toMatchObject({ code: "E_IMAGE_SOURCE" });
    expect(existsSync(at("failing.raw"))).toBe(false);
  });
});

describe("what is looked at on FreeBSD", () => {
  // A character device that can be opened and has no end stands for the disk: it is read as empty.
  const looked = async (name: string): Promise<TargetFacts> => {
    using small = await smallImage();
    const { files } = small.host;
    const type = "character" as const;
    const host = scriptedHost(
      small.host,
      ({ argv }) => {
        if (argv[0] === "sysctl") return { stdout: GEOM_XML };
        if (argv[0] === "mount")
          return { stdout: "/dev/gpt/garth-root\t/\t\t\tufs\trw \t1 1\ndevfs\t\t/dev\t\tdevfs\trw\t\t0 0\n" };
        return undefined;
      },
      {
        system: "x86_64-freebsd",
        files: {
          ...files,
          exists: () => true,
          realPath: (path) => path,
          lstat: (path) => ({ ...files.lstat("/dev/null"), type: path === `/dev/${name}` ? type : "file" }),
          open: () => files.open("/dev/zero", "r"),
          endOf: () => 1 << 30,
          // A raw device takes nothing else.
          read: (descriptor, into, offset) => {
            if (into.length % 512 !== 0 || offset % 512 !== 0) throw new Error(`${into.length} bytes at ${offset}`);
            return files.read(descriptor, into, offset);
          },
        },
      },
    );
    return await lookAtTarget(host, `/dev/${name}`);
  };

  test("a disk with the root of what runs, and swap", async () => {
    expect(await looked("da0")).toMatchObject({
      kind: "disk",
      isRoot: true,
      uses: [
        "/dev/gpt/garth-root is mounted on /",
        "/dev/da0 is open (r2w2e4)",
        "/dev/da0p2 is open (r1w1e2)",
        "/dev/da0p3 is open (r1w1e0)",
        "/dev/gpt/garth-root is open (r1w1e1)",
      ],
    });
  });

  test("a disk that nobody uses, a partition, and what is no disk", async () => {
    expect(await looked("md7")).toMatchObject({ kind: "disk", uses: [], contents: [], sectorBytes: 512, sizeBytes: 1 << 30 });
    expect(await looked("da0p1")).toMatchObject({ kind: "partition" });
    expect(await looked("null")).toMatchObject({ kind: "other" });
  });
});
