/** The reader, on what mke2fs made of a directory, and on what is broken. */
import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { Problem } from "../base/index.ts";
import { thrownProblem } from "../base/testing.ts";
import { readAtOf } from "./elf.ts";
import { planExt4 } from "./ext4.ts";
import { crc32c } from "./crc.ts";
import { type Ext4Entry, readExt4 } from "./ext4-read.ts";
import { debugfs, directory, file, HASH_SEED, MEBIBYTE, OPTIONS, run, symlink, TIME, UUID } from "./ext4.testing.ts";
import { readAtFile, writeImage } from "./testing.ts";

const scratch = fs.mkdtempSync(join(tmpdir(), "garth-ext4-read-"));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));
const image = join(scratch, "image");

function staged(): string {
  const root = join(scratch, "root");
  if (fs.existsSync(root)) return root;
  fs.mkdirSync(join(root, "d/e"), { recursive: true });
  fs.writeFileSync(join(root, "d/hello"), "hello\n", { mode: 0o640 });
  fs.writeFileSync(join(root, "d/e/large"), Buffer.alloc(3 * MEBIBYTE, "large"));
  fs.writeFileSync(join(root, "sparse"), "");
  fs.truncateSync(join(root, "sparse"), 5 * MEBIBYTE);
  fs.linkSync(join(root, "d/hello"), join(root, "again"));
  fs.symlinkSync("d/hello", join(root, "short"));
  fs.symlinkSync("long/".repeat(40), join(root, "long"));
  execFileSync("mkfifo", ["-m", "600", join(root, "fifo")]);
  fs.mkdirSync(join(root, "many"));
  for (let number = 0; number < 500; number += 1) fs.writeFileSync(join(root, `many/größe-${number}`), "");
  for (const path of ["d/hello", "d/e/large", "d", "d/e"]) fs.utimesSync(join(root, path), TIME, TIME);
  return root;
}

/** What find(1) says of every path but the root, as the reader's entries. */
function found(root: string): readonly Pick<Ext4Entry, "path" | "mode" | "uid" | "gid" | "timeSeconds" | "links">[] {
  const lines = run("find", root, "-mindepth", "1", "-printf", String.raw`%P\t%m\t%U\t%G\t%T@\t%n\n`)
    .trim()
    .split("\n");
  return lines.map((line) => {
    const [path = "", mode = "", uid, gid, time, links] = line.split("\t");
    const timeSeconds = Math.floor(Number(time));
    return { path, mode: Number.parseInt(mode, 8), uid: Number(uid), gid: Number(gid), timeSeconds, links: Number(links) };
  });
}

describe("reading what mke2fs made of a directory", () => {
  test.each([
    ["as it does by itself", []],
    ["with blocks of 1024 bytes", ["-b", "1024"]],
    ["with descriptors of 32 bytes", ["-O", "^64bit"]],
    ["without checksums", ["-O", "^metadata_csum"]],
    ["with a seed of its own for checksums", ["-O", "metadata_csum_seed"]],
    ["with inodes of 128 bytes", ["-I", "128"]],
  ])("%s", (_, options) => {
    const root = staged();
    fs.rmSync(image, { force: true });
    run("mke2fs", "-q", "-t", "ext4", ...options, "-L", "theirs", "-U", UUID, "-E", "root_owner=0:0", "-d", root, image, "64M");
    const { facts, list, readFile } = readExt4(readAtFile(image));
    expect(facts).toMatchObject({ label: "theirs", uuid: UUID, sizeBytes: 64 * MEBIBYTE, clean: true });
    const said = run("dumpe2fs", "-h", image);
    expect(said).toMatch(new RegExp(`^Filesystem features: +${facts.features.join(" ")}$`, "m"));
    expect(said).toMatch(new RegExp(`^Free blocks: +${facts.freeBytes / facts.blockBytes}$`, "m"));
    expect(said).toMatch(new RegExp(`^Free inodes: +${facts.freeInodes}$`, "m"));

    const entries = list();
    const plain = entries.map(({ path, mode, uid, gid, timeSeconds, links }) => ({ path, mode, uid, gid, timeSeconds, links }));
    const byPath = (a: { readonly path: string }, b: { readonly path: string }): number => (a.path < b.path ? -1 : 1);
    const given = plain.filter(({ path }) => path !== "" && path !== "lost+found");
    expect(given.toSorted(byPath)).toEqual(found(root).toSorted(byPath));
    const entry = (path: string): Ext4Entry | undefined => entries.find((entry) => entry.path === path);
    expect(entry("again")?.inode).toBe(entry("d/hello")?.inode ?? 0);
    expect(entry("short")).toMatchObject({ type: "symlink", target: "d/hello" });
    expect(entry("long")).toMatchObject({ type: "symlink", target: "long/".repeat(40) });
    expect(entry("fifo")).toMatchObject({ type: "fifo", mode: 0o600 });
    for (const path of ["d/hello", "d/e/large", "sparse"])
      expect(Buffer.compare(readFile(path) ?? Buffer.from("-"), fs.readFileSync(join(root, path)))).toBe(0);
    expect([readFile("d"), readFile("short"), readFile("d/none"), readFile("d/hello/none")]).toEqual(Array(4).fill(undefined));
  });

  test("whose directory has an index", () => {
    fs.rmSync(image, { force: true });
    run("mke2fs", "-q", "-t", "ext4", "-E", `hash_seed=${HASH_SEED}`, "-d", staged(), image, "64M");
    run("e2fsck", "-fyD", image);
    expect(debugfs(image, "stat /many")).toContain("Flags: 0x81000");
    expect(
      readExt4(readAtFile(image))
        .list()
        .filter(({ path }) => path.startsWith("many/")),
    ).toHaveLength(500);
  });
});

describe("what is not read", () => {
  const refused = (): string => {
    const { code, message } = thrownProblem(() => readExt4(readAtFile(image)).readFile("f"));
    return `${code} ${message.replace("reading an ext4 file system: ", "")}`;
  };

  test("a block map, inline data, a strange feature", () => {
    const root = join(scratch, "one");
    fs.mkdirSync(root);
    fs.writeFileSync(join(root, "f"), "f");
    const made = (...features: readonly string[]): void => {
      fs.rmSync(image, { force: true });
      run("mke2fs", "-q", "-t", "ext4", ...features, "-d", root, image, "16M");
    };
    made("-O", "^extent,^64bit");
    expect(refused()).toMatch(/^E_EXT4_UNREAD inode 2 has a block map, not extents$/);
    made("-O", "inline_data");
    expect(refused()).toMatch(/^E_EXT4_UNREAD it has features that are not read here: .* incompatible:15 /);
    made("-O", "^resize_inode,meta_bg");
    expect(refused()).toMatch(/^E_EXT4_UNREAD it has features that are not read here: .* incompatible:4 /);
  });

  test("more than was asked for", () => {
    writeImage(image, planExt4([file("f", "four")], OPTIONS).image);
    const { readFile } = readExt4(readAtFile(image));
    expect(readFile("f", 4)).toHaveLength(4);
    expect(thrownProblem(() => readFile("f", 3)).code).toBe("E_EXT4_UNREAD");
  });

  test("nothing at all", () => {
    for (const bytes of [new Uint8Array(), new Uint8Array(4096).fill(1)])
      expect(thrownProblem(() => readExt4(readAtOf(bytes))).message).toEndWith("there is no superblock");
  });
});

describe("a broken one", () => {
  const empty = Array.from({ length: 300 }, (_, number) => file(`d/${number}`));
  const entries = [file("a", "x".repeat(5000)), directory("d"), ...empty, symlink("s", "t".repeat(99)), file("e/f", "f")];
  writeImage(image, planExt4(entries, { ...OPTIONS, freeBytes: 0, journalBytes: 0 }).image);
  const sound = new Uint8Array(fs.readFileSync(image));
  const used = sound.findLastIndex((byte) => byte !== 0);
  const telling = Array.from(sound.entries()).flatMap(([at, byte]) => (byte === 0 ? [] : [at]));

  function everything(bytes: Uint8Array): number {
    const { list, readFile } = readExt4(readAtOf(bytes));
    return list().length + (readFile("a")?.length ?? 0) + (readFile("e/f")?.length ?? 0);
  }

  test("is told by its checksums", () => {
    expect(everything(sound)).toBe(entries.length + 3 + 5000 + 1);
    const bytes = sound.slice();
    bytes[1024 + 0x0c] = 1;
    expect(thrownProblem(() => everything(bytes)).message).toEndWith("the superblock's checksum is wrong");
  });

  test("gives a problem or less, whatever bytes are wrong", () => {
    const at = fc.oneof(fc.nat(used), fc.constantFrom(...telling));
    const wrong = fc.array(fc.record({ at, byte: fc.nat(255) }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(wrong, fc.boolean(), (changes, summed) => {
        const bytes = sound.slice();
        for (const { at, byte } of changes) bytes[at] = byte;
        // Without checksums more gets through.
        const view = new DataView(bytes.buffer);
        if (!summed) view.setUint32(1024 + 0x64, 0x6b, true);
        view.setUint32(1024 + 0x3fc, crc32c(bytes.subarray(1024, 1024 + 0x3fc)), true);
        try {
          everything(bytes);
        } catch (error) {
          if (!(error instanceof Problem)) throw error;
        }
      }),
      { numRuns: 150 },
    );
  });

  test("cut short gives a problem", () => {
    for (const length of [1024, 2047, 4096, 5000, 100_000, used - 4096])
      expect(thrownProblem(() => everything(sound.slice(0, length))).code).toBe("E_EXT4_DAMAGED");
  });
});
