/** Gates of real machines: QEMU, emulated, started by a BIOS from a boot sector that prints and then does something. */
import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { sha256 } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { openMachines } from "../machine/index.ts";
import { boot } from "../machine/testing.ts";
import { openTestStore } from "../store/testing.ts";
import {
  gate,
  type GateFields,
  type GateMachine,
  gateProblem,
  type GateReport,
  type GateRequest,
  readVerdict,
  runGate,
} from "./index.ts";
import { floodDisk, writeBootDisk } from "./testing.ts";

const host = localHost();
const stores = openTestStore();
afterAll(() => stores[Symbol.dispose]());
const { store } = stores;
const directory = `${stores.root}/machines`;
const machines = openMachines(host, { directory, acceleratorFile: `${stores.root}/accelerator` });
const context = { host, store, machines, keyFile: `${stores.root}/keys/host.pem`, now: () => Date.now() };
const BIOS: GateMachine = {
  system: "x86_64-linux",
  memoryBytes: 64 * 1024 ** 2,
  cpus: 1,
  firmware: { kind: "bios" },
  display: false,
  accelerator: "tcg",
};
const READY = "garth: ready /frx/store/x\r\n";

function requestFor(file: string, fields: GateFields = {}, machine: Partial<GateMachine> = {}): GateRequest {
  return {
    name: "sector",
    image: { file, format: "raw", sha256: sha256(readFileSync(file)), storePath: undefined },
    gate: gate({ extends: "linux", timeoutS: 60, ...fields }),
    machine: { ...BIOS, ...machine },
  };
}

async function runDisk(
  text: string,
  then: readonly number[],
  fields?: GateFields,
  machine?: Partial<GateMachine>,
): Promise<GateReport> {
  const file = `${stores.directory()}/disk.raw`;
  writeBootDisk(file, text, then);
  const before = sha256(readFileSync(file));
  const report = await runGate(context, requestFor(file, fields, machine));
  expect(sha256(readFileSync(file))).toBe(before);
  return report;
}

const nothingLeft = (): void => {
  expect(readdirSync(directory)).toEqual([]);
  expect(readdirSync(store.temporaryDirectory)).toEqual([]);
};

describe("a machine", () => {
  test("that prints its marker passes; its verdict says on what, by what and when", async () => {
    const report = await runDisk(READY, boot.halt);
    expect(report).toMatchObject({
      verdict: "pass",
      reasons: [],
      machineEnd: { kind: "stopped" },
      accelerator: { accelerator: "tcg" },
      markers: [{ name: "ready", line: "garth: ready /frx/store/x" }],
      consoleTail: expect.arrayContaining(["garth: ready /frx/store/x"]),
    });
    expect(report.bootMs).toBe(report.markers[0]?.atMs);
    expect(report.bootMs ?? 0).toBeGreaterThan(0);
    const signed = await readVerdict(host, store, report.path);
    expect(signed.publicKeySha256).toBe(report.publicKeySha256);
    expect(signed.verdict).toMatchObject({
      verdict: "pass",
      image: { sha256: report.image.sha256 },
      gate: { sha256: report.gateSha256 },
    });
    expect(signed.verdict.bootS).toBe(Math.round(report.bootMs ?? 0) / 1000);
    expect(signed.consoleLog).toMatch(/^\d\d:\d\d:\d\d\.\d{3} garth: ready \/frx\/store\/x$/m);
    expect(signed.commandLine.join(" ")).toContain("qemu-system-x86_64");
    nothingLeft();
  });
  test("that prints it without an end of line passes too", async () => {
    expect((await runDisk("garth: ready x", boot.halt)).verdict).toBe("pass");
  });
  test("that panics fails by the line that says so, and the error shows it", async () => {
    const report = await runDisk("Kernel panic - not syncing: x\r\n", boot.halt);
    expect(report.reasons).toMatchObject([
      { kind: "forbidden-line", rule: "kernel-panic", line: "Kernel panic - not syncing: x" },
    ]);
    const problem = gateProblem(report);
    expect([problem?.code, problem?.exit, problem?.where]).toEqual(["E_GATE_FAILED", 1, report.path]);
    expect(problem?.details).toContain("  Kernel panic - not syncing: x");
    expect((await readVerdict(host, store, report.path)).verdict.verdict).toBe("fail");
  });
  test("that stays silent fails at its deadline", async () => {
    const report = await runDisk("", boot.halt, { timeoutS: 1.5 });
    expect(report.reasons).toMatchObject([
      { kind: "timed-out", state: "booting" },
      { kind: "missing-marker", marker: "ready", deadlineMs: 1500 },
    ]);
    const one = await runDisk("hello\r\n", boot.halt, { require: [{ pattern: "^bye", withinS: 1 }] });
    expect(one.reasons).toMatchObject([{ kind: "missing-marker", marker: "^bye", deadlineMs: 1000 }]);
  });
  test.each([
    ["resets itself", boot.reset, "rebooted"],
    ["faults three times over", boot.tripleFault, "rebooted"],
    ["switches itself off", boot.powerOff, "powered-off"],
  ] as const)("that %s fails, whatever it said before", async (_what, then, end) => {
    const report = await runDisk("hello\r\n", then);
    expect(report.reasons).toMatchObject([{ kind: "machine-exited", end }, { kind: "missing-marker" }]);
    expect(report.machineEnd.kind).toBe(end);
    // Whether its line was still seen or not.
    const ready = await runDisk("garth: ready x", then);
    expect(ready.reasons[0]).toMatchObject({ kind: "machine-exited", end });
  });
  test("that floods its console is judged all the same, and its log stays small", async () => {
    const file = `${stores.directory()}/disk.raw`;
    floodDisk(file, "flood flood flood\r\n");
    const silent = await runGate(context, requestFor(file, { timeoutS: 2 }));
    expect(silent.reasons[0]).toMatchObject({ kind: "timed-out" });
    expect((await readVerdict(host, store, silent.path)).consoleLog.length).toBeLessThan(17 * 1024 ** 2);
    const loop = { pattern: "^flood", max: 1000, windowS: 60 };
    const counted = await runGate(context, requestFor(file, { restartLoops: [loop] }));
    expect(counted.reasons).toMatchObject([{ kind: "restart-loop", count: 1001, max: 1000 }]);
  });
  test("that hypervisor of which is killed fails", async () => {
    const file = `${stores.directory()}/disk.raw`;
    writeBootDisk(file, "hello\r\n", boot.halt);
    const killing = {
      ...machines,
      start: async (...given: Parameters<typeof machines.start>) => {
        const machine = await machines.start(...given);
        process.kill(machine.pid, "SIGKILL");
        return machine;
      },
    };
    const report = await runGate({ ...context, machines: killing }, requestFor(file));
    expect(report.reasons[0]).toMatchObject({ kind: "machine-exited", end: "died" });
    nothingLeft();
  });
});

describe("a picture", () => {
  const png = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const pictureOf = async (report: GateReport): Promise<Buffer | undefined> => {
    const { screenshot } = await readVerdict(host, store, report.path);
    return screenshot === undefined ? undefined : readFileSync(screenshot);
  };
  test("is taken of a failure where there is a screen, and of a pass where it was asked for", async () => {
    const display = { display: true };
    expect((await pictureOf(await runDisk("panic\r\n", boot.halt, { forbid: ["panic"] }, display)))?.subarray(0, 8)).toEqual(png);
    expect((await pictureOf(await runDisk(READY, boot.halt, { screenshot: true }, display)))?.subarray(0, 8)).toEqual(png);
    expect(await pictureOf(await runDisk(READY, boot.halt, {}, display))).toBeUndefined();
    expect(await pictureOf(await runDisk("panic\r\n", boot.halt, { forbid: ["panic"], screenshot: true }))).toBeUndefined();
  });
});

describe("no verdict", () => {
  test("of a machine that cannot be started: its own problem", async () => {
    const before = store.all().length;
    const file = `${stores.directory()}/disk.raw`;
    writeBootDisk(file, READY, boot.halt);
    const request = requestFor(file);
    const missing = { ...request, image: { ...request.image, file: `${file}.gone` } };
    expect(await problemOf(runGate(context, missing))).toMatchObject({ code: "E_DISK_MISSING", exit: 2 });
    expect(store.all()).toHaveLength(before);
    nothingLeft();
  });
  test("of a run that is interrupted while the machine boots", async () => {
    const before = store.all().length;
    const controller = new AbortController();
    const file = `${stores.directory()}/disk.raw`;
    writeBootDisk(file, "hello\r\n", boot.halt);
    const problem = await problemOf(
      runGate(context, {
        ...requestFor(file),
        signal: controller.signal,
        onEvent: (event) => {
          if (event.kind === "gate-line" && event.text === "hello") controller.abort();
        },
      }),
    );
    expect([problem.code, problem.exit]).toEqual(["E_INTERRUPTED", 130]);
    expect(store.all()).toHaveLength(before);
    nothingLeft();
  });
});
