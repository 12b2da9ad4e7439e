/** For the tests of ext4: entries in few words, random trees, and what e2fsprogs says of an image. */
import { spawnSync } from "node:child_process";
import fc from "fast-check";
import type { FileSystemEntry } from "./blocks.ts";
import type { Ext4Options } from "./ext4.ts";
import type { Ext4Entry } from "./ext4-read.ts";

export const UUID = "6f0a2d3e-8b54-4c1f-9a77-0123456789ab";
export const HASH_SEED = "c0ffee00-1234-4abc-8def-fedcba987654";
export const TIME = 1_700_000_000;
export const OPTIONS: Ext4Options = { label: "garth", uuid: UUID, hashSeed: HASH_SEED, timeSeconds: TIME };
export const MEBIBYTE = 2 ** 20;

const ENVIRONMENT = { ...process.env, LC_ALL: "C.UTF-8", TZ: "UTC" };
const PLAIN = { mode: 0o644, uid: 0, gid: 0, timeSeconds: TIME } as const;

export function file(
  path: string,
  content: string | Uint8Array = "",
  more: Partial<typeof PLAIN> | object = {},
): FileSystemEntry {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  return { ...PLAIN, ...more, path, type: "file", content: { kind: "bytes", bytes } };
}

/** A content that the machine knows by name. */
export function foreign(path: string, sizeBytes: number, name = path): FileSystemEntry {
  return { ...PLAIN, path, type: "file", content: { kind: "file", file: name, sizeBytes } };
}

export function directory(path: string, mode = 0o755): FileSystemEntry {
  return { ...PLAIN, mode, path, type: "directory" };
}

export function symlink(path: string, target: string): FileSystemEntry {
  return { ...PLAIN, mode: 0o777, path, type: "symlink", target };
}

export function hardlink(path: string, target: string): FileSystemEntry {
  return { ...PLAIN, path, type: "hardlink", target };
}

/** What a tool prints on both channels. @throws Error when it ends with anything but 0 */
export function run(tool: string, ...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(tool, args, { encoding: "utf8", env: ENVIRONMENT, maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`${tool} ${args.join(" ")} ended with ${status}: ${error ?? ""}${stdout}${stderr}`);
  return `${stdout}${stderr}`;
}

/** e2fsck ends with 0 for nothing but a clean file system; what it would repair it asks about. */
export function fsck(image: string): string {
  const said = run("e2fsck", "-fn", image);
  if (/\?|WARNING/.test(said)) throw new Error(said);
  return said;
}

export function debugfs(image: string, request: string): string {
  return run("debugfs", "-R", request, image).replace(/^debugfs .*\n/m, "");
}

/** What a reader should find of these entries, by path: hard links as the file they name; content left out. */
export function expected(entries: readonly FileSystemEntry[]): ReadonlyMap<string, Omit<Ext4Entry, "inode" | "links" | "path">> {
  const byPath = new Map(entries.map((entry) => [entry.path, entry]));
  const named = (entry: FileSystemEntry): FileSystemEntry => {
    const target = entry.type === "hardlink" ? byPath.get(entry.target) : entry;
    if (target === undefined) throw new Error(`${entry.path} links to nothing`);
    return target.type === "hardlink" ? named(target) : target;
  };
  return new Map(
    entries.map((entry) => {
      const real = named(entry);
      const { mode, uid, gid, timeSeconds, type } = real;
      if (type === "hardlink") throw new Error(`${entry.path} links to a link`);
      const found = { type, mode, uid, gid, timeSeconds, sizeBytes: 0 };
      switch (type) {
        case "file":
          return [entry.path, { ...found, sizeBytes: bytesOf(real).length }];
        case "symlink":
          return [entry.path, { ...found, sizeBytes: Buffer.byteLength(real.target), target: real.target }];
        case "character":
        case "block":
          return [entry.path, { ...found, device: { major: real.major, minor: real.minor } }];
        case "directory":
        case "fifo":
          return [entry.path, found];
      }
    }),
  );
}

/** The content of an entry that has it in memory. */
export function bytesOf(entry: FileSystemEntry): Uint8Array {
  if (entry.type !== "file" || entry.content.kind !== "bytes") throw new Error(`${entry.path} has no bytes`);
  return entry.content.bytes;
}

const attributes = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.oneof(fc.nat(1000), fc.nat(0xfffffffe)),
  gid: fc.oneof(fc.nat(1000), fc.nat(0xfffffffe)),
  timeSeconds: fc.oneof(fc.nat(2_000_000_000), fc.integer({ min: -(2 ** 31), max: 10_000_000_000 })),
});
const name = fc
  .oneof(
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }),
    fc.string({ unit: fc.constantFrom("a", "b", "."), minLength: 1, maxLength: 4 }),
    fc.integer({ min: 200, max: 255 }).map((length) => "n".repeat(length)),
  )
  .filter(
    (name) => !/[/\0]|^\.{1,2}$/.test(name) && name.isWellFormed() && Buffer.byteLength(name) <= 255 && name !== "lost+found",
  );
const size = fc.oneof(fc.constantFrom(0, 1, 4095, 4096, 4097, 40_960), fc.nat(30_000));
const leaf = fc.oneof(
  { weight: 5, arbitrary: fc.record({ type: fc.constant("file" as const), size, seed: fc.nat(255) }) },
  fc.record({
    type: fc.constant("symlink" as const),
    target: fc.oneof(
      fc.constantFrom(1, 59, 60, 61, 4094, 4095).map((length) => "t".repeat(length)),
      fc
        .string({ unit: "grapheme", minLength: 1, maxLength: 80 })
        .filter((target) => !target.includes("\0") && target.isWellFormed()),
    ),
  }),
  fc.record({
    type: fc.constantFrom("character" as const, "block" as const),
    major: fc.nat(0xfff),
    minor: fc.oneof(fc.nat(0xff), fc.nat(0xfffff)),
  }),
  fc.record({ type: fc.constant("fifo" as const) }),
  fc.record({ type: fc.constant("hardlink" as const), to: fc.nat(1000) }),
);
type Leaf = typeof leaf extends fc.Arbitrary<infer Value> ? Value : never;

/** Trees of any shape: each entry goes into a directory that is there by then. */
export const anyEntries: fc.Arbitrary<readonly FileSystemEntry[]> = fc
  .array(fc.record({ within: fc.nat(1000), name, attributes, is: fc.option(leaf, { freq: 3 }) }), { maxLength: 60 })
  .map((rows) => {
    const directories = [""];
    const entries = new Map<string, FileSystemEntry>();
    for (const row of rows) {
      const above = directories[row.within % directories.length] ?? "";
      const path = above === "" ? row.name : `${above}/${row.name}`;
      if (entries.has(path)) continue;
      const entry = entryOf(path, row.attributes, row.is, [...entries.values()]);
      if (entry.type === "directory") directories.push(path);
      entries.set(path, entry);
    }
    return [...entries.values()];
  });

function entryOf(
  path: string,
  attributes:
    | Omit<typeof PLAIN, "mode">
    | { readonly mode: number; readonly uid: number; readonly gid: number; readonly timeSeconds: number },
  is: Leaf | null,
  before: readonly FileSystemEntry[],
): FileSystemEntry {
  const common = { ...PLAIN, ...attributes, path };
  if (is === null) return { ...common, type: "directory" };
  if (is.type === "file") {
    const bytes = Uint8Array.from({ length: is.size }, (_, at) => is.seed + at * 7);
    return { ...common, type: "file", content: { kind: "bytes", bytes } };
  }
  if (is.type !== "hardlink") return { ...common, ...is };
  const targets = before.filter(({ type }) => type !== "directory");
  const target = targets[is.to % Math.max(targets.length, 1)];
  return target === undefined ? { ...common, type: "fifo" } : { ...common, type: "hardlink", target: target.path };
}
