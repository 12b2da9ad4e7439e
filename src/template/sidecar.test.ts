/** Sidecars: read, refused, written; and whatever is accepted means the same to shells. */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { thrownProblem } from "../base/testing.ts";
import { parseSlot } from "../machine/index.ts";
import { readAssignments } from "./sidecar-syntax.ts";
import { parseSidecar, renderSidecar, sidecarFrom } from "./sidecar.ts";
import type { Sidecar } from "./types.ts";

const read = (text: string): Sidecar => parseSidecar(text, "a.conf");
const MIB = 1024 ** 2;
const DEFAULTS: Sidecar = {
  gatewayMode: "ssh",
  bootMode: "uefi",
  patchMode: "nocloud-seed",
  diskDevice: "virtio-blk",
  netDevice: "virtio-net",
  sshUser: "root",
  shell: "/bin/sh",
  shellArgs: [],
  memoryBytes: 256 * MIB,
  cpus: 1,
  wiredMemory: false,
  extraSlots: [],
};

test("the sidecar of the Debian template is read as it is written", () => {
  const text = `TPL_GATEWAY_MODE=ssh
TPL_BOOT_MODE=uefi
TPL_PATCH_MODE=nocloud-seed
TPL_DISK_DEVICE=virtio-blk
TPL_NET_DEVICE=virtio-net
TPL_SSH_USER=root
TPL_SHELL=/bin/bash
TPL_SHELL_ARGS="-i"
`;
  expect(read(text)).toEqual({ ...DEFAULTS, shell: "/bin/bash", shellArgs: ["-i"] });
  expect(read(`${text}TPL_EXTRA_BHYVE_SLOTS='20:0,passthru,ppt0;21:0,passthru,ppt1'\n`)).toMatchObject({
    wiredMemory: true,
    extraSlots: [
      { text: "20:0,passthru,ppt0", bus: 0, slot: 20, function: 0, emulation: "passthru", conf: "ppt0" },
      { text: "21:0,passthru,ppt1", slot: 21, conf: "ppt1" },
    ],
  });
});

test("the example for a graphics card asks for two functions of it, and so for wired memory", () => {
  const file = new URL("../../examples/gpu/debian-12-gpu.conf", import.meta.url).pathname;
  expect(parseSidecar(readFileSync(file, "utf8"), file)).toMatchObject({
    memoryBytes: 2048 * MIB,
    wiredMemory: true,
    extraSlots: [{ text: "20:0,passthru,ppt0" }, { text: "20:1,passthru,ppt1" }],
  });
});

test("what is not said is as it mostly is", () => {
  expect(read("")).toEqual(DEFAULTS);
  expect(read("# nothing\n\n   \t\n")).toEqual(DEFAULTS);
  expect(sidecarFrom({}, "a template")).toEqual(DEFAULTS);
});

test("everything can be said", () => {
  const text = `# a desktop
TPL_GATEWAY_MODE=host-vnc  TPL_BOOT_MODE=bhyveload # two in a line
TPL_PATCH_MODE='none' TPL_DISK_DEVICE="ahci-hd"
TPL_NET_DEVICE=e10\\
00
TPL_SSH_USER=agent`;
  const rest = `
TPL_SHELL_ARGS="-c 'echo \\"a b\\"' x\\\\ y"
TPL_MEMORY=1.5G
TPL_CPUS=4
TPL_WIRED_MEMORY=yes
TPL_EXTRA_BHYVE_SLOTS="4,ahci-cd,/a.iso;"`;
  expect(read(text + rest)).toEqual({
    ...DEFAULTS,
    gatewayMode: "host-vnc",
    bootMode: "bhyveload",
    patchMode: "none",
    diskDevice: "ahci-hd",
    netDevice: "e1000",
    sshUser: "agent",
    shellArgs: ["-c", 'echo "a b"', "x y"],
    memoryBytes: 1536 * MIB,
    cpus: 4,
    wiredMemory: true,
    extraSlots: [{ text: "4,ahci-cd,/a.iso", bus: 0, slot: 4, function: 0, emulation: "ahci-cd", conf: "/a.iso" }],
  });
});

describe("a fault is told with its line:", () => {
  test.each<readonly [string, number, string, string]>([
    ["\nTPL_BOOTMODE=uefi", 2, "TPL_BOOTMODE: there is no such key", "did you mean TPL_BOOT_MODE?"],
    ["FOO=1", 1, "FOO: there is no such key", "the keys are TPL_GATEWAY_MODE, "],
    ["TPL_CPUS=1\n\nTPL_CPUS=2", 3, "TPL_CPUS: it has a value in line 1 already", "leave one of them out"],
    ["TPL_BOOT_MODE=efi", 1, 'TPL_BOOT_MODE: "efi" is not one of uefi, bhyveload, direct', "did you mean uefi?"],
    ["TPL_GATEWAY_MODE=", 1, 'TPL_GATEWAY_MODE: "" is not one of ssh, host-vnc', ""],
    ["TPL_SSH_USER=-oProxyCommand=x", 1, 'TPL_SSH_USER: "-oProxyCommand=x" is not the name of a user', ""],
    ["TPL_SHELL=bash", 1, 'TPL_SHELL: "bash" is not the absolute path of a shell', ""],
    [`TPL_SHELL_ARGS="'"`, 1, "TPL_SHELL_ARGS: a single quote is not closed", ""],
    ["TPL_SHELL_ARGS='$HOME'", 1, "TPL_SHELL_ARGS: $ would be expanded by a shell", ""],
    ["TPL_MEMORY=256", 1, 'TPL_MEMORY: "256" has no unit', "256M or 256G"],
    ["TPL_MEMORY=1.5K", 1, "TPL_MEMORY: 1.5K is not a whole number of MiB", ""],
    ["TPL_MEMORY=8M", 1, "TPL_MEMORY: 8M is not from 16M to 4T", ""],
    ["TPL_MEMORY=lots", 1, 'TPL_MEMORY: "lots" is not a size', "a number with K, M, G or T"],
    ["TPL_CPUS=0", 1, 'TPL_CPUS: "0" is not a number from 1 to 255', ""],
    ["TPL_CPUS=1e2", 1, 'TPL_CPUS: "1e2" is not a number from 1 to 255', ""],
    ["TPL_WIRED_MEMORY=true", 1, 'TPL_WIRED_MEMORY: "true" is not one of yes, no', ""],
    [
      "TPL_WIRED_MEMORY=no\nTPL_EXTRA_BHYVE_SLOTS=20:0,passthru,ppt0",
      1,
      "TPL_WIRED_MEMORY: no: a device that is passed through",
      "leave it out",
    ],
    ["TPL_EXTRA_BHYVE_SLOTS=20", 1, 'TPL_EXTRA_BHYVE_SLOTS: "20" is no slot', "as in 20:0,passthru,ppt0"],
    ["TPL_EXTRA_BHYVE_SLOTS='20,a;;21,b'", 1, 'TPL_EXTRA_BHYVE_SLOTS: "" is no slot', ""],
    ["TPL_EXTRA_BHYVE_SLOTS='20:0,x;20:0,y'", 1, "TPL_EXTRA_BHYVE_SLOTS: 20:0,y: slot 20:0 is taken by 20:0,x", ""],
    ["TPL_EXTRA_BHYVE_SLOTS=32:0,x", 1, "TPL_EXTRA_BHYVE_SLOTS: 32:0,x: there is no slot 32: they go up to 31", ""],
    ["TPL_EXTRA_BHYVE_SLOTS=20:8,x", 1, "TPL_EXTRA_BHYVE_SLOTS: 20:8,x: there is no function 8: they go up to 7", ""],
    ["TPL_EXTRA_BHYVE_SLOTS=0:0,x", 1, "TPL_EXTRA_BHYVE_SLOTS: 0:0,x: slot 0 is taken by the host bridge", ""],
    ["TPL_EXTRA_BHYVE_SLOTS=2:0,x", 1, "TPL_EXTRA_BHYVE_SLOTS: 2:0,x: slot 2 is taken by the network", ""],
    ["TPL_EXTRA_BHYVE_SLOTS=4:0,x", 1, "TPL_EXTRA_BHYVE_SLOTS: 4:0,x: slot 4 is taken by disk 1", ""],
    ["TPL_EXTRA_BHYVE_SLOTS=31:0,x", 1, "TPL_EXTRA_BHYVE_SLOTS: 31:0,x: slot 31 is taken by the chipset", ""],
    ["A=1\nTPL_SHELL=$SHELL", 2, "$ would be expanded by a shell", "put it in single quotes"],
    ['TPL_SHELL="${SHELL}"', 1, "$ between double quotes would be expanded", ""],
    ["TPL_SHELL=`id`", 1, "` would be expanded by a shell", ""],
    ["TPL_SHELL=~/bin/sh", 1, "~ would be expanded by a shell", ""],
    ["TPL_CPUS=1; reboot", 1, "; would begin something else in a shell", "put the value in quotes"],
    ["TPL_CPUS=1 > /etc/passwd", 1, "> would begin something else", ""],
    ["\n\nreboot", 3, '"reboot" is a command, not an assignment', "a list of KEY=value"],
    ["TPL_CPUS=1 reboot", 1, '"reboot" is a command, not an assignment', ""],
    ["export TPL_CPUS=1", 1, '"export" is a command, not an assignment', ""],
    ["'TPL_CPUS'=1", 1, '"TPL_CPUS=1" is a command, not an assignment', ""],
    ["TPL_SHELL='/bin/sh", 1, "a single quote is not closed", ""],
    ["TPL_SHELL='/bin\n/sh'", 1, "a value goes on in the next line", ""],
    ["TPL_CPUS=1\r\n", 1, "the line ends with a carriage return", "line ends as Unix has them"],
    ["TPL_SHELL=/bin/\0sh", 1, "there is a control character", ""],
  ])("%j", (text, line, message, hint) => {
    const problem = thrownProblem(() => read(text));
    expect([problem.code, problem.exit, problem.where]).toEqual(["E_BAD_SIDECAR", 2, `a.conf:${line}`]);
    expect(problem.message).toStartWith(`reading the sidecar: line ${line}: ${message}`);
    expect(problem.hint ?? "").toContain(hint);
  });

  test("all of them at once", () => {
    const problem = thrownProblem(() => read("TPL_CPUS=0\nTPL_X=1\nTPL_MEMORY=x\n"));
    expect(problem.message).toContain("line 1: TPL_CPUS");
    expect(problem.details).toEqual(["line 2: TPL_X: there is no such key", 'line 3: TPL_MEMORY: "x" is not a size']);
  });

  test("one that is too long is not read", () => {
    expect(thrownProblem(() => read("#".repeat(70_000)))).toMatchObject({ code: "E_BAD_SIDECAR", where: "a.conf" });
  });

  test("of a project file has none", () => {
    const problem = thrownProblem(() => sidecarFrom({ cpus: "0" }, "the template web"));
    expect([problem.message, problem.where]).toEqual([
      'reading the sidecar: TPL_CPUS: "0" is not a number from 1 to 255',
      "the template web",
    ]);
  });
});

const word = fc.string({ unit: fc.constantFrom(..."ab '\"\\$`~;#*-=".split("")), maxLength: 8 });
const slot = fc
  .tuple(fc.integer({ min: 5, max: 30 }), fc.constantFrom("passthru,ppt0", "ahci-cd,/a b's.iso", "virtio-rnd"))
  .map(([at, what]) => parseSlot(`${at}:0,${what}`))
  .filter((one) => one !== undefined);
const sidecars: fc.Arbitrary<Sidecar> = fc
  .record({
    gatewayMode: fc.constantFrom("ssh", "host-vnc"),
    bootMode: fc.constantFrom("uefi", "bhyveload", "direct"),
    patchMode: fc.constantFrom("nocloud-seed", "instance-file", "none"),
    diskDevice: fc.constantFrom("virtio-blk", "ahci-hd", "nvme"),
    netDevice: fc.constantFrom("virtio-net", "e1000"),
    sshUser: fc.constantFrom("root", "user_1"),
    shell: word.map((text) => `/bin/${text}x`),
    shellArgs: fc.array(word, { maxLength: 4 }),
    memoryBytes: fc.integer({ min: 16, max: 4 * 1024 * 1024 }).map((count) => count * MIB),
    cpus: fc.integer({ min: 1, max: 255 }),
    wiredMemory: fc.boolean(),
    extraSlots: fc.uniqueArray(slot, {
      maxLength: 4,
      comparator: (a, b) => a.slot === b.slot || (a.emulation === "passthru" && b.emulation === "passthru"),
    }),
  })
  .map((one) => ({ ...one, wiredMemory: one.wiredMemory || one.extraSlots.some(({ emulation }) => emulation === "passthru") }));

test("what is written is read again as the same", () => {
  fc.assert(
    fc.property(sidecars, (sidecar) => {
      const text = renderSidecar(sidecar);
      expect(read(text)).toEqual(sidecar);
      expect(renderSidecar(read(text))).toBe(text);
    }),
  );
});

describe("a shell that executes the file", () => {
  const separator = "\u001f";
  /** The values of A and B after a shell took the text, and what it said. */
  const executed = (shell: string, text: string) => {
    const script = `set -eu\n${text}\nprintf '%s${separator}' "\${A-unset}" "\${B-unset}"\n`;
    const ran = spawnSync(`/bin/${shell}`, ["-c", script], { encoding: "utf8", env: { PATH: "/nonexistent" }, timeout: 20_000 });
    return { status: ran.status, values: ran.stdout.split(separator).slice(0, -1), stderr: ran.stderr };
  };
  const pieces = [
    "A=",
    "B=",
    "a",
    "b",
    " ",
    "\n",
    "'",
    '"',
    "\\",
    "\\\n",
    "#",
    "$",
    "`",
    "~",
    ":",
    ";",
    "&",
    "*",
    "?",
    "[",
    "=",
    "!",
    "{a,b}",
    "%",
  ];

  test.each(["dash", "bash"])("%s takes it as it is taken here, whenever it is", (shell) => {
    let accepted = 0;
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 12 }), (parts) => {
        const text = `A=${parts.join("")}`;
        const assignments = readAssignments(text);
        if ("message" in assignments || assignments.some(({ key }) => key !== "A" && key !== "B")) return;
        accepted += 1;
        const last = (key: string): string => assignments.findLast((one) => one.key === key)?.value ?? "unset";
        expect(executed(shell, text)).toEqual({ status: 0, values: [last("A"), last("B")], stderr: "" });
      }),
      { numRuns: 400 },
    );
    expect(accepted).toBeGreaterThan(50);
  });
});
