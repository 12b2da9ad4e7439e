/** The stand-in for FreeBSD behaves as its manual pages and sources say, where our scripts lean on it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { openTestHost, type TestHost } from "./testing.ts";

let host: TestHost;
beforeAll(async () => {
  host = await openTestHost({ kind: "freebsd" });
});
afterAll(() => host.close());

/** What a line says on both streams, and its status behind. */
const say = (line: string): string => host.look(`{ ${line}\n} 2>&1; echo "=$?"`).trimEnd();

describe("tools", () => {
  test("say that it is FreeBSD 15.1", () => {
    expect(
      say("uname -s; uname -m; uname -r; uname -U; freebsd-version; sysctl -n kern.osreldate; sysctl -n security.jail.jailed"),
    ).toBe("FreeBSD\namd64\n15.1-RELEASE\n1501000\n15.1-RELEASE\n1501000\n0\n=0");
    expect(say("sysctl -n hw.nothing")).toBe("sysctl: unknown oid 'hw.nothing'\n=1");
  });

  test("are those of the base system and no others", () => {
    expect(
      say("for t in bash sudo rsync python3 perl cc gcc gmake setpriv flock bwrap dpkg nsenter unshare; do command -v $t; done"),
    ).toBe("=127");
    expect(say("command -v tar mtree jail lockf sha256 chroot nc")).toBe("/usr/bin/tar\n=0");
    expect(say("tar --version | cut -c1-6; mtree -C -p /etc/ssh -k type >/dev/null")).toBe("bsdtar\n=0");
  });

  for (const [line, word] of [
    ["cp --reflink=auto /etc/passwd /tmp/x", "illegal option"],
    ["stat -c %a /etc", "illegal option -- c"],
    ["date -d now", "illegal option -- d"],
    ["mktemp -d --suffix=x", "illegal option"],
    ["find /etc -printf x", "unknown primary"],
    ["find -name x", "illegal option"],
    ["xargs -d x", "illegal option"],
    ["readlink -e /etc", "illegal option"],
    ["head -n -1 /etc/passwd", "illegal line count"],
    ["du -b /etc", "illegal option"],
    ["rctl -a jail:x:maxproc:deny=1", "RACCT/RCTL present, but disabled; enable using kern.racct.enable=1 tunable"],
    ["kldstat -q -m nothing", ""],
  ] as const) {
    test(`${line}: refused`, () => expect(say(line)).toMatch(new RegExp(`${word}[^]*=[1-9]`)));
  }

  test("sed -i takes the next word for its suffix", () => {
    expect(say("cd /tmp && echo a >f && sed -i '' s/a/b/ f && cat f && sed -i s/b/c/ f")).toMatch(/^b\n[^]*=[1-9]$/);
  });

  test("options end at the first operand", () => {
    expect(say("cd /tmp && mkdir d && rm d -r; ls -d d")).toMatch(/cannot remove 'd'[^]*cannot remove '-r'[^]*\nd\n=0$/);
  });

  test("wc has columns, xargs runs nothing for nothing, head takes more than it gives", () => {
    expect(say("printf 'a b\\n' | wc; printf 'a\\n' | wc -l; printf 'a' >/tmp/w; wc -c /tmp/w")).toBe(
      "       1       2       4\n       1\n       1 /tmp/w\n=0",
    );
    expect(say(": | xargs echo ran")).toBe("=0");
    expect(say("printf 'ab\\nrest\\n' | { head -c 1; cat; }; echo")).toBe("a\n=0");
  });

  test("stat, sha256, df, ps and limits speak its dialect", () => {
    expect(say("ln -s /etc/passwd /tmp/l; stat -f '%HT:%Lp:%p:%z:%Y:%N' /tmp/l; stat -L -f '%HT %Su %u %OLp' /tmp/l")).toBe(
      "Symbolic Link:777:120777:11:/etc/passwd:/tmp/l\nRegular File root 0 644\n=0",
    );
    expect(say("printf a | sha256; sha256 -q /dev/null; cd /tmp; : >e; sha256 e")).toMatch(
      /^ca978[0-9a-f]{59}\ne3b0c[0-9a-f]{59}\nSHA256 \(e\) = e3b0c[0-9a-f]{59}\n=0$/,
    );
    expect(say("df -k /tmp | head -n 1; df -k /tmp | tail -n 1")).toMatch(
      /^Filesystem +1024-blocks +Used +Avail +Capacity +Mounted on\n\/dev\/gpt\/rootfs +\d+ +\d+ +\d+ +\d+% +\/\n=0$/,
    );
    expect(say("ps -o pid= -o state= -o lstart= -p 1")).toMatch(
      /^ +1 I +[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\n=0$/,
    );
    expect(say("ps -o pid= -p 99999")).toBe("=1");
    expect(say("limits -n 77 -c 0 -u 500 -f 10k -v 4g sh -c 'ulimit -n; ulimit -f'")).toBe("77\n20\n=0");
  });

  test("lockf keeps others out, and takes the file away", () => {
    expect(say("cd /tmp; lockf -k lock lockf -k -s -t 0 lock true")).toBe("=75");
    expect(say("cd /tmp; lockf -t 0 gone sh -c 'test -f gone; exit 3'; echo $?; ls gone")).toMatch(/^3\n[^]*No such file/);
    expect(say("cd /tmp; lockf -k lock lockf -t 0 lock true")).toBe("lockf: lock: already locked\n=75");
  });

  test("busybox for sh has none of its own tools", async () => {
    await using other = await openTestHost({
      kind: "freebsd",
      sh: "busybox",
      without: ["/usr/bin/nc"],
      sysctl: { "hw.ncpu": "3" },
    });
    expect(
      other.look(
        "PATH=/none; ls 2>&1 || :; PATH=/bin; cp --help 2>&1 || :; /sbin/sysctl -n hw.ncpu; [ -e /usr/bin/nc ] || echo gone",
      ),
    ).toMatch(/^\/bin\/sh: .*not found\ncp: illegal option -- -\n[^]*3\ngone\n$/);
  });
});

const CONF = `"j-1" { path = "/frx/a b/root"; host.hostname = "garth-x"; persist; enforce_statfs = 2; ip4 = disable; ip6 = disable;
  children.max = 0; allow.noset_hostname; allow.nomount; mount.devfs; devfs_ruleset = 4; mount.fstab = "/frx/a b/fstab"; }
"odd" { path = "/frx/a b/root"; persist; no.such = 1; }
`;
/** A jail by hand. */
const SET_UP = `cd '/frx/a b'
jail() { /usr/sbin/jail -f '/frx/a b/jail.conf' "$@"; }
inside() { jexec j-1 /usr/sbin/chroot -u 35001 -g 35001 -G 35001 / /bin/sh -c "$@"; }
`;

describe("jails", () => {
  beforeAll(() => {
    host.look(`mkdir -p '/frx/a b/skeleton' '/frx/a b/root' && cd '/frx/a b/skeleton' &&
      mkdir -p dev tmp bin lib libexec usr/bin usr/libexec usr/sbin && cp -p /usr/sbin/chroot usr/sbin/chroot && install -d -o 35001 -g 35001 ../tmp`);
    const line = (from: string, to: string, how: string): string => `${from} /frx/a\\040b/root${to} nullfs ${how} 0 0\n`;
    const view = ["/bin", "/lib", "/libexec", "/usr/bin", "/usr/libexec"].map((path) => line(path, path, "ro"));
    const fstab = [line("/frx/a\\040b/skeleton", "", "ro"), ...view, line("/frx/a\\040b/tmp", "/tmp", "rw")];
    writeFileSync(host.path("/frx/a b/fstab"), fstab.join(""));
    writeFileSync(host.path("/frx/a b/jail.conf"), CONF);
  });

  test("made, entered, removed; nothing is left", () => {
    const before = say("mount -p; jls");
    expect(say(`${SET_UP}jail -c j-1; jail -q -c j-1`)).toBe('j-1: created\njail: "j-1" already exists\n=1');
    expect(say("jls -q -j j-1 path name; jls name host.hostname; jls -j other jid")).toBe(
      '"/frx/a b/root" j-1\nj-1 garth-x\njls: jail "other" not found\n=1',
    );
    // Names as they are; one blank behind a long one.
    const table = say("mount -p");
    expect(table).toContain("\n/frx/a b/skeleton\t/frx/a b/root\t\tnullfs\tro\t\t0 0\n");
    expect(table).toContain("\n/usr/libexec\t\t/frx/a b/root/usr/libexec nullfs\tro\t\t0 0\n");
    expect(say(`${SET_UP}inside 'id; hostname; ls /dev; exit 7'`)).toBe(
      "uid=35001 gid=35001 groups=35001\ngarth-x\nfd\nnull\nrandom\nurandom\nzero\n=7",
    );
    expect(say(`${SET_UP}inside 'echo x >/tmp/x && cat /tmp/x; echo x >/bin/x'`)).toMatch(/^x\n.*Read-only file system\n=[12]$/);
    expect(say(`${SET_UP}inside 'nc -z 127.0.0.1 ${host.port}'`)).toBe("=1");
    expect(say(`nc -z 127.0.0.1 ${host.port}`)).toBe("=0");
    expect(say(`${SET_UP}inside 'kill -9 $$'`)).toMatch(/=137$/);
    expect(say("jexec -U user j-1 /bin/sh")).toBe("jexec: getpwnam: user: No such file or directory\n=1");
    expect(say("umount '/frx/a b/root'; umount /frx; umount /nowhere")).toBe(
      "umount: unmount of /frx/a b/root failed: Device busy\numount: /frx: not a file system root directory\n" +
        "umount: /nowhere: statfs: No such file or directory\numount: /nowhere: unknown file system\n=1",
    );
    expect(say(`${SET_UP}jail -r j-1; jail -r j-1; jail -q -r j-1`)).toBe('j-1: removed\njail: "j-1" not found\n=1');
    expect(say("mount -p; jls")).toBe(before);
  });

  test("made at one time each has a number of its own", () => {
    const said = say(`for n in 1 2 3 4 5 6 7 8 9 10 11 12; do jail -q -c name=k-$n path=/ persist & done; wait
jls jid | sort -u | wc -l | tr -d ' '; for n in 1 2 3 4 5 6 7 8 9 10 11 12; do jail -r k-$n; done; jls name`);
    expect(said).toBe("12\n=0");
  });

  test("removal tells processes to end, and ends them", () => {
    const said =
      say(`${SET_UP}jail -qc j-1; inside "trap 'echo told; exit 0' TERM; echo up >/tmp/up; while :; do sleep 0.1; done" &
      until [ -s tmp/up ]; do sleep 0.05; done; rm tmp/up; ps -J j-1 -o comm= | sort -u; jail -qr j-1; wait; mount -p | grep -c nullfs`);
    expect(said).toMatch(/^sh\n[^]*told\n[^]*0\n=1$/);
  });

  test("a jail that is in use lets nothing of it be unmounted, but by force and deepest first", () => {
    expect(
      say(`${SET_UP}jail -qc j-1; exec 5<'/frx/a b/root/tmp/.'; jail -qr j-1; umount '/frx/a b/root/tmp'; umount '/frx/a b/root'; umount -f '/frx/a b/root/tmp'
        umount '/frx/a b/root' && mount -p | grep -c nullfs`),
    ).toBe(
      "umount: unmount of /frx/a b/root/tmp failed: Device busy\numount: unmount of /frx/a b/root failed: Device busy\n" +
        "umount: unmount of /frx/a b/root/tmp failed: Device busy\numount: unmount of /frx/a b/root failed: Device busy\n0\n=1",
    );
  });

  test("what jail(8) refuses", () => {
    expect(say(`${SET_UP}jail -c odd`)).toMatch(/jail: odd: unknown parameter: no\.such\n=1$/);
    expect(say(`${SET_UP}jail -c missing`)).toBe('jail: "missing" not found\n=1');
    expect(
      say(
        `${SET_UP}rmdir skeleton/tmp; ln -s /etc skeleton/tmp; jail -c j-1; rm skeleton/tmp; jail -c j-1; mkdir skeleton/tmp; mount -p | grep -c frx`,
      ),
    ).toBe(
      "jail: j-1: mount.fstab: /frx/a b/root/tmp is a symbolic link\n" +
        "jail: j-1: mount.fstab: /frx/a b/root/tmp: No such file or directory\n0\n=1",
    );
    expect(say("/usr/sbin/jail -c name=n path=/nowhere persist")).toBe("jail: n: path /nowhere: No such file or directory\n=1");
    // The status of a command does not come through.
    expect(say("/usr/sbin/jail -qc name=n path=/ persist command=/bin/sh -c 'exit 7'")).toBe(
      "jail: /bin/sh -c exit 7: failed\n=1",
    );
    expect(say("mount_nullfs /bin /nowhere")).toBe("mount_nullfs: /nowhere: No such file or directory\n=64");
  });

  test("power that is lost takes jails and mounts with it, and not files", async () => {
    expect(say(`${SET_UP}jail -qc j-1; echo kept >tmp/kept`)).toBe("=0");
    await host.reboot();
    expect(say("jls name; mount -p | grep -c nullfs; cat '/frx/a b/tmp/kept'")).toBe("0\nkept\n=0");
  });
});

describe("over ssh", () => {
  const ssh = (commandLine: string, to = host): string => {
    const said = Bun.spawnSync([...to.clientWords, commandLine]);
    return `${said.stdout.toString()}${said.stderr.toString()}=${said.exitCode}`;
  };

  test("root has its groups, and keeps them without -G", () => {
    expect(ssh("id; chroot -u 35001 -g 35001 / id; chroot -u 35001 -g 35001 -G 35001 / id")).toBe(
      "uid=0(root) gid=0(wheel) groups=0(wheel),5(operator)\nuid=35001 gid=35001 groups=35001,0(wheel),5(operator)\n" +
        "uid=35001 gid=35001 groups=35001\n=0",
    );
  });

  test("calls are recorded", () => {
    const before = host.recorded().length;
    ssh("cat /dev/null; jls -q path");
    expect(host.recorded().slice(before)).toEqual(["cat /dev/null", "jls -q path"]);
  });

  test("csh for a login shell", async () => {
    await using other = await openTestHost({ kind: "freebsd", shell: "/bin/csh" });
    expect(ssh("echo $version | cut -d ' ' -f 1; id -u", other)).toBe("tcsh\n0\n=0");
  });
});
