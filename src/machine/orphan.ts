/** A machine whose supervisor was killed: ended through its own monitor, which cannot be mistaken for another process. */
import { type Host, isErrno } from "../host/index.ts";
import { Problem } from "../base/index.ts";
import { openQmp } from "./qmp.ts";
import { SOCKETS } from "./sockets.ts";

/** Of a QEMU that nobody supervises: it answers at once, or hangs. */
const ANSWER_LIMIT_MS = 2_000;

/** Settles when no QEMU listens in the directory, or it did not answer. */
export async function endOrphan(host: Host, directory: string): Promise<void> {
  for (const name of [SOCKETS.supervisor, SOCKETS.others]) {
    try {
      const monitor = await openQmp(host, `${directory}/${name}`, { name: directory, timeoutMs: ANSWER_LIMIT_MS });
      await monitor.execute("quit").catch(() => undefined);
      await monitor.closed;
      return;
    } catch (error) {
      if (!(error instanceof Problem) && !isErrno(error, "ENOENT", "ECONNREFUSED", "ENOTSOCK")) throw error;
    }
  }
}
