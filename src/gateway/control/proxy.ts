/**
 * A server inside a sandbox, asked from outside: HTTP/1.1, one connection for each request, both bodies as they come. No upgrades
 * (WebSockets).
 *
 * What authenticates to the gateway stays here: the guest gets to see neither the API key nor the tokens of the sandbox.
 */
import { request as httpRequest, type IncomingMessage } from "node:http";
import { type Duplex, Readable } from "node:stream";
import type { Guest } from "../../guest/index.ts";
import { dial } from "./dial.ts";
import { Refusal } from "./refusal.ts";

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
}

/** `onClosed` is told when the connection is gone that was opened for it. @throws Refusal 501, 502 */
export async function forwardTo(guest: Guest, asked: Asked, onClosed: () => void): Promise<Response> {
  const { request, port, ended } = asked;
  if (request.headers.has("upgrade")) throw new Refusal(501, "connections to sandboxes are not upgraded");
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

function ask(connection: Duplex, { request, url, port, maskRequestHost }: Omit<Asked, "ended">): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers: Record<string, string> = Object.fromEntries(passedOn(request.headers));
    if (maskRequestHost !== undefined) headers["host"] = maskRequestHost.replaceAll("${PORT}", String(port));
    const { method, body, signal } = request;
    const options = { method, path: `${url.pathname}${url.search}`, headers: { ...headers, connection: "close" } };
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
