/**
 * A kernel in a guest: python3, which reads our program from its input and then runs cells, one at a time.
 *
 *     starting ──ready──► idle ◄──► running ──► ended: by itself, killed, or its connection gone
 */
import { Problem } from "../../base/index.ts";
import type { Guest, GuestExit, GuestProcess } from "../../guest/index.ts";
import { KERNEL, type Language } from "./languages.ts";

/** A line holds one result at most, which the kernel keeps below half of this. */
const LINE_MAX_BYTES = 96 * 1024 * 1024;
const STDERR_KEPT_BYTES = 4096;

const program = new TextEncoder().encode(KERNEL);
const BOOT = `import os
b = b""
while len(b) < ${program.byteLength}: b += os.read(0, ${program.byteLength} - len(b)) or os._exit(1)
exec(compile(b, "<kernel>", "exec"), {"__name__": "kernel"})`;

/** A line of a kernel, its `id` taken off: {"type": "stdout", "text": "..."}. */
export type KernelEvent = { readonly type: string } & Readonly<Record<string, unknown>>;

/** How a cell ended: done; or the kernel did, and what it said last. */
export type Outcome = { readonly kind: "done" } | { readonly kind: "ended"; readonly exit: GuestExit; readonly stderr: string };

export interface Kernel {
  /** One at a time. A promise from `onEvent` holds the kernel's output back. Never rejects. */
  run(code: string, env: Readonly<Record<string, string>>, onEvent: (event: KernelEvent) => unknown): Promise<Outcome>;
  /** The cell that is running ends with a KeyboardInterrupt, unless it takes no notice. */
  interrupt(): void;
  /** With everything that its cells have started. Settles when the signal was sent. */
  kill(): Promise<void>;
  readonly ended: Promise<GuestExit>;
}

export interface KernelOptions {
  readonly language: Language;
  readonly cwd: string;
  readonly user: string;
  readonly startTimeoutMs: number;
  readonly env: Readonly<Record<string, string>>;
}

interface Running {
  readonly id: number;
  readonly onEvent: (event: KernelEvent) => unknown;
  readonly done: (outcome: Outcome) => void;
}

/** Whole lines out of chunks. undefined: one is longer than it may be. */
function lineReader(onLine: (line: string) => unknown): (chunk: Uint8Array) => Promise<boolean> {
  let pieces: Uint8Array[] = [];
  let piecesBytes = 0;
  return async (chunk) => {
    let rest = chunk;
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      const line = Buffer.concat([...pieces, rest.subarray(0, end)]).toString();
      pieces = [];
      piecesBytes = 0;
      rest = rest.subarray(end + 1);
      const held = onLine(line);
      if (held instanceof Promise) await held;
    }
    if (rest.byteLength > 0) pieces.push(rest);
    piecesBytes += rest.byteLength;
    return piecesBytes <= LINE_MAX_BYTES;
  };
}

function parseEvent(line: string): (KernelEvent & { readonly id: unknown }) | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null || !("type" in value) || typeof value.type !== "string") return undefined;
    return { id: undefined, ...value, type: value.type };
  } catch {
    // A cell that writes to a descriptor of ours breaks a line, and loses it.
    return undefined;
  }
}

/** @throws Problem as Guest.spawn; E_KERNEL_FAILED with what it said when it ends before it is ready */
export async function startKernel(guest: Guest, options: KernelOptions): Promise<Kernel> {
  const { language, cwd, user, env, startTimeoutMs } = options;
  const ready = Promise.withResolvers<void>();
  let process: GuestProcess | undefined;
  let running: Running | undefined;
  let last: GuestExit | undefined;
  let stderr = "";
  let count = 0;

  const onLine = (line: string): unknown => {
    const event = parseEvent(line);
    if (event === undefined) return undefined;
    if (event.type === "ready") {
      ready.resolve();
      return undefined;
    }
    // What is printed between cells has nobody to go to.
    if (running === undefined || event.id !== running.id) return undefined;
    if (event.type === "done") {
      const { done } = running;
      running = undefined;
      done({ kind: "done" });
      return undefined;
    }
    const { id: _id, ...rest } = event;
    return running.onEvent(rest);
  };
  const readLines = lineReader(onLine);

  const words = language.beside === undefined ? [] : [JSON.stringify(language.beside)];
  const started = await guest.spawn(
    { argv: ["python3", "-u", "-c", BOOT, ...words], cwd, user, env, stdin: "open" },
    (chunk, channel) => {
      if (channel === "stderr") {
        stderr = (stderr + Buffer.from(chunk).toString()).slice(-STDERR_KEPT_BYTES);
        return undefined;
      }
      return readLines(chunk).then(async (fits) => {
        if (!fits) await process?.signal("SIGKILL");
      });
    },
  );
  process = started;
  const ended = started.exited.then((exit) => {
    last = exit;
    running?.done({ kind: "ended", exit, stderr });
    running = undefined;
    ready.reject(
      new Problem({
        code: "E_KERNEL_FAILED",
        message: `the interpreter's python3 ended before it was ready: ${stderr.trim() || `status ${exit.code}`}`,
      }),
    );
    return exit;
  });
  // Where it is ready, nobody waits for this any more.
  ready.promise.catch(() => {});
  const timer = setTimeout(() => {
    ready.reject(
      new Problem({ code: "E_KERNEL_FAILED", message: `the interpreter's python3 was not ready after ${startTimeoutMs} ms` }),
    );
    void started.signal("SIGKILL").catch(() => false);
  }, startTimeoutMs);
  try {
    await started.write(program);
    await ready.promise;
  } finally {
    clearTimeout(timer);
  }

  const request = (document: object) => started.write(`${JSON.stringify(document)}\n`).catch(() => {});
  return {
    run: (code, cellEnv, onEvent) =>
      new Promise((done) => {
        if (last !== undefined) {
          done({ kind: "ended", exit: last, stderr });
          return;
        }
        count += 1;
        running = { id: count, onEvent, done };
        void request({ op: "execute", id: count, code, env: cellEnv });
      }),
    interrupt: () => {
      if (running !== undefined) void request({ op: "interrupt", id: running.id });
    },
    kill: async () => {
      await started.signal("SIGKILL").catch(() => false);
    },
    ended,
  };
}
