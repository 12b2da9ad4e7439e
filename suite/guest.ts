/** A machine booted here from a disk of the suite's: its console, what is said to it over SSH, and its end. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import type { Garth } from "../src/app/index.ts";
import type { Machine, MachineDisk } from "../src/machine/index.ts";
import { MINUTE_MS, type Suite, type Trial } from "./case.ts";
import { runHere, type Said } from "./hand.ts";
import { liveKey } from "./live.ts";
import { problemOf, within } from "./trial.ts";

/** Emulated, on a busy host. */
export const BOOT_LIMIT_MS = 20 * MINUTE_MS;
const SSH_LIMIT_MS = 3 * MINUTE_MS;
const MEMORY_BYTES = 1 << 30;
/** Of the console, told when a case fails. */
const TAIL_LINES = 80;
/** Nothing comes behind it by itself. */
const STUCK =
  /^(?:UEFI Interactive Shell v|Shell> |mountroot>|db> |OK $|can't load 'kernel'|.*ERROR: ABORTING BOOT|Enter full pathname of shell|.*No bootable (?:device|option))/m;
/** What the loader moves the cursor and chooses colours with. */
const CONTROLS = new RegExp(String.raw`\x1b(?:\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|[=>78cDEHM])|[\x00\x07\x08]`, "g");

export interface Guest {
  readonly machine: Machine;
  /** As an address for Garth. */
  readonly url: string;
  /** All that the console has said since the start, without what moves the cursor. */
  console(): string;
  /** Until the console says it again: what it had said before does not count. */
  says(text: string, limitMs?: number): Promise<void>;
  /** On the guest, as root. */
  sh(script: string): Promise<Omit<Said, "script">>;
  /** Switches itself off; the disk is whole afterwards. */
  shutDown(): Promise<void>;
}

interface BootOptions {
  readonly name: string;
  readonly disks: readonly MachineDisk[];
  /** Default "restart". */
  readonly onReboot?: "exit" | "restart";
}

/** Images are for this processor. Skips where the host has another. */
export function bootable(trial: Trial, suite: Suite): void {
  if (suite.host.name !== "x86_64-freebsd") trial.skip(`images are for x86_64, and the host is ${suite.host.name}`);
}

/** Skips where no machine can be started here; the machine ends with the case, and its console is told when the case fails. */
export async function bootGuest(trial: Trial, suite: Suite, garth: Garth, options: BootOptions): Promise<Guest> {
  bootable(trial, suite);
  let text = "";
  const waiting = new Set<() => void>();
  const began = performance.now();
  const machines = await garth.machines();
  const machine = await machines
    .start(
      {
        name: options.name,
        system: "x86_64-freebsd",
        memoryBytes: MEMORY_BYTES,
        cpus: 2,
        firmware: { kind: "uefi" },
        disks: options.disks,
        network: { kind: "user", mac: "52:54:00:67:61:0f", forward: [{ hostPort: 0, guestPort: 22 }], isolated: true },
        display: false,
        credentials: {},
        onReboot: options.onReboot ?? "restart",
        accelerator: "auto",
      },
      {
        onConsole: (chunk) => {
          text += Buffer.from(chunk).toString("latin1");
          for (const look of waiting) look();
        },
      },
    )
    .catch((error: unknown) => {
      const problem = problemOf(error);
      if (problem?.code === "E_QEMU_MISSING" || problem?.code === "E_FIRMWARE_MISSING") trial.skip(problem.message);
      throw error;
    });
  const plain = (): string => text.replaceAll(CONTROLS, "").replaceAll("\r", "");
  trial.undo(`the machine ${options.name}`, async () => {
    const lines = plain().split("\n");
    trial.record(
      `the console of ${options.name}, the last of its ${lines.length} lines, ${((performance.now() - began) / 1000).toFixed(0)} s after its start`,
      lines.slice(-TAIL_LINES).join("\n"),
    );
    await machine.stop();
  });
  const port = machine.port(22);
  const words = [
    "-o",
    "StrictHostKeyChecking=no",
    "-o",
    "UserKnownHostsFile=/dev/null",
    "-o",
    "LogLevel=ERROR",
    "-o",
    "BatchMode=yes",
  ];
  const sh = (script: string): Promise<Omit<Said, "script">> =>
    runHere(
      [
        "ssh",
        "-F",
        "none",
        ...words,
        "-o",
        "ConnectTimeout=120",
        "-i",
        liveKey(suite),
        "-p",
        String(port),
        "root@127.0.0.1",
        "/bin/sh -s",
      ],
      {
        stdin: script,
        limitMs: SSH_LIMIT_MS,
        signal: trial.signal,
      },
    ).then((said) => {
      trial.record(
        `on the guest (status ${said.status ?? "none"}, ${said.seconds.toFixed(1)} s)`,
        `${script}\n--- its output\n${said.stdout}\n--- its errors\n${said.stderr}`,
      );
      return said;
    });
  let told = 0;
  const says = async (wanted: string, limitMs = BOOT_LIMIT_MS): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = (): void => {
      const whole = plain();
      const at = whole.indexOf(wanted, told);
      const bad = STUCK.exec(whole.slice(told));
      if (at < 0 && bad !== null) reject(new Error(`the console says ${JSON.stringify(bad[0])}, and waits for somebody`));
      if (at < 0) return;
      told = at + wanted.length;
      resolve();
    };
    const timer = setTimeout(
      () => reject(new Error(`the console has not said ${JSON.stringify(wanted)} in ${limitMs / 1000} s`)),
      limitMs,
    );
    void machine.exited.then((end) =>
      reject(new Error(`the machine ended before it said ${JSON.stringify(wanted)}: ${end.kind}, ${end.detail}`)),
    );
    waiting.add(look);
    try {
      look();
      await promise;
    } finally {
      clearTimeout(timer);
      waiting.delete(look);
    }
  };
  return {
    machine,
    url: `ssh://root@127.0.0.1:${port}`,
    console: plain,
    says,
    sh,
    shutDown: async () => {
      await sh("/sbin/shutdown -p now");
      await within(machine.exited, BOOT_LIMIT_MS, "the machine switches itself off");
    },
  };
}

/** A copy of an image that a machine may write to, kept for the cases behind this one. */
export function diskOf(suite: Suite, name: string, image: string): MachineDisk {
  const file = join(suite.here, "files", `${name}.disk`);
  execFileSync("cp", ["--sparse=always", image, file]);
  execFileSync("chmod", ["u+w", file]);
  return keptDisk(suite, name);
}

export function keptDisk(suite: Suite, name: string): MachineDisk {
  return { file: join(suite.here, "files", `${name}.disk`), format: "raw", device: "virtio-blk", mode: "persistent" };
}
