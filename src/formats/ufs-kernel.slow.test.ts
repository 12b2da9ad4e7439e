/**
 * UFS2 as the kernel of another system reads it: the module `ufs` of Debian's generic kernel, in a machine of its own. It walks the whole tree
 * and says what it finds of every name; the same is said of the file systems that FreeBSD made.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FileSystemEntry } from "./blocks.ts";
import { cpioArchive, type CpioEntry } from "./cpio.ts";
import { directory, file, hardlink, MEBIBYTE, symlink, TIME } from "./ext4.testing.ts";
import { readAtFile, writeImage } from "./testing.ts";
import { planUfs } from "./ufs.ts";
import { readUfs } from "./ufs-read.ts";

// A kernel is fetched once, and a machine is emulated.
setDefaultTimeout(900_000);

/** What is fetched for tests, kept between runs. */
const KEPT = "/var/tmp/garth-tests-kept/generic-kernel";
const MODULES = ["virtio_blk", "ufs"] as const;

const scratch = fs.mkdtempSync(join(tmpdir(), "garth-ufs-kernel-"));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

interface Kernel {
  readonly image: string;
  /** Files of modules, in the order in which they are loaded. */
  readonly modules: readonly string[];
}

/** The newest of Debian's generic kernels: its package, unpacked. */
function kernel(): Kernel {
  if (!fs.existsSync(`${KEPT}/boot`)) {
    const depends = execFileSync("apt-cache", ["depends", "linux-image-amd64"], { encoding: "utf8" });
    const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
    if (name === undefined) throw new Error(depends);
    const fresh = `${scratch}/kernel`;
    fs.mkdirSync(fresh);
    execFileSync("apt-get", ["download", "-qq", "-o", "APT::Sandbox::User=root", name], { cwd: fresh });
    const [package_ = ""] = fs.readdirSync(fresh);
    execFileSync("dpkg-deb", ["--extract", join(fresh, package_), `${fresh}/tree`]);
    fs.mkdirSync(join(KEPT, ".."), { recursive: true });
    fs.cpSync(`${fresh}/tree`, `${KEPT}.new`, { recursive: true });
    fs.renameSync(`${KEPT}.new`, KEPT);
  }
  const image = fs.readdirSync(`${KEPT}/boot`).find((name) => name.startsWith("vmlinuz-")) ?? "";
  const release = image.slice("vmlinuz-".length);
  const tree = [`${KEPT}/lib/modules/${release}`, `${KEPT}/usr/lib/modules/${release}`].find((path) => fs.existsSync(path)) ?? "";
  const all = fs.readdirSync(tree, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ko"));
  const fileOf = (name: string): string | undefined => all.find((path) => path.endsWith(`/${name}.ko`));
  const found: string[] = [];
  const add = (name: string): void => {
    // With a dash or an underscore; what is not there is in the kernel.
    const path = fileOf(name) ?? fileOf(name.replaceAll("_", "-"));
    if (path === undefined || found.includes(`${tree}/${path}`)) return;
    // As modinfo(8) prints it.
    const needs = /\0depends=([^\0]+)\0/.exec(fs.readFileSync(`${tree}/${path}`, "latin1"))?.[1];
    for (const need of needs?.split(",") ?? []) add(need);
    found.push(`${tree}/${path}`);
  };
  add("virtio_pci");
  for (const name of MODULES) add(name);
  return { image: `${KEPT}/boot/${image}`, modules: found };
}

const INIT = `#!/bin/busybox sh
busybox mkdir -p /proc /sys /dev /mnt
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
for module in /modules/*; do busybox insmod "$module" || echo "no $module"; done
busybox mount -t ufs -o ro,ufstype=ufs2 /dev/vda /mnt || echo "cannot mount"
cd /mnt
echo BEGIN
busybox find . | busybox sort | while IFS= read -r path; do
  sum=-
  if [ -f "$path" ] && [ ! -L "$path" ]; then sum=$(busybox sha256sum <"$path") || sum=unread; fi
  busybox stat -c "%f|%u|%g|%h|%s|%Y|\${sum%% *}|%N" "$path"
done
echo END
busybox poweroff -f
`;

/** What the guest says of each name. */
function readByKernel({ image, modules }: Kernel, disk: string): ReadonlyMap<string, readonly string[]> {
  const roots = { uid: 0, gid: 0, timeSeconds: 0 } as const;
  const program = (path: string, mode: number, bytes: Uint8Array): CpioEntry => ({
    ...roots,
    path,
    mode,
    type: "file",
    content: { kind: "bytes", bytes },
  });
  const entries: CpioEntry[] = [
    { ...roots, path: "bin", type: "directory", mode: 0o755 },
    { ...roots, path: "modules", type: "directory", mode: 0o755 },
    program("bin/busybox", 0o755, fs.readFileSync("/bin/busybox")),
    program("init", 0o755, Buffer.from(INIT)),
    ...modules.map((module, index) => program(`modules/${String(index).padStart(2, "0")}`, 0o644, fs.readFileSync(module))),
  ];
  const initrd = `${scratch}/initrd`;
  fs.writeFileSync(initrd, cpioArchive(entries));
  const argv = ["-accel", "tcg", "-m", "512M", "-nographic", "-no-reboot", "-nic", "none", "-kernel", image, "-initrd", initrd];
  const drive = ["-drive", `file=${disk},format=raw,if=virtio,readonly=on`];
  const console_ = execFileSync("qemu-system-x86_64", [...argv, ...drive, "-append", "console=ttyS0 quiet panic=-1"], {
    encoding: "utf8",
    timeout: 600_000,
    stdio: ["ignore", "pipe", "ignore"],
    maxBuffer: 2 ** 28,
  });
  const said = /BEGIN\r?\n([^]*?)END/.exec(console_)?.[1];
  if (said === undefined) throw new Error(console_.slice(-4_000));
  return new Map(
    said.split(/\r?\n/).flatMap((line): [string, readonly string[]][] => {
      const fields = line.split("|");
      if (fields.length < 8) return [];
      return [[fields.slice(7).join("|"), fields.slice(0, 7)]];
    }),
  );
}

/** The same, of our reader. */
function readByUs(disk: string): ReadonlyMap<string, readonly string[]> {
  const KINDS = {
    file: 0o100000,
    directory: 0o040000,
    symlink: 0o120000,
    fifo: 0o010000,
    socket: 0o140000,
    block: 0,
    character: 0,
  };
  const { list, readFile } = readUfs(readAtFile(disk));
  return new Map(
    list().map(({ path, type, mode, uid, gid, links, sizeBytes, timeSeconds, target }) => {
      const shown = path === "" ? "." : `./${path}`;
      const sum = type === "file" ? new Bun.CryptoHasher("sha256").update(readFile(path) ?? new Uint8Array()).digest("hex") : "-";
      const name = target === undefined ? shown : `'${shown}' -> '${target}'`;
      const bits = (KINDS[type] | mode).toString(16);
      return [name, [bits, `${uid}`, `${gid}`, `${links}`, `${sizeBytes}`, `${timeSeconds}`, sum]];
    }),
  );
}

describe("the kernel of Debian", () => {
  let generic: Kernel;
  beforeAll(() => {
    generic = kernel();
  });

  test("reads a file system that FreeBSD made as we do", () => {
    const disk = `${scratch}/sample.img`;
    execFileSync("zstd", ["-dqf", join(import.meta.dir, "testdata/ufs2/sample.img.zst"), "-o", disk]);
    expect(readByKernel(generic, disk)).toEqual(readByUs(disk));
  });

  test("reads ours, every byte and attribute", () => {
    const patterned = (sizeBytes: number): Uint8Array =>
      Uint8Array.from({ length: sizeBytes }, (_, at) => ((at * 7 + (at >> 8)) & 0xff) | 1);
    const entries: readonly FileSystemEntry[] = [
      directory("tmp", 0o1777),
      file("bin/su", "setuid", { mode: 0o4555 }),
      file("owned", "by somebody", { uid: 100_000, gid: 4_000_000_000 }),
      ...[0, 1, 4_095, 4_096, 32_768, 32_769, 393_216, 393_217, 5 * MEBIBYTE].map((size) =>
        file(`sizes/${size}`, patterned(size)),
      ),
      hardlink("again/su", "bin/su"),
      ...[1, 119, 120, 900].map((length) => symlink(`links/${length}`, "t".repeat(length))),
      ...Array.from({ length: 600 }, (_, at) => file(`many/${"n".repeat(at % 200)}-${at}`, `${at}`)),
    ];
    const disk = `${scratch}/ours.img`;
    // In several groups, of which the last is smaller.
    const plan = planUfs(entries, { label: "garth", identity: [TIME, 1], timeSeconds: TIME, sizeBytes: 1_500 * MEBIBYTE });
    writeImage(disk, plan.image);
    const found = readByKernel(generic, disk);
    expect(found.size).toBeGreaterThan(entries.length);
    expect(found).toEqual(readByUs(disk));
  });
});
