/**
 * The way in for other processes that want to type on a serial console: a FIFO in the machine's directory. QEMU's own input is
 * the supervisor's, so a small process reads the FIFO and the supervisor hands on what it says. It holds the FIFO open for
 * writing too (`<>`), so that it sees no end when a writer leaves.
 */
import type { Host, Running } from "../host/index.ts";
import { dyingWithParent } from "./programs.ts";
import { INPUT_FILE } from "./record.ts";

const WRITE_LIMIT_MS = 5_000;

/** Ends with the process that started it. The caller kills it at the machine's end. */
export async function openInput(host: Host, directory: string, type: (data: Uint8Array) => Promise<void>): Promise<Running> {
  const fifo = `${directory}/${INPUT_FILE}`;
  await host.run({ argv: ["mkfifo", "-m", "600", fifo], doing: `making ${fifo}` });
  return host.spawn(
    { argv: dyingWithParent(host, ["sh", "-c", 'exec cat <>"$1"', "sh", fifo]), doing: `reading ${fifo}` },
    { onOutput: (chunk, stream) => void (stream === "stdout" && type(chunk)) },
  );
}

/** @throws Problem E_TIMEOUT when the machine takes nothing */
export async function typeInto(host: Host, directory: string, text: string): Promise<void> {
  const fifo = `${directory}/${INPUT_FILE}`;
  await host.run({
    // Opened for both, it never waits for a reader.
    argv: ["sh", "-c", 'exec cat 1<>"$1"', "sh", fifo],
    stdin: new TextEncoder().encode(text),
    timeoutMs: WRITE_LIMIT_MS,
    doing: `typing on the console of ${directory}`,
  });
}
