/**
 * A ZFS root: the command that makes it, and what is said where nothing can. Debian's makefs knows no ZFS; the one of a FreeBSD host is
 * asked by the suite (suite/cases/zfs.ts). Where a root has to be made here, a stand-in reads the manifest as makefs does.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { lstatSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { golden, problemOf, thrownProblem } from "../base/testing.ts";
import type { ComposedSystem } from "../compose/index.ts";
import { composed, type Workplace, workplace } from "../compose/testing.ts";
import { type FileSystemEntry, parseMtree, readGpt } from "../formats/index.ts";
import { readAtFile } from "../formats/testing.ts";
import type { Command, Host } from "../host/index.ts";
import { scriptedHost, type ScriptedReply } from "../host/testing.ts";
import { makeImage, planImage } from "./index.ts";
import { beastie, tool, wishOf } from "./testing.ts";
import { makeZfsRoot } from "./zfs.ts";
import { type FileEntry, planZfsRoot, ZFS_TARGET_MAX_BYTES, type ZfsWish } from "./zfs-plan.ts";

const MIB = 2 ** 20;
const TIME = 1_700_000_000;
const SYSTEM = `/frx/store/${"5".repeat(64)}-system-sample` as const;
const ITEM = `frx/store/${"1".repeat(64)}-runtime`;
const common = { mode: 0o555, uid: 0, gid: 0, timeSeconds: TIME } as const;

const directory = (path: string): FileSystemEntry => ({ ...common, mode: 0o755, path, type: "directory" });
const link = (path: string, target: string): FileSystemEntry => ({ ...common, path, type: "symlink", target });
const text = (path: string, content: string): FileEntry => ({
  ...common,
  mode: 0o644,
  path,
  type: "file",
  content: { kind: "bytes", bytes: Buffer.from(content) },
});
const foreign = (path: string, sizeBytes: number, more: Partial<typeof common> | object = {}): FileEntry => ({
  ...common,
  ...more,
  path,
  type: "file",
  content: { kind: "file", file: `/${path}`, sizeBytes },
});

const ENTRIES: readonly FileSystemEntry[] = [
  directory(""),
  directory("boot"),
  link("boot/garth", "/frx/store"),
  directory("etc"),
  text("etc/hostid with a blank", "none\n"),
  directory(ITEM),
  foreign(`${ITEM}/sh`, 180_000),
];

function wish(more: Partial<ZfsWish> = {}): ZfsWish {
  return {
    system: SYSTEM,
    entries: ENTRIES,
    pool: "zroot",
    sizeBytes: undefined,
    freeBytes: undefined,
    timeSeconds: TIME,
    ...more,
  };
}

const PLACES = {
  image: "/scratch/root.zfs",
  manifest: "/scratch/root.mtree",
  contentsOf: ({ content, path }: FileEntry) => (content.kind === "file" ? content.file : `/scratch/contents/${path.length}`),
};

describe("the plan of a ZFS root", () => {
  test("is a command and a manifest", () => {
    const { argv, manifest, sizeBytes } = planZfsRoot(wish(), PLACES);
    const shown = `${argv.join("\n")}\n\n${manifest}`;
    expect(shown).toBe(golden(`${import.meta.dir}/golden/zfs/plan`, shown));
    expect(argv).toContain(`${sizeBytes}`);
  });

  test("comes out the same again, and its pool is another system's no more than its name is", () => {
    const other = `/frx/store/${"6".repeat(64)}-system-sample` as const;
    expect(planZfsRoot(wish(), PLACES)).toEqual(planZfsRoot(wish(), PLACES));
    const guidOf = (more: Partial<ZfsWish>): string =>
      planZfsRoot(wish(more), PLACES).argv.find((word) => word.startsWith("poolguid=")) ?? "";
    expect(guidOf({})).not.toBe(guidOf({ system: other }));
    // What makefs takes for a number: 63 bits.
    for (const more of [{}, { system: other }]) {
      const guid = BigInt(guidOf(more).slice("poolguid=".length));
      expect(guid > 0n && guid < 2n ** 63n).toBe(true);
    }
  });

  test("leaves room where no size is said, and takes the size that is", () => {
    const sizeOf = (more: Partial<ZfsWish>): number => planZfsRoot(wish(more), PLACES).sizeBytes;
    expect(sizeOf({}) % MIB).toBe(0);
    expect(sizeOf({ freeBytes: 2_000 * MIB })).toBeGreaterThan(2_000 * MIB);
    expect(sizeOf({ sizeBytes: 300 * MIB })).toBe(300 * MIB);
    // Many small files and a large one: at least what they have, and not twice it.
    const many = Array.from({ length: 5_000 }, (_, at) => foreign(`d/${"n".repeat(at % 90)}${at}`, 4_096));
    const entries = [directory("d"), ...many, foreign("large", 800 * MIB)];
    const { usedBytes } = planZfsRoot(wish({ entries }), PLACES);
    expect(usedBytes).toBeGreaterThan(820 * MIB);
    expect(usedBytes).toBeLessThan(900 * MIB);
  });

  test("is refused where the size is too small, with one that is enough", () => {
    const entries = [foreign("large", 100 * MIB)];
    const problem = thrownProblem(() => planZfsRoot(wish({ entries, sizeBytes: 80 * MIB }), PLACES));
    expect(problem.code).toBe("E_ZFS_TOO_SMALL");
    const needed = Number(/needed: +([0-9]+)/.exec(problem.details[0] ?? "")?.[1]);
    expect(planZfsRoot(wish({ entries, sizeBytes: needed }), PLACES).sizeBytes).toBe(needed);
    expect(thrownProblem(() => planZfsRoot(wish({ sizeBytes: 63 * MIB }), PLACES)).code).toBe("E_ZFS_TOO_SMALL");
  });

  test("is refused with a target that makefs would stop at", () => {
    const ofBytes = (length: number): FileSystemEntry => link(`to-${length}`, "ü".repeat(length / 2));
    const entries = [ofBytes(ZFS_TARGET_MAX_BYTES), ofBytes(ZFS_TARGET_MAX_BYTES + 2)];
    const problem = thrownProblem(() => planZfsRoot(wish({ entries }), PLACES));
    expect([problem.code, problem.exit, ...problem.details]).toEqual(["E_ZFS_TARGET", 2, "/to-146: 146 bytes"]);
    expect(planZfsRoot(wish({ entries: entries.slice(0, 1) }), PLACES).manifest).toContain("/to-144 ");
  });
});

describe("where a ZFS root is made", () => {
  let place: Workplace;
  let host: Host;
  beforeAll(() => {
    place = workplace();
    ({ host } = place.context);
  });
  afterAll(() => place[Symbol.dispose]());

  const locate = (file: string): string => `${files()}/${file.slice(file.lastIndexOf("/") + 1)}`;
  let below: string | undefined;
  const files = (): string => (below ??= place.directory());
  const refusal = async (on: Host): Promise<readonly [string, number, string, string | undefined]> => {
    const { code, exit, message, hint } = await problemOf(makeZfsRoot(on, wish(), { directory: place.directory(), locate }));
    return [code, exit, message, hint];
  };

  test("no makefs is told, and what to do", async () => {
    const [code, exit, message, hint] = await refusal(scriptedHost(host, () => undefined, { which: () => undefined }));
    expect([code, exit]).toEqual(["E_TOOL_MISSING", 3]);
    expect(message).toBe("making the ZFS root of the pool zroot: there is no program makefs on this machine");
    expect(hint).toContain('disk: { rootType: "ufs" }');
  });

  test("Debian's makefs is told, in its own words", async () => {
    // As installed by `garth doctor --install --tests`.
    expect(host.which("makefs")).toBeDefined();
    const [code, exit, message, hint] = await refusal(host);
    expect([code, exit]).toEqual(["E_NO_ZFS", 3]);
    expect(message).toBe(
      `making the ZFS root of the pool zroot: the makefs of this machine (${host.which("makefs")}) knows no ZFS`,
    );
    expect(hint).toContain("FreeBSD (14 and later)");
  });

  /** Reads the manifest, wants every content there, and writes a pool that is its first bytes. */
  const asMakefs = (seen: Map<string, string>) =>
    scriptedHost(
      host,
      ({ argv }: Command): ScriptedReply => {
        if (argv.length === 3) return { status: 1, stderr: "Usage: makefs [-xZ] [-B endian] ...\n" };
        const [image = "", manifest = ""] = argv.slice(-2);
        for (const { path, type, contents } of parseMtree(readFileSync(manifest, "utf8"), manifest)) {
          if (type !== "file") continue;
          seen.set(path, contents ?? "");
          readFileSync(contents ?? "");
        }
        writeFileSync(image, "a pool");
        truncateSync(image, Number(argv[argv.indexOf("-s") + 1]));
        return {};
      },
      { which: () => "/usr/sbin/makefs" },
    );

  test("files that are one on the host are one in the pool only in the store, and where they agree", async () => {
    const names = ["one", "two", "other", "it's", "alone"];
    writeFileSync(`${files()}/one`, "shared");
    for (const name of names.slice(1, 3)) host.files.hardLink(`${files()}/one`, `${files()}/${name}`);
    for (const name of names.slice(3)) writeFileSync(`${files()}/${name}`, name);
    const entries = [
      foreign(`${ITEM}/one`, 6),
      foreign(`${ITEM}/two`, 6),
      foreign(`${ITEM}/other`, 6, { mode: 0o444 }),
      { ...foreign("etc/one", 6) },
      foreign(`${ITEM}/it's`, 4),
      foreign("etc/alone", 5),
      text("etc/motd", "hello"),
    ];
    const seen = new Map<string, string>();
    const where = place.directory();
    await makeZfsRoot(asMakefs(seen), wish({ entries }), { directory: where, locate });
    const inode = (path: string): number => lstatSync(seen.get(path) ?? "").ino;
    expect(inode(`${ITEM}/one`)).toBe(inode(`${ITEM}/two`));
    expect(new Set([`${ITEM}/one`, `${ITEM}/other`, "etc/one"].map(inode)).size).toBe(3);
    const read = (path: string): string => readFileSync(seen.get(path) ?? "", "utf8");
    expect([...seen.keys()].map(read)).toEqual(["shared", "shared", "shared", "shared", "it's", "alone", "hello"]);
    expect(seen.get("etc/alone")).toBe(`${files()}/alone`);
    expect(seen.get(`${ITEM}/it's`)).toStartWith(`${where}/contents/`);
  });

  describe("an image of a system", () => {
    let system: ComposedSystem;
    beforeAll(async () => {
      const options = beastie(place, { "boot/kernel/zfs.ko": "module\n" });
      system = await composed(place, { ...options, disk: { esp: "34M", rootType: "zfs", rootFree: "1M" } });
    });

    test("has the pool in a partition of its own type", async () => {
      const seen = new Map<string, string>();
      const on = asMakefs(seen);
      const made = await makeImage(on, place.store, "beastie", wishOf(system));
      const file = place.store.physical(made.path);
      const { partitions, findings } = readGpt(readAtFile(file), made.sizeBytes);
      expect(findings).toEqual([]);
      expect(tool("sgdisk", "-p", file)).toMatch(/ A504 +garth-root/);
      const root = partitions[1];
      expect(Buffer.from(readAtFile(file)(root?.firstByte ?? 0, 6)).toString()).toBe("a pool");
      expect(made.plan.rootUsage.sizeBytes).toBe(root?.sizeBytes ?? 0);
      const { argv } = on.commands.at(-1) ?? { argv: [] };
      expect(argv).toContain(`${root?.sizeBytes}`);
      expect(argv).toContain("bootfs=zroot/ROOT/default");
      // Not what somebody found in the store by chance: every file of the root is there.
      expect(seen.size).toBe(system.root.entries.filter(({ type }) => type === "file" || type === "hardlink").length);
      expect(host.files.exists(argv.at(-1) ?? "")).toBe(false);
    });

    test("that is too small says what takes the room", async () => {
      const small = { ...wishOf(system), disk: { ...system.spec.disk, rootBytes: 8 * MIB } };
      const problem = await problemOf(makeImage(asMakefs(new Map()), place.store, "small", small));
      expect(problem.code).toBe("E_IMAGE_TOO_SMALL");
      expect(problem.details).toContain("what takes the room:");
    });

    test("is not made where only a plan is wanted: an installation, a medium", () => {
      const problem = thrownProblem(() => planImage(wishOf(system)));
      expect([problem.code, problem.exit]).toEqual(["E_NO_ZFS", 3]);
    });
  });
});
