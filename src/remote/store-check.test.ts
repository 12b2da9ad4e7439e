/** What a host finds in the items that came there: mtree(8) and the digest of a NAR are held to the same tampering. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { baseName, sha256, type StorePath } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { narSha256Of, openTestStore, type TestStore } from "../store/testing.ts";
import { openHostStore } from "./store.ts";
import { chainOf, localConnection, type LocalConnection, recordOf, SHELLS, type Shell } from "./store.testing.ts";
import { hostileTree } from "./trees.testing.ts";
import type { Connection, HostStore } from "./types.ts";

let here: TestStore;
let storeDirectory: string;
let local: LocalConnection;

beforeEach(() => {
  here = openTestStore();
  storeDirectory = `${here.root}/the store's "of" others`;
});
afterEach(() => here[Symbol.dispose]());

/** `tamper`: what is done there to what was unpacked, before it is looked at; $item is the first. */
function open(shell: Shell, check: "mtree" | "nar", tamper = ":"): HostStore {
  local = localConnection(shell);
  const unpacked = "\nfor name in t/*; do\n";
  const start: Connection["start"] = (script, options) => {
    const [first = "", ...rest] = script.body.split(unpacked);
    const body = rest.length === 0 ? first : [`${first}\nfor item in t/*-tree; do ${tamper}; done`, ...rest].join(unpacked);
    return local.start({ ...script, body }, options);
  };
  const record = recordOf(`${here.root}/its root`);
  return openHostStore({ host: localHost(), store: here.store, connection: { ...local, start }, record, storeDirectory, check });
}

async function tree(): Promise<StorePath> {
  const source = here.directory();
  fs.mkdirSync(`${source}/bin`);
  fs.writeFileSync(`${source}/bin/run`, "#!/bin/sh\n", { mode: 0o755 });
  fs.writeFileSync(`${source}/text`, "words");
  fs.symlinkSync("text", `${source}/link`);
  return (await here.store.add(source, "tree")).path;
}

const TAMPERING = {
  "a changed byte": "printf W | dd of=$item/text conv=notrunc 2>/dev/null",
  "a byte more": "printf s >>$item/text",
  "a missing file": "rm $item/text",
  "a missing directory": "rm -r $item/bin",
  "an extra file": ": >$item/more",
  "an extra link": "ln -s text $item/other",
  "another target": "rm $item/link && ln -s bin $item/link",
  "a bit that lets it be executed": "chmod a+x $item/text",
  "a bit that was lost": "chmod a-x $item/bin/run",
  "a program of somebody's": "chmod u+s $item/bin/run",
  "a device": "rm $item/text && mknod $item/text c 1 3",
  "a link in place of a file": "mv $item/text ./away && ln -s ../../away $item/text",
} as const;

describe.each(Object.keys(SHELLS) as Shell[])("through %s", (shell) => {
  describe.each(["mtree", "nar"] as const)("by %s", (check) => {
    test("what is as it is here is taken: trees, files, links, and names of every kind", async () => {
      const there = open(shell, check);
      const source = `${here.root}/source`;
      hostileTree(source);
      const odd = await here.store.add(source, "what?-2=3+4_5.6");
      const link = here.directory();
      fs.symlinkSync("/nowhere", `${link}/x`);
      fs.writeFileSync(`${link}/program`, "#!/bin/sh\n", { mode: 0o755 });
      const dangling = await here.store.add(`${link}/x`, "dangling");
      const script = await here.store.add(`${link}/program`, "program");
      const empty = here.store.addText("empty", "", []);
      // As an image is: no digest of its archive is known.
      fs.writeFileSync(`${here.store.temporaryDirectory}/disk`, "disk\n");
      const disk = await here.store.addWritten(`${here.store.temporaryDirectory}/disk`, "disk.raw", sha256("disk\n"));
      const paths = [await tree(), odd.path, dangling.path, empty.path, script.path, disk.path, ...chainOf(here.store, 3)];
      const need = await there.need(paths);
      expect(new Set(need.missing)).toEqual(new Set(paths));
      expect(need.diskBytes).toBeGreaterThan(300_000);
      expect(new Set((await there.send(paths)).sent)).toEqual(new Set(paths));
      for (const path of paths) {
        expect(there.physical(path)).toBe(`${storeDirectory}/${baseName(path)}`);
        expect(narSha256Of(there.physical(path))).toBe(narSha256Of(here.store.physical(path)));
      }
      // Nothing of ours is among what others keep, or beside it.
      expect(fs.readdirSync(storeDirectory).toSorted()).toEqual(paths.map(baseName).toSorted());
      expect(fs.readdirSync(`${here.root}/its root/used`)).toEqual([]);
      expect(fs.readdirSync(`${here.root}/its root/incoming`)).toEqual([]);
      expect(await there.need(paths)).toEqual({ missing: [], diskBytes: 0 });
      expect(await there.send(paths)).toEqual({ sent: [], sentBytes: 0 });
    });

    test.each(Object.entries(TAMPERING))("%s is found", async (_, tamper) => {
      const there = open(shell, check, tamper);
      const paths = [await tree(), ...chainOf(here.store, 1)];
      const problem = await problemOf(there.send(paths));
      expect(problem.code).toBe("E_HOST_DAMAGED");
      // What was sound stays.
      expect(fs.readdirSync(storeDirectory)).toEqual(paths.slice(1).map(baseName));
      expect(fs.readdirSync(`${here.root}/its root/incoming`)).toEqual([]);
    });
  });
});
