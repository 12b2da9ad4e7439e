/**
 * A machine that boots by UEFI from a disk it keeps, and is given systems over SSH: the next one, the one before, and such as are broken in the
 * ways in which systems break. Kernel, loader and programs are Debian's.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Garth, openGarth } from "../app/index.ts";
import { baseName, type StorePath } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import type { Machine as Guest } from "../machine/index.ts";
import { consoleText } from "../machine/testing.ts";
import type { ShippedSystem } from "../ship/index.ts";
import type { ChangeOptions, Machine } from "./index.ts";

const project = (authorizedKey: string): string => `
import { slices, sshd, system, world } from "garth";

const guest = world({ name: "guest", debian: { suite: "bookworm", policy: "refresh", packages: [
  "busybox-static", "linux-image-cloud-amd64", "mount", "openssh-server", "systemd-boot-efi",
] } });
const { kernel, boot, runtime } = slices(guest);
const common = {
  name: "web", kernel, bootloader: boot, base: [runtime], init: "busybox", kernelParameters: ["quiet"],
  users: [{ name: "root", authorizedKeys: [${JSON.stringify(authorizedKey)}] }],
  disk: { rootFree: "200M", esp: "128M" },
} as const;
const greeting = (text: string) => ({ greeting: text + "\\n" });
const idle = { name: "idle", command: ["/bin/sleep", "1000000"] };
const crash = ["/bin/sh", "-c", "echo c >/proc/sysrq-trigger"];

export const one = system({ ...common, services: [sshd()], etc: greeting("one") });
export const two = system({ ...common, services: [sshd(), idle], etc: greeting("two") });
// Its sshd is there; it is never ready.
export const stuck = system({ ...common, services: [sshd(), { name: "wait", oneShot: true, command: ["/bin/sleep", "1000000"] }] });
export const three = system({ ...common, services: [sshd()], etc: greeting("three") });
export const panicking = system({ ...common, services: [sshd(), { name: "crash", oneShot: true, command: crash }] });
`;

const MINUTES = 60_000;
setDefaultTimeout(10 * MINUTES);
const MIB = 1 << 20;
/** An emulated machine whose host has other work needs its time; one that is never ready needs none. */
const TRIAL_SECONDS = 300;
const STUCK_SECONDS = 30;

let directory = "";
let garth: Garth;
let guest: Guest;
let address = "";
let machine: Machine;
const console = consoleText();
const systems: Record<string, ShippedSystem> = {};

function closure(name: string): StorePath {
  const system = systems[name];
  if (system === undefined) throw new Error(`${name} was not made`);
  return system.closure;
}

async function ship(name: string): Promise<void> {
  const request = { file: undefined, only: name, until: "system", jobs: 2, keepGoing: false, keepFailed: false } as const;
  const report = await garth.ship(() => {}).run({ ...request, keyFile: `${directory}/key.pem`, onStage: () => {} });
  const [system] = report.systems;
  if (system === undefined) throw new Error(`nothing came of ${name}`);
  systems[name] = system;
}

beforeAll(async () => {
  directory = mkdtempSync(`${tmpdir()}/garth-deploy-`);
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", `${directory}/key`]);
  writeFileSync(`${directory}/garth.ts`, project(readFileSync(`${directory}/key.pub`, "utf8").trim()));
  garth = openGarth({ root: `${directory}/root`, env: { HOME: directory }, workingDirectory: directory });
  for (const name of ["one", "two", "three", "stuck", "panicking"]) await ship(name);
  const disk = `${directory}/disk.raw`;
  expect(call("system", "install", "#one", disk, "--size", "1200M")).toMatchObject({ status: 0 });
  guest = await (
    await garth.machines()
  ).start(
    {
      name: "web1",
      system: "x86_64-linux",
      memoryBytes: 512 * MIB,
      cpus: 1,
      firmware: { kind: "uefi" },
      disks: [{ file: disk, format: "raw", device: "virtio-blk", mode: "persistent" }],
      network: { kind: "user", mac: "52:54:00:67:61:02", forward: [{ hostPort: 0, guestPort: 22 }], isolated: true },
      display: false,
      credentials: {},
      onReboot: "restart",
      accelerator: "auto",
    },
    { onConsole: console.onConsole },
  );
  // As where nobody looks on: a kernel that panics starts the machine anew by itself.
  await guest.qmp("set-action", { panic: "none" });
  await console.until("garth: ready");
  address = `ssh://root@127.0.0.1:${guest.port(22)}`;
  machine = await garth.systemMachine({
    machine: address,
    hostKey: "new",
    identityFile: `${directory}/key`,
  });
}, 15 * MINUTES);

afterAll(async () => {
  await machine?.close();
  await guest?.stop();
  await garth.close();
  garth.host.files.removeTree(`${directory}/root`);
  rmSync(directory, { recursive: true });
}, 2 * MINUTES);

/** The program itself. */
function call(...words: readonly string[]) {
  const env = { PATH: process.env["PATH"] ?? "", HOME: directory, GARTH_ROOT: `${directory}/root` };
  const child = Bun.spawnSync([join(import.meta.dir, "../../garth"), ...words], { cwd: directory, env, stdin: "ignore" });
  return { status: child.exitCode, stdout: child.stdout.toString(), stderr: child.stderr.toString() };
}

const reach = (): readonly string[] => ["--host-key", "new", "--identity", `${directory}/key`];

/** What a command there prints. */
function said(command: string): string {
  const options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"];
  const where = ["-i", `${directory}/key`, "-p", String(guest.port(22)), "root@127.0.0.1"];
  return execFileSync("ssh", ["-F", "none", ...options, ...where, command])
    .toString()
    .trim();
}

const change = <Plan>(given: Partial<ChangeOptions<Plan>> = {}): ChangeOptions<Plan> => ({
  trialSeconds: TRIAL_SECONDS,
  reboot: true,
  ...given,
});
const states = async (): Promise<readonly string[]> =>
  (await machine.status()).generations.map(({ number, state, system }) => {
    const name = Object.entries(systems).find(([, { closure: each }]) => each === system)?.[0];
    return `${number} ${state} ${name ?? system}`;
  });

describe("a machine that runs a system", () => {
  test("says which generation it is", async () => {
    const status = await machine.status();
    expect(status).toMatchObject({
      family: "linux",
      architecture: "x86_64",
      running: 1,
      current: 1,
      onTrial: false,
      hasMtree: false,
    });
    expect([status.rollback, status.next, status.runningSystem]).toEqual([undefined, undefined, closure("one")]);
    expect(await states()).toEqual(["1 good one"]);
    expect((await machine.switchTo(closure("one"), change())).action).toBe("current");
  });

  test("is told nothing by a dry run but how the systems differ, and what would be sent", async () => {
    const report = await machine.switchTo(closure("two"), change({ reboot: false, dryRun: true }));
    expect(report).toMatchObject({ action: "send", done: false, current: 1, previous: closure("one"), sentBytes: 0 });
    expect(report.difference).toContain("  + idle");
    expect(report.missing).toContain(closure("two"));
    // The slices are there.
    expect(report.missing.length).toBeLessThan(garth.store.closure([closure("two")]).length);
    expect(await states()).toEqual(["1 good one"]);
  });

  test("goes on to the next one, which is confirmed when it is ready", async () => {
    const words = ["--reboot", "--trial", `${TRIAL_SECONDS}s`, "--receipt", `${directory}/receipt`, ...reach()];
    const { status, stdout, stderr } = call("system", "switch", "#two", address, ...words);
    expect([status, stderr.includes("runs generation 2, on trial")]).toEqual([0, true]);
    // How they differ, before anything else.
    expect(stdout).toMatch(
      /^services\n {2}\+ idle\nfiles\n[^]*\nsent \d+ items, .*\ngeneration 2 of .*\n.*: generation 2 \(.*\) is confirmed\nPASS web\n$/,
    );
    const receipt = Object(JSON.parse(readFileSync(`${directory}/receipt.json`, "utf8")));
    expect(receipt).toMatchObject({
      generation: "2",
      closure_path: closure("two"),
      previous_closure: closure("one"),
      action: "added",
    });
    expect(receipt).toMatchObject({ reboot_result: "confirmed", run_current_system_target: closure("two") });
    expect(Number(receipt.sent_bytes)).toBeGreaterThan(1000);
    expect(said("cat /etc/greeting; readlink /run/current-system")).toBe(`two\n${closure("two")}`);
    expect(await machine.status()).toMatchObject({ running: 2, current: 2, rollback: 1, next: undefined, onTrial: false });
    expect(await states()).toEqual(["1 good one", "2 good two"]);
  });

  test("goes back to the one before", async () => {
    const report = await machine.rollback(undefined, change());
    expect(report).toMatchObject({ generation: 1, onTrial: false, done: true, reboot: { result: "started", running: 1 } });
    expect(said("cat /etc/greeting")).toBe("one");
    expect(await machine.status()).toMatchObject({ running: 1, current: 1, rollback: 2, next: undefined });
  });
});

describe("a broken system is given up by the machine itself, which is ready again", () => {
  test("when it is not ready in its time", async () => {
    const report = await machine.switchTo(closure("stuck"), change({ trialSeconds: STUCK_SECONDS }));
    expect(report).toMatchObject({ generation: 3, reboot: { result: "fell-back", running: 1 } });
    expect(console.text).toContain(`garth: not ready within ${STUCK_SECONDS} s`);
    expect(said("cat /etc/greeting")).toBe("one");
    expect(await machine.status()).toMatchObject({ running: 1, current: 1, next: undefined, onTrial: false });
    expect(await states()).toEqual(["1 good one", "2 good two", "3 failed stuck"]);
  });

  test("when its kernel panics", async () => {
    const report = await machine.switchTo(closure("panicking"), change());
    expect(report).toMatchObject({ generation: 4, reboot: { result: "fell-back", running: 1 } });
    expect(await states()).toEqual(["1 good one", "2 good two", "3 failed stuck", "4 failed panicking"]);
  });
});

describe("what is not whole any more", () => {
  test("is not gone back to; the same system again sends what is missing, and is given up by going back", async () => {
    said(`chmod -R u+w ${closure("two")} && rm -r ${closure("two")}`);
    expect((await problemOf(machine.rollback(2, change()))).code).toBe("E_GENERATION_BROKEN");
    expect((await states())[1]).toBe("2 broken two");
    const again = await machine.switchTo(closure("two"), change({ reboot: false }));
    expect(again).toMatchObject({ done: true, generation: 5, missing: [closure("two")], sentItems: 1 });
    expect((await machine.status()).next).toBe(5);
    expect((await problemOf(machine.switchTo(closure("three"), change()))).code).toBe("E_SWITCH_PENDING");
    expect(await machine.rollback(1, change({ reboot: false }))).toMatchObject({ action: "select", dropped: 5, generation: 1 });
    expect(await states()).toEqual(["1 good one", "2 good two", "3 failed stuck", "4 failed panicking", "5 failed two"]);
  });

  test("is removed, with the items that nothing else needs", async () => {
    expect((await problemOf(machine.remove([1]))).code).toBe("E_GENERATION_IN_USE");
    const removed = call("system", "generations", address, "--remove", "3,4", "--json", ...reach());
    expect([removed.status, JSON.parse(removed.stdout)]).toMatchObject([0, { removed: [3, 4] }]);
    expect(JSON.parse(removed.stdout).collected).toContain(baseName(closure("stuck")));
    expect(said("ls /frx/store")).not.toContain(baseName(closure("stuck")));
    expect(await states()).toEqual(["1 good one", "2 good two", "5 failed two"]);
    const listed = call("system", "generations", address, ...reach());
    expect(listed.stdout).toMatch(/^generation +state +is +by +system\n1 +good +running, current +install +/);
  });
});

describe("what cannot be is refused before anything is sent", () => {
  test("a full disk of the loader's, and the machine is as it was", async () => {
    const before = await machine.status();
    const esp = "/dev/$(cd /sys/class/block && grep -lx PARTNAME=efiboot */uevent | cut -d / -f 1)";
    said(
      `mkdir -p /run/esp && mount -t vfat ${esp} /run/esp && head -c $(($(stat -f -c '%a*%S' /run/esp) - 1000000)) /dev/zero >/run/esp/filler; umount /run/esp`,
    );
    const sums = (): string =>
      said("find /var/lib/garth/system /frx/store -maxdepth 1 | sort; find /var/lib/garth/system -type f | xargs sha256sum");
    const there = sums();
    const problem = await problemOf(machine.switchTo(closure("three"), change({ reboot: false })));
    expect(problem.code).toBe("E_MACHINE_FULL");
    expect(sums()).toBe(there);
    expect((await machine.status()).generations).toEqual(before.generations);
  });
});
