/**
 * The program of generations with the file system that firmware reads, in a machine with Debian's generic kernel: its own partition table, its own
 * vfat. What is on the disk is looked at before each step, past what the kernel has in its memory: there the power fails.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { busyboxInitrd, consoleOf, genericKernel } from "../formats/testing.ts";
import { chooseEntry, parseEntries } from "./generations-loader.testing.ts";
import {
  FIRST,
  LABEL,
  makeEsp,
  makeFileSystem,
  makeRoot,
  namesOf,
  PROGRAM,
  SECOND,
  writeTo,
} from "./generations-sample.testing.ts";
import { TOOLS } from "./generations.testing.ts";

// A kernel is fetched once, and a machine is emulated.
setDefaultTimeout(900_000);

const MIB = 2 ** 20;
const ROOT_BYTES = 24 * MIB;
const CUTS = 500;
const scratch = fs.mkdtempSync(join(tmpdir(), "garth-generations-vfat-"));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

/** Before each step: the partition as the disk has it, to another disk. */
const WRAPPER = `#!/bin/dash
read -r n </run/count
n=$((n + 1))
echo "$n" >/run/count
/bin/busybox dd if=/dev/vda of=/dev/vdb bs=1M skip=1 count=1 seek="$n" iflag=direct conv=notrunc 2>/dev/null
exec /bin/busybox "\${0##*/}" "$@"
`;

const INIT = `#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys /dev /mnt /esp
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod "$module" || echo "no $module"; done
$b mount -t ext4 /dev/vda2 /mnt || echo "no root"
$b mount -t tmpfs run /mnt/run
for at in dev proc sys; do $b mount -o bind "/$at" "/mnt/$at"; done
$b chroot /mnt /bin/busybox --install -s /bin
echo 0 >/mnt/run/count
start() {
    $b rm -f /mnt/run/current-system
    $b ln -s "$1" /mnt/run/current-system
    $b umount /mnt/proc/cmdline 2>/dev/null
    echo "$2" >/mnt/run/cmdline
    $b mount -o bind /mnt/run/cmdline /mnt/proc/cmdline
}
call() {
    echo
    echo "CALL $1 $(($($b cat /mnt/run/count) + 1))"
    $b chroot /mnt /bin/env -i PATH=/test/steps:/bin:/sbin /bin/dash /test/program "$@" </mnt/test/names 2>&1
    status=$?
    $b chroot /mnt /test/steps/sync
    echo "DONE $status $($b cat /mnt/run/count)"
}
start ${FIRST.path} garth.generation=1
call add ${SECOND.path}
# As the loader does.
$b mount -t vfat /dev/vda1 /esp && $b mv /esp/loader/entries/garth-next+1.conf /esp/loader/entries/garth-next+0-1.conf
$b umount /esp
start ${SECOND.path} "garth.generation=2 garth.trial=900"
call confirm
call select 1
start ${FIRST.path} garth.generation=1
call remove 2
call status
$b grep -c " /mnt/run/garth" /proc/mounts
$b sync
$b umount /mnt/proc/cmdline /mnt/proc /mnt/sys /mnt/dev /mnt/run /mnt
echo END
$b poweroff -f
`;

/** The root of a machine that has its modules, a shell, and the tools that are looked over the shoulder. */
function makeGuestRoot(root: string): void {
  makeRoot(root, [FIRST, SECOND]);
  for (const name of ["bin", "sbin", "lib", "lib64"]) fs.mkdirSync(join(root, "usr", name), { recursive: true });
  fs.copyFileSync("/bin/busybox", join(root, "usr/bin/busybox"));
  fs.copyFileSync("/bin/dash", join(root, "usr/bin/dash"));
  const libraries = execFileSync("ldd", ["/bin/dash"], { encoding: "utf8" }).matchAll(/(\/\S+)/g);
  for (const [path] of libraries) {
    const to = join(root, "usr", path.replace(/^\/usr/, ""));
    fs.mkdirSync(join(to, ".."), { recursive: true });
    fs.copyFileSync(path, to);
  }
  writeTo(root, "test/program", PROGRAM);
  writeTo(root, "test/names", namesOf(SECOND));
  for (const name of TOOLS) writeTo(root, `test/steps/${name}`, WRAPPER, 0o755);
  // The program itself asks for these.
  const { image, modules } = genericKernel(["vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1"]);
  const at = `usr/lib/modules/${image.replace(/^.*vmlinuz-/, "")}`;
  const names = modules.map((path) => path.slice(path.lastIndexOf("/") + 1));
  for (const [index, path] of modules.entries()) {
    fs.mkdirSync(join(root, at), { recursive: true });
    fs.copyFileSync(path, join(root, at, names[index] ?? ""));
  }
  writeTo(root, `${at}/modules.dep`, names.map((name) => (name === "vfat.ko" ? "vfat.ko: fat.ko\n" : `${name}:\n`)).join(""));
}

function makeDisk(disk: string): void {
  makeGuestRoot(join(scratch, "root"));
  makeEsp(join(scratch, "esp"));
  makeFileSystem(join(scratch, "root.img"), join(scratch, "root"), ROOT_BYTES, "ext4");
  makeFileSystem(join(scratch, "esp.img"), join(scratch, "esp"), MIB, "vfat");
  fs.writeFileSync(disk, "");
  fs.truncateSync(disk, ROOT_BYTES + 4 * MIB);
  const partitions = [
    "-a",
    "1",
    "-n",
    "1:2048:4095",
    "-t",
    "1:ef00",
    "-c",
    `1:${LABEL}`,
    "-n",
    `2:4096:${4096 + ROOT_BYTES / 512 - 1}`,
  ];
  execFileSync("sgdisk", [...partitions, "-c", "2:garth-root", disk], { stdio: "ignore" });
  for (const [name, seek] of [
    ["esp.img", 1],
    ["root.img", 2],
  ] as const)
    execFileSync("dd", [`if=${scratch}/${name}`, `of=${disk}`, "bs=1M", `seek=${seek}`, "conv=notrunc", "status=none"]);
}

interface Call {
  readonly verb: string;
  readonly lines: readonly string[];
  readonly status: number;
  readonly first: number;
  readonly last: number;
}

describe("on vfat", () => {
  const disk = join(scratch, "disk.img");
  const cuts = join(scratch, "cuts.img");
  let said = "";
  let calls: readonly Call[] = [];
  const call = (verb: string): Call => {
    const found = calls.find((each) => each.verb === verb);
    if (found === undefined) throw new Error(said.slice(-4_000));
    return found;
  };

  beforeAll(() => {
    makeDisk(disk);
    fs.writeFileSync(cuts, "");
    fs.truncateSync(cuts, CUTS * MIB);
    const { image, modules } = genericKernel(["virtio_blk", "ext4", "crc32c_generic"]);
    fs.writeFileSync(join(scratch, "initrd"), busyboxInitrd(INIT, modules));
    const drives = [disk, cuts].flatMap((file) => ["-drive", `file=${file},format=raw,if=virtio`]);
    const boot = ["-kernel", image, "-initrd", join(scratch, "initrd"), "-append", "console=ttyS0 quiet panic=-1"];
    said = consoleOf([...boot, ...drives]).replaceAll("\r", "");
    calls = [...said.matchAll(/^CALL (\w+) (\d+)\n([^]*?)^DONE (\d+) (\d+)$/gm)].map(
      ([, verb = "", first, text = "", status, last]) => ({
        verb,
        lines: text.split("\n").filter((line) => line.startsWith("garth: ") || / /.test(line)),
        status: Number(status),
        first: Number(first),
        last: Number(last),
      }),
    );
  });

  /** The partition before a step, its files, and what fsck.fat has to say. */
  function cutAt(step: number): { readonly image: Buffer; readonly files: ReadonlyMap<string, string>; readonly fsck: string } {
    const image = Buffer.alloc(MIB);
    const descriptor = fs.openSync(cuts, "r");
    fs.readSync(descriptor, image, 0, MIB, step * MIB);
    fs.closeSync(descriptor);
    const at = join(scratch, "cut");
    fs.rmSync(at, { recursive: true, force: true });
    fs.mkdirSync(at);
    fs.writeFileSync(`${at}.img`, image);
    execFileSync("mcopy", ["-s", "-n", "-i", `${at}.img`, "::/", at], { env: { PATH: "/usr/bin", MTOOLS_SKIP_CHECK: "1" } });
    const names = fs
      .readdirSync(at, { recursive: true, encoding: "utf8" })
      .filter((name) => fs.statSync(join(at, name)).isFile());
    const { stdout } = spawnSync("fsck.fat", ["-n", `${at}.img`], { encoding: "utf8" });
    return { image, files: new Map(names.map((name) => [name, fs.readFileSync(join(at, name), "latin1")])), fsck: stdout };
  }

  test("each call does what it does, by the modules that it asked for", () => {
    expect(calls.map(({ verb, status, lines }) => [verb, status, ...lines.filter((line) => line.startsWith("garth: "))])).toEqual(
      [
        ["add", 0, "garth: generation 2"],
        ["confirm", 0, "garth: confirmed 2"],
        ["select", 0, "garth: generation 1"],
        [
          "remove",
          0,
          "garth: removed 2",
          ...["profile-web", "system-web"].map((name) => `garth: collected ${"2".repeat(64)}-${name}`),
          `garth: collected ${"e".repeat(64)}-kernel`,
        ],
        ["status", 0],
      ],
    );
    expect(call("status").lines).toEqual(expect.arrayContaining(["running 1", "current 1", "rollback -", "next -"]));
    // Nothing is left mounted.
    expect(/^DONE .*\n0\nEND$/m.test(said.slice(said.lastIndexOf("DONE")))).toBe(true);
  });

  for (const [verb, systems] of [
    ["add", [FIRST, SECOND]],
    ["confirm", [FIRST, SECOND]],
    ["select", [FIRST, SECOND]],
    ["remove", [FIRST]],
  ] as const) {
    test(`${verb}: wherever the power fails, the loader finds the old or the new, whole`, () => {
      const { first, last } = call(verb);
      expect(last - first).toBeGreaterThan(8);
      expect(last).toBeLessThan(CUTS);
      const run = new Set<string>();
      let before: Buffer = Buffer.alloc(0);
      for (let step = first; step <= last; step += 1) {
        const { image, files, fsck } = cutAt(step);
        if (image.equals(before)) continue;
        before = image;
        const entries = [...files].filter(([path]) => path.startsWith("loader/entries/") && path.endsWith(".conf"));
        const chosen = chooseEntry(
          parseEntries(new Map(entries.map(([path, text]) => [path.slice("loader/entries/".length), text]))),
        );
        const system = systems.find(({ path }) => path === chosen.system);
        expect([step, chosen.system]).toEqual([step, system?.path ?? "one of them"]);
        run.add(chosen.system);
        const kernel = system?.links.get(`${chosen.system}/boot/kernel`) ?? "";
        expect([step, files.get(chosen.linux.slice(1)) === system?.files.get(kernel)]).toEqual([step, true]);
        expect([step, files.get(chosen.initrd.slice(1)) === system?.files.get(`${chosen.system}/boot/initrd`)]).toEqual([
          step,
          true,
        ]);
        // What is being written may have clusters already that no name leads to. Nothing else is wrong, but that it is in use.
        const wrong = fsck.split("\n").filter((line) => /share|bad|Contains a free|cluster chain|Duplicate|differ/i.test(line));
        expect([step, ...wrong.filter((line) => !/Dirty bit|boot sector and its backup/i.test(line))]).toEqual([step]);
      }
      expect([...run].toSorted()).toEqual(systems.map(({ path }) => path));
    });
  }

  test("in the end the file system is whole", () => {
    const { image } = cutAt(call("status").last);
    fs.writeFileSync(join(scratch, "end.img"), image);
    expect(spawnSync("fsck.fat", ["-n", join(scratch, "end.img")], { encoding: "utf8" })).toMatchObject({ status: 0 });
  });
});
