/** Recorded consoles, played to the judge, and disks that print something and then do something. */
import { readFileSync, writeFileSync } from "node:fs";
import { sha256, type StorePath } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { consoleReader, type Machine, type Machines, type MachineSpec, type StartOptions } from "../machine/index.ts";
import { boot, bootDisk } from "../machine/testing.ts";
import { type Decision, type Judge, openJudge } from "./judge.ts";
import { gate, gateDigest, gateText, resolveGate } from "./index.ts";
import { loadHostKey } from "./key.ts";
import type { Store } from "../store/index.ts";
import type { Gate, Verdict } from "./types.ts";
import { type VerdictFiles, writeVerdict } from "./verdict.ts";

/** What a serial line carries: line feeds with their carriage returns. */
export function recorded(name: string): string {
  return readFileSync(`${import.meta.dir}/testdata/${name}.txt`, "utf8").replaceAll("\n", "\r\n");
}

export interface Chunk {
  readonly bytes: Uint8Array;
  readonly atMs: number;
}

/** Plays chunks to a judge as a session does, ticking whenever something is due; then waits to the end of the time limit. */
export function play(gate: Gate, chunks: readonly Chunk[]): { readonly judge: Judge; readonly decision: Decision } {
  const judge = openJudge(gate);
  const reader = consoleReader();
  const waitUntil = (atMs: number): void => {
    for (let due = judge.nextDeadlineMs; due !== undefined && due < atMs; due = judge.nextDeadlineMs) judge.tick(due);
  };
  for (const { bytes, atMs } of chunks) {
    waitUntil(atMs);
    for (const { text, endedAtMs } of reader.push(bytes, atMs)) judge.line(text, endedAtMs);
    judge.partial(reader.partial?.text ?? "", reader.partial?.endedAtMs ?? atMs);
  }
  waitUntil(Number.POSITIVE_INFINITY);
  const { decision } = judge;
  if (decision === undefined) throw new Error("the judge had nothing more to wait for and decided nothing");
  return { judge, decision };
}

/** One chunk for each line, 10 ms apart. */
export function byLine(text: string): readonly Chunk[] {
  return text.split(/(?<=\n)/).map((line, index) => ({ bytes: Buffer.from(line), atMs: index * 10 }));
}

/** A disk whose boot sector prints the text to COM1 and goes on as told. */
export function writeBootDisk(file: string, text: string, then: readonly number[]): void {
  writeFileSync(file, bootDisk([...boot.print(text), ...then]));
}

/** The text over and over: jmp to the beginning, over itself and the text's code. */
export function floodDisk(file: string, text: string): void {
  const code = boot.print(text);
  const back = 0x1_0000 - (code.length + 3);
  writeFileSync(file, bootDisk([...code, 0xe9, back & 0xff, back >> 8]));
}

/**
 * Machines that are a shell on a terminal of its own (util-linux's script(1)): it prints `first`, then waits for commands behind
 * the prompt `# `. For what a gate does with a guest's shell; a real machine with a real kernel would take minutes to have one.
 */
export function shellMachines(host: Host, first: string): Machines & { readonly started: readonly MachineSpec[] } {
  const started: MachineSpec[] = [];
  const none = (): never => {
    throw new Error("these machines have no registry");
  };
  const start = async (spec: MachineSpec, { onConsole, signal }: StartOptions = {}): Promise<Machine> => {
    started.push(spec);
    signal?.throwIfAborted();
    const startedMs = performance.now();
    const shell = `printf '${first}'; exec bash --norc --noprofile -i`;
    const running = host.spawn(
      {
        argv: ["script", "-qefc", shell, "/dev/null"],
        env: { PATH: "/usr/bin:/bin", PS1: "# ", TERM: "dumb", HOME: "/nonexistent" },
      },
      { stdin: "pipe", onOutput: (chunk) => onConsole?.(chunk, performance.now() - startedMs) },
    );
    let stopped = false;
    const stop = async (): Promise<void> => {
      stopped = true;
      running.kill("SIGKILL");
      await running.exited;
    };
    signal?.addEventListener("abort", () => void stop());
    return {
      name: spec.name,
      pid: running.pid,
      commandLine: ["script", shell],
      accelerator: { accelerator: "tcg", reason: "it is a shell" },
      directory: "/nonexistent",
      port: none,
      write: (text) => running.write(text),
      qmp: async () => ({ status: "running", running: true }),
      screenshot: async (file) => writeFileSync(file, "no picture"),
      stop,
      exited: running.exited.then(({ status }) => ({
        kind: stopped ? "stopped" : "powered-off",
        status,
        detail: "the shell ended",
      })),
    };
  };
  return {
    started,
    start,
    accelerator: async () => ({ accelerator: "tcg", reason: "it is a shell" }),
    list: () => [],
    find: () => undefined,
    screenshotOf: none,
    writeTo: none,
    stopOf: none,
    sweep: async () => {},
  };
}

/** A verdict of an image that no machine booted, as a gate would have left it; signed with the key in `keyFile`. */
export async function verdictOf(
  { host, store, keyFile }: { readonly host: Host; readonly store: Store; readonly keyFile: string },
  image: Verdict["image"],
  verdict: "pass" | "fail" = "pass",
): Promise<StorePath> {
  const rules = resolveGate(gate({ extends: "linux" }), "linux");
  const directory = host.files.makeTemporaryDirectory(`${store.temporaryDirectory}/verdict-`);
  const machine = { accelerator: "tcg", acceleratorReason: "", memoryBytes: 1024 ** 3, cpus: 1, endDetail: "" } as const;
  const contents: VerdictFiles = {
    verdict: {
      schema: 1,
      name: "web",
      verdict,
      reasons: verdict === "pass" ? [] : [{ kind: "timed-out", state: "booting", timeoutMs: 1000 }],
      image,
      gate: { name: "gate", sha256: gateDigest(rules) },
      machine: { system: "x86_64-linux", ...machine, end: "stopped" },
      markers: [],
      probes: [],
      startedAt: "2026-01-01T00:00:00.000Z",
      host: "x86_64-linux",
    },
    gateText: gateText(rules),
    consoleLog: sha256(image.path),
    commandLine: ["qemu"],
  };
  writeVerdict(host, directory, contents, loadHostKey(host, keyFile));
  return (await store.add(directory, "verdict-web")).path;
}
