import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { problemOf } from "../base/testing.ts";
import { sha256, type StorePath } from "../base/index.ts";
import { slice, world, type WorldDeclaration } from "../world/index.ts";
import { importWorld, makeSlice, realiseSlices, reportSlices } from "./index.ts";
import { fill, GUEST, guest, type TreeFiles, type Workplace, workplace } from "./testing.ts";

const ODD: TreeFiles = {
  ...GUEST,
  "dev/": {},
  "dev/null": "a device, where it is mounted",
  "proc/1/comm": "init",
  "usr/group-only": { text: "", mode: 0o610 },
  "usr/all bits": { text: "", mode: 0o7777, owner: [1, 2] },
  "usr/nobody reads": { text: "", mode: 0o000 },
  "usr/setuid-again": { sameAs: "usr/bin/su" },
  "usr/line\nbreak": { text: "", mode: 0o600 },
  "usr/theirs": { target: "bin", owner: [7, 8] },
};

const directoryWorld = (path: string, more: object = {}): WorldDeclaration => world({ name: "w", directory: path, ...more });

function archived(place: Workplace, tree: string, name: string, ...how: readonly string[]): WorldDeclaration {
  const file = `${place.directory()}/${name}`;
  execFileSync("tar", [...how, "--create", "--file", file, "--directory", tree, "."]);
  return world({ name: "w", archive: file });
}

const attributes = ({ store }: Workplace, path: StorePath): string =>
  fs.readFileSync(`${store.physical(path)}/.garth/attributes`, "utf8");

describe("a world as an item", () => {
  test("keeps owners and modes beside the tree, and nothing of what a running system mounts", async () => {
    using place = workplace();
    const path = await importWorld(place.context, directoryWorld(fill(place.directory(), ODD)));
    expect(path).toEndWith("-world-w-local");
    expect(attributes(place, path)).toBe(
      [
        "#mtree",
        "./etc/shadow type=file mode=0640 uid=0 gid=42",
        "./root type=dir mode=0700 uid=0 gid=0",
        "./tmp type=dir mode=01777 uid=0 gid=0",
        String.raw`./usr/all\040bits type=file mode=07777 uid=1 gid=2`,
        "./usr/bin/su type=file mode=04755 uid=0 gid=0",
        "./usr/bin/wall type=file mode=02755 uid=0 gid=5",
        "./usr/group-only type=file mode=0610 uid=0 gid=0",
        String.raw`./usr/line\012break type=file mode=0600 uid=0 gid=0`,
        String.raw`./usr/nobody\040reads type=file mode=0000 uid=0 gid=0`,
        "./usr/setuid-again type=file mode=04755 uid=0 gid=0",
        "./usr/theirs type=link mode=0777 uid=7 gid=8",
        "./var/mail type=dir mode=02775 uid=0 gid=8",
        "",
      ].join("\n"),
    );
    const { listing } = place.listings.of(path);
    const at = (name: string) => listing.find((each) => each.path === name);
    expect(at("usr/bin/sh")).toEqual({ path: "usr/bin/sh", type: "file", executable: true, sizeBytes: 10 });
    expect(at("bin")).toMatchObject({ type: "symlink", target: "usr/bin" });
    expect([at("dev")?.type, at("dev/null"), at("proc/1")]).toEqual(["directory", undefined, undefined]);
    expect(fs.readFileSync(`${place.store.physical(path)}/usr/lib/größe mit leer`, "utf8")).toBe("ü\n");
    expect(place.store.references(path)).toEqual([]);
    expect(fs.readdirSync(place.store.temporaryDirectory)).toEqual([]);
  });

  test("is the same out of a directory and out of every archive of it", async () => {
    using place = workplace();
    const tree = fill(place.directory(), ODD);
    const wanted = await importWorld(place.context, directoryWorld(tree));
    for (const [name, ...how] of [
      ["plain.tar"],
      ["posix.tar", "--format=posix"],
      ["tree.tar.gz", "--gzip"],
      ["tree.tar.xz", "--xz"],
      ["tree.tar.zst", "--zstd"],
      ["no-suffix", "--xz"],
      ["reversed.tar", "--sort=name", "--transform=s,^\\./,,"],
    ] as const) {
      const found = await importWorld(place.context, archived(place, tree, name, ...how));
      expect([name, attributes(place, found)]).toEqual([name, attributes(place, wanted)]);
      expect([name, found]).toEqual([name, wanted]);
    }
  });

  test("of the same content is the same; of other content, owner or label it is another", async () => {
    using place = workplace();
    const tree = fill(place.directory(), GUEST);
    const again = fill(
      place.directory(),
      Object.fromEntries(
        Object.entries(GUEST)
          .toReversed()
          .filter(([, what]) => typeof what === "string" || what.sameAs === undefined),
      ),
    );
    fs.linkSync(`${again}/usr/bin/sh`, `${again}/usr/bin/sh-again`);
    const first = await importWorld(place.context, directoryWorld(tree));
    expect(await importWorld(place.context, directoryWorld(again))).toBe(first);
    fs.chownSync(`${again}/etc/passwd`, 0, 42);
    const second = await importWorld(place.context, directoryWorld(again));
    fs.writeFileSync(`${tree}/etc/group`, "other\n");
    const third = await importWorld(place.context, directoryWorld(tree));
    const fourth = await importWorld(place.context, directoryWorld(tree, { label: "next" }));
    expect(new Set([first, second, third, fourth]).size).toBe(4);
  });

  test("is not made of a path that is not there, a name that is not UTF-8, or half an archive, and leaves nothing", async () => {
    using place = workplace();
    const { context, store } = place;
    const refused = async (declared: WorldDeclaration): Promise<readonly [string, number]> => {
      const { code, exit } = await problemOf(importWorld(context, declared));
      return [code, exit];
    };
    expect(await refused(directoryWorld("/nonexistent/tree"))).toEqual(["E_WORLD_IMPORT", 2]);
    expect(await refused(directoryWorld("/etc/passwd"))).toEqual(["E_WORLD_IMPORT", 2]);
    expect(await refused(world({ name: "w", archive: "/nonexistent/tree.tar" }))).toEqual(["E_WORLD_IMPORT", 2]);
    const tree = fill(place.directory(), { good: "x".repeat(100_000) });
    const half = archived(place, tree, "half.tar");
    const file = half.origin.kind === "archive" && "path" in half.origin.source ? half.origin.source.path : "";
    fs.truncateSync(file, 20_000);
    expect((await refused(half))[0]).toBe("E_COMMAND_FAILED");
    fs.writeFileSync(Buffer.from(`${tree}/b\xffd`, "latin1"), "");
    expect((await refused(directoryWorld(tree)))[0]).toBe("E_BAD_NAME");
    expect((await refused(archived(place, tree, "bad.tar")))[0]).toBe("E_BAD_NAME");
    expect([store.all(), fs.readdirSync(store.temporaryDirectory)]).toEqual([[], []]);
  });

  test("leaves out devices, pipes, sockets and what somebody says of another world", async () => {
    using place = workplace();
    const tree = fill(place.directory(), {
      "usr/x": "x",
      ".garth/attributes": "#mtree\n./usr/x type=file mode=04755 uid=0 gid=0\n",
    });
    execFileSync("mkfifo", [`${tree}/usr/pipe`]);
    execFileSync("mknod", [`${tree}/usr/null`, "c", "1", "3"]);
    execFileSync("mknod", [`${tree}/usr/disk`, "b", "7", "0"]);
    using listening = Bun.listen({ unix: `${tree}/usr/socket`, socket: { data: () => undefined } });
    expect([listening.unix, fs.lstatSync(`${tree}/usr/socket`).isSocket()]).toEqual([`${tree}/usr/socket`, true]);
    const path = await importWorld(place.context, directoryWorld(tree));
    expect(place.listings.of(path).listing.map((entry) => entry.path)).toEqual([".garth", ".garth/attributes", "usr", "usr/x"]);
    expect(attributes(place, path)).toBe("#mtree\n");
    // GNU tar leaves sockets out by itself.
    expect(await importWorld(place.context, archived(place, tree, "devices.tar", "--warning=no-file-ignored"))).toBe(path);
  });
});

describe("a slice as an item", () => {
  const inode = ({ store }: Workplace, path: StorePath, name: string): number =>
    fs.statSync(`${store.physical(path)}/${name}`).ino;

  test("has further names of its world's files, its own attributes and a record, and does not need the world", async () => {
    using place = workplace();
    const { context, listings, store } = place;
    const declared = guest(fill(place.directory(), GUEST));
    const from = await importWorld(context, declared.world);
    const cut = slice(declared.world, { role: "runtime", keep: ["usr/bin", "etc/shadow"], prune: ["usr/bin/wall"] });
    const path = await makeSlice(context, listings, cut, from);
    expect(listings.of(path).listing.flatMap((entry) => (entry.type === "directory" ? [] : [entry.path]))).toEqual([
      ".garth/attributes",
      ".garth/slice.json",
      "etc/shadow",
      ...["busybox", "editor", "sh", "sh-again", "su"].map((name) => `usr/bin/${name}`),
    ]);
    expect(attributes(place, path)).toBe(
      "#mtree\n./etc/shadow type=file mode=0640 uid=0 gid=42\n./usr/bin/su type=file mode=04755 uid=0 gid=0\n",
    );
    for (const name of ["usr/bin/sh", "usr/bin/su", "etc/shadow"])
      expect(inode(place, path, name)).toBe(inode(place, from, name));
    expect(store.references(path)).toEqual([]);
    expect(JSON.parse(fs.readFileSync(`${store.physical(path)}/.garth/slice.json`, "utf8"))).toEqual({
      schema: "garth-slice-1",
      role: "runtime",
      keep: ["usr/bin", "etc/shadow"],
      prune: ["usr/bin/wall"],
      world: expect.stringMatching(/^world-guest-local [0-9a-f]{32}$/),
    });
    expect((await store.verify({ repair: false, contents: true })).damage).toEqual([]);
  });

  test("is found again; of another world, list or name it is another", async () => {
    using place = workplace();
    const { context, listings, store } = place;
    const tree = fill(place.directory(), GUEST);
    const first = guest(tree);
    const wanted = [first.kernel, first.bootloader, first.runtime, first.development];
    const { slices } = await realiseSlices(context, listings, wanted);
    const paths = [...slices.values()];
    const count = store.all().length;
    const second = guest(tree);
    const again = await realiseSlices(context, listings, [second.kernel, second.bootloader, second.runtime, second.development]);
    expect([...again.slices.values()]).toEqual(paths);
    expect(store.all()).toHaveLength(count);
    expect(again.worlds.size).toBe(1);
    fs.writeFileSync(`${tree}/usr/include/stdio.h`, "other\n");
    const other = guest(tree);
    const changed = await realiseSlices(context, listings, [other.kernel, other.development]);
    expect([changed.slices.get(other.kernel) === paths[0], changed.slices.get(other.development) === paths[3]]).toEqual([
      false,
      false,
    ]);
  });

  test("that keeps nothing is refused with what it would have kept, and is not there afterwards", async () => {
    using place = workplace();
    const { context, listings, store } = place;
    const of = world({ name: "w", directory: fill(place.directory(), GUEST) });
    const path = await importWorld(context, of);
    const before = store.all();
    const problem = await problemOf(
      makeSlice(context, listings, slice(of, { role: "boot", keep: ["usr/bin/busibox", "boot/efi"] }), path),
    );
    expect(problem).toMatchObject({
      code: "E_EMPTY_SLICE",
      exit: 2,
      where: path,
      details: ["keep usr/bin/busibox", "keep boot/efi"],
    });
    expect([store.all(), fs.readdirSync(store.temporaryDirectory)]).toEqual([before, []]);
  });

  test("slices of a world lie over each other, or leave something out", async () => {
    using place = workplace();
    const declared = guest(fill(place.directory(), GUEST));
    const path = await importWorld(place.context, declared.world);
    const { kernel, bootloader, runtime, development } = declared;
    expect(reportSlices(place.listings, path, [kernel, bootloader, runtime, development])).toEqual({
      overlaps: [{ path: "usr/lib/libc.so", slices: ["guest-runtime", "guest-development"] }],
      gaps: ["usr/share"],
    });
  });
});

describe("a world of FreeBSD's sets", () => {
  const BASE: TreeFiles = {
    "bin/sh": { text: "sh\n", mode: 0o555 },
    "usr/bin/su": { text: "su\n", mode: 0o4555 },
    "boot/loader.efi": "loader\n",
  };
  const KERNEL: TreeFiles = { "boot/kernel/kernel": { text: "kernel\n", mode: 0o555 } };

  /** As release(7) makes them: two archives, and the list. */
  function released(place: Workplace): string {
    const directory = place.directory();
    const line = (name: string, tree: TreeFiles): string => {
      execFileSync("bsdtar", ["-cJf", `${directory}/${name}`, "-C", fill(place.directory(), tree), "."]);
      const digest = execFileSync("sha256sum", [`${directory}/${name}`], { encoding: "utf8" }).slice(0, 64);
      return `${name}\t${digest}\t${Object.keys(tree).length}\t${name.replace(".txz", "")}\t"A set (MANDATORY)"\ton\n`;
    };
    fs.writeFileSync(`${directory}/MANIFEST`, line("base.txz", BASE) + line("kernel.txz", KERNEL));
    return directory;
  }

  const declared = (directory: string, names: readonly string[] = ["base.txz", "kernel.txz"]): WorldDeclaration =>
    world({
      name: "w",
      sets: {
        manifest: `${directory}/MANIFEST`,
        archives: Object.fromEntries(names.map((name) => [name, `${directory}/${name}`])),
      },
    });

  test("is the same as the tree that they come to", async () => {
    using place = workplace();
    const tree = fill(place.directory(), { ...BASE, ...KERNEL });
    const found = await importWorld(place.context, declared(released(place)));
    expect(found).toBe(await importWorld(place.context, directoryWorld(tree)));
    expect(attributes(place, found)).toContain("./usr/bin/su type=file mode=04555");
  });

  test("is not made of a set that is damaged, cut off, unknown or not there, and leaves nothing", async () => {
    using place = workplace();
    const directory = released(place);
    const codeOf = async (of: WorldDeclaration): Promise<string> => (await problemOf(importWorld(place.context, of))).code;
    expect(await codeOf(declared(directory, ["base.txz", "games.txz"]))).toBe("E_SET_UNKNOWN");
    const bytes = fs.readFileSync(`${directory}/kernel.txz`);
    const middle = bytes.length >> 1;
    fs.writeFileSync(`${directory}/kernel.txz`, bytes.with(middle, (bytes[middle] ?? 0) ^ 1));
    expect(await codeOf(declared(directory))).toBe("E_SET_DAMAGED");
    fs.writeFileSync(`${directory}/kernel.txz`, bytes.subarray(0, 100));
    const cut = await problemOf(importWorld(place.context, declared(directory)));
    expect([cut.code, cut.where, cut.details[0]]).toEqual([
      "E_SET_DAMAGED",
      `${directory}/kernel.txz`,
      `expected ${sha256(bytes)}`,
    ]);
    // A list may be of what it says, and that be no archive.
    const list = fs.readFileSync(`${directory}/MANIFEST`, "utf8");
    fs.writeFileSync(`${directory}/MANIFEST`, list.replace(sha256(bytes), sha256(bytes.subarray(0, 100))));
    expect(await codeOf(declared(directory))).toBe("E_COMMAND_FAILED");
    fs.unlinkSync(`${directory}/base.txz`);
    const missing = await problemOf(importWorld(place.context, declared(directory)));
    expect([missing.code, missing.where]).toEqual(["E_WORLD_IMPORT", `${directory}/base.txz`]);
    fs.writeFileSync(`${directory}/MANIFEST`, "base.txz\tnothing\n");
    expect(await codeOf(declared(directory))).toBe("E_SET_MANIFEST");
    fs.unlinkSync(`${directory}/MANIFEST`);
    expect(await codeOf(declared(directory))).toBe("E_WORLD_IMPORT");
    expect(place.store.all()).toEqual([]);
    expect(fs.readdirSync(place.store.temporaryDirectory)).toEqual([]);
  });

  test("two releases with one label are two worlds", async () => {
    using place = workplace();
    const [one, two] = [released(place), released(place)];
    execFileSync("bsdtar", [
      "-cJf",
      `${two}/kernel.txz`,
      "-C",
      fill(place.directory(), { "boot/kernel/kernel": "another\n" }),
      ".",
    ]);
    const digest = execFileSync("sha256sum", [`${two}/kernel.txz`], { encoding: "utf8" }).slice(0, 64);
    const list = fs.readFileSync(`${two}/MANIFEST`, "utf8").replace(/^kernel.txz\t[0-9a-f]{64}/m, `kernel.txz\t${digest}`);
    fs.writeFileSync(`${two}/MANIFEST`, list);
    expect(await importWorld(place.context, declared(one))).not.toBe(await importWorld(place.context, declared(two)));
  });
});
