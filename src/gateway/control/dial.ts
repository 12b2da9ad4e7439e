/**
 * A connection to a port of a guest's loopback, through the guest's SSH connection: a process in the guest copies between the port and its
 * standard input and output. bash opens the port itself, so that nothing has to be installed; cat(1) copies.
 *
 * IPv4 first, then IPv6: some servers (Chromium's debugger) listen on ::1 alone.
 */
import { Duplex } from "node:stream";
import type { Guest, GuestProcess } from "../../guest/index.ts";

const NOBODY_LISTENS = 97;
/** The second process ends with the first: what the port says last is heard, what is said to it after that is not. */
const SCRIPT = `{ exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || { exec 3<>"/dev/tcp/::1/$1"; } 2>/dev/null || exit ${NOBODY_LISTENS}
exec 4<&0; echo; cat <&4 >&3 & cat <&3; kill $! 2>/dev/null; exit 0`;

/** @throws Error when nobody listens there; Problem of the guest */
export async function dial(guest: Guest, port: number): Promise<Duplex> {
  const opened = Promise.withResolvers<void>();
  let isOpen = false;
  /** Lets the guest's end go on: what it said was taken. */
  let taken: (() => void) | undefined;
  let running: GuestProcess | undefined;
  const stream = new Duplex({
    read: () => {
      taken?.();
      taken = undefined;
    },
    write: (chunk: Uint8Array, _encoding, done) => {
      running?.write(chunk).then(() => done(), done);
    },
    final: (done) => {
      running?.endInput().then(() => done(), done);
    },
    destroy: (error, done) => {
      taken?.();
      running?.signal("SIGKILL").catch(() => undefined);
      done(error);
    },
  });
  // An error of the connection is for whoever reads; there may be nobody yet.
  stream.on("error", () => undefined);
  const command = { argv: ["/bin/bash", "-c", SCRIPT, "bash", String(port)], stdin: "open", cwd: "/" } as const;
  running = await guest.spawn(command, (chunk, channel) => {
    if (channel !== "stdout") return undefined;
    // The first byte says that the port was opened.
    const said = isOpen ? chunk : chunk.subarray(1);
    isOpen = true;
    opened.resolve();
    if (said.byteLength === 0 || stream.push(said)) return undefined;
    return new Promise<void>((resolve) => {
      taken = resolve;
    });
  });
  void running.exited.then(({ code, lost }) => {
    if (!isOpen)
      opened.reject(new Error(code === NOBODY_LISTENS ? `nobody listens on port ${port}` : `the process ended with ${code}`));
    else if (lost) stream.destroy(new Error("the guest's connection was lost"));
    else stream.push(null);
  });
  try {
    await opened.promise;
  } catch (error) {
    stream.destroy();
    throw error;
  }
  return stream;
}
