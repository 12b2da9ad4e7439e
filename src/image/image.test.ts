/** A small system's image, held against the readers of others: sgdisk, e2fsck, debugfs, fsck.fat, mtools, the kernel. */
import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { problemOf } from "../base/testing.ts";
import { composed, fill, GUEST, guest, guestOptions } from "../compose/testing.ts";
import { contentBytes, type FileSystemEntry, readExt4 } from "../formats/index.ts";
import { readAtFile } from "../formats/testing.ts";
import type { SystemOptions } from "../system/index.ts";
import { inspectImage, locateIn, makeImage, planImage, writeBlocks } from "./index.ts";
import { sha256Of, smallImage, tool, wishOf } from "./testing.ts";

const small = await smallImage();
afterAll(() => small[Symbol.dispose]());
const { place, host, system, file, scratch, part, composedWith } = small;

describe("an image", () => {
  test("has the digest it was told", () => expect(small.sha256).toBe(sha256Of(file)));

  test("is whole to sgdisk, fsck.fat and e2fsck", () => {
    expect(tool("sgdisk", "-v", file)).toContain("No problems found");
    expect(tool("sgdisk", "-p", file)).toMatch(/ 1 .*EF00 +efiboot\n +2 .*8304 +garth-root/);
    expect(spawnSync("fsck.fat", ["-n", part(1)]).status).toBe(0);
    const checked = spawnSync("e2fsck", ["-fn", part(2)], { encoding: "utf8" });
    expect([checked.status, checked.stdout.match(/WARNING|Fix\?/g)]).toEqual([0, null]);
  });

  test("has on its EFI system partition what mtools read there", () => {
    const listed = tool("mdir", "-i", part(1), "-/", "-b", "::")
      .trim()
      .split("\n")
      .map((line) => line.replace("::/", ""))
      .filter((line) => !line.endsWith("/"));
    expect(listed.toSorted()).toEqual(system.root.esp.map(({ path }) => path).toSorted());
    for (const { path, content } of system.root.esp) {
      const bytes = execFileSync("mtype", ["-i", part(1), `::/${path}`]);
      const wanted = content.kind === "bytes" ? content.bytes : fs.readFileSync(locateIn(place.store)(content.file));
      expect([path, Buffer.compare(bytes, wanted)]).toEqual([path, 0]);
    }
  });

  test("has the paths, owners, modes, targets and sizes of the plan, to our reader and to debugfs", () => {
    const reading = readExt4(readAtFile(part(2)));
    const found = new Map(reading.list().map((entry) => [entry.path, entry]));
    const shown = ({ path, mode, uid, gid, ...entry }: FileSystemEntry): readonly unknown[] => {
      const size =
        entry.type === "file"
          ? contentBytes(entry.content)
          : entry.type === "symlink"
            ? Buffer.byteLength(entry.target)
            : undefined;
      return [path, entry.type, mode, uid, gid, size, entry.type === "symlink" ? entry.target : undefined];
    };
    const read = system.root.entries.map(({ path }): readonly unknown[] => {
      const entry = found.get(path);
      if (entry === undefined) return [path, "is not there"];
      const size = entry.type === "directory" ? undefined : entry.sizeBytes;
      return [path, entry.type, entry.mode, entry.uid, entry.gid, size, entry.target];
    });
    expect(read).toEqual(system.root.entries.map(shown));
    const own = new Set(["", ...system.root.entries.map(({ path }) => path)]);
    expect([...found.keys()].filter((path) => !own.has(path))).toEqual(["lost+found"]);

    const asked = [
      "usr",
      "tmp",
      "var/mail",
      "etc/shadow",
      "etc/web/web.conf",
      "home/alice/.ssh/authorized_keys",
      `${system.composition.base[0]?.path.slice(1) ?? ""}/usr/bin/su`,
    ];
    const said = execFileSync("debugfs", ["-f", "-", part(2)], {
      encoding: "utf8",
      input: asked.map((path) => `stat "/${path}"\n`).join(""),
      stdio: ["pipe", "pipe", "ignore"],
    });
    expect(
      [...said.matchAll(/Type: (\w+) +Mode: +(\d+)[^]*?User: +(\d+) +Group: +(\d+)/g)].map(([, ...facts]) => facts.join(" ")),
    ).toEqual([
      "symlink 0777 0 0",
      "directory 01777 0 0",
      "directory 02775 0 8",
      "regular 0640 0 42",
      "regular 0400 33 33",
      "regular 0600 1000 1000",
      "regular 04755 0 0",
    ]);
  });

  test("is one of its system: another name on the disk is another disk", () => {
    const other = planImage({ ...wishOf(system), system: `/frx/store/${"0".repeat(64)}-system-small` });
    const plan = planImage(wishOf(system));
    expect(other.disk.diskGuid).not.toBe(plan.disk.diskGuid);
    expect(plan.image.sizeBytes).toBe(fs.statSync(file).size);
  });

  test("says what is on it", () => {
    const { partitions, system: found, storeItems, esp, findings } = inspectImage(host, file);
    expect([found, findings]).toEqual([system.system, []]);
    expect(storeItems.toSorted()).toEqual(system.closure.toSorted());
    expect(
      partitions.map(({ name, fileSystem, label, sizeBytes, files }) => [name, fileSystem, label, sizeBytes, files]),
    ).toEqual([
      ["efiboot", "fat", "EFIBOOT", 34 << 20, system.root.esp.length],
      ["garth-root", "ext4", "garth-root", 24 << 20, expect.any(Number)],
    ]);
    expect(esp.map(({ path }) => path).toSorted()).toEqual(system.root.esp.map(({ path }) => path).toSorted());
  });
});

describe("an image that is too small", () => {
  const refused = async (disk: NonNullable<SystemOptions["disk"]>) => {
    const composition = await composedWith({ disk });
    return problemOf(() => planImage(wishOf(composition)));
  };

  test("for its root: by how much, and what takes the room", async () => {
    const problem = await refused({ root: "1M", esp: "34M" });
    expect(problem).toMatchObject({ code: "E_IMAGE_TOO_SMALL", exit: 2 });
    expect(problem.message).toStartWith("the image is too small: planning the ext4 file system");
    expect(problem.details.find((line) => line.startsWith("missing:"))).toMatch(/^missing: +\d+ bytes$/);
    expect(problem.details).toContain("what takes the room:");
    expect(problem.details.find((line) => line.endsWith("  /var"))).toMatch(/^ *293 KiB {2}\/var$/);
  });

  test("for its root in UFS2: the same, and the size that is told is enough", async () => {
    const wish = { ...wishOf(await composedWith({ disk: { root: "1M", esp: "34M" } })), family: "freebsd" } as const;
    const problem = await problemOf(() => planImage(wish));
    expect(problem).toMatchObject({ code: "E_IMAGE_TOO_SMALL", exit: 2 });
    expect(problem.message).toStartWith("the image is too small: planning the UFS2 file system");
    const sizes = ["needed", "missing"].map((word) =>
      Number(problem.details.find((line) => line.startsWith(`${word}:`))?.match(/\d+/)?.[0]),
    );
    const [needed = 0, missing = 0] = sizes;
    expect(missing).toBe(needed - (1 << 20));
    expect(problem.details.find((line) => line.endsWith("  /var"))).toMatch(/^ *293 KiB {2}\/var$/);
    expect(planImage({ ...wish, disk: { ...wish.disk, rootBytes: needed } }).rootUsage.sizeBytes).toBeGreaterThanOrEqual(needed);
  });

  test("leaves nothing in the store", async () => {
    const before = place.store.all();
    const wish = wishOf(system);
    for (const family of ["linux", "freebsd"] as const) {
      const small = { ...wish, family, disk: { ...wish.disk, rootBytes: 1 << 20 } };
      expect((await problemOf(makeImage(host, place.store, "small", small))).code).toBe("E_IMAGE_TOO_SMALL");
    }
    expect([place.store.all(), fs.readdirSync(place.store.temporaryDirectory)]).toEqual([before, []]);
  });

  test("for its EFI system partition: the files on it", async () => {
    const big = fill(place.directory(), { ...GUEST, "boot/vmlinuz-6.1.0-1-amd64": "k".repeat(3 << 20) });
    const crowded = await composed(place, guestOptions(guest(big), { disk: { esp: "2M" } }));
    const problem = await problemOf(() => planImage(wishOf(crowded)));
    expect([problem.code, problem.details.some((line) => /3 MiB {2}garth\/[0-9a-f]{16}\/kernel$/.test(line))]).toEqual([
      "E_IMAGE_TOO_SMALL",
      true,
    ]);
  });

  test("for its disk", async () => {
    const problem = await refused({ size: "36M", esp: "34M" });
    expect([problem.code, problem.details.includes("what takes the room:")]).toEqual(["E_IMAGE_TOO_SMALL", true]);
  });

  test("without sizes it is as large as it has to be; with a disk alone the root takes the rest", async () => {
    const free = planImage(wishOf(await composedWith({ disk: { rootFree: "8M" } })));
    expect(free.rootUsage.freeBytes).toBeGreaterThanOrEqual(8 << 20);
    const whole = planImage(wishOf(await composedWith({ disk: { size: "256M", esp: "34M" } })));
    expect(whole.image.sizeBytes).toBe(256 << 20);
    expect(whole.rootUsage.sizeBytes).toBe((256 - 34 - 2) << 20);
  });
});

describe("writing that fails leaves no file", () => {
  const write = (to: string, more: { readonly signal?: AbortSignal; readonly locate?: (name: string) => string } = {}) =>
    problemOf(writeBlocks(host, planImage(wishOf(system)).image, to, { locate: locateIn(place.store), ...more }));

  test("when a source cannot be read, or is shorter than it was", async () => {
    const to = `${scratch}/unreadable.raw`;
    const problem = await write(to, { locate: (name) => `${locateIn(place.store)(name)}.gone` });
    expect([problem.code, fs.existsSync(to)]).toEqual(["E_IMAGE_SOURCE", false]);
    const short = `${scratch}/short`;
    fs.writeFileSync(short, "");
    expect([(await write(to, { locate: () => short })).message, fs.existsSync(to)]).toEqual([
      expect.stringMatching(/ is shorter than it was when the image was planned$/),
      false,
    ]);
  });

  test("when the disk is full", async () => {
    const mount = `${scratch}/full`;
    fs.mkdirSync(mount);
    tool("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount);
    try {
      const problem = await write(`${mount}/disk.raw`);
      expect([problem.code, problem.exit, fs.readdirSync(mount)]).toEqual(["E_NO_SPACE", 3, []]);
    } finally {
      tool("umount", mount);
    }
  });

  test("when it is interrupted, before or in the middle", async () => {
    const to = `${scratch}/interrupted.raw`;
    const { image } = planImage(wishOf(system));
    const reason = new Error("interrupted");
    const early = AbortSignal.abort(reason);
    await expect(writeBlocks(host, image, to, { locate: locateIn(place.store), signal: early })).rejects.toBe(reason);
    const controller = new AbortController();
    const locate = (name: string): string => {
      controller.abort(reason);
      return locateIn(place.store)(name);
    };
    await expect(writeBlocks(host, image, to, { locate, signal: controller.signal })).rejects.toBe(reason);
    expect(fs.existsSync(to)).toBe(false);
  });

  test("but a file that was there before is somebody else's, and stays", async () => {
    const to = `${scratch}/theirs.raw`;
    fs.writeFileSync(to, "theirs");
    await writeBlocks(host, planImage(wishOf(system)).image, to, { locate: locateIn(place.store) }).catch((error: unknown) =>
      expect(error).toMatchObject({ code: "EEXIST" }),
    );
    expect(fs.readFileSync(to, "utf8")).toBe("theirs");
  });

  test("and nothing in the store", async () => {
    const before = place.store.all();
    await problemOf(
      makeImage(host, place.store, "small", {
        ...wishOf(system),
        root: {
          ...system.root,
          entries: [
            {
              type: "file",
              path: "x",
              mode: 0,
              uid: 0,
              gid: 0,
              timeSeconds: 0,
              content: { kind: "file", file: "/frx/store/none", sizeBytes: 1 },
            },
          ],
        },
      }),
    );
    expect([place.store.all(), fs.readdirSync(place.store.temporaryDirectory)]).toEqual([before, []]);
  });
});

describe("the kernel", () => {
  test("mounts the root and finds every file as it was", () => {
    const mount = `${scratch}/mounted`;
    fs.mkdirSync(mount);
    tool("mount", "-o", "loop,ro", part(2), mount);
    try {
      for (const entry of system.root.entries) {
        const stat = fs.lstatSync(`${mount}/${entry.path}`);
        expect([entry.path, stat.mode & 0o7777, stat.uid, stat.gid, stat.mtimeMs]).toEqual([
          entry.path,
          entry.mode,
          entry.uid,
          entry.gid,
          1000,
        ]);
        if (entry.type === "symlink") expect(fs.readlinkSync(`${mount}/${entry.path}`)).toBe(entry.target);
        if (entry.type !== "file") continue;
        const wanted =
          entry.content.kind === "bytes" ? entry.content.bytes : fs.readFileSync(locateIn(place.store)(entry.content.file));
        expect([entry.path, Buffer.compare(fs.readFileSync(`${mount}/${entry.path}`), wanted)]).toEqual([entry.path, 0]);
      }
    } finally {
      tool("umount", mount);
    }
  });
});
