/**
 * A command in a sandbox, over the Connect protocol of E2B's envd (process.Process): output as it comes, input as it is typed, the status
 * in the end. Leaves the command alone when this process goes; a signal goes to it.
 */
import { Problem } from "../base/index.ts";
import { type GatewayClient, isObject } from "./gateway-client.ts";

const ENVD_PORT = "49983";
const HEADER_BYTES = 5;
const END_OF_STREAM = 2;
/** Of one message of the gateway, which cuts output in far smaller pieces. */
const MESSAGE_MAX_BYTES = 64 * 1024 * 1024;

export interface ExecRequest {
  readonly sandbox: string;
  /** Of the sandbox: `envdAccessToken`. */
  readonly token: string;
  readonly argv: readonly [string, ...string[]];
  readonly user: string | undefined;
  readonly cwd: string | undefined;
  readonly env: Readonly<Record<string, string>>;
  /** After which it is killed with all that it started; undefined: never. */
  readonly timeoutMs: number | undefined;
  readonly input: AsyncIterable<Uint8Array>;
  /** Aborted: the command is told to end, and its own end is waited for. */
  readonly signal: AbortSignal;
}

export interface ExecEnd {
  /** -1 when a signal ended it. */
  readonly code: number;
  /** "exit status 3", "signal: killed". */
  readonly status: string;
}

type Json = Readonly<Record<string, unknown>>;

function headersFor({ sandbox, token, user }: ExecRequest): Record<string, string> {
  return {
    "E2b-Sandbox-Id": sandbox,
    "E2b-Sandbox-Port": ENVD_PORT,
    "X-Access-Token": token,
    "Connect-Protocol-Version": "1",
    "Keepalive-Ping-Interval": "50",
    ...(user === undefined ? {} : { Authorization: `Basic ${Buffer.from(`${user}:`).toString("base64")}` }),
  };
}

function envelope(message: object): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(JSON.stringify(message));
  const bytes = new Uint8Array(HEADER_BYTES + text.byteLength);
  new DataView(bytes.buffer).setUint32(1, text.byteLength);
  bytes.set(text, HEADER_BYTES);
  return bytes;
}

/** Messages of a stream, until its end envelope. @throws Problem what that says, E_STREAM_CUT where there is none */
async function* messagesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<Json> {
  let kept = Buffer.alloc(0);
  for await (const chunk of body) {
    kept = kept.byteLength === 0 ? Buffer.from(chunk) : Buffer.concat([kept, chunk]);
    while (kept.byteLength >= HEADER_BYTES) {
      const sizeBytes = kept.readUInt32BE(1);
      if (sizeBytes > MESSAGE_MAX_BYTES) throw cut(`a message of ${sizeBytes} bytes`);
      if (kept.byteLength < HEADER_BYTES + sizeBytes) break;
      const isEnd = kept[0] === END_OF_STREAM;
      const message: unknown = JSON.parse(kept.toString("utf8", HEADER_BYTES, HEADER_BYTES + sizeBytes));
      kept = kept.subarray(HEADER_BYTES + sizeBytes);
      if (!isObject(message)) throw cut("a message that is no object");
      if (!isEnd) {
        yield message;
        continue;
      }
      const { error } = message;
      if (isObject(error)) throw failed(error);
      return;
    }
  }
  throw cut("it ended in the middle");
}

function cut(why: string): Problem {
  return new Problem({
    code: "E_STREAM_CUT",
    message: `the stream of the command broke: ${why}`,
    hint: "`garth sandbox ls` says whether the sandbox is there; the command may still run in it",
  });
}

const FAILURES: Readonly<Record<string, `E_${string}`>> = {
  deadline_exceeded: "E_TIMEOUT",
  invalid_argument: "E_BAD_REQUEST",
  not_found: "E_NO_FILE",
  unauthenticated: "E_NO_ACCESS",
  permission_denied: "E_NO_ACCESS",
  unavailable: "E_SANDBOX_GONE",
};

function failed(error: Json): Problem {
  const { code, message } = error;
  return new Problem({
    code: (typeof code === "string" ? FAILURES[code] : undefined) ?? "E_SANDBOX_COMMAND",
    message: typeof message === "string" && message !== "" ? message : String(code),
  });
}

function bytesOf(value: unknown): Uint8Array | undefined {
  return typeof value === "string" ? Buffer.from(value, "base64") : undefined;
}

/** An input that cannot be read, because it is closed or its terminal is gone, has ended. */
async function* readable(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* input;
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}

/** @throws Problem */
export async function execute(
  client: GatewayClient,
  request: ExecRequest,
  onOutput: (chunk: Uint8Array, channel: "stdout" | "stderr") => void,
): Promise<ExecEnd> {
  const [cmd, ...args] = request.argv;
  const headers = headersFor(request);
  const process = { cmd, args, envs: request.env, ...(request.cwd === undefined ? {} : { cwd: request.cwd }) };
  const response = await client.send("POST", "/process.Process/Start", {
    headers: {
      ...headers,
      "Content-Type": "application/connect+json",
      ...(request.timeoutMs === undefined ? {} : { "Connect-Timeout-Ms": String(request.timeoutMs) }),
    },
    body: envelope({ process, stdin: true }),
    // Not the command's: the stream tells how the process ended.
    signal: new AbortController().signal,
  });
  const unary = async (method: string, message: object): Promise<void> => {
    const body = JSON.stringify(message);
    const signal = new AbortController().signal;
    await client.send("POST", `/process.Process/${method}`, {
      headers: { ...headers, "Content-Type": "application/json" },
      body,
      signal,
    });
  };
  let over = false;
  let feeding: Promise<void> | undefined;
  const feed = async (pid: number): Promise<void> => {
    try {
      for await (const chunk of readable(request.input)) {
        if (over) return;
        await unary("SendInput", { process: { pid }, input: { stdin: Buffer.from(chunk).toString("base64") } });
      }
      if (!over) await unary("CloseStdin", { process: { pid } });
    } catch (error) {
      // It may end, or close its input, whatever is on the way to it.
      if (!(error instanceof Problem)) throw error;
    }
  };
  let pid: number | undefined;
  const terminate = (): void => {
    // A process that has ended meanwhile takes no signal, and need not.
    if (pid !== undefined && !over)
      void unary("SendSignal", { process: { pid }, signal: "SIGNAL_SIGTERM" }).catch(() => undefined);
  };
  request.signal.addEventListener("abort", terminate, { once: true });
  try {
    for await (const { event } of messagesOf(response.body ?? new ReadableStream())) {
      if (!isObject(event)) continue;
      const { start, data, end } = event;
      if (isObject(start) && typeof start["pid"] === "number") {
        pid = start["pid"];
        if (request.signal.aborted) terminate();
        feeding = feed(pid);
      }
      if (isObject(data)) {
        const [stdout, stderr] = [bytesOf(data["stdout"]), bytesOf(data["stderr"])];
        if (stdout !== undefined) onOutput(stdout, "stdout");
        if (stderr !== undefined) onOutput(stderr, "stderr");
      }
      if (isObject(end)) {
        const { exitCode = 0, status } = end;
        over = true;
        return { code: Number(exitCode), status: typeof status === "string" ? status : "" };
      }
    }
    throw cut("it does not say how the command ended");
  } finally {
    over = true;
    request.signal.removeEventListener("abort", terminate);
    // What nobody reads any more is not waited for; a bug in it is heard of.
    feeding?.catch((error: unknown) => queueMicrotask(() => Promise.reject(error)));
  }
}
