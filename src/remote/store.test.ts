/** A closure there and trees back, through shells of this machine: scripts, archives and checks are those of a host. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { baseName } from "../base/index.ts";
import { localHost } from "../host/index.ts";
import { narSha256Of, oddTree, openTestStore, type TestStore } from "../store/testing.ts";
import { openHostStore } from "./store.ts";
import { localConnection, type LocalConnection, recordOf, type Shell } from "./store.testing.ts";
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
  root = `${here.root}/its root's "$x"`;
  open();
});
afterEach(() => here[Symbol.dispose]());

describe.each(["dash", "busybox"] as const)("through %s", (shell) => {
  beforeEach(() => open(shell));

  test("everything odd that a tree can hold goes there as it is", async () => {
    const source = here.directory();
    oddTree(source);
    const item = await here.store.add(source, "odd");
    const flat = here.store.addText("refers", item.path, [item.path]);
    expect(await there.present([item.path, flat.path])).toEqual(new Set());
    const report = await there.send([flat.path]);
    expect(report.sent).toEqual([item.path, flat.path]);
    expect(narSha256Of(there.physical(item.path))).toBe(item.narSha256);
    expect(narSha256Of(there.physical(flat.path))).toBe(flat.narSha256);
    expect(fs.readFileSync(`${root}/used/${baseName(flat.path)}`, "utf8")).toBe(`${baseName(item.path)}\n`);
    expect(fs.readdirSync(`${root}/incoming`)).toEqual([]);
    expect(await there.present([item.path, flat.path])).toEqual(new Set([item.path, flat.path]));
    expect(await there.send([flat.path])).toEqual({ sent: [], sentBytes: 0 });
  });

  test("it comes back as it is", async () => {
    const source = here.directory();
    oddTree(source);
    await there.fetch([{ from: source, to: `${here.root}/back` }]);
    expect(narSha256Of(`${here.root}/back`)).toBe(narSha256Of(source));
  });
});
