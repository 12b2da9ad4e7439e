/** For the tests of generations on Linux: systems as small as they can be, and the file systems of a machine that runs the first of them. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { dirname, join } from "node:path";
import type { StorePath } from "../base/index.ts";
import { bootDirectory, firstGeneration, linuxBootEntry, SORT_KEYS } from "./generations.ts";
import { linuxGenerations } from "./generations-linux.ts";
import { generationsProgram } from "./generations-program.ts";

const digest = (digit: string): string => digit.repeat(64);
const item = (digit: string, name: string): StorePath => `/frx/store/${digest(digit)}-${name}`;

const BOOT_ITEM = item("b", "boot");
export const BUSYBOX = `${BOOT_ITEM}/usr/bin/busybox`;
export const LABEL = "efi boot";
export const PROGRAM = generationsProgram(linuxGenerations(BUSYBOX, LABEL));
export const PARAMETERS = ["garth.root=garth-root", "console=ttyS0", "panic=1", "glob=/*"] as const;
const KERNEL_BYTES = 50_000;
const INITRD_BYTES = 30_000;

export interface SampleSystem {
  readonly path: StorePath;
  readonly items: readonly StorePath[];
  /** Path -> content, below the root. */
  readonly files: ReadonlyMap<string, string>;
  readonly links: ReadonlyMap<string, string>;
}

/** Two systems may have one kernel, and have the item `common` together. */
export function sampleSystem(digit: string, name: string, kernelDigit: string): SampleSystem {
  const path = item(digit, `system-${name}`);
  const kernel = item(kernelDigit, "kernel");
  const profile = item(digit, `profile-${name}`);
  const common = item("c", "common");
  const fill = (what: string, bytes: number): string =>
    what
      .padEnd(16)
      .repeat(bytes / 16 + 1)
      .slice(0, bytes);
  return {
    path,
    items: [path, kernel, profile, common, BOOT_ITEM],
    files: new Map([
      [`${path}/boot/initrd`, fill(`initrd ${digit}`, INITRD_BYTES)],
      [`${path}/boot/parameters`, PARAMETERS.map((each) => `${each}\n`).join("")],
      [`${kernel}/boot/vmlinuz`, fill(`kernel ${kernelDigit}`, KERNEL_BYTES)],
      [`${profile}/usr/share/name`, name],
      [`${common}/usr/share/common`, "common"],
    ]),
    links: new Map([[`${path}/boot/kernel`, `${kernel}/boot/vmlinuz`]]),
  };
}

export const FIRST = sampleSystem("1", "web", "d");
export const SECOND = sampleSystem("2", "web", "e");
export const THIRD = sampleSystem("3", "shop", "d");

export function writeTo(root: string, path: string, text: string, mode = 0o644): void {
  fs.mkdirSync(dirname(join(root, path)), { recursive: true });
  fs.writeFileSync(join(root, path), text);
  fs.chmodSync(join(root, path), mode);
}

export function makeRoot(root: string, systems: readonly SampleSystem[]): void {
  for (const name of ["usr", "etc", "run", "dev", "proc", "sys", "tmp", "test", "var/lib/garth"])
    fs.mkdirSync(join(root, name), { recursive: true });
  for (const name of ["bin", "sbin", "lib", "lib64"]) fs.symlinkSync(`usr/${name}`, join(root, name));
  fs.mkdirSync(dirname(join(root, BUSYBOX)), { recursive: true });
  fs.symlinkSync("/usr/bin/busybox", join(root, BUSYBOX));
  for (const { files, links } of systems) {
    for (const [path, text] of files) writeTo(root, path, text, 0o444);
    for (const [path, target] of links) fs.symlinkSync(target, join(root, path));
  }
  for (const entry of firstGeneration(FIRST.path, FIRST.items, { by: "image" })) {
    const path = join(root, entry.path);
    if (entry.kind === "directory") fs.mkdirSync(path, { recursive: true });
    else if (entry.kind === "link") fs.symlinkSync(entry.target, path);
    else fs.writeFileSync(path, entry.text);
  }
}

export function makeEsp(root: string): void {
  const name = bootDirectory(FIRST.path);
  const entry = (sortKey: string): string =>
    linuxBootEntry({ system: FIRST.path, generation: 1, sortKey, commandLine: PARAMETERS });
  const kernel = [...FIRST.files].find(([path]) => path.endsWith("/vmlinuz"))?.[1] ?? "";
  writeTo(root, `garth/${name}/kernel`, kernel);
  writeTo(root, `garth/${name}/initrd`, FIRST.files.get(`${FIRST.path}/boot/initrd`) ?? "");
  writeTo(root, "loader/entries/garth-1.conf", entry(SORT_KEYS.menu));
  writeTo(root, "loader/entries/garth-current.conf", entry(SORT_KEYS.current));
  writeTo(root, "loader/loader.conf", "timeout 0\neditor no\n");
  writeTo(root, "EFI/BOOT/BOOTX64.EFI", "loader");
}

export function makeFileSystem(image: string, from: string, sizeBytes: number, type: string): void {
  fs.writeFileSync(image, "");
  fs.truncateSync(image, sizeBytes);
  const run = (...[program = "", ...argv]: readonly string[]): string =>
    execFileSync(program, argv, { encoding: "utf8", env: { PATH: "/usr/sbin:/usr/bin", MTOOLS_SKIP_CHECK: "1" } });
  if (type !== "vfat") return void run("mke2fs", "-q", "-t", type, "-m", "0", "-b", "1024", "-d", from, image);
  run("mkfs.vfat", image);
  for (const name of fs.readdirSync(from)) run("mcopy", "-s", "-i", image, join(from, name), "::/");
}

/** As `add` reads them. */
export function namesOf({ items }: SampleSystem): string {
  return items.map((path) => `${path.slice("/frx/store/".length)}\n`).join("");
}
