/**
 * The system of an installer medium: what firmware starts from it, and what then writes the system that lies on the medium onto a disk. Pure.
 *
 *     Linux     ESP: systemd-boot, kernel, an initial RAM disk with drivers of disks and the script, which is process 1; no root of its own
 *     FreeBSD   ESP: loader, kernel and what the loader reads, for a medium that is a disk; the volume: the same for one that is a CD, and
 *               the root, read-only, with the base of the system and the script as /etc/rc
 *
 * The script (installer.sh behind installer-FAMILY.sh) finds the rest in garth/ of the volume (image: medium.ts), and everything else in
 * the kernel's parameters: `garth.install.medium`, the digest of garth/install, so that it takes no other medium; `.target`, a disk by its
 * name, without which it asks; `.then`; `.force`.
 *
 * Limits: UEFI; disks with sectors of 512 bytes; without a network, a step back, or a choice but that of the disk.
 */
import { Problem, type StorePath } from "../base/index.ts";
import type { Content } from "../formats/index.ts";
import type { ListedEntry } from "../world/index.ts";
import freebsdFunctions from "./installer-freebsd.sh" with { type: "text" };
import linuxFunctions from "./installer-linux.sh" with { type: "text" };
import shared from "./installer.sh" with { type: "text" };
import { busyboxIn, kernelRelease, modulesFor, moduleTexts } from "./linux-initrd.ts";
import { titleOf } from "./generations.ts";
import type { Composition, Family, Part, PlannedEntry, PlannedTree } from "./types.ts";

export type InstallThen = "reboot" | "poweroff" | "shell";

/** What is said to the installer when it is made; whoever stands at the boot menu may say otherwise. */
export interface InstallChoices {
  /** "vda". undefined: it asks. */
  readonly target: string | undefined;
  readonly afterwards: InstallThen | undefined;
  /** Writes over a disk that is not empty. */
  readonly force: boolean;
}

export interface InstallerWish {
  readonly composition: Composition;
  readonly system: StorePath;
  /** SHA-256 of garth/install on the medium. */
  readonly medium: string;
  readonly choices: InstallChoices;
}

export interface EspFile {
  readonly path: string;
  readonly content: Content;
}

export function installerScript(family: Family): string {
  return `${family === "linux" ? linuxFunctions : freebsdFunctions}\n${shared}\nmain\n`;
}

/** In the order in which they are said. */
export function installParameters({
  medium,
  choices,
}: Pick<InstallerWish, "medium" | "choices">): readonly (readonly [string, string])[] {
  const { target, afterwards, force } = choices;
  return [
    ["garth.install.medium", medium],
    ...(target === undefined ? [] : ([["garth.install.target", target]] as const)),
    ...(afterwards === undefined ? [] : ([["garth.install.then", afterwards]] as const)),
    ...(force ? ([["garth.install.force", "yes"]] as const) : []),
  ];
}

/**
 * Without a blank, a quote, or what is no name of a device. "/dev/vda" is "vda".
 *
 * @throws Problem E_INSTALL_TARGET (exit 2)
 */
export function installTarget(text: string): string {
  const name = text.replace(/^\/dev\//, "");
  if (/^[A-Za-z0-9_][A-Za-z0-9._-]{0,30}$/.test(name)) return name;
  throw new Problem({
    code: "E_INSTALL_TARGET",
    message: `${JSON.stringify(text)} is not the name of a disk`,
    hint: "as the machine calls it, which the system is installed on: /dev/vda, /dev/nvme0n1, /dev/ada0",
    exit: 2,
  });
}

export function words(text: string): readonly string[] {
  return text.split(" ");
}

/** Drivers of disks, of drives, of what is between, and of keyboards, as far as a kernel has them. */
const HARDWARE: readonly string[] = [
  "isofs",
  "nls_utf8",
  ...words("virtio_pci virtio_mmio virtio_blk virtio_scsi"),
  ...words("sd_mod sr_mod ahci ata_piix ata_generic nvme vmd"),
  ...words("hv_storvsc hv_vmbus xen_blkfront vmw_pvscsi mptspi mptsas megaraid_sas mpt3sas hpsa aacraid"),
  ...words("xhci_pci ehci_pci ohci_pci uhci_hcd usb_storage uas sdhci_pci sdhci_acpi mmc_block"),
  ...words("usbhid hid_generic hid_hyperv hyperv_keyboard atkbd i8042"),
];

/** What the script calls, and what a person wants who was given a shell. */
const APPLETS: readonly string[] = [
  ...words("blockdev cat cttyhack cut dd head insmod mkdir mkfifo mount poweroff reboot"),
  ...words("setsid sh sha256sum sleep sync tail tr umount wc"),
  ...words("cp dmesg fdisk grep hexdump less ls lsmod more ps rm sed vi"),
];

export interface LinuxInstaller {
  readonly initrd: PlannedTree;
  /** Without the initial RAM disk, which is at `INITRD_ON_ESP`. */
  readonly esp: readonly EspFile[];
}

export const INITRD_ON_ESP = "garth/initrd";

/** @param texts modules.dep and modules.builtin of the kernel slice: `moduleTexts`. @throws Problem E_BOOT_SLICE, E_KERNEL_MODULE */
export function planLinuxInstaller(
  wish: InstallerWish,
  kernel: EspFile["content"],
  texts: Composition["baseTexts"],
): LinuxInstaller {
  const { composition, system } = wish;
  const { spec, bootloader } = composition;
  const known = presentModules(composition.kernel, texts);
  const modules = modulesFor({ kernel: composition.kernel, baseTexts: known }, spec.rootModules, HARDWARE);
  const builtin = known.get(moduleTexts(kernelRelease(composition.kernel)).builtin) ?? "";
  if (![...modules, ...builtin.split("\n")].some((path) => /(?:^|\/)isofs\.ko(?:\.\w+)?$/.test(path)))
    throw new Problem({
      code: "E_KERNEL_MODULE",
      message: `the kernel of ${composition.kernel.name} cannot read an installer medium: it has no isofs, neither as a file nor built in`,
      where: composition.kernel.path,
      hint: "keep usr/lib/modules in the kernel slice as a whole",
      exit: 2,
    });
  const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
  const directory: PlannedEntry = { type: "directory" };
  const initrd = new Map<string, PlannedEntry>([
    ["bin", directory],
    ["bin/busybox", program({ kind: "part", part: bootloader.path, path: busyboxIn(bootloader) })],
    ...APPLETS.map((name) => [`bin/${name}`, { type: "symlink", target: "busybox" }] as const),
    ["dev", directory],
    ["init", program({ kind: "text", text: installerScript("linux") })],
    ["modules", directory],
    ...modules.map((path) => [`modules/${nameOf(path)}`, plain({ kind: "part", part: composition.kernel.path, path })] as const),
    ["modules/order", plain({ kind: "text", text: modules.map((path) => `${nameOf(path)}\n`).join("") })],
    ["proc", directory],
    ["run", directory],
    ["sys", directory],
  ]);
  const loader = bootloader.listing.find(({ path }) =>
    /^usr\/lib\/systemd\/boot\/efi\/systemd-boot(?:x64|aa64)\.efi$/.test(path),
  );
  if (loader === undefined)
    throw noLoader(
      bootloader,
      "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
      "put Debian's package systemd-boot-efi into the world",
    );
  const machine = loader.path.endsWith("x64.efi") ? "X64" : "AA64";
  const options = [
    ...installParameters(wish).map(([name, value]) => `${name}=${value}`),
    ...(spec.console.startsWith("tty0") ? [] : ["console=tty0"]),
    `console=${spec.console}`,
    ...spec.kernelParameters,
  ];
  const entry = [
    `title Install ${titleOf(system)}`,
    "linux /garth/kernel",
    `initrd /${INITRD_ON_ESP}`,
    `options ${options.join(" ")}`,
    "",
  ].join("\n");
  return {
    initrd,
    esp: [
      { path: `EFI/BOOT/BOOT${machine}.EFI`, content: fileOf(bootloader, loader) },
      { path: "garth/kernel", content: kernel },
      { path: "loader/entries/install.conf", content: bytes(entry) },
      { path: "loader/loader.conf", content: bytes("timeout 5\n") },
    ],
  };
}

/** modules.dep(5) is of the whole kernel: without what the slice was cut from, and what needs that. */
function presentModules(kernel: Part, texts: Composition["baseTexts"]): Composition["baseTexts"] {
  const release = kernelRelease(kernel);
  const directory = `usr/lib/modules/${release}/`;
  const there = new Set(kernel.listing.flatMap(({ path }) => (path.startsWith(directory) ? [path.slice(directory.length)] : [])));
  const { dependencies } = moduleTexts(release);
  const lines = (texts.get(dependencies) ?? "").split("\n").filter((line) =>
    line
      .split(/:? /)
      .map((path) => path.replace(/:$/, ""))
      .every((path) => path === "" || there.has(path)),
  );
  return new Map([...texts, [dependencies, lines.join("\n")]]);
}

type FileContent = Extract<PlannedEntry, { type: "file" }>["content"];

function program(content: FileContent): PlannedEntry {
  return { type: "file", executable: true, content };
}

function plain(content: FileContent): PlannedEntry {
  return { type: "file", executable: false, content };
}

export function bytes(text: string): Content {
  return { kind: "bytes", bytes: new TextEncoder().encode(text) };
}

export function fileOf(part: Part, { path, sizeBytes }: Pick<ListedEntry, "path" | "sizeBytes">): Content {
  return { kind: "file", file: `${part.path}/${path}`, sizeBytes };
}

export function noLoader(part: Part, path: string, hint: string): Problem {
  return new Problem({
    code: "E_BOOT_SLICE",
    message: `the slice ${part.name} (${part.path}) has no ${path}, which an installer medium is started by`,
    hint,
    exit: 2,
  });
}
