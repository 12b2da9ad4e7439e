import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { sshOptions } from "./index.ts";
import { openTestGuest, type TestGuest } from "./testing.ts";
import type { GuestFiles } from "./types.ts";

const host = localHost();
let there: TestGuest;
let files: GuestFiles;
let place = "";
beforeAll(async () => {
  there = await openTestGuest({ before: "mkdir /run/small && mount -t tmpfs -o size=1m,nr_inodes=64 none /run/small" });
  files = there.guest.files;
  place = `${there.directory}/files`;
  fs.mkdirSync(place);
});
afterAll(async () => {
  await there.close();
  fs.rmdirSync("/run/small");
});

const bytes = (size: number): Buffer =>
  Buffer.concat(Array.from({ length: Math.ceil(size / 65_536) }, () => crypto.getRandomValues(new Uint8Array(65_536)))).subarray(
    0,
    size,
  );
async function contentOf(path: string, range?: { readonly from: number; readonly to: number }): Promise<Buffer> {
  const { sizeBytes, chunks } = await files.read(path, range);
  const data = Buffer.concat(await Array.fromAsync(chunks));
  expect(data.byteLength).toBe(sizeBytes);
  return data;
}
const leftOvers = (): readonly string[] =>
  fs
    .readdirSync(place, { recursive: true })
    .map(String)
    .filter((name) => name.includes(".garth-"));

describe("reading and writing", () => {
  test.each([0, 1, 32_767, 65_536, 65_537, 1_000_003, 10 * 1024 ** 2])(
    "%p bytes are the same for us and for scp",
    async (size) => {
      const data = bytes(size);
      const entry = await files.write(`${place}/data`, [data.subarray(0, 7), data.subarray(7, 70_000), data.subarray(70_000)]);
      expect(entry).toMatchObject({
        name: "data",
        path: `${place}/data`,
        kind: "file",
        sizeBytes: size,
        owner: "root",
        group: "root",
      });
      const remote = `${there.address.user}@${there.address.address}:${place}`;
      const scp = ["scp", "-q", ...sshOptions(there.address), "-P", String(there.address.port)] as const;
      await host.run({ argv: [...scp, `${remote}/data`, `${there.directory}/from-scp`] });
      expect(Buffer.compare(fs.readFileSync(`${there.directory}/from-scp`), data)).toBe(0);
      await host.run({ argv: [...scp, `${there.directory}/from-scp`, `${remote}/by-scp`] });
      expect(Buffer.compare(await contentOf(`${place}/by-scp`), data)).toBe(0);
    },
  );

  test("ranges", async () => {
    const data = bytes(700_000);
    fs.writeFileSync(`${place}/ranged`, data);
    fs.writeFileSync(`${place}/short`, "0123456789");
    for (const [from, to] of [
      [0, 1],
      [255 * 1024 - 1, 255 * 1024 + 1],
      [100_000, 699_999],
      [699_999, 900_000],
      [800_000, 900_000],
    ] as const) {
      expect(Buffer.compare(await contentOf(`${place}/ranged`, { from, to }), data.subarray(from, to))).toBe(0);
    }
    expect((await contentOf(`${place}/short`, { from: 2, to: 5 })).toString()).toBe("234");
    expect((await contentOf(`${place}/short`, { from: 12, to: 15 })).toString()).toBe("");
  });

  test("files that say nothing of their size, or more than there is", async () => {
    expect((await contentOf("/proc/version")).toString()).toBe(fs.readFileSync("/proc/version", "utf8"));
    expect((await contentOf("/sys/kernel/mm/ksm/run")).toString()).toBe(fs.readFileSync("/sys/kernel/mm/ksm/run", "utf8"));
  });

  test("a file that grows or is cut while it is read gives what is there", async () => {
    fs.writeFileSync(`${place}/grows`, bytes(6 * 1024 ** 2));
    const { sizeBytes, chunks } = await files.read(`${place}/grows`);
    fs.appendFileSync(`${place}/grows`, "more");
    expect(Buffer.concat(await Array.fromAsync(chunks)).byteLength).toBe(sizeBytes);
    const cut = await files.read(`${place}/grows`);
    fs.truncateSync(`${place}/grows`, 0);
    expect(Buffer.concat(await Array.fromAsync(cut.chunks)).byteLength).toBeLessThan(cut.sizeBytes);
  });

  test("a reader that leaves early lets go of the file", async () => {
    fs.writeFileSync(`${place}/left`, bytes(6 * 1024 ** 2));
    for await (const chunk of (await files.read(`${place}/left`)).chunks) {
      expect(chunk.byteLength).toBeGreaterThan(0);
      break;
    }
    // The next request is answered after the closing one.
    await files.stat(`${place}/left`);
    const open = await there.guest.run({
      argv: ["sh", "-c", `for d in /proc/[0-9]*/fd; do ls -l $d; done 2>/dev/null | grep -c ${place}/left`],
    });
    expect(Buffer.from(open.stdout).toString()).toBe("0\n");
  });

  test("chunks of any size, and a source that uses its buffer again", async () => {
    const buffer = new Uint8Array(3);
    async function* source(): AsyncGenerator<Uint8Array> {
      for (let round = 0; round < 100_000; round += 1) {
        buffer.fill(round % 251);
        yield buffer.subarray(0, round % 4);
      }
    }
    await files.write(`${place}/many`, source());
    const expected = Buffer.concat(Array.from({ length: 100_000 }, (_, round) => Buffer.alloc(round % 4, round % 251)));
    expect(Buffer.compare(fs.readFileSync(`${place}/many`), expected)).toBe(0);
  });

  test("what is replaced keeps its mode and owner; what is new belongs to whom it is made for", async () => {
    const path = `${place}/kept`;
    fs.writeFileSync(path, "old");
    fs.chownSync(path, 1000, 1000);
    fs.chmodSync(path, 0o4751);
    const entry = await files.write(path, [Buffer.from("new")]);
    expect(entry).toMatchObject({ owner: "user", group: "user", mode: 0o4751, sizeBytes: 3 });
    const made = await files.write(`${place}/deep/er/file`, [Buffer.from("x")], { user: "user" });
    expect(made).toMatchObject({ owner: "user", group: "user", mode: 0o644 });
    expect(await files.stat(`${place}/deep`)).toMatchObject({ owner: "user", kind: "directory" });
    expect((await files.write(`${place}/deep/er/file`, [Buffer.from("y")])).owner).toBe("user");
  });

  test("a link stays one, and what it leads to is written, also when it leads to nothing yet", async () => {
    fs.writeFileSync(`${place}/real`, "old");
    fs.symlinkSync("real", `${place}/to-real`);
    fs.symlinkSync(`${place}/not-yet`, `${place}/to-nothing`);
    fs.symlinkSync("round", `${place}/round`);
    await files.write(`${place}/to-real`, [Buffer.from("new")]);
    await files.write(`${place}/to-nothing`, [Buffer.from("made")]);
    expect(fs.readFileSync(`${place}/real`, "utf8")).toBe("new");
    expect(fs.lstatSync(`${place}/to-real`).isSymbolicLink()).toBe(true);
    expect(fs.readFileSync(`${place}/not-yet`, "utf8")).toBe("made");
    expect((await problemOf(files.write(`${place}/round`, []))).code).toBe("E_NO_FILE");
    fs.unlinkSync(`${place}/round`);
  });

  test("a stream that breaks leaves what was there, and nothing beside it", async () => {
    fs.writeFileSync(`${place}/whole`, "as it was");
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield bytes(3_000_000);
      throw new Error("the client went away");
    }
    expect(files.write(`${place}/whole`, broken())).rejects.toThrow("the client went away");
    expect(files.write(`${place}/never`, broken())).rejects.toThrow("the client went away");
    await Promise.allSettled([files.write(`${place}/whole`, broken()), files.write(`${place}/never`, broken())]);
    expect(fs.readFileSync(`${place}/whole`, "utf8")).toBe("as it was");
    expect(fs.existsSync(`${place}/never`)).toBe(false);
    expect(leftOvers()).toEqual([]);
  });

  test("a full disk is one, and leaves what was there", async () => {
    await files.write("/run/small/kept", [Buffer.from("small")]);
    for (const path of ["/run/small/kept", "/run/small/new", "/run/small/a/b"]) {
      expect((await problemOf(files.write(path, [bytes(3_000_000)]))).code).toBe("E_GUEST_FULL");
    }
    expect((await contentOf("/run/small/kept")).toString()).toBe("small");
    expect((await files.list("/run/small", 2)).map(({ name }) => name)).toEqual(["a", "kept"]);
    // No inode is left.
    const many = async (): Promise<void> => {
      for (let count = 0; count < 100; count += 1) await files.makeDirectory(`/run/small/many/${count}`);
    };
    expect((await problemOf(many())).code).toBe("E_GUEST_FULL");
    await files.remove("/run/small/many");
    const source = `${place}/big`;
    fs.writeFileSync(source, bytes(3_000_000));
    expect((await problemOf(files.move(source, "/run/small/big"))).code).toBe("E_GUEST_FULL");
    expect(fs.statSync(source).size).toBe(3_000_000);
  });
});

describe("names", () => {
  test("listing: in order, as deep as asked, links seen and not entered, odd names shown", async () => {
    const tree = `${place}/tree`;
    for (const path of ["b/c/d", "a", "z"]) fs.mkdirSync(`${tree}/${path}`, { recursive: true });
    fs.writeFileSync(`${tree}/b/file`, "12345", { mode: 0o640 });
    fs.chownSync(`${tree}/b/file`, 1000, 54_321);
    fs.utimesSync(`${tree}/b/file`, 1, 1_700_000_000);
    fs.symlinkSync("b/c", `${tree}/link`);
    fs.symlinkSync("nowhere", `${tree}/lost`);
    fs.writeFileSync(Buffer.concat([Buffer.from(`${tree}/z/odd`), Buffer.from([0xff, 0xfe])]), "x");
    await host.run({ argv: ["mkfifo", `${tree}/pipe`] });
    const one = await files.list(tree);
    expect(one.map(({ name, kind, target }) => [name, kind, target])).toEqual([
      ["a", "directory", undefined],
      ["b", "directory", undefined],
      ["link", "directory", `${tree}/b/c`],
      ["lost", "symlink", "nowhere"],
      ["pipe", "other", undefined],
      ["z", "directory", undefined],
    ]);
    const paths = (await files.list(tree, 3)).map(({ path }) => path.slice(tree.length + 1));
    expect(paths).toEqual(["a", "b", "b/c", "b/c/d", "b/file", "link", "lost", "pipe", "z", "z/odd\ufffd\ufffd"]);
    expect((await files.list(tree, 2)).find(({ name }) => name === "file")).toEqual({
      name: "file",
      path: `${tree}/b/file`,
      kind: "file",
      sizeBytes: 5,
      mode: 0o640,
      owner: "user",
      group: "54321",
      modifiedMs: 1_700_000_000_000,
      target: undefined,
    });
    expect(await files.stat(`${tree}/link`)).toMatchObject({ name: "link", kind: "directory", target: `${tree}/b/c` });
    expect(await files.stat(`${tree}/lost`)).toMatchObject({ kind: "symlink", target: "nowhere" });
    expect(await files.stat("/")).toMatchObject({ name: "/", path: "/", kind: "directory" });
    await files.remove(tree);
    expect(fs.existsSync(tree)).toBe(false);
  });

  test("a directory of two thousand names", async () => {
    const names = Array.from({ length: 2_000 }, (_, index) => `name-${String(index).padStart(4, "0")}`);
    fs.mkdirSync(`${place}/large`);
    for (const name of names) fs.writeFileSync(`${place}/large/${name}`, "");
    expect((await files.list(`${place}/large`)).map(({ name }) => name)).toEqual(names);
  });

  test("directories are made with their parents, once", async () => {
    expect(await files.makeDirectory(`${place}/m/n/o`, "user")).toBe(true);
    expect(await files.makeDirectory(`${place}/m/n/o`)).toBe(false);
    expect(fs.statSync(`${place}/m/n`).uid).toBe(1000);
    const both = await Promise.all([files.makeDirectory(`${place}/m/p/q/r`), files.makeDirectory(`${place}/m/p/q/r`)]);
    expect(both.filter(Boolean).length).toBeGreaterThanOrEqual(1);
    expect((await problemOf(files.makeDirectory(`${place}/m/x`, "no-such-user"))).code).toBe("E_NO_USER");
    expect(fs.existsSync(`${place}/m/x`)).toBe(false);
  });

  test("moving: parents made, files replaced, across file systems, and what cannot be", async () => {
    fs.writeFileSync(`${place}/from`, "moved");
    expect(await files.move(`${place}/from`, `${place}/new/parent/to`)).toMatchObject({
      path: `${place}/new/parent/to`,
      sizeBytes: 5,
    });
    fs.writeFileSync(`${place}/over`, "old");
    await files.move(`${place}/new/parent/to`, `${place}/over`);
    expect(fs.readFileSync(`${place}/over`, "utf8")).toBe("moved");
    await files.move(`${place}/over`, "/run/small/over");
    expect(fs.existsSync(`${place}/over`)).toBe(false);
    await files.move("/run/small/over", `${place}/back`);
    expect(fs.readFileSync(`${place}/back`, "utf8")).toBe("moved");
    fs.mkdirSync(`${place}/full/inside`, { recursive: true });
    fs.mkdirSync(`${place}/other`);
    const codes = [];
    for (const [from, to] of [
      ["none", "x"],
      ["back", "full"],
      ["other", "back"],
      ["other", "full"],
      ["full", "full/inside/full"],
    ]) {
      codes.push((await problemOf(files.move(`${place}/${from}`, `${place}/${to}`))).code);
    }
    expect(codes).toEqual(["E_NO_FILE", "E_IS_DIRECTORY", "E_NOT_DIRECTORY", "E_FILE_EXISTS", "E_BAD_PATH"]);
    expect(fs.readFileSync(`${place}/back`, "utf8")).toBe("moved");
  });

  test("removing: a file, a link and not what it leads to, a tree, nothing", async () => {
    fs.mkdirSync(`${place}/keep/in`, { recursive: true });
    fs.mkdirSync(`${place}/gone/in`, { recursive: true });
    fs.symlinkSync(`${place}/keep`, `${place}/gone/in/link`);
    fs.symlinkSync(`${place}/keep`, `${place}/link-to-keep`);
    await files.remove(`${place}/link-to-keep`);
    await files.remove(`${place}/gone`);
    await files.remove(`${place}/gone`);
    expect(fs.existsSync(`${place}/gone`)).toBe(false);
    expect(fs.existsSync(`${place}/keep/in`)).toBe(true);
    expect((await problemOf(files.remove("/proc/version"))).code).toBe("E_FILE_DENIED");
  });

  test("every mistake has its name", async () => {
    fs.writeFileSync(`${place}/a-file`, "");
    const cases: readonly (readonly [string, () => Promise<unknown>])[] = [
      ["E_NO_FILE", () => files.read(`${place}/none`)],
      ["E_NO_FILE", () => files.stat(`${place}/none`)],
      ["E_NO_FILE", () => files.list(`${place}/none`)],
      ["E_NOT_DIRECTORY", () => files.list(`${place}/a-file`)],
      ["E_NOT_DIRECTORY", () => files.stat(`${place}/a-file/below`)],
      ["E_NOT_DIRECTORY", () => files.makeDirectory(`${place}/a-file/below`)],
      ["E_NOT_DIRECTORY", () => files.makeDirectory(`${place}/a-file`)],
      ["E_NOT_DIRECTORY", () => files.write(`${place}/a-file/below`, [])],
      ["E_IS_DIRECTORY", () => files.read(place)],
      ["E_IS_DIRECTORY", () => files.write(place, [])],
      ["E_FILE_DENIED", () => files.read("/dev/zero")],
      ["E_BAD_PATH", () => files.read("relative")],
      ["E_BAD_PATH", () => files.stat("/a\0b")],
      ["E_BAD_PATH", () => files.write(`${place}/${"x".repeat(300)}`, [])],
    ];
    for (const [code, work] of cases) expect((await problemOf(work)).code).toBe(code as `E_${string}`);
    await files.write("/dev/null", [bytes(100_000)]);
  });

  test("who is not root may not do everything", async () => {
    await using other = await openTestGuest({ user: "user", name: "rootless" });
    const theirs = other.guest.files;
    fs.writeFileSync(`${other.directory}/secret`, "x", { mode: 0o600 });
    expect((await problemOf(theirs.read(`${other.directory}/secret`))).code).toBe("E_FILE_DENIED");
    expect((await problemOf(theirs.write(`${other.directory}/new`, []))).code).toBe("E_FILE_DENIED");
    expect((await problemOf(theirs.remove(`${other.directory}/secret`))).code).toBe("E_FILE_DENIED");
    expect((await theirs.write(`${other.directory}/user/mine`, [Buffer.from("x")])).owner).toBe("user");
  });
});

describe("the session", () => {
  test("is opened again when it was lost; what was under way says so", async () => {
    await using other = await openTestGuest({ name: "restless" });
    const theirs = other.guest.files;
    fs.writeFileSync(`${other.directory}/long`, bytes(20 * 1024 ** 2));
    const { chunks } = await theirs.read(`${other.directory}/long`);
    const { value } = await chunks[Symbol.asyncIterator]().next();
    expect(value?.byteLength).toBeGreaterThan(0);
    await other.guest.run({ argv: ["sh", "-c", "kill -9 $(pgrep -P $PPID | grep -v $$)"] });
    expect((await problemOf(Array.fromAsync(chunks))).code).toMatch(/E_GUEST_LOST|E_GUEST_REFUSED/);
    expect((await theirs.stat("/")).kind).toBe("directory");
  });

  test("a guest without SFTP says what it lacks", async () => {
    await using other = await openTestGuest({ name: "no-sftp", config: ["Subsystem sftp /nowhere/sftp-server"] });
    const problem = await problemOf(other.guest.files.stat("/"));
    expect([problem.code, problem.hint]).toEqual(["E_GUEST_REFUSED", expect.stringContaining("internal-sftp")]);
    expect((await other.guest.run({ argv: ["true"] })).code).toBe(0);
  });

  test("users", async () => {
    expect(await there.guest.user()).toEqual({
      name: "root",
      uid: 0,
      gid: 0,
      home: `${there.directory}/root`,
      shell: "/bin/bash",
    });
    expect(await there.guest.user("user")).toMatchObject({ uid: 1000, home: `${there.directory}/user` });
    expect((await problemOf(there.guest.user("no-such-user"))).code).toBe("E_NO_USER");
  });
});
