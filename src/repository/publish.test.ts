import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Problem, sha256 } from "../base/index.ts";
import type { Files, Host } from "../host/index.ts";
import {
  fingerprintOf,
  initRepository,
  planPublish,
  prune,
  publish,
  readRepository,
  sourceOf,
  type Trust,
  verifyRepository,
} from "./index.ts";
import { codeOf, workshop } from "./testing.ts";

const shop = workshop();
afterAll(() => shop[Symbol.dispose]());
const { host, keyFile, pack, publicPem } = shop;
const KEY: Trust = { mode: "pubkey", publicPem };
const NOW = Date.UTC(2026, 10, 21, 12);
let counter = 0;
const fresh = (): string => shop.directory(`repository-${(counter += 1)}`);
const names = async (directory: string): Promise<readonly string[]> => {
  const { catalogue } = await readRepository(host, sourceOf(host, directory), { trust: KEY, nowMs: NOW });
  return catalogue.entries.map(({ manifest }) => `${manifest.name}-${manifest.version}`);
};
const catalogueBytes = (directory: string): string =>
  ["data.pkg", "packagesite.pkg", "meta.conf", "meta"].map((file) => sha256(readFileSync(join(directory, file)))).join(" ");

describe("what is published", () => {
  const directory = fresh();
  const files = [
    pack({ name: "b", version: "2.0" }),
    pack({ name: "a", version: "1.0", deps: { b: { origin: "misc/b", version: "2.0" } } }),
  ];

  test("is reported, verified whole, and named by digest", async () => {
    const report = await publish(host, { directory, add: files, keyFile, nowMs: NOW });
    expect(report).toMatchObject({
      abi: "FreeBSD:15:amd64",
      packageCount: 2,
      added: ["b-2.0", "a-1.0"],
      changed: true,
      warnings: [],
      publicKeySha256: fingerprintOf(publicPem),
    });
    const check = await verifyRepository(host, sourceOf(host, directory), { trust: KEY, nowMs: NOW });
    expect(check).toMatchObject({ packageCount: 2, lint: [], bad: [], catalogueSha256: report.catalogueSha256 });
    expect(readlinkSync(join(directory, "All/a-1.0.pkg"))).toMatch(/^Hashed\/a-1\.0~[0-9a-f]{10}\.pkg$/);
  });
  test("is read at a file URL too, and not at one of another machine", async () => {
    expect(await names(pathToFileURL(directory).href)).toEqual(["a-1.0", "b-2.0"]);
    expect(await names(`file://localhost${directory}`)).toEqual(["a-1.0", "b-2.0"]);
    expect(await codeOf(() => names("file://elsewhere/packages"))).toBe("E_BAD_ARGUMENT");
  });
  test("serves clients with a key and clients with fingerprints from one archive, by openssl's judgement", () => {
    for (const [archive, inner] of [
      ["data.pkg", "data"],
      ["packagesite.pkg", "packagesite.yaml"],
    ] as const) {
      const members = execFileSync("bsdtar", ["-tf", join(directory, archive)], { encoding: "utf8" })
        .trim()
        .split("\n");
      expect(members).toEqual(["signature", `${inner}.sig`, `${inner}.pub`, inner]);
      const out = shop.directory(`unpacked-${inner}`);
      mkdirSync(out, { recursive: true });
      execFileSync("bsdtar", ["-xf", join(directory, archive), "-C", out]);
      writeFileSync(join(out, "H"), sha256(readFileSync(join(out, inner))));
      expect(sha256(readFileSync(join(out, `${inner}.pub`)))).toBe(fingerprintOf(publicPem));
      const signature = readFileSync(join(out, "signature"));
      expect(signature.at(-1)).toBe(0);
      writeFileSync(join(out, "signature.raw"), signature.subarray(0, -1));
      for (const file of ["signature.raw", `${inner}.sig`]) {
        const said = execFileSync(
          "openssl",
          ["dgst", "-sha256", "-verify", join(out, `${inner}.pub`), "-signature", join(out, file), join(out, "H")],
          { encoding: "utf8" },
        );
        expect(said.trim()).toBe("Verified OK");
      }
    }
  });
  test("says the same in both catalogues, each entry with all that clients need", () => {
    const data = JSON.parse(execFileSync("bsdtar", ["-xOf", join(directory, "data.pkg"), "data"], { encoding: "utf8" }));
    const site = execFileSync("bsdtar", ["-xOf", join(directory, "packagesite.pkg"), "packagesite.yaml"], { encoding: "utf8" });
    expect(data.packages).toEqual(
      site
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
    );
    expect(Object.keys(data)).toEqual(["groups", "expired_packages", "packages"]);
    for (const entry of data.packages) {
      for (const field of [
        "name",
        "origin",
        "version",
        "comment",
        "desc",
        "maintainer",
        "prefix",
        "abi",
        "arch",
        "sum",
        "path",
        "pkgsize",
      ])
        expect([field, entry[field]]).not.toEqual([field, undefined]);
      const file = readFileSync(join(directory, entry.path));
      expect([entry.sum, entry.pkgsize]).toEqual([sha256(file), file.length]);
    }
  });
  test("is the same bytes in another place, at another time, in another order", async () => {
    const other = fresh();
    await publish(host, { directory: other, add: [files[1] ?? ""], keyFile, nowMs: NOW + 12_345_678 });
    await publish(host, { directory: other, add: [files[0] ?? ""], keyFile, nowMs: 5 });
    expect(catalogueBytes(other)).toBe(catalogueBytes(directory));
  });
  test("is left alone when nothing changes", async () => {
    const before = readdirSync(join(directory, ".garth/generations")).join();
    const stat = lstatSync(join(directory, ".garth/current"));
    const report = await publish(host, { directory, add: files, keyFile, nowMs: NOW + 1000 });
    expect(report).toMatchObject({ changed: false, added: [], unchanged: ["b-2.0", "a-1.0"] });
    expect(readdirSync(join(directory, ".garth/generations")).join()).toBe(before);
    expect(lstatSync(join(directory, ".garth/current")).ino).toBe(stat.ino);
  });
  test("has a later date when it changes, even when the clock went back, and meta.conf keeps its own", async () => {
    const seconds = (file: string): number => Math.floor(Bun.file(join(directory, file)).lastModified / 1000);
    const [data, meta] = [seconds("data.pkg"), seconds("meta.conf")];
    await publish(host, { directory, add: [pack({ name: "c" })], keyFile, nowMs: NOW - 86_400_000 });
    expect(seconds("data.pkg")).toBe(data + 1);
    expect(seconds("meta.conf")).toBe(meta);
  });
  test("can be removed, and comes back when its file is gone", async () => {
    await publish(host, { directory, add: [], remove: [{ name: "c", version: "1.0" }], keyFile, nowMs: NOW });
    expect(await names(directory)).toEqual(["a-1.0", "b-2.0"]);
    expect(existsSync(join(directory, "All/c-1.0.pkg"))).toBe(false);
    rmSync(join(directory, "All", readlinkSync(join(directory, "All/b-2.0.pkg"))));
    const report = await publish(host, { directory, add: [files[0] ?? ""], keyFile, nowMs: NOW });
    expect(report.added).toEqual(["b-2.0"]);
    expect(await verifyRepository(host, sourceOf(host, directory), { trust: KEY, nowMs: NOW })).toMatchObject({ bad: [] });
  });
  test("can be planned without touching anything", async () => {
    const plan = await planPublish(host, { directory, add: [pack({ name: "z" })], keyFile, nowMs: NOW });
    expect(plan.added).toEqual(["z-1.0"]);
    expect(await names(directory)).toEqual(["a-1.0", "b-2.0"]);
  });
  test("an empty repository is one too", async () => {
    const empty = fresh();
    await initRepository(host, { directory: empty, keyFile, nowMs: NOW });
    expect(await names(empty)).toEqual([]);
    expect(execFileSync("bsdtar", ["-xOf", join(empty, "data.pkg"), "data"], { encoding: "utf8" })).toBe(
      '{"groups":[],"expired_packages":[],"packages":[]}',
    );
  });
});

describe("the linter stops what clients would trip over", () => {
  const refused = async (
    add: readonly string[],
    more: { readonly before?: readonly string[]; readonly replace?: boolean } = {},
  ): Promise<string> => {
    const directory = fresh();
    if (more.before !== undefined) await publish(host, { directory, add: more.before, keyFile, nowMs: NOW });
    const before = existsSync(directory) ? readdirSync(directory, { recursive: true }).join() : "";
    try {
      await publish(host, { directory, add, keyFile, nowMs: NOW, replace: more.replace ?? false });
      return "nothing was refused";
    } catch (error) {
      if (!(error instanceof Problem)) return String(error);
      if (before !== "") expect(readdirSync(directory, { recursive: true }).join()).toBe(before);
      return `${error.code} ${error.details.join("; ")}`;
    }
  };
  for (const field of ["comment", "desc", "maintainer", "prefix", "abi", "arch"] as const) {
    test(`no ${field}`, async () =>
      expect(await refused([pack({ [field]: "" })])).toMatch(new RegExp(`^E_LINT hello-1.0: ${field} `)));
  }
  test("two ABIs, within one publication and against what is there", async () => {
    const other = pack({ name: "other", abi: "FreeBSD:14:amd64", arch: "freebsd:14:x86:64" });
    expect(await refused([pack({}), other])).toMatch(/^E_LINT \*: abi clients refuse/);
    expect(await refused([other], { before: [pack({})] })).toMatch(/^E_LINT \*: abi clients refuse/);
    expect(await refused([pack({ name: "any", abi: "FreeBSD:15:*", arch: "freebsd:15:*" })], { before: [pack({})] })).toBe(
      "nothing was refused",
    );
  });
  test("a system version of another ABI", async () =>
    expect(await refused([pack({ annotations: { FreeBSD_version: "1600001" } })])).toMatch(/FreeBSD_version/));
  test("an item package that a dependency names and nobody brings", async () => {
    const deps = { [`garth-item-${"0".repeat(16)}-x`]: { origin: "garth/x", version: "1" } };
    expect(await refused([pack({ deps })])).toMatch(/is not in this repository/);
  });
  test("the same version with other content, unless it is to be replaced", async () => {
    const [one, two] = [pack({}), pack({ comment: "Greets differently" })];
    expect(await refused([two], { before: [one] })).toMatch(/^E_LINT hello-1.0: sum is published already/);
    expect(await refused([one, two])).toMatch(/^E_LINT hello-1.0: sum comes twice/);
    expect(await refused([two], { before: [one], replace: true })).toBe("nothing was refused");
  });
  test("a package that cannot be read is an error, not left out", async () => {
    const broken = shop.directory("broken.pkg");
    writeFileSync(broken, "not a package");
    expect(await refused([pack({}), broken])).toMatch(/^E_ARCHIVE/);
  });
  test("removing what is not there", async () => {
    expect(
      await codeOf(() =>
        publish(host, { directory: fresh(), add: [], remove: [{ name: "x", version: "1" }], keyFile, nowMs: NOW }),
      ),
    ).toBe("E_LINT");
  });
  test("a repository somebody else made", async () => {
    const directory = fresh();
    mkdirSync(directory);
    writeFileSync(join(directory, "meta.conf"), "version = 2;\n");
    expect(await codeOf(() => publish(host, { directory, add: [pack({})], keyFile, nowMs: NOW }))).toBe("E_NOT_OUR_REPOSITORY");
  });
});

/** Files that stop working before or after the n-th effect. */
function failing(limit: { left: number }, error: () => Error): Host {
  const effects = [
    "writeFile",
    "rename",
    "symlink",
    "hardLink",
    "unlink",
    "sync",
    "write",
    "makeDirectory",
    "setTimes",
    "removeTree",
  ] as const;
  const files: Files = { ...host.files };
  const wrapped: Record<string, unknown> = { ...files };
  for (const name of effects) {
    const real: unknown = files[name];
    wrapped[name] = (...args: readonly unknown[]): unknown => {
      limit.left -= 1;
      if (limit.left < 0) throw error();
      return typeof real === "function" ? real(...args) : undefined;
    };
  }
  return { ...host, processIdentity: host.processIdentity, files: { ...files, ...wrapped } };
}

describe("crashes", () => {
  test("at any step leave the old catalogue or the new one, and the next publication goes on from there", async () => {
    const [one, two] = [pack({ name: "one" }), pack({ name: "two" })];
    const seen = new Set<string>();
    for (let step = 0; ; step++) {
      const directory = fresh();
      await publish(host, { directory, add: [one], keyFile, nowMs: NOW });
      // From this effect on nothing works, as for a process that was killed: not even tidying up.
      const dead = failing({ left: step }, () => new Error("killed"));
      const code = await codeOf(() => publish(dead, { directory, add: [two], keyFile, nowMs: NOW + 1 }));
      const found = (await names(directory)).join(" ");
      seen.add(found);
      expect(["one-1.0", "one-1.0 two-1.0"]).toContain(found);
      const check = await verifyRepository(host, sourceOf(host, directory), { trust: KEY, nowMs: NOW });
      expect(check.bad).toEqual([]);
      if (existsSync(join(directory, ".garth/lock"))) writeFileSync(join(directory, ".garth/lock"), "a process that is gone:1:1");
      await publish(host, { directory, add: [two], keyFile, nowMs: NOW + 2 });
      expect(await names(directory)).toEqual(["one-1.0", "two-1.0"]);
      expect(readdirSync(join(directory, ".garth/generations")).length).toBeLessThanOrEqual(2);
      expect(readdirSync(join(directory, "All")).toSorted()).toEqual(["Hashed", "one-1.0.pkg", "two-1.0.pkg"]);
      rmSync(directory, { recursive: true });
      if (code === "nothing was refused") break;
    }
    expect([...seen].toSorted()).toEqual(["one-1.0", "one-1.0 two-1.0"]);
  });
  test("a full disk is said, and leaves nothing behind", async () => {
    const directory = fresh();
    await publish(host, { directory, add: [pack({ name: "one" })], keyFile, nowMs: NOW });
    const before = readdirSync(directory, { recursive: true }).toSorted().join("\n");
    const add = [pack({ name: "two" })];
    for (let step = 4; step < 40; step++) {
      let fired = false;
      const full = failing({ left: step }, () => {
        if (fired) throw new Error("asked again");
        fired = true;
        return Object.assign(new Error("no space"), { code: "ENOSPC" });
      });
      const files = {
        ...host.files,
        write: full.files.write,
        writeFile: full.files.writeFile,
        makeDirectory: full.files.makeDirectory,
      };
      // Only what needs space fails; what frees it works.
      const code = await codeOf(() =>
        publish({ ...full, processIdentity: host.processIdentity, files }, { directory, add, keyFile, nowMs: NOW + 1 }),
      );
      if (code === "nothing was refused") return;
      expect(code).toBe("E_DISK_FULL");
      expect(readdirSync(directory, { recursive: true }).toSorted().join("\n")).toBe(before);
    }
    throw new Error("the disk never was large enough");
  });
});

describe("two publishers", () => {
  test("the second is told, and a lock of a dead process is taken over", async () => {
    const directory = fresh();
    mkdirSync(join(directory, ".garth"), { recursive: true });
    writeFileSync(join(directory, ".garth/lock"), host.processIdentity);
    const add = [pack({})];
    expect(await codeOf(() => publish(host, { directory, add, keyFile, nowMs: NOW }))).toBe("E_REPOSITORY_BUSY");
    writeFileSync(join(directory, ".garth/lock"), "another boot:1:1");
    expect(await codeOf(() => publish(host, { directory, add, keyFile, nowMs: NOW }))).toBe("nothing was refused");
    expect(readdirSync(join(directory, ".garth")).toSorted()).toEqual(["current", "generations"]);
  });
  test("at the very same time: each either publishes or is told, and nothing is lost", async () => {
    const directory = fresh();
    const results = await Promise.all(
      ["a", "b", "c", "d"].map((name) => codeOf(() => publish(host, { directory, add: [pack({ name })], keyFile, nowMs: NOW }))),
    );
    const published = ["a", "b", "c", "d"].filter((_, index) => results[index] === "nothing was refused");
    expect(results.every((code) => code === "nothing was refused" || code === "E_REPOSITORY_BUSY")).toBe(true);
    expect(await names(directory)).toEqual(published.map((name) => `${name}-1.0`));
  });
});

describe("prune", () => {
  test("keeps the newest by pkg's order and the items they need; files go after their grace", async () => {
    const directory = fresh();
    const item = (hex: string): string => `garth-item-${hex.repeat(16)}-lib`;
    const needs = (hex: string) => ({ [item(hex)]: { origin: `garth/${item(hex)}`, version: "1" } });
    const add = [
      pack({ name: item("a"), version: "1" }),
      pack({ name: item("b"), version: "1", deps: needs("a") }),
      pack({ name: item("c"), version: "1" }),
      pack({ version: "1.9", deps: needs("c") }),
      pack({ version: "1.10", deps: needs("b") }),
      pack({ version: "1.10.rc1", deps: needs("c") }),
    ];
    await publish(host, { directory, add, keyFile, nowMs: NOW });
    const first = await prune(host, { directory, keyFile, nowMs: NOW + 1000, keepVersions: 1 });
    expect(first.removed.toSorted()).toEqual([`${item("c")}-1`, "hello-1.10.rc1", "hello-1.9"]);
    expect(first.deleted).toEqual([]);
    expect(await names(directory)).toEqual([`${item("a")}-1`, `${item("b")}-1`, "hello-1.10"]);
    expect(readdirSync(join(directory, "All/Hashed")).length).toBe(6);
    const second = await prune(host, { directory, keyFile, nowMs: NOW + 2 * 86_400_000, keepVersions: 1 });
    expect(second.changed).toBe(false);
    expect(second.deleted.length).toBe(3);
    expect(readdirSync(join(directory, "All/Hashed")).length).toBe(3);
    expect(await codeOf(() => prune(host, { directory, keyFile, nowMs: NOW, keepVersions: 0 }))).toBe("E_BAD_ARGUMENT");
  });
});
