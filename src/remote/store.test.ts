/** A closure there and trees back, through shells of this machine: scripts, archives and checks are those of a host. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import * as fs from "node:fs";
import { baseName } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { tarArchive, type TarMember } from "../formats/index.ts";
import { localHost } from "../host/index.ts";
import { narSha256Of, openTestStore, type TestStore } from "../store/testing.ts";
import { openHostStore } from "./store.ts";
import { chainOf, localConnection, type LocalConnection, recordOf, type Shell, soundStore } from "./store.testing.ts";
import { anyTree, hostileTree, writeTree } from "./trees.testing.ts";
import type { HostStore } from "./types.ts";

let here: TestStore;
let root: string;
let connection: LocalConnection;
let there: HostStore;

function open(shell: Shell = "dash"): void {
  connection = localConnection(shell);
  there = openHostStore({ host: localHost(), store: here.store, connection, record: recordOf(root) });
}

beforeEach(() => {
  here = openTestStore();
  root = `${here.root}/its\\ root's "$x" *`;
  open();
});
afterEach(() => here[Symbol.dispose]());

const inside = (directory: string): readonly string[] => fs.readdirSync(`${root}/${directory}`).toSorted();

const chain = (length: number) => chainOf(here.store, length);
const expectSound = () => soundStore(here.store, root);

describe.each(["dash", "busybox"] as const)("through %s", (shell) => {
  beforeEach(() => open(shell));

  test("every odd name goes there and comes back", async () => {
    const source = `${here.root}/source`;
    hostileTree(source);
    const item = await here.store.add(source, "what?-2=3+4_5.6");
    const flat = here.store.addText("refers", item.path, [item.path]);
    const link = here.directory();
    fs.symlinkSync("/nowhere", `${link}/x`);
    const dangling = await here.store.add(`${link}/x`, "dangling");
    expect(await there.present([item.path, flat.path])).toEqual(new Set());
    const report = await there.send([flat.path, dangling.path]);
    expect(new Set(report.sent)).toEqual(new Set([item.path, flat.path, dangling.path]));
    expect(report.sentBytes).toBeGreaterThan(300_000);
    expectSound();
    expect(await there.present([item.path, flat.path])).toEqual(new Set([item.path, flat.path]));
    expect(await there.send([flat.path])).toEqual({ sent: [], sentBytes: 0 });
    await there.fetch([
      { from: source, to: `${here.root}/back` },
      { from: there.physical(item.path), to: `${here.root}/back again` },
    ]);
    expect(item.narSha256).toBe(narSha256Of(`${here.root}/back`));
    expect(item.narSha256).toBe(narSha256Of(`${here.root}/back again`));
    expect(inside("incoming")).toEqual([]);
  });

  test("any tree does", async () => {
    let count = 0;
    await fc.assert(
      fc.asyncProperty(anyTree, async (node) => {
        count += 1;
        const source = `${here.root}/any-${count}`;
        writeTree(Buffer.from(source), node);
        const item = await here.store.add(source, `any-${count}`);
        await there.send([item.path]);
        const to = `${here.root}/any-back-${count}`;
        await there.fetch([{ from: there.physical(item.path), to }]);
        expect(item.narSha256).toBe(narSha256Of(to));
      }),
      { numRuns: 6 },
    );
    expectSound();
  });
});

describe("what goes there", () => {
  test("is sent once more when it came as something else, and no more than once", async () => {
    const paths = chain(3);
    const text = Buffer.from("1 /frx/store/");
    let times = 1;
    connection.onInput = (chunk) => {
      const at = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).indexOf(text);
      if (at < 0 || times === 0) return chunk;
      times -= 1;
      return chunk.with(at, 0x32);
    };
    const refused = (): number => connection.bodies.filter((body) => body.includes("tar -xpPf")).length;
    expect(new Set((await there.send(paths)).sent)).toEqual(new Set(paths));
    expect(refused()).toBe(2);
    fs.rmSync(root, { recursive: true });
    times = Number.POSITIVE_INFINITY;
    const problem = await problemOf(there.send(paths));
    expect(problem.code).toBe("E_HOST_DAMAGED");
    expect(problem.details.join("\n")).toContain("sha256");
    expect(refused()).toBe(4);
    expect(expectSound()).toEqual([baseName(paths[0] ?? "/frx/store/")]);
  });

  test("with a file that nobody sent is refused", async () => {
    const source = here.directory();
    fs.writeFileSync(`${source}/file`, "text");
    const { path } = await here.store.add(source, "tree");
    const member: TarMember = {
      path: `t/${baseName(path)}/planted`,
      type: "file",
      mode: 0o444,
      uname: "",
      gname: "",
      sizeBytes: 0,
      mtimeSeconds: 1,
    };
    // Behind the header of the item's own directory.
    connection.onInput = (chunk) =>
      Buffer.from(chunk.subarray(257, 262)).toString() === "ustar"
        ? Buffer.concat([chunk.subarray(0, 512), tarArchive([{ member }]).subarray(0, 512), chunk.subarray(512)])
        : chunk;
    const problem = await problemOf(there.send([path]));
    expect(problem.code).toBe("E_HOST_DAMAGED");
    expect(problem.details.join("\n")).toContain("planted");
    expect(expectSound()).toEqual([]);
  });

  test("may be one file on disk under many names", async () => {
    const source = here.directory();
    for (const name of ["a", "b", "c"]) fs.writeFileSync(`${source}/${name}`, "the same".repeat(1000));
    const items = [await here.store.add(source, "one"), here.store.addText("two", "the same".repeat(1000), [])];
    expect((await here.store.optimise()).linked).toBeGreaterThan(0);
    await there.send(items.map(({ path }) => path));
    expect(expectSound()).toHaveLength(2);
    expect(fs.statSync(`${root}/store/${baseName(items[0]?.path ?? "/frx/store/")}/a`).nlink).toBe(1);
  });

  test("goes once when two send it at the same time", async () => {
    const paths = chain(20);
    await Promise.all([there.send(paths), there.send(paths), there.send(paths.slice(0, 10))]);
    expect(expectSound()).toHaveLength(20);
  });

  test("goes nowhere through a symlink", async () => {
    const elsewhere = here.directory();
    for (const name of ["store", "incoming", "used"]) {
      fs.rmSync(root, { recursive: true, force: true });
      fs.mkdirSync(root);
      fs.symlinkSync(elsewhere, `${root}/${name}`);
      const problem = await problemOf(there.send(chain(1)));
      expect([problem.code, problem.where]).toEqual(["E_HOST_UNSAFE", `${root}/${name}`]);
      expect(fs.readdirSync(elsewhere)).toEqual([]);
    }
  });

  test("is given up when somebody says so, and kept as far as it was whole", async () => {
    const stop = new AbortController();
    connection.losesAt = ({ name }) => {
      if (name === "ready") stop.abort();
      return false;
    };
    await expect(there.send(chain(300), { signal: stop.signal })).rejects.toThrow();
    expectSound();
  });

  test("what a dead script left is removed by the next", async () => {
    fs.mkdirSync(`${root}/incoming/dead/t`, { recursive: true });
    fs.writeFileSync(`${root}/incoming/dead/owner`, "99999999 1\n");
    fs.mkdirSync(`${root}/incoming/being made`);
    await there.send(chain(1));
    expect(inside("incoming")).toEqual(["being made"]);
  });
});

describe("what comes back", () => {
  const tree = (files: Readonly<Record<string, string>>): string => {
    const from = here.directory();
    for (const [name, text] of Object.entries(files)) fs.writeFileSync(`${from}/${name}`, text);
    return from;
  };
  const to = (): string => `${here.root}/back`;

  async function refused(from: string): Promise<{ readonly code: string; readonly text: string }> {
    const whole = tree({ whole: "whole" });
    const problem = await problemOf(
      there.fetch([
        { from: whole, to: `${to()}-whole` },
        { from, to: to() },
      ]),
    );
    expect([fs.existsSync(to()), fs.existsSync(`${to()}-whole`)]).toEqual([false, false]);
    expect(inside("incoming")).toEqual([]);
    return { code: problem.code, text: `${problem.message}\n${problem.details.join("\n")}` };
  }

  test("is no file that an output may not hold", async () => {
    const from = tree({ "a b\nc": "" });
    fs.chmodSync(`${from}/a b\nc`, 0o4755);
    expect(await refused(from)).toEqual({ code: "E_SETUID_OUTPUT", text: expect.stringContaining("a b\nc has") });
    fs.chmodSync(`${from}/a b\nc`, 0o755);
    Bun.spawnSync(["mkfifo", `${from}/pi'pe`]);
    expect(await refused(from)).toEqual({ code: "E_BAD_FILE_TYPE", text: expect.stringContaining("pi'pe (fifo)") });
  });

  test("is a directory itself", async () => {
    const from = here.directory();
    fs.symlinkSync(from, `${here.root}/link`);
    fs.writeFileSync(`${here.root}/file`, "");
    for (const place of ["link", "file", "nothing"]) expect((await refused(`${here.root}/${place}`)).code).toBe("E_HOST_DAMAGED");
  });

  test("is not taken when a byte of it changed, or its end is missing", async () => {
    const from = tree({ file: "contents of a file" });
    connection.onPrinted = (chunk) => {
      const at = Buffer.from(chunk).indexOf("contents of a file");
      return at < 0 ? chunk : chunk.with(at, 0x43);
    };
    expect((await refused(from)).text).toMatch(/expected [0-9a-f]{64}.*\nfound +[0-9a-f]{64}/);
    connection.onPrinted = (chunk) => (Buffer.from(chunk).includes("contents of a file") ? chunk.subarray(0, 600) : chunk);
    expect((await refused(from)).code).toBe("E_HOST_DAMAGED");
    connection.onPrinted = undefined;
    connection.losesAt = ({ name }) => name === "nar";
    expect((await problemOf(there.fetch([{ from, to: to() }]))).code).toBe("E_HOST_LOST");
    expect(fs.existsSync(to())).toBe(false);
  });

  test("stays below its directory, whatever the archive says", async () => {
    const outside = tree({ kept: "kept" });
    const file = (path: string, more: Partial<TarMember> = {}): { member: TarMember } => ({
      member: { path, type: "file", mode: 0o644, uname: "", gname: "", sizeBytes: 0, mtimeSeconds: 1, ...more },
    });
    const link = file("./way", { type: "symlink", target: outside });
    const bad = [
      [link, file("./way/planted")],
      [file("../planted")],
      [file("./a/../../planted")],
      [file("/planted")],
      [file(`${outside.slice(1)}/planted`)],
      [file("./other", { type: "hardlink", target: `${outside}/kept` })],
      [link, file("./other", { type: "hardlink", target: "way/kept" })],
      [file("./setuid", { mode: 0o4755 })],
    ];
    for (const members of bad) {
      connection.onPrinted = (chunk) => (Buffer.from(chunk).includes("./honest") ? tarArchive(members) : chunk);
      expect((await refused(tree({ honest: "" }))).code).toBe("E_BAD_ARCHIVE");
      expect(fs.readdirSync(outside)).toEqual(["kept"]);
      expect(fs.lstatSync(`${outside}/kept`).nlink).toBe(1);
    }
    connection.onPrinted = (chunk) => (Buffer.from(chunk).includes("./honest") ? tarArchive([link, link]) : chunk);
    expect((await refused(tree({ honest: "" }))).code).toBe("E_HOST_DAMAGED");
  });

  test("is given up when somebody says so, here and there", async () => {
    const from = here.directory();
    for (let index = 0; index < 20; index += 1) fs.writeFileSync(`${from}/${index}`, Buffer.alloc(100_000, `${index}`));
    const stop = new AbortController();
    connection.onPrinted = (chunk) => {
      stop.abort();
      return chunk;
    };
    await expect(there.fetch([{ from, to: to() }], { signal: stop.signal })).rejects.toThrow("abort");
    expect(fs.existsSync(to())).toBe(false);
    expect(inside("incoming")).toEqual([]);
  });

  test("is not put where something is", async () => {
    fs.mkdirSync(to());
    fs.writeFileSync(`${to()}/mine`, "mine");
    await expect(there.fetch([{ from: tree({ a: "" }), to: to() }])).rejects.toThrow("EEXIST");
    expect(fs.readFileSync(`${to()}/mine`, "utf8")).toBe("mine");
  });
});
