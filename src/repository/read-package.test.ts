/** Hostile and broken packages, each refused by name. */
import { afterAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import fc from "fast-check";
import { Problem, sha256 } from "../base/index.ts";
import { pkgBase32, tarArchive, type TarMember } from "../formats/index.ts";
import { inspectPackage, readManifest } from "./index.ts";
import { codeOf, packageBytes, rawFile as member, type RawMember, smallManifest, workshop } from "./testing.ts";

const shop = workshop();
afterAll(() => shop[Symbol.dispose]());
const { host } = shop;

describe("packages by themselves", () => {
  const FILES = { "/usr/local/bin/hello": "hello", "/usr/local/bin/twice": "hello" };
  let written = 0;
  const inspect = (
    edit: (members: readonly RawMember[]) => readonly RawMember[],
    change: Parameters<typeof smallManifest>[0] = {},
    files: Readonly<Record<string, string>> = FILES,
  ) => {
    const file = shop.directory(`hostile-${(written += 1)}.pkg`);
    writeFileSync(file, packageBytes(smallManifest(change, files), files, edit));
    return codeOf(() => inspectPackage(host, file));
  };
  const at = (path: string, type: TarMember["type"], target?: string): RawMember => ({
    member: {
      path,
      type,
      mode: 0o755,
      uname: "root",
      gname: "wheel",
      sizeBytes: 0,
      mtimeSeconds: 0,
      ...(target === undefined ? {} : { target }),
    },
  });
  const entry = { uname: "root", gname: "wheel", mode: 0o755, sizeBytes: 0 };
  const linkTo = (path: string, target: string) => ({
    ...entry,
    path,
    type: "symlink" as const,
    sum: `1$${sha256(target)}`,
    target,
  });

  test("a good one", async () => expect(await inspect((all) => all)).toBe("nothing was refused"));
  test("a hard link to an earlier file of it", async () => {
    expect(await inspect((all) => [...all.slice(0, 3), at("/usr/local/bin/twice", "hardlink", "/usr/local/bin/hello")])).toBe(
      "nothing was refused",
    );
    expect(await inspect((all) => [...all.slice(0, 3), at("/usr/local/bin/twice", "hardlink", "/etc/passwd")])).toBe(
      "E_PACKAGE_CONTENT",
    );
  });
  test("sums of every kind pkg writes", async () => {
    for (const sum of [
      `1$${sha256("hello")}`,
      sha256("hello"),
      `0$${pkgBase32(createHash("sha256").update("hello").digest())}`,
      `2$${pkgBase32(createHash("blake2b512").update("hello").digest())}`,
      `5$${pkgBase32(createHash("blake2s256").update("hello").digest())}`,
    ]) {
      const files = [{ ...entry, path: "/usr/local/bin/hello", type: "file" as const, sum, sizeBytes: 5 }];
      expect([sum, await inspect((all) => all, { files }, { "/usr/local/bin/hello": "hello" })]).toEqual([
        sum,
        "nothing was refused",
      ]);
    }
    const files = [{ ...entry, path: "/usr/local/bin/hello", type: "file" as const, sum: "9$x", sizeBytes: 5 }];
    expect(await inspect((all) => all, { files })).toBe("E_SUM_TYPE");
  });
  test("content that is not what the manifest says", async () => {
    expect(await inspect((all) => all.map((m, index) => (index === 2 ? member(m.member.path, "HELLO") : m)))).toBe(
      "E_PACKAGE_CONTENT",
    );
    expect(await inspect((all) => all.slice(0, -1))).toBe("E_PACKAGE_CONTENT");
    expect(await inspect((all) => [...all, member("/usr/local/bin/more", "x")])).toBe("E_PACKAGE_CONTENT");
    expect(await inspect((all) => [...all, ...all.slice(-1)])).toBe("E_PACKAGE_CONTENT");
    expect(await inspect((all) => [...all, at("/usr/local/x", "directory")])).toBe("E_PACKAGE_CONTENT");
    expect(await inspect((all) => all.map((m, index) => (index === 2 ? at(m.member.path, "symlink", "x") : m)))).toBe(
      "E_PACKAGE_CONTENT",
    );
  });
  test("names that climb or are relative", async () => {
    expect(await inspect((all) => [...all, member("/usr/../../etc/passwd", "x")])).toBe("E_ARCHIVE_MEMBER");
    expect(await inspect((all) => all.map((m, index) => (index === 2 ? member("usr/local/bin/hello", "hello") : m)))).toBe(
      "E_PACKAGE_CONTENT",
    );
  });
  test("a file that would be written through a symlink of the same package", async () => {
    const files = [
      linkTo("/usr/local/lib", "/etc"),
      { ...entry, path: "/usr/local/lib/passwd", type: "file" as const, sum: `1$${sha256("x")}`, sizeBytes: 1 },
    ];
    expect(await inspect((all) => all, { files }, { "/usr/local/lib/passwd": "x" })).toBe("E_PACKAGE_ESCAPES");
  });
  test("a symlink that climbs above the root; one that points elsewhere is nothing unusual", async () => {
    expect(await inspect((all) => all, { files: [linkTo("/usr/local/x", "../../../etc/passwd")] })).toBe("E_PACKAGE_ESCAPES");
    expect(
      await inspect((all) => all, {
        files: [linkTo("/usr/local/x", "../../etc/passwd"), linkTo("/usr/local/y", "/frx/store/x")],
      }),
    ).toBe("nothing was refused");
  });
  test("a file that is not there", async () => {
    expect(await codeOf(() => inspectPackage(host, shop.directory("none.pkg")))).toBe("E_NO_SUCH_FILE");
    expect(await codeOf(() => readManifest(host, shop.directory("none.pkg")))).toBe("E_NO_SUCH_FILE");
  });
  test("no manifest, one too many, or a late one", async () => {
    expect(await inspect((all) => all.slice(2))).toBe("E_NOT_A_PACKAGE");
    expect(await inspect((all) => [...all.slice(0, 2), ...all])).toBe("E_NOT_A_PACKAGE");
    expect(await inspect((all) => [...all.slice(2), ...all.slice(0, 2)])).toBe("E_NOT_A_PACKAGE");
  });
  test("a manifest that claims to be huge", async () => {
    const file = shop.directory("bomb.pkg");
    writeFileSync(file, Bun.zstdCompressSync(tarArchive([member("+MANIFEST", Buffer.alloc(65 << 20))])));
    expect(await codeOf(() => inspectPackage(host, file))).toBe("E_ARCHIVE_LIMIT");
  });
  test("cut off or changed anywhere: refused, or the very same content", async () => {
    const whole = Buffer.from(packageBytes(smallManifest({}, FILES), FILES));
    const file = shop.directory("changed.pkg");
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 }), async (position, change) => {
        const bytes = change === 0 ? whole.subarray(0, position) : Buffer.from(whole);
        if (change !== 0) bytes[position] = (bytes[position] ?? 0) ^ change;
        writeFileSync(file, bytes);
        try {
          const { manifest } = await inspectPackage(host, file);
          expect(manifest.files.length).toBe(2);
        } catch (error) {
          expect(error).toBeInstanceOf(Problem);
        }
      }),
      { numRuns: 200 },
    );
  });
});
