/** Names that need not be text, both ways, against the two tars there are. */
import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fc from "fast-check";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import type { TarMember } from "./tar.ts";
import { readTar, type TarReading } from "./tar-read.ts";
import { concatenate, tarEnd, tarHeader } from "./tar-write.ts";

const directory = fs.mkdtempSync(`${tmpdir()}/garth-tar-bytes-`);
afterAll(() => fs.rmSync(directory, { recursive: true, force: true }));

const LIMITS = { members: 1000, contentBytes: 1 << 20 };

async function members(archive: Uint8Array, reading: TarReading): Promise<readonly TarMember[]> {
  async function* source(): AsyncGenerator<Uint8Array> {
    yield archive;
  }
  const found: TarMember[] = [];
  for await (const { content: _, ...member } of readTar(source(), "the archive", LIMITS, reading)) found.push(member);
  return found;
}

const anyBytes = (maxLength: number) =>
  fc.uint8Array({ min: 1, max: 255, minLength: 1, maxLength }).map((bytes) => Buffer.from(bytes).toString("latin1"));

describe("names as bytes", () => {
  test("any come back", async () => {
    const path = anyBytes(200).map((text) => `x${text.replaceAll(/[/.]/g, "_")}`);
    await fc.assert(
      fc.asyncProperty(path, anyBytes(300), fc.constantFrom("symlink", "directory", "file"), async (path, target, type) => {
        const member: TarMember = { path, type, mode: 0o644, uname: "", gname: "", sizeBytes: 0, mtimeSeconds: 1 };
        const whole = type === "symlink" ? { ...member, target } : member;
        expect(await members(concatenate([tarHeader(whole, "bytes"), tarEnd()]), { names: "bytes" })).toEqual([whole]);
      }),
    );
  });

  test.each(["bsdtar", "tar"])("%s unpacks them as they are, and packs them for us", async (program) => {
    const names = ["gr\xc3\xb6\xc3\x9fe", "\xff\xfe", `${"n".repeat(200)}\x80`, "new\nline", "back\\slash", "\\n", "%s"];
    const archive = concatenate([
      ...names.map((path) =>
        tarHeader(
          { path, type: "symlink", mode: 0o777, uname: "", gname: "", sizeBytes: 0, mtimeSeconds: 1, target: `to ${path}` },
          "bytes",
        ),
      ),
      tarEnd(),
    ]);
    const to = `${directory}/${program}`;
    fs.mkdirSync(to);
    const env = { PATH: "/usr/bin:/bin", LC_ALL: "C" };
    execFileSync(program, ["-xPf", "-", "-C", to], { input: archive, env, stdio: ["pipe", "pipe", "ignore"] });
    const latin1 = (bytes: Buffer): string => bytes.toString("latin1");
    expect(fs.readdirSync(to, { encoding: "buffer" }).map(latin1).toSorted()).toEqual(names.toSorted());
    const options = program === "tar" ? [] : ["--options=pax:hdrcharset=BINARY"];
    const packed = execFileSync(program, ["-cf", "-", "--format=pax", ...options, "-C", to, "."], { env });
    const found = await members(packed, { names: "bytes", belowDot: true });
    expect(found.map(({ path, target }) => [path, target]).toSorted()).toEqual(
      [["", undefined], ...names.map((name) => [name, `to ${name}`])].toSorted(),
    );
    await expect(members(packed, { names: "bytes" })).rejects.toThrow("could lead out");
    await expect(members(packed, { belowDot: true })).rejects.toThrow("not UTF-8");
  });
});
