/**
 * A server inside a sandbox, asked from outside: HTTP/1.1, both bodies as they come. No upgrades (WebSockets).
 *
 * What authenticates to the gateway stays here: the guest gets to see neither the API key nor the tokens of the sandbox.
 */
import type { Guest } from "../../guest/index.ts";
import { Refusal } from "./refusal.ts";

/** Lets this process reach a port that is listened to on the guest's loopback. @throws Problem of the connection */
export type Forward = (guest: Guest, port: number) => Promise<{ readonly address: string; readonly port: number }>;

/** RFC 9110, 7.6.1, and what is between the client and the gateway alone. */
const NOT_PASSED_ON: readonly string[] = [
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
];

function passedOn(headers: Headers): Headers {
  const passed = new Headers(headers);
  const named = (headers.get("connection") ?? "").split(",").map((name) => name.trim().toLowerCase());
  for (const name of [...NOT_PASSED_ON, ...named]) if (/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(name)) passed.delete(name);
  return passed;
}

export async function forwardTo(
  forward: Forward,
  guest: Guest,
  port: number,
  request: Request,
  url: URL,
  maskRequestHost: string | undefined,
): Promise<Response> {
  if (request.headers.has("upgrade")) throw new Refusal(501, "connections to sandboxes are not upgraded");
  const there = await forward(guest, port);
  const headers = passedOn(request.headers);
  if (maskRequestHost !== undefined) headers.set("host", maskRequestHost.replaceAll("${PORT}", String(port)));
  try {
    const response = await fetch(`http://${there.address}:${there.port}${url.pathname}${url.search}`, {
      method: request.method,
      headers,
      ...(request.body === null ? {} : { body: request.body, duplex: "half" }),
      redirect: "manual",
      // The client gets what the server sent, compressed as it was.
      decompress: false,
      signal: request.signal,
    });
    return new Response(response.body, {
      status: response.status,
      statusText: response.statusText,
      headers: passedOn(response.headers),
    });
  } catch (error) {
    if (request.signal.aborted) throw error;
    throw new Refusal(502, `nothing answers on port ${port} of the sandbox`, {}, { cause: error });
  }
}
