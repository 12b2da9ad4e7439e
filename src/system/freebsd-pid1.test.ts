/** The launcher of another process 1, run by two shells with stand-ins for what only FreeBSD has. */
import { afterAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freebsdPid1 } from "./freebsd-pid1.ts";

const scratch = fs.mkdtempSync(join(tmpdir(), "garth-pid1-"));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));
let count = 0;

interface Wish {
  readonly kenv?: Readonly<Record<string, string>>;
  readonly fstab?: string;
  /** Name of a program to its text, in place of one that says what it was called with. */
  readonly more?: Readonly<Record<string, string>>;
}

/** What was called, in order, and what came on the console. */
function launch(shell: readonly string[], { kenv = {}, fstab = "/dev/gpt/root\t/\tufs\trw\t1 1\n", more = {} }: Wish = {}) {
  const root = join(scratch, String(++count));
  const write = (path: string, text: string): void => fs.writeFileSync(join(root, path), text, { mode: 0o755 });
  for (const name of ["bin", "item/boot", "etc", "var"]) fs.mkdirSync(join(root, name), { recursive: true });
  write("etc/fstab", fstab);
  const facts = Object.entries(kenv).map(([name, value]) => `${name}) echo ${value} ;;`);
  const said = `echo "$(basename "$0") $*" >>${root}/called\n`;
  const programs: Readonly<Record<string, string>> = {
    fsck: said,
    mount: said,
    daemon: said,
    reboot: said,
    kenv: `case $2 in ${facts.join(" ")} *) exit 1 ;; esac\n`,
    ...more,
  };
  for (const [name, text] of Object.entries(programs)) write(`bin/${name}`, `#!/bin/sh\n${text}`);
  write("item/activate", `#!/bin/sh\n${more["activate"] ?? said}`);
  write("one's", `#!/bin/sh\n${said}`);
  const functions = Object.keys(programs).map((name) => `${name}() {\n\t${root}/bin/${name} "$@"\n}\n`);
  const text = freebsdPid1(join(root, "one's"))
    .replace("PATH=/sbin", `PATH=${root}/bin:/sbin`)
    .replace("/etc/fstab", `${root}/etc/fstab`)
    .replace("/var/lib/garth/ready", `${root}/var/ready`)
    // Busybox's shell has tools of its own, which come before those of $PATH.
    .replace("umask 022\n", `umask 022\n${functions.join("")}`);
  write("item/boot/pid1", text);
  write("var/ready", "ready\n");
  fs.symlinkSync("item/boot", join(root, "link"));
  const done = spawnSync(shell[0] ?? "", [...shell.slice(1), join(root, "link/pid1")], { encoding: "utf8", env: {} });
  return {
    status: done.status,
    console: done.stdout,
    called: fs.readFileSync(join(root, "called"), "utf8").replaceAll(root, "").trimEnd().split("\n"),
    isReady: fs.existsSync(join(root, "var/ready")),
  };
}

test("sh -n and shellcheck find nothing", () => {
  const input = freebsdPid1("/usr/local/sbin/it's one");
  expect(input).toEndWith("exec '/usr/local/sbin/it'\\''s one'\n");
  expect(spawnSync("sh", ["-n"], { input, encoding: "utf8" }).status).toBe(0);
  const checked = spawnSync("shellcheck", ["-s", "sh", "-"], { input, encoding: "utf8" });
  expect([checked.stdout, checked.status]).toEqual(["", 0]);
});

for (const shell of [["dash"], ["busybox", "sh"]]) {
  describe(shell.join(" "), () => {
    /** fstab may be another one now. */
    const AGAIN = "mount -a -t nonfs";
    const PREPARED = ["fsck -F -p", "mount -uw /", "mount -a -t nonfs"];

    test("file systems, the activation of the system that it is in, and the program in its place", () => {
      expect(launch(shell)).toEqual({
        status: 0,
        console: "",
        called: [...PREPARED, "activate /item", AGAIN, "one's"],
        isReady: false,
      });
    });

    test("the system that the loader says, and the watch of a trial before its activation", () => {
      const { called } = launch(shell, { kenv: { "garth.system": `${scratch}/${count + 1}/item`, "garth.trial": "600" } });
      expect(called).toEqual([
        ...PREPARED,
        "daemon -f -o /dev/console -t garth_watch /item/generations watch 600",
        "activate /item",
        AGAIN,
        "one's",
      ]);
    });

    test("a root that fstab has read-only stays so", () => {
      const fstab = "# / ufs rw\n/dev/gpt/root / ufs noatime,ro 1 1\n/dev/gpt/data /data ufs rw 2 2\n";
      expect(launch(shell, { fstab }).called).toEqual(["fsck -F -p", "mount -a -t nonfs", "activate /item", AGAIN, "one's"]);
    });

    test("file systems that are damaged: repaired, or read again", () => {
      const said = 'echo "fsck $*" >>"$(dirname "$0")/../called"\n';
      const repaired = launch(shell, { more: { fsck: `${said}[ "$2" = -y ] || exit 8\n` } });
      expect(repaired.called.slice(0, 3)).toEqual(["fsck -F -p", "fsck -F -y", "mount -uw /"]);
      const rebooted = launch(shell, { more: { fsck: `${said}exit 4\n` } });
      expect(rebooted.called.slice(0, 2)).toEqual(["fsck -F -p", "reboot -q"]);
    });

    test("an activation that fails: said, and a trial is over at once", () => {
      const more = { activate: "exit 3\n" };
      expect(launch(shell, { more })).toMatchObject({
        console: "garth: the activation failed\n",
        called: [...PREPARED, AGAIN, "one's"],
      });
      const trial = { "garth.trial": "600", "garth.system": `${scratch}/${count + 1}/item` };
      expect(launch(shell, { more, kenv: trial }).called).toContain("reboot -q");
    });
  });
}
