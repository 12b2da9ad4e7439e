import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import fc from "fast-check";
import { hashPart, type StorePath } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { candidate, openTestStore, scratchPath, type TestStore } from "./testing.ts";

/** A store with items of every kind, and copies of them as somebody brings them: modes and times of their own. */
async function origin(test: TestStore) {
  const { store } = test;
  const directory = test.directory();
  fs.writeFileSync(`${directory}/plain`, "plain\n");
  fs.writeFileSync(`${directory}/run`, "#!/bin/sh\n", { mode: 0o755 });
  fs.mkdirSync(`${directory}/tree/empty`, { recursive: true });
  fs.writeFileSync(`${directory}/tree/run`, "#!/bin/sh\n", { mode: 0o755 });
  fs.symlinkSync("run", `${directory}/tree/link`);
  const flat = await store.add(`${directory}/plain`, "flat");
  const program = await store.add(`${directory}/run`, "program");
  const tree = await store.add(`${directory}/tree`, "tree");
  const drv = store.addText("x.drv", `needs ${tree.path}`, [tree.path]);
  const scratch = scratchPath(drv.path, "out", "made");
  const { out } = await store.register({
    drv: drv.path,
    outputs: {
      out: candidate(test.built({ self: `I am ${scratch}`, needs: `${tree.path}/run ${flat.path}` }), scratch, [
        tree.path,
        flat.path,
      ]),
    },
  });
  if (out === undefined) throw new Error("nothing was made");
  return { flat: flat.path, program: program.path, tree: tree.path, drv: drv.path, out: out.path };
}

function brought(from: TestStore, to: TestStore, path: StorePath): { readonly path: StorePath; readonly physical: string } {
  const physical = `${fs.mkdtempSync(`${to.store.temporaryDirectory}/brought-`)}/${hashPart(path)}`;
  fs.cpSync(from.store.physical(path), physical, { recursive: true, verbatimSymlinks: true });
  return { path, physical };
}

describe("trees that are brought from another store", () => {
  test("become the same items, with the same references, and what is there already is left alone", async () => {
    using from = openTestStore();
    using to = openTestStore();
    const items = Object.values(await origin(from));
    await to.store.adopt(items.map((path) => brought(from, to, path)));
    for (const path of items) {
      const [before, after] = [from.store.query(path), to.store.query(path)];
      expect([path, after?.narSha256, after?.narSizeBytes, after?.references]).toEqual([
        path,
        before?.narSha256,
        before?.narSizeBytes,
        before?.references ?? [],
      ]);
    }
    expect((await to.store.verify({ repair: false, contents: true })).damage).toEqual([]);
    const again = brought(from, to, items[0] ?? from.store.addText("none", "", []).path);
    await to.store.adopt([again]);
    expect(fs.existsSync(again.physical)).toBe(true);
    await to.store.adopt([]);
  });

  test("are refused, all of them, when one is something else or refers to what did not come along", async () => {
    using from = openTestStore();
    using to = openTestStore();
    const { flat, program, tree, drv, out } = await origin(from);
    const bring = (path: StorePath) => brought(from, to, path);
    const refused = async (...trees: readonly { readonly path: StorePath; readonly physical: string }[]): Promise<string> => {
      const problem = await problemOf(to.store.adopt(trees));
      expect(to.store.all()).toEqual([]);
      expect(fs.readdirSync(to.store.directory).filter((name) => !name.startsWith("."))).toEqual([]);
      return `${problem.code} ${/^what was brought as \/frx\/store\/[0-9a-f]{64}-(\S+) is something else/.exec(problem.message)?.[1] ?? "?"}`;
    };
    expect(await refused(bring(flat), { path: tree, physical: bring(flat).physical })).toBe("E_ITEM_FORGED tree");
    expect(await refused(bring(out), bring(flat))).toBe("E_ITEM_FORGED made");
    expect(await refused(bring(drv))).toBe("E_ITEM_FORGED x.drv");
    const changed = bring(tree);
    fs.rmSync(`${changed.physical}/link`);
    expect(await refused(bring(flat), changed)).toBe("E_ITEM_FORGED tree");
    const shut = bring(program);
    fs.chmodSync(shut.physical, 0o644);
    expect(await refused(shut)).toBe("E_ITEM_FORGED program");
    await to.store.adopt([bring(tree), bring(flat), bring(out)]);
    expect(to.store.references(out)).toEqual([flat, out, tree].toSorted());
  });

  test("are only taken under the name that their content gives, whatever is changed", async () => {
    using from = openTestStore();
    using to = openTestStore();
    const { tree, flat, out } = await origin(from);
    const all = [tree, flat, out];
    const change = fc.record({
      at: fc.nat(),
      byte: fc.integer({ min: 1, max: 255 }),
      file: fc.constantFrom("tree/run", "flat", "made/self", "made/needs"),
    });
    await fc.assert(
      fc.asyncProperty(change, async ({ at, byte, file }) => {
        const trees = all.map((path) => brought(from, to, path));
        const [name = "", inside] = file.split("/");
        const which = trees.find(({ path }) => path.endsWith(`-${name}`));
        if (which === undefined) throw new Error(`no item is called ${name}`);
        const target = inside === undefined ? which.physical : `${which.physical}/${inside}`;
        const bytes = fs.readFileSync(target);
        bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ byte;
        fs.chmodSync(target, 0o755);
        fs.writeFileSync(target, bytes);
        fs.chmodSync(target, inside === "run" ? 0o755 : 0o644);
        expect((await problemOf(to.store.adopt(trees))).code).toBe("E_ITEM_FORGED");
        expect(to.store.all()).toEqual([]);
      }),
      { numRuns: 20 },
    );
  });
});
