/**
 * An SFTP session: requests go out as they are made, replies find theirs by number. One session for each guest object, opened on demand and
 * again when it was lost.
 *
 *     none ──first request──► opening ──version──► open ──the channel closed──► none (what waits is refused: E_GUEST_LOST)
 */
import { Problem } from "../base/index.ts";
import type { Channel } from "./connection.ts";
import { type Link, lost } from "./link.ts";
import {
  type Attributes,
  decodeReply,
  decodeVersion,
  encodeInit,
  encodeRequest,
  type NameEntry,
  REQUEST,
  type Reply,
  STATUS,
} from "./sftp-wire.ts";
import type { GuestAddress } from "./types.ts";
import { framer, type Reader, string } from "./wire.ts";

/** Requests under way; more wait their turn. */
const UNDER_WAY_MAX = 64;
/** OpenSSH's servers send up to 256 KiB at once. */
const PACKET_MAX_BYTES = 1024 ** 2;
/** What every server takes (the draft, 3). */
const SAFE_BYTES = 32 * 1024;
const LARGE_BYTES = 255 * 1024;

/** What the server refused: its own number, which says little. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface Sftp {
  readonly extensions: ReadonlyMap<string, string>;
  /** How much one read or write may carry. */
  readonly readBytes: number;
  readonly writeBytes: number;
  /** Each of them @throws Refusal, Problem E_GUEST_LOST */
  done(type: number, ...payload: readonly Uint8Array[]): Promise<void>;
  handle(type: number, ...payload: readonly Uint8Array[]): Promise<Uint8Array>;
  attributes(type: number, ...payload: readonly Uint8Array[]): Promise<Attributes>;
  /** undefined: there are no more. */
  names(type: number, ...payload: readonly Uint8Array[]): Promise<readonly NameEntry[] | undefined>;
  /** undefined: the end of the file. */
  data(type: number, ...payload: readonly Uint8Array[]): Promise<Uint8Array | undefined>;
  extended(name: string, ...payload: readonly Uint8Array[]): Promise<Reader>;
  /** An extension that answers with a status. */
  extendedDone(name: string, ...payload: readonly Uint8Array[]): Promise<void>;
  readonly isOpen: boolean;
  close(): void;
}

type Waiting = PromiseWithResolvers<Reply>;

export async function openSftp(link: Link, address: GuestAddress): Promise<Sftp> {
  const waiting = new Map<number, Waiting>();
  const turn: (() => void)[] = [];
  const version = Promise.withResolvers<ReadonlyMap<string, string>>();
  let greeted = false;
  const state = { isOpen: true };
  let last = 0;
  let said = "";
  const onPacket = (packet: Uint8Array): void => {
    try {
      if (!greeted) {
        greeted = true;
        const hello = decodeVersion(packet);
        if (hello === undefined) return channel.close();
        return version.resolve(hello.extensions);
      }
      const { id, reply } = decodeReply(packet);
      waiting.get(id)?.resolve(reply);
      waiting.delete(id);
      turn.shift()?.();
    } catch {
      // Not SFTP: a start-up file of the login shell prints, for one.
      channel.close();
    }
  };
  const split = framer(PACKET_MAX_BYTES, onPacket, () => channel.close());
  const channel: Channel = await link.session({
    onData: (chunk, stream) => {
      if (stream === "stdout") split(chunk);
      else said = (said + Buffer.from(chunk).toString()).slice(-SAFE_BYTES);
    },
  });
  void channel.closed.then((end) => {
    state.isOpen = false;
    const problem = end === undefined ? lost(address) : refused(address, said);
    version.reject(problem);
    for (const one of waiting.values()) one.reject(problem);
    waiting.clear();
    for (const next of turn.splice(0)) next();
  });
  // Looked at below; a channel that closes meanwhile is told by what is waited for then.
  version.promise.catch(() => undefined);
  const accepted = channel.request("subsystem", string("sftp"));
  void channel.write(encodeInit());
  if (!(await accepted)) {
    channel.close();
    throw refused(address, said);
  }
  const extensions = await version.promise;

  const ask = async (type: number, payload: readonly Uint8Array[]): Promise<Reply> => {
    while (state.isOpen && waiting.size >= UNDER_WAY_MAX) await new Promise<void>((resolve) => turn.push(resolve));
    if (!state.isOpen) throw lost(address);
    last = (last + 1) % 2 ** 32;
    const answer: Waiting = Promise.withResolvers();
    waiting.set(last, answer);
    void channel.write(encodeRequest(type, last, payload));
    return await answer.promise;
  };
  const wrong = (reply: Reply): Refusal =>
    reply.kind === "status" ? new Refusal(reply.status, reply.message) : new Refusal(STATUS.badMessage, "another reply");

  const extended: Sftp["extended"] = async (name, ...payload) => {
    const reply = await ask(REQUEST.extended, [string(name), ...payload]);
    if (reply.kind !== "extended") throw wrong(reply);
    return reply.reader;
  };
  const limits = extensions.has("limits@openssh.com") ? await extended("limits@openssh.com") : undefined;
  limits?.u64();
  const upTo = (offered: number): number => (offered === 0 ? SAFE_BYTES : Math.min(offered, LARGE_BYTES));
  const readBytes = limits === undefined ? SAFE_BYTES : upTo(limits.u64());
  const writeBytes = limits === undefined ? SAFE_BYTES : upTo(limits.u64());

  const done: Sftp["done"] = async (type, ...payload) => {
    const reply = await ask(type, payload);
    if (reply.kind !== "status" || reply.status !== STATUS.ok) throw wrong(reply);
  };
  return {
    extensions,
    readBytes,
    writeBytes,
    done,
    handle: async (type, ...payload) => {
      const reply = await ask(type, payload);
      if (reply.kind !== "handle") throw wrong(reply);
      return reply.handle;
    },
    attributes: async (type, ...payload) => {
      const reply = await ask(type, payload);
      if (reply.kind !== "attributes") throw wrong(reply);
      return reply.attributes;
    },
    names: async (type, ...payload) => {
      const reply = await ask(type, payload);
      if (reply.kind === "names") return reply.names;
      if (reply.kind === "status" && reply.status === STATUS.eof) return undefined;
      throw wrong(reply);
    },
    data: async (type, ...payload) => {
      const reply = await ask(type, payload);
      if (reply.kind === "data") return reply.data;
      if (reply.kind === "status" && reply.status === STATUS.eof) return undefined;
      throw wrong(reply);
    },
    extended,
    extendedDone: (name, ...payload) => done(REQUEST.extended, string(name), ...payload),
    get isOpen() {
      return state.isOpen;
    },
    close: () => channel.close(),
  };
}

function refused(address: GuestAddress, said: string): Problem {
  return new Problem({
    code: "E_GUEST_REFUSED",
    message: `reaching the files of ${address.name}: its SSH server gives no SFTP`,
    details: said.split("\n").filter((line) => line.trim() !== ""),
    hint: "sshd_config needs the line `Subsystem sftp internal-sftp`",
  });
}
