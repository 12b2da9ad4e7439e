/** Onto disks of the kernel's own (loop devices): it finds the partitions, mounts the root, and what was killed in the middle has no table. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { problemOf } from "../base/testing.ts";
import { readGpt } from "../formats/index.ts";
import { localHost } from "../host/index.ts";
import { type DeviceEvent, inspectImage, verifyImage, writeDevice } from "./index.ts";
import { plainPlan, tool } from "./testing.ts";

// Each of many processes starts a runtime.
setDefaultTimeout(120_000);

const MIB = 1 << 20;
const SIZE_BYTES = 48 * MIB;
const scratch = fs.mkdtempSync(join(tmpdir(), "garth-device-"));
const devices: string[] = [];
afterAll(() => {
  for (const device of devices) tool("losetup", "-d", device);
  fs.rmSync(scratch, { recursive: true, force: true });
});
const host = localHost();

interface Loop {
  readonly device: string;
  readonly file: string;
}

function loop(name: string, sizeBytes = SIZE_BYTES): Loop {
  const file = join(scratch, name);
  fs.writeFileSync(file, new Uint8Array(sizeBytes).fill(0xa5));
  const device = tool("losetup", "-f", "--show", "-P", file).trim();
  devices.push(device);
  return { device, file };
}
const onto = (device: string, more: { readonly onEvent?: (event: DeviceEvent) => void } = {}, sizeBytes = SIZE_BYTES) =>
  writeDevice(host, plainPlan(sizeBytes), device, { locate: (file) => file, target: "disk", verify: true, ...more });

function tableOf(device: string): string | undefined {
  const descriptor = fs.openSync(device, "r");
  try {
    const sizeBytes = host.files.endOf(descriptor);
    const { diskGuid } = readGpt((offset, length) => {
      const bytes = new Uint8Array(length);
      return bytes.subarray(0, fs.readSync(descriptor, bytes, 0, length, offset));
    }, sizeBytes);
    return diskGuid;
  } finally {
    fs.closeSync(descriptor);
  }
}

describe("a plan written onto a disk", () => {
  test("is found by the kernel, mounted, written to, and nobody finds anything wrong", async () => {
    const { device, file } = loop("whole");
    const { clearedBytes, sha256 } = await onto(device);
    expect(clearedBytes).toBeGreaterThan(0);
    expect(sha256).toBeUndefined();
    // What is free was not touched: the file behind it has still its room there.
    expect(fs.statSync(file).blocks * 512).toBeGreaterThan(20 * MIB);
    const names = tool("lsblk", "-nro", "NAME,SIZE", device).trim().split("\n");
    expect(names.map((line) => line.slice(device.length - "/dev/".length))).toEqual([" 48M", "p1 8M", "p2 38M"]);
    expect(inspectImage(host, device)).toMatchObject({ findings: [], sizeBytes: SIZE_BYTES });
    const mount = join(scratch, "mount");
    fs.mkdirSync(mount);
    tool("mount", `${device}p2`, mount);
    try {
      expect(fs.readFileSync(`${mount}/etc/read-me`, "utf8")).toBe("what is to be read");
      tool("cmp", "-n", String(3 * MIB), `${mount}/machine`, process.execPath);
      fs.writeFileSync(`${mount}/mine`, "x".repeat(5 * MIB));
    } finally {
      tool("umount", mount);
    }
    expect((await verifyImage(host, device, scratch)).filter(({ good }) => !good)).toEqual([]);
  });

  test("is refused where somebody claims the disk, and touches nothing", async () => {
    const { device, file } = loop("claimed");
    const before = tool("sha256sum", file);
    const claimed = host.files.open(device, "claim");
    try {
      expect(await problemOf(onto(device))).toMatchObject({ code: "E_DEVICE_BUSY", where: device, exit: 2 });
    } finally {
      host.files.close(claimed);
    }
    expect(tool("sha256sum", file)).toBe(before);
  });

  test("onto a disk that ends before it should says so, and leaves no table", async () => {
    const { device } = loop("short", 40 * MIB);
    expect(await problemOf(onto(device))).toMatchObject({ code: expect.stringMatching(/^E_NO_SPACE$|^E_DEVICE_WRITE$/) });
    expect(tableOf(device)).toBeUndefined();
  });

  test("and killed before any of its changes is the old disk, or has no table, or is whole", async () => {
    const { device } = loop("killed");
    const old = join(scratch, "old");
    tool("truncate", "-s", String(SIZE_BYTES), old);
    tool("sgdisk", "-n1:0:0", "-c1:old", old);
    const before = tableOf(old);
    expect(before).toBeString();
    const kill = (change: number) =>
      spawnSync(process.execPath, [`${import.meta.dir}/device.child.ts`, device, "disk", String(change)], { encoding: "utf8" });
    let outcomes = "";
    for (let change = 1; ; change += 1) {
      tool("dd", `if=${old}`, `of=${device}`, "bs=1M", "conv=fsync", "status=none");
      const { signal, stderr, status } = kill(change);
      if (signal === null && status !== 0) throw new Error(stderr);
      const found = tableOf(device);
      outcomes += found === undefined ? "-" : found === before ? "o" : "n";
      if (signal === null) break;
    }
    expect(outcomes).toMatch(/^o{1,2}-{5,}n{1,2}$/);
    expect((await verifyImage(host, device, scratch)).filter(({ good }) => !good)).toEqual([]);
  });

  test("into a new file, killed, leaves one without a table", () => {
    const path = join(scratch, "new.raw");
    const { signal } = spawnSync(process.execPath, [`${import.meta.dir}/device.child.ts`, path, "new", "3"]);
    expect(signal).toBe("SIGKILL");
    expect(fs.statSync(path).size).toBe(SIZE_BYTES);
    expect(tableOf(path)).toBeUndefined();
  });
});
