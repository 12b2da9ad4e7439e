/**
 * What a registered machine leaves in its directory for other processes, and for whoever looks at it after its end.
 *
 *     machine.json   the record            console.raw   what the serial console printed
 *     console.in     types what is         console.log   the same as lines, each with its time
 *                    written to this FIFO
 */
import type { Host } from "../host/index.ts";
import { type ConsoleLine, consoleReader, formatStamp } from "./console.ts";
import { namesBelow, ownerLives } from "./scratch.ts";
import type { Machine, MachineEnd, MachineRecord, MachineSpec, PortForward } from "./types.ts";

const RECORD_FILE = "machine.json";
const LOG_FILE = "console.log";
const RAW_FILE = "console.raw";
export const INPUT_FILE = "console.in";
/** Of console.log and of console.raw; then each becomes `.old`, in place of the one before it. */
const CONSOLE_FILE_BYTES = 16 * 1024 ** 2;

/** What stands in machine.json: the rest of a record is seen by looking. */
type RecordFile = Omit<MachineRecord, "directory" | "state" | "consoleLog" | "consoleRaw" | "ended"> & {
  readonly ended?: MachineEnd;
};

/** Atomically: a reader sees the old record or the new one. */
export function writeRecord(
  host: Host,
  machine: Pick<Machine, "name" | "directory" | "pid" | "commandLine" | "accelerator">,
  facts: { readonly spec: MachineSpec; readonly startedAtMs: number; readonly forward: readonly PortForward[] },
  ended?: MachineEnd,
): void {
  const { name, directory, pid, commandLine, accelerator } = machine;
  const credentials = Object.fromEntries(Object.keys(facts.spec.credentials).map((key) => [key, ""]));
  const record: RecordFile = {
    name,
    spec: { ...facts.spec, credentials },
    pid,
    commandLine,
    accelerator,
    startedAtMs: facts.startedAtMs,
    forward: facts.forward,
    ...(ended === undefined ? {} : { ended }),
  };
  const path = `${directory}/${RECORD_FILE}`;
  host.files.writeFile(`${path}.new`, `${JSON.stringify(record, undefined, 2)}\n`, 0o600);
  host.files.rename(`${path}.new`, path);
}

/** Written by this program alone, and whole: the fields that tell it from some other file are looked at. */
function isRecordFile(value: unknown): value is RecordFile {
  if (typeof value !== "object" || value === null) return false;
  return (
    "name" in value &&
    typeof value.name === "string" &&
    "pid" in value &&
    typeof value.pid === "number" &&
    "startedAtMs" in value &&
    typeof value.startedAtMs === "number" &&
    "spec" in value &&
    typeof value.spec === "object" &&
    "commandLine" in value &&
    Array.isArray(value.commandLine) &&
    "forward" in value &&
    Array.isArray(value.forward)
  );
}

/** undefined where no machine was recorded, or is not yet. */
export function readRecord(host: Host, directory: string): MachineRecord | undefined {
  const text = host.files.readTextIfAny(`${directory}/${RECORD_FILE}`);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecordFile(value)) return undefined;
  return {
    ...value,
    directory,
    state: value.ended !== undefined ? "ended" : ownerLives(host, directory) ? "running" : "dead",
    consoleLog: `${directory}/${LOG_FILE}`,
    consoleRaw: `${directory}/${RAW_FILE}`,
    ended: value.ended,
  };
}

export function listRecords(host: Host, below: string): readonly MachineRecord[] {
  return namesBelow(host, below).flatMap((name) => {
    const directory = `${below}/${name}`;
    if (name.startsWith(".") || host.files.lstatIfAny(directory)?.type !== "directory") return [];
    const record = readRecord(host, directory);
    return record === undefined ? [] : [record];
  });
}

/** A file that is added to and never holds more than `limitBytes`. */
function boundedFile(host: Host, path: string, limitBytes: number): (data: Uint8Array) => void {
  let held = 0;
  host.files.writeFile(path, "", 0o600);
  return (data) => {
    if (held > 0 && held + data.byteLength > limitBytes) {
      host.files.rename(path, `${path}.old`);
      host.files.writeFile(path, "", 0o600);
      held = 0;
    }
    host.files.append(path, data);
    held += data.byteLength;
  };
}

export interface ConsoleFiles {
  add(chunk: Uint8Array, atMs: number): void;
  /** Writes the unfinished line. */
  end(): void;
}

export function consoleFiles(host: Host, directory: string, limitBytes: number = CONSOLE_FILE_BYTES): ConsoleFiles {
  const raw = boundedFile(host, `${directory}/${RAW_FILE}`, limitBytes);
  const log = boundedFile(host, `${directory}/${LOG_FILE}`, limitBytes);
  const reader = consoleReader();
  const write = (lines: readonly ConsoleLine[]): void => {
    if (lines.length > 0) log(Buffer.from(lines.map(({ atMs, text }) => `${formatStamp(atMs)} ${text}\n`).join("")));
  };
  return {
    add: (chunk, atMs) => {
      raw(chunk);
      write(reader.push(chunk, atMs));
    },
    end: () => write(reader.end()),
  };
}
