/** The host's own tree as a world: taken in over SSH by the command that people type, held to what the host says of it, and cut into slices. */
import { existsSync, lstatSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../../src/base/index.ts";
import { parseAttributes } from "../../src/world/index.ts";
import type { Case, Suite, Trial } from "../case.ts";
import { keepLiveWorld, liveProject, liveWorld, type LiveWorld } from "../live.ts";

export const TAKEN_IN = "world: the tree of the host, over SSH, with owners, modes and contents as they are there";
export const SLICED = "world: its four slices: the runtime boots to ready, and has neither /boot nor headers nor manuals";

/** Of what its keeper installed there, and of what no slice takes: larger than all the rest, and another system's. */
const WITHOUT = ["usr/local", "usr/lib/debug", "usr/freebsd-dist", "var/db/pkg"];
const LIMIT_MS = 60 * 60_000;

const physical = (suite: Suite, item: string): string => join(suite.here, "garth", item);

async function takeIn(trial: Trial, suite: Suite, name: string, without: readonly string[]): Promise<LiveWorld> {
  const { garth } = await suite.ours();
  const identity = suite.identityFile === undefined ? [] : ["--identity", suite.identityFile];
  const words = ["world", "import", suite.url, ...identity, "--host-key", suite.hostKey, "--name", name];
  const said = await garth(trial, [...words, "--without", without.join(","), "--json"], { limitMs: LIMIT_MS });
  trial.must(`the tree is taken in as ${name}`, said.status === 0, said.stdout.slice(0, 4_000) || said.stderr);
  const world: LiveWorld = JSON.parse(said.stdout);
  trial.note(
    `${world.path}: ${world.entries} paths, ${Math.round(world.sizeBytes / 1e6)} MB, in ${said.seconds.toFixed(0)} s; ` +
      `changed meanwhile: ${world.changed.join(" ") || "nothing"}; left out: ${world.left.join(", ") || "nothing"}`,
  );
  return world;
}

/** Set-id programs, odd owners, odd modes, and what a boot needs. */
const SAMPLE =
  "bin bin/sh sbin/init lib/libc.so.7 libexec/ld-elf.so.1 usr/bin/su usr/bin/passwd usr/bin/login usr/bin/at usr/bin/write usr/bin/crontab usr/bin/lock " +
  "usr/sbin/sshd usr/sbin/chown usr/sbin/mtree usr/bin/env usr/libexec/sshd-session etc etc/rc etc/rc.d/sshd etc/master.passwd etc/passwd etc/group " +
  "etc/ssh etc/login.conf etc/ntp tmp var/tmp var/empty var/db var/mail var/cron var/cron/tabs var/audit root root/.profile boot/kernel/kernel boot/loader.efi";

/** What boots to ready: of these, a slice has what the host has. */
const BOOTS =
  "bin/sh bin/ps bin/mkdir bin/mv bin/cp bin/kenv bin/cat bin/sleep sbin/init sbin/rcorder sbin/mount sbin/fsck sbin/fsck_ffs sbin/fsck_ufs sbin/dhclient " +
  "sbin/ifconfig sbin/ldconfig sbin/sysctl sbin/devd sbin/reboot sbin/kldload sbin/sha256 sbin/md5 libexec/ld-elf.so.1 lib/libc.so.7 usr/sbin/sshd " +
  "usr/libexec/sshd-session usr/libexec/sshd-auth usr/libexec/sftp-server usr/libexec/getty usr/bin/login usr/bin/ssh-keygen usr/sbin/pwd_mkdb " +
  "usr/bin/cap_mkdb usr/sbin/daemon usr/sbin/service usr/bin/sockstat usr/bin/awk usr/bin/sed usr/bin/sort usr/bin/cmp usr/bin/find usr/bin/readlink " +
  "usr/sbin/chown usr/sbin/chroot usr/bin/env usr/sbin/newsyslog usr/sbin/syslogd usr/sbin/cron etc/rc etc/rc.subr etc/network.subr etc/rc.d/sshd " +
  "etc/rc.d/root etc/defaults/rc.conf etc/ttys etc/login.conf etc/gettytab etc/devd.conf etc/mtree/BSD.var.dist usr/share/zoneinfo/UTC var/empty";

/** shared/seeds: what the runtime slice is pruned of at least. */
const NOT_IN_RUNTIME =
  "boot usr/include usr/share/doc usr/share/examples usr/share/info usr/share/man usr/share/mk usr/tests usr/lib/debug rescue usr/src usr/obj";

const SECRET =
  /^(?:etc\/ssh\/ssh_host_|etc\/spwd\.db$|etc\/pwd\.db$|etc\/hostid$|entropy$|boot\/entropy$|.*\.keytab$|(?:.*\/)?\.ssh$|frx\/)/;

export const worldCases: readonly Case[] = [
  {
    name: TAKEN_IN,
    only: "freebsd",
    limitMs: LIMIT_MS,
    run: async (trial, suite) => {
      const world = await takeIn(trial, suite, "live", WITHOUT);
      keepLiveWorld(suite, world);
      const tree = physical(suite, world.path);
      trial.equal("its kernel", world.kernel, "FreeBSD");
      trial.equal("its label is the release of the host", world.label, suite.host.release);
      const attributes = parseAttributes(readFileSync(join(tree, ".garth/attributes"), "utf8"), "attributes");
      const asked = await trial.sh(
        `cd / && for f in ${SAMPLE}; do [ ! -e "$f" ] || { printf '%s ' "$f"; stat -f '%p %u %g' "$f"; }; done`,
      );
      const lines = asked.stdout.trimEnd().split("\n");
      trial.ok("the host knows most of the sample", lines.length >= 10, lines.length);
      for (const line of lines) {
        const [path = "", mode = "", uid = "", gid = ""] = line.split(" ");
        const whole = join(tree, path);
        if (!trial.ok(`${path} is there`, existsSync(whole))) continue;
        const stat = lstatSync(whole);
        // A symlink is followed there, and stands for itself here.
        if (stat.isSymbolicLink()) continue;
        const usual = stat.isDirectory() || (stat.mode & 0o111) !== 0 ? 0o755 : 0o644;
        const found = attributes.get(path) ?? { mode: usual, uid: 0, gid: 0 };
        trial.equal(
          `mode, owner and group of /${path}`,
          [(found.mode & 0o7777).toString(8), found.uid, found.gid],
          [(Number.parseInt(mode, 8) & 0o7777).toString(8), Number(uid), Number(gid)],
        );
      }
      const digests = await trial.sh(
        `cd / && for f in bin/sh sbin/init lib/libc.so.7 libexec/ld-elf.so.1 usr/sbin/sshd etc/rc etc/passwd boot/kernel/kernel boot/loader.efi; do
  [ ! -f "$f" ] || echo "$f $(sha256 -q "$f")"
done`,
      );
      for (const line of digests.stdout.trimEnd().split("\n")) {
        const [path = "", digest = ""] = line.split(" ");
        const whole = join(tree, path);
        if (existsSync(whole)) trial.equal(`the contents of /${path}`, sha256(readFileSync(whole)), digest);
      }
      const listed = [...attributes.keys()];
      trial.equal(
        "nothing of the host's own in what is unusual",
        listed.filter((path) => SECRET.test(path)),
        [],
      );
      for (const path of [
        "etc/ssh/ssh_host_rsa_key",
        "etc/ssh/ssh_host_ed25519_key",
        "etc/spwd.db",
        "etc/hostid",
        "entropy",
        "root/.ssh",
      ])
        trial.ok(`/${path} is not there`, !existsSync(join(tree, path)));
      if (existsSync(join(tree, "etc/master.passwd"))) {
        const accounts = readFileSync(join(tree, "etc/master.passwd"), "utf8").split("\n");
        const withPasswords = accounts.filter((line) => /^[A-Za-z_]/.test(line) && line.split(":")[1] !== "*");
        trial.equal("no account has a password", withPasswords.length, 0);
      }
    },
  },
  {
    name: SLICED,
    only: "freebsd",
    needs: [TAKEN_IN],
    limitMs: 20 * 60_000,
    run: async (trial, suite) => {
      const project = liveProject(trial, suite);
      const { garth } = await suite.ours();
      const said = await garth(trial, ["world", "slice", "./garth.ts#live", "--json"], { cwd: project });
      trial.must("it is cut", said.status === 0, said.stderr);
      const cut: {
        slices: readonly { role: string; path: string; entries: number; sizeBytes: number }[];
        overlaps: readonly unknown[];
      } = JSON.parse(said.stdout);
      for (const { role, path, entries, sizeBytes } of cut.slices)
        trial.note(`${role}: ${entries} paths, ${Math.round(sizeBytes / 1e6)} MB, ${path}`);
      trial.equal(
        "the roles",
        cut.slices.map(({ role }) => role),
        ["kernel", "boot", "runtime", "development"],
      );
      trial.equal("no path is in two slices", cut.overlaps, []);
      const has = (role: string, path: string): boolean =>
        lstatSync(physical(suite, join(cut.slices.find((slice) => slice.role === role)?.path ?? "", path)), {
          throwIfNoEntry: false,
        }) !== undefined;
      const there = await trial.sh(`cd / && for f in ${BOOTS}; do [ ! -e "$f" ] || echo "$f"; done`);
      const boots = there.stdout.trimEnd().split("\n");
      trial.note(`${boots.length} of ${BOOTS.split(" ").length} of what boots are on the host`);
      trial.equal(
        "what boots to ready, and is on the host, is in the runtime",
        boots.filter((path) => !has("runtime", path)),
        [],
      );
      trial.equal(
        "what is not needed is not",
        NOT_IN_RUNTIME.split(" ").filter((path) => has("runtime", path)),
        [],
      );
      const loader = await trial.sh(
        `cd / && for f in boot/kernel/kernel boot/loader.efi boot/lua/loader.lua boot/defaults/loader.conf boot/device.hints; do [ ! -e "$f" ] || echo "$f"; done`,
      );
      for (const path of loader.stdout
        .trimEnd()
        .split("\n")
        .filter((line) => line !== ""))
        trial.ok(`${path} is in its slice`, has(path.startsWith("boot/kernel/") ? "kernel" : "boot", path));
    },
  },
  {
    name: "world: taken in again, what has not changed is the same item",
    only: "freebsd",
    needs: [SLICED],
    limitMs: LIMIT_MS,
    run: async (trial, suite) => {
      const first = liveWorld(trial, suite);
      // All but what the kernel and the loader are: that is small, and what one boots does not change by itself.
      const tops = "bin etc lib libexec opt rescue root sbin usr var compat home media mnt net proc sys".split(" ");
      const second = await takeIn(trial, suite, "again", tops);
      trial.ok("it is another world", second.path !== first.path, second.path);
      const { garth } = await suite.ours();
      const slice = async (item: string, role: string, keep: string): Promise<string> => {
        const said = await garth(trial, ["world", "slice", item, "--name", "part", "--role", role, "--keep", keep, "--json"]);
        trial.must(`${role} is cut from ${item}`, said.status === 0, said.stderr);
        const cut: { slices: readonly { path: string }[] } = JSON.parse(said.stdout);
        return cut.slices[0]?.path ?? "";
      };
      for (const [role, keep] of [
        ["kernel", "boot/kernel"],
        ["boot", "boot/loader.efi,boot/lua,boot/defaults,boot/device.hints"],
      ] as const) {
        // Slices name the world that they were cut from: their contents are held to each other, not their names.
        const [left, right] = [await slice(first.path, role, keep), await slice(second.path, role, keep)];
        const compared = await garth(trial, ["store", "diff", left, right, "--json"]);
        const differences: readonly { readonly file: string }[] = JSON.parse(compared.stdout || "[]");
        trial.equal(
          `${role} is the same in both`,
          differences.map(({ file }) => file).filter((file) => !file.startsWith(".garth")),
          [],
        );
      }
    },
  },
];
