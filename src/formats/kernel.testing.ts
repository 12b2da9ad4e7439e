/** For tests that read file systems with another system's kernel: Debian's generic one with its modules, in a machine of its own. */
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cpioArchive, type CpioEntry } from "./cpio.ts";

/** What is fetched for tests, kept between runs. */
const KEPT = "/var/tmp/garth-tests-kept/generic-kernel";
const MACHINE_MS = 600_000;

export interface Kernel {
  readonly image: string;
  /** Files of modules, in the order in which they are loaded. */
  readonly modules: readonly string[];
}

/** The newest of Debian's generic kernels: its package, unpacked, and what these modules need. */
export function genericKernel(modules: readonly string[]): Kernel {
  if (!fs.existsSync(`${KEPT}/boot`)) fetchKernel();
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
  for (const name of ["virtio_pci", ...modules]) add(name);
  return { image: `${KEPT}/boot/${image}`, modules: found };
}

function fetchKernel(): void {
  const depends = execFileSync("apt-cache", ["depends", "linux-image-amd64"], { encoding: "utf8" });
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (name === undefined) throw new Error(depends);
  const fresh = fs.mkdtempSync(join(tmpdir(), "garth-generic-kernel-"));
  try {
    execFileSync("apt-get", ["download", "-qq", "-o", "APT::Sandbox::User=root", name], { cwd: fresh });
    const [package_ = ""] = fs.readdirSync(fresh);
    execFileSync("dpkg-deb", ["--extract", join(fresh, package_), `${fresh}/tree`]);
    fs.mkdirSync(join(KEPT, ".."), { recursive: true });
    fs.cpSync(`${fresh}/tree`, `${KEPT}.new`, { recursive: true });
    fs.renameSync(`${KEPT}.new`, KEPT);
  } finally {
    fs.rmSync(fresh, { recursive: true, force: true });
  }
}

/** @param mount a line that mounts what is looked at on /mnt, by busybox */
function initText(mount: string): string {
  return `#!/bin/busybox sh
busybox mkdir -p /proc /sys /dev /mnt
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
for module in /modules/*; do busybox insmod "$module" || echo "no $module"; done
${mount} || echo "cannot mount"
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
}

/** An initial RAM disk that mounts something and says of every name what `factsSaid` finds. */
export function walkingInitrd({ modules }: Kernel, mount: string): Uint8Array {
  return busyboxInitrd(initText(mount), modules);
}

/** An initial RAM disk of busybox, modules in /modules in their order, and what process 1 is. */
export function busyboxInitrd(init: string, modules: readonly string[]): Uint8Array {
  const roots = { uid: 0, gid: 0, timeSeconds: 0 } as const;
  const program = (path: string, mode: number, bytes: Uint8Array): CpioEntry => ({
    ...roots,
    path,
    mode,
    type: "file",
    content: { kind: "bytes", bytes },
  });
  return cpioArchive([
    { ...roots, path: "bin", type: "directory", mode: 0o755 },
    { ...roots, path: "modules", type: "directory", mode: 0o755 },
    program("bin/busybox", 0o755, fs.readFileSync("/bin/busybox")),
    program("init", 0o755, Buffer.from(init)),
    ...modules.map((module, index) => program(`modules/${String(index).padStart(2, "0")}`, 0o644, fs.readFileSync(module))),
  ]);
}

/** Runs a machine until it powers itself off: what was said on its console. */
export function consoleOf(argv: readonly string[]): string {
  const common = ["-accel", "tcg", "-m", "512M", "-nographic", "-no-reboot", "-nic", "none"];
  return execFileSync("qemu-system-x86_64", [...common, ...argv], {
    encoding: "utf8",
    timeout: MACHINE_MS,
    stdio: ["ignore", "pipe", "ignore"],
    maxBuffer: 2 ** 28,
  });
}

/** By name: mode with its kind, uid, gid, links, size, time, and the digest of what is in a file. */
export function factsSaid(said: string): ReadonlyMap<string, readonly string[]> {
  const list = /BEGIN\r?\n([^]*?)END/.exec(said)?.[1];
  if (list === undefined) throw new Error(said.slice(-4_000));
  return new Map(
    list.split(/\r?\n/).flatMap((line): [string, readonly string[]][] => {
      const fields = line.split("|");
      if (fields.length < 8) return [];
      return [[fields.slice(7).join("|"), fields.slice(0, 7)]];
    }),
  );
}
