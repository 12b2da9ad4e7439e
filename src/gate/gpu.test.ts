/** The example's gate for a passed-through graphics card, played a console as such a machine has it, and with what goes wrong there. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { consoleReader, parseSlot } from "../machine/index.ts";
import { openConsoleProbe } from "./console-probe.ts";
import { parseGate, renderReason, resolveGate } from "./index.ts";
import { type Decision, openJudge } from "./judge.ts";
import { recorded } from "./testing.ts";

const FILE = new URL("../../examples/gpu/gpu.gate.toml", import.meta.url).pathname;
const gate = resolveGate(await parseGate(readFileSync(FILE, "utf8"), FILE), "linux");
const GOOD = recorded("gpu-good");
/** Of the recording. */
const NONCE = "8f3a61c0d2";

/** The recording as a session would have it: each line to the judge and to the probe whose turn it is, 10 ms apart. */
function judged(text: string): Decision & { readonly answered: readonly string[] } {
  const judge = openJudge(gate);
  const reader = consoleReader();
  const answered: string[] = [];
  let probe: ReturnType<typeof openConsoleProbe> | undefined;
  let atMs = 0;
  const step = (): void => {
    if (judge.state === "probing" && probe === undefined) {
      const asked = gate.probes[answered.length];
      if (asked === undefined) return;
      probe = openConsoleProbe({ command: asked.command, nonce: NONCE, startedAtMs: atMs, timeoutMs: asked.timeoutS * 1000 });
      probe.takeTyping();
      // Its prompt stands still, and it types.
      probe.partial("root@debian-12-gpu-1:~# ", atMs);
      probe.tick(atMs + 60);
      expect(probe.takeTyping()).toContain(NONCE);
    }
    if (probe?.answer === undefined) return;
    answered.push(gate.probes[answered.length]?.name ?? "");
    judge.probeResult(probe.answer, atMs);
    probe = undefined;
    step();
  };
  for (const line of text.split(/(?<=\n)/)) {
    for (const { text: ended } of reader.push(Buffer.from(line), (atMs += 10))) {
      const isEcho = probe?.echoing === true;
      probe?.line(ended, atMs);
      if (!isEcho) judge.line(ended, atMs);
    }
    step();
  }
  // Nothing more comes: whatever is waited for is waited for to its end.
  while (judge.decision === undefined) {
    atMs = judge.nextDeadlineMs ?? atMs;
    if (probe?.nextDeadlineMs !== undefined) atMs = Math.min(atMs, probe.nextDeadlineMs);
    probe?.tick(atMs);
    judge.tick(atMs);
    step();
  }
  return { ...judge.decision, answered };
}

test("a card that is found, answers for itself and counts its processes passes", () => {
  expect(judged(GOOD)).toMatchObject({ verdict: "pass", reasons: [], answered: ["devices", "nvml", "processes", "GPU_OK"] });
});

test("so does one at work, with another driver's columns", () => {
  const busy = GOOD.replaceAll(
    "    0          -     -     -     -     -     -   -              ",
    "    0       1421   C+G    97    41     -     -     -     -    python3",
  ).replace("8192 MiB, 1 MiB, 0 %", "24576 MiB, 20480 MiB, 97 %");
  expect(judged(busy).verdict).toBe("pass");
});

describe("what does not work is told:", () => {
  /** What a command printed in place of what it did, and how it ended. */
  const instead = (name: string, output: string, status: number): string => {
    const command = gate.probes.find((probe) => probe.name === name)?.command ?? "";
    const quoted = command.replaceAll("'", `'\\''`);
    const from = GOOD.indexOf("\n", GOOD.indexOf("garth-probe-begin-", GOOD.indexOf(`'${quoted}'\r`))) + 1;
    const to = GOOD.indexOf("garth-probe-end-", from);
    expect(to).toBeGreaterThan(from);
    const end = GOOD.indexOf("\r", to);
    return `${GOOD.slice(0, from)}${output.replaceAll("\n", "\r\n")}garth-probe-end-${NONCE}:${status}${GOOD.slice(end)}`;
  };
  const before = (mark: string, line: string): string => GOOD.replace(mark, `${line}\r\n${mark}`);
  const HEAD =
    "# gpu        pid  type    sm   mem   enc   dec   command\n# Idx          #   C/G     %     %     %     %   name\n";

  test.each<readonly [string, string, string]>([
    ["no card", instead("devices", "No devices found.\n", 6), 'the probe "devices"'],
    [
      "a card that does not answer",
      instead("devices", "Unable to determine the device handle for GPU 0000:00:14.0: Unknown Error\n", 0),
      'the probe "devices"',
    ],
    [
      "no driver",
      instead(
        "devices",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running.\n\n",
        9,
      ),
      'the probe "devices"',
    ],
    ["no nvidia-smi", instead("devices", "/bin/sh: 1: nvidia-smi: not found\n", 127), 'the probe "devices"'],
    [
      "a row, and a status that is none of success",
      instead("devices", "GPU 0: NVIDIA A2 (UUID: GPU-5d0f)\n", 15),
      'the probe "devices"',
    ],
    [
      "a utilisation that NVML does not have",
      instead("nvml", "NVIDIA A2, 535.247.01, 8192 MiB, 1 MiB, [N/A]\n", 0),
      'the probe "nvml"',
    ],
    [
      "memory that cannot be asked for",
      instead("nvml", "NVIDIA A2, 535.247.01, [Unknown Error], [Unknown Error], 0 %\n", 0),
      'the probe "nvml"',
    ],
    [
      "a card that is lost while it is asked",
      instead("nvml", "GPU is lost.  Reboot the system to recover this GPU\n", 15),
      'the probe "nvml"',
    ],
    ["no sample of processes", instead("processes", HEAD, 0), 'the probe "processes"'],
    [
      "a sample of nothing that can be counted",
      instead("processes", "pmon is not supported on this device.\n", 3),
      'the probe "processes"',
    ],
    ["the last word missing", instead("GPU_OK", "NVIDIA A2, 535.247.01, 8192 MiB, 0 %\n", 3), 'the probe "GPU_OK"'],
    [
      "an adapter that does not come up",
      before("garth: ready", "[    6.9] NVRM: GPU 0000:00:14.0: RmInitAdapter failed! (0x26:0x56:1474)"),
      "a forbidden line came at 0.3 s (adapter ",
    ],
    [
      "a driver without a card",
      before("garth: ready", "[    6.9] NVRM: No NVIDIA GPU found."),
      "a forbidden line came at 0.3 s (no-gpu ",
    ],
    [
      "a card that falls off the bus while it is asked",
      before("# gpu", "[   42.1] NVRM: Xid (PCI:0000:00:14): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."),
      "a forbidden line came at ",
    ],
    [
      "a kernel that stops",
      before("garth: ready", "[    6.9] Kernel panic - not syncing: Fatal exception in interrupt"),
      "a forbidden line came",
    ],
    ["a machine that never was ready", GOOD.replace("garth: ready", "garth: almost"), "the machine was not ready within 10m"],
  ])("%s", (_what, text, reason) => {
    const decision = judged(text);
    expect(decision.verdict).toBe("fail");
    expect(decision.reasons[0] && renderReason(decision.reasons[0])).toStartWith(reason);
  });

  test("what was typed is not taken for an answer", () => {
    const cut = GOOD.slice(0, GOOD.lastIndexOf("garth-probe-begin-"));
    // The line that was typed has GPU_OK in it, and nothing came after it.
    expect(cut).toContain("echo GPU_OK'\r\n");
    const { verdict, reasons } = judged(cut);
    expect([verdict, reasons[0]]).toMatchObject(["fail", { kind: "probe-failed", probe: "GPU_OK", got: undefined }]);
  });
});

test("the example's sidecar asks for two functions of one card", () => {
  const text = readFileSync(new URL("../../examples/gpu/debian-12-gpu.conf", import.meta.url).pathname, "utf8");
  const [, slots = ""] = /^TPL_EXTRA_BHYVE_SLOTS='(.*)'$/m.exec(text) ?? [];
  expect(slots.split(";").map(parseSlot)).toMatchObject([
    { slot: 20, function: 0, emulation: "passthru", conf: "ppt0" },
    { slot: 20, function: 1, emulation: "passthru", conf: "ppt1" },
  ]);
});
