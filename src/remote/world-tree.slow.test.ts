/** The tree of a machine over a real sshd: what is part of a system comes whole, and of what is this one machine's nothing does. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { golden, problemOf } from "../base/testing.ts";
import { localHost, wholeScript } from "../host/index.ts";
import { type Connection, openVisit } from "./index.ts";
import { openTestHost, type TestHost } from "./testing.ts";
import { worldScript } from "./world-script.ts";
import { readWorld, type WorldWish } from "./world-tree.ts";

setDefaultTimeout(120_000);

let there: TestHost;
let connection: Connection;
let count = 0;

async function open(kind: "linux" | "freebsd", user: "root" | "user" = "root"): Promise<void> {
  there = await openTestHost({ kind, user });
  const options = { host: localHost(), runtimeDirectory: join(there.directory, "run"), environment: {}, configFile: "/dev/null" };
  connection = await openVisit(options, { ...there.wish, hostKey: there.hostKey });
}
const close = async (): Promise<void> => {
  await connection.close();
  await there.close();
};

const newFile = (): string => join(there.directory, `world-${(count += 1)}.tar`);
const read = (wish: Omit<WorldWish, "file">, file = newFile()) => readWorld(localHost(), connection, { ...wish, file });

/** As bsdtar lists it: mode, owner and group by number, name, and what it leads to. */
function listed(file: string): readonly string[] {
  const said = Bun.spawnSync(["bsdtar", "-tvf", file, "--numeric-owner"], { env: { LC_ALL: "C.UTF-8", PATH: "/usr/bin:/bin" } });
  expect(said.exitCode).toBe(0);
  const lines = said.stdout.toString().trimEnd().split("\n");
  return lines.map((line) => line.replace(/^(\S+)\s+\d+\s+(\d+)\s+(\d+)\s+\d+ \S+ +\d+ +\S+ /, "$1 $2 $3 ")).toSorted();
}
const namesIn = (file: string): readonly string[] => {
  const said = Bun.spawnSync(["bsdtar", "-tf", file], { env: { LC_ALL: "C.UTF-8", PATH: "/usr/bin:/bin" } });
  return said.stdout.toString().trimEnd().split("\n").toSorted();
};
const textIn = (file: string, name: string): string => Bun.spawnSync(["bsdtar", "-xOf", file, name]).stdout.toString();

/** One of everything; paths on the machine are below `top`. */
const TREE = `set -e
umask 022
mkdir -p bin boot/efi boot/kernel dev etc/ssh etc/ssl/private home/alice/.ssh jails/web proc root/.ssh tmp usr/bin usr/home/bob usr/lib/x usr/local/etc usr/obj/o usr/share \\
  var/log/app var/run/dhclient var/spool/mqueue var/tmp var/db/entropy var/empty var/cron/tabs sbin .snap
echo sh >bin/sh; chmod 4755 bin/sh; chown 0:5 bin/sh; chmod 4755 bin/sh
ln bin/sh sbin/also-sh
ln -s ../bin/sh usr/bin/sh
ln -s /nowhere 'usr/bin/to nowhere'; ln -s pid var/run/link
echo k >boot/kernel/kernel; chmod 555 boot/kernel/kernel
echo 'a b' >'usr/share/with a blank'; echo q >"usr/share/it's \\"q\\" \\$x *"; printf n >'usr/share/new
line'; echo b >"usr/share/$(printf '\\303\\251')"
mkdir -m 700 'usr/share/[x]?'; echo g >'usr/share/[x]?/in it'; mkdir usr/share/xy; echo stays >usr/share/xy/it
mkfifo usr/lib/x/fifo; mknod usr/lib/x/null c 1 3
perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => "usr/lib/x/socket", Listen => 1)'
chmod 555 var/empty; chmod 1777 tmp var/tmp
echo set >etc/rc.conf; chown 7:8 etc/rc.conf; chmod 640 etc/rc.conf
printf '# comment\\nroot:$6$hash:0:0::0:0:Charlie &:/root:/bin/sh\\ntoor::0:0::0:0::/:\\n' >etc/master.passwd; chmod 600 etc/master.passwd
printf 'root:$6$hash:1::\\ndaemon:*:1::\\n' >etc/shadow; chown 0:42 etc/shadow; chmod 640 etc/shadow
echo 'root:*:0:0:Charlie &:/root:/bin/sh' >etc/passwd
printf '/dev/md none swap sw,file=/usr/swap0 0 0\\n' >etc/fstab
for secret in etc/ssh/ssh_host_rsa_key etc/ssh/ssh_host_rsa_key.pub etc/spwd.db etc/pwd.db etc/hostid etc/machine-id etc/krb5.keytab etc/ssl/private/key.pem \\
  etc/shadow- entropy boot/entropy boot/efi/x home/alice/x root/.ssh/id root/.history usr/home/bob/x usr/obj/o/x var/db/entropy/1 var/cron/tabs/root \\
  var/run/pid var/tmp/x tmp/x proc/x dev/x var/log/app/log var/spool/mqueue/mail jails/web/x usr/swap0 .snap/x; do echo "secret $secret" >"$secret"; done
echo base >root/.profile; echo conf >etc/ssh/sshd_config`;

const EXPECTED = `drwxr-xr-x 0 0 ./
drwxr-xr-x 0 0 ./bin/
-rwsr-xr-x 0 5 ./bin/sh
drwxr-xr-x 0 0 ./boot/
drwxr-xr-x 0 0 ./boot/efi/
drwxr-xr-x 0 0 ./boot/kernel/
-r-xr-xr-x 0 0 ./boot/kernel/kernel
drwxr-xr-x 0 0 ./dev/
drwxr-xr-x 0 0 ./etc/
-rw-r--r-- 0 0 ./etc/fstab
-rw------- 0 0 ./etc/master.passwd
-rw-r--r-- 0 0 ./etc/passwd
-rw-r----- 7 8 ./etc/rc.conf
-rw-r----- 0 42 ./etc/shadow
drwxr-xr-x 0 0 ./etc/ssh/
-rw-r--r-- 0 0 ./etc/ssh/sshd_config
drwxr-xr-x 0 0 ./etc/ssl/
drwxr-xr-x 0 0 ./etc/ssl/private/
drwxr-xr-x 0 0 ./home/
drwxr-xr-x 0 0 ./proc/
drwxr-xr-x 0 0 ./root/
-rw-r--r-- 0 0 ./root/.profile
drwxr-xr-x 0 0 ./sbin/
hrwsr-xr-x 0 5 ./sbin/also-sh link to ./bin/sh
drwxrwxrwt 0 0 ./tmp/
drwxr-xr-x 0 0 ./usr/
drwxr-xr-x 0 0 ./usr/bin/
lrwxrwxrwx 0 0 ./usr/bin/sh -> ../bin/sh
lrwxrwxrwx 0 0 ./usr/bin/to nowhere -> /nowhere
drwxr-xr-x 0 0 ./usr/home/
drwxr-xr-x 0 0 ./usr/lib/
drwxr-xr-x 0 0 ./usr/lib/x/
drwxr-xr-x 0 0 ./usr/local/
drwxr-xr-x 0 0 ./usr/local/etc/
drwxr-xr-x 0 0 ./usr/obj/
drwxr-xr-x 0 0 ./usr/share/
-rw-r--r-- 0 0 ./usr/share/it's "q" $x *
-rw-r--r-- 0 0 ./usr/share/new\\nline
-rw-r--r-- 0 0 ./usr/share/with a blank
drwxr-xr-x 0 0 ./usr/share/xy/
-rw-r--r-- 0 0 ./usr/share/xy/it
-rw-r--r-- 0 0 ./usr/share/é
drwxr-xr-x 0 0 ./var/
drwxr-xr-x 0 0 ./var/cron/
drwxr-xr-x 0 0 ./var/cron/tabs/
drwxr-xr-x 0 0 ./var/db/
drwxr-xr-x 0 0 ./var/db/entropy/
dr-xr-xr-x 0 0 ./var/empty/
drwxr-xr-x 0 0 ./var/log/
drwxr-xr-x 0 0 ./var/log/app/
drwxr-xr-x 0 0 ./var/run/
drwxr-xr-x 0 0 ./var/run/dhclient/
drwxr-xr-x 0 0 ./var/spool/
drwxr-xr-x 0 0 ./var/spool/mqueue/
drwxrwxrwt 0 0 ./var/tmp/`.split("\n");

const withoutLinks = (lines: readonly string[]): readonly string[] =>
  lines.map((line) => line.replace(/^h/, "-").replace(/^(-rwsr-xr-x 0 5) .*$/, "$1 one of its names")).toSorted();

describe("a Linux machine", () => {
  let top: string;
  beforeAll(async () => {
    await open("linux");
    top = join(there.directory, "its top");
    fs.mkdirSync(top);
    there.look(`cd '${top}' && ${TREE}`);
  });
  afterAll(close);

  test("one of everything: owners, modes, links and odd names; and nothing of the machine's own", async () => {
    const file = newFile();
    const found = await read({ directory: top, without: ["usr/share/[x]?"] }, file);
    expect(withoutLinks(listed(file))).toEqual(withoutLinks(EXPECTED));
    expect(found).toMatchObject({ kernel: "Linux", release: undefined, members: EXPECTED.length, changed: [] });
    expect(found.left).toEqual(["directory jails"]);
    expect(fs.statSync(file).size).toBe(found.sizeBytes);
    const all = fs.readFileSync(file, "latin1");
    expect([all.includes("secret "), all.includes("$6$")]).toEqual([false, false]);
    expect(textIn(file, "./etc/shadow")).toBe("root:*:1::\ndaemon:*:1::\n");
    expect(textIn(file, "./etc/master.passwd")).toBe("# comment\nroot:*:0:0::0:0:Charlie &:/root:/bin/sh\ntoor:*:0:0::0:0::/:\n");
    expect(there.look("ls -d /tmp/garth-world.* 2>/dev/null || :")).toBe("");
  });

  test("a file system at a place of a base system belongs to it, another one does not", async () => {
    const overlay = (at: string): string =>
      `mkdir -p '${there.directory}/a' '${there.directory}/b' && echo x >'${there.directory}/a/mounted' && mkdir -p '${top}/${at}' && mount -t overlay -o ro overlay -o 'lowerdir=${there.directory}/a:${there.directory}/b' '${top}/${at}'`;
    there.look(overlay("usr/local"));
    there.look(overlay("usr/jails"));
    there.look(
      `mount -t tmpfs tmpfs '${top}/opt' 2>/dev/null || { mkdir '${top}/opt' && mount -t tmpfs tmpfs '${top}/opt'; } && echo x >'${top}/opt/mounted'`,
    );
    const file = newFile();
    const { left } = await read({ directory: top }, file);
    expect(namesIn(file).filter((name) => name.includes("mounted"))).toEqual(["./usr/local/mounted"]);
    expect(left).toEqual(["overlay usr/jails", "directory jails"]);
    there.look(`umount '${top}/usr/local' '${top}/usr/jails' '${top}/opt' && rmdir '${top}/opt' '${top}/usr/jails'`);
  });

  test("a path that is not there, and one that ends in a file", async () => {
    const problem = await problemOf(read({ directory: "/nowhere at all" }));
    expect([problem.code, problem.message]).toEqual(["E_WORLD_READ", expect.stringContaining("there is no such directory")]);
  });

  test("a file that changes all the time is told, and the world is made all the same", async () => {
    const growing = join(top, "usr/growing");
    const writer = Bun.spawn(["sh", "-c", 'exec 3>>"$1"; while :; do echo x >&3; done', "sh", growing], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    try {
      while (!fs.existsSync(growing)) await Bun.sleep(10);
      const file = newFile();
      const { changed } = await read({ directory: top }, file);
      expect(changed).toEqual(["usr/growing"]);
      expect(namesIn(file)).toContain("./usr/growing");
    } finally {
      writer.kill("SIGKILL");
      await writer.exited;
      fs.rmSync(growing);
    }
  });

  /** All that a reading of the machine has left here, but for what is whole. */
  const left = (): readonly string[] => fs.readdirSync(there.directory).filter((name) => /^world-.*[^r]$/.test(name));

  test("an archive that was not read whole is none: a machine that goes away, and somebody who has enough", async () => {
    fs.writeFileSync(join(top, "usr/large"), "");
    fs.truncateSync(join(top, "usr/large"), 4 * 1024 ** 3);
    const partOf = (file: string): number => fs.statSync(`${file}.part`, { throwIfNoEntry: false })?.size ?? 0;
    const begun = async (file: string): Promise<void> => {
      while (partOf(file) < 1_000_000) await Bun.sleep(10);
    };
    const lost = newFile();
    const losing = problemOf(read({ directory: top }, lost));
    await begun(lost);
    there.dropConnections();
    expect((await losing).code).toBe("E_HOST_LOST");
    const ended = newFile();
    const ending = new AbortController();
    const stopping = read({ directory: top, signal: ending.signal }, ended).catch((error: unknown) => error);
    await begun(ended);
    ending.abort(new Error("enough"));
    expect(String(await stopping)).toContain("enough");
    fs.rmSync(join(top, "usr/large"));
    expect([left(), fs.existsSync(lost), fs.existsSync(ended)]).toEqual([[], false, false]);
    there.look('until [ -z "$(ls -d /tmp/garth-world.* 2>/dev/null)" ]; do sleep 0.1; done');
  });
});

test("what a person may not read is told, and no world is made of the rest", async () => {
  await open("linux", "user");
  try {
    const top = join(there.directory, "top");
    fs.mkdirSync(join(top, "usr/secret"), { recursive: true });
    fs.chmodSync(join(top, "usr/secret"), 0o700);
    const problem = await problemOf(read({ directory: top }));
    expect([problem.code, problem.message]).toEqual(["E_WORLD_READ", expect.stringContaining("part of it cannot be read")]);
    expect(problem.details?.join("\n")).toContain("usr/secret");
    fs.chmodSync(join(top, "usr/secret"), 0o755);
    fs.writeFileSync(join(top, "usr/secret/file"), "x", { mode: 0o600 });
    const second = await problemOf(read({ directory: top }));
    fs.rmSync(join(top, "usr/secret"), { recursive: true });
    fs.mkdirSync(join(top, "etc"));
    fs.writeFileSync(join(top, "etc/master.passwd"), "root:*:0:0::0:0::/root:/bin/sh\n", { mode: 0o600 });
    const third = await problemOf(read({ directory: top }));
    expect([third.code, third.details]).toEqual(["E_WORLD_READ", ["etc/master.passwd: Permission denied"]]);
    expect([second.code, second.message]).toEqual(["E_WORLD_READ", expect.stringContaining("3 of 4 paths came")]);
  } finally {
    await close();
  }
});

describe("a stand-in for FreeBSD", () => {
  beforeAll(() => open("freebsd"));
  afterAll(close);

  test("its root is a world: its programs, its accounts, nothing of its own", async () => {
    there.look(
      "echo 'root:$6$x:0:0::0:0:Charlie &:/root:/bin/sh' >/etc/master.passwd; touch /etc/spwd.db; mkdir -p /data; touch /data/x",
    );
    const file = newFile();
    const found = await read({}, file);
    expect(found).toMatchObject({ kernel: "FreeBSD", release: "15.1-RELEASE", changed: [] });
    expect(found.left).toContain("directory data");
    const names = new Set(namesIn(file));
    for (const name of [
      "./",
      "./bin/sh",
      "./libexec/ld-elf.so.1",
      "./etc/master.passwd",
      "./boot/kernel/zfs.ko",
      "./var/empty/",
    ]) {
      expect([name, names.has(name)]).toEqual([name, true]);
    }
    for (const name of ["./data/x", "./etc/spwd.db", "./dev/null", "./.standin/mounts"]) expect(names.has(name)).toBe(false);
    expect(textIn(file, "./etc/master.passwd")).toBe("root:*:0:0::0:0:Charlie &:/root:/bin/sh\n");
    expect(there.look("ls /tmp")).toBe("");
  });
});

test("the script is what it was, and shells take it", () => {
  const body = worldScript({ directory: "/it's /here", without: ["usr/share/doc", "a*[b]?\\c"] });
  expect(body).toBe(golden(join(import.meta.dir, "golden/store/world.sh"), body));
  for (const shell of [["dash"], ["busybox", "sh"]]) {
    const said = Bun.spawnSync([...shell, "-n"], { stdin: Buffer.from(wholeScript(body)) });
    expect([said.exitCode, said.stderr.toString()]).toEqual([0, ""]);
  }
  const said = Bun.spawnSync(["shellcheck", "-s", "sh", "-"], { stdin: Buffer.from(`#!/bin/sh\n${body}`) });
  expect(said.stdout.toString()).toBe("");
});
