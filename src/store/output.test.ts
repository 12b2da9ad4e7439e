import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { hashPart, sha256, storePath } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { candidate, archiveOf, narSha256Of, openTestStore, scratchPath } from "./testing.ts";

describe("register", () => {
  test("finds references in contents, targets and names, across buffers, and no others", async () => {
    using test = openTestStore();
    const { store } = test;
    const items = ["a", "b", "c", "d", "unused"].map((name) => store.addText(name, name, []).path);
    const [a, b, c, d] = items.map(hashPart);
    const drv = store.addText("x.drv", "x", []).path;
    const physical = test.built({ a: `head ${a} tail`, [`names/${c}`]: "", near: `${d?.slice(1)}g` });
    fs.symlinkSync(`/frx/store/${b}-b/bin`, `${physical}/link`);
    // Around each multiple of the buffer's size a piece of it may be cut.
    fs.writeFileSync(
      `${physical}/big`,
      Buffer.concat([Buffer.alloc(2 * 1024 * 1024 - 200, "f"), Buffer.from(d ?? ""), Buffer.alloc(999)]),
    );
    const { out } = await store.register({ drv, outputs: { out: candidate(physical, scratchPath(drv, "out", "x"), items) } });
    expect(out?.references).toEqual(items.slice(0, 4).toSorted());
    expect(out?.narSha256).toBe(narSha256Of(store.physical(out?.path ?? drv)));
    expect(out?.path).toBe(
      storePath({ kind: "output", modulo: out?.narSha256 ?? "", self: false, references: items.slice(0, 4) }, "x"),
    );
    expect(store.realisation(drv)).toEqual({ out: out?.path ?? drv });
    expect(fs.existsSync(physical)).toBeFalse();
  });

  test("a hash is found at every place around the end of a buffer", async () => {
    using test = openTestStore();
    const { store } = test;
    const { path } = store.addText("wanted", "wanted", []);
    const drv = store.addText("x.drv", "x", []).path;
    for (let shift = 0; shift < 80; shift += 7) {
      const physical = test.built({});
      fs.writeFileSync(
        `${physical}/f`,
        `${"0".repeat(2 * 1024 * 1024 - 300 + shift)}${hashPart(path)}${"1".repeat(200 - shift)}`,
      );
      const { out } = await store.examine({ drv, outputs: { out: candidate(physical, scratchPath(drv, "out", "x"), [path]) } });
      expect(out?.references).toEqual([path]);
    }
  });

  test("references to itself are rewritten everywhere, and the name does not depend on the scratch path", async () => {
    using test = openTestStore();
    const { store } = test;
    const drv = store.addText("x.drv", "x", []).path;
    const make = (round: number): Parameters<typeof store.register>[0] => {
      const scratch = scratchPath(drv, "out", "self-1", round);
      const own = hashPart(scratch);
      const physical = test.built({
        twice: `${scratch}/bin and ${own}${own}`,
        [`${own}-dir/${own}`]: `in ${own}`,
        big: "z".repeat(3_000_000) + own,
        [`${own.slice(0, 10)}-part`]: "",
        "ffff-after": "",
      });
      fs.symlinkSync(`${scratch}/twice`, `${physical}/link`);
      fs.chmodSync(`${physical}/twice`, 0o755);
      return { drv, outputs: { out: candidate(physical, scratch) } };
    };
    const strip = (round: number): void => {
      // The part of the scratch hash in a name is content of its own: take it away so that both rounds are alike.
      const own = hashPart(scratchPath(drv, "out", "self-1", round));
      for (const built of fs.readdirSync(store.temporaryDirectory)) {
        fs.rmSync(`${store.temporaryDirectory}/${built}/${own.slice(0, 10)}-part`, { force: true });
      }
    };
    const second = make(1);
    strip(1);
    const examined = (await store.examine(second))["out"];
    expect(fs.readFileSync(`${second.outputs["out"]?.physical ?? ""}/twice`, "utf8")).toContain(
      hashPart(scratchPath(drv, "out", "self-1", 1)),
    );
    const first = make(0);
    strip(0);
    const out = (await store.register(first))["out"];
    expect(out?.path).toBe(examined?.path ?? drv);
    expect(out?.narSha256).toBe(examined?.narSha256 ?? "");
    const path = out?.path ?? drv;
    const physical = store.physical(path);
    const own = hashPart(path);
    expect(out?.references).toEqual([path]);
    expect(fs.readFileSync(`${physical}/twice`, "utf8")).toBe(`${path}/bin and ${own}${own}`);
    expect(fs.readlinkSync(`${physical}/link`)).toBe(`${path}/twice`);
    expect(fs.readFileSync(`${physical}/${own}-dir/${own}`, "utf8")).toBe(`in ${own}`);
    expect(narSha256Of(physical)).toBe(out?.narSha256 ?? "");
    expect(
      store.compare(path, { physical: second.outputs["out"]?.physical ?? "", scratch: scratchPath(drv, "out", "self-1", 1) }),
    ).toEqual([]);
    expect((await store.verify({ repair: false, contents: true })).damage).toEqual([]);
  });

  test("the name of a self-referring output, as a literal", async () => {
    using test = openTestStore();
    const drv = test.store.addText("x.drv", "x", []).path;
    const scratch = scratchPath(drv, "out", "self");
    const physical = test.built({ f: `[${scratch}]` });
    const zeros = "0".repeat(64);
    const archive = archiveOf(test.built({ f: `[/frx/store/${zeros}-self]` }));
    const offset = Buffer.from(archive).indexOf(zeros);
    const modulo = sha256(Buffer.concat([archive, Buffer.from(`|${offset}`)]));
    const { out } = await test.store.register({ drv, outputs: { out: candidate(physical, scratch) } });
    expect(out?.path).toBe(storePath({ kind: "output", modulo, self: true, references: [] }, "self"));
  });

  test("outputs that refer to each other are named in order, and a circle is shown", async () => {
    using test = openTestStore();
    const { store } = test;
    const drv = store.addText("x.drv", "x", []).path;
    const [out, lib] = [scratchPath(drv, "out", "x"), scratchPath(drv, "lib", "x-lib")];
    const outputs = (toLib: string, toOut: string): Parameters<typeof store.register>[0] => ({
      drv,
      outputs: {
        out: candidate(test.built({ f: `uses ${toLib}` }), out, [lib]),
        lib: candidate(test.built({ f: `plain ${toOut}`, [hashPart(lib)]: "" }), lib, [out]),
      },
    });
    const made = await store.register(outputs(lib, ""));
    expect(made["out"]?.references).toEqual([made["lib"]?.path ?? drv]);
    expect(fs.readFileSync(`${store.physical(made["out"]?.path ?? drv)}/f`, "utf8")).toBe(`uses ${made["lib"]?.path}`);
    expect(narSha256Of(store.physical(made["out"]?.path ?? drv))).toBe(made["out"]?.narSha256 ?? "");
    const problem = await problemOf(() => store.register(outputs(lib, out)));
    expect(problem.code).toBe("E_OUTPUT_CYCLE");
    expect(problem.message).toContain("out -> lib -> out");
  });

  test("a reference outside the closure names file and path; a bare digest of one is none", async () => {
    using test = openTestStore();
    const { store } = test;
    const outside = store.addText("outside", "outside", []).path;
    const drv = store.addText("x.drv", "x", []).path;
    const scratch = scratchPath(drv, "out", "x");
    const physical = test.built({ "lib/x.la": `dir=${outside}/lib` });
    const problem = await problemOf(() => store.register({ drv, outputs: { out: candidate(physical, scratch) } }));
    expect(problem.code).toBe("E_REFERENCE_OUTSIDE_CLOSURE");
    expect(problem.details).toEqual([`lib/x.la holds ${outside}`]);
    expect(fs.existsSync(`${physical}/lib/x.la`)).toBeTrue();
    fs.rmSync(`${physical}/lib`, { recursive: true });
    fs.symlinkSync(`${outside}/lib`, `${physical}/link`);
    expect((await problemOf(() => store.register({ drv, outputs: { out: candidate(physical, scratch) } }))).details).toEqual([
      `link holds ${outside}`,
    ]);
    const sums = test.built({ SHA256SUMS: `${hashPart(outside)}  file\n/frx/store/${"e".repeat(64)}-unknown` });
    expect((await store.register({ drv, outputs: { out: candidate(sums, scratch) } }))["out"]?.references).toEqual([]);
  });

  test("setuid files and special files are refused, named", async () => {
    using test = openTestStore();
    const { store } = test;
    const drv = store.addText("x.drv", "x", []).path;
    const outputs = (physical: string): Parameters<typeof store.register>[0] => ({
      drv,
      outputs: { out: candidate(physical, scratchPath(drv, "out", "x")) },
    });
    const physical = test.built({ "bin/su": "", "bin/ok": "" });
    fs.chmodSync(`${physical}/bin/su`, 0o4755);
    const setuid = await problemOf(() => store.register(outputs(physical)));
    expect([setuid.code, setuid.details]).toEqual(["E_SETUID_OUTPUT", ["4755 bin/su"]]);
    fs.chmodSync(`${physical}/bin/su`, 0o755);
    execFileSync("mknod", [`${physical}/null`, "c", "1", "3"]);
    expect((await problemOf(() => store.register(outputs(physical)))).message).toContain("a character device");
    expect(store.realisation(drv)).toBeUndefined();
  });

  test("what comes out the same is not kept twice; foreign owners and modes are gone", async () => {
    using test = openTestStore();
    const { store } = test;
    const [one, two] = [store.addText("1.drv", "1", []).path, store.addText("2.drv", "2", []).path];
    const build = async (drv: typeof one): Promise<string> => {
      const physical = test.built({ "d/f": "same" });
      execFileSync("chown", ["-R", "35001:35001", physical]);
      fs.chmodSync(`${physical}/d`, 0o700);
      return (
        (await store.register({ drv, outputs: { out: candidate(physical, scratchPath(drv, "out", "x")) } }))["out"]?.path ?? ""
      );
    };
    const path = await build(one);
    const { ino } = fs.statSync(store.physical(store.find(path)[0] ?? one));
    expect(await build(two)).toBe(path);
    expect(fs.statSync(store.physical(store.find(path)[0] ?? one)).ino).toBe(ino);
    expect([...store.realisations([one, two]).values()].map(({ out }) => String(out))).toEqual([path, path]);
    expect(fs.readdirSync(store.temporaryDirectory)).toEqual([]);
    expect((await store.verify({ repair: false, contents: true })).damage).toEqual([]);
  });

  test("one bad registration does not take the others of its batch with it", async () => {
    using test = openTestStore();
    const { store } = test;
    const drvs = ["1", "2", "3"].map((name) => store.addText(`${name}.drv`, name, []).path);
    const gone = storePath({ kind: "flat", sha256: sha256("gone"), references: [] }, "gone");
    const results = await Promise.allSettled(
      drvs.map((drv, index) => {
        const physical = test.built({ f: index === 1 ? gone : `content ${index}` });
        return store.register({ drv, outputs: { out: candidate(physical, scratchPath(drv, "out", `x${index}`), [gone]) } });
      }),
    );
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect((await store.verify({ repair: false, contents: true })).damage).toEqual([]);
  });

  test("why and diff", async () => {
    using test = openTestStore();
    const { store } = test;
    const item = store.addText("dep", "dep", []).path;
    const drv = store.addText("x.drv", "x", []).path;
    const build = async (files: Record<string, string>, change: (physical: string) => void): Promise<typeof drv> => {
      const physical = test.built(files);
      change(physical);
      return (
        (await store.register({ drv, outputs: { out: candidate(physical, scratchPath(drv, "out", "x"), [item]) } }))["out"]
          ?.path ?? drv
      );
    };
    const own = scratchPath(drv, "out", "x");
    const left = await build(
      { far: `${"x".repeat(1_048_570)}${item}`, same: `own ${own}`, gone: "1", size: "1", "bin/m": "" },
      (physical) => {
        fs.symlinkSync("a", `${physical}/link`);
        fs.symlinkSync(item, `${physical}/dep`);
      },
    );
    const right = await build({ same: `own ${own}`, size: "22", "bin/m": "", new: "1", far: "other" }, (physical) => {
      fs.symlinkSync("b", `${physical}/link`);
      fs.mkdirSync(`${physical}/dep`);
      fs.chmodSync(`${physical}/bin/m`, 0o755);
    });
    expect(store.why(left, item)).toEqual([
      { file: "dep", offset: 11 },
      { file: "far", offset: 1_048_581 },
    ]);
    expect(store.diff(left, right).map(({ file, kind }) => `${kind} ${file}`)).toEqual([
      "mode bin/m",
      "type dep",
      "changed far",
      "removed gone",
      "target link",
      "added new",
      "changed size",
    ]);
    expect(store.diff(left, left)).toEqual([]);
  });
});
