/**
 * Whole systems, booted: one that is sound under each process 1, and such as are broken in the ways in which systems break. Their
 * kernel, loader and programs are Debian's; each image is made and gated as `garth ship` does it.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { type Garth, openGarth } from "../app/index.ts";
import { Problem } from "../base/index.ts";
import { readVerdict } from "../gate/index.ts";
import type { ShipReport, StageName } from "./index.ts";

const PROJECT = String.raw`
import { gate, hostView, repository, script, slice, slices, sshd, system, world } from "garth";

const guest = world({ name: "guest", debian: { suite: "bookworm", policy: "refresh", packages: [
  "busybox-static", "linux-image-cloud-amd64", "linux-libc-dev", "openssh-server", "systemd", "systemd-boot-efi", "systemd-sysv",
  "tiny-initramfs", "udev",
] } });
const { kernel, boot, runtime, development } = slices(guest);
const metadata = { comment: "A thing", licenses: ["MIT"], categories: ["misc"] };
const hello = script({
  name: "greet", version: "1.0", metadata, buildRoot: hostView(),
  script: 'mkdir -p $out/bin; printf "#!/bin/sh\necho Hello, world!\n" >$out/bin/greet; chmod +x $out/bin/greet',
});
const tools = repository({ name: "tools", packages: [hello] });
const parts = { kernel, bootloader: boot, base: [runtime] };
const quiet = ["quiet"];
const short = 100;

export const sound = system({ ...parts, name: "sound", init: "busybox", services: [sshd()], kernelParameters: quiet,
  install: [{ repository: tools, packages: ["greet"] }],
  users: [{ name: "operator", comment: "Operator", shell: "/bin/bash" }],
  secrets: [{ name: "token", user: "operator", group: "operator" }] });
export const soundGate = gate({ system: sound, timeoutS: 240, probes: [
  { command: "greet", expect: "Hello, world!" },
  { command: "ls -d /boot /usr/include /usr/share/doc /usr/share/man 2>/dev/null; true", expect: "" },
  { command: "readlink -f /usr/bin/ls | cut -c1-11", expect: "/frx/store/" },
  { command: "stat --printf '%a %U %G;' -L /etc/shadow /usr/bin/su /root /tmp", expect: "640 root shadow;4755 root root;700 root root;1777 root root;" },
  { command: "id -un operator && stat -c %U /home/operator", expect: "operator\noperator" },
  { command: "ls /etc/ssh/ssh_host_*_key", expect: "/etc/ssh/ssh_host_ed25519_key" },
] });

export const withTools = system({ ...parts, name: "sound", init: "busybox", services: [sshd()], kernelParameters: quiet,
  install: [{ repository: tools, packages: ["greet"] }],
  users: [{ name: "operator", comment: "Operator", shell: "/bin/bash" }],
  secrets: [{ name: "token", user: "operator", group: "operator" }], development: [development] });

export const units = system({ ...parts, name: "units", init: "systemd", services: [sshd()], kernelParameters: quiet });
export const unitsGate = gate({ system: units, timeoutS: 400, probes: [
  { command: "cat /proc/1/comm", expect: "systemd" },
  { command: "systemctl is-active sshd.service", expect: "active" },
  { command: "cat /var/lib/garth/ready", expect: "ready" },
] });

// The kernel cannot reach its root's disk: the driver was not put into the initial RAM disk.
export const driverless = system({ ...parts, name: "driverless", init: "busybox", kernelParameters: quiet, rootModules: [] });
export const driverlessGate = gate({ system: driverless, timeoutS: short });

export const headless = system({ ...parts, name: "headless", init: { exec: "/opt/no-such-init" }, kernelParameters: quiet });
export const headlessGate = gate({ system: headless, timeoutS: short });

export const panicking = system({ ...parts, name: "panicking", init: "busybox", kernelParameters: quiet, services: [
  { name: "crash", oneShot: true, command: ["/bin/sh", "-c", "echo c >/proc/sysrq-trigger"] },
] });
export const panickingGate = gate({ system: panicking, timeoutS: short });

export const looping = system({ ...parts, name: "looping", init: "busybox", kernelParameters: quiet, services: [
  { name: "flapper", command: ["/bin/false"] },
] });
export const loopingGate = gate({ system: looping, timeoutS: short });

export const lost = system({ ...parts, name: "lost", init: "busybox", kernelParameters: [...quiet, "garth.root=nowhere"] });
export const lostGate = gate({ system: lost, timeoutS: short });

// The marker stands in the kernel's command line, and nowhere else.
export const stuck = system({ ...parts, name: "stuck", init: "busybox", kernelParameters: ["it-is-all-there"], services: [
  { name: "wait", oneShot: true, command: ["/bin/sleep", "100000"] },
] });
export const stuckGate = gate({ system: stuck, timeoutS: 40, require: ["it-is-all-there"] });
`;

const MINUTES = 60_000;

let directory = "";
let garth: Garth;

beforeAll(() => {
  directory = mkdtempSync(`${tmpdir()}/garth-boots-`);
  writeFileSync(`${directory}/garth.ts`, PROJECT);
  garth = openGarth(at("one"));
});

afterAll(async () => {
  await garth.close();
  for (const root of ["one", "two"]) openGarth(at(root)).host.files.removeTree(`${directory}/${root}`);
  rmSync(directory, { recursive: true });
}, 2 * MINUTES);

function at(root: string) {
  return { root: `${directory}/${root}`, env: {}, workingDirectory: directory };
}

function ship(only: string, until: StageName, where: Garth = garth): Promise<ShipReport> {
  return where
    .ship(() => {})
    .run({
      file: undefined,
      only,
      until,
      jobs: 2,
      keepGoing: false,
      keepFailed: false,
      keyFile: `${directory}/key/repository.pem`,
      onStage: () => {},
    });
}

async function failureOf(name: string): Promise<Problem> {
  const error: unknown = await ship(name, "gate").catch((thrown: unknown) => thrown);
  if (error instanceof Problem) return error;
  throw new Error(`${name} did not fail its gate`, { cause: error });
}

describe("a sound system", () => {
  test(
    "comes to its gate out of slices alone, with the package from the signed repository",
    async () => {
      const report = await ship("sound", "gate");
      expect(report.final).toMatchObject({
        verdict: "pass",
        host_base_store_count: "0",
        native_base_store_count: "3",
        pid1_command: "init",
        sshd_status: "running",
        native_runtime_ready: "ok",
        probe_1_output: "Hello, world!",
      });
      const [system] = report.systems;
      expect(report.final["run_current_system_target"]).toBe(system?.closure ?? "");
      const again = await ship("sound", "gate");
      expect(again.stages.filter(({ stage }) => stage !== "recipe").map(({ how }) => how)).not.toContain("done");
      if (system?.verdict === undefined) throw new Error("there is no verdict");
      const { verdict } = await readVerdict(garth.host, garth.store, system.verdict);
      expect(verdict.image.sha256).toBe(system.image?.sha256 ?? "");
    },
    10 * MINUTES,
  );

  test(
    "is the same, byte for byte, with and without a development profile beside it",
    async () => {
      const [alone, beside] = [await ship("sound", "image"), await ship("withTools", "image")];
      expect(`${beside.systems[0]?.closure}`).toBe(`${alone.systems[0]?.closure}`);
      expect(`${beside.systems[0]?.image?.sha256}`).not.toBe(`${alone.systems[0]?.image?.sha256}`);
    },
    5 * MINUTES,
  );

  test(
    "has one image, in whichever root it is made",
    async () => {
      const one = await ship("sound", "image");
      const other = openGarth(at("two"));
      try {
        await other.host.run({ argv: ["mkdir", "-p", other.places.state] });
        // The packages are had already; everything that is made of them is made again.
        await other.host.run({ argv: ["cp", "-al", garth.places.distfiles, other.places.distfiles] });
        const two = await ship("sound", "image", other);
        const bytes = ({ systems }: ShipReport) =>
          systems.map(({ closure, image, commandLine }) => ({ closure, image, commandLine }));
        expect(bytes(two)).toEqual(bytes(one));
      } finally {
        await other.close();
      }
    },
    10 * MINUTES,
  );

  test(
    "comes up under systemd too",
    async () => {
      const { final } = await ship("units", "gate");
      expect(final).toMatchObject({ verdict: "pass", pid1_command: "systemd", sshd_status: "running" });
    },
    10 * MINUTES,
  );
});

describe("a broken system fails its gate, and is told why", () => {
  const broken: readonly (readonly [string, RegExp])[] = [
    ["driverless", /Kernel panic|no partition is labelled garth-root/],
    ["headless", /Kernel panic/],
    ["panicking", /Kernel panic/],
    ["looping", /flapper/],
    ["lost", /Kernel panic|no partition is labelled nowhere/],
    ["stuck", /it-is-all-there/],
  ];
  for (const [name, why] of broken) {
    test(
      name,
      async () => {
        const problem = await failureOf(name);
        expect([problem.code, problem.exit]).toEqual(["E_GATE_FAILED", 1]);
        expect(`${problem.message}\n${problem.details.join("\n")}`).toMatch(why);
        expect(problem.where).toMatch(/verdict-/);
      },
      5 * MINUTES,
    );
  }
});
