/** The scripts of a Linux system, run: its activation, and the beginning of its initial RAM disk. */
import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import { attributesOf } from "../world/index.ts";
import { planLinux } from "./linux.ts";
import { BOOT, composition, FULL, RUNTIME, SAMPLE_SYSTEM } from "./linux.testing.ts";
import { machine, type Machine } from "./machine.testing.ts";
import type { SystemOptions } from "./index.ts";
import type { ClosurePlan, PlannedTree } from "./types.ts";

const SYSTEM = SAMPLE_SYSTEM.slice(1);
const OLD = SYSTEM.replace("system-sample", "system-older");

/** A program of /etc that changes its user: a change of the owner would take that away. */
const SET_ID = { ...RUNTIME, attributes: new Map([...RUNTIME.attributes, ["etc/sudoers", { mode: 0o4550, uid: 5, gid: 33 }]]) };
const plan = (options: Partial<SystemOptions> = FULL): ClosurePlan => planLinux(composition(options, { base: [SET_ID] }));
const NEW = plan();

const activate = (on: Machine): ReturnType<Machine["run"]> => on.run(`/${SYSTEM}/activate`, `/${SYSTEM}`);
/** Without secrets, which a machine would have to be given. */
const QUIET: Partial<SystemOptions> = {
  ...FULL,
  secrets: [],
  users: (FULL.users ?? []).map((user) => {
    const { passwordSecret: _, ...rest } = user;
    return rest;
  }),
};

/** Everything that the plan puts below /etc, as it ought to be and as it is. */
function etcOf(on: Machine, { tree, etcOwners }: ClosurePlan): readonly (readonly [wanted: string, found: string])[] {
  return [...tree].flatMap(([path, entry]) => {
    if (!path.startsWith("etc/")) return [];
    if (entry.type === "symlink") return [[`${path} -> ${entry.target}`, `${path} ${on.about(path)}`]] as const;
    const executable = entry.type === "file" && entry.executable;
    const { mode, uid, gid } = attributesOf(etcOwners, path.slice("etc/".length), { type: entry.type, executable });
    const wanted = `${path} ${entry.type} ${mode.toString(8).padStart(4, "0")} ${uid}:${gid}`;
    return [[wanted, `${path} ${on.about(path)}`]] as const;
  });
}

describe("activation", () => {
  test("gives a machine its /etc with the owners and modes that an image has, its homes and keys, and no second time", () => {
    using on = machine();
    const quiet = plan(QUIET);
    on.bring(SYSTEM, quiet);
    expect(activate(on)).toEqual({ status: 0, console: [], stderr: "" });
    const etc = etcOf(on, quiet);
    expect(etc.length).toBeGreaterThan(25);
    expect(etc.map(([, found]) => found)).toEqual(etc.map(([wanted]) => wanted));
    expect(on.about("etc/sudoers")).toBe("file 4550 5:33");
    expect(on.read("etc/motd")).toBe("Welcome.\n");
    expect(on.read("etc/.garth-system")).toBe(`/${SYSTEM}\n`);
    for (const [path, about] of [
      ["root", "directory 0700 0:0"],
      ["root/.ssh", "directory 0700 0:0"],
      ["home/alice", "directory 0755 1000:1000"],
      ["home/alice/.ssh", "directory 0700 1000:1000"],
      ["home/alice/.ssh/authorized_keys", "file 0600 1000:1000"],
      ["srv/web dir", "directory 0755 8080:33"],
      ["nonexistent", "nothing"],
    ] as const)
      expect([path, on.about(path)]).toEqual([path, about]);
    expect(on.read("home/alice/.ssh/authorized_keys")).toBe(`${FULL.users?.[1]?.authorizedKeys?.[0] ?? ""}\n`);

    on.write("etc/motd", "changed by hand\n");
    expect(activate(on).status).toBe(0);
    expect(on.read("etc/motd")).toBe("changed by hand\n");
  });

  test("after another system: what that one brought goes, what nobody brought stays, the machine is the same one", () => {
    using on = machine();
    const { motd: _, ...less } = FULL.etc ?? {};
    const older = plan({ ...QUIET, etc: { ...less, "gone/old.conf": "old\n", "web/gone.conf": "old\n" } });
    on.bring(OLD, older);
    expect(on.run(`/${OLD}/activate`, `/${OLD}`).status).toBe(0);
    on.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    on.write("etc/ssh/ssh_host_ed25519_key", "key\n", 0o400);
    on.write("etc/web/own.conf", "own\n");
    fs.chownSync(`${on.root}/etc/web/own.conf`, 8080, 33);
    on.write("home/alice/.ssh/authorized_keys", "older\n");
    on.bring(SYSTEM, plan(QUIET));
    expect(activate(on)).toEqual({ status: 0, console: [], stderr: "" });
    expect(["gone/old.conf", "web/gone.conf", "web/web.conf"].map((path) => on.about(`etc/${path}`))).toEqual([
      "nothing",
      "nothing",
      "file 0400 8080:33",
    ]);
    expect(on.about("etc/web/own.conf")).toBe("file 0644 8080:33");
    expect(on.about("etc/ssh/ssh_host_ed25519_key")).toBe("file 0400 0:0");
    expect(on.read("etc/machine-id")).toBe("0123456789abcdef0123456789abcdef\n");
    expect(on.read("etc/motd")).toBe("Welcome.\n");
    expect(on.read("etc/.garth-system")).toBe(`/${SYSTEM}\n`);
    expect(on.read("home/alice/.ssh/authorized_keys")).not.toBe("older\n");
  });

  test("says which secrets a machine was not given, and goes on", () => {
    using on = machine();
    on.bring(SYSTEM, NEW);
    expect(activate(on)).toEqual({
      status: 0,
      console: ["alice-password", "web.token"].map((name) => `garth: the secret ${name} was not given to this machine`),
      stderr: "",
    });
    expect(on.read("etc/shadow")).toContain("alice:!:");
  });

  test("puts secrets where they were declared to be: from SMBIOS, as text or base64, for their owner alone", () => {
    using on = machine();
    on.bring(SYSTEM, NEW);
    const hash = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7";
    const token = 'a "quoted" = token\nof two lines\\n';
    // The structure of an OEM string table (SMBIOS 3.6, 7.12): type 11, length 5, handle, count; then texts that end with NUL.
    const raw = [
      `io.systemd.credential:alice-password=${hash}`,
      `io.systemd.credential.binary:web.token=${Buffer.from(token).toString("base64")}`,
      `io.systemd.credential:ssh.authorized_keys.root=ssh-ed25519 AAAA operator`,
      "io.systemd.credential:../../../etc/motd=climbs",
      "something else",
    ];
    on.write(
      "sys/firmware/dmi/entries/11-0/raw",
      `\u000b\u0005\u0000\u000b${String.fromCodePoint(raw.length)}${raw.join("\0")}\0\0`,
    );
    expect(activate(on)).toEqual({ status: 0, console: [], stderr: "" });
    expect(on.read("run/secrets/alice-password")).toBe(hash);
    expect(on.read("srv/web dir/token")).toBe(token);
    expect([on.about("run/secrets/alice-password"), on.about("srv/web dir/token")]).toEqual([
      "file 0400 0:0",
      "file 0440 8080:33",
    ]);
    expect(on.about("run/credentials/@system")).toBe("directory 0700 0:0");
    expect(on.read("etc/shadow")).toContain(`alice:${hash}:`);
    expect(on.about("etc/shadow")).toBe("file 0640 0:42");
    expect(on.about("etc/shadow.new")).toBe("nothing");
    expect(on.read("etc/motd")).toBe("Welcome.\n");
    // Declared keys are there already, and stand.
    expect(on.read("root/.ssh/authorized_keys")).toContain("alice's key");
  });
});

describe("the beginning of the initial RAM disk", () => {
  const real = `${BOOT.path}/usr/bin/busybox`;
  /** What would change the machine that tests run on is written down; a partition may appear while it is waited for. */
  const pretend = `#!${real} sh
case $1 in
sh | cat | readlink | ln) exec ${real} "$@" ;;
switch_root) [ ! -e /watched ] || until ${real} grep -q ^setsid /log; do ${real} usleep 1000; done ;;
usleep) [ -e /appears ] && ${real} mv /appears /sys/class/block/vda2/uevent ; exit 0 ;;
insmod) [ "$2" != /modules/broken.ko ] || exit 1 ;;
esac
echo "$*" >>/log
`;

  function initrd({ tree }: ClosurePlan): PlannedTree {
    const entry = tree.get("boot/initrd");
    if (entry?.type !== "file" || entry.content.kind !== "initrd") throw new Error("there is no initrd");
    return entry.content.tree;
  }

  function start(on: Machine, commandLine: string): ReturnType<Machine["run"]> {
    const init = initrd(NEW).get("init");
    if (init?.type !== "file" || init.content.kind !== "text") throw new Error("there is no init");
    fs.unlinkSync(`${on.root}/bin`);
    on.write("bin/busybox", pretend, 0o755);
    on.write("cmdline", commandLine);
    // The kernel's own command line is another machine's.
    on.write("init", init.content.text.replace("/proc/cmdline", "/cmdline"), 0o755);
    fs.mkdirSync(`${on.root}/sysroot/run`, { recursive: true });
    fs.mkdirSync(`${on.root}/sysroot/dev`, { recursive: true });
    fs.symlinkSync("/proc/1/fd/1", `${on.root}/sysroot/dev/console`);
    on.write(`sysroot/${SYSTEM}/activate`, "", 0o755);
    on.write("sys/class/block/vda/uevent", "MAJOR=254\nDEVNAME=vda\n");
    on.write("sys/class/block/vda1/uevent", "DEVNAME=vda1\nPARTNAME=efiboot\n");
    return on.run("/init");
  }
  const log = (on: Machine): readonly string[] => on.read("log").split("\n").slice(0, -1);

  test("loads modules in order, finds the root by its label, activates the system and becomes its process 1", () => {
    using on = machine();
    on.write("sys/class/block/vda2/uevent", "DEVNAME=vda2\nPARTN=2\nPARTNAME=garth-root\n");
    fs.mkdirSync(`${on.root}/sysroot/run`, { recursive: true });
    fs.symlinkSync("/frx/store/development", `${on.root}/sysroot/run/current-development`);
    // A word with a * is no pattern.
    expect(start(on, `quiet glob=/* garth.system=/${SYSTEM} garth.root=garth-root console=ttyS0\n`)).toEqual({
      status: 0,
      console: [],
      stderr: expect.any(String),
    });
    expect(log(on)).toEqual([
      "mount -t proc proc /proc",
      "mount -t sysfs sysfs /sys",
      "mount -t devtmpfs devtmpfs /dev",
      ...["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"].map(
        (name) => `insmod /modules/${name}.ko`,
      ),
      "mount -t ext4 -o rw /dev/vda2 /sysroot",
      "mount -t tmpfs -o mode=0755,nosuid,nodev run /sysroot/run",
      "mount --move /dev /sysroot/dev",
      "mount --move /proc /sysroot/proc",
      "mount --move /sys /sysroot/sys",
      `chroot /sysroot /${SYSTEM}/activate /${SYSTEM}`,
      "switch_root /sysroot /run/current-system/init",
    ]);
    expect(on.about("sysroot/run/current-system")).toBe(`-> /${SYSTEM}`);
  });

  test("on trial, leaves a process in the root that waits for its time to be over", () => {
    using on = machine();
    on.write("sys/class/block/vda2/uevent", "PARTNAME=garth-root\n");
    on.write("sysroot/dev/null", "");
    on.write("watched", "");
    expect(start(on, `garth.system=/${SYSTEM} garth.generation=2 garth.trial=77 quiet`).status).toBe(0);
    const lines = log(on);
    expect(lines).toContain(`setsid /bin/busybox chroot /sysroot /${SYSTEM}/generations watch 77`);
    expect(lines).toContain(`chroot /sysroot /${SYSTEM}/activate /${SYSTEM}`);
    expect(NEW.tree.get("generations")).toMatchObject({ executable: true });
  });

  test("waits for a partition that comes late, and takes the label that the command line has", () => {
    using on = machine();
    on.write("sys/class/block/vda2/uevent", "DEVNAME=vda2\n");
    on.write("appears", "PARTNAME=other\n");
    expect(start(on, `garth.system=/${SYSTEM} garth.root=other`).status).toBe(0);
    expect(log(on)).toContain("mount -t ext4 -o rw /dev/vda2 /sysroot");
  });

  test("says what is there when the root is not, and ends", () => {
    using on = machine();
    on.write("sys/class/block/vda2/uevent", "DEVNAME=vda2\nPARTNAME=data\n");
    expect(start(on, `garth.system=/${SYSTEM}`)).toMatchObject({
      status: 1,
      console: [
        "garth: initrd: no partition is labelled garth-root after 10 s",
        "garth: initrd: there is vda",
        "garth: initrd: there is vda1 labelled efiboot",
        "garth: initrd: there is vda2 labelled data",
      ],
    });
  });

  test("ends without a system, or with one that is not on the root", () => {
    using on = machine();
    on.write("sys/class/block/vda2/uevent", "PARTNAME=garth-root\n");
    expect(start(on, "quiet").console[0]).toBe("garth: initrd: the kernel's command line has no garth.system=");
    using other = machine();
    other.write("sys/class/block/vda2/uevent", "PARTNAME=garth-root\n");
    expect(start(other, `garth.system=/${OLD}`)).toMatchObject({
      status: 1,
      console: [`garth: initrd: /${OLD} is not on this root`],
    });
  });
});
