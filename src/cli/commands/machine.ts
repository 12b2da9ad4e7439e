/** garth machine: starting, watching and ending machines. Those of other processes are reached by their names. */
import { formatDuration, formatSize, Problem } from "../../base/index.ts";
import type { Garth } from "../../app/index.ts";
import type { Machine, MachineEnd, MachineRecord } from "../../machine/index.ts";
import type { Answer, Context, Given, Handler } from "../command.ts";
import { consolePrinter, logOf, portLines } from "../console.ts";
import { announce, readStarting, type Starting, startDetached, STARTING } from "../detach.ts";
import { imageOf } from "../image-of.ts";
import { machineSpec } from "../machine-spec.ts";
import { absolute } from "../paths.ts";
import { table } from "../render/text.ts";
import { isLive, isTyped, STDIN, STDOUT } from "../terminal.ts";

export const run: Handler = async (context, given) => {
  const garth = await context.garth();
  const starting = context.env[STARTING];
  if (starting !== undefined) return await superviseDetached(context, garth, starting);
  const [word = ""] = given.arguments;
  const image = await imageOf(context, given, word);
  const spec = await machineSpec(garth, given, image);
  if (given.flag("dry-run")) return await planned(garth, spec);
  if (given.flag("detach")) {
    const record = await startDetached(context, garth, { spec, item: image.storePath }, word);
    return { data: record, text: () => startedText(record) };
  }
  return await inForeground(context, given, garth, spec);
};

async function planned(garth: Garth, spec: Starting["spec"]): Promise<Answer> {
  const [{ planMachine }, machines] = [await garth.machine(), await garth.machines()];
  const accelerator = await machines.accelerator(spec);
  const directory = `${garth.places.machines}/${spec.name}`;
  const { argv, env, cwd, files } = planMachine(garth.host, spec, { directory, accelerator: accelerator.accelerator });
  const copies = files.map((file) => (file.kind === "copy" ? `${file.name}, a copy of ${file.of}` : `${file.name}, secret`));
  const secretless = files.map((file) => (file.kind === "copy" ? file : { name: file.name, kind: file.kind }));
  const text = () =>
    [
      ...argv.map((each, index) => (index === 0 ? each : `  ${each}`)),
      `in ${cwd}${copies.length === 0 ? "" : `, with ${copies.join("; ")}`}`,
      `${accelerator.accelerator}: ${accelerator.reason}`,
    ].join("\n");
  return { data: { spec, argv, env, cwd, files: secretless, accelerator }, text };
}

function startedText(record: MachineRecord): string {
  const { name, pid, accelerator, directory } = record;
  return table([
    ["machine", name],
    ["process", String(pid)],
    ["accelerator", `${accelerator.accelerator}: ${accelerator.reason}`],
    ...portLines(record).map((line) => ["port", line]),
    ["directory", directory],
    ["console", `garth machine console ${name}`],
  ]);
}

async function inForeground(context: Context, given: Given, garth: Garth, spec: Starting["spec"]): Promise<Answer> {
  const machines = await garth.machines();
  const { consoleReader, formatStamp } = await garth.machine();
  const json = given.flag("json");
  const eager = !json && (await isLive(STDOUT, context.env));
  const encoder = new TextEncoder();
  const printer = consolePrinter({
    reader: consoleReader(),
    stamp: formatStamp,
    eager,
    write: (text) => (json ? context.line(text.replace(/\n$/, "")) : context.raw(encoder.encode(text))),
  });
  const begunMs = context.now();
  const machine = await machines.start(spec, { registered: true, signal: context.signal, onConsole: printer.push });
  context.note(`machine    ${machine.name} runs on ${machine.accelerator.accelerator}: ${machine.accelerator.reason}`);
  for (const line of portLines(machines.find(machine.name) ?? { forward: [] })) context.note(`machine    ${line}`);
  const end = await typedUntilEnd(machine);
  printer.end();
  const tookMs = context.now() - begunMs;
  if (context.signal.aborted)
    throw new Problem({ code: "E_INTERRUPTED", message: `the machine ${machine.name} was stopped`, exit: 130 });
  const { name, directory } = machine;
  const text = () => `machine ${name}: ${end.kind} after ${formatDuration(tookMs)}: ${end.detail}`;
  return { data: { name, directory, end, durationMs: tookMs }, text, exit: isSound(end) ? 0 : 1 };
}

function isSound({ kind }: MachineEnd): boolean {
  return kind === "powered-off" || kind === "stopped";
}

async function typedUntilEnd(machine: Machine): Promise<MachineEnd> {
  if (!isTyped(STDIN)) return await machine.exited;
  const { onTyped } = await import("../typed.ts");
  const typed = onTyped((text) => void machine.write(text));
  try {
    return await machine.exited;
  } finally {
    typed.close();
  }
}

/** The other half of `--detach`: this process is the machine's supervisor, and nobody reads what it prints. */
async function superviseDetached(context: Context, garth: Garth, directory: string): Promise<Answer> {
  const { spec, item } = readStarting(garth, directory);
  if (item !== undefined) garth.store.pin([item]);
  const machine = await (await garth.machines()).start(spec, { registered: true, signal: context.signal });
  announce(context, garth, directory, machine.directory);
  const end = await machine.exited;
  context.note(`machine ${machine.name}: ${end.kind}: ${end.detail}`);
  return { data: end, text: () => "", exit: isSound(end) ? 0 : 1 };
}

export const ls: Handler = async (context, given) => {
  const garth = await context.garth();
  const machines = await garth.machines();
  if (given.flag("sweep")) await machines.sweep();
  const records = machines.list();
  const rows = records.map((record) => [
    record.name,
    record.state === "ended" && record.ended !== undefined ? record.ended.kind : record.state,
    record.state === "running" ? String(record.pid) : "-",
    record.accelerator.accelerator,
    `${record.spec.cpus} x ${formatSize(record.spec.memoryBytes)}`,
    formatDuration(Math.max(0, context.now() - record.startedAtMs)),
    portLines(record).join(" ") || "-",
    record.spec.disks.map(({ file }) => file).join(" "),
  ]);
  const head = ["name", "state", "process", "by", "with", "started ago", "ports", "disk"];
  return { data: records, text: () => (rows.length === 0 ? "" : table([head, ...rows])) };
};

/** @throws Problem E_NO_MACHINE (exit 2) */
function recordOf(records: readonly MachineRecord[], name: string): MachineRecord {
  const found = records.find((record) => record.name === name);
  if (found !== undefined) return found;
  throw new Problem({
    code: "E_NO_MACHINE",
    message: `there is no machine ${JSON.stringify(name)}`,
    ...(records.length === 0 ? {} : { details: records.map((record) => record.name) }),
    hint: "`garth machine ls` lists those there are",
    exit: 2,
  });
}

export const showConsole: Handler = async (context, given) => {
  const garth = await context.garth();
  const machines = await garth.machines();
  const [name = ""] = given.arguments;
  const record = recordOf(machines.list(), name);
  const send = given.text("send");
  if (send !== undefined) await machines.writeTo(name, `${send}\n`);
  const goesOn = (): boolean => {
    const now = machines.find(name);
    return now?.state === "running" && now.startedAtMs === record.startedAtMs;
  };
  const json = given.flag("json");
  const chunks: Uint8Array[] = [];
  for await (const chunk of logOf(garth.host, record.consoleLog, given.flag("no-follow") ? undefined : goesOn, context.signal)) {
    if (json) chunks.push(chunk);
    else context.raw(chunk);
  }
  if (context.signal.aborted)
    throw new Problem({ code: "E_INTERRUPTED", message: `stopped following the console of ${name}, which goes on`, exit: 130 });
  const { state, ended } = machines.find(name) ?? record;
  return { data: { name, state, ended, log: Buffer.concat(chunks).toString() }, text: () => "" };
};

export const screenshot: Handler = async (context, given) => {
  const machines = await (await context.garth()).machines();
  const [name = "", file = ""] = given.arguments;
  const picture = absolute(context, file);
  await machines.screenshotOf(name, picture);
  return { data: { name, file: picture }, text: () => picture };
};

export const stop: Handler = async (context, given) => {
  const machines = await (await context.garth()).machines();
  const [name = ""] = given.arguments;
  await machines.stopOf(name);
  const record = machines.find(name);
  return { data: { name, ended: record?.ended }, text: () => `machine ${name}: ${record?.ended?.kind ?? "gone"}` };
};
