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
import { directory, file, hardlink, MEBIBYTE, symlink, TIME } from "./ext4.testing.ts";
import { consoleOf, factsSaid, genericKernel, type Kernel, walkingInitrd } from "./kernel.testing.ts";
import { readAtFile, writeImage } from "./testing.ts";
import { planUfs } from "./ufs.ts";
import { readUfs } from "./ufs-read.ts";

// A kernel is fetched once, and a machine is emulated.
setDefaultTimeout(900_000);

const scratch = fs.mkdtempSync(join(tmpdir(), "garth-ufs-kernel-"));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

/** What the guest says of each name. */
function readByKernel(kernel: Kernel, disk: string): ReadonlyMap<string, readonly string[]> {
  const initrd = `${scratch}/initrd`;
  fs.writeFileSync(initrd, walkingInitrd(kernel, "busybox mount -t ufs -o ro,ufstype=ufs2 /dev/vda /mnt"));
  const drive = ["-drive", `file=${disk},format=raw,if=virtio,readonly=on`];
  const boot = ["-kernel", kernel.image, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1"];
  return factsSaid(consoleOf([...boot, ...drive]));
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
    generic = genericKernel(["virtio_blk", "ufs"]);
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
