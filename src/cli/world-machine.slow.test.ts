/** A running machine as a world from the command line: a stand-in for FreeBSD over a real sshd, read, declared, and cut. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { appendFileSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTestHost, type TestHost } from "../remote/testing.ts";

setDefaultTimeout(120_000);
const garth = join(import.meta.dir, "../../garth");
let directory = "";
let there: TestHost;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "garth-cli-world-"));
  there = await openTestHost({ kind: "freebsd" });
  there.look(
    "echo 'root:$6$x:0:0::0:0:Charlie &:/root:/bin/sh' >/etc/master.passwd; echo kernel >/boot/kernel/kernel; mkdir /jails",
  );
  there.look(
    "mkdir -p /usr/include /usr/share/doc; echo h >/usr/include/stdio.h; echo d >/usr/share/doc/x; chown 0:5 /usr/bin/env; chmod 4555 /usr/bin/env",
  );
});
afterAll(async () => {
  await there.close();
  rmSync(directory, { recursive: true, force: true });
});

function call(...words: readonly string[]) {
  const env = { PATH: process.env["PATH"] ?? "", GARTH_ROOT: join(directory, "root") };
  const child = Bun.spawnSync([garth, ...words], { cwd: directory, env, stdin: "ignore" });
  return { status: child.exitCode, stdout: child.stdout.toString(), stderr: child.stderr.toString() };
}
function document(...words: readonly string[]) {
  const { status, stdout, stderr } = call(...words, "--json");
  expect({ status, stderr }).toMatchObject({ status: 0 });
  return JSON.parse(stdout);
}

test("its tree is an item with a root, its declaration is printed and is the same world, and its slices are what they are to be", () => {
  const machine = [there.wish.url, "--identity", there.identityFile, "--host-key", there.hostKey];
  const found = document("world", "import", ...machine, "--name", "guest", "--without", "usr/share/doc", "--save", "guest.tar");
  const { path, archive, declaration, left } = found;
  expect(path).toEndWith("-world-guest-15.1-RELEASE");
  expect(left).toEqual(["directory jails", "directory .standin"]);
  expect(declaration).toBe(
    `world({ name: "guest", label: "15.1-RELEASE", archive: fetchurl({ urls: ["file://${directory}/guest.tar"], sha256: "${archive.sha256}" }) })`,
  );
  expect(existsSync(join(directory, "guest.tar"))).toBe(true);
  const project = `import { fetchurl, slices, world } from "garth";\nexport const guest = ${declaration};\n`;
  writeFileSync(join(directory, "garth.ts"), `${project}export const again = world({ name: "guest", item: "${path}" });\n`);
  appendFileSync(
    join(directory, "garth.ts"),
    `export const { kernel, boot, runtime, development } = slices(again, "freebsd");\n`,
  );
  expect(document("world", "import", "#guest")).toMatchObject({ path });
  expect(document("world", "import", "#again")).toMatchObject({ path });
  // The machine is what it was, and so is its world: without the archive it is declared by its item.
  const second = document("world", "import", ...machine, "--name", "guest", "--without", "usr/share/doc,usr/include/nothing");
  expect(second).toMatchObject({
    path,
    archive: null,
    declaration: `world({ name: "guest", label: "15.1-RELEASE", item: "${path}" })`,
  });
  expect(call("world", "ls").stdout).toMatch(new RegExp(`root {2}${path}$`, "m"));
  const tree = `${directory}/root${path}`;
  const runtime = document("world", "slice", "#runtime").slices[0].path;
  const inRuntime = `${directory}/root${runtime}`;
  expect([existsSync(`${tree}/usr/include/stdio.h`), existsSync(`${inRuntime}/usr/include`)]).toEqual([true, false]);
  expect([existsSync(`${tree}/boot/kernel/kernel`), existsSync(`${inRuntime}/boot`)]).toEqual([true, false]);
  expect(existsSync(`${inRuntime}/bin/sh`)).toBe(true);
  const attributes = Bun.spawnSync(["cat", `${inRuntime}/.garth/attributes`]).stdout.toString();
  expect(attributes).toMatch(/^\.\/usr\/bin\/env .*\bgid=5\b.*\bmode=04555\b|^\.\/usr\/bin\/env .*\bmode=04555\b.*\bgid=5\b/m);
  expect(readdirSync(join(directory, "root/frx/var/garth/tmp")).filter((name) => name.startsWith("machine-"))).toEqual([]);
});

test("a host that is known is named, and what cannot be is refused", () => {
  expect(call("host", "add", "farm", there.wish.url, "--identity", there.identityFile, "--host-key", there.hostKey).status).toBe(
    0,
  );
  expect(document("world", "import", "farm:/usr/include")).toMatchObject({
    name: "farm",
    label: "local",
    kernel: "FreeBSD",
    entries: 1,
  });
  const refusals: readonly (readonly [words: readonly string[], code: string])[] = [
    [["farm:/nowhere"], "E_WORLD_READ"],
    [["farm:/usr/../etc"], "E_USAGE"],
    [["nobody:/usr"], "E_NO_SUCH_FILE"],
    [["farm:/usr/include", "--host-key", "new"], "E_USAGE"],
    [["farm:/usr/include", "--save", "root"], "E_EXISTS"],
    [["ssh://root@127.0.0.1:1"], "E_HOST_UNREACHABLE"],
    [["garth.ts", "--save", "x"], "E_USAGE"],
  ];
  for (const [words, code] of refusals) {
    const said = call("world", "import", ...words, "--json");
    expect([words, JSON.parse(said.stdout).error?.code]).toEqual([words, code]);
  }
});
