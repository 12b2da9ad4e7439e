/** Machines of pools as command lines, held to golden files: each kind of start, network and density. */
import { describe, expect, test } from "bun:test";
import { golden } from "../base/testing.ts";
import { lintSpec, planQemu } from "../machine/index.ts";
import { type MachineFacts, machineOf } from "./machine.ts";
import { poolEntry, poolSpec } from "./testing.ts";

const UEFI = { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables: "/usr/share/OVMF/OVMF_VARS_4M.fd" };
const SIDECAR = {
  gatewayMode: "ssh",
  bootMode: "uefi",
  patchMode: "nocloud-seed",
  diskDevice: "virtio-blk",
  netDevice: "virtio-net",
  sshUser: "root",
  shell: "/bin/bash",
  shellArgs: ["-i"],
  memoryBytes: 256 * 1024 ** 2,
  cpus: 1,
  wiredMemory: false,
  extraSlots: [],
} as const;
const DIRECT = { kernel: "/templates/micro.kernel", initrd: "/templates/micro.initrd", commandLine: "quiet" };
const ENTRY = poolEntry(50, "preparing", { directory: "/pools/micro/micro-50", mac: "52:54:0a:4d:00:32" });
const MEMORY = { file: "/pools/micro/snapshots/0123456789abcdef/memory" } as const;
const SLOT = { text: "20:0,passthru,1/0/0", bus: 0, slot: 20, function: 0, emulation: "passthru", conf: "1/0/0" };

const CASES: Readonly<Record<string, { readonly line: ReturnType<typeof lineOf> }>> = {
  "boot-uefi": { line: lineOf({}, { direct: undefined }, {}) },
  "boot-direct": { line: lineOf({}, { direct: DIRECT }, {}) },
  "boot-source": { line: lineOf({}, { direct: DIRECT }, { memoryFile: { ...MEMORY, mode: "shared" } }) },
  "clone-roomy": { line: lineOf({}, { direct: DIRECT }, { isClone: true, memoryFile: { ...MEMORY, mode: "private" } }) },
  "clone-dense": {
    line: lineOf({ density: "dense" }, { direct: DIRECT }, { isClone: true, memoryFile: { ...MEMORY, mode: "private" } }),
  },
  bridge: { line: lineOf({ network: "bridge" }, { direct: undefined }, {}) },
  passthrough: { line: lineOf({}, { direct: undefined, sidecar: { ...SIDECAR, extraSlots: [SLOT], wiredMemory: true } }, {}) },
};

function lineOf(
  pool: Parameters<typeof poolSpec>[0],
  template: Partial<Parameters<typeof machineOf>[2]>,
  facts: Omit<MachineFacts, "system">,
): string {
  const spec = machineOf(
    ENTRY,
    poolSpec(pool),
    { sidecar: SIDECAR, direct: undefined, ...template },
    { system: "x86_64-linux", ...facts },
  );
  expect(lintSpec(spec)).toEqual([]);
  const { argv } = planQemu(spec, {
    system: "x86_64-linux",
    qemu: "/usr/bin/qemu-system-x86_64",
    setpriv: undefined,
    accelerator: "tcg",
    firmware: UEFI,
    directory: ENTRY.directory,
    resident: { incoming: facts.isClone === true },
  });
  return `${argv.join(" ").replaceAll(/ -(?=[a-zA-Z])/g, " \\\n    -")}\n`;
}

describe("a machine as QEMU is told of it", () => {
  test.each(Object.keys(CASES))("%s", (name) => {
    const { line = "" } = CASES[name] ?? {};
    expect(line).toBe(golden(`${import.meta.dir}/golden/machine/${name}.txt`, line));
  });

  test("nobody's machine reaches more than its policy says, on a network of its own", () => {
    const open = { allowInternetAccess: true, allowOut: [], denyOut: [] };
    const networkOf = (policy: typeof open) => {
      const { network } = machineOf(
        { ...ENTRY, policy },
        poolSpec(),
        { sidecar: SIDECAR, direct: undefined },
        { system: "x86_64-linux" },
      );
      return network.kind === "user" ? network.isolated : undefined;
    };
    expect([networkOf(open), networkOf({ ...open, allowInternetAccess: false })]).toEqual([false, true]);
  });
});
