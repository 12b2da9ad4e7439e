/**
 * Connections that this process opens: to a Unix socket, to a TCP port. The runtime hands data on as it comes and takes as much
 * as the kernel takes; the rest waits here in order.
 */
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import type { Connection, OnData } from "./types.ts";

async function open(
  connect: (socket: Bun.SocketHandler<undefined>) => Promise<Bun.Socket<undefined>>,
  onData: OnData,
): Promise<Connection> {
  const closed = Promise.withResolvers<void>();
  const waiting: Uint8Array[] = [];
  const flush = (socket: Bun.Socket<undefined>): void => {
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      const taken = socket.write(next);
      // Negative: the socket is closed, and its close handler empties the queue.
      if (taken < next.byteLength) {
        if (taken > 0) waiting[0] = next.subarray(taken);
        return;
      }
      waiting.shift();
    }
  };
  let open = true;
  const end = (): void => {
    open = false;
    waiting.length = 0;
    closed.resolve();
  };
  const socket = await connect({
    // The runtime may use the memory of a chunk again.
    data: (_socket, chunk) => onData(new Uint8Array(chunk)),
    drain: flush,
    // The other side ended its direction; half a connection is of no use here.
    end: (socket) => void socket.end(),
    close: end,
    error: (socket) => void socket.terminate(),
  });
  return {
    write: (data) => {
      if (!open) return;
      waiting.push(typeof data === "string" ? Buffer.from(data) : new Uint8Array(data));
      if (waiting.length === 1) flush(socket);
    },
    close: () => {
      if (open) socket.terminate();
    },
    closed: closed.promise,
  };
}

/** sun_path of FreeBSD, without the zero at its end: unix(4). On Linux the runtime finds a way of its own. */
const SOCKET_PATH_MAX_BYTES = 103;

export function connectUnix(socketPath: string, onData: OnData): Promise<Connection> {
  const isLong = process.platform !== "linux" && Buffer.byteLength(socketPath) > SOCKET_PATH_MAX_BYTES;
  return isLong ? connectByShortName(socketPath, onData) : connectByName(socketPath, onData);
}

function connectByName(socketPath: string, onData: OnData): Promise<Connection> {
  return open((socket) => Bun.connect({ unix: socketPath, socket }), onData);
}

/** By way of a link to its directory, which is there as long as connecting takes. */
export async function connectByShortName(socketPath: string, onData: OnData): Promise<Connection> {
  const cut = socketPath.lastIndexOf("/") + 1;
  const directory = mkdtempSync("/tmp/garth-");
  try {
    symlinkSync(cut === 0 ? process.cwd() : socketPath.slice(0, cut), `${directory}/d`);
    return await connectByName(`${directory}/d/${socketPath.slice(cut)}`, onData);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

export function connectTcp(address: string, port: number, onData: OnData): Promise<Connection> {
  return open((socket) => Bun.connect({ hostname: address, port, socket }), onData);
}
