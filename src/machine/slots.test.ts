/** Devices and slots that a template brings: read, held against each other and the plan, and as both hypervisors take them. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lintBhyve, planBhyve } from "./bhyve.ts";
import { lintSpec } from "./plan.ts";
import { lintQemu, planQemu } from "./qemu.ts";
import { parseSlot } from "./slots.ts";
import { sampleSpec } from "./testing.ts";
import type { MachineSlot, MachineSpec } from "./types.ts";

const slotsOf = (...texts: readonly string[]): readonly MachineSlot[] =>
  texts.map((text) => {
    const slot = parseSlot(text);
    if (slot === undefined) throw new Error(`${text} is no slot`);
    return slot;
  });
const specOf = (...texts: readonly string[]): MachineSpec =>
  sampleSpec("/a.img", {
    system: "x86_64-linux",
    firmware: { kind: "uefi" },
    accelerator: "auto",
    extraSlots: slotsOf(...texts),
  });
const said = (found: readonly { readonly field: string; readonly message: string }[]): readonly string[] =>
  found.map(({ field, message }) => `${field}: ${message}`);

const bhyveFacts = { firmware: { code: "/c.fd", variables: "/v.fd" }, directory: "/m", wired: false };
const bhyveWords = (spec: MachineSpec): string => planBhyve(spec, bhyveFacts).argv.join(" ");
const qemuWords = (spec: MachineSpec): string =>
  planQemu(spec, {
    system: "x86_64-linux",
    qemu: "/q",
    setpriv: undefined,
    accelerator: "tcg",
    firmware: bhyveFacts.firmware,
    directory: "/m",
  }).argv.join(" ");

describe("a slot", () => {
  test.each([
    ["20:0,passthru,ppt0", { bus: 0, slot: 20, function: 0, emulation: "passthru", conf: "ppt0" }],
    ["7,ahci-cd,/a.iso,ro", { bus: 0, slot: 7, function: 0, emulation: "ahci-cd", conf: "/a.iso,ro" }],
    ["1:4:6,virtio-rnd", { bus: 1, slot: 4, function: 6, emulation: "virtio-rnd", conf: undefined }],
  ])("%s", (text, fields) => {
    expect(parseSlot(text)).toEqual({ text, ...fields });
  });

  test.each(["", "20", "20:0", "a,passthru", "20:0,", "20:0,passthru,", "1:2:3:4,x", "20:0,passthru,a\nb", "-1,x", "20:10,x"])(
    "%j is none",
    (text) => {
      expect(parseSlot(text)).toBeUndefined();
    },
  );
});

describe("slots", () => {
  test.each<readonly [readonly string[], readonly string[]]>([
    [["20:0,passthru,ppt0", "21:0,passthru,ppt1"], []],
    [["20:0,passthru,1/0/0", "20:1,passthru,1/0/1,rom=/r.bin", "1:3:0,virtio-rnd"], []],
    [["20:0,passthru,ppt0", "20:0,passthru,ppt1"], ["extraSlots[1]: slot 20:0 is taken by 20:0,passthru,ppt0"]],
    [["20:0,passthru,ppt0", "21:0,passthru,ppt0,rom=/r"], ["extraSlots[1]: the device ppt0 is passed through twice"]],
    [["32,virtio-rnd"], ["extraSlots[0]: there is no slot 32: they go up to 31"]],
    [["256:1:0,virtio-rnd"], ["extraSlots[0]: there is no bus 256: they go up to 255"]],
    [["5:0,virtio-rnd", "5:8,virtio-rnd"], ["extraSlots[1]: there is no function 8: they go up to 7"]],
    [["20:1,passthru,ppt0"], ["extraSlots[0]: slot 20 has no function 0"]],
    [["20:0,passthru,pci7"], ['extraSlots[0]: "pci7" names no device of the host: ppt0, 1/0/0 or pci0:1:0:0 do']],
    [["20:0,passthru"], ['extraSlots[0]: "" names no device of the host: ppt0, 1/0/0 or pci0:1:0:0 do']],
  ])("%j", (texts, faults) => {
    expect(said(lintSpec(specOf(...texts)))).toEqual([...faults]);
  });

  test("of the plan itself are taken on bhyve", () => {
    const taken = ["0,x", "1,x", "2,x", "3,x", "4,x", "31,x", "1:3:0,x"];
    const spec = { ...specOf(...taken), network: { kind: "user", mac: "52:54:00:00:00:01", forward: [] } } as const;
    expect(said(lintBhyve(spec, {}))).toEqual([
      "extraSlots[0]: slot 0 is taken by the host bridge",
      "extraSlots[1]: slot 1 is taken by the source of randomness",
      "extraSlots[2]: slot 2 is taken by the network",
      "extraSlots[3]: slot 3 is taken by disk 0",
      "extraSlots[5]: slot 31 is taken by the chipset",
    ]);
    expect(said(lintBhyve({ ...spec, network: { kind: "none" } }, {}))).not.toContain(
      "extraSlots[2]: slot 2 is taken by the network",
    );
  });

  test("on QEMU are devices of the host, on bus 0", () => {
    expect(said(lintQemu(specOf("20:0,passthru,1/0/0", "21,passthru,pci0:193:0:1")))).toEqual([]);
    expect(
      said(
        lintQemu(
          specOf("20:0,passthru,ppt0", "6,ahci-cd,/a.iso", "1:6:0,passthru,1/0/0", "31,passthru,2/0/0", "0,passthru,3/0/0"),
        ),
      ),
    ).toEqual([
      "extraSlots[0]: 20:0,passthru,ppt0: ppt0 is a name of FreeBSD's; QEMU wants the device's address, as in 1/0/0",
      "extraSlots[1]: QEMU has no ahci-cd of bhyve: 6,ahci-cd,/a.iso",
      "extraSlots[2]: 1:6:0,passthru,1/0/0: the machine has bus 0 alone",
      "extraSlots[3]: 31,passthru,2/0/0: slot 31 is taken by the chipset",
      "extraSlots[4]: 0,passthru,3/0/0: slot 0 is taken by the host bridge",
    ]);
  });
});

describe("a device of the host", () => {
  test("on bhyve is the slot as it was written, with wired memory", () => {
    const words = bhyveWords(specOf("20:0,passthru,ppt0", "21:0,passthru,ppt1"));
    expect(words).toContain(" -S ");
    expect(words).toContain("-s 20:0,passthru,ppt0 -s 21:0,passthru,ppt1 -s 31,lpc");
  });

  test("on QEMU is vfio-pci at its address, before all that has no place of its own", () => {
    const words = qemuWords(specOf("21,passthru,pci0:193:0:0", "20:1,passthru,1/0/1,rom=/r", "20:0,passthru,1/0/0"));
    expect(words).toContain(
      "-overcommit mem-lock=on -device vfio-pci,host=0000:01:00.0,addr=0x14.0x0,multifunction=on" +
        " -device vfio-pci,host=0000:01:00.1,addr=0x14.0x1 -device vfio-pci,host=0000:c1:00.0,addr=0x15.0x0 ",
    );
    expect(words.indexOf("vfio-pci")).toBeLessThan(words.indexOf("virtio-rng-pci"));
  });

  test("is what wires memory; another slot does not, and asking does", () => {
    expect(bhyveWords(specOf("7,ahci-cd,/a.iso"))).not.toContain(" -S ");
    expect(qemuWords(specOf())).not.toContain("-overcommit");
    expect(bhyveWords({ ...specOf(), wiredMemory: true })).toContain(" -S ");
    expect(qemuWords({ ...specOf(), wiredMemory: true })).toContain("-overcommit mem-lock=on");
  });
});

// The one device that QEMU looks for before it opens anything else: it says which address it did not find.
test("QEMU reads the words: it misses the device, and nothing else", () => {
  const directory = mkdtempSync(join(tmpdir(), "garth-slots-"));
  try {
    expect(existsSync("/sys/bus/pci/devices/0000:c1:1f.7")).toBe(false);
    const words = ["-machine", "q35", "-display", "none", "-nodefaults", "-accel", "tcg", "-S", "-m", "64M"];
    const slot = ["-device", "vfio-pci,host=0000:c1:1f.7,addr=0x14.0x0,multifunction=on"];
    expect(qemuWords(specOf("20:0,passthru,193/31/7", "20:1,passthru,1/0/1"))).toContain(slot.join(" "));
    const ran = spawnSync("qemu-system-x86_64", [...words, ...slot], { encoding: "utf8", cwd: directory, timeout: 20_000 });
    expect(ran.stderr).toContain("0000:c1:1f.7");
    expect(ran.stderr).not.toContain("Property");
    expect(ran.status).toBe(1);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
