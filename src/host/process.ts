/**
 * One door for commands: argv, clean environment, closed stdin. A failure carries argv, status, the tail of stderr, and a
 * line that can be pasted to replay it.
 */
import { accessSync, closeSync, constants, fchownSync, openSync } from "node:fs";
import { Problem } from "../base/index.ts";
import { isErrno } from "./errno.ts";
import { identityOf } from "./identity.ts";
import { makePipe } from "./libc.ts";
import type { Command, Completed, Exit, Running, SpawnOptions } from "./types.ts";

export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
export const CLEAN_ENVIRONMENT: Readonly<Record<string, string>> = { PATH: SYSTEM_PATH, LC_ALL: "C.UTF-8" };

const STDERR_TAIL_LINES = 20;
/** How long a command that was told to end may take before it is killed. */
const GRACE_MS = 2_000;

/** A word for a POSIX shell. */
export function shellQuote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A line that does the same when it is pasted into a shell. */
export function replayLine(command: Command): string {
  const env = Object.entries(command.env ?? CLEAN_ENVIRONMENT).map(([key, value]) => `${key}=${shellQuote(value)}`);
  const words = ["env", "-i", ...env, ...command.argv.map(shellQuote)].join(" ");
  const stdin = command.stdin === undefined || command.stdin === "closed" ? " </dev/null" : "";
  return command.cwd === undefined ? `${words}${stdin}` : `(cd ${shellQuote(command.cwd)} && ${words}${stdin})`;
}

export function findProgram(program: string, path: string = SYSTEM_PATH): string | undefined {
  const places = program.includes("/") ? [program] : path.split(":").map((directory) => `${directory}/${program}`);
  return places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function inputOf(command: Command): "ignore" | "inherit" | Uint8Array {
  const stdin = command.stdin ?? "closed";
  if (stdin === "closed") return "ignore";
  if (stdin === "inherit") return "inherit";
  return typeof stdin === "string" ? Buffer.from(stdin) : stdin;
}

type Input = ReturnType<typeof inputOf> | "pipe";

function start<Output extends "pipe" | "inherit" | number>(
  command: Command,
  input: Input,
  output: Output,
  onExit: (exit: Exit) => void,
  session?: SpawnOptions["session"],
) {
  const env = command.env ?? CLEAN_ENVIRONMENT;
  const [program, ...rest] = command.argv;
  const found = findProgram(program, env["PATH"]);
  if (found === undefined) {
    throw new Problem({
      code: "E_TOOL_MISSING",
      message: `${command.doing ?? "running a command"}: there is no program ${JSON.stringify(program)} on this machine`,
      hint: "`garth doctor` says which package has it; `garth doctor --install` installs it",
      exit: 3,
    });
  }
  return Bun.spawn({
    cmd: [found, ...rest],
    env,
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    stdio: [input, output, output, ...(command.passDescriptors ?? [])],
    ...(session === undefined ? {} : { detached: true }),
    onExit: (_process, status, signal) =>
      onExit({ status: signal === null ? status : null, signal: signal === null ? null : signalName(signal) }),
  });
}

/** signal(7) of Linux and signal(3) of FreeBSD: those with the same number, and those with a number of their own. */
const SIGNAL_NAMES: Readonly<Record<number, string>> = {
  1: "SIGHUP",
  2: "SIGINT",
  3: "SIGQUIT",
  4: "SIGILL",
  5: "SIGTRAP",
  6: "SIGABRT",
  8: "SIGFPE",
  9: "SIGKILL",
  11: "SIGSEGV",
  13: "SIGPIPE",
  14: "SIGALRM",
  15: "SIGTERM",
  24: "SIGXCPU",
  25: "SIGXFSZ",
  ...(process.platform === "linux"
    ? { 7: "SIGBUS", 10: "SIGUSR1", 12: "SIGUSR2", 31: "SIGSYS" }
    : { 10: "SIGBUS", 12: "SIGSYS", 30: "SIGUSR1", 31: "SIGUSR2" }),
};

function signalName(signal: number | string): string {
  return typeof signal === "string" ? signal : (SIGNAL_NAMES[signal] ?? `signal ${signal}`);
}

async function pump(stream: AsyncIterable<Uint8Array>, onChunk: (chunk: Uint8Array) => unknown): Promise<void> {
  for await (const chunk of stream) {
    const held = onChunk(chunk);
    if (held instanceof Promise) await held;
  }
}

/** Starts a process; chunks are handed on as they come. `exited` settles after all output has ended. */
export function spawnProcess(command: Command, options: SpawnOptions = {}): Running {
  const ended = Promise.withResolvers<Exit>();
  const input = options.stdin ?? inputOf(command);
  const { child, output } =
    options.pipe === undefined
      ? onSockets(command, input, ended.resolve, options.session)
      : onPipe(command, input, options, ended.resolve);
  const streams = Promise.all(output.map(([name, stream]) => pump(stream, (chunk) => options.onOutput?.(chunk, name))));
  const timer = command.timeoutMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), command.timeoutMs);
  return {
    pid: child.pid,
    kill: (signal = "SIGTERM") => child.kill(signal),
    write: (data) =>
      toInput(async () => {
        await child.stdin?.write(data);
        await child.stdin?.flush();
      }),
    endInput: () =>
      toInput(async () => {
        await child.stdin?.end();
      }),
    exited: ended.promise.then(async (exit) => {
      clearTimeout(timer);
      await streams;
      return exit;
    }),
  };
}

export async function attachProcess(command: Command): Promise<Exit> {
  const ended = Promise.withResolvers<Exit>();
  start({ env: { ...CLEAN_ENVIRONMENT, TERM: process.env["TERM"] ?? "dumb" }, ...command }, "inherit", "inherit", ended.resolve);
  return await ended.promise;
}

/** Nothing of it is tied to this process: no pipe that would break, no session that would end, no wait. */
export function launchProcess(command: Command, outputFile: string): { readonly pid: number; readonly identity: string } {
  const output = openSync(outputFile, "a", 0o600);
  try {
    const child = start(command, "ignore", output, () => undefined, "own");
    child.unref();
    return { pid: child.pid, identity: identityOf(child.pid) ?? `ended:${child.pid}:0` };
  } finally {
    closeSync(output);
  }
}

/** A process may end, or shut its input, whatever is still on the way to it. */
async function toInput(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isErrno(error, "EPIPE", "ECONNRESET")) throw error;
  }
}

interface Started {
  readonly child: { readonly pid: number; readonly stdin: Bun.FileSink | undefined; kill(signal: NodeJS.Signals): void };
  readonly output: readonly (readonly ["stdout" | "stderr", AsyncIterable<Uint8Array>])[];
}

function onSockets(command: Command, input: Input, onExit: (exit: Exit) => void, session: SpawnOptions["session"]): Started {
  const child = start(command, input, "pipe", onExit, session);
  const { stdout, stderr } = child;
  return {
    child: started(child),
    output: [
      ["stdout", stdout],
      ["stderr", stderr],
    ],
  };
}

function started(child: Bun.Subprocess): Started["child"] {
  const { pid, stdin } = child;
  return { pid, stdin: typeof stdin === "object" ? stdin : undefined, kill: (signal) => child.kill(signal) };
}

function onPipe(command: Command, input: Input, { pipe: owner, session }: SpawnOptions, onExit: (exit: Exit) => void): Started {
  const pipe = makePipe();
  if (pipe === undefined) return onSockets(command, input, onExit, session);
  const { readEnd, writeEnd } = pipe;
  try {
    if (owner !== undefined && owner !== "own") giveTo(writeEnd, owner);
    const child = start(command, input, writeEnd, onExit, session);
    return { child: started(child), output: [["stdout", untilEnd(readEnd)]] };
  } catch (error) {
    closeSync(readEnd);
    throw error;
  } finally {
    closeSync(writeEnd);
  }
}

/**
 * Linux looks at who owns a pipe when /dev/stdout is opened by name. On FreeBSD that name stands for the open descriptor itself (fd(4)),
 * nobody is asked, and a pipe cannot be given away (EINVAL).
 */
function giveTo(pipeEnd: number, owner: { readonly uid: number; readonly gid: number }): void {
  if (process.platform === "linux") fchownSync(pipeEnd, owner.uid, owner.gid);
}

async function* untilEnd(descriptor: number): AsyncGenerator<Uint8Array> {
  try {
    yield* Bun.file(descriptor).stream();
  } finally {
    closeSync(descriptor);
  }
}

export async function runCommand(command: Command): Promise<Completed> {
  const doing = command.doing ?? `running ${command.argv[0]}`;
  const started = performance.now();
  const ended = Promise.withResolvers<Exit>();
  const child = start(command, inputOf(command), "pipe", ended.resolve);
  let timedOut = false;
  const timers: ReturnType<typeof setTimeout>[] = [];
  if (command.timeoutMs !== undefined) {
    timers.push(
      setTimeout(() => {
        timedOut = true;
        child.kill("SIGTERM");
        timers.push(setTimeout(() => child.kill("SIGKILL"), GRACE_MS));
      }, command.timeoutMs),
    );
  }
  const [exit, stdout, stderr] = await Promise.all([
    ended.promise,
    new Response(child.stdout).bytes(),
    new Response(child.stderr).text(),
  ]);
  for (const timer of timers) clearTimeout(timer);
  const tail = stderr
    .trimEnd()
    .split("\n")
    .slice(-STDERR_TAIL_LINES)
    .filter((line) => line !== "");
  if (timedOut) {
    throw new Problem({
      code: "E_TIMEOUT",
      message: `${doing}: no end after ${command.timeoutMs} ms`,
      details: tail,
      hint: `to run it by hand: ${replayLine(command)}`,
    });
  }
  if (exit.status === null || !(command.okStatuses ?? [0]).includes(exit.status)) {
    throw new Problem({
      code: "E_COMMAND_FAILED",
      message: `${doing}: ${command.argv[0]} ${exit.status === null ? `was ended by ${exit.signal}` : `ended with status ${exit.status}`}`,
      details: tail,
      hint: `to run it by hand: ${replayLine(command)}`,
    });
  }
  const text = () => new TextDecoder().decode(stdout);
  return { status: exit.status, stdout, stderr, durationMs: performance.now() - started, text };
}
