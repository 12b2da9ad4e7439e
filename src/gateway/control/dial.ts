/** A connection to a port of a guest's loopback, as a stream that the runtime's HTTP client can speak over. */
import { Duplex } from "node:stream";
import type { Guest, GuestStream } from "../../guest/index.ts";

/** @throws Problem E_PORT_CLOSED where nobody listens; others of the guest */
export async function dial(guest: Guest, port: number): Promise<Duplex> {
  let there: GuestStream | undefined;
  /** Lets the guest's end go on: what it said was taken. */
  let taken: (() => void) | undefined;
  const stream = new Duplex({
    read: () => {
      taken?.();
      taken = undefined;
    },
    write: (chunk: Uint8Array, _encoding, done) => {
      void there?.write(chunk).then(() => done());
    },
    final: (done) => {
      there?.end();
      done();
    },
    destroy: (error, done) => {
      taken?.();
      there?.close();
      done(error);
    },
  });
  // An error of the connection is for whoever reads; there may be nobody yet.
  stream.on("error", () => undefined);
  const opened = await guest.connectTo(port, (chunk) => {
    if (stream.destroyed || stream.push(chunk)) return undefined;
    return new Promise<void>((resolve) => {
      taken = resolve;
    });
  });
  there = opened;
  void opened.ended.then(() => stream.push(null));
  void opened.closed.then(({ lost }) => {
    if (lost) stream.destroy(new Error("the guest's connection was lost"));
  });
  return stream;
}
