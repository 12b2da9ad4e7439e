import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import * as fc from "fast-check";
import { sha256, storePath, type StorePath } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { type GcNode, planGc } from "./plan-gc.ts";
import { candidate, openTestStore, scratchPath, type TestStore } from "./testing.ts";

const HOUR_MS = 3_600_000;

/** A second process on the same store, as far as pins are concerned: other identity, dead or alive. */
function other(test: TestStore, name: string, isAlive: (identity: string) => boolean): TestStore {
  const host = localHost();
  return openTestStore({ root: test.root, host: { ...host, processIdentity: name, isAlive } });
}

const nothingAlive = (): boolean => false;

function collector(test: TestStore): TestStore {
  return other(test, "collector", nothingAlive);
}

function present(test: TestStore): string[] {
  return fs
    .readdirSync(test.store.directory)
    .filter((name) => !name.startsWith("."))
    .map((name) => name.slice(65))
    .toSorted();
}

describe("gc", () => {
  test("keeps what roots, and roots through outer links, reach; removes the rest and its directories", async () => {
    using test = openTestStore();
    const { store } = test;
    const a = store.addText("a", "a", []).path;
    const b = store.addText("b", "b", [a]).path;
    const c = store.addText("c", "c", []).path;
    const d = store.addText("d", "d", [c]).path;
    store.addRoot("keep-b", b);
    const result = `${test.root}/result`;
    store.addRoot(result, c);
    expect(fs.readlinkSync(result)).toBe(store.physical(c));
    expect(store.roots().filter(({ kind }) => kind !== "temporary")).toEqual(
      expect.arrayContaining([
        { link: `${test.root}/frx/var/garth/roots/keep-b`, target: b, kind: "permanent" },
        { link: result, target: c, kind: "indirect" },
      ]),
    );
    using gc = collector(test);
    const dry = await gc.store.gc({ dryRun: true });
    expect([dry.removed.map(({ path }) => path), dry.kept, dry.dryRun]).toEqual([[d], 3, true]);
    expect(present(test)).toEqual(["a", "b", "c", "d"]);
    expect((await gc.store.gc({})).removed.map(({ path }) => path)).toEqual([d]);
    fs.unlinkSync(result);
    expect((await gc.store.gc({})).removed.map(({ path }) => path)).toEqual([c]);
    expect(fs.readdirSync(`${test.root}/frx/var/garth/roots`)).toEqual(["keep-b"]);
    store.removeRoot("keep-b");
    expect((await gc.store.gc({})).removed.map(({ path }) => path)).toEqual([b, a]);
    expect(present(test)).toEqual([]);
    expect(fs.readdirSync(gc.store.temporaryDirectory)).toEqual([]);
  });

  test("holds what living processes pinned, added or registered, and nothing of dead ones", async () => {
    using test = openTestStore();
    const added = test.store.addText("added", "x", []).path;
    using living = other(test, "living", () => true);
    expect(living.store.pin([added])).toEqual([added]);
    const missing = storePath({ kind: "flat", sha256: sha256("none"), references: [] }, "none");
    expect(living.store.pin([missing])).toEqual([]);
    {
      using gc = other(test, "collector", (identity) => identity === "living");
      expect((await gc.store.gc({})).removed).toEqual([]);
    }
    using gc = collector(test);
    expect((await gc.store.gc({})).removed.map(({ path }) => path)).toEqual([added]);
    expect(living.store.pin([added])).toEqual([]);
  });

  test("a derivation goes though its output stays, and the output's other derivations are forgotten with it", async () => {
    using test = openTestStore();
    const { store } = test;
    const drv = store.addText("x.drv", "x", []).path;
    const outputs = {
      out: candidate(test.built({ f: "out" }), scratchPath(drv, "out", "x")),
      lib: candidate(test.built({ f: "lib" }), scratchPath(drv, "lib", "x-lib")),
    };
    const made = await store.register({ drv, outputs });
    const [out, lib] = [made["out"]?.path ?? drv, made["lib"]?.path ?? drv];
    store.addRoot("out", out);
    store.addRoot("lib", lib);
    using gc = collector(test);
    expect((await gc.store.gc({})).removed.map(({ path }) => path)).toEqual([drv]);
    expect(store.realisation(drv)).toEqual({ out, lib });
    store.removeRoot("lib");
    expect((await gc.store.gc({})).removed.map(({ path }) => path)).toEqual([lib]);
    expect(store.realisation(drv)).toBeUndefined();
    expect(store.realisations([drv]).size).toBe(0);
    expect(store.query(out)?.deriver).toBe(drv);
  });

  test("goes by age, stops at a size, and does nothing when enough is free", async () => {
    using test = openTestStore();
    const { store } = test;
    const start = Date.UTC(2026, 0, 1);
    const paths: StorePath[] = [];
    for (let hour = 0; hour < 4; hour += 1) {
      test.setClock(start + hour * HOUR_MS);
      paths.push(store.addText(`item-${hour}`, `${hour}`, []).path);
    }
    using gc = collector(test);
    gc.setClock(start + 3 * HOUR_MS);
    expect((await gc.store.gc({ olderThanMs: 2.5 * HOUR_MS })).removed.map(({ path }) => path)).toEqual(paths.slice(0, 1));
    expect((await gc.store.gc({ maxFreedBytes: 1 })).removed.map(({ path }) => path)).toEqual(paths.slice(1, 2));
    expect((await gc.store.gc({ keepFreeBytes: 1 })).removed).toEqual([]);
    expect((await gc.store.gc({ keepFreeBytes: Number.MAX_SAFE_INTEGER })).removed.map(({ path }) => path)).toEqual(
      paths.slice(2),
    );
  });

  test("a clock that goes back takes nothing's use away", async () => {
    using test = openTestStore();
    const start = Date.UTC(2026, 0, 1);
    const { path } = test.store.addText("item", "item", []);
    test.setClock(start + 5 * HOUR_MS);
    test.store.pin([path]);
    test.setClock(0);
    test.store.pin([path]);
    expect(test.store.query(path)?.lastUsedAtMs).toBe(start + 5 * HOUR_MS);
    test.setClock(start + 5 * HOUR_MS + 1000);
    test.store.pin([path]);
    expect(test.store.query(path)?.lastUsedAtMs).toBe(start + 5 * HOUR_MS);
    using gc = collector(test);
    gc.setClock(0);
    expect((await gc.store.gc({ olderThanMs: HOUR_MS })).removed).toEqual([]);
  });

  test("orphans are told and removed, links of other kinds in roots/ are left", async () => {
    using test = openTestStore();
    fs.mkdirSync(`${test.store.directory}/${"a".repeat(64)}-orphan/sub`, { recursive: true });
    fs.chmodSync(`${test.store.directory}/${"a".repeat(64)}-orphan`, 0o555);
    fs.writeFileSync(`${test.store.directory}/junk`, "");
    const told = [`${test.store.directory}/${"a".repeat(64)}-orphan`, `${test.store.directory}/junk`];
    expect((await test.store.gc({ dryRun: true })).orphans.toSorted()).toEqual(told);
    expect((await test.store.gc({})).orphans.toSorted()).toEqual(told);
    expect(fs.readdirSync(test.store.directory)).toEqual([]);
  });

  test("what a package manager brought stays as long as its mark, and is no damage", async () => {
    using test = openTestStore();
    const { directory } = test.store;
    const name = `${"a".repeat(64)}-garth-0.1.0`;
    fs.mkdirSync(`${directory}/${name}/bin`, { recursive: true });
    fs.mkdirSync(`${directory}/.packaged`);
    fs.symlinkSync(`../${name}`, `${directory}/.packaged/${name}`);
    expect((await test.store.gc({})).orphans).toEqual([]);
    expect((await test.store.verify({ contents: false, repair: true })).damage).toEqual([]);
    expect(fs.readdirSync(directory).toSorted()).toEqual([".packaged", name]);
    fs.unlinkSync(`${directory}/.packaged/${name}`);
    expect((await test.store.gc({})).orphans).toEqual([`${directory}/${name}`]);
  });

  test("what a generation of the machine names stays until the generation goes", async () => {
    using test = openTestStore();
    const { directory } = test.store;
    const name = `${"b".repeat(64)}-system-web`;
    const generation = `${test.root}/var/lib/garth/system/generations/2`;
    fs.mkdirSync(`${directory}/${name}`, { recursive: true });
    fs.mkdirSync(generation, { recursive: true });
    fs.writeFileSync(`${generation}/items`, `${name}\n`);
    expect((await test.store.gc({})).orphans).toEqual([]);
    fs.rmSync(generation, { recursive: true });
    expect((await test.store.gc({})).orphans).toEqual([`${directory}/${name}`]);
  });

  test("roots: a file in the way, an item that is not there", async () => {
    using test = openTestStore();
    const { path } = test.store.addText("item", "item", []);
    fs.writeFileSync(`${test.root}/result`, "mine");
    expect((await problemOf(() => test.store.addRoot(`${test.root}/result`, path))).code).toBe("E_ROOT_IN_THE_WAY");
    expect(fs.readFileSync(`${test.root}/result`, "utf8")).toBe("mine");
    const missing = storePath({ kind: "flat", sha256: sha256("none"), references: [] }, "none");
    expect((await problemOf(() => test.store.addRoot("none", missing))).code).toBe("E_NOT_IN_STORE");
  });

  test("the plan: what goes is closed under referrers, nothing live goes, and limits are kept", () => {
    const pathAt = (index: number): StorePath =>
      storePath({ kind: "flat", sha256: sha256(`${index}`), references: [] }, `n${index}`);
    const graph = fc
      .array(
        fc.record({ refs: fc.array(fc.nat({ max: 20 }), { maxLength: 3 }), size: fc.nat({ max: 9 }), used: fc.nat({ max: 5 }) }),
        {
          maxLength: 21,
        },
      )
      .map((nodes) =>
        nodes.map(({ refs, size, used }, index): GcNode => ({
          path: pathAt(index),
          sizeBytes: size,
          usedAtMs: used,
          references: [...new Set(refs.filter((target) => target <= index))].map(pathAt),
        })),
      );
    fc.assert(
      fc.property(
        graph,
        fc.array(fc.nat({ max: 20 })),
        fc.option(fc.nat({ max: 30 }), { nil: undefined }),
        (nodes, rooted, most) => {
          const goal = { roots: rooted.map(pathAt), keepUsedSinceMs: 5, enoughBytes: undefined, mostBytes: most };
          const { remove, kept } = planGc(nodes, goal);
          const gone = new Set(remove.map(({ path }) => path));
          expect(kept + gone.size).toBe(nodes.length);
          for (const node of nodes) {
            if (gone.has(node.path)) expect(goal.roots.includes(node.path) || node.usedAtMs >= 5).toBeFalse();
            else for (const target of node.references) expect(gone.has(target)).toBeFalse();
          }
          if (most !== undefined) {
            const sizes = remove.map(({ sizeBytes }) => sizeBytes);
            expect(sizes.slice(0, -1).reduce((sum, size) => sum + size, 0)).toBeLessThan(Math.max(most, 1));
          }
        },
      ),
    );
  });
});
