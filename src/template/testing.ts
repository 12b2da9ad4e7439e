/** Small disks that look like those of machines, for the tests of this room and of those that use templates. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { contentBytes, layOutDisk, MBR_TYPE, mbrSector, PARTITION_TYPE, planFat, planGpt, shifted } from "../formats/index.ts";
import { writeImage } from "../formats/testing.ts";

export { stockDebian } from "./stock.testing.ts";

const MIB = 1 << 20;

export interface DiskWish {
  /** Path in the root -> text, or where a link leads. Directories come by themselves. */
  readonly tree?: Readonly<Record<string, string | { readonly link: string }>>;
  /** Default "gpt". */
  readonly table?: "gpt" | "mbr";
  /** Path in the EFI system partition -> text; undefined: there is none of these partitions. Default: a loader. */
  readonly esp?: Readonly<Record<string, string>> | undefined;
  /** What mkfs makes of the root. Default ext4. */
  readonly root?: "ext4" | "vfat";
  readonly rootBytes?: number;
}

/** As a cloud image has it. */
export const CLOUD_TREE = {
  "etc/os-release": "ID=debian\n",
  "etc/cloud/cloud.cfg": "users: [default]\n",
  "etc/systemd/system/.keep": "",
  "usr/bin/cloud-init": "#!/bin/sh\n",
  "usr/lib/systemd/systemd": "not looked at",
  "usr/local/sbin/.keep": "",
  lib: { link: "usr/lib" },
} as const;

/** Writes a raw disk to `file`: an EFI system partition, and a root made by mke2fs of the tree. */
export function writeDisk(file: string, wish: DiskWish = {}): void {
  const { table = "gpt", root = "ext4", rootBytes = 12 * MIB, tree = CLOUD_TREE } = wish;
  const esp = "esp" in wish ? wish.esp : { "EFI/BOOT/BOOTX64.EFI": "MZ" };
  const scratch = mkdtempSync(`${file}-`);
  try {
    const rootFile = join(scratch, "root.img");
    for (const [path, content] of Object.entries(tree)) {
      const place = join(scratch, "tree", path);
      mkdirSync(dirname(place), { recursive: true });
      if (typeof content === "string") writeFileSync(place, content);
      else execFileSync("ln", ["-s", content.link, place]);
    }
    if (root === "ext4")
      execFileSync("mke2fs", ["-q", "-t", "ext4", "-d", join(scratch, "tree"), rootFile, `${rootBytes / 1024}k`]);
    else {
      writeFileSync(rootFile, new Uint8Array(rootBytes));
      execFileSync("mkfs.fat", [rootFile], { stdio: "ignore" });
    }
    const entries = Object.entries(esp ?? {}).map(
      ([path, text]) => ({ path, type: "file", content: { kind: "bytes", bytes: new TextEncoder().encode(text) } }) as const,
    );
    const fat = planFat({ sizeBytes: 2 * MIB, label: "ESP", volumeId: 1, timeSeconds: 0, entries });
    const whole = { at: 0, kind: "file", file: rootFile, offset: 0, sizeBytes: statSync(rootFile).size } as const;
    const wanted = [
      ...(esp === undefined ? [] : [{ name: "esp", type: PARTITION_TYPE.esp, image: fat }]),
      { name: "root", type: PARTITION_TYPE.linuxRootX86_64, image: { sizeBytes: rootBytes, pieces: [whole] } },
    ];
    const disk = layOutDisk({
      diskGuid: "00000000-0000-4000-8000-000000000001",
      partitions: wanted.map(({ name, type, image }, index) => ({
        name,
        typeGuid: type,
        guid: `00000000-0000-4000-8000-0000000001${String(index).padStart(2, "0")}`,
        sizeBytes: image.sizeBytes,
      })),
    });
    const [head, tail] = planGpt(disk);
    const contents = disk.partitions.flatMap(({ firstByte }, index) => shifted(wanted[index]?.image ?? fat, firstByte));
    const mbr = mbrSector({
      diskId: 1,
      partitions: disk.partitions.map(({ firstByte, sizeBytes, typeGuid }) => ({
        type: typeGuid === PARTITION_TYPE.esp ? 0xef : MBR_TYPE.linux,
        firstByte,
        sizeBytes,
      })),
    });
    const frame = table === "gpt" ? [head, ...contents, tail] : [{ at: 0, kind: "bytes", bytes: mbr } as const, ...contents];
    writeImage(file, {
      sizeBytes: disk.sizeBytes,
      pieces: frame.filter((piece) => piece.kind === "file" || contentBytes(piece) > 0),
    });
  } finally {
    rmSync(scratch, { recursive: true });
  }
}
