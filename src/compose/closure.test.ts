import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { problemOf } from "../base/testing.ts";
import type { SystemOptions } from "../system/index.ts";
import { slice, world } from "../world/index.ts";
import { compareSystems } from "./index.ts";
import { composed, fill, GUEST, guest, guestOptions, RELEASE, type TreeFiles, type Workplace, workplace } from "./testing.ts";

const optionsIn = (place: Workplace, more: Partial<SystemOptions> = {}): SystemOptions =>
  guestOptions(guest(fill(place.directory(), GUEST)), more);
const physical = ({ store }: Workplace, path: string): string => `${store.directory}${path.slice("/frx/store".length)}`;
const leftIn = ({ store }: Workplace): readonly string[] => fs.readdirSync(store.temporaryDirectory);

async function output(place: Workplace, files: TreeFiles, name: string) {
  return (await place.store.add(fill(place.directory(), files), name)).path;
}

describe("a system", () => {
  test("is an item that refers to all it needs, and is found again", async () => {
    using place = workplace();
    const { store } = place;
    const options = optionsIn(place);
    const hello = await output(place, { "bin/hello": { text: "#!/bin/sh\n", mode: 0o755 } }, "hello-1.0");
    const first = await composed(place, options, [hello]);
    expect(first.isNew).toBe(true);
    const { kernel, bootloader, base } = first.composition;
    expect(first.closure.toSorted()).toEqual(
      [first.system, first.profile, kernel.path, bootloader.path, hello, ...base.map(({ path }) => path)].toSorted(),
    );
    expect(store.references(first.system).toSorted()).toEqual(first.closure.filter((path) => path !== first.system).toSorted());
    expect((await store.verify({ repair: false, contents: true })).damage).toEqual([]);
    const items = store.all().length;
    const again = await composed(place, options, [hello]);
    expect([again.system, again.isNew, again.root]).toEqual([first.system, false, first.root]);
    expect([store.all().length, leftIn(place)]).toEqual([items, []]);
  });

  test("is the same in another store, whatever was composed there before", async () => {
    using place = workplace();
    using elsewhere = workplace();
    const other = {
      more: slice(world({ name: "more", directory: fill(place.directory(), { "usr/share/more": "m\n" }) }), { role: "runtime" }),
    };
    const of = (at: Workplace): SystemOptions => {
      const options = optionsIn(at);
      return { ...options, base: [...options.base, other.more] };
    };
    const forward = await composed(place, of(place));
    const backward = of(elsewhere);
    const reversed = await composed(elsewhere, { ...backward, base: backward.base.toReversed() });
    const later = await composed(elsewhere, of(elsewhere));
    expect([later.system, later.profile]).toEqual([forward.system, forward.profile]);
    expect(later.root).toEqual(forward.root);
    // The order of the base is in what the system says of itself.
    expect(reversed.system).not.toBe(later.system);
  });

  test("has an initial RAM disk that cpio reads: the program, the modules in it, a console", async () => {
    using place = workplace();
    const { initrdFile = "", kernelFile, composition } = await composed(place, optionsIn(place));
    const out = place.directory();
    execFileSync("cpio", ["-i", "-d", "--quiet", "-F", physical(place, initrdFile)], { cwd: out });
    expect(
      execFileSync("find", [".", "-mindepth", "1", "-printf", "%P %y %m\n"], { cwd: out, encoding: "utf8" })
        .trim()
        .split("\n")
        .toSorted(),
    ).toEqual([
      "bin d 755",
      "bin/busybox f 755",
      "dev d 755",
      "dev/console c 600",
      "init f 755",
      "modules d 755",
      "modules/virtio.ko f 644",
      "modules/virtio_blk.ko f 644",
      "proc d 755",
      "sys d 755",
      "sysroot d 755",
    ]);
    expect(fs.readFileSync(`${out}/modules/virtio_blk.ko`, "utf8")).toBe("blk\n");
    expect(kernelFile).toBe(`${composition.kernel.path}/boot/vmlinuz-${RELEASE}`);
  });

  test("keeps what roots hold when the garbage goes, and nothing else", async () => {
    using place = workplace();
    const { store } = place;
    const options = optionsIn(place);
    const first = await composed(place, options);
    const second = await composed(place, { ...options, name: "other" });
    store.addRoot("system", first.system);
    store.close();
    await store.gc({});
    expect(
      store
        .all()
        .map(({ path }) => path)
        .toSorted(),
    ).toEqual(first.closure.toSorted());
    expect(store.isValid(second.system)).toBe(false);
    expect((await composed(place, options)).system).toBe(first.system);
  });
});

describe("development", () => {
  test("is a profile beside the system, which is the same item with and without it", async () => {
    using place = workplace();
    const declared = guest(fill(place.directory(), GUEST));
    const [without, beside] = [
      await composed(place, guestOptions(declared)),
      await composed(place, guestOptions(declared, { development: [declared.development] })),
    ];
    expect([beside.system, beside.profile, without.development]).toEqual([without.system, without.profile, undefined]);
    const added = beside.closure.filter((path) => !without.closure.includes(path));
    expect(added.map((path) => path.slice("/frx/store/".length + 65)).toSorted()).toEqual([
      "development-small",
      "guest-development",
    ]);
    const profile = physical(place, beside.development ?? "");
    expect(fs.readlinkSync(`${profile}/usr`)).toBe(`${beside.composition.development[0]?.path ?? ""}/usr`);
  });
});

describe("what does not go together leaves nothing behind", () => {
  const cases: readonly (readonly [string, Partial<SystemOptions>, TreeFiles, `E_${string}`])[] = [
    ["two parts with one file", {}, { "bin/web": "" }, "E_FILE_CONFLICT"],
    ["a service without its package", { services: [{ name: "a", command: ["/usr/bin/none"] }] }, {}, "E_SERVICE_WITHOUT_PACKAGE"],
    ["a service of nobody's", { services: [{ name: "a", command: ["/usr/bin/sh"], user: "bob" }] }, {}, "E_SYSTEM_INVALID"],
    ["a module that is not there", { rootModules: ["nvme"] }, {}, "E_KERNEL_MODULE"],
    ["a file that is generated", { etc: { hostname: "x" } }, {}, "E_SYSTEM_INVALID"],
  ];
  for (const [what, more, files, code] of cases) {
    test(what, async () => {
      using place = workplace();
      const options = optionsIn(place);
      const web = await output(place, { "bin/web": "", ...files }, "web-1.0");
      const twice = await output(place, { "bin/web": "", "bin/more": "" }, "web-2.0");
      await composed(place, options);
      const before = place.store.all().map(({ path }) => path);
      const packages = code === "E_FILE_CONFLICT" ? [web, twice] : [web];
      const problem = await problemOf(composed(place, { ...options, ...more }, packages));
      expect(problem.code).toBe(code);
      expect([place.store.all().map(({ path }) => path), leftIn(place)]).toEqual([before, []]);
    });
  }
});

describe("two systems", () => {
  test("are compared by what they are made of", async () => {
    using place = workplace();
    const options = optionsIn(place);
    const left = await composed(place, options);
    const right = await composed(place, {
      ...options,
      etc: { ...options.etc, motd: "hi\n" },
      services: [{ name: "other", command: ["/usr/bin/sh"] }],
    });
    const { services, packages, files } = compareSystems(
      { ...place.context, listings: place.listings },
      left.system,
      right.system,
    );
    expect([packages, services]).toEqual([[], ["+ other", "- web"]]);
    expect(files).toEqual(
      expect.arrayContaining(["+ /etc/motd", "~ /etc/inittab", "+ /etc/garth/services/other", "- /etc/garth/services/web"]),
    );
    expect(files).not.toContain("~ /etc/passwd");
    const { composition } = left;
    const looking = { ...place.context, listings: place.listings };
    expect((await problemOf(() => compareSystems(looking, left.system, composition.kernel.path))).code).toBe("E_NOT_A_SYSTEM");
  });
});
