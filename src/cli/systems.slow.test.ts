/** Worlds, systems and images by their commands, on systems of a few small files. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseMtree } from "../formats/index.ts";
import { type CommandPlace, commandPlace } from "./systems.testing.ts";

// The first call may have to compile the program.
setDefaultTimeout(240_000);
let place: CommandPlace;
beforeAll(() => {
  place = commandPlace();
});
afterAll(() => place.remove());

describe("a world", () => {
  test("comes from a directory and from an archive, and is one item for one content", () => {
    const { path, entries } = Object(place.document("world", "import", "tree", "--name", "tiny"));
    expect(path).toEndWith("-world-tiny-local");
    expect(entries).toBe(27);
    expect(place.document("world", "import", "#tiny")).toMatchObject({ path, entries, name: "tiny", lock: [] });
    Bun.spawnSync(["tar", "-czf", "tiny.tar.gz", "-C", "tree", "."], { cwd: place.directory });
    expect(place.document("world", "import", "tiny.tar.gz")).toMatchObject({ path, entries });
  });
  test("is cut by paths, and what lies in no slice is told", () => {
    const cut = place.document(
      "world",
      "slice",
      "world-tiny",
      "--role",
      "kernel",
      "--keep",
      "/boot,usr/bin/s*",
      "--prune",
      "usr/bin/su",
    );
    expect(cut).toMatchObject({ entries: 27, overlaps: [], slices: [{ name: "tiny-local-kernel", role: "kernel", entries: 5 }] });
    expect(Object(cut).gaps).toContain("usr/bin/su");
    expect(Object(cut).gaps).not.toContain("usr/bin/start");
    const standard = place.call("world", "slice", "#tiny");
    expect(standard.stdout).toContain("1 path in more than one:\n  usr/bin/busybox  (tiny-boot, tiny-runtime)\n");
    expect(standard.stdout).toContain("in none:\n  usr/share\n");
    expect(place.document("world", "slice", "#headers")).toMatchObject({ slices: [{ name: "tiny-development", entries: 3 }] });
    for (const wrong of [
      ["--role", "runtme"],
      ["--keep", "../etc"],
      ["--name", "a b"],
    ]) {
      expect(place.call("world", "slice", "world-tiny", ...wrong)).toMatchObject({ status: 2 });
    }
  });
  test("is listed with its slices", () => {
    const listed = place.call("world", "ls").stdout;
    expect(listed).toMatch(/^world +\S+ KiB {2}\S+ {2}- +\/frx\/store\/[0-9a-f]{64}-world-tiny-local$/m);
    expect(listed).toMatch(/^kernel .*-tiny-kernel$/m);
    expect(place.call("store", "ls").stdout).toContain("-tiny-local-kernel.drv\n");
    expect(listed).not.toContain(".drv");
  });
});

describe("a system", () => {
  test("is made once; stdout has its closure alone", () => {
    const built = place.call("system", "build", "#web");
    expect(built.stdout).toMatch(/^\/frx\/store\/[0-9a-f]{64}-system-web\nPASS web\n$/);
    expect(built.stderr).toContain("system      ");
    const again = place.document("system", "build", "./garth.ts#web");
    expect(again).toMatchObject({
      name: "web",
      closure: built.stdout.split("\n")[0],
      initrd: expect.any(String),
    });
    expect(Object(again).stages.at(-1)).toMatchObject({ stage: "system", how: "unchanged" });
    expect(place.call("world", "ls").stdout).toMatch(/ root {2}\S+-tiny-runtime$/m);
  });
  test("differs from another by what is told, and not from itself", () => {
    const differs = place.call("system", "diff", "#web", "#other");
    expect(differs.status).toBe(1);
    expect(differs.stdout).toStartWith("files\n  ~ /etc/hostname\n  ~ /etc/hosts\n  + /etc/motd\nclosure  ");
    expect(place.call("system", "diff", "#web", "#lean").stdout).toMatch(
      /^packages\n {2}~ tiny-runtime {2}-\S+ \S+, 8 paths\nclosure {2}/,
    );
    const { left } = Object(place.document("system", "diff", "#web", "#other"));
    expect(place.call("system", "diff", "#web", String(left))).toMatchObject({
      status: 0,
      stdout: expect.stringContaining("the same system\n"),
    });
    expect(place.call("system", "diff", "#web", "tiny-kernel")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("E_NOT_A_SYSTEM"),
    });
  });
  test("has a root whose manifest bsdtar reads, and finds again in the tree that was written", () => {
    const manifest = place.call("system", "rootfs", "#web").stdout;
    expect(place.call("system", "rootfs", "#web", "out")).toMatchObject({
      status: 0,
      stdout: expect.stringContaining("PASS web\n"),
    });
    const found = Bun.spawnSync(
      [
        "bsdtar",
        "-cf",
        "-",
        "--format=mtree",
        "--options=mtree:!all,mtree:type,mtree:mode,mtree:uid,mtree:gid,mtree:size,mtree:link",
        "-C",
        "out",
        ".",
      ],
      { cwd: place.directory },
    );
    const sorted = (text: string, where: string) => parseMtree(text, where).toSorted((a, b) => (a.path < b.path ? -1 : 1));
    expect(sorted(found.stdout.toString(), "bsdtar")).toEqual(sorted(manifest, "rootfs"));
    const read = (path: string) => readFileSync(join(place.directory, "out", path), "utf8");
    expect([read("etc/hostname"), read("var/lib/tiny/a file")]).toEqual(["web\n", "state\n"]);
    expect(manifest).toContain("./etc/shadow type=file mode=0640 uid=0 gid=42 size=26\n");
    expect(manifest).toMatch(/-tiny-runtime\/usr\/bin\/su type=file mode=04755 /);
    const again = place.call("system", "rootfs", "#web", "out");
    expect(again).toMatchObject({ status: 2, stderr: expect.stringContaining("E_NOT_EMPTY") });
  });
});

describe("an image", () => {
  const sum = (file: string) => Bun.spawnSync(["sha256sum", file], { cwd: place.directory }).stdout.toString().slice(0, 64);

  test("is inspected and verified by all of its names", () => {
    const made = place.document("system", "image", "#web");
    const { path, sha256 } = Object(made).image;
    for (const word of ["#web", path, "image-web"]) {
      expect(place.document("image", "inspect", word)).toMatchObject({
        storePath: path,
        container: "raw",
        partitions: [
          { name: "efiboot", fileSystem: "fat" },
          { name: "garth-root", fileSystem: "ext4" },
        ],
        system: Object(made).closure,
      });
    }
    expect(place.call("image", "verify", "image-web")).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^(?:good .*\n){4}$/),
    });
    const copy = place.document("system", "image", "#web", "-o", "copy.img");
    expect(copy).toMatchObject({ copy: { container: "raw", sha256 } });
    expect(sum("copy.img")).toBe(sha256);
  });
  test("comes back the same out of every container, by our reader and by qemu-img", () => {
    const sha256 = sum("copy.img");
    for (const [file, container, format] of [
      ["a.qcow2", "qcow2", "qcow2"],
      ["a.vhd", "vhd-dynamic", "vpc"],
      ["b.vhd", "vhd-fixed", "vpc"],
    ] as const) {
      expect(place.call("image", "convert", "image-web", file, "--format", container)).toMatchObject({ status: 0 });
      const info = Bun.spawnSync(
        ["qemu-img", "info", "--output=json", ...(container === "vhd-fixed" ? ["-f", "vpc"] : []), file],
        { cwd: place.directory },
      );
      expect(JSON.parse(info.stdout.toString())).toMatchObject({ format });
      expect(place.document("image", "inspect", file)).toMatchObject({
        container,
        diskBytes: statSync(join(place.directory, "copy.img")).size,
      });
      expect(place.call("image", "convert", file, `${file}.raw`)).toMatchObject({ status: 0 });
      expect(sum(`${file}.raw`)).toBe(sha256);
      expect(place.call("image", "verify", file)).toMatchObject({
        status: 2,
        stderr: expect.stringContaining("garth image convert"),
      });
    }
  });
  test("that is damaged is found so", () => {
    for (const [name, at, length, tool] of [
      ["esp.raw", 1 << 20, 4096, "fsck.fat -n"],
      ["root.raw", (9 << 20) + 1024, 200, "e2fsck -fn"],
      ["table.raw", 1024, 64, "sgdisk -v"],
    ] as const) {
      const disk = readFileSync(join(place.directory, "copy.img"));
      disk.fill(0xa5, at, at + length);
      writeFileSync(join(place.directory, name), disk);
      const said = place.call("image", "verify", name);
      expect(said.status).toBe(1);
      expect(said.stdout).toMatch(new RegExp(`^BAD .*${tool}$`, "m"));
    }
  });
});
