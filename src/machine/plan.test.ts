/** Plans of machines: their faults, the command lines as text, and bhyve's script, run with stand-ins for FreeBSD's tools. */
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { golden, thrownProblem } from "../base/testing.ts";
import { shellQuote } from "../host/index.ts";
import { type BhyveExit, bhyveEndKind, bhyveExit, type BhyveFacts, lintBhyve, planBhyve } from "./bhyve.ts";
import { assertFaultless, CREDENTIALS_MAX, lintSpec } from "./plan.ts";
import type { QemuFacts, QemuPlan } from "./hypervisor.ts";
import { lintQemu, optionValue, planQemu } from "./qemu.ts";
import { sampleSpec } from "./testing.ts";
import type { MachineSpec } from "./types.ts";

const GOLDEN = join(import.meta.dir, "golden");
const facts: QemuFacts = {
  system: "x86_64-linux",
  qemu: "/usr/bin/qemu-system-x86_64",
  setpriv: "/usr/bin/setpriv",
  accelerator: "tcg",
  firmware: { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables: "/usr/share/OVMF/OVMF_VARS_4M.fd" },
  directory: "/frx/var/garth/machines/web",
};

const web: MachineSpec = {
  name: "web",
  system: "x86_64-freebsd",
  memoryBytes: 1024 ** 3,
  cpus: 2,
  firmware: { kind: "uefi" },
  disks: [
    { file: "/images/a, b/web,1.img", format: "raw", device: "virtio-blk", mode: "snapshot" },
    { file: "/images/seed.img", format: "raw", device: "nvme", mode: "read-only" },
    { file: "/images/data.qcow2", format: "qcow2", device: "ahci-hd", mode: "persistent" },
  ],
  network: {
    kind: "user",
    mac: "52:54:00:12:34:56",
    forward: [
      { hostPort: 2222, guestPort: 22 },
      { hostPort: 0, guestPort: 80 },
    ],
    isolated: true,
  },
  display: true,
  credentials: { "ssh.authorized_keys.root": "ssh-ed25519 AAAA, someone", "a.secret": "\u{1f511}" },
  onReboot: "exit",
  accelerator: "auto",
};
const direct = sampleSpec("/images/root.img", {
  name: "direct",
  system: "aarch64-linux",
  firmware: {
    kind: "direct",
    kernel: "/boot/vmlinuz,6.1",
    initrd: "/boot/initrd.img",
    commandLine: "console=ttyAMA0 root=/dev/vda, quiet",
  },
});

function shown({ argv, env, cwd, files, sockets }: QemuPlan): string {
  const words = argv.map((word, index) => (index > 0 && word.startsWith("-") ? `\n  ${word}` : ` ${shellQuote(word)}`)).join("");
  return `${words.trimStart()}\n\n${JSON.stringify({ env, cwd, files, sockets }, undefined, 2)}\n`;
}

describe("a spec", () => {
  const faults = (change: Partial<MachineSpec>): readonly string[] =>
    lintSpec({ ...web, ...change }).map(({ field, message }) => `${field}: ${message}`);
  const disk = { file: "/a.img", format: "raw", device: "virtio-blk", mode: "snapshot" } as const;
  const user = { kind: "user", mac: "52:54:00:12:34:56", forward: [] } as const;

  test("that is sound has no fault", () => {
    expect([lintSpec(web), lintSpec(direct), lintSpec(sampleSpec("/a.img"))]).toEqual([[], [], []]);
    expect(faults({ disks: [disk, disk] })).toEqual([]);
    assertFaultless("web", []);
  });

  test.each<readonly [string, Partial<MachineSpec>, string]>([
    ["an empty name", { name: "" }, "name: "],
    ["a path as a name", { name: "../x" }, "name: "],
    ["a name that begins with a dot", { name: ".x" }, "name: "],
    ["a name with a comma", { name: "a,b" }, "name: "],
    ["no memory", { memoryBytes: 0 }, "memoryBytes: "],
    ["half a MiB", { memoryBytes: 1024 ** 2 * 1.5 }, "memoryBytes: "],
    ["no processor", { cpus: 0 }, "cpus: "],
    ["half a processor", { cpus: 1.5 }, "cpus: "],
    ["nothing to boot from", { disks: [] }, "disks: "],
    ["more disks than there is room for", { disks: Array.from({ length: 17 }, () => disk) }, "disks: "],
    ["a relative image", { disks: [{ ...disk, file: "a.img" }] }, "disks[0].file: "],
    ["an image with a NUL", { disks: [{ ...disk, file: "/a\0.img" }] }, "disks[0].file: "],
    ["an AHCI disk that is read-only", { disks: [{ ...disk, device: "ahci-hd", mode: "read-only" }] }, "disks[0].mode: "],
    ["a disc that is written to", { disks: [{ ...disk, device: "cdrom" }] }, "disks[0].mode: "],
    ["a disc in a container", { disks: [{ ...disk, device: "cdrom", mode: "read-only", format: "qcow2" }] }, "disks[0].format: "],
    ["two that write to one image", { disks: [disk, { ...disk, mode: "persistent" }] }, "disks[1].file: "],
    ["an address that is none", { network: { ...user, mac: "52:54:00:12:34" } }, "network.mac: "],
    ["a group's address", { network: { ...user, mac: "01:00:5e:00:00:01" } }, "network.mac: "],
    [
      "a port that is none",
      { network: { ...user, forward: [{ hostPort: 65_536, guestPort: 22 }] } },
      "network.forward[0].hostPort: ",
    ],
    ["a guest's port 0", { network: { ...user, forward: [{ hostPort: 0, guestPort: 0 }] } }, "network.forward[0].guestPort: "],
    ["a relative kernel", { firmware: { kind: "direct", kernel: "vmlinuz", commandLine: "" } }, "firmware.kernel: "],
    [
      "a line end on the command line",
      { firmware: { kind: "direct", kernel: "/k", commandLine: "a\nb" } },
      "firmware.commandLine: ",
    ],
    ["half of a firmware", { firmware: { kind: "uefi", code: "/code.fd" } }, "firmware: "],
    ["a BIOS where there is none", { firmware: { kind: "bios" }, system: "aarch64-linux" }, "firmware.kind: "],
    ["a credential with a slash", { credentials: { "a/b": "" } }, "credentials: "],
    ["too much to hand on", { credentials: { a: "x".repeat(CREDENTIALS_MAX + 1) } }, "credentials: "],
  ])("with %s", (_name, change, fault) => {
    const found = faults(change);
    expect(found.length).toBe(1);
    expect(found[0]).toStartWith(fault);
  });

  test("whose ports clash", () => {
    const forward = [
      { hostPort: 2222, guestPort: 22 },
      { hostPort: 2222, guestPort: 23 },
      { hostPort: 0, guestPort: 22 },
      { hostPort: 0, guestPort: 24 },
    ];
    expect(faults({ network: { ...user, forward } })).toEqual([
      "network.forward[1].hostPort: 2222 is taken twice",
      "network.forward[2].guestPort: 22 is forwarded twice",
    ]);
  });

  test("is refused with every fault", () => {
    const problem = thrownProblem(() => assertFaultless("web", lintSpec({ ...web, cpus: 0, memoryBytes: 0 })));
    expect([problem.code, problem.exit, problem.details.length]).toEqual(["E_MACHINE_SPEC", 2, 2]);
  });

  test("for another processor has no AHCI", () => {
    expect(lintQemu({ ...direct, disks: [{ ...disk, device: "ahci-hd" }] }).map(({ field }) => field)).toEqual([
      "disks[0].device",
    ]);
    expect(lintQemu(web)).toEqual([]);
  });
});

describe("QEMU's command line", () => {
  test.each([
    ["web", planQemu(web, facts)],
    ["web-kvm", planQemu(web, { ...facts, accelerator: "kvm" })],
    [
      "web-on-freebsd",
      planQemu(web, { ...facts, qemu: "/usr/local/bin/qemu-system-x86_64", system: "x86_64-freebsd", setpriv: undefined }),
    ],
    ["direct", planQemu(direct, { ...facts, qemu: "/usr/bin/qemu-system-aarch64", firmware: undefined })],
    ["bios", planQemu(sampleSpec("/images/a.img"), { ...facts, firmware: undefined })],
  ])("%s", (name, plan) => {
    const text = shown(plan);
    expect(text).toBe(golden(join(GOLDEN, `qemu-${name}.txt`), text));
  });

  test("a disc is in a drive of its own, and is started from in its turn", () => {
    const disc = { file: "/images/install.iso", format: "raw", device: "cdrom", mode: "read-only" } as const;
    const { argv } = planQemu({ ...web, disks: [...web.disks.slice(0, 1), disc] }, facts);
    expect(argv.filter((word) => /disk1|scsi/.test(word))).toEqual([
      "if=none,id=disk1,format=raw,read-only=on,file=/images/install.iso",
      "virtio-scsi-pci,id=scsi1",
      "scsi-cd,bus=scsi1.0,drive=disk1,serial=disk1,bootindex=1",
    ]);
    const bhyve = planBhyve({ ...bhyveWeb, disks: [disc] }, { ...bhyveFacts, tap: "tap0" });
    expect(bhyve.argv).toContain("3,ahci-cd,/images/install.iso");
  });

  test("holds no value of a credential, nor does its environment", () => {
    const { argv, env, files } = planQemu(web, facts);
    const public_ = JSON.stringify([argv, env]);
    for (const file of files) {
      if (file.kind !== "secret") continue;
      const [, value = ""] = file.text.split("=");
      expect(value.length).toBeGreaterThan(0);
      expect(public_).not.toContain(value);
    }
    expect(public_).not.toContain("AAAA");
  });

  test("any file name stays one value", () => {
    fc.assert(
      fc.property(fc.string(), (name) => {
        // What QEMU does: two commas are one, and a single one ends the value.
        const read = /^((?:[^,]|,,)*)/.exec(optionValue(name))?.[1]?.replaceAll(",,", ",");
        expect(read).toBe(name);
      }),
    );
  });
});

const bhyveFacts: BhyveFacts = {
  firmware: {
    code: "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd",
    variables: "/usr/local/share/uefi-firmware/BHYVE_UEFI_VARS.fd",
  },
  directory: "/tank/my machines/web",
  wired: false,
};
const bhyveWeb: MachineSpec = {
  ...web,
  name: "web.example",
  disks: [
    { file: "/images/it's web.img", format: "raw", device: "virtio-blk", mode: "snapshot" },
    { file: "/dev/zvol/tank/data", format: "raw", device: "nvme", mode: "persistent" },
    { file: "/images/seed.img", format: "raw", device: "virtio-blk", mode: "read-only" },
  ],
  network: {
    kind: "user",
    mac: "58:9c:fc:00:00:01",
    forward: [
      { hostPort: 2222, guestPort: 22 },
      { hostPort: 8080, guestPort: 80 },
    ],
  },
  display: false,
  credentials: {},
};

describe("bhyve", () => {
  const tapped = planBhyve({ ...bhyveWeb, disks: bhyveWeb.disks.slice(1) }, { ...bhyveFacts, tap: "tap3", wired: true });
  const alone = planBhyve(
    { ...bhyveWeb, network: { kind: "user", mac: "58:9c:fc:00:00:01", forward: [], isolated: true } },
    bhyveFacts,
  );

  test.each([
    ["slirp", planBhyve(bhyveWeb, bhyveFacts)],
    ["tap", tapped],
    ["isolated", alone],
  ])("the script of a machine on %s", (name, { script, argv }) => {
    expect(script).toBe(golden(join(GOLDEN, `bhyve-${name}.sh`), script));
    const checked = Bun.spawnSync(["shellcheck", "-s", "sh", "-"], { stdin: Buffer.from(script) });
    expect(checked.stdout.toString()).toBe("");
    expect(argv[0]).toBe("bhyve");
  });

  test("cannot do everything that QEMU can", () => {
    expect(lintBhyve(bhyveWeb, bhyveFacts)).toEqual([]);
    expect(lintBhyve({ ...web, accelerator: "kvm", firmware: { kind: "bios" } }, bhyveFacts).map(({ field }) => field)).toEqual([
      "firmware.kind",
      "disks[0].file",
      "disks[2].format",
      "network.forward[1].hostPort",
      "display",
      "credentials",
      "accelerator",
    ]);
    expect(lintBhyve({ ...direct, disks: [] }, { tap: "tap0" }).map(({ field }) => field)).toEqual([
      "system",
      "firmware.kind",
      "accelerator",
    ]);
  });

  test("each exit status means one thing, and a reboot is never a pass", () => {
    const known = [0, 1, 2, 3, 4, 71, 124, 137].map((status) => [status, bhyveExit(status), bhyveEndKind(bhyveExit(status))]);
    expect(known).toEqual([
      [0, "rebooted", "rebooted"],
      [1, "powered-off", "powered-off"],
      [2, "halted", "powered-off"],
      [3, "triple-fault", "rebooted"],
      [4, "error", "died"],
      [71, "not-started", "died"],
      [124, "killed", "died"],
      [137, "killed", "died"],
    ]);
  });
});

describe("bhyve's script, with stand-ins for the tools", () => {
  const places: string[] = [];
  afterEach(() => {
    for (const place of places.splice(0)) rmSync(place, { recursive: true });
  });

  interface Ran {
    readonly status: number | null;
    readonly stdout: string;
    readonly exit: BhyveExit | undefined;
    readonly log: readonly string[];
    readonly left: readonly string[];
  }

  /** The stand-ins note how they were called; `bhyve` is a shell command. */
  async function run(verb: string, bhyve: string, { endAt = "", stale = false } = {}): Promise<Ran> {
    const place = mkdtempSync(join(tmpdir(), "garth-bhyve-"));
    places.push(place);
    const at = (name: string): string => join(place, name);
    mkdirSync(at("vmm"));
    mkdirSync(at("machine"));
    for (const name of ["it's web.img", "VARS.fd"]) writeFileSync(at(name), name);
    if (stale) writeFileSync(at("vmm/garth-web_example"), "");
    const firmware = { code: "/CODE.fd", variables: at("VARS.fd") };
    const disks = [{ file: at("it's web.img"), format: "raw", device: "virtio-blk", mode: "snapshot" } as const];
    const { script } = planBhyve({ ...bhyveWeb, disks }, { ...bhyveFacts, firmware, directory: at("machine") });
    mkdirSync(at("bin"));
    for (const [name, body] of [
      [
        "bhyve",
        `echo "bhyve $*" >>${at("log")}; : >${at("vmm/garth-web_example")}; ls ${at("machine")} >>${at("log")}; ${bhyve}`,
      ],
      ["bhyvectl", `echo "bhyvectl $*" >>${at("log")}; rm ${at("vmm/garth-web_example")}`],
      ["kldload", "exit 0"],
    ]) {
      writeFileSync(at(`bin/${name}`), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    }
    writeFileSync(
      at("run.sh"),
      script.replace("PATH=/sbin:", `PATH=${at("bin")}:/sbin:`).replaceAll("/dev/vmm/", `${at("vmm")}/`),
    );
    const child = Bun.spawn(["sh", at("run.sh"), verb], { stdin: Buffer.from("typed\n"), stdout: "pipe", stderr: "pipe" });
    let stdout = "";
    const reading = (async () => {
      for await (const chunk of child.stdout) {
        stdout += new TextDecoder().decode(chunk);
        if (endAt !== "" && stdout.includes(endAt)) child.kill("SIGTERM");
      }
    })();
    const [stderr] = await Promise.all([new Response(child.stderr).text(), reading]);
    const status = await child.exited;
    const said = /^garth-machine: exited (\d+)$/m.exec(stderr)?.[1];
    return {
      status,
      stdout,
      exit: said === undefined ? undefined : bhyveExit(Number(said)),
      log: existsSync(at("log")) ? readFileSync(at("log"), "utf8").trimEnd().split("\n") : [],
      left: ["vmm/garth-web_example", "machine/disk0.img", "machine/variables.fd"].filter((name) => existsSync(at(name))),
    };
  }

  test("a machine that powers off is destroyed, its copies are gone, and it could be typed to", async () => {
    const { status, stdout, exit, log, left } = await run("run", 'read -r line; echo "console: $line"; exit 1');
    expect({ status, stdout, exit, left }).toEqual({ status: 1, stdout: "console: typed\n", exit: "powered-off", left: [] });
    expect(log[0]).toStartWith("bhyve -A -H -P -w -u -c 2 -m 1024M -s 0,hostbridge");
    expect(log.slice(1)).toEqual(["disk0.img", "variables.fd", "bhyvectl --vm=garth-web_example --destroy"]);
  });

  test.each([
    [0, "rebooted"],
    [2, "halted"],
    [3, "triple-fault"],
    [4, "error"],
  ] as const)("bhyve's status %d comes through as %s", async (status, exit) => {
    const ran = await run("run", `exit ${status}`);
    expect([ran.status, ran.exit, ran.left]).toEqual([status, exit, []]);
  });

  test("what an earlier run left is destroyed first", async () => {
    const { log } = await run("run", "exit 1", { stale: true });
    expect(log.map((line) => line.split(" ")[0])).toEqual(["bhyvectl", "bhyve", "disk0.img", "variables.fd", "bhyvectl"]);
    expect((await run("destroy", "exit 1", { stale: true })).log).toEqual(["bhyvectl --vm=garth-web_example --destroy"]);
    expect((await run("destroy", "exit 1")).log).toEqual([]);
  });

  test("ended by a signal, it ends the machine", async () => {
    const ran = await run("run", "echo up; exec sleep 1000", { endAt: "up\n" });
    expect([ran.status, ran.exit, ran.left]).toEqual([143, "killed", []]);
  });

  test("that cannot be set up says so", async () => {
    const ran = await run("other", "exit 1");
    expect([ran.status, ran.exit]).toEqual([2, undefined]);
  });
});
