import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { localHost } from "../../host/index.ts";
import { parseAttributes } from "../../world/index.ts";
import { cleanTree } from "./clean.ts";
import { EMPTIED, MOUNT_POINTS, WRITTEN } from "./plan.ts";

const root = fs.mkdtempSync(`${tmpdir()}/garth-clean-`);
afterAll(() => localHost().files.removeTree(root));
let count = 0;

/** As mmdebstrap leaves a tree: with what packages brought, and what the machine and the time left in it. */
function fresh(): string {
  count += 1;
  const tree = `${root}/${count}`;
  const file = (path: string, mode = 0o644, owner: readonly [number, number] = [0, 0]): void => {
    fs.mkdirSync(`${tree}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    fs.writeFileSync(`${tree}/${path}`, path);
    fs.chownSync(`${tree}/${path}`, ...owner);
    fs.chmodSync(`${tree}/${path}`, mode);
  };
  const directory = (path: string, mode = 0o755, owner: readonly [number, number] = [0, 0]): void => {
    fs.mkdirSync(`${tree}/${path}`, { recursive: true });
    fs.chownSync(`${tree}/${path}`, ...owner);
    fs.chmodSync(`${tree}/${path}`, mode);
  };
  for (const path of ["usr/bin/true", "usr/share/doc/x", "usr/share/locale/de/LC_MESSAGES/x.mo", "var/lib/dpkg/info/x.list"])
    file(path);
  file("usr/bin/su", 0o4755);
  file("usr/bin/wall", 0o2755, [0, 5]);
  file("etc/shadow", 0o640, [0, 42]);
  file("etc/hostname");
  file("etc/machine-id", 0o444);
  file("etc/ssh/ssh_host_rsa_key", 0o600);
  file("etc/ssh/sshd_config");
  file("boot/vmlinuz-6.1");
  file("boot/initrd.img-6.1");
  fs.symlinkSync("boot/vmlinuz-6.1", `${tree}/vmlinuz`);
  file("var/lib/dpkg/status-old");
  file("var/lib/dpkg/status");
  file("var/log/dpkg.log");
  file("var/log/nginx/access.log");
  directory("var/log/nginx", 0o750, [0, 4]);
  file("var/cache/apt/pkgcache.bin");
  directory("var/spool/cron/crontabs", 0o1730, [0, 101]);
  file("var/spool/cron/crontabs/somebody");
  fs.symlinkSync("../mail", `${tree}/var/spool/mail`);
  directory("var/mail", 0o2775, [0, 8]);
  file("root/.bashrc");
  directory("root", 0o700);
  file("tmp/left");
  directory("tmp", 0o1777);
  fs.writeFileSync(Buffer.from(`${tree}/usr/share/b\xffd`, "latin1"), "");
  execFileSync("mkfifo", [`${tree}/var/lib/pipe`]);
  return tree;
}

const listed = (tree: string): readonly string[] =>
  execFileSync("find", [".", "-mindepth", "1", "-printf", "%P\n"], { cwd: tree, encoding: "latin1" })
    .trimEnd()
    .split("\n")
    .toSorted();

describe("a tree for building", () => {
  test("keeps nothing of its maker, nothing nobody builds with, and no set-id bits", () => {
    const tree = fresh();
    cleanTree(localHost(), tree, "build");
    const paths = listed(tree);
    for (const gone of [
      "usr/share/doc",
      "etc/machine-id",
      "var/spool",
      "var/log/nginx",
      "root/.bashrc",
      "var/lib/dpkg/info",
      ".garth",
      "usr/share/locale/de/LC_MESSAGES",
    ])
      expect(paths).not.toContain(gone);
    expect(paths).toEqual(
      expect.arrayContaining(["usr/bin/su", "usr/share/b\u00ffd", "etc/ssh/ssh_host_rsa_key", ...MOUNT_POINTS]),
    );
    expect(fs.statSync(`${tree}/usr/bin/su`).mode & 0o7777).toBe(0o755);
  });
});

describe("a tree for a system", () => {
  // In a tree for a system a name has to be text: what is not is told when it becomes an item.
  const made = (mask = 0o022): string => {
    const tree = fresh();
    fs.unlinkSync(Buffer.from(`${tree}/usr/share/b\xffd`, "latin1"));
    const before = process.umask(mask);
    try {
      cleanTree(localHost(), tree, "system");
    } finally {
      process.umask(before);
    }
    return tree;
  };

  test("keeps what packages brought, and the directories that programs write to", () => {
    const paths = listed(made());
    expect(paths).toEqual(
      expect.arrayContaining([
        "usr/share/doc/x",
        "usr/share/locale/de/LC_MESSAGES/x.mo",
        "var/lib/dpkg/info/x.list",
        "var/lib/dpkg/status",
        "etc/ssh/sshd_config",
        "boot/vmlinuz-6.1",
        "var/log/nginx",
        "var/cache/apt",
        "var/spool/cron/crontabs",
        "var/spool/mail",
      ]),
    );
    const gone = new Set([
      "vmlinuz",
      "boot/initrd.img-6.1",
      "etc/ssh/ssh_host_rsa_key",
      "etc/machine-id",
      "var/lib/dpkg/status-old",
      "var/lib/pipe",
      "var/log/dpkg.log",
      "var/log/nginx/access.log",
      "var/cache/apt/pkgcache.bin",
      "var/spool/cron/crontabs/somebody",
      "root/.bashrc",
      "tmp/left",
    ]);
    expect(paths.filter((path) => gone.has(path))).toEqual([]);
  });

  test("has owners and modes beside it, whatever umask it was made with", () => {
    const tree = made(0o077);
    const text = fs.readFileSync(`${tree}/.garth/attributes`, "utf8");
    const found = [...parseAttributes(text, "x")].map(
      ([path, { mode, uid, gid }]) => `${path} ${mode.toString(8)} ${uid}:${gid}`,
    );
    expect(found).toEqual([
      "etc/shadow 640 0:42",
      "root 700 0:0",
      "tmp 1777 0:0",
      "usr/bin/su 4755 0:0",
      "usr/bin/wall 2755 0:5",
      "var/log/nginx 750 0:4",
      "var/mail 2775 0:8",
      "var/spool/cron/crontabs 1730 0:101",
    ]);
    expect(fs.readFileSync(`${made()}/.garth/attributes`, "utf8")).toBe(text);
    expect(fs.statSync(`${tree}/usr/bin/su`).mode & 0o7777).toBe(0o755);
  });

  test("says of owners what an archive said, where the tree could not be given them", () => {
    const tree = fresh();
    fs.unlinkSync(Buffer.from(`${tree}/usr/share/b\xffd`, "latin1"));
    cleanTree(localHost(), tree, "system", new Map([["usr/bin/true", { mode: 0o6711, uid: 3, gid: 4 }]]));
    expect(fs.readFileSync(`${tree}/.garth/attributes`, "utf8")).toBe(
      "#mtree\n./usr/bin/true type=file mode=06711 uid=3 gid=4\n",
    );
  });

  test("has bytecode of Python that is taken as it is; what goes by times, or is something else, is left alone", () => {
    const tree = fresh();
    fs.unlinkSync(Buffer.from(`${tree}/usr/share/b\xffd`, "latin1"));
    const python = (code: string): string => execFileSync("python3", ["-c", code], { cwd: `${tree}/usr`, encoding: "utf8" });
    for (const name of ["hashed", "timed"]) fs.writeFileSync(`${tree}/usr/${name}.py`, "answer = 1\n");
    python(
      "import py_compile as p; m = p.PycInvalidationMode; p.compile('hashed.py', invalidation_mode=m.CHECKED_HASH); p.compile('timed.py', invalidation_mode=m.TIMESTAMP)",
    );
    fs.writeFileSync(`${tree}/usr/__pycache__/other.pyc`, "abcd\u0003\0\0\0efgh");
    cleanTree(localHost(), tree, "system");
    for (const name of ["hashed", "timed"]) fs.writeFileSync(`${tree}/usr/${name}.py`, "answer = 23\n");
    expect(python("import hashed, timed; print(hashed.answer, timed.answer)")).toBe("1 23\n");
    expect(fs.readFileSync(`${tree}/usr/__pycache__/other.pyc`, "latin1")).toBe("abcd\u0003\0\0\0efgh");
  });

  test("has what every world has: empty places, mount points, and files that are the same everywhere", () => {
    const tree = made();
    for (const path of EMPTIED.filter((each) => !/^var\/(?:log|cache)$/.test(each) && fs.existsSync(`${tree}/${each}`)))
      expect([path, fs.readdirSync(`${tree}/${path}`)]).toEqual([path, []]);
    for (const path of MOUNT_POINTS) expect(fs.statSync(`${tree}/${path}`).isDirectory()).toBe(true);
    for (const [path, text] of Object.entries(WRITTEN)) expect(fs.readFileSync(`${tree}/${path}`, "utf8")).toBe(text);
  });
});
