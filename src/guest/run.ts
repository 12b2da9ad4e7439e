/** A command to its end, with all its output in memory. */
import { formatDuration, formatSize, Problem } from "../base/index.ts";
import { lost } from "./link.ts";
import { type Runner, spawnIn } from "./process.ts";
import type { GuestCommand, GuestProcess, GuestResult } from "./types.ts";

const KILL_LIMIT_MS = 30_000;
const OUTPUT_MAX_BYTES = 256 * 1024 ** 2;

/** @throws Problem as spawnIn; E_TIMEOUT, E_OUTPUT_TOO_LARGE, after which nothing of it runs; E_GUEST_LOST */
export async function runIn(
  runner: Runner,
  command: GuestCommand & { readonly input?: Uint8Array | string; readonly timeoutMs?: number },
): Promise<GuestResult> {
  const { input, timeoutMs, ...rest } = command;
  const stdout: Uint8Array[] = [];
  const stderr: Uint8Array[] = [];
  const stopped = Promise.withResolvers<Problem>();
  const doing = `running ${JSON.stringify(command.argv[0])} in ${runner.address.name}`;
  let size = 0;
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(
          () =>
            stopped.resolve(new Problem({ code: "E_TIMEOUT", message: `${doing}: no end after ${formatDuration(timeoutMs)}` })),
          timeoutMs,
        );
  const starting = spawnIn(runner, input === undefined ? rest : { ...rest, stdin: "open" }, (chunk, channel) => {
    size += chunk.byteLength;
    if (size > OUTPUT_MAX_BYTES) {
      const message = `${doing}: it printed more than ${formatSize(OUTPUT_MAX_BYTES)}`;
      stopped.resolve(new Problem({ code: "E_OUTPUT_TOO_LARGE", message, hint: "let it write to a file" }));
      // Never settled: it is held back until it is killed.
      return new Promise(() => undefined);
    }
    (channel === "stderr" ? stderr : stdout).push(chunk);
    return undefined;
  });
  const running = starting.then(async (process) => {
    if (input !== undefined) {
      // A command may end without reading its input: its end is what is waited for.
      void process.write(input);
      void process.endInput();
    }
    return await process.exited;
  });
  try {
    const outcome = await Promise.race([running, stopped.promise]);
    if (outcome instanceof Problem) {
      await ended(starting);
      throw outcome;
    }
    if (outcome.lost) throw lost(runner.address);
    return { code: outcome.code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() };
  } finally {
    clearTimeout(timer);
  }
}

/** Killed with all that it started, also when it starts only now. A guest that is stopped does not answer: then it is killed as it goes on. */
async function ended(starting: Promise<GuestProcess>): Promise<void> {
  const killed = async (): Promise<void> => {
    const process = await starting;
    await process.signal("SIGKILL");
    await process.exited;
  };
  const limit = Promise.withResolvers<void>();
  const timer = setTimeout(limit.resolve, KILL_LIMIT_MS);
  try {
    // What it failed with says nothing that the reason to end it does not.
    await Promise.race([killed().catch(() => undefined), limit.promise]);
  } finally {
    clearTimeout(timer);
  }
}
