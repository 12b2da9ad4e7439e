/** Options of machines and gates: what was said, and the machine that it comes to. */
import { parseSize, Problem, sha256 } from "../base/index.ts";
import type { Garth } from "../app/index.ts";
import type { AcceleratorWish, Firmware, MachineNetwork, MachineSpec, PortForward } from "../machine/index.ts";
import type { Given } from "./command.ts";
import type { FoundImage } from "./image-of.ts";
import { usageProblem } from "./parse.ts";

const DEFAULT_MEMORY = "1G";
const MIB = 1024 ** 2;

export interface MachineOptions {
  readonly memoryBytes: number;
  readonly cpus: number;
  readonly accelerator: AcceleratorWish;
  readonly firmware: Firmware;
}

/** What `--memory` and its like say; undefined where none of them is given. */
export function hasMachineOptions(given: Given): boolean {
  return given.flag("direct") || ["memory", "cpus", "accelerator", "firmware"].some((name) => given.text(name) !== undefined);
}

/** @throws Problem E_USAGE */
export async function machineOptions(garth: Garth, given: Given, image: FoundImage | undefined): Promise<MachineOptions> {
  const memory = given.text("memory") ?? DEFAULT_MEMORY;
  const memoryBytes = parseSize(memory);
  if (memoryBytes < MIB || memoryBytes % MIB !== 0)
    throw usageProblem(`--memory ${memory}: expected a whole number of MiB`, "512M, 1G");
  const cpus = given.text("cpus") ?? "1";
  if (!/^[1-9]\d{0,2}$/.test(cpus)) throw usageProblem(`--cpus ${cpus}: expected a whole number from 1`, "1, 2, 4");
  return { memoryBytes, cpus: Number(cpus), accelerator: wish(given), firmware: await firmware(garth, given, image) };
}

function wish(given: Given): AcceleratorWish {
  const text = given.text("accelerator") ?? "auto";
  if (text === "auto" || text === "kvm" || text === "tcg") return text;
  throw usageProblem(`--accelerator ${text}: there is no such accelerator`, "auto, kvm or tcg");
}

async function firmware(garth: Garth, given: Given, image: FoundImage | undefined): Promise<Firmware> {
  const text = given.text("firmware") ?? "uefi";
  if (text !== "uefi" && text !== "bios") throw usageProblem(`--firmware ${text}: there is no such firmware`, "uefi or bios");
  if (!given.flag("direct")) return { kind: text };
  if (given.text("firmware") !== undefined)
    throw usageProblem(`--direct and --firmware ${text}: a kernel that is loaded directly has no firmware`, "give one of them");
  const { locateIn } = await garth.image();
  const locate = locateIn(garth.store);
  const system = image?.shipped;
  if (system === undefined)
    throw usageProblem("--direct: of a disk it is not known which kernel is its own", "name the SYSTEM: FILE#NAME");
  if (system.kernel === "") {
    throw new Problem({
      code: "E_NO_KERNEL",
      message: `--direct: the system ${system.name} has no kernel that can be loaded without its loader`,
      hint: "start it without --direct",
      exit: 2,
    });
  }
  return {
    kind: "direct",
    kernel: locate(system.kernel),
    ...(system.initrd === undefined ? {} : { initrd: locate(system.initrd) }),
    commandLine: system.commandLine,
  };
}

/** "8080:80,0:22". @throws Problem E_USAGE */
export function forwards(text: string | undefined): readonly PortForward[] {
  if (text === undefined) return [];
  return text.split(",").map((pair) => {
    const [, hostPort, guestPort] = /^(\d{1,5}):(\d{1,5})$/.exec(pair.trim()) ?? [];
    const ports = { hostPort: Number(hostPort), guestPort: Number(guestPort) };
    if (hostPort === undefined || ports.hostPort > 65_535 || ports.guestPort < 1 || ports.guestPort > 65_535)
      throw usageProblem(`--forward ${text}: ${JSON.stringify(pair)} is not HOST:GUEST`, "8080:80, or 0:22 for a free port here");
    return ports;
  });
}

/** The same machine has the same address each time: what it wrote down of its network stays right. */
export function macOf(name: string): string {
  const digest = sha256(name);
  return ["52:54:00", digest.slice(0, 2), digest.slice(2, 4), digest.slice(4, 6)].join(":");
}

/** @throws Problem E_USAGE */
export async function machineSpec(garth: Garth, given: Given, image: FoundImage): Promise<MachineSpec> {
  const name = given.text("name") ?? image.name;
  const forward = forwards(given.text("forward"));
  const isolated = given.flag("no-network");
  if (isolated && forward.length > 0)
    throw usageProblem("--forward and --no-network exclude each other", "leave one of them out");
  const persistent = given.flag("persistent");
  if (persistent && image.storePath !== undefined) {
    throw usageProblem(
      `--persistent: ${image.storePath} lies in the store, where nothing changes`,
      "make a copy first: garth image convert IMAGE FILE.qcow2",
    );
  }
  const { container } = image.kind;
  if (container !== "raw" && container !== "qcow2")
    throw usageProblem(
      `${image.file} is ${container}, which machines here do not take`,
      `garth image convert ${image.file} FILE.raw`,
    );
  const network: MachineNetwork = isolated ? { kind: "none" } : { kind: "user", mac: macOf(name), forward };
  return {
    name,
    system: garth.system,
    ...(await machineOptions(garth, given, image)),
    disks: [{ file: image.file, format: container, device: "virtio-blk", mode: persistent ? "persistent" : "snapshot" }],
    network,
    display: true,
    credentials: {},
    onReboot: "exit",
  };
}
