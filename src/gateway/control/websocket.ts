/**
 * A WebSocket of a server inside a sandbox: two of the runtime's, back to back, one before the client and one before the server.
 *
 *     client's request ──► connection to the port ──► server's 101 ──► client's 101 ──► messages both ways ──► closed, and the other too
 *                              └── 502                    └── 502
 *
 * The runtime's own client speaks to a socket of the file system: there is one for each connection, taken once, and gone before the first
 * message. What the server says before the client is there waits. Who does not take what he is sent is cut off.
 */
import { createServer } from "node:net";
import type { Duplex } from "node:stream";
import { isErrno, type Host } from "../../host/index.ts";
import { Refusal } from "./refusal.ts";
import type { ClientSocket, Peer } from "./types.ts";

/** sun_path, with its end. */
const PATH_MAX_BYTES = 104;
/** On its way to either side; more, and the connection is cut. */
const WAITING_MAX_BYTES = 16 * 1024 ** 2;
/** RFC 6455, 7.4.1: what is told to neither side, for it says that nothing was told. */
const UNSPOKEN: ReadonlySet<number> = new Set([1004, 1005, 1006, 1015]);
const GOING_AWAY = 1001;
const TOO_BIG = 1009;
const PREFIX = "ws-";

export function isWebSocket(request: Request): boolean {
  return request.method === "GET" && request.headers.get("upgrade")?.toLowerCase() === "websocket";
}

export interface SocketPlace {
  readonly host: Host;
  /** Of a short path. */
  readonly directory: string;
  readonly random: (sizeBytes: number) => Uint8Array;
}

/** Sockets that a process left which was killed. */
export function removeLeftSockets({ host, directory }: Pick<SocketPlace, "host" | "directory">): void {
  if (!host.files.exists(directory)) return;
  for (const bytes of host.files.list(directory)) {
    const name = Buffer.from(bytes).toString();
    if (name.startsWith(PREFIX)) host.files.unlink(`${directory}/${name}`);
  }
}

export interface Wanted {
  /** "/chat?room=1" */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly port: number;
  /** Both ends go with it. */
  readonly closing: AbortSignal;
  /** The client's, as long as it has no WebSocket. */
  readonly gone: AbortSignal;
}

/** Takes the connection over. @throws Refusal 400, 501, 502 */
export async function bridge(connection: Duplex, wanted: Wanted, place: SocketPlace, peer: Peer | undefined): Promise<Response> {
  const { port, closing, gone } = wanted;
  const destroy = (): void => void connection.destroy();
  closing.addEventListener("abort", destroy);
  gone.addEventListener("abort", destroy);
  connection.once("close", () => closing.removeEventListener("abort", destroy));
  try {
    if (peer?.upgrade === undefined) throw new Refusal(501, "WebSockets are not offered here");
    const server = await openServer(connection, wanted, place);
    const client = clientEnd(server);
    connection.once("close", () => server.close());
    gone.removeEventListener("abort", destroy);
    const headers = server.protocol === "" ? {} : { "Sec-WebSocket-Protocol": server.protocol };
    if (closing.aborted || !peer.upgrade(client, headers))
      throw new Refusal(400, "the request asks for no WebSocket as RFC 6455 has it");
    return new Response(null, { status: 101 });
  } catch (error) {
    connection.destroy();
    if (error instanceof Refusal) throw error;
    throw new Refusal(502, `nothing answers on port ${port} of the sandbox`, {}, { cause: error });
  }
}

interface ServerEnd {
  readonly protocol: string;
  /** What it said until now, and whatever comes. */
  listen(to: { message(data: string | Buffer): void; closed(code: number, reason: string): void }): void;
  send(data: string | Uint8Array): void;
  close(code?: number, reason?: string): void;
}

/** Settles when the server has agreed. */
async function openServer(connection: Duplex, { path, headers }: Wanted, place: SocketPlace): Promise<ServerEnd> {
  const file = await listenOnce(connection, place);
  const { "sec-websocket-protocol": protocols, ...rest } = headers;
  const passed = Object.fromEntries(Object.entries(rest).filter(([name]) => !name.startsWith("sec-websocket-")));
  const socket = new WebSocket(`ws+unix://${file}:${path}`, {
    headers: passed,
    ...(protocols !== undefined && { protocols: protocols.split(",").map((name) => name.trim()) }),
  });
  socket.binaryType = "nodebuffer";
  const early: (string | Buffer)[] = [];
  let message = (data: string | Buffer): void => void early.push(data);
  let end: readonly [number, string] | undefined;
  let closed = (code: number, reason: string): void => void (end = [code, reason]);
  socket.addEventListener("message", ({ data }: { data: string | Buffer }) => message(data));
  socket.addEventListener("close", ({ code, reason }) => {
    connection.destroy();
    closed(code, reason);
  });
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener("open", () => resolve());
    socket.addEventListener("error", () => reject(new Error("the server does not agree")));
    socket.addEventListener("close", () => reject(new Error("the server does not agree")));
  });
  return {
    protocol: socket.protocol,
    listen: (to) => {
      for (const data of early.splice(0)) to.message(data);
      message = to.message;
      closed = to.closed;
      if (end !== undefined) to.closed(...end);
    },
    send: (data) => {
      socket.send(data);
      if (socket.bufferedAmount > WAITING_MAX_BYTES) connection.destroy();
    },
    close: (code, reason) => {
      if (socket.readyState === WebSocket.CLOSED) return;
      if (code === undefined || UNSPOKEN.has(code)) socket.close();
      else socket.close(code, reason);
    },
  };
}

/** A socket whose first connection is this one. Its name is gone as soon as it is taken. */
async function listenOnce(connection: Duplex, { host, directory, random }: SocketPlace): Promise<string> {
  host.files.makeDirectory(directory, { parents: true, mode: 0o700 });
  const file = `${directory}/${PREFIX}${Buffer.from(random(8)).toString("hex")}`;
  if (Buffer.byteLength(file) >= PATH_MAX_BYTES) throw new Refusal(501, "WebSockets need a root with a shorter path");
  const remove = (): void => {
    try {
      host.files.unlink(file);
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
  };
  const listener = createServer({ allowHalfOpen: true }, (socket) => {
    listener.close();
    remove();
    socket.on("error", () => connection.destroy());
    connection.once("close", () => socket.destroy());
    socket.pipe(connection);
    connection.pipe(socket);
  });
  connection.once("close", () => {
    listener.close();
    remove();
  });
  await new Promise<void>((resolve, reject) => {
    listener.once("error", reject);
    listener.listen(file, () => resolve());
  });
  return file;
}

/** What the listener tells of the client. */
function clientEnd(server: ServerEnd): Parameters<NonNullable<Peer["upgrade"]>>[0] {
  return {
    open: (client: ClientSocket) =>
      server.listen({
        message: (data) => {
          if (!client.send(data)) {
            client.close(TOO_BIG, "too much waits for you");
            server.close(GOING_AWAY);
          }
        },
        closed: (code, reason) => (UNSPOKEN.has(code) ? client.close(GOING_AWAY) : client.close(code, reason)),
      }),
    message: server.send,
    closed: server.close,
  };
}
