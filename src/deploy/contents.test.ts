/** What tools of the system put on a disk is named; what they do not make here is known by its bytes. */
import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { planUfs, readAtOf } from "../formats/index.ts";
import { readAtFile, writeImage } from "../formats/testing.ts";
import { contentsOf } from "./contents.ts";

const scratch = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "garth-contents-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const disk = join(scratch, "disk");
const SIZE_BYTES = 64 << 20;

function empty(sizeBytes = SIZE_BYTES): void {
  writeFileSync(disk, "");
  truncateSync(disk, sizeBytes);
}
function run(program: string, ...words: readonly string[]): void {
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8" };
  execFileSync(program, words, { env, stdio: ["ignore", "ignore", "pipe"] });
}
const found = (sizeBytes = SIZE_BYTES): readonly string[] => contentsOf(readAtFile(disk), sizeBytes);

test("an empty disk has nothing on it, of any size", () => {
  for (const sizeBytes of [0, 512, 1 << 20, SIZE_BYTES]) {
    empty(sizeBytes);
    expect(found(sizeBytes)).toEqual([]);
  }
});

describe("what tools make", () => {
  test.each([
    ['an ext file system labelled "data"', ["mkfs.ext4", "-q", "-F", "-L", "data", disk]],
    ["an ext file system", ["mkfs.ext2", "-q", "-F", "-O", "^extent,^metadata_csum", disk]],
    ['a FAT file system labelled "STICK"', ["mkfs.vfat", "-n", "STICK", disk]],
    ["swap", ["mkswap", disk]],
    [
      "a GUID partition table with 2 partitions: boot 8 MiB, root 16 MiB",
      ["sgdisk", "-n1:0:+8M", "-c1:boot", "-n2:0:+16M", "-c2:root", disk],
    ],
  ] as const)("%s", (words, [program, ...args]) => {
    empty();
    run(program, ...args);
    expect(found()).toEqual([words]);
  });

  test("an old table with two partitions", () => {
    empty();
    const input = "label: dos\n2048,16384,83\n,32768,83\n";
    execFileSync("sfdisk", ["-q", disk], { input, stdio: ["pipe", "ignore", "pipe"] });
    expect(found()).toEqual(["a partition table (MBR) with 2 partitions: 8 MiB, 16 MiB"]);
  });

  test("a table whose first half was cleared is known by its second", () => {
    empty();
    run("sgdisk", "-n1:0:+8M", "-c1:boot", disk);
    run("dd", "if=/dev/zero", `of=${disk}`, "bs=1M", "count=1", "conv=notrunc", "status=none");
    expect(found()).toEqual(["a GUID partition table with 1 partition: boot 8 MiB"]);
  });
});

test("a UFS2 file system", () => {
  const options = { label: "beastie", identity: [1, 2], timeSeconds: 1, sizeBytes: 16 << 20 } as const;
  writeImage(disk, planUfs([], options).image);
  expect(found(16 << 20)).toEqual(['a UFS2 file system labelled "beastie"']);
});

describe("what is known by its bytes", () => {
  const put = (at: number, bytes: readonly number[] | string): readonly string[] => {
    const content = new Uint8Array(2 << 20);
    content.set(Buffer.from(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : Uint8Array.from(bytes)), at);
    return contentsOf(readAtOf(content), content.length);
  };
  test.each([
    ["a LUKS volume, encrypted", 0, "LUKS\u00ba\u00be"],
    ["a physical volume of LVM", 512, "LABELONE"],
    ["a member of a Linux RAID", 4096, [0xfc, 0x4e, 0x2b, 0xa9]],
    ["an XFS file system", 0, "XFSB"],
    ["a Btrfs file system", 65_600, "_BHRfS_M"],
    ["a file system of a CD (ISO 9660)", 32_769, "CD001"],
    ["a member of a ZFS pool", (128 << 10) + 4096, [0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0]],
    ["a member of a ZFS pool", (128 << 10) + 9216, [0, 0, 0, 0, 0, 0xba, 0xb1, 0x0c]],
    ["a member of a GEOM class", (2 << 20) - 512, "GEOM::MIRROR"],
    ["a qcow2 disk", 0, "QFI\u00fb"],
    ["something of no kind that is known here, in its first MiB (at 5000)", 5000, "x"],
    ["something of no kind that is known here, in its last MiB (at 2000000)", 2_000_000, "x"],
  ] as const)("%s at %i", (words, at, bytes) => {
    expect(put(at, bytes)).toEqual([words]);
  });
});
