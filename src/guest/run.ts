/** A command to its end, with all its output in memory. */
import { formatDuration, formatSize, Problem } from "../base/index.ts";
import { lost } from "./link.ts";
import { type Runner, spawnIn } from "./process.ts";
import type { GuestCommand, GuestResult } from "./types.ts";

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
  try {
    const process = await spawnIn(runner, input === undefined ? rest : { ...rest, stdin: "open" }, (chunk, channel) => {
      size += chunk.byteLength;
      if (size > OUTPUT_MAX_BYTES) {
        const message = `${doing}: it printed more than ${formatSize(OUTPUT_MAX_BYTES)}`;
        // Never settled: it is held back until it is killed.
        stopped.resolve(new Problem({ code: "E_OUTPUT_TOO_LARGE", message, hint: "let it write to a file" }));
        return new Promise(() => undefined);
      }
      (channel === "stderr" ? stderr : stdout).push(chunk);
      return undefined;
    });
    if (input !== undefined) {
      // A command may end without reading its input: its end is what is waited for.
      void process.write(input);
      void process.endInput();
    }
    const outcome = await Promise.race([process.exited, stopped.promise]);
    if (outcome instanceof Problem) {
      await process.signal("SIGKILL");
      await process.exited;
      throw outcome;
    }
    if (outcome.lost) throw lost(runner.address);
    return { code: outcome.code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() };
  } finally {
    clearTimeout(timer);
  }
}
