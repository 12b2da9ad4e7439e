/**
 * /execute and /contexts: the code interpreter. Refusals are text, as its clients show them; an execution is lines of JSON that ends with
 * {"type":"end_of_execution"}, or is cut where the sandbox went: a client takes an end for a success.
 */
import * as z from "zod";
import { Problem } from "../../base/index.ts";
import { readBody } from "./body.ts";
import { unavailable } from "./codes.ts";
import { type Contexts, openContexts } from "./contexts.ts";
import { HttpError, httpErrorOf } from "./http-error.ts";
import { openOutlet } from "./outlet.ts";
import type { SessionState } from "./state.ts";

const CONTEXTS = Symbol("contexts");
/** Idle connections are cut by what stands between; clients wait in silence for as long as a cell runs. */
const KEEPALIVE_MS = 15_000;

const noNul = (text: string) => !text.includes("\0");
const executeRequest = z.object({
  code: z.string(),
  context_id: z.string().nullish(),
  language: z.string().nullish(),
  env_vars: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string().refine(noNul)).nullish(),
});
const contextRequest = z.object({ language: z.string().nullish(), cwd: z.string().nullish() });

function contextsOf(state: SessionState): Contexts {
  return state.part(CONTEXTS, () => openContexts(state));
}

const encoder = new TextEncoder();
const line = (document: object): Uint8Array<ArrayBuffer> => encoder.encode(`${JSON.stringify(document)}\n`);

async function jsonBody<T>(request: Request, state: SessionState, schema: z.ZodType<T>): Promise<T> {
  const bytes = await readBody(request, state.limits.messageMaxBytes);
  let document: unknown;
  try {
    document = bytes.byteLength === 0 ? {} : JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new HttpError(400, `the body is not JSON: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  const result = schema.safeParse(document);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new HttpError(400, `${issue?.path.join(".") ?? "body"}: ${issue?.message ?? "not valid"}`);
}

async function execute(request: Request, state: SessionState): Promise<Response> {
  const { code, context_id: id, language, env_vars: env } = await jsonBody(request, state, executeRequest);
  if (id !== null && id !== undefined && language !== null && language !== undefined) {
    throw new HttpError(400, "Only one of context_id or language can be provided");
  }
  const outlet = openOutlet({
    last: (error) => (error === undefined ? line({ type: "end_of_execution" }) : undefined),
    keepalive: { everyMs: KEEPALIVE_MS, frame: () => line({ type: "keepalive" }) },
    stallMs: state.limits.stallMs,
  });
  const abandoned = new AbortController();
  void outlet.closed.then(() => abandoned.abort());
  const cell = {
    code,
    env: env ?? {},
    onEvent: (event: object) => {
      outlet.send(line(event));
      return outlet.drained();
    },
    onEnd: (how: "done" | "lost") => (how === "done" ? outlet.end() : outlet.end(unavailable(undefined))),
    abandoned: abandoned.signal,
  };
  try {
    await contextsOf(state).execute({ id: id ?? undefined, language: language ?? undefined }, cell);
  } catch (error) {
    outlet.end();
    await outlet.body.cancel();
    throw error;
  }
  state.track(outlet);
  return new Response(outlet.body, { headers: { "content-type": "application/x-ndjson" } });
}

async function create(request: Request, state: SessionState): Promise<Response> {
  const { language, cwd } = await jsonBody(request, state, contextRequest);
  try {
    return Response.json(await contextsOf(state).create(language ?? undefined, cwd ?? undefined));
  } catch (error) {
    if (error instanceof Problem && error.code === "E_NO_DIRECTORY")
      throw new HttpError(400, `cwd '${cwd ?? ""}' does not exist`, { cause: error });
    throw error;
  }
}

async function route(request: Request, state: SessionState): Promise<Response> {
  const [first, id, verb, ...rest] = new URL(request.url).pathname.split("/").slice(1);
  const key = `${request.method} ${[first, id === undefined ? undefined : "*", verb].filter((part) => part !== undefined).join("/")}`;
  if (rest.length === 0) {
    switch (key) {
      case "POST execute":
        return await execute(request, state);
      case "GET contexts":
        return Response.json(contextsOf(state).list());
      case "POST contexts":
        return await create(request, state);
      case "DELETE contexts/*":
        await contextsOf(state).remove(id ?? "");
        return new Response(null, { status: 204 });
      case "POST contexts/*/restart":
        await contextsOf(state).restart(id ?? "");
        return new Response(null, { status: 204 });
      default:
    }
  }
  throw new HttpError(404, "there is no such route");
}

export async function serveInterpreter(request: Request, state: SessionState): Promise<Response> {
  try {
    if (state.ended) throw new HttpError(502, unavailable(state.session.ended.reason).message);
    return await route(request, state);
  } catch (error) {
    const failure = httpErrorOf(error);
    if (failure.status === 500) state.onFault(failure.cause);
    return new Response(failure.message, { status: failure.status });
  }
}
