/** The store of a host over a real sshd, on either system: what local shells cannot show. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { baseName } from "../base/index.ts";
import { localHost } from "../host/index.ts";
import { narSha256Of, oddTree, openTestStore, type TestStore } from "../store/testing.ts";
import { openConnection } from "./connection.ts";
import { openHostStore } from "./store.ts";
import { recordOf } from "./store.testing.ts";
import { openTestHost, type TestHost } from "./testing.ts";
import type { Connection, HostStore } from "./types.ts";

const host = localHost();

describe.each(["linux", "freebsd"] as const)("a %s host", (kind) => {
  let here: TestStore;
  let machine: TestHost;
  let connection: Connection;
  let there: HostStore;

  beforeEach(async () => {
    here = openTestStore();
    machine = await openTestHost({ kind });
    const known = `${machine.directory}/known`;
    const { name, url } = machine.wish;
    fs.writeFileSync(known, `${name} ${machine.knownHostsLine.split(" ").slice(1).join(" ")}\n`);
    connection = openConnection({
      host,
      name,
      url,
      identityFile: machine.identityFile,
      knownHostsFile: known,
      runtimeDirectory: `${machine.directory}/run`,
      environment: {},
      configFile: "/dev/null",
    });
    const record = recordOf(machine.root, name);
    const system = kind === "freebsd" ? ("x86_64-freebsd" as const) : host.system;
    there = openHostStore({ host, store: here.store, connection, record: { ...record, facts: { ...record.facts, system } } });
  });
  afterEach(async () => {
    await connection.close();
    await machine.close();
    here[Symbol.dispose]();
  });

  test("takes everything odd that a tree can hold, gives it back, and lets it go", async () => {
    const source = here.directory();
    oddTree(source);
    const item = await here.store.add(source, "odd");
    const flat = here.store.addText("refers", item.path, [item.path]);
    expect((await there.send([flat.path])).sent).toEqual([item.path, flat.path]);
    expect(await there.present([item.path, flat.path])).toEqual(new Set([item.path, flat.path]));
    const to = `${here.root}/back`;
    await there.fetch([{ from: there.physical(item.path), to }]);
    expect(narSha256Of(to)).toBe(item.narSha256);
    expect(fs.readdirSync(machine.path(`${machine.root}/incoming`))).toEqual([]);
    expect(fs.readFileSync(machine.path(`${machine.root}/used/${baseName(flat.path)}`), "utf8")).toBe(
      `${baseName(item.path)}\n`,
    );
    const { removed, freedBytes } = await there.collect({ olderThanMs: 0 });
    expect(removed).toBe(2);
    expect(freedBytes).toBeGreaterThan(8_000_000);
    for (const directory of ["store", "used", "incoming"])
      expect(fs.readdirSync(machine.path(`${machine.root}/${directory}`))).toEqual([]);
  });
});
