/**
 * Boots an image, judges it, and leaves a signed verdict in the store.
 *
 *     key, scratch ─► machine started ─► judged ─► still there? ─► screenshot ─► stopped ─┐
 *                                                                └─► verdict written ────┴─► store ─► report
 *
 * Whatever goes wrong or is interrupted before the verdict is in the store, the machine is stopped, the scratch directory is
 * removed, and there is no verdict. A gate that failed is no error here: its report says so, and `gateProblem` makes one of it.
 */
import { randomBytes } from "node:crypto";
import { type Emit, operatingSystemOf, Problem, type System } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { AcceleratorWish, Firmware, Machine, MachineEnd, MachineNetwork, Machines, MachineSpec } from "../machine/index.ts";
import { waitForSshBanner } from "../machine/index.ts";
import type { Store } from "../store/index.ts";
import { resolveGate } from "./builtin.ts";
import type { Decision } from "./judge.ts";
import { type HostKey, keyFingerprint, loadHostKey } from "./key.ts";
import { gateDigest, gateText } from "./parse.ts";
import { openSession, type Session } from "./session.ts";
import { KEY_CREDENTIAL, makeSshKey, runSshProbe, type SshKey } from "./ssh.ts";
import type {
  Gate,
  GateDeclaration,
  GateEvent,
  GateImage,
  GateProbe,
  GateReport,
  ProbeAnswer,
  ProbeWay,
  Verdict,
} from "./types.ts";
import { writeVerdict } from "./verdict.ts";

const SSH_PORT = 22;
const DEFAULT_MEMORY_BYTES = 1024 ** 3;
const DEFAULT_CPUS = 2;
/** How long a machine has to outlive the line that passes it. */
const STILL_THERE_MS = 20;

export interface GateContext {
  readonly host: Host;
  readonly store: Store;
  readonly machines: Machines;
  /** Of the key that signs: `keys/host.pem`. Made when it is not there. */
  readonly keyFile: string;
  /** Milliseconds since 1970, for the verdict. */
  readonly now: () => number;
}

/** What a gate does not fix about its machine. */
export interface GateMachine {
  readonly system: System;
  /** Default 1 GiB. */
  readonly memoryBytes?: number;
  /** Default 2. */
  readonly cpus?: number;
  /** Default UEFI. */
  readonly firmware?: Firmware;
  /** Default virtio-blk. */
  readonly diskDevice?: MachineSpec["disks"][number]["device"];
  /** Default none; a probe over SSH adds a network that reaches nothing but the guest's port 22. */
  readonly network?: MachineNetwork;
  /** Default true: a failure leaves a picture. */
  readonly display?: boolean;
  readonly credentials?: Readonly<Record<string, string>>;
  readonly accelerator?: AcceleratorWish;
  /** Devices of the host that the guest is given, and whatever else has a slot of its own. */
  readonly extraSlots?: MachineSpec["extraSlots"];
}

export interface GateRequest {
  /** Of the system: the item is called `verdict-<name>`. */
  readonly name: string;
  readonly image: GateImage;
  readonly gate: GateDeclaration;
  readonly machine: GateMachine;
  readonly signal?: AbortSignal;
  readonly onEvent?: Emit<GateEvent>;
}

/**
 * @throws Problem E_BAD_GATE, E_KEY_PERMISSIONS, E_KEY_TYPE, E_BAD_KEY (exit 2), E_TOOL_MISSING (exit 3), E_INTERRUPTED (exit
 * 130), and those of `Machines.start`
 */
export async function runGate(context: GateContext, request: GateRequest): Promise<GateReport> {
  const { host, store } = context;
  throwIfAborted(request);
  const gate = resolveGate(request.gate, operatingSystemOf(request.machine.system));
  const key = loadHostKey(host, context.keyFile);
  const scratch = host.files.makeTemporaryDirectory(`${store.temporaryDirectory}/gate-`);
  try {
    return await inScratch(context, request, { gate, key, scratch });
  } finally {
    host.files.removeTree(scratch);
  }
}

interface Prepared {
  readonly gate: Gate;
  readonly key: HostKey;
  readonly scratch: string;
}

async function inScratch(context: GateContext, request: GateRequest, prepared: Prepared): Promise<GateReport> {
  const { gate, scratch } = prepared;
  const spec = machineSpec(request, gate);
  const ssh = gate.probes.some((probe) => wayOf(probe, spec) === "ssh") ? await makeSshKey(context.host, scratch) : undefined;
  const session = openSession(gate, request.onEvent ?? ((): void => {}));
  const startedAtMs = context.now();
  const machine = await start(context, request, withKey(spec, ssh), session);
  const over = new AbortController();
  const cancel = (): void => over.abort();
  request.signal?.addEventListener("abort", cancel);
  if (request.signal?.aborted === true) cancel();
  const probing = runProbes(context.host, session, { gate, spec, machine, ssh, signal: over.signal });
  try {
    const { accelerator } = machine;
    request.onEvent?.({ kind: "gate-started", name: request.name, accelerator, timeoutMs: gate.timeoutS * 1000 });
    session.attach(machine);
    // A probe that cannot even be tried, for want of ssh, ends the run.
    await Promise.race([session.decided, probing.then(() => session.decided), abortOf(over.signal)]);
    throwIfAborted(request);
    const [decision, end] = await confirm(session, machine);
    const decidedAtMs = session.now();
    request.onEvent?.({ kind: "gate-decided", ...decision });
    if (spec.display && (gate.screenshot || decision.verdict === "fail")) await picture(machine, `${scratch}/screenshot.png`);
    const files = { context, request, prepared, session, spec, machine, decision, end, decidedAtMs, startedAtMs };
    const [report] = await Promise.all([record(files), machine.stop()]);
    return report;
  } finally {
    over.abort();
    request.signal?.removeEventListener("abort", cancel);
    session.close();
    await machine.stop();
    await probing.catch(() => {});
  }
}

async function start(context: GateContext, request: GateRequest, spec: MachineSpec, session: Session): Promise<Machine> {
  try {
    return await context.machines.start(spec, {
      onConsole: session.onConsole,
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
  } catch (error) {
    throwIfAborted(request);
    throw error;
  }
}

/** Of the characters that machines and store items may both have in their names. */
function plainName(name: string, lengthMax: number): string {
  return name.replaceAll(/[^A-Za-z0-9._-]/g, "-").slice(0, lengthMax);
}

function machineSpec({ name, image, machine }: GateRequest, gate: Gate): MachineSpec {
  const wantsSsh = gate.probes.some(({ via }) => via === "ssh");
  return {
    name: `gate-${plainName(name, 40)}-${randomBytes(4).toString("hex")}`,
    system: machine.system,
    memoryBytes: machine.memoryBytes ?? DEFAULT_MEMORY_BYTES,
    cpus: machine.cpus ?? DEFAULT_CPUS,
    firmware: machine.firmware ?? { kind: "uefi" },
    disks: [{ file: image.file, format: image.format, device: machine.diskDevice ?? "virtio-blk", mode: "snapshot" }],
    network: wantsSsh ? withSshPort(machine.network ?? { kind: "none" }) : (machine.network ?? { kind: "none" }),
    display: machine.display ?? true,
    credentials: machine.credentials ?? {},
    onReboot: "exit",
    accelerator: machine.accelerator ?? "auto",
    ...(machine.extraSlots === undefined ? {} : { extraSlots: machine.extraSlots }),
  };
}

function forwardsSsh(network: MachineNetwork): boolean {
  return network.kind === "user" && network.forward.some(({ guestPort }) => guestPort === SSH_PORT);
}

function withSshPort(network: MachineNetwork): MachineNetwork {
  if (forwardsSsh(network)) return network;
  const forward = { hostPort: 0, guestPort: SSH_PORT };
  if (network.kind === "user") return { ...network, forward: [...network.forward, forward] };
  return { kind: "user", mac: "52:54:00:67:61:74", forward: [forward], isolated: true };
}

function withKey(spec: MachineSpec, ssh: SshKey | undefined): MachineSpec {
  if (ssh === undefined) return spec;
  const given = spec.credentials[KEY_CREDENTIAL];
  const keys = given === undefined ? ssh.publicKey : `${given.trimEnd()}\n${ssh.publicKey}`;
  return { ...spec, credentials: { ...spec.credentials, [KEY_CREDENTIAL]: `${keys}\n` } };
}

function wayOf(probe: GateProbe, spec: MachineSpec): ProbeWay {
  return probe.via ?? (forwardsSsh(spec.network) ? "ssh" : "console");
}

interface Probing {
  readonly gate: Gate;
  readonly spec: MachineSpec;
  readonly machine: Machine;
  readonly ssh: SshKey | undefined;
  readonly signal: AbortSignal;
}

/** One after the other, in the order of the gate, until one failed or everything is decided. */
async function runProbes(host: Host, session: Session, probing: Probing): Promise<void> {
  await Promise.race([session.ready, abortOf(probing.signal)]);
  for (const probe of probing.gate.probes) {
    if (session.judge.decision !== undefined || probing.signal.aborted) return;
    const via = wayOf(probe, probing.spec);
    const startedMs = session.now();
    const answer =
      via === "ssh" && probing.ssh !== undefined
        ? await askOverSsh(host, probe, probing, probing.ssh)
        : await session.askConsole(probe, randomBytes(8).toString("hex"));
    session.answered(probe, via, startedMs, answer);
  }
}

async function askOverSsh(host: Host, probe: GateProbe, { machine, signal }: Probing, key: SshKey): Promise<ProbeAnswer> {
  const startedMs = performance.now();
  const limitMs = probe.timeoutS * 1000;
  const port = machine.port(SSH_PORT);
  try {
    await waitForSshBanner(host, port, { timeoutMs: limitMs, signal });
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return { kind: "silent", detail: error.message };
  }
  const leftMs = Math.max(1, limitMs - (performance.now() - startedMs));
  return await runSshProbe(host, { key, port, user: probe.user, command: probe.command, timeoutMs: Math.ceil(leftMs) });
}

/** A machine that is gone when its pass is to be announced does not pass: it said that it is ready, and reset itself. */
async function confirm(session: Session, machine: Machine): Promise<readonly [Decision, MachineEnd]> {
  const { decision } = session.judge;
  if (decision === undefined) throw new Error("the gate ended without a decision");
  const end = await Promise.race([machine.exited, decision.verdict === "pass" ? stillThere(machine) : undefined]);
  if (end === undefined) return [decision, { kind: "stopped", status: null, detail: "by the gate" }];
  if (decision.verdict === "fail") return [decision, end];
  const atMs = session.now();
  return [{ verdict: "fail", reasons: [{ kind: "machine-exited", end: end.kind, detail: end.detail, atMs }], atMs }, end];
}

/** undefined when it is; else how it ended. */
async function stillThere(machine: Machine): Promise<MachineEnd | undefined> {
  // A reset that the guest asked for in its next instruction gets through the hypervisor in this time.
  await new Promise((resolve) => setTimeout(resolve, STILL_THERE_MS));
  try {
    await machine.qmp("query-status");
    return undefined;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    // The connection broke, so that it is about to be gone, or its hypervisor hangs.
    await machine.stop();
    return await machine.exited;
  }
}

/** Of a machine that ended meanwhile there is none. */
async function picture(machine: Machine, file: string): Promise<void> {
  try {
    await machine.screenshot(file);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
  }
}

interface Run {
  readonly context: GateContext;
  readonly request: GateRequest;
  readonly prepared: Prepared;
  readonly session: Session;
  readonly spec: MachineSpec;
  readonly machine: Machine;
  readonly decision: Decision;
  readonly end: MachineEnd;
  /** Since the machine's start. */
  readonly decidedAtMs: number;
  /** Since 1970. */
  readonly startedAtMs: number;
}

async function record(run: Run): Promise<GateReport> {
  const { context, request, prepared, session, decision } = run;
  const { host, store } = context;
  const directory = `${prepared.scratch}/verdict`;
  host.files.makeDirectory(directory);
  const screenshot = `${prepared.scratch}/screenshot.png`;
  if (host.files.exists(screenshot)) host.files.rename(screenshot, `${directory}/screenshot.png`);
  const contents = {
    verdict: verdictOf(run),
    gateText: gateText(prepared.gate),
    consoleLog: session.consoleLog(),
    commandLine: run.machine.commandLine,
  };
  writeVerdict(host, directory, contents, prepared.key);
  throwIfAborted(request);
  const item = await store.add(directory, `verdict-${plainName(request.name, 150)}`);
  return {
    verdict: decision.verdict,
    reasons: decision.reasons,
    path: item.path,
    gateSha256: contents.verdict.gate.sha256,
    image: request.image,
    accelerator: run.machine.accelerator,
    markers: session.judge.markers,
    probes: session.probes,
    bootMs: session.judge.readyAtMs,
    facts: session.facts,
    machineName: run.machine.name,
    machineEnd: run.end,
    publicKeySha256: keyFingerprint(prepared.key.publicPem),
    decisionMs: Math.max(0, run.decidedAtMs - decision.atMs),
    verdictMs: Math.max(0, session.now() - decision.atMs),
    consoleTail: session.consoleTail,
  };
}

const seconds = (ms: number): number => Math.round(ms) / 1000;

function verdictOf({ context, request, prepared, session, spec, machine, decision, end, startedAtMs }: Run): Verdict {
  const { judge, probes } = session;
  const present = <Key extends string, Value>(key: Key, value: Value | undefined) =>
    value === undefined ? {} : { [key]: value };
  return {
    schema: 1,
    name: request.name,
    verdict: decision.verdict,
    reasons: decision.reasons,
    image: { path: request.image.storePath ?? request.image.file, sha256: request.image.sha256 },
    gate: { name: prepared.gate.name, sha256: gateDigest(prepared.gate) },
    machine: {
      system: spec.system,
      accelerator: machine.accelerator.accelerator,
      acceleratorReason: machine.accelerator.reason,
      memoryBytes: spec.memoryBytes,
      cpus: spec.cpus,
      end: end.kind,
      endDetail: end.detail,
    },
    markers: judge.markers.map(({ name, pattern, line, atMs }) => ({
      name,
      pattern,
      ...present("line", line),
      ...present("atS", atMs === undefined ? undefined : seconds(atMs)),
    })),
    probes: probes.map(({ name, command, via, passed, output, status, detail, startedMs, endedMs }) => ({
      name,
      command,
      via,
      passed,
      startedS: seconds(startedMs),
      endedS: seconds(endedMs),
      ...present("output", output),
      ...present("status", status),
      ...present("detail", detail),
    })),
    ...present("bootS", judge.readyAtMs === undefined ? undefined : seconds(judge.readyAtMs)),
    startedAt: new Date(startedAtMs).toISOString(),
    host: context.host.system,
  };
}

function throwIfAborted({ signal }: GateRequest): void {
  if (signal?.aborted !== true) return;
  throw new Problem({ code: "E_INTERRUPTED", message: "running the gate: interrupted; there is no verdict", exit: 130 });
}

async function abortOf(signal: AbortSignal): Promise<void> {
  const given = Promise.withResolvers<void>();
  if (signal.aborted) given.resolve();
  else signal.addEventListener("abort", () => given.resolve(), { once: true });
  await given.promise;
}
