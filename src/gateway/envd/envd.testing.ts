/**
 * One sandbox behind a listener, as the unmodified clients of E2B want it: create and connect answer with it, everything else goes to the
 * data plane.
 */
import { Sandbox as CodeSandbox } from "@e2b/code-interpreter";
import * as z from "zod";
import type { Guest } from "../../guest/index.ts";
import type { Sandbox, Session } from "../types.ts";
import { messageEnvelope } from "./envelope.ts";
import { ENVD_VERSION, type EnvdOptions, openEnvd } from "./index.ts";

const SANDBOX: Sandbox = {
  id: "sandboxfortests00000",
  tenant: "tests",
  template: "loopback",
  pool: "loopback",
  entry: "loopback-1",
  alias: undefined,
  state: "running",
  metadata: {},
  environment: { FROM_SANDBOX: "sandbox", BOTH: "sandbox" },
  envdAccessToken: "token-of-the-tests",
  trafficAccessToken: "traffic-of-the-tests",
  startedAtMs: 0,
  endAtMs: undefined,
  timeoutMs: 300_000,
  lifecycle: { onTimeout: "kill", autoResume: false },
  policy: { allowInternetAccess: false, allowOut: [], denyOut: [] },
  cpuCount: 1,
  memoryMiB: 256,
  diskMiB: 1024,
};

export interface ServedEnvd {
  readonly url: string;
  readonly session: Session;
  /** The sandbox is killed: everything that waits on it ends. */
  kill(reason?: unknown): void;
  sandbox(): Promise<CodeSandbox>;
  close(): Promise<void>;
}

/** One call whose answer is one document. */
export async function callUnary(
  { url }: ServedEnvd,
  method: string,
  message: object | string,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ readonly status: number; readonly document: Record<string, unknown> }> {
  const response = await fetch(`${url}/${method}`, {
    method: "POST",
    headers: { "content-type": "application/json", "connect-protocol-version": "1", ...headers },
    body: typeof message === "string" ? message : JSON.stringify(message),
  });
  return { status: response.status, document: z.record(z.string(), z.unknown()).parse(await response.json()) };
}

export interface Envelope {
  readonly flags: number;
  readonly document: Record<string, unknown>;
}

/** A call whose answer is a stream, read by hand: what a client sees, envelope by envelope. */
export async function callStream(
  { url }: Pick<ServedEnvd, "url">,
  method: string,
  body: Uint8Array<ArrayBuffer> | object,
  options: { readonly headers?: Readonly<Record<string, string>>; readonly signal?: AbortSignal } = {},
): Promise<AsyncIterableIterator<Envelope>> {
  const response = await fetch(`${url}/${method}`, {
    method: "POST",
    headers: { "content-type": "application/connect+json", "connect-protocol-version": "1", ...options.headers },
    body: body instanceof Uint8Array ? body : messageEnvelope(body),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  if (response.status !== 200 || response.body === null) throw new Error(`${response.status}: ${await response.text()}`);
  return envelopesOf(response.body);
}

async function* envelopesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Envelope, void> {
  let kept = Buffer.alloc(0);
  for await (const chunk of body) {
    kept = Buffer.concat([kept, chunk]);
    while (kept.byteLength >= 5 && kept.byteLength >= 5 + kept.readUInt32BE(1)) {
      const end = 5 + kept.readUInt32BE(1);
      const document = z.record(z.string(), z.unknown()).parse(JSON.parse(kept.subarray(5, end).toString()));
      yield { flags: kept[0] ?? 0, document };
      kept = kept.subarray(end);
    }
  }
  if (kept.byteLength > 0) throw new Error("the stream ended in the middle of an envelope");
}

export async function allOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export async function serveEnvd(guest: Guest, options: EnvdOptions = {}): Promise<ServedEnvd> {
  const killed = new AbortController();
  const session: Session = { sandbox: SANDBOX, guest, ended: killed.signal };
  const faults: unknown[] = [];
  const envd = openEnvd({ onFault: (error) => faults.push(error), ...options });

  const route = async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url);
    if (pathname === "/health") return new Response(null, { status: killed.signal.aborted ? 502 : 204 });
    if (pathname === "/v2/sandboxes" || /^\/v2\/sandboxes\/\w+\/connect$/.test(pathname)) {
      const { id, template, envdAccessToken, trafficAccessToken } = SANDBOX;
      const document = {
        sandboxID: id,
        templateID: template,
        clientID: "garth",
        envdVersion: ENVD_VERSION,
        envdAccessToken,
        trafficAccessToken,
      };
      return Response.json(document, { status: 201 });
    }
    if (pathname.startsWith("/process.") || pathname.startsWith("/filesystem.")) return await envd.connect(request, session);
    if (pathname === "/files") return await envd.files(request, session);
    if (pathname === "/execute" || pathname.startsWith("/contexts")) return await envd.interpreter(request, session);
    return Response.json({ code: 404, message: "not found" }, { status: 404 });
  };

  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    fetch: route,
  });
  const url = `http://127.0.0.1:${server.port}`;
  return {
    url,
    session,
    kill: (reason) => killed.abort(reason),
    sandbox: async () => await CodeSandbox.create({ apiUrl: url, sandboxUrl: url, apiKey: "e2b_0123456789abcdef" }),
    close: async () => {
      await envd.close();
      await server.stop(true);
      if (faults.length > 0) throw new AggregateError(faults, `faults of the data plane: ${faults.map(String).join("; ")}`);
    },
  };
}
