/** `garth system install` as people call it: onto files and a loop device, refused, shown, interrupted. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CommandPlace, commandPlace } from "./systems.testing.ts";

setDefaultTimeout(240_000);
let place: CommandPlace;
const devices: string[] = [];
beforeAll(() => {
  place = commandPlace();
});
afterAll(() => {
  for (const device of devices) tool("losetup", "-d", device);
  place.remove();
});

const MIB = 1 << 20;
const tool = (program: string, ...words: readonly string[]): string => execFileSync(program, words, { encoding: "utf8" });
const at = (name: string): string => join(place.directory, name);
function loop(name: string, sizeBytes: number, ...options: readonly string[]): string {
  writeFileSync(at(name), "");
  truncateSync(at(name), sizeBytes);
  const device = tool("losetup", "-f", "--show", "-P", ...options, at(name)).trim();
  devices.push(device);
  return device;
}
/** Code and details of what was refused. */
function refused(...words: readonly string[]): {
  readonly status: number | null;
  readonly code: string;
  readonly details: string;
} {
  const { status, stdout } = place.call("system", "install", "#web", ...words, "--json");
  const { error } = Object(JSON.parse(stdout));
  return { status, code: error.code, details: (error.details ?? []).join("; ") };
}

describe("into a file", () => {
  test("first it is shown, then written; the receipt says what, and verify finds nothing", () => {
    const shown = place.call("system", "install", "#web", "web.raw", "--size", "80M", "--dry-run");
    expect(shown).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^installs web: .*-system-web\nonto {5}.*web\.raw: a new file, 80 MiB/),
    });
    expect(existsSync(at("web.raw"))).toBe(false);
    const { status, stdout, stderr } = place.call(
      "system",
      "install",
      "#web",
      "web.raw",
      "--size",
      "80M",
      "--receipt",
      "receipt",
    );
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: expect.stringMatching(
        /^web -> .*web\.raw: [\d.]+ KiB written, 0 B cleared, read back and the same; sha256 [0-9a-f]{64} {2}\[install-web-[0-9a-f]{12}\]\nPASS web\n$/,
      ),
    });
    expect(stderr).toContain("install    writing file systems");
    expect(stderr).toMatch(/install {4}reading back: 100 % of /);
    const receipt = readFileSync(at("receipt"), "utf8");
    expect(receipt).toContain(`target=${at("web.raw")}\ntarget_kind=file\ndisk_capacity=${80 * MIB}\n`);
    expect(receipt).toContain(`raw_sha256=${tool("sha256sum", at("web.raw")).slice(0, 64)}\n`);
    expect(place.call("receipt", "show", "install-web").stdout).toContain("target_kind=file");
    expect(place.call("image", "verify", "web.raw").status).toBe(0);
    expect(place.call("image", "inspect", "web.raw").stdout).toContain("-system-web");
  });

  test("that is there it says what would be lost, until it is told to", () => {
    expect(refused("web.raw")).toEqual({
      status: 2,
      code: "E_TARGET_NOT_EMPTY",
      details: expect.stringMatching(/^a GUID partition table with 2 partitions: efiboot 8 MiB, garth-root /),
    });
    const again = place.document("system", "install", "#web", "web.raw", "--force", "--no-verify");
    expect(again).toMatchObject({
      installation: { target: { kind: "file", sizeBytes: 80 * MIB }, overwrites: [expect.stringMatching(/^a GUID/)] },
      fields: { read_back: "no", overwritten: expect.stringMatching(/^a GUID/) },
    });
    expect(Object(again).installation.image).toBeUndefined();
    expect(place.call("image", "verify", "web.raw").status).toBe(0);
  });

  test("that cannot be is refused before anything is built", () => {
    mkdirSync(at("directory"));
    expect(refused("directory")).toMatchObject({ status: 2, code: "E_TARGET_KIND" });
    expect(refused("no/such/web.raw")).toMatchObject({ status: 2, code: "E_NO_SUCH_DIRECTORY" });
    expect(refused("/dev/null")).toMatchObject({ status: 2, code: "E_TARGET_KIND" });
    expect(refused("x.raw", "--size", "much")).toMatchObject({ status: 2, code: "E_BAD_SIZE" });
    expect(refused("x.raw", "--size", "1000")).toMatchObject({ status: 2, code: "E_INSTALL_SIZE" });
    expect(refused("x.raw", "--size", "9M")).toMatchObject({
      status: 2,
      code: "E_IMAGE_TOO_SMALL",
      details: expect.stringContaining("missing:"),
    });
    expect(existsSync(at("x.raw"))).toBe(false);
  });

  test("is interrupted, and there is none", async () => {
    const started = place.start("system", "install", "#web", "interrupted.raw", "--size", "20G");
    await started.until("install    ");
    started.child.kill("SIGINT");
    expect(await started.ended()).toMatchObject({ status: 130 });
    expect(existsSync(at("interrupted.raw"))).toBe(false);
  });
});

describe("onto a disk", () => {
  test("takes all of it, and is refused while somebody uses that", () => {
    const device = loop("disk", 120 * MIB);
    expect(refused(device, "--size", "64M")).toMatchObject({ status: 2, code: "E_INSTALL_SIZE" });
    const { status, stdout } = place.call("system", "install", "#web", device);
    expect(status).toBe(0);
    expect(stdout).toContain(`web -> ${device}: `);
    expect(place.call("image", "verify", device)).toMatchObject({ status: 0 });
    expect(statSync(at("disk")).size).toBe(120 * MIB);
    expect(refused(device)).toMatchObject({ code: "E_TARGET_NOT_EMPTY" });
    expect(refused(at("disk"), "--force")).toEqual({ status: 2, code: "E_TARGET_IN_USE", details: `${device} is made of it` });
    expect(refused(`${device}p2`, "--force")).toMatchObject({ code: "E_TARGET_PARTITION" });

    const mount = at("mount point");
    mkdirSync(mount);
    tool("mount", `${device}p2`, mount);
    try {
      expect(refused(device, "--force")).toEqual({
        status: 2,
        code: "E_TARGET_IN_USE",
        details: `${device}p2 is mounted on ${mount}`,
      });
    } finally {
      tool("umount", mount);
    }
    expect(place.call("system", "install", "#web", device, "--force").status).toBe(0);
    expect(place.call("image", "verify", device).status).toBe(0);
  });

  test("that is swapped to, not written to, or of other sectors is refused", () => {
    const swap = loop("swap", 64 * MIB);
    tool("mkswap", swap);
    tool("swapon", swap);
    try {
      expect(refused(swap, "--force")).toEqual({ status: 2, code: "E_TARGET_IN_USE", details: `${swap} is swapped to` });
    } finally {
      tool("swapoff", swap);
    }
    expect(refused(swap)).toMatchObject({ code: "E_TARGET_NOT_EMPTY", details: "swap" });
    expect(refused(loop("read-only", 64 * MIB, "-r"))).toMatchObject({ status: 3, code: "E_TARGET_READ_ONLY" });
    expect(refused(loop("sectors", 64 * MIB, "-b", "4096"))).toMatchObject({ status: 3, code: "E_TARGET_SECTORS" });
  });

  test("that has no medium is told of", () => {
    const device = loop("gone", 64 * MIB);
    tool("losetup", "-d", device);
    devices.pop();
    // The node is there, with nothing behind it.
    expect(refused(device)).toMatchObject({ status: 3, code: "E_TARGET_NO_MEDIUM" });
  });
});
