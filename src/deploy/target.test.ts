/** Who uses a disk of Linux, by what sysfs and /proc say. A machine with everything, written down. */
import { describe, expect, test } from "bun:test";
import { localHost } from "../host/index.ts";
import { scriptedHost } from "../host/testing.ts";
import { lookAtTarget, type TargetFacts } from "./target.ts";

const MOUNTS = [
  "22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw",
  "30 22 8:1 / /boot/efi rw - vfat /dev/sda1 rw",
  "31 22 0:45 / /srv/a\\040b rw - btrfs /dev/sdc rw",
  "32 22 9:127 / /home rw - xfs /dev/md127 rw",
  "33 22 0:5 / /dev rw - devtmpfs udev rw",
  "",
].join("\n");
const SWAPS = "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n/dev/sda3                               partition\t8\t0\t-2\n";

/** Files below /sys/class/block. */
const BLOCKS: Readonly<Record<string, string>> = {
  "sda/dev": "8:0",
  "sda/ro": "0",
  "sda/queue/logical_block_size": "512",
  "sda/sda1/partition": "1",
  "sda/sda2/partition": "2",
  "sda/sda3/partition": "3",
  "sda1/dev": "8:1",
  "sda1/partition": "1",
  "sda2/dev": "8:2",
  "sda2/partition": "2",
  "sda2/holders/dm-0": "",
  "sda3/dev": "8:3",
  "sda3/partition": "3",
  "dm-0/dev": "253:0",
  "dm-0/dm/uuid": "CRYPT-LUKS2-1",
  "dm-0/dm/name": "sda2_crypt",
  "dm-0/holders/dm-1": "",
  "dm-1/dev": "253:1",
  "dm-1/dm/uuid": "LVM-abc",
  "dm-1/dm/name": "vg-root",
  "sdb/dev": "8:16",
  "sdb/holders/md127": "",
  "md127/dev": "9:127",
  "sdc/dev": "8:32",
  "sdd/dev": "8:48",
  "sde/dev": "8:64",
  "sde/ro": "1",
  "sde/queue/logical_block_size": "4096",
};

function looked(name: string, claim?: string): Promise<TargetFacts> {
  const under = localHost();
  const { files } = under;
  const sysfs = "/sys/class/block/";
  const isThere = (path: string): boolean =>
    path.startsWith("/dev/") ||
    Object.keys(BLOCKS).some((key) => `${sysfs}${key}`.startsWith(`${path}/`) || `${sysfs}${key}` === path);
  const host = scriptedHost(under, () => undefined, {
    system: "x86_64-linux",
    files: {
      ...files,
      exists: (path) => isThere(String(path)),
      realPath: (path) => path,
      lstat: () => ({ ...files.lstat("/dev/zero"), type: "block" }),
      list: (path) => {
        const below = Object.keys(BLOCKS).flatMap((key) => {
          const full = `${sysfs}${key}`;
          return full.startsWith(`${String(path)}/`) ? [full.slice(String(path).length + 1).replace(/\/.*/, "")] : [];
        });
        return [...new Set(below)].map((entry) => new TextEncoder().encode(entry));
      },
      readTextIfAny: (path) => {
        if (path === "/proc/self/mountinfo") return MOUNTS;
        if (path === "/proc/swaps") return SWAPS;
        return BLOCKS[String(path).slice(sysfs.length)];
      },
      open: (_, flags) => {
        if (flags === "claim" && claim !== undefined) throw Object.assign(new Error("no"), { code: claim });
        return files.open("/dev/zero", "r");
      },
      endOf: () => 1 << 30,
    },
  });
  return lookAtTarget(host, `/dev/${name}`);
}

describe("who uses a disk of Linux", () => {
  test("through encryption and LVM, as swap, mounted: and the root is on it", async () => {
    expect(await looked("sda")).toMatchObject({
      kind: "disk",
      isRoot: true,
      uses: [
        "/dev/sda1 is mounted on /boot/efi",
        "/dev/sda2 is part of the encrypted volume sda2_crypt",
        "/dev/dm-0 is part of the logical volume vg-root",
        "/dev/dm-1 is mounted on /",
        "/dev/sda3 is swapped to",
      ],
    });
  });

  test("a RAID; and a file system whose mounts have a number of their own, at a place with a blank", async () => {
    expect(await looked("sdb")).toMatchObject({
      isRoot: false,
      uses: ["/dev/sdb is part of the RAID md127", "/dev/md127 is mounted on /home"],
    });
    expect(await looked("sdc")).toMatchObject({ uses: ["/dev/sdc is mounted on /srv/a b"] });
  });

  test("nobody, or somebody whom only the kernel knows", async () => {
    expect(await looked("sdd")).toMatchObject({ uses: [], contents: [], readOnly: false, sizeBytes: 1 << 30 });
    expect(await looked("sdd", "EBUSY")).toMatchObject({ uses: ["the kernel says that somebody uses it"] });
  });

  test("a partition, a disk of other sectors that is not written to", async () => {
    expect(await looked("sda1")).toMatchObject({ kind: "partition" });
    expect(await looked("sde")).toMatchObject({ readOnly: true, sectorBytes: 4096 });
  });
});
