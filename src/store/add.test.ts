import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { sha256, storePath } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { narSha256Of, oddTree, openTestStore, type TestStore } from "./testing.ts";

async function dumped(test: TestStore, path: Parameters<TestStore["store"]["dump"]>[0]): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of test.store.dump(path)) hasher.update(chunk);
  return hasher.digest("hex");
}

describe("add", () => {
  test("an odd tree has the archive that it has by the plain codec, by copy, by dump and by name alone", async () => {
    using test = openTestStore();
    const source = test.directory();
    oddTree(source);
    const expected = narSha256Of(source);
    const item = await test.store.add(source, "odd");
    expect(item.narSha256).toBe(expected);
    expect(narSha256Of(test.store.physical(item.path))).toBe(expected);
    expect(await dumped(test, item.path)).toBe(expected);
    expect(await test.store.pathOf(source, "odd")).toBe(item.path);
    expect(item.path).toBe(storePath({ kind: "tree", narSha256: expected, references: [] }, "odd"));
    expect((await test.store.verify({ repair: false, contents: true })).damage).toEqual([]);
  });

  test("metadata are canonical whatever they were, also under a tight umask", async () => {
    const before = process.umask(0o077);
    try {
      using test = openTestStore();
      const source = test.directory();
      fs.mkdirSync(`${source}/d`, { mode: 0o700 });
      fs.writeFileSync(`${source}/d/x`, "x", { mode: 0o700 });
      fs.writeFileSync(`${source}/d/f`, "f", { mode: 0o600 });
      fs.symlinkSync("f", `${source}/d/l`);
      const { path } = await test.store.add(source, "tree");
      const shown = (name: string): string => {
        const stat = fs.lstatSync(`${test.store.physical(path)}/${name}`);
        return `${(stat.mode & 0o7777).toString(8)} ${stat.uid}:${stat.gid} ${stat.mtimeMs}`;
      };
      expect(["d", "d/x", "d/f"].map(shown)).toEqual(["555 0:0 1000", "555 0:0 1000", "444 0:0 1000"]);
      expect(fs.lstatSync(`${test.store.physical(path)}/d/l`).mtimeMs).toBe(1000);
      expect((await test.store.verify({ repair: false, contents: false })).damage).toEqual([]);
    } finally {
      process.umask(before);
    }
  });

  test("a plain file is named by its bytes, an executable one by its archive", async () => {
    using test = openTestStore();
    const file = `${test.directory()}/f`;
    fs.writeFileSync(file, "content");
    const flat = await test.store.add(file, "f");
    expect(flat.path).toBe(storePath({ kind: "flat", sha256: sha256("content"), references: [] }, "f"));
    expect(flat.narSha256).toBe(narSha256Of(file));
    expect((await test.store.add(file, "f", { form: "tree" })).path).not.toBe(flat.path);
    fs.chmodSync(file, 0o755);
    expect((await problemOf(() => test.store.add(file, "f", { form: "flat" }))).code).toBe("E_NOT_A_PLAIN_FILE");
    expect((await test.store.add(file, "f")).path).toStartWith("/frx/store/");
    expect(test.store.addText("f", "content", []).path).toBe(flat.path);
  });

  test("a large plain file is digested on two threads to the same name", async () => {
    using test = openTestStore();
    const file = `${test.directory()}/large`;
    const content = Buffer.alloc(40 * 1024 * 1024 + 4097, "some bytes and more");
    fs.writeFileSync(file, content);
    const item = await test.store.add(file, "large");
    expect(item.path).toBe(storePath({ kind: "flat", sha256: sha256(content), references: [] }, "large"));
    expect(item.narSha256).toBe(narSha256Of(test.store.physical(item.path)));
    expect(fs.readFileSync(test.store.physical(item.path)).equals(content)).toBeTrue();
  });

  test("a filter leaves out what it says, with what is below", async () => {
    using test = openTestStore();
    const source = test.directory();
    fs.mkdirSync(`${source}/keep/.git/deep`, { recursive: true });
    fs.writeFileSync(`${source}/keep/file`, "");
    const asked: string[] = [];
    const options = { filter: (name: string, type: string): boolean => (asked.push(`${type} ${name}`), !name.endsWith(".git")) };
    const { path } = await test.store.add(source, "filtered", options);
    expect(fs.readdirSync(test.store.physical(path), { recursive: true }).toSorted()).toEqual(["keep", "keep/file"]);
    expect(asked).toEqual(["directory keep", "directory keep/.git", "file keep/file"]);
    expect(await test.store.pathOf(source, "filtered", options)).toBe(path);
  });

  test("devices, fifos and sockets are refused and nothing is left", async () => {
    using test = openTestStore();
    const source = test.directory();
    execFileSync("mkfifo", [`${source}/pipe`]);
    const problem = await problemOf(() => test.store.add(source, "bad"));
    expect([problem.code, problem.where]).toEqual(["E_BAD_FILE_TYPE", `${source}/pipe`]);
    expect(problem.message).toContain("a fifo");
    expect((await problemOf(() => test.store.add(`${source}/none`, "bad"))).code).toBe("E_CANNOT_READ");
    expect((await problemOf(() => test.store.add("/etc/hostname", "bad/name"))).code).toBe("E_BAD_NAME");
    expect(fs.readdirSync(test.store.temporaryDirectory)).toEqual([]);
    expect(fs.readdirSync(test.store.directory)).toEqual([]);
  });

  test("a file that shrinks while it is read is noticed", async () => {
    const host = localHost();
    let shrink: (() => void) | undefined;
    const files = {
      ...host.files,
      read: (...args: Parameters<typeof host.files.read>) => (shrink?.(), host.files.read(...args)),
    };
    using test = openTestStore({ host: { ...host, processIdentity: host.processIdentity, files } });
    const source = test.directory();
    for (const [name, size] of [
      ["small", 1000],
      ["large", 6_000_000],
    ] as const) {
      fs.writeFileSync(`${source}/${name}`, Buffer.alloc(size));
      shrink = () => fs.truncateSync(`${source}/${name}`, size / 2);
      expect((await problemOf(() => test.store.add(`${source}/${name}`, name))).code).toBe("E_CHANGED_WHILE_READING");
      shrink = undefined;
      expect(fs.readdirSync(test.store.temporaryDirectory)).toEqual([]);
    }
  });

  test("a wrong digest shows both and keeps nothing", async () => {
    using test = openTestStore();
    const physical = `${test.store.temporaryDirectory}/download`;
    fs.writeFileSync(physical, "evil");
    const expected = sha256("good");
    const problem = await problemOf(() => test.store.addFixed(physical, "f.tar", { form: "flat", sha256: expected }));
    expect(problem.code).toBe("E_HASH_MISMATCH");
    expect(problem.details).toEqual([`expected sha256 ${expected}`, `found    sha256 ${sha256("evil")}`]);
    expect(fs.existsSync(physical)).toBeFalse();
    expect(test.store.all()).toEqual([]);
    fs.writeFileSync(physical, "good");
    expect((await test.store.addFixed(physical, "f.tar", { form: "flat", sha256: expected })).references).toEqual([]);
    expect(fs.existsSync(physical)).toBeFalse();
  });

  test("texts refer to each other, and are there once", () => {
    using test = openTestStore();
    const { store } = test;
    const leaf = store.addText("leaf", "leaf", []);
    const items = store.addTexts([
      { name: "top.drv", text: "top", references: [leaf.path, leaf.path] },
      { name: "leaf", text: "leaf", references: [] },
    ]);
    expect(items.map(({ references }) => references)).toEqual([[leaf.path], []]);
    expect(store.all().map(({ path }) => path)).toEqual(items.map(({ path }) => path).toSorted());
    expect(store.closure([items[0]?.path ?? leaf.path])).toEqual([leaf.path, items[0]?.path ?? leaf.path]);
    expect(store.referrers(leaf.path)).toEqual([items[0]?.path ?? leaf.path]);
  });

  test("a reference that is not there is refused whole", async () => {
    using test = openTestStore();
    const missing = storePath({ kind: "flat", sha256: sha256("x"), references: [] }, "missing");
    const problem = await problemOf(() => test.store.addText("top", "top", [missing]));
    expect(problem.code).toBe("E_REFERENCE_MISSING");
    expect(test.store.all()).toEqual([]);
    expect(fs.readdirSync(test.store.directory)).toEqual([]);
    expect(fs.readdirSync(test.store.temporaryDirectory)).toEqual([]);
  });

  test("find takes paths, hashes and names", () => {
    using test = openTestStore();
    const { path } = test.store.addText("hello-2.10.drv", "x", []);
    const other = test.store.addText("other", "x", []).path;
    for (const text of [path, path.slice(11), path.slice(11, 20), "hello", "hello-2.10.drv"])
      expect(test.store.find(text)).toEqual([path]);
    expect(test.store.find("o")).toEqual([other]);
    expect(test.store.find("100%")).toEqual([]);
  });
});
