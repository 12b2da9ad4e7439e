/**
 * Debian as one gets it for a cloud: systemd, cloud-init with its seed, an SSH server, kept between runs below /var/tmp. A cloud image that
 * somebody else made, for the tests of templates; for the benchmarks its tree is the large world of the image rows, and its disk boots
 * beside the example's. Made once, as root, with mmdebstrap(1) and mke2fs(8): 2 to 3 minutes.
 *
 * The disk is laid out as Garth lays out its own, so that nothing but what lies in it differs: GPT, an EFI system partition with
 * systemd-boot (which starts faster than Debian's GRUB), and a root of 1 GiB with ext4.
 */
import * as fs from "node:fs";
import { sha256 } from "../base/index.ts";
import { type FatEntry, layOutDisk, PARTITION_TYPE, planFat, planGpt, shifted } from "../formats/index.ts";
import { isErrno, localHost } from "../host/index.ts";
import { derivedUuid, writeBlocks } from "../image/index.ts";

/** Outlives a run; removing it costs the next run a few minutes. */
export const KEPT = "/var/tmp/garth-bench-kept";
const SUITE = "bookworm";
/** As Debian's own images for clouds have them, without what only other clouds need. busybox-static and systemd-boot-efi are for Garth. */
const PACKAGES = [
  "busybox-static",
  "ca-certificates",
  "cloud-init",
  "dbus",
  "initramfs-tools",
  "iproute2",
  "kmod",
  "less",
  "linux-image-cloud-amd64",
  "locales",
  "netplan.io",
  "openssh-server",
  "procps",
  "python3-apt",
  "sudo",
  "systemd-boot-efi",
  "systemd-resolved",
  "systemd-sysv",
  "systemd-timesyncd",
  "udev",
] as const;
const MIB = 1 << 20;
const ROOT_BYTES = 1024 * MIB;
const ESP_BYTES = 64 * MIB;
const MAKING_LIMIT_MS = 900_000;
/** Raised when what is made below changes. */
const VERSION = 1;

export interface StockDebian {
  /** Its files stay as they are: runs read it. */
  readonly tree: string;
  /** Raw. */
  readonly disk: string;
  readonly kernel: string;
}

const host = localHost();

/** `say` is told when it has to be made. */
export async function stockDebian(say: (text: string) => void): Promise<StockDebian> {
  const name = `stock-${sha256(JSON.stringify([VERSION, SUITE, PACKAGES])).slice(0, 12)}`;
  const directory = `${KEPT}/${name}`;
  if (!fs.existsSync(directory)) {
    say("making the stock Debian system, which is kept: 2 to 3 minutes");
    fs.mkdirSync(KEPT, { recursive: true });
    sweep(`${name}.new-`);
    // gpgv(1), which apt has check signatures, takes a colon in a path for the end of it; and apt fetches as a user of its own.
    const making = fs.mkdtempSync(`${directory}.new-${host.processIdentity.replaceAll(":", "_")}-`);
    fs.chmodSync(making, 0o755);
    await makeTree(`${making}/tree`);
    await makeDisk(making);
    putInPlace(making, directory);
  }
  const tree = `${directory}/tree`;
  return { tree, disk: `${directory}/disk.raw`, kernel: inBoot(tree, "vmlinuz-") };
}

/** What runs left that were killed. */
function sweep(prefix: string): void {
  for (const name of fs.readdirSync(KEPT)) {
    const owner = name.slice(prefix.length, name.lastIndexOf("-")).replaceAll("_", ":");
    if (name.startsWith(prefix) && !host.isAlive(owner)) fs.rmSync(`${KEPT}/${name}`, { recursive: true });
  }
}

/** A test and a benchmark may have made it at once: the first one's is everybody's. */
function putInPlace(making: string, directory: string): void {
  try {
    fs.renameSync(making, directory);
  } catch (error) {
    if (!isErrno(error, "EEXIST", "ENOTEMPTY")) throw error;
    fs.rmSync(making, { recursive: true });
  }
}

async function makeTree(tree: string): Promise<void> {
  await host.run({
    argv: ["mmdebstrap", "--quiet", "--variant=minbase", `--include=${PACKAGES.join(",")}`, SUITE, tree],
    timeoutMs: MAKING_LIMIT_MS,
    doing: "making the stock Debian system",
  });
  // What an image for a cloud lacks, or has besides its packages.
  for (const name of fs.readdirSync(`${tree}/etc/ssh`)) if (name.startsWith("ssh_host_")) fs.rmSync(`${tree}/etc/ssh/${name}`);
  fs.writeFileSync(`${tree}/etc/machine-id`, "");
  fs.writeFileSync(`${tree}/etc/fstab`, "LABEL=root / ext4 defaults 0 1\nLABEL=ESP /boot/efi vfat umask=0077 0 2\n");
  fs.mkdirSync(`${tree}/boot/efi`);
  const seed = `${tree}/var/lib/cloud/seed/nocloud`;
  fs.mkdirSync(seed, { recursive: true });
  fs.writeFileSync(`${seed}/meta-data`, "instance-id: bench\nlocal-hostname: stock\n");
  fs.writeFileSync(`${seed}/user-data`, "#cloud-config\nssh_pwauth: false\n");
}

function inBoot(tree: string, prefix: string): string {
  const name = fs.readdirSync(`${tree}/boot`).find((each) => each.startsWith(prefix));
  if (name === undefined) throw new Error(`${tree}/boot has no ${prefix}`);
  return `${tree}/boot/${name}`;
}

async function makeDisk(directory: string): Promise<void> {
  const tree = `${directory}/tree`;
  const root = `${directory}/root.ext4`;
  await host.run({
    argv: ["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "root", "-d", tree, root, `${ROOT_BYTES / 1024}k`],
    timeoutMs: MAKING_LIMIT_MS,
    doing: "making the stock Debian system's root",
  });
  const disk = layOutDisk({
    diskGuid: derivedUuid("stock disk"),
    partitions: [
      { name: "ESP", typeGuid: PARTITION_TYPE.esp, guid: derivedUuid("stock esp"), sizeBytes: ESP_BYTES },
      { name: "root", typeGuid: PARTITION_TYPE.linuxRootX86_64, guid: derivedUuid("stock root"), sizeBytes: ROOT_BYTES },
    ],
  });
  const [first, second] = disk.partitions;
  if (first === undefined || second === undefined) throw new Error("a disk of two partitions has two partitions");
  const esp = planFat({ sizeBytes: ESP_BYTES, label: "ESP", volumeId: 1, entries: espEntries(tree), timeSeconds: 1 });
  const pieces = [
    ...planGpt(disk),
    ...shifted(esp, first.firstByte),
    { at: second.firstByte, kind: "file", file: root, offset: 0, sizeBytes: ROOT_BYTES } as const,
  ];
  const image = { sizeBytes: disk.sizeBytes, pieces: pieces.toSorted((left, right) => left.at - right.at) };
  await writeBlocks(host, image, `${directory}/disk.raw`, { locate: (file) => file, digest: false });
  fs.rmSync(root);
}

function espEntries(tree: string): readonly FatEntry[] {
  const file = (path: string, from: string): FatEntry => ({
    path,
    type: "file",
    content: { kind: "file", file: from, sizeBytes: fs.statSync(from).size },
  });
  const text = (path: string, content: string): FatEntry => ({
    path,
    type: "file",
    content: { kind: "bytes", bytes: new TextEncoder().encode(content) },
  });
  // The kernel's parameters are those of Debian's images.
  const options = "root=LABEL=root ro console=tty0 console=ttyS0,115200";
  return [
    file("EFI/BOOT/BOOTX64.EFI", `${tree}/usr/lib/systemd/boot/efi/systemd-bootx64.efi`),
    file("debian/vmlinuz", inBoot(tree, "vmlinuz-")),
    file("debian/initrd.img", inBoot(tree, "initrd.img-")),
    text("loader/entries/debian.conf", `title Debian\nlinux /debian/vmlinuz\ninitrd /debian/initrd.img\noptions ${options}\n`),
    text("loader/loader.conf", "timeout 0\ndefault debian.conf\n"),
  ];
}
