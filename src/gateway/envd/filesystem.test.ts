/** The unmodified SDK looks at, changes and watches files of a guest behind a real SSH server. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, lstatSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import type { FilesystemEvent, Sandbox } from "@e2b/code-interpreter";
import { openTestGuest, type TestGuest } from "../../guest/testing.ts";
import { allOf, callStream, callUnary, serveEnvd, type ServedEnvd } from "./envd.testing.ts";

let guest: TestGuest;
let served: ServedEnvd;
let sandbox: Sandbox;
/** Home of root in the guest, which is this machine. */
let home: string;

beforeAll(async () => {
  guest = await openTestGuest();
  await guest.guest.connect();
  served = await serveEnvd(guest.guest, { limits: { watchersMax: 2, watcherEventsMax: 5 } });
  sandbox = await served.sandbox();
  home = `${guest.directory}/root`;
});

afterAll(async () => {
  await served.close();
  await guest.close();
});

describe("entries", () => {
  test("a file as envd describes it", async () => {
    writeFileSync(`${home}/a.txt`, "hello", { mode: 0o640 });
    const { document } = await callUnary(served, "filesystem.Filesystem/Stat", { path: "a.txt" });
    expect(document).toEqual({
      entry: {
        name: "a.txt",
        type: "FILE_TYPE_FILE",
        path: `${home}/a.txt`,
        size: "5",
        mode: 0o640,
        permissions: "-rw-r-----",
        owner: "root",
        group: "root",
        modifiedTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      },
    });
    const info = await sandbox.files.getInfo("~/a.txt");
    expect(info).toMatchObject({ name: "a.txt", type: "file", size: 5, mode: 0o640, owner: "root" });
    expect(info.modifiedTime?.getTime()).toBe(Math.trunc(statSync(`${home}/a.txt`).mtimeMs / 1000) * 1000);
  });

  test("a link is what it leads to", async () => {
    symlinkSync("a.txt", `${home}/link`);
    expect(await sandbox.files.getInfo("link")).toMatchObject({ name: "link", type: "file", symlinkTarget: `${home}/a.txt` });
  });

  test("what is not there: exists() is false, the rest says so", async () => {
    expect(await sandbox.files.exists("nothing")).toBe(false);
    expect(await sandbox.files.exists("a.txt/nothing")).toBe(false);
    expect(await sandbox.files.exists("a.txt")).toBe(true);
    expect(sandbox.files.getInfo("nothing")).rejects.toThrow(/not_found/);
    expect(sandbox.files.list("nothing")).rejects.toThrow(/not_found/);
    expect(sandbox.files.rename("nothing", "b")).rejects.toThrow(/not_found/);
    await sandbox.files.remove("nothing");
  });

  test("listed to a depth, without the directory itself", async () => {
    mkdirSync(`${home}/tree/one/two`, { recursive: true });
    writeFileSync(`${home}/tree/file`, "");
    const names = async (depth?: number) =>
      (await sandbox.files.list("tree", depth === undefined ? {} : { depth })).map(({ path }) => path.slice(home.length));
    expect(await names()).toEqual(["/tree/file", "/tree/one"]);
    expect((await names(2)).toSorted()).toEqual(["/tree/file", "/tree/one", "/tree/one/two"]);
    expect((await callUnary(served, "filesystem.Filesystem/ListDir", { path: "tree/one/two" })).document).toEqual({});
    expect(sandbox.files.list("a.txt")).rejects.toThrow(/invalid_argument/);
  });

  test("directories with their parents, owned by who makes them; twice is false; over a file it is refused", async () => {
    expect(await sandbox.files.makeDir("x/y/z", { user: "user" })).toBe(true);
    const made = `${guest.directory}/user/x/y`;
    expect([statSync(made).uid, statSync(`${made}/z`).uid]).toEqual([1000, 1000]);
    expect(await sandbox.files.makeDir("x/y/z", { user: "user" })).toBe(false);
    expect(sandbox.files.makeDir("a.txt")).rejects.toThrow(/invalid_argument/);
    expect(sandbox.files.makeDir("a.txt/b")).rejects.toThrow(/invalid_argument/);
  });

  test("renamed into a directory that is not there yet", async () => {
    writeFileSync(`${home}/from`, "moved");
    expect(await sandbox.files.rename("from", "new/place/to")).toMatchObject({
      name: "to",
      path: `${home}/new/place/to`,
      type: "file",
    });
    expect(readFileSync(`${home}/new/place/to`, "utf8")).toBe("moved");
  });

  test("removed, a whole tree, links not followed", async () => {
    symlinkSync(`${home}/a.txt`, `${home}/tree/to-a`);
    await sandbox.files.remove("tree");
    expect(lstatSync(`${home}/tree`, { throwIfNoEntry: false })).toBeUndefined();
    expect(await sandbox.files.exists("a.txt")).toBe(true);
  });

  test("steps up end at the root; a NUL and another's home are refused", async () => {
    expect(await sandbox.files.getInfo("../../../../../../etc/hostname")).toMatchObject({ path: "/etc/hostname" });
    expect(sandbox.files.getInfo("a\0b")).rejects.toThrow(/invalid_argument/);
    expect(sandbox.files.getInfo("~user/x")).rejects.toThrow(/invalid_argument/);
  });

  test("an unknown user is not let in", async () => {
    expect(sandbox.files.list("/", { user: "nobody-at-all" })).rejects.toThrow(/unauthenticated/);
  });
});

describe("watches", () => {
  test("what happens in a directory, with the entries it happened to", async () => {
    mkdirSync(`${home}/watched/below`, { recursive: true });
    const events: FilesystemEvent[] = [];
    let wanted: (() => void) | undefined;
    const until = async (type: string, name: string) => {
      while (!events.some((event) => event.type === type && event.name === name)) {
        await new Promise<void>((resolve) => {
          wanted = resolve;
        });
      }
    };
    const handle = await sandbox.files.watchDir(
      "watched",
      (event) => {
        events.push(event);
        wanted?.();
      },
      { recursive: true, includeEntry: true, timeoutMs: 0 },
    );
    writeFileSync(`${home}/watched/a`, "x");
    await until("create", "a");
    await until("write", "a");
    chmodSync(`${home}/watched/a`, 0o600);
    await until("chmod", "a");
    writeFileSync(`${home}/watched/below/b`, "x");
    await until("create", "below/b");
    expect(events.find((event) => event.type === "chmod")?.entry).toMatchObject({ path: `${home}/watched/a`, mode: 0o600 });
    await sandbox.files.rename("watched/a", "watched/c");
    await until("rename", "a");
    await sandbox.files.remove("watched/c");
    await until("remove", "c");
    await handle.stop();
  });

  test("a start first, signs of life, and an end when the time is over", async () => {
    const events = await allOf(
      await callStream(
        served,
        "filesystem.Filesystem/WatchDir",
        { path: home },
        { headers: { "keepalive-ping-interval": "1", "connect-timeout-ms": "1500" } },
      ),
    );
    expect(events.map(({ document }) => document)).toEqual([
      { start: {} },
      { keepalive: {} },
      { error: { code: "deadline_exceeded", message: expect.any(String) } },
    ]);
  });

  test.each([
    ["nothing", "not_found"],
    ["a.txt", "invalid_argument"],
  ])("%s cannot be watched: %s", async (path, code) => {
    const [end] = await allOf(await callStream(served, "filesystem.Filesystem/WatchDir", { path }));
    expect(end).toMatchObject({ flags: 2, document: { error: { code } } });
  });

  test("a watcher that is asked: what has happened, the oldest lost first", async () => {
    mkdirSync(`${home}/asked`);
    const { document } = await callUnary(served, "filesystem.Filesystem/CreateWatcher", { path: "asked" });
    const watcherId = document["watcherId"];
    const take = async () =>
      (await callUnary(served, "filesystem.Filesystem/GetWatcherEvents", { watcherId })).document["events"];
    expect(await take()).toBeUndefined();
    for (const name of ["one", "two", "three", "four", "five", "six"]) mkdirSync(`${home}/asked/${name}`);
    const taken: unknown[] = [];
    while (!JSON.stringify(taken).includes('"six"')) {
      const events = await take();
      if (Array.isArray(events)) taken.push(...events);
    }
    expect(taken).toContainEqual({ name: "six", type: "EVENT_TYPE_CREATE" });
    expect(await callUnary(served, "filesystem.Filesystem/RemoveWatcher", { watcherId })).toEqual({ status: 200, document: {} });
    expect(await callUnary(served, "filesystem.Filesystem/GetWatcherEvents", { watcherId })).toMatchObject({ status: 404 });
    expect(await callUnary(served, "filesystem.Filesystem/RemoveWatcher", { watcherId })).toMatchObject({ status: 404 });
  });

  test("only so many watchers, and only so many events of each", async () => {
    const create = async () => await callUnary(served, "filesystem.Filesystem/CreateWatcher", { path: "asked" });
    const ids = [(await create()).document["watcherId"], (await create()).document["watcherId"]];
    expect(await create()).toMatchObject({ status: 429, document: { code: "resource_exhausted" } });
    for (let count = 0; count < 20; count += 1) mkdirSync(`${home}/asked/many-${count}`);
    for (const watcherId of ids) {
      let names = "";
      while (!names.includes("many-19")) {
        const { document } = await callUnary(served, "filesystem.Filesystem/GetWatcherEvents", { watcherId });
        const events = Array.isArray(document["events"]) ? document["events"] : [];
        expect(events.length).toBeLessThanOrEqual(5);
        names += JSON.stringify(events);
      }
    }
    for (const watcherId of ids) await callUnary(served, "filesystem.Filesystem/RemoveWatcher", { watcherId });
  });
});
