/** What a listener of the runtime needs so that requests can become WebSockets. */
import type { Peer, SocketHandlers } from "./types.ts";

/** Who does not take what waits for him is cut off, and so is who does not answer a ping. */
const WAITING_MAX_BYTES = 16 * 1024 ** 2;
const MESSAGE_MAX_BYTES = 16 * 1024 ** 2;
const IDLE_TIMEOUT_S = 120;

export const webSockets: Bun.WebSocketHandler<SocketHandlers> = {
  idleTimeout: IDLE_TIMEOUT_S,
  maxPayloadLength: MESSAGE_MAX_BYTES,
  backpressureLimit: WAITING_MAX_BYTES,
  closeOnBackpressureLimit: true,
  open: (socket) =>
    socket.data.open({
      // 0: it was dropped. Below: it waits with others.
      send: (data) => socket.send(data) !== 0,
      close: (code, reason) => socket.close(code, reason),
    }),
  message: (socket, data) => socket.data.message(data),
  close: (socket, code, reason) => socket.data.closed(code, reason),
};

/** undefined: the request has become a WebSocket. */
export async function answerOrUpgrade(
  handle: (request: Request, peer: Peer) => Response | Promise<Response>,
  request: Request,
  server: Bun.Server<SocketHandlers>,
  address: string | undefined,
): Promise<Response | undefined> {
  let isSocket = false;
  const upgrade: NonNullable<Peer["upgrade"]> = (handlers, headers) =>
    (isSocket = server.upgrade(request, { data: handlers, headers: { ...headers } }));
  const response = await handle(request, { address, upgrade });
  return isSocket ? undefined : response;
}
