/** HTTP listeners: a handler in, an address out, closed when it is told to. */
import { Problem } from "../base/index.ts";
import { answerOrUpgrade, type Peer, type SocketHandlers, webSockets } from "../gateway/index.ts";

/** Who is at the other end. `address` is undefined on a Unix socket, whose owner is the only one who can connect. */
export type Remote = Peer;

export type Handle = (request: Request, remote: Remote) => Response | Promise<Response>;

interface Served {
  /** `request.signal` is aborted when the client goes away. */
  readonly handle: Handle;
  /** Of a request's body; a longer one is 413. Default 128 MiB. */
  readonly bodyMaxBytes?: number;
}

export interface ListenRequest extends Served {
  /** How long a connection may be silent, in seconds; 0: for ever, where answers are streams that may pause. Default 10. */
  readonly idleTimeoutS?: number;
  /** "127.0.0.1", "::", a name. */
  readonly address: string;
  /** 0 takes a free one. */
  readonly port: number;
}

export interface ListenSocketRequest extends Served {
  /** At most 104 bytes long; nothing lies there. */
  readonly socket: string;
}

export interface Listener {
  readonly url: string;
  /** Answers that are under way are finished, for `graceMs` at most: then their connections are cut. Default: for ever. */
  close(graceMs?: number): Promise<void>;
}

const DEFAULT_BODY_MAX_BYTES = 128 * 1024 * 1024;
const DEFAULT_IDLE_TIMEOUT_S = 10;

/** A handler that throws is a bug, and its client is told nothing of it but that. */
const onError = (): Response => new Response("internal error\n", { status: 500 });

function common({ bodyMaxBytes = DEFAULT_BODY_MAX_BYTES }: Served) {
  return { maxRequestBodySize: bodyMaxBytes, development: false, error: onError };
}

function closing(server: Bun.Server<SocketHandlers>): Listener["close"] {
  return async (graceMs) => {
    const finished = server.stop();
    if (graceMs === undefined) return finished;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([finished, late]);
    clearTimeout(timer);
    await server.stop(true);
  };
}

/** @throws Problem E_LISTEN (3) when the address is taken, or not ours */
export function listen(request: ListenRequest): Listener {
  const { address, port, handle, idleTimeoutS = DEFAULT_IDLE_TIMEOUT_S } = request;
  try {
    const server = Bun.serve<SocketHandlers>({
      ...common(request),
      hostname: address,
      port,
      // The default where `development` is off: a second daemon would share the port in silence.
      reusePort: false,
      idleTimeout: idleTimeoutS,
      websocket: webSockets,
      fetch: (asked, server) => answerOrUpgrade(handle, asked, server, server.requestIP(asked)?.address),
    });
    return { url: server.url.href, close: closing(server) };
  } catch (error) {
    throw new Problem({
      code: "E_LISTEN",
      message: `listening on ${address} port ${port}: ${error instanceof Error ? error.message : String(error)}`,
      hint: "choose another with --listen ADDRESS:PORT; port 0 takes a free one",
      exit: 3,
      cause: error,
    });
  }
}

/** On a Unix socket, where connections may be silent for ever. Its directory and mode are the caller's affair. @throws Problem E_LISTEN (3) */
export function listenSocket(request: ListenSocketRequest): Listener {
  const { socket, handle } = request;
  try {
    const options: Bun.Serve.Options<SocketHandlers, never> = {
      ...common(request),
      unix: socket,
      websocket: webSockets,
      fetch: (asked, server) => answerOrUpgrade(handle, asked, server, undefined),
    };
    // Obeyed on Unix sockets as well, whatever the runtime's types say: it would be ten seconds otherwise.
    const server = Bun.serve<SocketHandlers>(Object.assign(options, { idleTimeout: 0 }));
    return { url: `unix:${socket}`, close: closing(server) };
  } catch (error) {
    throw new Problem({
      code: "E_LISTEN",
      message: `listening on ${socket}: ${error instanceof Error ? error.message : String(error)}`,
      hint: "choose another root with --root",
      exit: 3,
      cause: error,
    });
  }
}
