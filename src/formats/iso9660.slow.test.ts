/**
 * ISO 9660 as firmware and a kernel take it: OVMF starts systemd-boot from the medium's own ESP, that starts Debian's generic kernel from there, and
 * the kernel mounts the medium that it was started from, walks it, and says on its console what it found. Once as a CD, once as a disk.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FileSystemEntry } from "./blocks.ts";
import { file } from "./ext4.testing.ts";
import { consoleOf, factsSaid, genericKernel, walkingInitrd } from "./kernel.testing.ts";
import { planIso } from "./iso9660.ts";
import { espOf, type Fact, factsOf, OPTIONS, TREE } from "./iso9660.testing.ts";
import { writeImage } from "./testing.ts";

// A kernel is fetched once, and a machine is emulated.
setDefaultTimeout(900_000);

const FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const LOADER = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";
const ESP_BYTES = 48 * 2 ** 20;
const EXTENT_BYTES = 2 ** 32 - 2_048;

const scratch = fs.mkdtempSync(join(tmpdir(), "garth-iso-boot-"));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));
const medium = join(scratch, "medium.iso");

const large = join(scratch, "large");
const largeEntry: FileSystemEntry = {
  ...file("large"),
  type: "file",
  // Its last byte is in a second extent.
  content: { kind: "file", file: large, sizeBytes: EXTENT_BYTES + 1, data: [{ from: EXTENT_BYTES, to: EXTENT_BYTES + 1 }] },
};

/**
 * Waits for the medium, wherever it came to be: a kernel finds its devices when it finds them. The large file is looked at and covered up: nobody
 * wants to wait for the digest of 4 GiB.
 */
const MOUNT = `found=
while [ -z "$found" ]; do
  for device in /dev/sr0 /dev/vda; do [ -b "$device" ] && found=$device; done
  [ -n "$found" ] || busybox sleep 1
done
echo "medium $found"
busybox mount -t iso9660 -o ro "$found" /mnt &&
  echo "large $(busybox stat -c %s /mnt/large) $(busybox tail -c 2 /mnt/large | busybox od -An -tx1)" &&
  busybox mount -o bind /init /mnt/large`;

const LARGE = `large ${EXTENT_BYTES + 1}  00 5a`;

const KINDS: Readonly<Record<string, number>> = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  fifo: 0o010000,
  block: 0o060000,
  character: 0o020000,
};

beforeAll(() => {
  fs.writeFileSync(large, "");
  fs.truncateSync(large, EXTENT_BYTES);
  fs.appendFileSync(large, "Z");
  const kernel = genericKernel(["virtio_blk", "ahci", "sr_mod", "isofs"]);
  const text = (lines: readonly string[]): Uint8Array => Buffer.from(`${lines.join("\n")}\n`);
  const esp = espOf(ESP_BYTES, {
    "EFI/BOOT/BOOTX64.EFI": fs.readFileSync(LOADER),
    "loader/loader.conf": text(["timeout 0"]),
    "loader/entries/walk.conf": text(["title walk", "linux /vmlinuz", "initrd /initrd", "options console=ttyS0 quiet panic=-1"]),
    vmlinuz: fs.readFileSync(kernel.image),
    initrd: walkingInitrd(kernel, MOUNT),
  });
  const { image } = planIso([...TREE, largeEntry], { ...OPTIONS, esp });
  writeImage(medium, image);
});

function started(name: string, drive: readonly string[]): string {
  const variables = join(scratch, `${name}.fd`);
  fs.copyFileSync(VARIABLES, variables);
  const firmware = ["-drive", `if=pflash,format=raw,readonly=on,file=${FIRMWARE}`];
  return consoleOf(["-machine", "q35", ...firmware, "-drive", `if=pflash,format=raw,file=${variables}`, ...drive]);
}

/** As the kernel says them. Directories have the size of their records, which is nobody's business. */
function wanted(): ReadonlyMap<string, readonly string[]> {
  const sizes = new Map(
    TREE.map((entry) => [entry.path, entry.type === "file" && entry.content.kind === "bytes" ? entry.content.bytes.length : 0]),
  );
  const links = new Map(TREE.flatMap((entry) => (entry.type === "hardlink" ? [[entry.path, entry.target]] : [])));
  const sizeOf = (path: string, { type, content }: Fact): string => {
    if (type === "directory") return "-";
    return `${type === "symlink" ? Buffer.byteLength(content) : sizes.get(links.get(path) ?? path)}`;
  };
  return new Map(
    [...factsOf(TREE)].map(([path, fact]) => {
      const { type, mode, uid, gid, timeSeconds, links: count, content } = fact;
      const shown = path === "" ? "." : `./${path}`;
      const name = type === "symlink" ? `'${shown}' -> '${content}'` : shown;
      const bits = ((KINDS[type] ?? 0) | mode).toString(16);
      const sum = type === "file" ? content : "-";
      return [name, [bits, `${uid}`, `${gid}`, `${count}`, sizeOf(path, fact), `${timeSeconds}`, sum]];
    }),
  );
}

function found(said: string): ReadonlyMap<string, readonly string[]> {
  const facts = new Map(factsSaid(said));
  expect(facts.delete("./large")).toBe(true);
  return new Map([...facts].map(([name, fields]) => [name, fields[0]?.startsWith("4") === true ? fields.with(4, "-") : fields]));
}

describe("started by UEFI firmware, the kernel reads every byte and attribute of the medium", () => {
  test("as a CD", () => {
    const said = started("cd", ["-drive", `file=${medium},media=cdrom,format=raw,readonly=on`]);
    expect(said).toContain("medium /dev/sr0");
    expect(said).toContain(LARGE);
    expect(found(said)).toEqual(wanted());
  });

  test("as a disk", () => {
    const said = started("disk", ["-drive", `file=${medium},if=virtio,format=raw,readonly=on`]);
    expect(said).toContain("medium /dev/vda");
    expect(said).toContain(LARGE);
    expect(found(said)).toEqual(wanted());
  });
});
