/**
 * The Connect protocol, version 1, with its JSON codec alone: from a request to a method and back.
 * https://connectrpc.com/docs/protocol. No compression, no GET, no trailers: clients of sandboxes use none of them.
 */
import * as z from "zod";
import { bodyChunks, mediaType, readBody } from "./body.ts";
import { RpcError, rpcErrorOf, unavailable } from "./codes.ts";
import { endEnvelope, envelopeReader, messageEnvelope, parseMessage } from "./envelope.ts";
import type { Limits } from "./limits.ts";
import { openOutlet, type Outlet } from "./outlet.ts";
import type { SessionState } from "./state.ts";

const UNARY = "application/json";
const STREAM = "application/connect+json";
const TIMEOUT_MAX_DIGITS = 10;
/** 25 days: a timer of more than 31 bits fires at once. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** What a method knows of its call. */
export interface Call {
  readonly state: SessionState;
  /** Of the unix user that acts, from `Authorization: Basic`; undefined: the default one. */
  readonly user: string | undefined;
  /** Connect-Timeout-Ms; undefined: none. */
  readonly timeoutMs: number | undefined;
}

export type Method =
  | { readonly kind: "unary"; readonly call: (call: Call, message: unknown) => Promise<object> }
  | {
      readonly kind: "server-stream";
      /** The time limit ends the answer ("stream"), or is what the method makes of it ("own"). */
      readonly deadline: "stream" | "own";
      readonly keepalive: object;
      readonly call: (call: Call, message: unknown, outlet: Outlet) => Promise<void>;
    }
  | { readonly kind: "client-stream"; readonly call: (call: Call, messages: AsyncIterable<unknown>) => Promise<object> };

/** By path: "/process.Process/Start". */
export type Methods = Readonly<Record<string, Method>>;

/** @throws RpcError invalid_argument that names the field */
export function parsed<T>(schema: z.ZodType<T>, message: unknown): T {
  const result = schema.safeParse(message);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? "message" : issue.path.join(".");
  throw new RpcError("invalid_argument", `unmarshal message: ${where}: ${issue?.message ?? "not valid"}`);
}

/** The user of `Authorization: Basic`; clients send no password. undefined: none is named. */
export function basicUser(header: string | null): string | undefined {
  const [, encoded] = /^basic\s+(\S+)$/i.exec(header ?? "") ?? [];
  if (encoded === undefined) return undefined;
  const [user] = Buffer.from(encoded, "base64").toString().split(":", 1);
  return user === undefined || user === "" ? undefined : user;
}

function timeoutOf(header: string | null): number | undefined {
  if (header === null) return undefined;
  if (!/^\d+$/.test(header) || header.length > TIMEOUT_MAX_DIGITS) {
    throw new RpcError("invalid_argument", `protocol error: invalid timeout ${JSON.stringify(header)}`);
  }
  return Number(header) === 0 ? undefined : Math.min(Number(header), TIMER_MAX_MS);
}

function keepaliveOf(header: string | null, limits: Limits): number {
  if (header === null || !/^\d{1,5}$/.test(header) || Number(header) === 0) return limits.keepaliveMs;
  return Number(header) * 1000;
}

function callOf(request: Request, state: SessionState): Call {
  if (state.ended) throw unavailable(state.session.ended.reason);
  const version = request.headers.get("connect-protocol-version");
  if (version !== null && version !== "1") {
    throw new RpcError("invalid_argument", `connect-protocol-version must be "1": got ${JSON.stringify(version)}`);
  }
  for (const name of ["content-encoding", "connect-content-encoding"]) {
    const encoding = request.headers.get(name) ?? "identity";
    if (encoding !== "identity" && encoding !== "") {
      throw new RpcError("unimplemented", `unknown compression ${JSON.stringify(encoding)}: supported encodings are identity`);
    }
  }
  return {
    state,
    user: basicUser(request.headers.get("authorization")),
    timeoutMs: timeoutOf(request.headers.get("connect-timeout-ms")),
  };
}

function failureOf(state: SessionState, error: unknown): RpcError {
  const failure = rpcErrorOf(error);
  if (failure.code === "internal" && failure.cause !== undefined) state.onFault(failure.cause);
  return failure;
}

function unaryError(error: RpcError): Response {
  return Response.json(error.document, { status: error.status });
}

function streamResponse(body: ReadableStream<Uint8Array<ArrayBuffer>> | Uint8Array<ArrayBuffer>): Response {
  return new Response(body, { headers: { "content-type": STREAM } });
}

function timedOut(): RpcError {
  return new RpcError("deadline_exceeded", "the operation timed out");
}

/** The call's own end, its time limit's, or its sandbox's: whichever comes first. */
async function bounded<T>(call: Call, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const ended = call.state.session.ended;
  const onEnded = () => reject(unavailable(ended.reason));
  const timer = call.timeoutMs === undefined ? undefined : setTimeout(() => reject(timedOut()), call.timeoutMs);
  ended.addEventListener("abort", onEnded);
  if (ended.aborted) onEnded();
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
    ended.removeEventListener("abort", onEnded);
  }
}

async function unary(request: Request, state: SessionState, method: Method & { kind: "unary" }): Promise<Response> {
  try {
    const call = callOf(request, state);
    const message = parseMessage(await readBody(request, state.limits.messageMaxBytes));
    return Response.json(await bounded(call, method.call(call, message)));
  } catch (error) {
    return unaryError(failureOf(state, error));
  }
}

/** The one message of a request whose answer is a stream. */
async function oneMessage(request: Request, maxBytes: number): Promise<unknown> {
  const messages: unknown[] = [];
  for await (const message of requestMessages(request, maxBytes)) {
    messages.push(message);
    if (messages.length > 1) break;
  }
  if (messages.length !== 1) {
    throw new RpcError(
      "unimplemented",
      `protocol error: the request has ${messages.length === 0 ? "no message" : "more than one message"}`,
    );
  }
  return messages[0];
}

async function* requestMessages(request: Request, maxBytes: number, totalMaxBytes = maxBytes + 1024): AsyncGenerator<unknown> {
  const reader = envelopeReader(maxBytes);
  for await (const chunk of bodyChunks(request, totalMaxBytes)) yield* reader.push(chunk);
  reader.end();
}

function serverStream(request: Request, state: SessionState, method: Method & { kind: "server-stream" }): Response {
  const outlet = openOutlet({
    last: endEnvelope,
    keepalive: {
      everyMs: keepaliveOf(request.headers.get("keepalive-ping-interval"), state.limits),
      frame: () => messageEnvelope(method.keepalive),
    },
    stallMs: state.limits.stallMs,
  });
  state.track(outlet);
  const run = async () => {
    const call = callOf(request, state);
    if (method.deadline === "stream" && call.timeoutMs !== undefined) {
      const timer = setTimeout(() => outlet.end(timedOut()), call.timeoutMs);
      void outlet.closed.then(() => clearTimeout(timer));
    }
    const message = await oneMessage(request, state.limits.messageMaxBytes);
    await method.call(call, message, outlet);
  };
  // The answer has begun: what goes wrong from here on stands in its last envelope.
  void run().catch((error: unknown) => outlet.end(failureOf(state, error)));
  return streamResponse(outlet.body);
}

async function clientStream(
  request: Request,
  state: SessionState,
  method: Method & { kind: "client-stream" },
): Promise<Response> {
  try {
    const call = callOf(request, state);
    const messages = requestMessages(request, state.limits.messageMaxBytes, Number.MAX_SAFE_INTEGER);
    const answer = await bounded(call, method.call(call, messages));
    return streamResponse(new Uint8Array(Buffer.concat([messageEnvelope(answer), endEnvelope()])));
  } catch (error) {
    return streamResponse(endEnvelope(failureOf(state, error)));
  }
}

export async function serveRpc(request: Request, state: SessionState, methods: Methods): Promise<Response> {
  const path = new URL(request.url).pathname;
  if (request.method !== "POST") {
    return new Response("a call is a POST\n", { status: 405, headers: { allow: "POST" } });
  }
  const method = Object.hasOwn(methods, path) ? methods[path] : undefined;
  const type = mediaType(request);
  if (method === undefined) {
    const error = new RpcError("unimplemented", `there is no method ${path}`);
    return type === STREAM ? streamResponse(endEnvelope(error)) : unaryError(error);
  }
  const wanted = method.kind === "unary" ? UNARY : STREAM;
  if (type !== wanted) {
    return new Response(`${path} takes ${wanted}\n`, { status: 415, headers: { "accept-post": wanted } });
  }
  switch (method.kind) {
    case "unary":
      return await unary(request, state, method);
    case "server-stream":
      return serverStream(request, state, method);
    case "client-stream":
      return await clientStream(request, state, method);
  }
}
