/**
 * Channels of the SSH connection protocol (RFC 4254), spoken through the proxy of a master: sessions, as far as the server's MaxSessions
 * goes, and connections to the server's own ports (direct-tcpip), any number of them.
 *
 *     opening ──confirmed──► open ──close of either side──► closed
 *        └──failure──► (refused: no more sessions; nobody listens)     the proxy closed: lost
 *
 * Each side may send what the other has room for (its window). Output is credited when whoever it was handed to has taken it, so a slow
 * reader slows the process and not this memory.
 *
 * A master keeps what it knows of a channel that was refused, and dies of it when its client goes (OpenSSH 9.2 to 10.0: "chan_send_close2: no
 * remote_id"). So nobody is to ask for more sessions than there are, and a connection is not closed while one is being opened.
 */
import { type Host } from "../host/index.ts";
import { openMux, type Proxy } from "./mux.ts";
import { type Reader, readerOf, string, u32, u8 } from "./wire.ts";

const CHANNEL_OPEN = 90;
const OPEN_CONFIRMATION = 91;
const OPEN_FAILURE = 92;
const WINDOW_ADJUST = 93;
const DATA = 94;
const EXTENDED_DATA = 95;
const EOF = 96;
const CLOSE = 97;
const REQUEST = 98;
const SUCCESS = 99;
const FAILURE = 100;
/** RFC 4254, 5.2. */
const STDERR = 1;
/** RFC 4254, 5.1. */
export const PROHIBITED = 1;

const WINDOW_BYTES = 2 * 1024 ** 2;
const PACKET_BYTES = 32 * 1024;
/** For what is being opened when the connection is closed: a guest that is stopped does not answer. */
const CLOSE_LIMIT_MS = 5_000;

export type Stream = "stdout" | "stderr";

export interface ChannelEnd {
  readonly status: number | undefined;
  /** "KILL". */
  readonly signal: string | undefined;
}

export interface ChannelHandlers {
  /** A promise holds back the window until it settles. The chunk is the receiver's to keep. */
  onData(chunk: Uint8Array, stream: Stream): unknown;
  /** The process has ended; output may follow, of others that it left its streams to. */
  onExit?(end: ChannelEnd): void;
  /** Nothing comes any more; what is written still goes. */
  onEof?(): void;
}

export interface Target {
  readonly address: string;
  readonly port: number;
}

/** In the server's words. */
export interface Refusal {
  /** RFC 4254, 5.1. */
  readonly reason: number;
  readonly text: string;
}

export interface Channel {
  /** false: the server does not do it. */
  request(type: string, ...payload: readonly Uint8Array[]): Promise<boolean>;
  /** The same with no answer. */
  notify(type: string, ...payload: readonly Uint8Array[]): void;
  /** Settles when it was sent, or the channel is closed. */
  write(data: Uint8Array): Promise<void>;
  /** The end of the input, after all that was written. */
  end(): void;
  close(): void;
  /** Settles, never rejects, after all data was handed on. undefined: the connection went first. */
  readonly closed: Promise<ChannelEnd | undefined>;
}

export interface Connection {
  /** undefined: the server refused, which it does when it has no more sessions; or the connection is closed. */
  open(handlers: ChannelHandlers): Promise<Channel | undefined>;
  /** The server connects to what it can reach itself. undefined: the connection is closed. */
  connect(target: Target, handlers: ChannelHandlers): Promise<Channel | Refusal | undefined>;
  /** How many channels are open or being opened. */
  readonly sessions: number;
  /** How many were refused: the master keeps something of each. */
  readonly refused: number;
  readonly isOpen: boolean;
  /** Now, or when what is being opened is open. */
  close(): void;
  readonly closed: Promise<void>;
}

interface State {
  readonly handlers: ChannelHandlers;
  remote: number;
  remoteWindow: number;
  remotePacket: number;
  /** Handed on, not yet credited. */
  taken: number;
  readonly answers: ((done: boolean) => void)[];
  readonly queue: { data: Uint8Array; readonly done: () => void }[];
  ending: boolean;
  closing: boolean;
  over: boolean;
  end: { status: number | undefined; signal: string | undefined };
  refusal: Refusal | undefined;
  readonly opened: PromiseWithResolvers<boolean>;
  readonly closed: PromiseWithResolvers<ChannelEnd | undefined>;
}

/** undefined: no master listens there. @throws Problem E_GUEST_UNREACHABLE */
export async function openConnection(host: Host, socketPath: string, name: string): Promise<Connection | undefined> {
  const mux = await openMux(host, socketPath, name);
  if (mux === undefined) return undefined;
  const channels = new Map<number, State>();
  const proxy = await mux.proxy((packet) => receive(proxy, channels, packet));
  let isOpen = true;
  let last = 0;
  let refused = 0;
  const closed = proxy.closed.then(() => {
    isOpen = false;
    for (const channel of channels.values()) finish(channel, undefined);
    channels.clear();
  });
  const begin = async (
    handlers: ChannelHandlers,
    kind: string,
    ...about: readonly Uint8Array[]
  ): Promise<Channel | Refusal | undefined> => {
    if (!isOpen) return undefined;
    last += 1;
    const channel = newState(handlers);
    channels.set(last, channel);
    proxy.send(u8(CHANNEL_OPEN), string(kind), u32(last), u32(WINDOW_BYTES), u32(PACKET_BYTES), ...about);
    if (await channel.opened.promise) return channelOf(proxy, channel);
    if (channel.refusal !== undefined) refused += 1;
    return channel.refusal;
  };
  return {
    get sessions() {
      return channels.size;
    },
    get refused() {
      return refused;
    },
    get isOpen() {
      return isOpen;
    },
    open: async (handlers) => {
      const opened = await begin(handlers, "session");
      return opened !== undefined && "reason" in opened ? undefined : opened;
    },
    connect: ({ address, port }, handlers) =>
      // Who asks is told to the server's log alone.
      begin(handlers, "direct-tcpip", string(address), u32(port), string("127.0.0.1"), u32(0)),
    close: () => {
      const opening = [...channels.values()].map(({ opened }) => opened.promise);
      const timer = setTimeout(() => proxy.close(), CLOSE_LIMIT_MS);
      void Promise.all(opening).then(() => {
        clearTimeout(timer);
        proxy.close();
      });
    },
    closed,
  };
}

function newState(handlers: ChannelHandlers): State {
  return {
    handlers,
    remote: 0,
    remoteWindow: 0,
    remotePacket: PACKET_BYTES,
    taken: 0,
    answers: [],
    queue: [],
    ending: false,
    closing: false,
    over: false,
    end: { status: undefined, signal: undefined },
    refusal: undefined,
    opened: Promise.withResolvers(),
    closed: Promise.withResolvers(),
  };
}

function channelOf(proxy: Proxy, channel: State): Channel {
  const ask = (wantReply: boolean, type: string, payload: readonly Uint8Array[]): void =>
    proxy.send(u8(REQUEST), u32(channel.remote), string(type), u8(wantReply ? 1 : 0), ...payload);
  return {
    request: (type, ...payload) =>
      new Promise((resolve) => {
        if (channel.over || channel.closing) return resolve(false);
        channel.answers.push(resolve);
        ask(true, type, payload);
      }),
    notify: (type, ...payload) => {
      if (!channel.over && !channel.closing) ask(false, type, payload);
    },
    write: (data) =>
      new Promise((resolve) => {
        if (channel.over || channel.ending || channel.closing || data.byteLength === 0) return resolve();
        channel.queue.push({ data, done: resolve });
        flush(proxy, channel);
      }),
    end: () => {
      if (channel.over || channel.ending || channel.closing) return;
      channel.ending = true;
      flush(proxy, channel);
    },
    close: () => {
      if (!channel.over) sendClose(proxy, channel);
    },
    closed: channel.closed.promise,
  };
}

function flush(proxy: Proxy, channel: State): void {
  for (let next = channel.queue[0]; next !== undefined; next = channel.queue[0]) {
    const size = Math.min(next.data.byteLength, channel.remoteWindow, channel.remotePacket);
    if (size === 0) return;
    proxy.send(u8(DATA), u32(channel.remote), string(next.data.subarray(0, size)));
    channel.remoteWindow -= size;
    if (size < next.data.byteLength) {
      next.data = next.data.subarray(size);
      continue;
    }
    channel.queue.shift();
    next.done();
  }
  if (channel.ending && !channel.closing) proxy.send(u8(EOF), u32(channel.remote));
}

function sendClose(proxy: Proxy, channel: State): void {
  if (channel.closing) return;
  channel.closing = true;
  proxy.send(u8(CLOSE), u32(channel.remote));
}

function finish(channel: State, end: ChannelEnd | undefined): void {
  channel.over = true;
  channel.opened.resolve(false);
  for (const answer of channel.answers.splice(0)) answer(false);
  for (const { done } of channel.queue.splice(0)) done();
  channel.closed.resolve(end);
}

function receive(proxy: Proxy, channels: Map<number, State>, packet: Uint8Array): void {
  const reader = readerOf(packet);
  const type = reader.u8();
  // Global requests are answered by the master; whatever else has no channel is not for us.
  if (type < OPEN_CONFIRMATION || type > FAILURE) return;
  const id = reader.u32();
  const channel = channels.get(id);
  if (channel === undefined) return;
  switch (type) {
    case OPEN_CONFIRMATION:
      channel.remote = reader.u32();
      channel.remoteWindow = reader.u32();
      channel.remotePacket = reader.u32();
      return channel.opened.resolve(true);
    case OPEN_FAILURE:
      channels.delete(id);
      channel.refusal = { reason: reader.u32(), text: reader.text() };
      return finish(channel, undefined);
    case WINDOW_ADJUST:
      channel.remoteWindow += reader.u32();
      if (channel.queue.length > 0) flush(proxy, channel);
      return;
    case DATA:
      return handOn(proxy, channel, reader.bytes(), "stdout");
    case EXTENDED_DATA: {
      const stream = reader.u32();
      const data = reader.bytes();
      return stream === STDERR ? handOn(proxy, channel, data, "stderr") : credit(proxy, channel, data.byteLength);
    }
    case EOF:
      return channel.handlers.onEof?.();
    case SUCCESS:
    case FAILURE:
      return channel.answers.shift()?.(type === SUCCESS);
    case REQUEST:
      return onRequest(proxy, channel, reader);
    case CLOSE:
      sendClose(proxy, channel);
      channels.delete(id);
      return finish(channel, channel.end);
    default:
  }
}

function onRequest(proxy: Proxy, channel: State, reader: Reader): void {
  const kind = reader.text();
  const wantsReply = reader.u8() !== 0;
  if (kind === "exit-status") channel.end.status = reader.u32();
  else if (kind === "exit-signal") channel.end.signal = reader.text();
  // "keepalive@openssh.com" is answered by a refusal: that it is answered is all that is asked.
  if (wantsReply) proxy.send(u8(FAILURE), u32(channel.remote));
  if (kind === "exit-status" || kind === "exit-signal") channel.handlers.onExit?.({ ...channel.end });
}

function handOn(proxy: Proxy, channel: State, data: Uint8Array, stream: Stream): void {
  const taken = channel.handlers.onData(data, stream);
  if (taken instanceof Promise) {
    const done = (): void => credit(proxy, channel, data.byteLength);
    void taken.then(done, done);
  } else {
    credit(proxy, channel, data.byteLength);
  }
}

function credit(proxy: Proxy, channel: State, sizeBytes: number): void {
  channel.taken += sizeBytes;
  if (channel.taken < WINDOW_BYTES / 2 || channel.over || channel.closing) return;
  proxy.send(u8(WINDOW_ADJUST), u32(channel.remote), u32(channel.taken));
  channel.taken = 0;
}
