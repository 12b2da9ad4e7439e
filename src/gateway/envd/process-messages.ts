/** Messages of process.Process in the JSON of proto3: a field that is absent or null has its default, a number may be text. Pure. */
import * as z from "zod";
import type { Channel, GuestExit } from "../../guest/index.ts";
import { RpcError } from "./codes.ts";

const noNul = (text: string) => !text.includes("\0");
const text = z.string().refine(noNul, "has a NUL byte in it");
const uint = z.union([z.number(), z.string().regex(/^\d+$/).transform(Number)]).pipe(z.number().int().min(0).max(0xffff_ffff));
const base64 = z.string().transform((value) => new Uint8Array(Buffer.from(value, "base64")));

/** A variable of the environment is NAME=VALUE to the system: what cannot be said so is refused. */
const environment = z.record(
  text.refine((name) => name !== "" && !name.includes("="), "is no name of a variable"),
  text,
);

const size = z.object({ cols: uint.nullish(), rows: uint.nullish() });
const pty = z.object({ size: size.nullish() });
const selector = z.object({ pid: uint.nullish(), tag: z.string().nullish() });
const input = z.object({ stdin: base64.nullish(), pty: base64.nullish() });

export const startRequest = z.object({
  process: z.object({
    cmd: text.min(1),
    args: z.array(text).nullish(),
    envs: environment.nullish(),
    cwd: text.nullish(),
  }),
  pty: pty.nullish(),
  tag: z.string().nullish(),
  stdin: z.boolean().nullish(),
});
export const selectRequest = z.object({ process: selector.nullish() });
export const inputRequest = z.object({ process: selector.nullish(), input: input.nullish() });
export const signalRequest = z.object({ process: selector.nullish(), signal: z.union([z.string(), z.number()]).nullish() });
export const updateRequest = z.object({ process: selector.nullish(), pty: pty.nullish() });
export const streamInputRequest = z.object({
  start: z.object({ process: selector.nullish() }).nullish(),
  data: z.object({ input: input.nullish() }).nullish(),
  keepalive: z.object({}).nullish(),
});

export type Selector = z.infer<typeof selector> | null | undefined;
export type Input = z.infer<typeof input> | null | undefined;

const SIGNALS = { SIGNAL_SIGKILL: "SIGKILL", SIGNAL_SIGTERM: "SIGTERM", 9: "SIGKILL", 15: "SIGTERM" } as const;

/** @throws RpcError invalid_argument for another signal than the two there are */
export function signalOf(signal: string | number | null | undefined): "SIGKILL" | "SIGTERM" {
  for (const [name, value] of Object.entries(SIGNALS)) if (name === String(signal)) return value;
  throw new RpcError("invalid_argument", `invalid signal: ${String(signal ?? "SIGNAL_UNSPECIFIED")}`);
}

const COLUMNS = 80;
const ROWS = 24;
const SIZE_MAX = 0xffff;

/** A terminal of no size has the usual one. */
export function terminalSize(asked: z.infer<typeof pty>): { readonly columns: number; readonly rows: number } {
  return {
    columns: Math.min(asked.size?.cols || COLUMNS, SIZE_MAX),
    rows: Math.min(asked.size?.rows || ROWS, SIZE_MAX),
  };
}

export const KEEPALIVE = { event: { keepalive: {} } } as const;

export function startEvent(pid: number): object {
  return { event: { start: { pid } } };
}

export function dataEvent(chunk: Uint8Array, channel: Channel): object {
  return { event: { data: { [channel]: Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString("base64") } } };
}

/** As Go's os.ProcessState and syscall.Signal say it: clients show these texts to people. */
const SIGNAL_TEXTS: Readonly<Record<string, string>> = {
  SIGHUP: "hangup",
  SIGINT: "interrupt",
  SIGQUIT: "quit",
  SIGILL: "illegal instruction",
  SIGTRAP: "trace/breakpoint trap",
  SIGABRT: "aborted",
  SIGBUS: "bus error",
  SIGFPE: "floating point exception",
  SIGKILL: "killed",
  SIGUSR1: "user defined signal 1",
  SIGSEGV: "segmentation fault",
  SIGUSR2: "user defined signal 2",
  SIGPIPE: "broken pipe",
  SIGALRM: "alarm clock",
  SIGTERM: "terminated",
};

/** proto3 leaves out what is zero, false or empty: `exitCode` of a success, `exited` of a process that a signal ended. */
export function endEvent(exit: GuestExit): object {
  if (exit.signal !== undefined) {
    const status = `signal: ${SIGNAL_TEXTS[exit.signal] ?? exit.signal}`;
    return { event: { end: { exitCode: -1, status, error: status } } };
  }
  const status = `exit status ${exit.code}`;
  return {
    event: { end: exit.code === 0 ? { exited: true, status } : { exitCode: exit.code, exited: true, status, error: status } },
  };
}
