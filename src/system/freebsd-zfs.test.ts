/** A FreeBSD system whose root is ZFS: how it is declared, and what says so in the files that loader and rc(8) read. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { golden, thrownProblem } from "../base/testing.ts";
import { slice, world } from "../world/index.ts";
import { system, type SystemOptions } from "./declare.ts";
import { planFreebsd } from "./freebsd.ts";
import { generationLines, renderFstab, renderLoaderConf, renderRcConf, rootDataset } from "./freebsd-conf.ts";
import { SAMPLE, SAMPLE_COMPOSITION, SAMPLE_SYSTEM } from "./freebsd-sample.ts";
import type { Composition, SystemSpec } from "./types.ts";

const sameAsGolden = (name: string, text: string): void =>
  expect(text).toBe(golden(join(import.meta.dir, "golden/freebsd-zfs", name), text));

/** The sample, with the default for a ZFS root in place of its own. */
const ZFS: SystemSpec = {
  ...SAMPLE,
  fileSystems: SAMPLE.fileSystems.filter(({ mountPoint }) => mountPoint !== "/"),
  disk: { ...SAMPLE.disk, pool: "zroot" },
};

describe("with a ZFS root", () => {
  test("the loader loads the module, and says which dataset is the root", () =>
    sameAsGolden("loader.conf", renderLoaderConf(ZFS)));

  test("rc.conf mounts what other datasets there come to be", () => sameAsGolden("rc.conf", renderRcConf(ZFS)));

  test("fstab has no line for the root", () => {
    sameAsGolden("fstab", renderFstab(ZFS));
    expect(renderFstab({ ...ZFS, fileSystems: [] })).toBe("# Device\tMountpoint\tFStype\tOptions\tDump Pass\n");
  });

  test("what a generation adds does not change: the kernel is found by the same links", () =>
    expect(generationLines(ZFS, SAMPLE_SYSTEM, 3)).toBe(generationLines(SAMPLE, SAMPLE_SYSTEM, 3)));

  test("declared settings are the last word", () => {
    const text = renderLoaderConf({ ...ZFS, loaderSettings: { "vfs.root.mountfrom": "zfs:zroot/ROOT/other" } });
    expect(text).toContain('\nvfs.root.mountfrom="zfs:zroot/ROOT/other"\n');
    expect(text).not.toContain(rootDataset("zroot"));
  });

  test("the kernel slice has to have the module", () => {
    const with_ = (more: readonly string[]): Composition => ({
      ...SAMPLE_COMPOSITION,
      spec: ZFS,
      kernel: {
        ...SAMPLE_COMPOSITION.kernel,
        listing: [
          ...SAMPLE_COMPOSITION.kernel.listing,
          ...more.map((path) => ({ path, type: "file", executable: false, sizeBytes: 1 }) as const),
        ],
      },
    });
    const { code, message } = thrownProblem(() => planFreebsd(with_([])));
    expect([code, message]).toEqual([
      "E_KERNEL_SLICE",
      `the slice kernel (${SAMPLE_COMPOSITION.kernel.path}) has no boot/kernel/zfs.ko`,
    ]);
    expect(planFreebsd(with_(["boot/kernel/zfs.ko"])).tree.get("boot/kernel")?.type).toBe("symlink");
  });
});

describe("declared", () => {
  const of = world({ name: "w", directory: "/w" });
  const OPTIONS: SystemOptions = {
    name: "sample",
    family: "freebsd",
    kernel: slice(of, { role: "kernel", keep: ["boot/kernel"] }),
    bootloader: slice(of, { role: "boot", keep: ["boot/loader.efi"] }),
    base: [slice(of, { role: "runtime", prune: ["boot"] })],
  };
  const specOf = (more: Partial<SystemOptions>): SystemSpec => system({ ...OPTIONS, ...more }).spec;
  const refusal = (more: object): string => {
    const { code, message } = thrownProblem(() => system({ ...OPTIONS, ...more }));
    return `${code} ${message.replace(/^system sample: /, "")}`;
  };

  test("its pool is zroot unless another is named, and /dev alone is mounted by fstab", () => {
    const spec = specOf({ disk: { rootType: "zfs" } });
    expect(spec.disk.pool).toBe("zroot");
    expect(spec.fileSystems.map(({ mountPoint }) => mountPoint)).toEqual(["/dev"]);
    expect(specOf({ disk: { rootType: "zfs", pool: "tank_1" } }).disk.pool).toBe("tank_1");
  });

  test("without it nothing is different", () => {
    const spec = specOf({ disk: { rootType: "ufs" } });
    expect(spec).toEqual(specOf({}));
    expect("pool" in spec.disk).toBe(false);
  });

  for (const [what, more, message] of [
    ["a type of another family", { disk: { rootType: "ext4" } }, 'disk.rootType: expected "ufs" or "zfs" on freebsd'],
    ["ZFS on Linux", { family: "linux", init: "systemd", disk: { rootType: "zfs" } }, 'disk.rootType: expected "ext4" on linux'],
    ["a pool of no ZFS", { disk: { pool: "zroot" } }, 'disk.pool: expected nothing: only a root of rootType "zfs" is in a pool'],
    ["a pool that ZFS takes for a mirror", { disk: { rootType: "zfs", pool: "mirror1" } }, "disk.pool: expected a name of up to"],
    ["a pool that makefs takes for none", { disk: { rootType: "zfs", pool: "a-b" } }, "disk.pool: expected a name of up to"],
    [
      "a root of its own in fstab",
      { disk: { rootType: "zfs" }, fileSystems: [{ mountPoint: "/", type: "ufs", label: "x" }] },
      "fileSystems[0]: expected nothing for /",
    ],
  ] as const)
    test(`refused: ${what}`, () => expect(refusal(more)).toStartWith(`E_RECIPE_INVALID ${message}`));
});
