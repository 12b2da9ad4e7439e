/** For tests: specs of machines, boot sectors to put into them, and a place to run them. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Host, localHost } from "../host/index.ts";
import { openMachines } from "./index.ts";
import type { Machines, MachineSpec } from "./types.ts";

export { runs, until } from "./supervise.testing.ts";

/** A machine that boots the file by its BIOS, alone in the world. */
export function sampleSpec(file: string, change: Partial<MachineSpec> = {}): MachineSpec {
  return {
    name: "sample",
    system: "x86_64-linux",
    memoryBytes: 64 * 1024 ** 2,
    cpus: 1,
    firmware: { kind: "bios" },
    disks: [{ file, format: "raw", device: "virtio-blk", mode: "snapshot" }],
    network: { kind: "none" },
    display: false,
    credentials: {},
    onReboot: "exit",
    accelerator: "tcg",
    ...change,
  };
}

/** A disk that the BIOS boots from: the sector at its beginning, and room that SeaBIOS wants to see. */
export function bootDisk(code: readonly number[]): Uint8Array {
  if (code.length > 510) throw new Error(`${code.length} bytes are too many for a boot sector`);
  const disk = new Uint8Array(1024 ** 2);
  disk.set(code);
  disk.set([0x55, 0xaa], 510);
  return disk;
}

const [AL, AX, DX] = [0xb0, 0xb8, 0xba];
const word = (value: number): readonly number[] => [value & 0xff, value >> 8];

/** 16-bit code, to be strung together. */
export const boot = {
  /** mov dx, 0x3fd; wait until the transmitter is empty; mov dx, 0x3f8; mov al, C; out dx, al, for each. */
  print: (text: string): readonly number[] =>
    [...Buffer.from(text)].flatMap((byte) => [
      DX,
      ...word(0x3fd),
      0xec,
      0xa8,
      0x20,
      0x74,
      0xfb,
      DX,
      ...word(0x3f8),
      AL,
      byte,
      0xee,
    ]),
  /** mov dx, 0x3f8; l: mov al, 'x'; out dx, al; jmp l */
  flood: [DX, ...word(0x3f8), AL, 0x78, 0xee, 0xeb, 0xfb],
  /** Sends back what comes on the serial port, in capitals. mov dx, 0x3fd; in al, dx; test al, 1; jz; mov dx, 0x3f8; in; and 0xdf; out; jmp */
  echo: [DX, ...word(0x3fd), 0xec, 0xa8, 0x01, 0x74, 0xfb, DX, ...word(0x3f8), 0xec, 0x24, 0xdf, 0xee, 0xeb, 0xef],
  /** Waits for one byte of the serial port and drops it. */
  wait: [DX, ...word(0x3fd), 0xec, 0xa8, 0x01, 0x74, 0xfb, DX, ...word(0x3f8), 0xec],
  /** cli; l: hlt; jmp l */
  halt: [0xfa, 0xf4, 0xeb, 0xfd],
  /** ACPI of q35: PM1a_CNT at 0x604, SLP_EN. mov dx, 0x604; mov ax, 0x2000; out dx, ax; hlt */
  powerOff: [DX, ...word(0x604), AX, ...word(0x2000), 0xef, 0xf4],
  /** The reset control register. mov dx, 0xcf9; mov al, 6; out dx, al; hlt */
  reset: [DX, ...word(0xcf9), AL, 6, 0xee, 0xf4],
  /** pvpanic: a write of 1 to its port. mov dx, 0x505; mov al, 1; out dx, al; hlt */
  panic: [DX, ...word(0x505), AL, 1, 0xee, 0xf4],
  /** An interrupt without a table to handle it, in protected mode: lidt of six zero bytes further on, then int3. */
  tripleFault: [0xfa, 0x0f, 0x01, 0x1e, ...word(0x7df0), 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, 0xcc],
} as const;

/** A directory for a test's machines, with files that boot. */
export interface MachinePlace {
  readonly directory: string;
  readonly machines: Machines;
  /** Writes a disk that boots the code; returns its path. */
  disk(name: string, code: readonly number[]): string;
  /** Names of the machines' directories that are there. */
  left(): readonly string[];
  remove(): void;
}

export function machinePlace(host: Host = localHost()): MachinePlace {
  const directory = mkdtempSync(join(tmpdir(), "garth-machine-"));
  const below = join(directory, "machines");
  return {
    directory,
    machines: openMachines(host, { directory: below, acceleratorFile: join(directory, "accelerator.json") }),
    disk: (name, code) => {
      const path = join(directory, name);
      writeFileSync(path, bootDisk(code));
      return path;
    },
    left: () => (existsSync(below) ? readdirSync(below) : []),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** Collects what a console prints, and says when it holds what was waited for. */
export function consoleText(): {
  readonly onConsole: (chunk: Uint8Array) => void;
  readonly text: string;
  until(part: string): Promise<void>;
} {
  let text = "";
  const waiting = new Set<() => void>();
  return {
    onConsole: (chunk) => {
      text += Buffer.from(chunk).toString("latin1");
      for (const look of waiting) look();
    },
    get text() {
      return text;
    },
    until: (part) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (!text.includes(part)) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
  };
}
