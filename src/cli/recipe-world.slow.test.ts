/** Worlds and systems of a tree that a recipe installs, by their commands. The recipe is built in a real sandbox. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseMtree } from "../formats/index.ts";
import { type CommandPlace, commandPlace } from "./systems.testing.ts";

// The first call may have to compile the program.
setDefaultTimeout(240_000);

const PROJECT = String.raw`
import { hostView, script, slices, system, world } from "garth";
const tree = script({ name: "tree", version: "1.0", buildRoot: hostView(), script: ${"`"}
  put() { mkdir -p "$out/$(dirname "$4")" && printf "$5" >"$out/$4" && chmod "$3" "$out/$4" &&
    echo "./$4 type=file uname=$1 gname=$2 mode=0$3" >>$out/METALOG; }
  put root root 644 boot/vmlinuz-1.0 'kernel\n'
  put root root 644 etc/group 'root:x:0:\nshadow:x:42:\ngames:x:60:\n'
  put root root 644 etc/passwd 'root:x:0:0:root:/root:/bin/sh\ngames:x:5:60:games:/usr/games:/bin/false\n'
  put root shadow 640 etc/shadow 'root:*:19000:0:99999:7:::\n'
  put root root 755 usr/bin/busybox '#!/bin/sh\n'
  put root root 755 usr/bin/start '#!/bin/sh\nexec sh\n'
  put root root 644 usr/lib/systemd/boot/efi/systemd-bootx64.efi 'loader\n'
  put games games 755 usr/games/rogue 'rogue\n'
  sed -i '/rogue/s/mode=0755/mode=04755/' $out/METALOG
  mkdir -p $out/usr/include $out/var/games
  echo "./var/games type=dir uname=games gname=games mode=02775" >>$out/METALOG
  ln -s usr/bin $out/bin
${"`"} });
export const made = world({ name: "made", recipe: tree });
const { kernel, boot, runtime } = slices(made);
export const web = system({
  name: "web", kernel, bootloader: boot, base: [runtime], init: { exec: "/usr/bin/start" }, rootModules: [],
  disk: { rootFree: "1M", esp: "8M" },
});
const broken = script({ name: "broken", buildRoot: hostView(), script: "echo no such world >&2; exit 3" });
export const none = world({ name: "none", recipe: broken });
`;

let place: CommandPlace;
beforeAll(() => {
  place = commandPlace();
  writeFileSync(join(place.directory, "garth.ts"), PROJECT);
});
afterAll(() => place.remove());

describe("a world that a recipe makes", () => {
  test("is built and taken in by its name, once", () => {
    const { path, name, entries } = Object(place.document("world", "import", "#made"));
    expect([name, path]).toEqual(["made", expect.stringMatching(/-world-made-local$/)]);
    expect(place.document("world", "import", "#made")).toMatchObject({ path, entries });
    expect(place.call("world", "ls").stdout).toContain(path);
    const cut = place.document("world", "slice", "#made");
    expect(Object(cut).slices.map((each: { readonly name: string }) => each.name)).toContain("made-runtime");
  });

  test("is what a system is made of: the line builds the recipe first, and the image has the owners that it said", () => {
    const built = place.call("system", "build", "#web");
    expect(built.stderr).toMatch(/build +.*tree-1\.0 -> /);
    expect(built.stdout).toMatch(/^\/frx\/store\/[0-9a-f]{64}-system-web\n/);
    const again = Object(place.document("system", "build", "#web"));
    expect(again.stages.map(({ stage, how }: { readonly stage: string; readonly how: string }) => `${stage} ${how}`)).toEqual([
      "recipe unchanged",
      "build unchanged",
      "world unchanged",
      "system unchanged",
    ]);
    const root = parseMtree(place.call("system", "rootfs", "#web").stdout, "rootfs");
    const at = (end: string) => root.find(({ path }) => path === end || (path.startsWith("frx/store/") && path.endsWith(end)));
    expect(at("-made-runtime/usr/games/rogue")).toMatchObject({ mode: 0o4755, uid: 5, gid: 60 });
    expect(at("var/games")).toMatchObject({ mode: 0o2775, uid: 5, gid: 60 });
    expect(at("etc/shadow")).toMatchObject({ mode: 0o640, uid: 0, gid: 42 });
    expect(root.some(({ path }) => path.endsWith("METALOG"))).toBe(false);
  });

  test("of a recipe that fails says what failed", () => {
    const failed = place.call("world", "import", "#none");
    expect(failed.status).toBe(1);
    expect(failed.stderr).toContain("no such world");
  });
});
