/**
 * QMP, QEMU's monitor for programs (docs/interop/qmp-spec): JSON values, one to a line, over a Unix socket that takes one client.
 *
 *     connected ──greeting──► qmp_capabilities ──► open ──execute──► return | error
 *                                                    ├──► events, as they come
 *                                                    └──► closed: whatever waits is refused
 */
import { formatDuration, Problem } from "../base/index.ts";
import type { Connection, Host } from "../host/index.ts";

const DEFAULT_LIMIT_MS = 10_000;
/** A line is one answer; the longest are lists of properties. */
const LINE_MAX_BYTES = 16 * 1024 ** 2;

export interface QmpEvent {
  /** "SHUTDOWN". */
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface Qmp {
  /** What the command returns. @throws Problem E_QMP */
  execute(command: string, args?: Readonly<Record<string, unknown>>, options?: { readonly timeoutMs?: number }): Promise<unknown>;
  close(): void;
  /** Settles, never rejects, when either side ended it; every event was handed on before. */
  readonly closed: Promise<void>;
}

export interface QmpOptions {
  /** Of the machine, for errors. */
  readonly name: string;
  readonly onEvent?: (event: QmpEvent) => void;
  /** For the greeting, and for each command that has no limit of its own. Default 10 s. */
  readonly timeoutMs?: number;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whole lines of what comes in chunks. */
function lineSplitter(onLine: (line: string) => void, onOverflow: () => void): (chunk: Uint8Array) => void {
  let pieces: Uint8Array[] = [];
  let held = 0;
  return (chunk) => {
    let rest = chunk;
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      const line = Buffer.concat([...pieces, rest.subarray(0, end)]).toString();
      pieces = [];
      held = 0;
      rest = rest.subarray(end + 1);
      if (line.trim() !== "") onLine(line);
    }
    if (rest.byteLength > 0) pieces.push(rest);
    held += rest.byteLength;
    if (held > LINE_MAX_BYTES) onOverflow();
  };
}

/** @throws Problem E_QMP; Error with an errno name in `code` where nothing listens */
export async function openQmp(host: Host, socketPath: string, options: QmpOptions): Promise<Qmp> {
  const { name, timeoutMs = DEFAULT_LIMIT_MS } = options;
  const waiting = new Map<string, { readonly resolve: (value: unknown) => void; readonly reject: (problem: Problem) => void }>();
  const greeted = Promise.withResolvers<unknown>();
  let last = 0;
  let closed = false;
  let connection: Connection | undefined;
  const problem = (message: string, details: readonly string[] = []): Problem =>
    new Problem({ code: "E_QMP", message: `asking the machine ${name}: ${message}`, details });

  const onLine = (line: string): void => {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      return connection?.close();
    }
    if (!isRecord(value)) return;
    if ("QMP" in value) return greeted.resolve(undefined);
    if (typeof value["event"] === "string") {
      return options.onEvent?.({ event: value["event"], data: isRecord(value["data"]) ? value["data"] : {} });
    }
    const id = typeof value["id"] === "string" ? value["id"] : "";
    const asked = waiting.get(id);
    if (asked === undefined) return;
    waiting.delete(id);
    if ("return" in value) return asked.resolve(value["return"]);
    const error = isRecord(value["error"]) ? value["error"] : {};
    asked.reject(problem(String(error["desc"] ?? "it answered what is no answer")));
  };

  const within = async <Value>(work: Promise<Value>, what: string, limitMs: number, forget: () => void): Promise<Value> => {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(problem(`no answer to ${what} in ${formatDuration(limitMs)}`)), limitMs);
    try {
      return await Promise.race([work, late.promise]);
    } finally {
      clearTimeout(timer);
      forget();
    }
  };

  const opened = await host.connect(
    socketPath,
    lineSplitter(onLine, () => connection?.close()),
  );
  connection = opened;
  const ended = opened.closed.then(() => {
    closed = true;
    const gone = problem("the connection was closed");
    greeted.reject(gone);
    for (const { reject } of waiting.values()) reject(gone);
    waiting.clear();
  });

  const execute: Qmp["execute"] = async (command, args = {}, { timeoutMs: limitMs = timeoutMs } = {}) => {
    if (closed) throw problem(`${command} was not sent: the connection is closed`);
    last += 1;
    const id = String(last);
    const answer = Promise.withResolvers<unknown>();
    waiting.set(id, answer);
    opened.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    return await within(answer.promise, command, limitMs, () => waiting.delete(id));
  };

  try {
    // A second client is let in only when the first has gone: until then there is no greeting.
    await within(greeted.promise, "a greeting", timeoutMs, () => undefined);
    await execute("qmp_capabilities");
  } catch (error) {
    opened.close();
    throw error;
  }
  return { execute, close: () => opened.close(), closed: ended };
}
