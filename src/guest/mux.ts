/**
 * The control socket of an OpenSSH master (its PROTOCOL.mux): asked whether it lives, told to end, or made a proxy.
 *
 *     connected ──hello──► idle ──alive──► idle
 *                           ├──terminate──► (the master ends)
 *                           └──proxy──► packets of the connection protocol (RFC 4254), both ways, until either side closes
 *
 * A proxy speaks for itself what `ssh -S` would speak, so that no process is started for a command: the master encrypts, and gives the
 * channels of its clients numbers of their own. OpenSSH has it since 7.4.
 */
import { Problem } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import { frame, framer, readerOf, u32, u8 } from "./wire.ts";

const HELLO = 0x00000001;
const ALIVE_CHECK = 0x10000004;
const TERMINATE = 0x10000005;
const PROXY = 0x1000000f;
const VERSION = 4;
/** A packet of the connection protocol carries 32 KiB of data at most. */
const PACKET_MAX_BYTES = 256 * 1024;
/** The master is a process of this machine that does nothing else; one that does not answer is stopped or broken. */
const ANSWER_LIMIT_MS = 10_000;

export interface Proxy {
  /** One packet, from its type on. */
  send(...packet: readonly Uint8Array[]): void;
  close(): void;
  /** Settles, never rejects; every packet was handed on before. */
  readonly closed: Promise<void>;
}

export interface Mux {
  /** The master's process. */
  alive(): Promise<number>;
  /** Settles when the master has taken it. */
  terminate(): Promise<void>;
  /** Nothing else can be asked over this connection then. A packet begins with its type. */
  proxy(onPacket: (packet: Uint8Array) => void): Promise<Proxy>;
  close(): void;
  readonly closed: Promise<void>;
}

/** undefined: no master listens there, or one that is about to end. @throws Problem E_GUEST_UNREACHABLE where one does not answer */
export async function openMux(host: Host, socketPath: string, name: string): Promise<Mux | undefined> {
  let onFrame: (packet: Uint8Array) => void = () => undefined;
  let waiting: PromiseWithResolvers<Uint8Array> | undefined;
  let last = 0;
  const answer = (packet: Uint8Array): void => {
    waiting?.resolve(packet);
    waiting = undefined;
  };
  onFrame = answer;
  const split = framer(
    PACKET_MAX_BYTES,
    (packet) => onFrame(packet),
    () => connection.close(),
  );
  let connection: Awaited<ReturnType<Host["connect"]>>;
  try {
    connection = await host.connect(socketPath, split);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ECONNREFUSED", "ECONNRESET", "ENOTDIR")) return undefined;
    throw error;
  }
  const broken = (what: string, code: "E_GUEST_UNREACHABLE" | "E_GUEST_LOST" = "E_GUEST_UNREACHABLE"): Problem =>
    new Problem({
      code,
      message: `asking the SSH connection of ${name} behind ${socketPath}: ${what}`,
      hint: "the process that holds it may be ended; a new one is started the next time",
    });
  const closed = connection.closed.then(() => waiting?.reject(broken("it was closed", "E_GUEST_LOST")));

  /** What comes next; `send` goes out before. */
  const ask = async (send: Uint8Array): Promise<Uint8Array> => {
    const next = Promise.withResolvers<Uint8Array>();
    waiting = next;
    const timer = setTimeout(() => next.reject(broken("no answer")), ANSWER_LIMIT_MS);
    connection.write(send);
    try {
      return await next.promise;
    } catch (error) {
      connection.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  };
  const request = async (type: number): Promise<ReturnType<typeof readerOf>> => {
    last += 1;
    const reader = readerOf(await ask(frame(u32(type), u32(last))));
    const [kind, id] = [reader.u32(), reader.u32()];
    if (id !== last) throw broken("it answered something else");
    if (kind === 0x80000002 || kind === 0x80000003) throw broken(reader.text());
    return reader;
  };

  // Both greet; neither waits for the other.
  let hello: ReturnType<typeof readerOf>;
  try {
    hello = readerOf(await ask(frame(u32(HELLO), u32(VERSION))));
  } catch (error) {
    // It was on its way out.
    if (error instanceof Problem && error.code === "E_GUEST_LOST") return undefined;
    throw error;
  }
  if (hello.u32() !== HELLO || hello.u32() !== VERSION) {
    connection.close();
    throw broken("it speaks another version of the protocol");
  }
  return {
    alive: async () => (await request(ALIVE_CHECK)).u32(),
    terminate: async () => void (await request(TERMINATE)),
    proxy: async (onPacket) => {
      // The first packet may come in the same chunk as the answer.
      const early: Uint8Array[] = [];
      let ready = false;
      onFrame = (packet) => {
        if (waiting !== undefined) return answer(packet);
        if (ready) onPacket(packet.subarray(1));
        else early.push(packet);
      };
      await request(PROXY);
      for (const packet of early) onPacket(packet.subarray(1));
      ready = true;
      return { send: (...packet) => connection.write(frame(u8(0), ...packet)), close: () => connection.close(), closed };
    },
    close: () => connection.close(),
    closed,
  };
}
