/** Firmware's own truth: OVMF finds the partition, mounts the file system, and runs what lies in it. */
import { afterAll, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FatEntry, layOutDisk, PARTITION_TYPE, planFat, planGpt, shifted } from "./index.ts";
import { writeImage } from "./testing.ts";

const TIME_LIMIT_MS = 120_000;
const FIRMWARE = "/usr/share/OVMF";
const scratch = mkdtempSync(join(tmpdir(), "garth-firmware-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const file = (path: string, text: string): FatEntry => ({
  path,
  type: "file",
  content: { kind: "bytes", bytes: new TextEncoder().encode(text) },
});

const KINDS = [
  [16, 48],
  [32, 64],
] as const;

test.each(KINDS)(
  "firmware reads an EFI system partition of FAT%d in %d MiB",
  (_, mebibytes) => {
    const guid = "0a1b2c3d-4e5f-4678-9abc-def012345678";
    const wish = { name: "esp", typeGuid: PARTITION_TYPE.esp, guid, sizeBytes: mebibytes << 20 };
    const disk = layOutDisk({ diskGuid: guid.replace("0a", "0b"), partitions: [wish] });
    const firstByte = disk.partitions[0]?.firstByte ?? 0;
    const fat = planFat({
      sizeBytes: wish.sizeBytes,
      label: "ESP",
      volumeId: 1,
      timeSeconds: 1_700_000_000,
      partitionOffsetBytes: firstByte,
      entries: [
        file("startup.nsh", '@echo -off\r\nfs0:\r\ntype "a rather long name\\Mixed.txt"\r\nreset -s\r\n'),
        file("a rather long name/Mixed.txt", "the firmware read this\r\n"),
      ],
    });
    const [head, tail] = planGpt(disk);
    const path = join(scratch, `${mebibytes}.raw`);
    writeImage(path, { sizeBytes: disk.sizeBytes, pieces: [head, ...shifted(fat, firstByte), tail] });
    const variables = join(scratch, "variables");
    copyFileSync(join(FIRMWARE, "OVMF_VARS_4M.fd"), variables);
    const shown = execFileSync(
      "qemu-system-x86_64",
      [
        "-accel",
        "tcg",
        "-nodefaults",
        "-nographic",
        "-serial",
        "stdio",
        "-drive",
        `if=pflash,format=raw,readonly=on,file=${FIRMWARE}/OVMF_CODE_4M.fd`,
        "-drive",
        `if=pflash,format=raw,file=${variables}`,
        "-drive",
        `if=virtio,format=raw,file=${path}`,
      ],
      { encoding: "utf8", timeout: TIME_LIMIT_MS, stdio: ["ignore", "pipe", "inherit"] },
    );
    expect(shown).toContain(`HD(1,GPT,${guid.toUpperCase()},0x800,0x${(wish.sizeBytes / 512).toString(16).toUpperCase()})`);
    expect(shown).toContain("the firmware read this");
  },
  TIME_LIMIT_MS,
);
