/**
 * A root that stands in for FreeBSD 15.1's, on Linux: a directory in which there is nothing but what its base system has, by the names and at
 * the places that it has them. Programs are of four kinds:
 *
 *     the same program       sh (dash; or busybox), csh, tar (bsdtar), mtree, make (bmake), xz, zstd, openssl, sshd
 *     GNU's behind a shim    cp, rm, sed, find, ...: standin/shim.sh refuses what FreeBSD's do not know
 *     emulated               standin/*.pl: jail, jls, jexec, chroot, mount, umount, stat, ps, lockf, limits, sysctl, ...
 *     not there              bash, sudo, rsync, python, cc and all else
 *
 * All but the first are recorded. Binaries are Linux's own with /libexec/ld-elf.so.1 for their loader, so that a view of /lib, /libexec, /bin
 * and /usr/libexec is enough to run them, as on FreeBSD. The warts: what the emulation is made of lies in /usr/libexec/standin, the state of
 * the "kernel" in /.standin, and sshd's own directory in /run.
 *
 * A jail is: the path of its root, its own network (none), host name and IPC, given to each process that jexec(8) puts there; by the namespace
 * of the host name it is known who is inside. Nullfs is a bind mount, devfs a tmpfs with four devices.
 *
 * What a test over it does not prove: anything of FreeBSD's kernel (whether a mount over nullfs is allowed, what enforce_statfs hides, that
 * a jail cannot be left, devfs rulesets, racct, how soon a removed jail lets go of its mounts); that its tools take an option that GNU's of the
 * same letter take and the shim passes; the exact words of an error that is not in jail(8), mount(8), umount(8) or jls(8); its sh(1), which
 * is dash's cousin; signals and process groups where timeout(1) differs; and anything about time. A jail here has no PID namespace, as FreeBSD's
 * has none; but unlike there its processes could signal those of the same number outside. What a tool says of a write to a
 * read-only mount is Linux's word ("Read-only file system" for everybody), and /dev/stdout is not there.
 */
import * as fs from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";

const SOURCES = join(import.meta.dir, "standin");
const TOOLS = "/usr/libexec/standin";
const LOADER = "/libexec/ld-elf.so.1";

/** GNU's, behind the shim, by where FreeBSD has them. */
const SHIMMED = {
  "/bin": "[ cat chmod cp date dd echo expr hostname kill link ln ls mkdir mv pwd realpath rm rmdir sleep stty sync test unlink",
  "/usr/bin":
    "awk basename chgrp cksum cmp comm cut diff dirname du egrep env false fgrep find fold grep gzip id install join logname mkfifo " +
    "mktemp nice nl nohup od openssl paste printf readlink sed seq sort split tail tar tee timeout touch tr true truncate tsort tty uniq " +
    "wc xargs xz zstd",
  "/usr/sbin": "chown mtree",
} as const;
/** The file in standin/ and those that it is. */
const EMULATED: Readonly<Record<string, string>> = {
  "chroot.pl": "/usr/sbin/chroot",
  "df.pl": "/bin/df",
  "digest.pl": "/sbin/md5 /sbin/sha1 /sbin/sha256 /sbin/sha512 /sbin/sha256sum",
  "head.pl": "/usr/bin/head",
  "jail.pl": "/usr/sbin/jail",
  "jexec.pl": "/usr/sbin/jexec",
  "jls.pl": "/usr/sbin/jls",
  "limits.pl": "/usr/bin/limits",
  "lockf.pl": "/usr/bin/lockf",
  "mount.pl": "/sbin/mount /sbin/mount_nullfs",
  "nc.pl": "/usr/bin/nc",
  "pgrep.pl": "/bin/pgrep /bin/pkill",
  "ps.pl": "/bin/ps",
  "small.pl":
    "/usr/bin/uname /bin/freebsd-version /bin/chflags /sbin/kldstat /sbin/kldload /usr/bin/lsvfs /usr/bin/rctl /sbin/devfs /sbin/ifconfig " +
    "/sbin/zfs /sbin/zpool /usr/sbin/bhyve /usr/sbin/bhyvectl /usr/sbin/pkg /usr/sbin/service /usr/sbin/sysrc /usr/sbin/daemon " +
    "/usr/sbin/pwd_mkdb /sbin/mdconfig /sbin/newfs /usr/bin/cpuset /usr/bin/procstat /usr/bin/fstat /usr/bin/sockstat",
  "stat.pl": "/usr/bin/stat",
  "sysctl.pl": "/sbin/sysctl",
  "umount.pl": "/sbin/umount",
};
/** What Debian calls otherwise. */
const CALLED: Readonly<Record<string, string>> = { tar: "bsdtar", awk: "mawk" };
/** What stand-ins are made of. */
const HELPERS = ["perl", "prlimit", "mknod", "stat", "tr", "sed", "md5sum", "sha1sum", "sha256sum", "sha512sum"];
const BOOT_FILES =
  "/boot/defaults/loader.conf /boot/device.hints /boot/kernel/kernel /boot/loader.efi /boot/lua/loader.lua /usr/include/stdio.h /usr/share/mk/sys.mk";
const DIRECTORIES =
  "/.standin/jails /.standin/proc /bin /boot/kernel /dev /etc/ssh /lib /libexec /media /mnt /net /proc /rescue /root /run/sshd /sbin /tmp /usr/bin " +
  "/usr/lib /usr/libdata /usr/libexec /usr/local /usr/sbin /usr/share /usr/home/user /var/db /var/empty /var/log /var/run /var/tmp";

export interface StandInOptions {
  /** What /bin/sh is. */
  readonly sh: "dash" | "busybox";
  readonly shell: string;
  /** Above what sysctl(8) says otherwise: { "kern.racct.enable": "1" }. */
  readonly sysctl?: Readonly<Record<string, string>>;
  /** Paths that are not there: "/usr/bin/rctl". */
  readonly without?: readonly string[];
}

/** Makes the root at `root`, which is not there yet. */
export function makeStandIn(root: string, options: StandInOptions): void {
  const at = (path: string): string => join(root, path);
  for (const path of DIRECTORIES.split(" ")) fs.mkdirSync(at(path), { recursive: true });
  // What kldload would find.
  for (const name of ["nullfs", "tmpfs", "vmm", "zfs"]) fs.writeFileSync(at(`/boot/kernel/${name}.ko`), "");
  // What a world of it is cut into slices by.
  for (const path of BOOT_FILES.split(" ")) {
    fs.mkdirSync(at(path).replace(/\/[^/]*$/, ""), { recursive: true });
    fs.writeFileSync(at(path), `${path}\n`);
  }
  fs.mkdirSync(at(TOOLS));
  for (const path of ["/tmp", "/var/tmp"]) fs.chmodSync(at(path), 0o1777);
  const binaries = new Map<string, string>();
  const real = (name: string): void => void binaries.set(`${TOOLS}/${name}`, find(CALLED[name] ?? name));
  for (const [directory, names] of Object.entries(SHIMMED)) {
    for (const name of names.split(" ")) {
      real(name);
      fs.copyFileSync(join(SOURCES, "shim.sh"), at(`${directory}/${name}`));
    }
  }
  for (const name of HELPERS) real(name);
  for (const [file, paths] of Object.entries(EMULATED)) {
    for (const path of paths.split(" ")) fs.copyFileSync(join(SOURCES, file), at(path));
  }
  for (const directory of ["/bin", "/sbin", "/usr/bin", "/usr/sbin"]) {
    for (const name of fs.readdirSync(at(directory))) fs.chmodSync(at(`${directory}/${name}`), 0o555);
  }
  for (const name of ["common.pl", "rmx.pl"]) fs.copyFileSync(join(SOURCES, name), at(`${TOOLS}/${name}`));
  binaries.set("/usr/sbin/sshd", find("sshd"));
  binaries.set("/bin/sh", find(options.sh));
  if (options.shell.endsWith("csh")) binaries.set("/bin/csh", find("tcsh"));
  if (Bun.which("bmake") !== null) binaries.set("/usr/bin/make", find("bmake"));
  placeBinaries(root, binaries);
  if (process.arch === "arm64") fs.writeFileSync(at(`${TOOLS}/aarch64`), "");
  // FreeBSD's libc has it built in.
  const locale = "/usr/lib/locale/C.utf8";
  if (fs.existsSync(locale)) fs.cpSync(locale, at(locale), { recursive: true });
  writeState(root, options);
  for (const path of options.without ?? []) fs.rmSync(at(path), { recursive: true });
}

function find(name: string): string {
  const found = Bun.which(name, { PATH: "/usr/bin:/bin:/usr/sbin:/sbin" });
  if (found === null) throw new Error(`the stand-in for FreeBSD needs ${name}, which is not installed`);
  return fs.realpathSync(found);
}

/** Copies them with all that they load, and FreeBSD's loader in place of Linux's. */
function placeBinaries(root: string, binaries: ReadonlyMap<string, string>): void {
  const elves: string[] = [];
  for (const [to, from] of binaries) {
    const data = fs.readFileSync(from);
    const isElf = data.subarray(0, 4).equals(Buffer.from("\x7fELF", "latin1"));
    fs.writeFileSync(join(root, to), isElf ? relinked(to === "/bin/sh" ? shellAlone(data) : data) : data, { mode: 0o555 });
    if (isElf) elves.push(from);
  }
  const listed = Bun.spawnSync(["ldd", ...elves]).stdout.toString();
  const libraries = new Set(
    [...listed.matchAll(/(?:=> |^\t)(\/\S+) \(0x/gm)].flatMap(([, path]) => (path === undefined ? [] : [path])),
  );
  for (const path of libraries) {
    const name = path.slice(path.lastIndexOf("/") + 1);
    const to = name.startsWith("ld-linux") ? LOADER : `/lib/${name}`;
    fs.copyFileSync(fs.realpathSync(path), join(root, to));
    fs.chmodSync(join(root, to), 0o555);
  }
}

/** The name of the loader is in the file once, with room for a shorter one. */
function relinked(data: Buffer): Buffer {
  const found = /\/lib(?:64)?\/ld-linux[^\0]*\0/.exec(data.subarray(0, 4096).toString("latin1"));
  if (found === null) return data;
  const out = Buffer.from(data);
  out.fill(0, found.index, found.index + found[0].length);
  out.write(LOADER, found.index, "latin1");
  return out;
}

/** busybox's shell takes its own tools before those in PATH: they lose their names. */
function shellAlone(data: Buffer): Buffer {
  const begin = data.indexOf("[\0[[\0", 0, "latin1");
  if (begin < 0) return data;
  const out = Buffer.from(data);
  for (let at = begin; out[at] !== 0;) {
    const end = out.indexOf(0, at);
    const name = out.toString("latin1", at, end);
    if (name !== "sh" && name !== "ash" && end - at > 1) out[end - 1] = 1;
    at = end + 1;
  }
  return out;
}

/** Users as FreeBSD has them, and what its kernel would know. */
function writeState(root: string, options: StandInOptions): void {
  const write = (path: string, lines: readonly string[]): void =>
    fs.writeFileSync(join(root, path), lines.map((line) => `${line}\n`).join(""));
  write("/etc/passwd", [
    `root:*:0:0:Charlie &:/root:${options.shell}`,
    "daemon:*:1:1:Owner of many system processes:/root:/usr/sbin/nologin",
    "operator:*:2:5:System &:/:/usr/sbin/nologin",
    "sshd:*:22:22:Secure Shell Daemon:/var/empty:/usr/sbin/nologin",
    `user:*:1000:1000:A person:/usr/home/user:${options.shell}`,
    "nobody:*:65534:65534:Unprivileged user:/nonexistent:/usr/sbin/nologin",
  ]);
  write("/etc/master.passwd", [
    `root:$6$salt$hash:0:0::0:0:Charlie &:/root:${options.shell}`,
    "toor:*:0:0::0:0:Bourne-again Superuser:/root:",
  ]);
  fs.chmodSync(join(root, "/etc/master.passwd"), 0o600);
  write("/etc/group", ["wheel:*:0:root", "daemon:*:1:", "operator:*:5:root", "sshd:*:22:", "user:*:1000:", "nobody:*:65534:"]);
  const values = {
    "kern.ostype": "FreeBSD",
    "kern.osrelease": "15.1-RELEASE",
    "kern.osreldate": "1501000",
    "kern.racct.enable": "0",
    "hw.machine": "amd64",
    "hw.machine_arch": "amd64",
    "hw.model": "A processor that nobody made",
    "hw.ncpu": String(cpus().length),
    "hw.physmem": String(totalmem()),
    "hw.usermem": String(totalmem()),
    "hw.realmem": String(totalmem()),
    "vfs.usermount": "0",
    "security.jail.enforce_statfs": "2",
    ...options.sysctl,
  };
  write(
    "/.standin/sysctl",
    Object.entries(values).map(([name, value]) => `${name}=${value}`),
  );
  fs.writeFileSync(join(root, "/.standin/calls"), "");
  fs.chmodSync(join(root, "/.standin/calls"), 0o666);
  fs.chownSync(join(root, "/usr/home/user"), 1000, 1000);
}

/** From outside of it, as the first process of its namespaces: "$1" is the root. What a reboot loses is lost. Then becomes "$2"... */
export const STAND_IN_INIT = `set -e
root=$1
shift
mount --make-rprivate /
mount -t proc proc "$root/.standin/proc"
mount -t tmpfs -o mode=755,size=1m devfs "$root/dev"
mknod -m 666 "$root/dev/null" c 1 3
mknod -m 666 "$root/dev/zero" c 1 5
mknod -m 666 "$root/dev/random" c 1 8
mknod -m 666 "$root/dev/urandom" c 1 9
mknod -m 666 "$root/dev/tty" c 5 0
mkdir "$root/dev/pts" "$root/dev/fd"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
readlink /proc/self/ns/uts | tr -d '\\n' >"$root/.standin/uts"
rm -f "$root"/.standin/jails/* "$root/.standin/modules" "$root/.standin/lock"
printf '/dev/gpt/rootfs\\0/\\0ufs\\0rw\\0\\ndevfs\\0/dev\\0devfs\\0rw\\0\\n' >"$root/.standin/mounts"
hostname freebsd
exec env -i PATH=/sbin:/bin:/usr/sbin:/usr/bin chroot "$root" "$@"`;

export function recordedCalls(root: string): readonly string[] {
  return fs.readFileSync(join(root, ".standin/calls"), "utf8").split("\0").slice(0, -1);
}
