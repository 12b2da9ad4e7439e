/** Worlds that recipes make: their outputs are made by hand here, and are items as a build leaves them. */
import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import type { StorePath } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { type Buildable, hostView, script } from "../recipe/index.ts";
import { rootText } from "./index.ts";
import { type ComposeContext, importWorld, makeSlice } from "./index.ts";
import { composed, fill, GUEST, guest, guestOptions, type TreeFiles, type Workplace, workplace } from "./testing.ts";
import { slice, slices, world, type WorldDeclaration } from "../world/index.ts";

const recipe: Buildable = script({ name: "tree", buildRoot: hostView(), script: "false" });
const made = (more: object = {}): WorldDeclaration => world({ name: "w", recipe, ...more });

/** What a build of the recipe would hand on. */
async function built(place: Workplace, fillIn: (directory: string) => void): Promise<ComposeContext> {
  const { store, context } = place;
  const drv = store.addText("tree.drv", "how the tree is made", []).path;
  const physical = fs.mkdtempSync(`${store.temporaryDirectory}/built-`);
  fillIn(physical);
  const candidates = store.all().map(({ path }) => path);
  const { out } = await store.register({
    drv,
    outputs: { out: { physical, name: "tree", referenceCandidates: candidates, deriver: drv } },
  });
  if (out === undefined) throw new Error("no output");
  return { ...context, outputOf: async (wanted) => (wanted === recipe ? out.path : context.outputOf(wanted)) };
}

const attributes = ({ store }: Workplace, path: StorePath): string =>
  fs.readFileSync(`${store.physical(path)}/.garth/attributes`, "utf8");
const paths = ({ listings }: Workplace, path: StorePath): readonly string[] =>
  listings.of(path).listing.map((entry) => entry.path);

/** With somebody for every owner. */
const TREE: TreeFiles = {
  ...GUEST,
  "etc/passwd": `${String(GUEST["etc/passwd"])}mail:x:8:8:mail:/var/mail:/usr/sbin/nologin\n`,
  "etc/group": `${String(GUEST["etc/group"])}mail:x:8:\nstaff:x:50:\n`,
  "usr/bin/post": { text: "post\n", mode: 0o6755, owner: [8, 8] },
  "usr/bin/post-again": { sameAs: "usr/bin/post" },
  "usr/share/a b": { text: "a b\n", mode: 0o600 },
  "usr/share/theirs": { target: "a b", owner: [8, 50] },
};

/** The same tree as somebody installs it who is not root, with the log that tells what it is to be. */
function logged(directory: string): void {
  fill(directory, TREE);
  const keywords = ["-k", "type,uname,gname,mode,link,size"];
  const specification = execFileSync("mtree", ["-c", ...keywords, "-p", directory]);
  const log = execFileSync("mtree", ["-C", ...keywords], { input: specification, encoding: "utf8" });
  // Of a hard link install(1) knows the bits that the file has on the disk, and nobody's name.
  const lines = log.split("\n").map((line) => {
    const names = /^\.\/usr\/bin\/(?:post|sh)-again /.test(line) ? / (?:uname|gname)=\S+/g : /$^/g;
    return names.source === "$^" ? line : line.replaceAll(names, "").replace(/mode=\S+/, "mode=0755");
  });
  execFileSync("chown", ["-Rh", "1234:1234", directory]);
  execFileSync("find", [directory, "-type", "f", "-exec", "chmod", "a-st,u+rw", "{}", "+"]);
  fs.writeFileSync(`${directory}/METALOG`, `#mtree 2.0\n${lines.join("\n")}`);
}

describe("a world that a recipe makes", () => {
  test("is root's tree with the modes of an item, found again, and refers to what the output refers to", async () => {
    using place = workplace();
    const { store } = place;
    const library = store.addText("library", "library\n", []).path;
    const context = await built(place, (directory) => {
      fill(directory, { ...TREE, "usr/lib/conf": `path ${library}\n`, "dev/null": "a device, where it is mounted" });
      execFileSync("chmod", ["-R", "a-st", directory]);
    });
    const path = await importWorld(context, made({ label: "1.0" }));
    expect(path).toEndWith("-world-w-1.0");
    expect(attributes(place, path)).toBe("#mtree\n");
    expect(store.references(path)).toEqual([library]);
    expect(paths(place, path)).toContain("dev");
    expect(paths(place, path)).not.toContain("dev/null");
    const output = await context.outputOf(recipe);
    const inode = (item: StorePath): number => fs.statSync(`${store.physical(item)}/usr/bin/sh`).ino;
    expect(inode(path)).toBe(inode(output));
    const count = store.all().length;
    expect(await importWorld(context, made({ label: "1.0" }))).toBe(path);
    expect(await importWorld(context, made())).not.toBe(path);
    expect(store.all()).toHaveLength(count + 2);
    expect((await store.verify({ repair: false, contents: true })).damage).toEqual([]);
    expect(fs.readdirSync(store.temporaryDirectory)).toEqual([]);
  });

  test("has the owners and modes that its METALOG says, as a directory has that is installed so, or by root", async () => {
    using place = workplace();
    const byRoot = await importWorld(place.context, world({ name: "w", directory: fill(place.directory(), TREE) }));
    const context = await built(place, logged);
    const path = await importWorld(context, made());
    expect(attributes(place, path)).toBe(attributes(place, byRoot));
    expect(attributes(place, path)).toContain("./usr/bin/post-again type=file mode=06755 uid=8 gid=8\n");
    expect(paths(place, path)).toEqual(paths(place, byRoot));
    const directory = place.directory();
    logged(directory);
    expect(await importWorld(place.context, world({ name: "w", directory }))).toBe(byRoot);
    expect((await place.store.verify({ repair: false, contents: true })).damage).toEqual([]);
  });

  test("takes a program for one where the log says so, and leaves the output as it is", async () => {
    using place = workplace();
    const context = await built(place, (directory) => {
      fill(directory, {
        "bin/tool": "tool\n",
        "etc/data": { text: "data\n", mode: 0o755 },
        METALOG: "./bin/tool type=file uname=root gname=wheel mode=0555\n./etc/data type=file uname=root gname=wheel mode=0444\n",
      });
    });
    const path = await importWorld(context, made());
    const { listing } = place.listings.of(path);
    expect(listing.flatMap(({ path: name, type, executable }) => (type === "file" && executable ? [name] : []))).toEqual([
      "bin/tool",
    ]);
    expect(attributes(place, path)).toContain("./bin/tool type=file mode=0555");
    expect(fs.statSync(`${place.store.physical(await context.outputOf(recipe))}/bin/tool`).mode & 0o777).toBe(0o444);
    expect((await place.store.verify({ repair: false, contents: true })).damage).toEqual([]);
  });

  test("is not made of a file, or of a log that names nobody or is none, and leaves nothing", async () => {
    using place = workplace();
    const refused = async (files: TreeFiles | string): Promise<readonly [string, string]> => {
      const context = await built(place, (directory) => {
        if (typeof files !== "string") fill(directory, files);
        else {
          fs.rmdirSync(directory);
          fs.writeFileSync(directory, files);
        }
      });
      const before = place.store.all();
      const { code, message } = await problemOf(importWorld(context, made()));
      expect(place.store.all()).toEqual(before);
      expect(fs.readdirSync(place.store.temporaryDirectory)).toEqual([]);
      return [code, message];
    };
    expect(await refused("a file\n")).toEqual([
      "E_WORLD_IMPORT",
      "the world w: the recipe tree makes a file, and a world is a tree",
    ]);
    const said = "./bin/x type=file uname=mail gname=wheel mode=04555\n";
    const log = { "bin/x": "x\n", METALOG: said };
    expect((await refused(log))[0]).toBe("E_WORLD_OWNER");
    // Neither through a link to this machine's accounts.
    expect((await refused({ ...log, etc: { target: "/etc" } }))[0]).toBe("E_WORLD_OWNER");
    expect((await refused({ ...log, "etc/master.passwd": { target: "/etc/passwd" } }))[0]).toBe("E_WORLD_OWNER");
    expect(await refused({ ...log, METALOG: "no tree\n" })).toEqual([
      "E_BAD_MTREE",
      expect.stringContaining("METALOG of the world w"),
    ]);
  });

  test("is cut into slices, and a system of them has its owners", async () => {
    using place = workplace();
    const context = await built(place, logged);
    const of = { ...guest("/nowhere"), world: made() };
    const again = <Part extends typeof of.kernel>({ role, name, keep, prune }: Part) =>
      slice(of.world, { role, name, keep, prune });
    const declared = { ...of, kernel: again(of.kernel), bootloader: again(of.bootloader), runtime: again(of.runtime) };
    const system = await composed({ ...place, context }, guestOptions(declared));
    const text = rootText(system);
    expect(text).toMatch(/\/usr\/bin\/su type=file mode=04755 uid=0 gid=0/);
    expect(text).toMatch(/\/usr\/bin\/wall type=file mode=02755 uid=0 gid=5/);
    expect(text).toContain("./etc/shadow type=file mode=0640 uid=0 gid=42");
    expect(text).not.toContain("METALOG");
    const path = await importWorld(context, of.world);
    expect(paths(place, await makeSlice(context, place.listings, slices(of.world).development, path))).toContain("usr/include");
  });
});
