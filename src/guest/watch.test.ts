import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { problemOf } from "../base/testing.ts";
import { openTestGuest, type TestGuest } from "./testing.ts";
import type { GuestEntry } from "./types.ts";
import { changesBetween } from "./watch.ts";
import { touch, watched } from "./watch.testing.ts";

let there: TestGuest;
beforeAll(async () => {
  there = await openTestGuest();
});
afterAll(() => there.close());

describe("by inotify", () => {
  test("what happens to a file, in its order", async () => {
    const watch = await watched(there, false);
    const file = `${watch.path}/file`;
    expect(await watch.until(() => touch(file))).toEqual(["create file"]);
    expect(await watch.until(() => fs.appendFileSync(file, "more"))).toEqual(["write file"]);
    expect(await watch.until(() => fs.chmodSync(file, 0o600))).toEqual(["chmod file"]);
    expect(await watch.until(() => fs.renameSync(file, `${watch.path}/other`))).toEqual(["rename file", "create other"]);
    expect(await watch.until(() => fs.rmSync(`${watch.path}/other`))).toEqual(["remove other"]);
    // Not below it.
    expect(await watch.until(() => fs.writeFileSync(`${watch.path}/there/deep`, "x"))).toEqual([]);
    watch.close();
    await watch.closed;
  });

  test("directories below, those that are made, moved and removed too", async () => {
    const watch = await watched(there, true);
    const at = (name: string): string => `${watch.path}/${name}`;
    expect(await watch.until(() => fs.appendFileSync(at("there/before/f"), "x"))).toEqual([
      "create there/before/f",
      "write there/before/f",
    ]);
    const made = await watch.until(() =>
      there.guest.run({ argv: ["sh", "-c", "mkdir -p a/b/c && : >a/b/c/f && : >a/g"], cwd: watch.path }),
    );
    expect(made.toSorted()).toEqual(["create a", "create a/b", "create a/b/c", "create a/b/c/f", "create a/g"]);
    expect(await watch.until(() => fs.renameSync(at("a"), at("z")))).toEqual(["rename a", "create z"]);
    expect(await watch.until(() => fs.chmodSync(at("z/b/c/f"), 0o600))).toEqual(["chmod z/b/c/f"]);
    fs.mkdirSync(`${there.directory}/outside/in`, { recursive: true });
    expect(await watch.until(() => fs.renameSync(`${there.directory}/outside`, at("came")))).toEqual(["create came"]);
    expect(await watch.until(() => touch(at("came/in/f")))).toEqual(["create came/in/f"]);
    expect(await watch.until(() => fs.renameSync(at("came"), `${there.directory}/left`))).toEqual(["rename came"]);
    const removed = await watch.until(() => fs.rmSync(at("z"), { recursive: true }));
    expect(removed.toSorted()).toEqual(["remove z", "remove z/b", "remove z/b/c", "remove z/b/c/f", "remove z/g"]);
    watch.close();
    await watch.closed;
  });

  test("an upload is a file that was made or written, whatever is done for it", async () => {
    const watch = await watched(there, true);
    const write = (): Promise<unknown> => there.guest.files.write(`${watch.path}/there/up`, [Buffer.from("x")]);
    expect(await watch.until(write)).toEqual(["create there/up", "write there/up"]);
    expect(await watch.until(write)).toEqual(["write there/up"]);
    watch.close();
    await watch.closed;
  });

  test("names that are no text, and strange ones", async () => {
    const watch = await watched(there, false);
    const odd = Buffer.concat([Buffer.from(`${watch.path}/odd`), Buffer.from([0xff])]);
    expect(await watch.until(() => touch(odd))).toEqual(["create odd\ufffd"]);
    expect(await watch.until(() => touch(`${watch.path}/!a\nb c`))).toEqual(["create !a\nb c"]);
    watch.close();
  });

  test("it ends with its directory, with the connection, and leaves no process", async () => {
    const watch = await watched(there, true);
    fs.rmSync(watch.path, { recursive: true });
    await watch.closed;
    const other = await watched(there, true);
    other.close();
    await other.closed;
    expect((await there.guest.run({ argv: ["pgrep", "-f", `python3.*${other.path} `] })).code).toBe(1);
    await using lost = await openTestGuest({ name: "lost" });
    const last = await watched(lost, false);
    lost.kill();
    await last.closed;
  });

  test("what cannot be watched", async () => {
    const nothing = (): void => undefined;
    const code = async (path: string): Promise<string> =>
      (await problemOf(there.guest.watch(path, { recursive: true }, nothing))).code;
    expect(await code(`${there.directory}/none`)).toBe("E_NO_FILE");
    expect(await code(`${there.directory}/passwd`)).toBe("E_NOT_DIRECTORY");
    expect(await code("relative")).toBe("E_BAD_PATH");
  });
});

describe("by looking", () => {
  test("what is told of two looks", () => {
    const entry = (name: string, more: Partial<GuestEntry> = {}): [string, GuestEntry] => [
      name,
      {
        name,
        path: name,
        kind: "file",
        sizeBytes: 1,
        mode: 0o644,
        owner: "a",
        group: "a",
        modifiedMs: 1000,
        target: undefined,
        ...more,
      },
    ];
    const before = new Map([
      entry("d", { kind: "directory" }),
      entry("d/gone"),
      entry("same"),
      entry("size"),
      entry("time"),
      entry("mode"),
      entry("kind"),
    ]);
    const after = new Map([
      entry("d", { kind: "directory", sizeBytes: 2, modifiedMs: 2000 }),
      entry("same"),
      entry("size", { sizeBytes: 2 }),
      entry("time", { modifiedMs: 2000, owner: "b" }),
      entry("mode", { mode: 0o600 }),
      entry("kind", { kind: "directory" }),
      entry("new"),
    ]);
    expect(changesBetween(before, after).map(({ kind, name }) => `${kind} ${name}`)).toEqual([
      "remove kind",
      "remove d/gone",
      "write size",
      "write time",
      "chmod time",
      "chmod mode",
      "create kind",
      "create new",
    ]);
  });
});
