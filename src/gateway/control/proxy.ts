/**
 * A server inside a sandbox, asked from outside: HTTP/1.1, one connection for each request, both bodies as they come. What asks for a
 * WebSocket gets one (websocket.ts); there are no other upgrades.
 *
 * What authenticates to the gateway stays here: the guest gets to see neither the API key nor the tokens of the sandbox.
 */
import { request as httpRequest, type IncomingMessage } from "node:http";
import { type Duplex, Readable } from "node:stream";
import type { Guest } from "../../guest/index.ts";
import { dial } from "./dial.ts";
import { Refusal } from "./refusal.ts";
import type { Peer } from "./types.ts";
import { bridge, isWebSocket, type SocketPlace } from "./websocket.ts";

/** RFC 9110, 7.6.1, and what is between the client and the gateway alone. */
const NOT_PASSED_ON: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "x-api-key",
  "x-access-token",
  "e2b-sandbox-id",
  "e2b-sandbox-port",
  "e2b-traffic-access-token",
]);

/** Without those that the Connection header names. */
function passedOn(pairs: Iterable<readonly [string, string]>): readonly (readonly [string, string])[] {
  const all = [...pairs];
  const named = all.flatMap(([name, value]) => (name.toLowerCase() === "connection" ? value.toLowerCase().split(",") : []));
  const hops = new Set(named.map((name) => name.trim()));
  return all.filter(([name]) => !NOT_PASSED_ON.has(name.toLowerCase()) && !hops.has(name.toLowerCase()));
}

function pairsOf(raw: readonly string[]): readonly (readonly [string, string])[] {
  return raw.flatMap((name, index) => (index % 2 === 0 ? [[name, raw[index + 1] ?? ""] as const] : []));
}

export interface Asked {
  readonly request: Request;
  readonly url: URL;
  readonly port: number;
  readonly maskRequestHost: string | undefined;
  /** The sandbox's end: the connection goes with it. */
  readonly ended: AbortSignal;
  /** Who asks, and where sockets are. */
  readonly peer: Peer | undefined;
  readonly sockets: SocketPlace;
  /** The gateway's end. WebSockets go with it; answers that are under way are the listener's affair. */
  readonly closing: AbortSignal;
}

/** `onClosed` is told when the connection is gone that was opened for it. @throws Refusal 400, 501, 502 */
export async function forwardTo(guest: Guest, asked: Asked, onClosed: () => void): Promise<Response> {
  const { request, port, ended } = asked;
  const socket = isWebSocket(request);
  if (request.headers.has("upgrade") && !socket)
    throw new Refusal(501, "connections to sandboxes become WebSockets and nothing else");
  const refuse = (cause: unknown): Refusal => new Refusal(502, `nothing answers on port ${port} of the sandbox`, {}, { cause });
  let connection: Duplex;
  try {
    connection = await dial(guest, port);
    const end = (): void => void connection.destroy();
    ended.addEventListener("abort", end);
    connection.once("close", () => {
      ended.removeEventListener("abort", end);
      onClosed();
    });
    if (ended.aborted) end();
  } catch (error) {
    throw refuse(error);
  }
  if (socket) {
    const wanted = { path: pathOf(asked.url), headers: headersOf(asked), port, closing: asked.closing, gone: request.signal };
    return await bridge(connection, wanted, asked.sockets, asked.peer);
  }
  try {
    const answer = await ask(connection, asked);
    const headers = new Headers();
    for (const [name, value] of passedOn(pairsOf(answer.rawHeaders))) headers.append(name, value);
    const status = answer.statusCode ?? 502;
    const empty = request.method === "HEAD" || status === 204 || status === 304;
    if (empty) connection.destroy();
    return new Response(empty ? null : bodyOf(answer, connection), { status, statusText: answer.statusMessage ?? "", headers });
  } catch (error) {
    connection.destroy();
    throw refuse(error);
  }
}

function pathOf(url: URL): string {
  return `${url.pathname}${url.search}`;
}

/** What the server is told. */
function headersOf({ request, port, maskRequestHost }: Pick<Asked, "request" | "port" | "maskRequestHost">) {
  const headers: Record<string, string> = Object.fromEntries(passedOn(request.headers));
  if (maskRequestHost !== undefined) headers["host"] = maskRequestHost.replaceAll("${PORT}", String(port));
  return headers;
}

function ask(connection: Duplex, asked: Asked): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { method, body, signal } = asked.request;
    const options = { method, path: pathOf(asked.url), headers: { ...headersOf(asked), connection: "close" } };
    const outgoing = httpRequest({ ...options, createConnection: () => connection }, resolve);
    outgoing.on("error", reject);
    connection.once("error", reject);
    for (const over of ["end", "close"]) connection.once(over, () => reject(new Error("it ended without an answer")));
    // The client went away: so does the connection.
    signal.addEventListener("abort", () => connection.destroy(), { once: true });
    if (body === null) outgoing.end();
    else Readable.fromWeb(body).on("error", reject).pipe(outgoing);
  });
}

/** Whoever stops reading ends the connection. */
function bodyOf(answer: IncomingMessage, connection: Duplex): ReadableStream<Uint8Array> {
  const chunks = answer[Symbol.asyncIterator]();
  // Heard by whoever reads; there may be nobody at that moment.
  answer.on("error", () => undefined);
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      try {
        const { done, value } = await chunks.next();
        if (done === true) {
          controller.close();
          connection.destroy();
        } else controller.enqueue(new Uint8Array(Buffer.from(value)));
      } catch (error) {
        connection.destroy();
        controller.error(error);
      }
    },
    cancel: () => {
      answer.destroy();
      connection.destroy();
    },
  });
}
