/** For the tests of ISO 9660: an ESP, a tree with all that is held, and what is found of a tree that somebody unpacked. */
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { BlockImage, FileSystemEntry } from "./blocks.ts";
import { bytesOf, directory, expected, file, hardlink, symlink, TIME } from "./ext4.testing.ts";
import { type FatEntry, planFat } from "./fat.ts";
import { ISO_ESP_AT, type IsoOptions } from "./iso9660.ts";

export const GUIDS = {
  diskGuid: "6f0a2d3e-8b54-4c1f-9a77-000000000001",
  espGuid: "6f0a2d3e-8b54-4c1f-9a77-000000000002",
  contentGuid: "6f0a2d3e-8b54-4c1f-9a77-000000000003",
};

export function espOf(sizeBytes: number, files: Readonly<Record<string, Uint8Array>>): BlockImage {
  const entries = Object.entries(files).map(([path, bytes]): FatEntry => ({
    path,
    type: "file",
    content: { kind: "bytes", bytes },
  }));
  return planFat({
    sizeBytes,
    label: "ESP",
    volumeId: 0x1234_abcd,
    entries,
    timeSeconds: TIME,
    partitionOffsetBytes: ISO_ESP_AT,
  });
}

export const OPTIONS: IsoOptions = {
  label: "GARTH",
  timeSeconds: TIME,
  esp: espOf(2 ** 20, { "EFI/BOOT/BOOTX64.EFI": Buffer.from("started by nobody") }),
  disk: GUIDS,
};

export const SIZES = [0, 1, 2_047, 2_048, 2_049, 70_000] as const;
export const TARGETS = [
  ".",
  "..",
  "/",
  "../../usr/share",
  "/usr/lib/./x/../y",
  "a/",
  "with blank/ü",
  "t".repeat(1_023),
  `${"d".repeat(200)}/`.repeat(5),
  "e/".repeat(300),
  "../".repeat(300),
  // Ends of a field, before, on and behind a slash.
  ...[243, 244, 245, 246, 247, 248, 249, 250].map((length) => `${"f".repeat(length)}/gg/h`),
];

export function patterned(sizeBytes: number): Uint8Array {
  return Uint8Array.from({ length: sizeBytes }, (_, at) => ((at * 7 + (at >> 8)) & 0xff) | 1);
}

/** Every directory is in it. */
export const TREE: readonly FileSystemEntry[] = withDirectories([
  directory("tmp", 0o1777),
  directory("empty", 0o700),
  file("bin/su", "setuid", { mode: 0o4555 }),
  file("owned", "by somebody", { uid: 100_000, gid: 4_000_000_000, timeSeconds: 1_000_000_000 }),
  file("Grüße an\talle.tar.gz", "blanks and more"),
  ...["readme", "README", "Readme.txt", "readme.TXT", ".readme", "read me", "a.b.c.d"].map((name) => file(`same/${name}`, name)),
  ...SIZES.map((size) => file(`sizes/${size}`, patterned(size))),
  hardlink("again/su", "bin/su"),
  hardlink("again/deep/su", "bin/su"),
  ...TARGETS.map((target, at) => symlink(`links/${at}`, target)),
  ...Array.from({ length: 260 }, (_, at) => file(`many/${"n".repeat(Math.max(0, at - 10))}-${at}`.slice(0, 5 + 253), `${at}`)),
  directory(Array.from({ length: 30 }, (_, at) => `depth${at}`).join("/")),
  { ...file("dev/fifo"), type: "fifo" },
  { ...file("dev/null"), type: "character", major: 1, minor: 3 },
  { ...file("dev/sda1"), type: "block", major: 8, minor: 1 },
]);

function withDirectories(entries: readonly FileSystemEntry[]): readonly FileSystemEntry[] {
  const paths = new Set(entries.map(({ path }) => path));
  const above = new Set<string>([""]);
  for (const { path } of entries) {
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) above.add(path.slice(0, at));
  }
  return [...[...above].filter((path) => !paths.has(path)).map((path) => directory(path)), ...entries];
}

export interface Fact {
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly timeSeconds: number;
  readonly links: number;
  /** The digest of a file, the target of a link, the number of a device. */
  readonly content: string;
}

export function digest(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

/** Of entries whose directories are all listed. */
export function factsOf(entries: readonly FileSystemEntry[]): ReadonlyMap<string, Fact> {
  const byPath = new Map(entries.map((entry) => [entry.path, entry]));
  const real = (entry: FileSystemEntry): FileSystemEntry => {
    const target = entry.type === "hardlink" ? byPath.get(entry.target) : undefined;
    return target === undefined ? entry : real(target);
  };
  const names = new Map<FileSystemEntry, number>();
  const directories = new Map<string, number>();
  for (const entry of entries) {
    names.set(real(entry), (names.get(real(entry)) ?? 0) + 1);
    const parent = entry.path.slice(0, Math.max(0, entry.path.lastIndexOf("/")));
    if (entry.type === "directory" && entry.path !== "") directories.set(parent, (directories.get(parent) ?? 0) + 1);
  }
  const wanted = expected(entries);
  return new Map(
    entries.map((entry): [string, Fact] => {
      const one = wanted.get(entry.path);
      if (one === undefined) throw new Error(`nothing is expected of ${entry.path}`);
      const { type, mode, uid, gid, timeSeconds } = one;
      const links = type === "directory" ? 2 + (directories.get(entry.path) ?? 0) : (names.get(real(entry)) ?? 0);
      const content =
        type === "file"
          ? digest(bytesOf(real(entry)))
          : one.device === undefined
            ? (one.target ?? "")
            : `${one.device.major}:${one.device.minor}`;
      return [entry.path, { type, mode, uid, gid, timeSeconds, links, content }];
    }),
  );
}

/** Of a directory of this machine. Links of directories are the machine's own: 0. */
export function factsBelow(root: string): ReadonlyMap<string, Fact> {
  const found = new Map<string, Fact>();
  const add = (path: string): void => {
    const place = `${root}/${path}`;
    const is = lstatSync(place);
    const common = {
      mode: is.mode & 0o7777,
      uid: is.uid,
      gid: is.gid,
      timeSeconds: Math.floor(is.mtimeMs / 1000),
      links: is.nlink,
    };
    if (is.isDirectory()) {
      found.set(path, { ...common, type: "directory", links: 0, content: "" });
      for (const name of readdirSync(place)) add(path === "" ? name : `${path}/${name}`);
    } else if (is.isSymbolicLink()) found.set(path, { ...common, type: "symlink", content: readlinkSync(place) });
    else if (is.isFile()) found.set(path, { ...common, type: "file", content: digest(readFileSync(place)) });
    else if (is.isFIFO()) found.set(path, { ...common, type: "fifo", content: "" });
    else {
      const number = `${(is.rdev >> 8) & 0xfff}:${is.rdev & 0xff}`;
      found.set(path, { ...common, type: is.isBlockDevice() ? "block" : "character", content: number });
    }
  };
  add("");
  return found;
}
