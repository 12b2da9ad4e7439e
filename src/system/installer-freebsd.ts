/**
 * FreeBSD's installer medium: its root is the volume itself, an ISO 9660 that nobody can write to (installer-freebsd.sh mounts a tmpfs
 * over /tmp, and needs no more). Pure.
 *
 * The loader of a CD reads the volume; it follows no links there, so that what it reads are files. The loader of a stick sees the EFI system
 * partition and no volume that begins at sector 0, so that what it reads is there, too. Both start the same kernel, which finds
 * the volume by its label.
 *
 * Sources: stand/efi/loader/main.c, stand/libsa/cd9660.c, sys/geom/label/g_label_iso9660.c, init(8), loader.conf(5).
 */
import { Problem } from "../base/index.ts";
import type { FileSystemEntry } from "../formats/index.ts";
import { attributesOf, type ListedEntry, matcher } from "../world/index.ts";
import { LOADER_CONF, renderLoaderConf } from "./freebsd-conf.ts";
import {
  bytes,
  type EspFile,
  fileOf,
  installerScript,
  type InstallerWish,
  installParameters,
  noLoader,
  words,
} from "./installer.ts";
import type { Part, SystemSpec } from "./types.ts";

/** Of the base, what may hold a program that the script calls, or what one needs. */
const KEPT = matcher(["bin", "sbin", "lib", "libexec", "etc", "usr/bin", "usr/sbin", "usr/lib", "usr/libexec"]);
const NOT_KEPT = matcher([
  ...words("usr/lib/*.a usr/lib/clang usr/lib/debug usr/lib/dtrace usr/lib/pam_*"),
  ...words("usr/bin/*clang* usr/bin/c++ usr/bin/cc usr/bin/CC usr/bin/cpp usr/bin/g++ usr/bin/gcc usr/bin/*lldb*"),
  ...words("usr/bin/ld* usr/bin/llvm-* usr/bin/*tblgen* usr/bin/svn* usr/libexec/lldb*"),
  // Ours, and what would be another machine's.
  ...words("etc/fstab etc/rc etc/master.passwd etc/spwd.db etc/ssh/ssh_host_*"),
]);
/** Of the boot slice on the ESP, beside the kernel. */
const READ_BY_LOADER = matcher(["boot/defaults", "boot/device.hints", "boot/loader.help.efi", "boot/lua"]);
const MADE = ["boot", "boot/kernel", "dev", "garth", "mnt", "tmp"];
const KERNEL = "boot/kernel/kernel";
const CD9660 = "boot/kernel/cd9660.ko";

/** What the script calls, and where a base has it. */
const NEEDED: readonly string[] = [
  ...words("bin/cat bin/dd bin/kenv bin/sh bin/sleep bin/sync"),
  ...words("sbin/geom sbin/halt sbin/init sbin/kldload sbin/mount sbin/reboot sbin/sha256 sbin/sysctl"),
  ...words("usr/bin/head usr/bin/mkfifo usr/bin/sed usr/bin/sort usr/bin/tr usr/bin/wc usr/sbin/diskinfo"),
];

export interface FreebsdInstaller {
  /** Of the volume, beside garth/. */
  readonly entries: readonly FileSystemEntry[];
  readonly esp: readonly EspFile[];
}

/**
 * @param reads whether the kernel itself can read ISO 9660, without a module
 * @throws Problem E_INSTALLER_BASE, E_BOOT_SLICE, E_KERNEL_SLICE (exit 2)
 */
export function planFreebsdInstaller(
  wish: InstallerWish,
  { label, reads, timeSeconds }: { readonly label: string; readonly reads: boolean; readonly timeSeconds: number },
): FreebsdInstaller {
  const { composition } = wish;
  const { kernel, bootloader, base } = composition;
  const entries = new Map<string, FileSystemEntry>();
  const directory = (path: string, mode = 0o755): void => {
    entries.set(path, { type: "directory", path, mode, uid: 0, gid: 0, timeSeconds });
  };
  const text = (path: string, content: string, mode: number): void => {
    entries.set(path, { type: "file", path, content: bytes(content), mode, uid: 0, gid: 0, timeSeconds });
  };
  for (const path of MADE) directory(path);
  const take = (part: Part, isTaken: (path: string) => boolean): void => {
    for (const entry of part.listing) {
      if (!isTaken(entry.path) || entries.has(entry.path)) continue;
      entries.set(entry.path, entryOf(part, entry, timeSeconds));
    }
  };
  const isBoot = matcher(["boot"]);
  take(kernel, (path) => isBoot(path) && path !== LOADER_CONF);
  take(bootloader, (path) => isBoot(path) && !path.startsWith("boot/kernel/") && path !== LOADER_CONF);
  for (const part of base) take(part, (path) => (KEPT(path) && !NOT_KEPT(path)) || path === "usr");
  checkBase(wish, entries);

  const module = kernel.listing.find(({ path, type }) => path === CD9660 && type === "file");
  if (!reads && module === undefined)
    throw new Problem({
      code: "E_KERNEL_SLICE",
      message: `the kernel of ${kernel.name} cannot read an ISO 9660 volume, and the slice has no ${CD9660}`,
      where: kernel.path,
      hint: 'keep "boot/kernel" in it as a whole, or have a kernel with "options CD9660"',
      exit: 2,
    });
  const settings = loaderSettings(wish, label, reads ? [] : ["cd9660"]);
  text(LOADER_CONF, settings, 0o444);
  text("etc/fstab", `# Device\tMountpoint\tFStype\tOptions\tDump Pass\n/dev/iso9660/${label}\t/\tcd9660\tro\t0 0\n`, 0o444);
  text("etc/rc", installerScript("freebsd"), 0o555);
  return { entries: [...entries.values()], esp: espFiles(wish, settings, reads ? undefined : module) };
}

/** A link below /boot is the file that it leads to in the part, where it does: the loader follows none. */
function entryOf(part: Part, entry: ListedEntry, timeSeconds: number): FileSystemEntry {
  const { path } = entry;
  const about = { path, ...attributesOf(part.attributes, path, entry), timeSeconds };
  if (entry.type === "directory") return { type: "directory", ...about };
  if (entry.type === "file") return { type: "file", ...about, content: fileOf(part, entry) };
  const found = path.startsWith("boot/") ? followed(part, entry) : undefined;
  if (found !== undefined)
    return { type: "file", path, ...attributesOf(part.attributes, found.path, found), timeSeconds, content: fileOf(part, found) };
  return { type: "symlink", ...about, mode: 0o777, target: entry.target ?? "" };
}

const LINKS_MAX = 8;

function followed(part: Part, link: ListedEntry): ListedEntry | undefined {
  let at: ListedEntry | undefined = link;
  for (let links = 0; at?.type === "symlink" && links < LINKS_MAX; links += 1) {
    const path = targetOf(at);
    at = part.listing.find((each) => each.path === path);
  }
  return at?.type === "file" ? at : undefined;
}

function targetOf({ path, target = "" }: ListedEntry): string {
  const names = target.startsWith("/") ? [] : path.split("/").slice(0, -1);
  for (const name of target.split("/")) {
    if (name === "..") names.pop();
    else if (name !== "" && name !== ".") names.push(name);
  }
  return names.join("/");
}

function checkBase({ composition }: InstallerWish, entries: ReadonlyMap<string, FileSystemEntry>): void {
  const missing = NEEDED.filter((path) => !entries.has(path) || entries.get(path)?.type === "directory");
  if (missing.length === 0) return;
  throw new Problem({
    code: "E_INSTALLER_BASE",
    message: `the base of the system ${composition.spec.name} lacks ${missing.length === 1 ? "a program" : "programs"} that its installer calls`,
    details: missing.map((path) => `/${path}`),
    hint: "keep them in the runtime slice",
    exit: 2,
  });
}

/** loader.conf(5): as the system has it, but with the volume as root, a menu that waits, and both kinds of console. */
function loaderSettings(wish: InstallerWish, label: string, modules: readonly string[]): string {
  const { spec } = wish.composition;
  const own = Object.entries(spec.loaderSettings).filter(([name]) => TUNABLE.test(name) && !name.startsWith("vfs.root."));
  const medium: SystemSpec = {
    ...spec,
    init: "rc",
    console: bothConsoles(spec.console),
    loaderSettings: {
      ...Object.fromEntries(own),
      autoboot_delay: "5",
      kernels_autodetect: "NO",
      "vfs.root.mountfrom": `cd9660:/dev/iso9660/${label}`,
      // A stick is there when its controller has looked for it.
      "vfs.mountroot.timeout": "30",
      ...Object.fromEntries(modules.map((name) => [`${name}_load`, "YES"])),
      ...Object.fromEntries(installParameters(wish)),
    },
  };
  return renderLoaderConf(medium);
}

/** Of a system's settings, what is for the kernel or a console. Modules are left out: what they need is not on the ESP. */
const TUNABLE = /\.|^(?:boot|comconsole|efi)_/;

/** "comconsole,115200" -> "comconsole,efi,115200": what is said once is said first. */
function bothConsoles(text: string): string {
  const words = text.split(",");
  const speed = words.filter((word) => /^\d+$/.test(word));
  const names = words.filter((word) => !/^\d+$/.test(word));
  const hasScreen = names.some((name) => name === "efi" || name === "vidconsole");
  return [...names, ...(hasScreen ? [] : ["efi"]), ...(names.includes("comconsole") ? [] : ["comconsole"]), ...speed].join(",");
}

function espFiles({ composition }: InstallerWish, settings: string, module: ListedEntry | undefined): readonly EspFile[] {
  const { kernel, bootloader } = composition;
  const loader = bootloader.listing.find(({ path, type }) => path === "boot/loader.efi" && type === "file");
  if (loader === undefined) throw noLoader(bootloader, "boot/loader.efi", 'keep "boot/loader.efi" in it');
  const image = kernel.listing.find(({ path, type }) => path === KERNEL && type === "file");
  if (image === undefined) throw noLoader(kernel, KERNEL, 'keep "boot/kernel" in it');
  const read = bootloader.listing.filter(({ path, type }) => type === "file" && READ_BY_LOADER(path));
  return [
    { path: "EFI/BOOT/BOOTX64.EFI", content: fileOf(bootloader, loader) },
    ...read.map((entry) => ({ path: entry.path, content: fileOf(bootloader, entry) })),
    { path: KERNEL, content: fileOf(kernel, image) },
    ...(module === undefined ? [] : [{ path: CD9660, content: fileOf(kernel, module) }]),
    { path: LOADER_CONF, content: bytes(settings) },
  ];
}
