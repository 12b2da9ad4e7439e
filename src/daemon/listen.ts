/** One HTTP listener: a handler in, an address out, closed when its signal says so. */
import { Problem } from "../base/index.ts";

export interface ListenRequest {
  /** "127.0.0.1", "::", a name. */
  readonly address: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly handle: (request: Request) => Response | Promise<Response>;
}

export interface Listener {
  readonly url: string;
  /** Answers that are under way are finished. */
  close(): Promise<void>;
}

/** @throws Problem E_LISTEN (3) when the address is taken, or not ours */
export function listen({ address, port, handle }: ListenRequest): Listener {
  try {
    const server = Bun.serve({ hostname: address, port, fetch: handle });
    return { url: server.url.href, close: () => server.stop() };
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
