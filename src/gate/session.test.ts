/** Gates of a machine that is a shell: probes on its console, cancelling, and what is left behind. */
import { afterAll, describe, expect, test } from "bun:test";
import { createServer } from "node:net";
import { readdirSync, writeFileSync } from "node:fs";
import { Problem, sha256 } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { scriptedHost } from "../host/testing.ts";
import type { Machines } from "../machine/index.ts";
import { openTestStore } from "../store/testing.ts";
import {
  gate,
  type GateContext,
  type GateEvent,
  type GateFields,
  gateProblem,
  gateReceipt,
  type GateReport,
  readVerdict,
  runGate,
} from "./index.ts";
import { makeSshKey, runSshProbe } from "./ssh.ts";
import { shellMachines } from "./testing.ts";

const host = localHost();
const stores = openTestStore();
afterAll(() => stores[Symbol.dispose]());
const { store } = stores;
const image = { file: "/images/shell.raw", format: "raw", sha256: sha256("shell"), storePath: undefined } as const;
const READY = "garth: ready /frx/store/x\\n";

const contextOf = (machines: Machines): GateContext => ({
  host,
  store,
  machines,
  keyFile: `${stores.root}/keys/host.pem`,
  now: () => Date.UTC(2026, 0, 1),
});

async function run(fields: GateFields, first = READY, onEvent?: (event: GateEvent) => void): Promise<GateReport> {
  return await runGate(contextOf(shellMachines(host, first)), {
    name: "shell",
    image,
    gate: gate({ extends: "linux", timeoutS: 30, ...fields }),
    machine: { system: "x86_64-linux", display: false },
    ...(onEvent === undefined ? {} : { onEvent }),
  });
}

const left = (): readonly string[] => readdirSync(store.temporaryDirectory);

test("what the guest says of itself is told, and not in the place of what was seen", async () => {
  const said = "garth: pid1_command=init\\ngarth: verdict=fail\\ngarth: Odd Key=1\\nxgarth: other=1\\n";
  const report = await run({}, `${said}${READY}`);
  expect(report.facts).toEqual({ pid1_command: "init", verdict: "fail" });
  expect(gateReceipt(report)).toMatchObject({ pid1_command: "init", verdict: "pass", vm_id: report.machineName });
});

describe("probes on the console", () => {
  test("that answer as expected pass, and are in the verdict", async () => {
    const events: GateEvent[] = [];
    const report = await run(
      {
        probes: [
          { command: "echo a $((20 + 3)); echo b", expect: "a 23\nb" },
          { command: "printf 'pid 17'; exit 3", expectPattern: "^pid \\d+$", expectStatus: 3 },
          { name: "quiet", command: "true" },
        ],
      },
      READY,
      (event) => events.push(event),
    );
    expect(report).toMatchObject({ verdict: "pass", reasons: [], machineEnd: { kind: "stopped" } });
    expect(report.probes).toMatchObject([
      { via: "console", passed: true, output: "a 23\nb\n", status: 0 },
      { passed: true, output: "pid 17\n", status: 3 },
      { name: "quiet", passed: true, output: "", status: 0 },
    ]);
    expect(gateProblem(report)).toBeUndefined();
    const { verdict, consoleLog } = await readVerdict(host, store, report.path);
    expect(verdict).toMatchObject({
      name: "shell",
      verdict: "pass",
      startedAt: "2026-01-01T00:00:00.000Z",
      image: { path: image.file },
    });
    expect(verdict.probes.map(({ output }) => output)).toEqual(["a 23\nb\n", "pid 17\n", ""]);
    expect(consoleLog).toMatch(/^00:00:\d\d\.\d{3} garth: ready \/frx\/store\/x$/m);
    expect(events.map(({ kind }) => kind).filter((kind) => kind !== "gate-line")).toEqual([
      "gate-started",
      "gate-marker",
      "gate-probe",
      "gate-probe",
      "gate-probe",
      "gate-decided",
    ]);
  });
  test("that answer otherwise fail, and no further one is asked", async () => {
    const report = await run({ probes: [{ command: "echo no; exit 4", expect: "yes" }, { command: "true" }] });
    expect(report.reasons).toMatchObject([{ kind: "probe-failed", expected: 'the text "yes"', got: "no", status: 4 }]);
    expect(report.probes).toHaveLength(1);
    const problem = gateProblem(report);
    expect([problem?.code, problem?.exit, problem?.where]).toEqual(["E_GATE_FAILED", 1, report.path]);
    expect(problem?.message).toContain('expected the text "yes"; it printed "no" and ended with status 4');
    expect(problem?.details).toContain("  garth: ready /frx/store/x");
  });
  test("that do not end are given up", async () => {
    const report = await run({ probes: [{ command: "sleep 60", timeoutS: 0.5 }] });
    expect(report.reasons).toMatchObject([
      { kind: "probe-failed", got: undefined, detail: "the command did not end within 0.5 s" },
    ]);
  });
  test("do not trip over what they quote, while what the guest says meanwhile counts", async () => {
    const quoting = await run({ probes: [{ command: "true 'Kernel panic - not syncing' || echo Permission denied" }] });
    expect(quoting.verdict).toBe("pass");
    const saying = await run({ probes: [{ command: "echo 'Kernel panic - not syncing: x'" }] });
    expect(saying.reasons).toMatchObject([{ kind: "forbidden-line", rule: "kernel-panic" }]);
  });
});

describe("a run that is interrupted", () => {
  test.each(["before", "while it boots", "in a probe"] as const)("%s leaves nothing and no verdict", async (when) => {
    const controller = new AbortController();
    const before = store.all().length;
    if (when === "before") controller.abort();
    const machines = shellMachines(host, when === "in a probe" ? READY : "hello\\n");
    const problem = await problemOf(
      runGate(contextOf(machines), {
        name: "shell",
        image,
        gate: gate({ extends: "linux", probes: [{ command: "sleep 60" }] }),
        machine: { system: "x86_64-linux" },
        signal: controller.signal,
        onEvent: ({ kind }) => {
          if (kind === (when === "in a probe" ? "gate-marker" : "gate-line")) controller.abort();
        },
      }),
    );
    expect([problem.code, problem.exit]).toEqual(["E_INTERRUPTED", 130]);
    expect(machines.started).toHaveLength(when === "before" ? 0 : 1);
    expect([store.all().length, left()]).toEqual([before, []]);
  });
  test("so does a machine that does not start: its own problem, no verdict", async () => {
    const before = store.all().length;
    const refusal = new Problem({ code: "E_QEMU_MISSING", message: "there is no QEMU", exit: 3 });
    const machines: Machines = { ...shellMachines(host, ""), start: async () => await Promise.reject(refusal) };
    const request = { name: "x", image, gate: gate(), machine: { system: "x86_64-linux" } } as const;
    expect(await problemOf(runGate(contextOf(machines), request))).toBe(refusal);
    expect([store.all().length, left()]).toEqual([before, []]);
  });
});

test("a machine that says it is ready and does not answer any more does not pass", async () => {
  const machines = shellMachines(host, READY);
  const deaf: Machines = {
    ...machines,
    start: async (...given) => ({
      ...(await machines.start(...given)),
      qmp: async () => await Promise.reject(new Problem({ code: "E_QMP", message: "the connection broke" })),
    }),
  };
  const request = { name: "x", image, gate: gate(), machine: { system: "x86_64-linux", display: false } } as const;
  const report = await runGate(contextOf(deaf), request);
  expect(report).toMatchObject({
    verdict: "fail",
    reasons: [{ kind: "machine-exited" }],
    markers: [{ line: "garth: ready /frx/store/x" }],
  });
  expect((await readVerdict(host, store, report.path)).verdict.verdict).toBe("fail");
});

describe("the machine that is started", () => {
  const specOf = async (fields: GateFields, machine: object = {}) => {
    const machines = shellMachines(host, "panic\\n");
    const request = { name: "a b/c", image, gate: gate({ forbid: ["panic"], ...fields }) } as const;
    await runGate(contextOf(machines), { ...request, machine: { system: "x86_64-linux", ...machine } });
    const [spec] = machines.started;
    if (spec === undefined) throw new Error("no machine was started");
    return spec;
  };
  test("never changes the image, has a name of its own, and no network", async () => {
    const spec = await specOf({});
    expect(spec.name).toMatch(/^gate-a-b-c-[0-9a-f]{8}$/);
    expect(spec).toMatchObject({
      network: { kind: "none" },
      display: true,
      credentials: {},
      onReboot: "exit",
      firmware: { kind: "uefi" },
    });
    expect(spec.disks).toEqual([{ file: image.file, format: "raw", device: "virtio-blk", mode: "snapshot" }]);
  });
  test("is reached by a probe over ssh, with a key made for this run", async () => {
    const probes = [{ command: "true", via: "ssh" as const }];
    const spec = await specOf({ probes });
    expect(spec.network).toMatchObject({ kind: "user", forward: [{ hostPort: 0, guestPort: 22 }], isolated: true });
    expect(spec.credentials["ssh.authorized_keys.root"]).toMatch(/^ssh-ed25519 \S+ garth-gate\n$/);
    const mac = "52:54:00:00:00:01";
    const given = { kind: "user", mac, forward: [{ hostPort: 2222, guestPort: 22 }] } as const;
    const own = await specOf(
      { probes: [{ command: "true" }] },
      { network: given, credentials: { a: "b", "ssh.authorized_keys.root": "mine" } },
    );
    expect(own.network).toEqual(given);
    expect(own.credentials).toMatchObject({ a: "b", "ssh.authorized_keys.root": expect.stringMatching(/^mine\nssh-ed25519 /) });
  });
});

describe("ssh", () => {
  const probe = { port: 1, user: "root", command: "uname -s; true", timeoutMs: 2500 };
  test("is told everything, and reads nobody's configuration", async () => {
    const scripted = scriptedHost(host, () => ({ stdout: "Linux\n", status: 3 }));
    const key = { keyFile: "/k/key", publicKey: "", knownHostsFile: "/k/hosts" };
    expect(await runSshProbe(scripted, { ...probe, key })).toEqual({ kind: "answered", output: "Linux\n", status: 3 });
    expect(scripted.commands[0]?.argv.join(" ")).toBe(
      "ssh -F none -i /k/key -p 1 -T -o UserKnownHostsFile=/k/hosts -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=no " +
        "-o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR -o ConnectTimeout=3 -- root@127.0.0.1 uname -s; true",
    );
  });
  test("that fails is an answer, not an error: refused, cut off, or silent for too long", async () => {
    const directory = stores.directory();
    const key = await makeSshKey(host, directory);
    const refused = await runSshProbe(host, { ...probe, key });
    expect(refused).toMatchObject({ kind: "silent", detail: expect.stringContaining("Connection refused") });
    const server = createServer((socket) => socket.on("error", () => {}).write("SSH-2.0-nobody\r\n"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const silent = await runSshProbe(host, { ...probe, key, port, timeoutMs: 300 });
    server.close();
    expect(silent).toEqual({ kind: "silent", detail: "no answer over ssh within 0.3 s" });
  });
  test("keys are made for their owner alone, and no two are the same", async () => {
    const [first, second] = [await makeSshKey(host, stores.directory()), await makeSshKey(host, stores.directory())];
    expect(host.files.lstat(first.keyFile).mode & 0o777).toBe(0o600);
    expect(first.publicKey).not.toBe(second.publicKey);
    writeFileSync(`${stores.root}/said`, first.publicKey);
    expect((await host.run({ argv: ["ssh-keygen", "-l", "-f", `${stores.root}/said`] })).text()).toContain("(ED25519)");
  });
});
