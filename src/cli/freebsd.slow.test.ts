/** The example of a FreeBSD system, by the commands that people type, from sets that are as small as they can be. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fill, type TreeFiles } from "../compose/testing.ts";
import { parseMtree } from "../formats/index.ts";
import { FREEBSD, INSTALLER_PROGRAMS } from "../image/testing.ts";
import { type CommandPlace, commandPlace } from "./systems.testing.ts";

// The first call may have to compile the program.
setDefaultTimeout(240_000);

const KERNEL: TreeFiles = {
  "boot/kernel/kernel": { text: "kernel with cd9660_mount\n", mode: 0o555 },
  "boot/kernel/nullfs.ko": "module\n",
};
const BASE = Object.fromEntries(
  Object.entries({ ...INSTALLER_PROGRAMS, ...FREEBSD }).filter(([path]) => !path.startsWith("boot/kernel/")),
);

let place: CommandPlace;
const at = (name: string): string => join(place.directory, name);
const tool = (program: string, ...words: readonly string[]): string => execFileSync(program, words, { encoding: "utf8" });

/** As release(7) makes them. */
function putSets(): void {
  mkdirSync(at("sets"));
  const lines = Object.entries({ base: BASE, kernel: KERNEL }).map(([name, tree]) => {
    mkdirSync(at(name));
    tool("bsdtar", "-cJf", at(`sets/${name}.txz`), "-C", fill(at(name), tree), ".");
    const digest = tool("sha256sum", at(`sets/${name}.txz`)).slice(0, 64);
    return `${name}.txz\t${digest}\t${Object.keys(tree).length}\t${name}\t"A set (MANDATORY)"\ton\n`;
  });
  writeFileSync(at("sets/MANIFEST"), lines.join(""));
}

beforeAll(() => {
  place = commandPlace();
  copyFileSync(join(import.meta.dir, "../../examples/freebsd/garth.ts"), at("garth.ts"));
  putSets();
});
afterAll(() => place.remove());

describe("a FreeBSD system, made here", () => {
  test("the line makes its image, which is whole", () => {
    const { status, stdout, stderr } = place.call("ship", "--until", "image");
    expect({ status, stderr: status === 0 ? "" : stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/-system-beastie/);
    expect(place.call("system", "image", "#beastie", "-o", "beastie.raw").status).toBe(0);
    const verified = place.call("image", "verify", "beastie.raw");
    expect([verified.status, verified.stderr]).toEqual([0, ""]);
    expect(place.call("image", "inspect", "beastie.raw").stdout).toMatch(/garth-root +ufs/);
    expect(tool("sgdisk", "-p", at("beastie.raw"))).toMatch(/ A503 +garth-root/);
  });

  test("its paths are told as mtree(5) has them, owners and modes as in the sets", () => {
    const root = parseMtree(place.call("system", "rootfs", "#beastie").stdout, "rootfs");
    const su = root.find(({ path }) => path.endsWith("-runtime/usr/bin/su"));
    expect(su).toMatchObject({ mode: 0o4555, uid: 0, gid: 0 });
    expect(root.find(({ path }) => path === "etc/rc.conf")).toMatchObject({ type: "file" });
  });

  test("it is installed into a file: that image, of the size that was asked for", () => {
    const said = place.call("system", "install", "#beastie", "installed.raw", "--size", "1536M");
    expect([said.status, said.stdout]).toEqual([0, expect.stringMatching(/read back and the same/)]);
    expect(place.call("image", "verify", "installed.raw").status).toBe(0);
  });

  test("a medium of it is one that others read", () => {
    const said = place.call("system", "iso", "#beastie", "-o", "beastie.iso");
    expect([said.status, said.stdout]).toEqual([
      0,
      expect.stringMatching(/^installs \/frx\/store\/\S+-system-beastie on a disk that it asks for/m),
    ]);
    const listed = tool("bsdtar", "-tf", at("beastie.iso")).split("\n");
    expect(listed).toEqual(expect.arrayContaining(["boot/kernel/kernel", "etc/rc", "garth/map", "garth/data/0000"]));
    expect(tool("sgdisk", "-p", at("beastie.iso"))).toMatch(/ EF00 /);
  });

  test("a set that is not what MANIFEST says is refused, and its world is not made", () => {
    const list = readFileSync(at("sets/MANIFEST"), "utf8");
    writeFileSync(at("sets/MANIFEST"), list.replace(/^base\.txz\t[0-9a-f]{64}/, `base.txz\t${"0".repeat(64)}`));
    const { status, stderr } = place.call("system", "image", "#beastie", "-o", "none.raw");
    expect([status, existsSync(at("none.raw"))]).toEqual([1, false]);
    expect(stderr).toContain("E_SET_DAMAGED");
  });
});
