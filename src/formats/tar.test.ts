import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { Problem } from "../base/index.ts";
import {
  compressZstd,
  concatenate,
  decompress,
  readTar,
  sniffCompression,
  tarArchive,
  tarEnd,
  tarHeader,
  type TarLimits,
  type TarMember,
} from "./index.ts";

const scratch = mkdtempSync(join(tmpdir(), "garth-tar-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const FILE: TarMember = {
  path: "/usr/local/bin/x",
  type: "file",
  mode: 0o755,
  uname: "root",
  gname: "wheel",
  sizeBytes: 0,
  mtimeSeconds: 1,
};
const WIDE: TarLimits = { members: 1000, contentBytes: 1 << 30 };

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

type Read = TarMember & { readonly text: string };

async function read(
  bytes: Uint8Array,
  options: { readonly size?: number; readonly limits?: TarLimits } = {},
): Promise<readonly Read[]> {
  const found: Read[] = [];
  for await (const { content, ...member } of readTar(
    pieces(bytes, options.size ?? 1 << 16),
    "test.tar",
    options.limits ?? WIDE,
  )) {
    const parts: Uint8Array[] = [];
    for await (const part of content()) parts.push(part.slice());
    found.push({ ...member, text: Buffer.concat(parts).toString() });
  }
  return found;
}

async function code(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "nothing was refused";
  } catch (error) {
    return error instanceof Problem ? error.code : String(error);
  }
}

/** Changes a header and makes its checksum right again. */
function patched(archive: Uint8Array, at: number, text: string): Uint8Array {
  const copy = archive.slice();
  copy.set(Buffer.from(text, "latin1"), at);
  copy.set(Buffer.from("        "), 148);
  const sum = copy.subarray(0, 512).reduce((a, b) => a + b, 0);
  copy.set(Buffer.from(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
  return copy;
}

const one = (member: Partial<TarMember>, content = ""): Uint8Array =>
  tarArchive([{ member: { ...FILE, ...member, sizeBytes: content.length }, content: Buffer.from(content) }]);

describe("what is written", () => {
  const long = `/frx/store/${"a".repeat(64)}-hello-2.10/share/${"deep/".repeat(30)}end`;
  const members: { member: TarMember; content?: Uint8Array }[] = [
    { member: { ...FILE, path: "+MANIFEST", sizeBytes: 2, mtimeSeconds: 0 }, content: Buffer.from("{}") },
    { member: { ...FILE, sizeBytes: 5 }, content: Buffer.from("hello") },
    { member: { ...FILE, path: "/usr/local/bin/y", type: "hardlink", target: "/usr/local/bin/x" } },
    { member: { ...FILE, path: "/usr/local/bin/z", type: "symlink", mode: 0o777, target: "x" } },
    { member: { ...FILE, path: "/usr/local/share/größe", sizeBytes: 1 }, content: Buffer.from("g") },
    { member: { ...FILE, path: long, sizeBytes: 1 }, content: Buffer.from("l") },
    { member: { ...FILE, path: "/usr/local/lib/link", type: "symlink", target: `/frx/store/${"b".repeat(120)}` } },
    { member: { ...FILE, path: `/${"p".repeat(150)}/${"n".repeat(100)}`, sizeBytes: 0 }, content: new Uint8Array(0) },
    { member: { ...FILE, path: "/usr/local/share/empty", type: "directory", mode: 0o555 } },
  ];
  const archive = tarArchive(members);

  test("is read by bsdtar as it was meant", () => {
    const file = join(scratch, "written.tar");
    writeFileSync(file, archive);
    const listed = execFileSync("bsdtar", ["-tvf", file], {
      encoding: "utf8",
      env: { PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8", TZ: "UTC" },
    });
    const lines = listed
      .trimEnd()
      .split("\n")
      .map((line) => line.replace(/\s+/g, " "));
    expect(lines).toEqual([
      "-rwxr-xr-x 0 root wheel 2 Jan 1 1970 +MANIFEST",
      "-rwxr-xr-x 0 root wheel 5 Jan 1 1970 /usr/local/bin/x",
      "hrwxr-xr-x 0 root wheel 0 Jan 1 1970 /usr/local/bin/y link to /usr/local/bin/x",
      "lrwxrwxrwx 0 root wheel 0 Jan 1 1970 /usr/local/bin/z -> x",
      "-rwxr-xr-x 0 root wheel 1 Jan 1 1970 /usr/local/share/größe",
      `-rwxr-xr-x 0 root wheel 1 Jan 1 1970 ${long}`,
      `lrwxr-xr-x 0 root wheel 0 Jan 1 1970 /usr/local/lib/link -> /frx/store/${"b".repeat(120)}`,
      `-rwxr-xr-x 0 root wheel 0 Jan 1 1970 /${"p".repeat(150)}/${"n".repeat(100)}`,
      "dr-xr-xr-x 0 root wheel 0 Jan 1 1970 /usr/local/share/empty/",
    ]);
  });
  test("keeps its names in the C locale, where libarchive would convert them", () => {
    const file = join(scratch, "written.tar");
    const listed = execFileSync("bsdtar", ["-xOf", file, "/usr/local/share/größe"], {
      env: { PATH: "/usr/bin:/bin", LC_ALL: "C" },
    });
    expect(listed.toString()).toBe("g");
  });
  test("comes back through our own reader, in chunks of any size", async () => {
    const expected = members.map(({ member, content }) => ({ ...member, text: Buffer.from(content ?? []).toString() }));
    for (const size of [1, 7, 512, 513, 1 << 20]) expect(await read(archive, { size })).toEqual(expected);
  });
  test("a file of 9 GiB has its size in a pax record", async () => {
    const header = tarHeader({ ...FILE, sizeBytes: 9 * 2 ** 30 });
    const entries = readTar(pieces(header, 512), "large", { members: 1, contentBytes: 10 * 2 ** 30 });
    const first = await entries.next();
    expect(first.value).toMatchObject({ path: FILE.path, sizeBytes: 9 * 2 ** 30 });
    await entries.return();
  });
});

describe("what others write", () => {
  test("is read in every format, with long names", async () => {
    const tree = join(scratch, "tree");
    const deep = join(tree, "d".repeat(90), "e".repeat(90));
    mkdirSync(deep, { recursive: true });
    writeFileSync(join(deep, "f".repeat(120)), "deep");
    writeFileSync(join(tree, "größe"), "umlaut");
    linkSync(join(tree, "größe"), join(tree, "hard"));
    symlinkSync("x".repeat(150), join(tree, "soft"));
    for (const format of ["gnutar", "pax", "ustar"]) {
      const names = format === "ustar" ? ["größe", "hard"] : ["größe", "hard", "soft", "d".repeat(90)];
      const archive = execFileSync("bsdtar", ["-cf", "-", "--format", format, "-C", tree, ...names], { maxBuffer: 1 << 24 });
      const found = new Map((await read(archive)).map((entry) => [entry.path, entry]));
      expect(found.get("größe")?.text).toBe("umlaut");
      expect(found.get("hard")).toMatchObject({ type: "hardlink", target: "größe" });
      if (format === "ustar") continue;
      expect(found.get("soft")).toMatchObject({ type: "symlink", target: "x".repeat(150) });
      expect(found.get(`${"d".repeat(90)}/${"e".repeat(90)}/${"f".repeat(120)}`)?.text).toBe("deep");
    }
  });
});

describe("what is refused", () => {
  const good = one({}, "hello");
  test("an archive cut off anywhere", async () => {
    for (const length of [0, 1, 511, 512, 514, 1024, 1536, good.length - 1]) {
      expect([length, await code(read(good.subarray(0, length)))]).toEqual([length, "E_ARCHIVE_TRUNCATED"]);
    }
  });
  test("a header with a flipped bit, wherever it is", async () => {
    for (let at = 0; at < 512; at += 3) {
      const copy = good.slice();
      copy[at] = (copy[at] ?? 0) ^ 1;
      expect([at, await code(read(copy))]).toEqual([at, "E_ARCHIVE_DAMAGED"]);
    }
  });
  test("data after the end", async () => {
    expect(await code(read(concatenate([good, Buffer.from("x")])))).toBe("E_ARCHIVE_DAMAGED");
    expect(await code(read(concatenate([good, new Uint8Array(4096)])))).toBe("nothing was refused");
  });
  for (const path of ["../x", "/usr/../../etc/passwd", "/a//b", "./x", "/a/./b", "..", "/"]) {
    test(`the name ${path}`, async () => {
      expect(await code(read(one({ path })))).toBe("E_ARCHIVE_MEMBER");
    });
  }
  test("a hard link to a name that climbs", async () => {
    expect(await code(read(one({ type: "hardlink", target: "../../etc/shadow" })))).toBe("E_ARCHIVE_MEMBER");
  });
  test("devices, fifos and kinds nobody knows", async () => {
    for (const flag of ["3", "4", "6", "S", "Z"]) expect(await code(read(patched(good, 156, flag)))).toBe("E_ARCHIVE_MEMBER");
  });
  test("a symlink or directory with content", async () => {
    expect(await code(read(patched(good, 156, "5")))).toBe("E_ARCHIVE_MEMBER");
  });
  test("names that are not UTF-8", async () => {
    expect(await code(read(patched(good, 0, "/a\xff\0")))).toBe("E_ARCHIVE_MEMBER");
  });
  test("more members or more content than allowed, before reading it", async () => {
    expect(await code(read(good, { limits: { members: 0, contentBytes: 100 } }))).toBe("E_ARCHIVE_LIMIT");
    expect(await code(read(good, { limits: { members: 1, contentBytes: 4 } }))).toBe("E_ARCHIVE_LIMIT");
    const huge = tarHeader({ ...FILE, sizeBytes: 2 ** 40 });
    expect(await code(read(huge))).toBe("E_ARCHIVE_LIMIT");
  });
  test("a pax header with a wrong length, a global one that renames", async () => {
    const header = (flag: string, body: string): Uint8Array =>
      concatenate([
        patched(tarHeader({ ...FILE, sizeBytes: body.length }), 156, flag),
        Buffer.from(body.padEnd(512, "\0"), "latin1"),
        good,
      ]);
    expect(await code(read(header("x", "99 path=a\n")))).toBe("E_ARCHIVE_DAMAGED");
    expect(await code(read(header("x", "x\n")))).toBe("E_ARCHIVE_DAMAGED");
    expect(await code(read(header("g", "10 path=a\n")))).toBe("E_ARCHIVE_DAMAGED");
    expect(await code(read(header("x", "15 path=../../a\n".replace("15", "16"))))).toBe("E_ARCHIVE_MEMBER");
    expect(
      await code(read(concatenate([patched(tarHeader({ ...FILE, sizeBytes: 2 << 20 }), 156, "x"), new Uint8Array(3 << 20)]))),
    ).toBe("E_ARCHIVE_LIMIT");
  });
});

describe("properties", () => {
  const component = fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 }).map((text) => text.replaceAll(/[/\0]/g, "_"));
  const path = fc
    .array(component, { minLength: 1, maxLength: 6 })
    .filter((parts) => parts.every((part) => part !== "." && part !== ".." && part.isWellFormed()))
    .map((parts) => `/${parts.join("/")}`);
  test("any name and content comes back", async () => {
    await fc.assert(
      fc.asyncProperty(
        path,
        fc.uint8Array({ maxLength: 2000 }),
        fc.integer({ min: 1, max: 3000 }),
        async (name, content, size) => {
          const archive = tarArchive([{ member: { ...FILE, path: name, sizeBytes: content.length }, content }]);
          const [found] = await read(archive, { size });
          expect(found?.path).toBe(name);
          expect(found?.text).toBe(Buffer.from(content).toString());
        },
      ),
      { numRuns: 60 },
    );
  });
  test("random bytes give members or a Problem, never anything else", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 4096 }),
        fc.nat(511),
        fc.integer({ min: 0, max: 255 }),
        async (noise, at, byte) => {
          const damaged = one({}, "hello").slice();
          damaged[at] = byte;
          for (const bytes of [noise, damaged, concatenate([damaged, noise])]) {
            expect(await code(read(bytes))).toMatch(/^E_ARCHIVE_|^nothing/);
          }
        },
      ),
    );
  });
});

describe("compressed streams", () => {
  const text = Buffer.from("compress me ".repeat(50_000));
  const compressed = async (level: number, size: number): Promise<Buffer> => {
    const parts: Uint8Array[] = [];
    for await (const part of compressZstd(pieces(text, size), level)) parts.push(part);
    return Buffer.concat(parts);
  };
  test("are the same bytes each time, and what zstd(1) reads", async () => {
    const first = await compressed(19, 4096);
    expect(await compressed(19, 4096)).toEqual(first);
    expect(execFileSync("zstd", ["-dc"], { input: first })).toEqual(text);
    expect(sniffCompression(first)).toBe("zstd");
  });
  test("are told apart by their first bytes", () => {
    for (const [tool, kind] of [
      ["gzip", "gzip"],
      ["xz", "xz"],
      ["bzip2", "bzip2"],
      ["zstd", "zstd"],
      ["cat", "none"],
    ] as const) {
      expect(sniffCompression(execFileSync(tool, [], { input: text }))).toBe(kind);
    }
    expect(sniffCompression(new Uint8Array(0))).toBe("none");
  });
  test("that are not what they say they are, are refused", async () => {
    const whole = await compressed(3, 1 << 20);
    const drain = async (bytes: Uint8Array): Promise<void> => {
      for await (const _ of decompress(pieces(bytes, 1000), "zstd", "x"));
    };
    expect(await code(drain(whole))).toBe("nothing was refused");
    const changed = whole.slice();
    changed.fill(0xff, 4, 12);
    expect(await code(drain(changed))).toBe("E_ARCHIVE_DAMAGED");
  });
  test("hand on what went wrong in their source as it is", async () => {
    const failing = (async function* () {
      yield text;
      throw new Problem({ code: "E_TEST", message: "the source broke" });
    })();
    const drain = async (): Promise<void> => {
      for await (const _ of compressZstd(failing, 1));
    };
    expect(await code(drain())).toBe("E_TEST");
  });
  test("end of an archive is two blocks", () => expect(tarEnd()).toEqual(new Uint8Array(1024)));
});
