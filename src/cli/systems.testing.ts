/** For tests of commands: a project with systems of a few small files, disks that boot, and the program itself. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { bootDisk } from "../machine/testing.ts";

const garth = join(import.meta.dir, "../../garth");

/** What a system needs to be composed; nothing of it would run. */
const TREE: Readonly<Record<string, readonly [text: string, mode: number]>> = {
  "boot/vmlinuz-1.0": ["kernel\n", 0o644],
  "etc/group": ["root:x:0:\nshadow:x:42:\n", 0o644],
  "etc/passwd": ["root:x:0:0:root:/root:/bin/sh\n", 0o644],
  "etc/shadow": ["root:*:19000:0:99999:7:::\n", 0o640],
  "usr/bin/busybox": ["#!/bin/sh\n", 0o755],
  "usr/bin/start": ["#!/bin/sh\nexec sh\n", 0o755],
  "usr/bin/su": ["su\n", 0o4755],
  "usr/include/tiny.h": ["/* tiny */\n", 0o644],
  "usr/lib/systemd/boot/efi/systemd-bootx64.efi": ["loader\n", 0o644],
  "usr/share/doc/tiny/README": ["read me\n", 0o644],
  "var/lib/tiny/a file": ["state\n", 0o600],
};

const PROJECT = `
import { gate, slice, slices, system, world } from "garth";
export const tiny = world({ name: "tiny", directory: "tree" });
export const headers = slice(tiny, { role: "development", keep: ["usr/include"] });
const { kernel, boot, runtime } = slices(tiny);
const common = {
  kernel, bootloader: boot, base: [runtime], init: { exec: "/usr/bin/start" }, rootModules: [], disk: { rootFree: "1M", esp: "8M" },
} as const;
export const web = system({ name: "web", ...common });
export const other = system({ name: "web", ...common, hostName: "other", etc: { motd: "hello\\n" } });
const less = slice(tiny, { role: "runtime", keep: ["bin", "etc", "usr/bin"], prune: ["usr/bin/su"] });
export const lean = system({ name: "web", ...common, base: [less] });
export const firmware = gate({ system: web, extends: "none", timeoutS: 120, require: ["^BdsDxe: "] });
export const impatient = gate({ system: other, extends: "none", timeoutS: 0.5, require: ["^never"] });
`;

export interface Said {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  /** Settles when what it printed so far holds the text; rejects when it ended without. */
  until(text: string): Promise<void>;
  /** Its status, once it has ended, and all that it printed. */
  ended(): Promise<Said>;
}

export interface CommandPlace {
  readonly directory: string;
  call(...words: readonly string[]): Said;
  /** The same with `--json`: what it printed, parsed. */
  document(...words: readonly string[]): unknown;
  start(...words: readonly string[]): Started;
  disk(name: string, code: readonly number[]): void;
  remove(): void;
}

export function commandPlace(): CommandPlace {
  const directory = mkdtempSync(join(tmpdir(), "garth-cli-systems-"));
  for (const [path, [text, mode]] of Object.entries(TREE)) {
    const file = join(directory, "tree", path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    chmodSync(file, mode);
  }
  symlinkSync("usr/bin", join(directory, "tree/bin"));
  writeFileSync(join(directory, "garth.ts"), PROJECT);
  const environment = { PATH: process.env["PATH"] ?? "", GARTH_ROOT: join(directory, "root") };
  const call = (...words: readonly string[]): Said => {
    const child = Bun.spawnSync([garth, ...words], { cwd: directory, env: environment, stdin: "ignore" });
    return { status: child.exitCode, stdout: child.stdout.toString(), stderr: child.stderr.toString() };
  };
  return {
    directory,
    call,
    document: (...words) => JSON.parse(call(...words, "--json").stdout),
    start: (...words) => {
      const child = Bun.spawn([garth, ...words], {
        cwd: directory,
        env: environment,
        stdin: "pipe",
        stdout: "pipe",
        stderr: "pipe",
      });
      return started(child);
    },
    disk: (name, code) => writeFileSync(join(directory, name), bootDisk(code)),
    remove: () => {
      call("machine", "ls", "--sweep");
      // Directories of the store may not be written to; root need not care.
      Bun.spawnSync(["chmod", "-R", "u+w", directory]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function started(child: Started["child"]): Started {
  let [stdout, stderr] = ["", ""];
  const waiting = new Set<() => void>();
  let over = false;
  const read = async (stream: AsyncIterable<Uint8Array>, add: (text: string) => void): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      add(decoder.decode(chunk, { stream: true }));
      for (const look of waiting) look();
    }
  };
  const all = Promise.all([
    read(child.stdout, (text) => (stdout += text)),
    read(child.stderr, (text) => (stderr += text)),
    child.exited,
  ]).then(() => {
    over = true;
    for (const look of waiting) look();
  });
  return {
    child,
    until: (text) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const isThere = stdout.includes(text) || stderr.includes(text);
          if (!isThere && !over) return;
          waiting.delete(look);
          if (isThere) resolve();
          else reject(new Error(`it ended without ${JSON.stringify(text)}: ${stdout}${stderr}`));
        };
        waiting.add(look);
        look();
      }),
    ended: async () => {
      await all;
      return { status: child.exitCode, stdout, stderr };
    },
  };
}

/** Of a machine of the smallest kind, started by a BIOS and emulated. */
export const SMALL = ["--firmware", "bios", "--memory", "64M", "--accelerator", "tcg"] as const;
