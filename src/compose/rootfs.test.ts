import { expect, test } from "bun:test";
import * as fs from "node:fs";
import { problemOf } from "../base/testing.ts";
import { contentBytes, parseMtree } from "../formats/index.ts";
import { rootText, writeRoot } from "./index.ts";
import { composed, fill, GUEST, guest, guestOptions, workplace } from "./testing.ts";

test("the root of a system is text, and a tree with its owners, modes, times and contents", async () => {
  using place = workplace();
  const system = await composed(place, guestOptions(guest(fill(place.directory(), GUEST))));
  const { root } = system;
  const to = `${place.directory()}/root`;
  const text = parseMtree(rootText(system), "root");
  expect(text.map(({ path }) => path)).toEqual(root.entries.map(({ path }) => path).toSorted());
  const said = new Map(text.map((entry) => [entry.path, entry]));
  const written = writeRoot(place.context, root, to);
  expect(written).toMatchObject({ entries: root.entries.length, owned: true });
  for (const entry of root.entries) {
    const path = `${to}/${entry.path}`;
    const { mode, uid, gid, mtimeMs, size } = fs.lstatSync(path);
    const { path: name, type } = entry;
    expect([name, mode & 0o7777, uid, gid, mtimeMs]).toEqual([name, entry.mode, entry.uid, entry.gid, 1000]);
    expect(said.get(name)).toMatchObject({ mode: entry.mode, uid: entry.uid, gid: entry.gid });
    if (type === "symlink") expect([fs.readlinkSync(path), said.get(name)?.link]).toEqual([entry.target, entry.target]);
    if (type !== "file") continue;
    expect([name, size, said.get(name)?.sizeBytes]).toEqual([name, contentBytes(entry.content), contentBytes(entry.content)]);
    const content =
      entry.content.kind === "bytes"
        ? entry.content.bytes
        : fs.readFileSync(`${place.store.directory}${entry.content.file.slice("/frx/store".length)}`);
    expect([name, Buffer.compare(fs.readFileSync(path), content)]).toEqual([name, 0]);
  }
  expect((await problemOf(() => writeRoot(place.context, root, to))).code).toBe("E_NOT_EMPTY");
  fs.writeFileSync(`${to}-file`, "");
  expect((await problemOf(() => writeRoot(place.context, root, `${to}-file`))).code).toBe("E_NOT_EMPTY");
});
