/**
 * A client of the gateway: of the one that GARTH_API_URL or E2B_API_URL names, with the key in GARTH_API_KEY or E2B_API_KEY; else of this
 * root's daemon, by its socket and without a key. What the gateway refuses becomes a Problem.
 */
import { Problem, type ProblemFields } from "../base/index.ts";
import { socketFile } from "../daemon/index.ts";
import type { Context } from "./command.ts";

/** By the socket there is no name to be found. */
const SOCKET_URL = "http://localhost";

export interface GatewayClient {
  /** "http://127.0.0.1:3000", or the socket's path: for people. */
  readonly where: string;
  /** The document of the answer; undefined: it has none. @throws Problem */
  call(method: string, path: string, body?: unknown): Promise<unknown>;
  /** The answer, whose status is one of success. @throws Problem */
  send(method: string, path: string, options: SendOptions): Promise<Response>;
}

export interface SendOptions {
  readonly body?: Uint8Array<ArrayBuffer> | string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

type Json = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export async function openGatewayClient(context: Context): Promise<GatewayClient> {
  const { env } = context;
  const named = env["GARTH_API_URL"] || env["E2B_API_URL"];
  const key = env["GARTH_API_KEY"] || env["E2B_API_KEY"];
  const socket = named === undefined || named === "" ? socketFile((await context.garth()).places) : undefined;
  const base = (socket === undefined ? (named ?? "") : SOCKET_URL).replace(/\/+$/, "");
  if (!URL.canParse(base)) {
    throw new Problem({
      code: "E_BAD_URL",
      message: `${JSON.stringify(base)} is not the URL of a gateway`,
      hint: "GARTH_API_URL=http://127.0.0.1:3000",
      exit: 2,
    });
  }
  const where = socket ?? base;

  const send: GatewayClient["send"] = async (method, path, { body, headers = {}, signal }) => {
    let response: Response;
    try {
      response = await fetch(`${base}${path}`, {
        method,
        headers: { ...(key === undefined || key === "" ? {} : { "X-API-KEY": key }), ...headers },
        ...(body === undefined ? {} : { body }),
        signal: signal ?? context.signal,
        // Streams pause as long as they like.
        timeout: false,
        ...(socket === undefined ? {} : { unix: socket }),
      });
    } catch (error) {
      if (context.signal.aborted) throw error;
      throw unreachable(where, socket !== undefined, error);
    }
    if (!response.ok) throw await refused(response, method, path);
    return response;
  };
  return {
    where,
    send,
    call: async (method, path, body) => {
      const json = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
      const text = await (await send(method, path, json)).text();
      return text === "" ? undefined : parsed(text, where);
    },
  };
}

function parsed(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Problem({
      code: "E_NOT_A_GATEWAY",
      message: `${where} answers, and not as a gateway does`,
      details: [text.slice(0, 200)],
      cause: error,
    });
  }
}

function unreachable(where: string, bySocket: boolean, cause: unknown): Problem {
  return new Problem({
    code: "E_NO_DAEMON",
    message: bySocket ? `there is no daemon for this root: nobody listens on ${where}` : `no gateway answers at ${where}`,
    details: bySocket ? [] : [cause instanceof Error ? cause.message : String(cause)],
    hint: bySocket
      ? "start it with `garth daemon`, or name another one with GARTH_API_URL"
      : "GARTH_API_URL or E2B_API_URL names it",
    exit: 3,
    cause,
  });
}

const CODES: Readonly<Record<number, Pick<ProblemFields, "code" | "hint" | "exit">>> = {
  400: { code: "E_BAD_REQUEST", exit: 2 },
  401: { code: "E_NO_ACCESS", exit: 2, hint: "set GARTH_API_KEY; `garth key add TENANT` makes one" },
  403: { code: "E_NO_ACCESS", exit: 2, hint: "`garth key ls` shows what the key may do" },
  404: { code: "E_NO_SANDBOX", exit: 2, hint: "`garth sandbox ls` lists those there are" },
  409: { code: "E_CONFLICT" },
  429: { code: "E_GATEWAY_BUSY" },
  501: { code: "E_NOT_OFFERED", exit: 3 },
  502: { code: "E_SANDBOX_GONE", hint: "`garth sandbox ls` lists those there are" },
  503: { code: "E_GATEWAY_BUSY" },
};

function meaning(status: number, method: string, path: string): Pick<ProblemFields, "code" | "hint" | "exit"> {
  if (status === 404 && method === "POST" && path.endsWith("/sandboxes"))
    return { code: "E_NO_TEMPLATE", exit: 2, hint: "the names are those of pools (`garth pool list`), and gateway.aliases" };
  return CODES[status] ?? { code: "E_GATEWAY" };
}

async function refused(response: Response, method: string, path: string): Promise<Problem> {
  const text = (await response.text().catch(() => "")).slice(0, 2000);
  let message = text;
  try {
    const document: unknown = JSON.parse(text);
    if (isObject(document) && typeof document["message"] === "string") message = document["message"];
  } catch {
    // Whoever answers so is no gateway; the text says most of it.
  }
  return new Problem({
    ...meaning(response.status, method, path),
    message: `${message.trim() === "" ? "refused" : message} (${method} ${path}: ${response.status})`,
  });
}
