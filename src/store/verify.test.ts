import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { sha256, storePath, type StorePath } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { openLedger } from "../ledger/index.ts";
import { STORE_MIGRATION } from "./index.ts";
import { setAsideLedger } from "./salvage.ts";
import { archiveOf, candidate, openTestStore, disposableDirectory, scratchPath, type TestStore } from "./testing.ts";

/** One item of each kind: text, tree, derivation, output that refers to itself and to the others. */
async function filled(test: TestStore) {
  const { store } = test;
  const text = store.addText("text", "text", []).path;
  const source = test.directory();
  fs.writeFileSync(`${source}/f`, "same content");
  fs.writeFileSync(`${source}/run`, "same content", { mode: 0o755 });
  const tree = (await store.add(source, "tree")).path;
  const drv = store.addText("x.drv", `uses ${tree} and ${text}`, [tree, text]).path;
  const scratch = scratchPath(drv, "out", "x");
  const physical = test.built({ f: `${scratch} ${tree}`, copy: "same content" });
  const out = (await store.register({ drv, outputs: { out: candidate(physical, scratch, [tree]) } }))["out"]?.path ?? drv;
  return { text, tree, drv, out };
}

const CHECK = { repair: false, contents: true };
const REPAIR = { repair: true, contents: true };

describe("verify", () => {
  test("finds and repairs what was changed, removed, added and chmodded", async () => {
    using test = openTestStore();
    const { store } = test;
    const { text, tree, drv, out } = await filled(test);
    expect(await store.verify(CHECK)).toEqual({ checked: 4, damage: [], repaired: [] });

    fs.chmodSync(store.physical(out), 0o755);
    fs.utimesSync(`${store.physical(out)}/f`, 5, 5);
    fs.writeFileSync(`${store.physical(text)}`, "tampered");
    fs.chmodSync(store.physical(text), 0o444);
    fs.utimesSync(store.physical(text), 1, 1);
    fs.writeFileSync(`${store.directory}/junk`, "");
    const { damage } = await store.verify(CHECK);
    expect(damage.map(({ kind }) => kind).toSorted()).toEqual(["metadata", "metadata", "modified", "unregistered"]);
    expect((await store.verify({ repair: false, contents: false })).damage.map(({ kind }) => kind)).not.toContain("modified");

    const { repaired } = await store.verify(REPAIR);
    const how = new Map(repaired.map((one) => [one.path, one.how]));
    expect(how.get(text)).toContain("removed");
    expect(how.get(drv)).toContain(`refers to ${text}`);
    expect(how.get(out)).toBe("metadata put right");
    expect(how.get(`${store.directory}/junk`)).toContain("nothing registered it");
    expect(store.all().map(({ path }) => path)).toEqual([out, tree].toSorted());
    expect((await store.verify(CHECK)).damage).toEqual([]);
    expect(store.realisation(drv)).toEqual({ out });
  });

  test("a file that was digested while it was written is held to its name", async () => {
    using test = openTestStore();
    const { store } = test;
    const written = async (name: string, text: string): Promise<StorePath> => {
      const physical = `${store.temporaryDirectory}/${name}`;
      fs.writeFileSync(physical, text);
      return (await store.addWritten(physical, name, sha256(text))).path;
    };
    const [whole, changed, turned] = [
      await written("whole", "disk"),
      await written("changed", "disk"),
      await written("turned", "disk"),
    ];
    expect(whole).toBe(storePath({ kind: "flat", sha256: sha256("disk"), references: [] }, "whole"));
    expect(store.query(whole)).toMatchObject({ narSha256: undefined, narSizeBytes: archiveOf(store.physical(whole)).byteLength });
    expect(await store.verify(CHECK)).toEqual({ checked: 3, damage: [], repaired: [] });

    fs.writeFileSync(store.physical(changed), "risk");
    fs.rmSync(store.physical(turned));
    fs.mkdirSync(store.physical(turned));
    const { damage } = await store.verify(CHECK);
    const found = damage.flatMap((one) => (one.kind === "modified" ? [[one.path, one.expected, one.found]] : []));
    expect(found.toSorted()).toEqual(
      [
        [changed, changed, storePath({ kind: "flat", sha256: sha256("risk"), references: [] }, "changed")],
        [turned, turned, "no plain file"],
      ].toSorted(),
    );
    await store.verify(REPAIR);
    expect(store.all().map(({ path }) => path)).toEqual([whole]);
    // Somebody whose digest is another's: the name it came under is not what is there.
    const forged = `${store.temporaryDirectory}/forged`;
    fs.writeFileSync(forged, "something else");
    const { path } = await store.addWritten(forged, "forged", sha256("promised"));
    expect((await store.verify(CHECK)).damage).toMatchObject([{ kind: "modified", path, expected: path }]);
  });

  test("an item that is gone takes what refers to it along, and can be made again", async () => {
    using test = openTestStore();
    const { tree, drv, out, text } = await filled(test);
    localHost().files.removeTree(test.store.physical(tree));
    expect((await test.store.verify(CHECK)).damage).toEqual([{ kind: "missing", path: tree }]);
    await test.store.verify(REPAIR);
    expect(test.store.all().map(({ path }) => path)).toEqual([text]);
    expect(test.store.realisation(drv)).toBeUndefined();
    expect(await filled(test)).toEqual({ text, tree, drv, out });
    expect((await test.store.verify(CHECK)).damage).toEqual([]);
  });

  test("a lost database is rebuilt from the store itself, and what does not prove itself is not let in", async () => {
    using directory = disposableDirectory();
    const { root } = directory;
    const fake = `${root}/frx/store/${"b".repeat(64)}-fake`;
    const { items, before } = await (async () => {
      using test = openTestStore({ root });
      return { items: await filled(test), before: test.store.all() };
    })();
    fs.writeFileSync(fake, "not what the name says");
    const file = `${root}/frx/var/garth/garth.db`;
    fs.writeFileSync(file, "garbage ".repeat(1000));
    expect((await problemOf(() => openLedger(file, [STORE_MIGRATION]))).code).toBe("E_LEDGER_DAMAGED");
    expect(fs.readFileSync(setAsideLedger(localHost(), file, 0), "utf8")).toStartWith("garbage");

    using again = openTestStore({ root });
    const report = await again.store.verify({ ...REPAIR, adopt: true });
    expect(report.repaired.map(({ path }) => path).toSorted()).toEqual([fake, ...Object.values(items)].toSorted());
    const known = ({ path, narSha256, narSizeBytes, references }: (typeof before)[number]): unknown => ({
      path,
      narSha256,
      narSizeBytes,
      references,
    });
    expect(again.store.all().map(known)).toEqual(before.map(known));
    expect(fs.existsSync(fake)).toBeFalse();
    expect((await again.store.verify(CHECK)).damage).toEqual([]);
  });

  test("optimise shares identical files of the same mode, and changes nothing that can be seen", async () => {
    using test = openTestStore();
    const { store } = test;
    const { tree, out } = await filled(test);
    const [f, run, copy] = [`${store.physical(tree)}/f`, `${store.physical(tree)}/run`, `${store.physical(out)}/copy`];
    const report = await store.optimise();
    expect(report).toEqual({ files: 6, linked: 1, savedBytes: "same content".length });
    expect(fs.statSync(copy).ino).toBe(fs.statSync(f).ino);
    expect(fs.statSync(run).ino).not.toBe(fs.statSync(f).ino);
    expect((await store.optimise()).linked).toBe(0);
    expect((await store.verify(CHECK)).damage).toEqual([]);
    const host = localHost();
    using gc = openTestStore({ root: test.root, host: { ...host, processIdentity: "collector", isAlive: () => false } });
    await gc.store.gc({});
    expect(fs.readdirSync(`${store.directory}/.links`)).toEqual([]);
  });
});
